//! Turns of class blocks that several ranks have, by their definition.

use std::time::Instant;

use reelscale::Result;
use reelscale::internals::device::{Apart, Batch, Giving, Learn, Pace, Part, Slices, Turn, Turns};

use super::blocks::Blocks;
use super::rows::Rows;
use super::textbook::Textbook;

/// Turns of blocks past some rows.
pub struct TextbookTurns<'a> {
    pub device: &'a Textbook,
    pub blocks: &'a mut Blocks<Apart>,
    pub rows: &'a Rows,
    pub how: &'a Learn,
    pub slices: Slices,
}

impl Turns for TextbookTurns<'_> {
    fn count(&self) -> usize {
        self.blocks.blocks.len()
    }

    fn state(&mut self, block: usize) -> &mut Apart {
        self.blocks.blocks[block].state()
    }

    fn numbers(&self, block: usize, part: &Part) -> usize {
        part.numbers(&self.blocks.blocks[block].layout)
    }

    fn losses(&mut self, block: usize) -> Result<Vec<f64>> {
        Ok(self.blocks.blocks[block].state().losses.clone())
    }

    fn put_losses(&mut self, block: usize, losses: Vec<f64>) -> Result<()> {
        self.blocks.blocks[block].state().losses = losses;
        Ok(())
    }

    fn put(&mut self, block: usize, part: &Part, numbers: &[f32]) -> Result<()> {
        self.device.call()?;
        let block = &mut self.blocks.blocks[block];
        let layout = block.layout.clone();
        block.change(|_, weights, _| part.put(&layout, numbers, weights));
        Ok(())
    }

    fn sums(
        &mut self,
        turn: &Turn,
        batch: &Batch,
        giving: &mut Giving,
        pace: &mut Pace,
    ) -> Result<()> {
        self.device.call()?;
        let began = Instant::now();
        let block = &mut self.blocks.blocks[turn.block];
        let (passing, epsilon) = ((self.rows, batch), self.device.epsilon);
        let nodes = block.nodes(passing, self.how, epsilon, &self.slices);
        pace.poll();
        self.device.pause(began, batch.rows(), block.layout.parameters(), pace);
        giving.tend();
        for part in giving.parts() {
            let own = nodes.iter().map(|node| {
                let mut numbers = giving.room();
                numbers.fill(f32::NAN);
                part.take(&block.layout, node, &mut numbers);
                numbers
            });
            let own = own.collect();
            giving.give(own);
            // It may be lost between two parts.
            self.device.call()?;
        }
        Ok(())
    }
}
