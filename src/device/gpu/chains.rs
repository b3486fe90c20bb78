//! Losses of class blocks held on a device: of each class a chain, or one for each slice of
//! mini-batches.

use super::held::Held;
use crate::model::LANES;

impl Held {
    /// This with so many chains of losses of each class, all at 0.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(super) fn with_chains(mut self, chains: usize) -> Result<Held, String> {
        if chains > 1 {
            let bytes = chains * self.room.groups * LANES * size_of::<f64>();
            (self.class_losses, self.chains) = (self.queue.make(bytes)?, chains);
            self.class_losses.clear()?;
        }
        Ok(self)
    }

    /// Where a chain of losses of a group's classes begins.
    pub(super) fn losses_from(&self, chain: usize, group: usize) -> usize {
        assert!(chain < self.chains, "chain {chain} of {}", self.chains);
        (chain * self.room.groups + group) * LANES
    }

    /// Where a chain of losses of a block's classes begins, and how many there are.
    pub(super) fn losses_place(&self, chain: usize, block: usize) -> (usize, usize) {
        let [from, to] = [block, block + 1].map(|block| self.group_firsts[block]);
        (self.losses_from(chain, from), (to - from) * LANES)
    }

    /// Losses of a block's classes, [chains][groups][16].
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(crate) fn losses(&self, block: usize) -> Result<Vec<f64>, String> {
        let chains = (0..self.chains).map(|chain| self.chain(chain, block));
        Ok(chains.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// One chain of them.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(super) fn chain(&self, chain: usize, block: usize) -> Result<Vec<f64>, String> {
        let (from, count) = self.losses_place(chain, block);
        self.class_losses.read(from, count)
    }

    /// Sets them.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn set_losses(&self, block: usize, losses: &[f64]) -> Result<(), String> {
        let (_, count) = self.losses_place(0, block);
        assert_eq!(losses.len(), self.chains * count, "losses of another block");
        for (chain, losses) in losses.chunks_exact(count).enumerate() {
            self.class_losses.write(self.losses_place(chain, block).0, losses)?;
        }
        Ok(())
    }
}
