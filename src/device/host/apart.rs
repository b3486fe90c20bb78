//! Class blocks on the host that several ranks have at once: sums of the own slices, which are
//! given away.

use std::sync::Arc;

use super::blocks::{HeldBlocks, Own};
use super::carry::Vectors;
use super::drawn::Drawn;
use super::learn::sum_slices;
use super::rows::Rows;
use crate::device::{
    AllRows, Apart, Batch, ClassBlock, Giving, Learn, Nodes, Pace, Part, Turn, Turns,
};
use crate::error::Result;
use crate::kernel::mixture::{Block, Kernel};
use crate::team::Team;
use crate::tree::Summing;

/// Turns of blocks past some rows.
pub(crate) struct HostTurns<'a> {
    pub(crate) blocks: &'a mut HeldBlocks<Apart>,
    pub(crate) team: Team<'a, Kernel>,
    pub(crate) rows: &'a Rows,
    pub(crate) how: &'a Learn,
    /// Of the own slices.
    pub(crate) order: Summing,
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
        let ClassBlock { layout, weights, .. } = self.blocks.of_mut(block);
        self.team.copy(part.placed(layout, numbers, Arc::<Vec<f32>>::make_mut(weights)));
        Ok(())
    }

    fn sums(
        &mut self,
        turn: &Turn,
        batch: &Batch,
        giving: &mut Giving,
        pace: &mut Pace,
    ) -> Result<()> {
        let HostTurns { blocks, team, rows, how, order } = self;
        blocks.sums.resize_with(1, Vectors::default);
        let HeldBlocks { blocks, sums } = &mut **blocks;
        let ClassBlock { layout, weights, state } = &mut blocks[turn.block].block;
        let vectors = sums[0].of(order.vectors(), weights.len());
        let drawn = &mut Drawn::new(layout.width);
        let position = batch.first - batch.own.first().map_or(0, |own| own.start);
        let block = Block { layout, parameters: weights };
        let (from, into) = ((how.negatives, &batch.own[..], position), (&*order, &mut *vectors));
        let tended = || {
            pace.poll();
            giving.tend();
            true
        };
        sum_slices(team, (block, rows), from, drawn, into, &mut state.losses, tended);
        for part in giving.parts() {
            let mut nodes: Vec<_> = order.sums().iter().map(|_| giving.room()).collect();
            let pairs = nodes.iter_mut().zip(order.sums());
            let pairs = pairs.flat_map(|(to, node)| part.taken(layout, &vectors[*node], to));
            team.copy(pairs);
            giving.give(nodes);
        }
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
