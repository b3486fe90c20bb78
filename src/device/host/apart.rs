//! Class blocks on the host that several ranks have at once: sums of the own slices, which are
//! given away.

use std::sync::Arc;

use super::blocks::{HeldBlocks, Own};
use super::carry::Carry;
use super::drawn::Drawn;
use super::learn::slice_gradient;
use super::rows::Rows;
use crate::device::{AllRows, Apart, Batch, Giving, Learn, Nodes, Pace, Part, Slices, Turn, Turns};
use crate::error::Result;
use crate::kernel::mixture::Kernel;
use crate::team::Team;

/// Turns of blocks past some rows.
pub(crate) struct HostTurns<'a> {
    pub(crate) blocks: &'a mut HeldBlocks<Apart>,
    pub(crate) team: Team<'a, Kernel>,
    pub(crate) rows: &'a Rows,
    pub(crate) how: &'a Learn,
    pub(crate) slices: Slices,
}

impl Turns for HostTurns<'_> {
    fn count(&self) -> usize {
        self.blocks.blocks.len()
    }

    fn state(&mut self, block: usize) -> &mut Apart {
        &mut self.blocks.of_mut(block).state
    }

    fn numbers(&self, block: usize, part: &Part) -> usize {
        part.numbers(&self.blocks.of(block).layout)
    }

    fn losses(&mut self, block: usize) -> Result<Vec<f64>> {
        Ok(self.blocks.of(block).state.losses.clone())
    }

    fn put_losses(&mut self, block: usize, losses: Vec<f64>) -> Result<()> {
        self.blocks.of_mut(block).state.losses = losses;
        Ok(())
    }

    fn put(&mut self, block: usize, part: &Part, numbers: &[f32]) -> Result<()> {
        let block = self.blocks.of_mut(block);
        part.put(&block.layout, numbers, Arc::<Vec<f32>>::make_mut(&mut block.weights));
        Ok(())
    }

    fn sums(
        &mut self,
        turn: &Turn,
        batch: &Batch,
        giving: &mut Giving,
        pace: &mut Pace,
    ) -> Result<()> {
        let HostTurns { blocks, team, rows, how, slices } = self;
        let instructions = team.own().gemm().instructions();
        if blocks.carries.is_empty() {
            blocks.carries.push(Carry::default());
        }
        let HeldBlocks { blocks, carries } = &mut **blocks;
        let (block, carry) = (&mut blocks[turn.block].block, &mut carries[0]);
        let (drawn, lanes) = (&mut Drawn::new(block.layout.width), block.layout.lanes());
        let position = batch.first - batch.own.first().map_or(0, |own| own.start);
        for (index, own) in batch.own.iter().enumerate() {
            let mut gradient = carry.room(block.weights.len());
            let losses = &mut block.state.losses[index * lanes..(index + 1) * lanes];
            let at_rest =
                crate::kernel::mixture::Block { layout: &block.layout, parameters: &block.weights };
            let from = (how.negatives, own.clone(), position);
            slice_gradient(team, at_rest, rows, from, drawn, (&mut gradient, losses));
            carry.push(team, instructions, (slices.own.start + index, gradient));
            pace.poll();
        }
        let nodes = carry.nodes();
        for part in giving.parts() {
            let own = nodes.iter().map(|node| {
                let mut numbers = giving.room();
                part.take(&block.layout, node, &mut numbers);
                numbers
            });
            let own = own.collect();
            giving.give(own);
        }
        nodes.into_iter().for_each(|node| carry.give_back(node));
        Ok(())
    }
}

impl HeldBlocks<Apart> {
    /// Adds what a window's rows give to the own slices of a pass.
    pub(crate) fn evaluate(
        &mut self,
        team: Team<Kernel>,
        rows: &Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) {
        self.add_slices(team, (rows, all), pace, |state| !state.converged);
    }

    /// Takes what the pass has given a block.
    pub(crate) fn sums(&mut self, index: usize) -> Nodes {
        let Own { gradient, losses, complete, .. } = &mut self.blocks[index];
        gradient.fill(0.0);
        losses.fill(0.0);
        complete.nodes()
    }
}
