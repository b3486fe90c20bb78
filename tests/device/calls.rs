//! What the device does when it is called.

use std::sync::Arc;
use std::time::Instant;

use reelscale::internals::device::{
    AllRows, Apart, Arrived, AtRest, Batch, Between, ByEpoch, ClassBlock, Device, FramesAgain,
    FullBatches, Joint, JointStep, Learn, Leaves, MiniBatches, Nodes, Pace, Piece, Scores, Solving,
    VARIABLES, Which, take_turns,
};
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::features::Features;
use reelscale::internals::model::{Layout, Matrix};
use reelscale::internals::optim::adam::Adam;
use reelscale::internals::optim::{MiniBatch, Offered, SharedState, Step};
use reelscale::internals::team::Team;
use reelscale::{Annotator, Result};

use super::blocks::Blocks;
use super::network::{Network, Wave};
use super::rows::Rows;
use super::storage::Buffer;
use super::textbook::Textbook;
use super::turns::TextbookTurns;
use super::visits::Visitor;

impl Device for Textbook {
    type Network<'a> = Network;
    type Steps = ();
    type Wave = Wave;
    type Rows = Rows;
    type Rest<'a> = &'a dyn AtRest;
    type Visitor = Visitor;
    type Blocks<S: Solving> = Blocks<S>;

    fn at_once(&self) -> usize {
        1
    }

    fn network(&mut self, model: &Annotator) -> Network {
        Network::new(&self.meter, model)
    }

    fn activations(
        &mut self,
        network: &Network,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()> {
        self.call()?;
        for piece in pieces {
            let (features, labels) = piece?;
            let mut one =
                std::iter::once(Ok(Piece { features, labels: labels.clone(), last: true }));
            let wave = network.forward(&self.meter, &mut one)?;
            let mut activations = Matrix::zeros(0, network.outputs());
            activations.data.extend_from_slice(wave.outputs().down());
            activations.resize(labels.rows());
            take(activations, labels)?;
        }
        Ok(())
    }

    fn forward(
        &mut self,
        network: &Network,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Wave> {
        self.call()?;
        network.forward(&self.meter, pieces)
    }

    fn outputs(&mut self, wave: &Wave, to: &mut Vec<f32>) -> Result<()> {
        self.call()?;
        to.extend_from_slice(wave.outputs().down());
        Ok(())
    }

    fn give_slopes(&mut self, wave: &mut Wave, slopes: &[f32]) -> Result<()> {
        self.call()?;
        wave.slopes.put(slopes);
        Ok(())
    }

    fn losses(&mut self, wave: &Wave) -> Result<Vec<f64>> {
        self.call()?;
        Ok(wave.losses.down().to_vec())
    }

    fn backward(
        &mut self,
        network: &Network,
        wave: Wave,
        frames: &dyn FramesAgain,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        self.call()?;
        let mut reader = frames.reader();
        // Two at once, so that the order in which they are given is seen to.
        for blocks in (0..wave.blocks.len()).collect::<Vec<_>>().chunks(2) {
            let rooms = blocks.iter().map(|_| leaves.room()).collect::<Result<Vec<_>>>()?;
            for (block, mut leaf) in blocks.iter().zip(rooms) {
                leaf.fill(f32::NAN);
                network.backward(&wave, *block, &mut reader, &mut leaf)?;
                leaves.add(Buffer::of(&self.meter, leaf).down().to_vec());
            }
        }
        Ok(())
    }

    fn step_shared(
        &mut self,
        weights: &mut [f32],
        adam: &mut Adam,
        gradient: &[f32],
        step: Step,
    ) -> Result<()> {
        self.call()?;
        adam.step(&mut Team::alone(&mut ()), Instructions::detect(), weights, gradient, step);
        Ok(())
    }

    fn advance_shared(
        &mut self,
        weights: &mut [f32],
        (solver, ()): (&mut SharedState, &mut ()),
        found: (f64, &[f32]),
        offered: &Offered,
    ) -> Result<()> {
        self.call()?;
        let mut own = ();
        let team = &mut Team::alone(&mut own);
        solver.advance(team, Instructions::detect(), weights, found, offered);
        Ok(())
    }

    fn visitor(&mut self, layout: &Layout, weights: Arc<Vec<f32>>) -> Visitor {
        Visitor::new(&self.meter, layout, &weights, self.epsilon)
    }

    fn visit(&mut self, visitor: &Visitor, wave: &mut Wave, pace: &mut Pace) -> Result<()> {
        self.call()?;
        let (began, rows) = (Instant::now(), wave.labels.rows());
        (0..wave.blocks.len()).for_each(|block| self.work(pace, || visitor.visit(wave, block)));
        self.pause(began, rows, visitor.layout.parameters(), pace);
        Ok(())
    }

    fn rest<'a>(&mut self, rows: &'a dyn AtRest) -> &'a dyn AtRest {
        rows
    }

    fn scores(
        &mut self,
        visitor: &Visitor,
        rest: &&dyn AtRest,
        which: Which,
        pace: &mut Pace,
    ) -> Result<Scores> {
        self.call()?;
        let resting = match which {
            Which::Run(from, to) => rest.run(from..to)?,
            Which::Single(rows) => rest.gathered(rows)?,
        };
        pace.poll();
        Ok(visitor.scores(&self.meter, &resting))
    }

    fn bring(&mut self, arrived: Arrived, before: Option<Rows>) -> Result<Rows> {
        self.call()?;
        // Nothing of the window before is used again.
        drop(before);
        Ok(Rows::new(&self.meter, arrived))
    }

    fn hold<S: Solving>(&mut self, blocks: Vec<ClassBlock<S>>) -> Result<Blocks<S>> {
        self.call()?;
        Ok(Blocks::new(&self.meter, blocks))
    }

    fn read<S: Solving>(
        &self,
        blocks: &Blocks<S>,
        index: usize,
        look: &mut dyn FnMut(&ClassBlock<S>),
    ) -> Result<()> {
        self.call()?;
        look(&blocks.blocks[index].read());
        Ok(())
    }

    fn weights<S: Solving>(&self, blocks: &Blocks<S>, index: usize) -> Result<Arc<Vec<f32>>> {
        self.call()?;
        Ok(blocks.blocks[index].read().weights.clone())
    }

    fn change<S: Solving>(
        &mut self,
        blocks: &mut Blocks<S>,
        index: usize,
        with: &mut dyn FnMut(&mut [f32]),
    ) -> Result<()> {
        self.call()?;
        blocks.blocks[index].change(|_, weights, _| with(weights));
        Ok(())
    }

    fn class_losses<S: ByEpoch>(&self, blocks: &Blocks<S>) -> Result<Vec<Vec<f64>>> {
        self.call()?;
        Ok(blocks.blocks.iter().map(|block| block.read().state.losses()).collect())
    }

    fn left<S: ByEpoch>(&self, blocks: &Blocks<S>) -> Result<usize> {
        self.call()?;
        Ok(blocks.blocks.iter().filter(|block| !block.read().state.converged()).count())
    }

    fn end<S: ByEpoch>(
        &mut self,
        blocks: &mut Blocks<S>,
        index: usize,
        stopped: &[bool],
    ) -> Result<()> {
        self.call()?;
        blocks.blocks[index].end(stopped);
        Ok(())
    }

    fn learn(
        &mut self,
        blocks: &mut Blocks<MiniBatches>,
        rows: &Rows,
        how: &Learn,
        pace: &mut Pace,
    ) -> Result<()> {
        self.call()?;
        let (count, epsilon, began) = (rows.labels.rows(), self.epsilon, Instant::now());
        let weights = blocks.blocks.iter().map(|block| block.layout.parameters()).sum();
        for from in (0..count).step_by(how.batch) {
            let batch = from..(from + how.batch).min(count);
            for block in &mut blocks.blocks {
                if !block.wants(rows.first + batch.end) {
                    continue;
                }
                if pace.stopped() {
                    return Ok(());
                }
                self.work(pace, || block.mini_batch(rows, batch.clone(), how, epsilon));
                block.step(rows, batch.clone(), how);
            }
        }
        self.pause(began, count, weights, pace);
        Ok(())
    }

    fn learn_apart(
        &mut self,
        blocks: &mut Blocks<Apart>,
        (rows, batches): (&Rows, &[Batch]),
        how: &Learn,
        between: &mut dyn Between,
        pace: &mut Pace,
    ) -> Result<()> {
        let (device, slices) = (&*self, between.slices());
        take_turns(&mut TextbookTurns { device, blocks, rows, how, slices }, batches, between, pace)
    }

    fn evaluate_apart(
        &mut self,
        blocks: &mut Blocks<Apart>,
        rows: &Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()> {
        self.call()?;
        for block in blocks.blocks.iter_mut().filter(|block| block.learns()) {
            self.work(pace, || block.evaluate(rows, all, self.epsilon));
        }
        Ok(())
    }

    fn sums(&mut self, blocks: &mut Blocks<Apart>, index: usize) -> Result<Nodes> {
        self.call()?;
        Ok(blocks.blocks[index].sums())
    }

    fn change_state(
        &mut self,
        blocks: &mut Blocks<Apart>,
        index: usize,
        with: &mut dyn FnMut(&mut Apart),
    ) -> Result<()> {
        self.call()?;
        with(blocks.blocks[index].state());
        Ok(())
    }

    fn swap_averages(&mut self, blocks: &mut Blocks<MiniBatches>) -> Result<()> {
        self.call()?;
        blocks.blocks.iter_mut().for_each(|block| block.swap_average());
        Ok(())
    }

    fn end_epoch(&mut self, blocks: &mut Blocks<MiniBatches>, tolerance: f64) -> Result<()> {
        self.call()?;
        blocks.blocks.iter_mut().for_each(|block| block.end_epoch(tolerance));
        Ok(())
    }

    fn evaluate(
        &mut self,
        blocks: &mut Blocks<FullBatches>,
        rows: &Rows,
        all: &AllRows,
        pace: &mut Pace,
    ) -> Result<()> {
        self.call()?;
        for block in blocks.blocks.iter_mut().filter(|block| block.searches()) {
            if pace.stopped() {
                return Ok(());
            }
            self.work(pace, || block.evaluate(rows, all, self.epsilon));
        }
        Ok(())
    }

    fn advance(
        &mut self,
        blocks: &mut Blocks<FullBatches>,
        rows: usize,
        l2: f64,
        offered: &Offered,
    ) -> Result<()> {
        self.call()?;
        let searching = blocks.blocks.iter_mut().filter(|block| block.searches());
        searching.for_each(|block| block.advance(rows, l2, offered));
        Ok(())
    }

    fn forget(&mut self, blocks: &mut Blocks<FullBatches>) -> Result<()> {
        blocks.blocks.iter_mut().for_each(|block| block.forget());
        self.call()
    }

    fn settle(&mut self, blocks: &mut Blocks<FullBatches>) -> Result<()> {
        self.call()?;
        blocks.blocks.iter_mut().for_each(|block| block.settle());
        Ok(())
    }

    fn gradients(
        &mut self,
        blocks: &mut Blocks<Joint>,
        rows: &Rows,
        mut slopes: Option<&mut dyn Leaves>,
    ) -> Result<Vec<Vec<f64>>> {
        self.call()?;
        let mut losses = Vec::new();
        for block in &mut blocks.blocks {
            let mut part = match &mut slopes {
                Some(slopes) => slopes.room()?,
                None => Vec::new(),
            };
            part.fill(f32::NAN);
            losses.push(block.gradients(rows, self.epsilon, &mut part));
            if let Some(slopes) = &mut slopes {
                slopes.add(Buffer::of(&self.meter, part).down().to_vec());
            }
        }
        Ok(losses)
    }

    fn squares(&self, blocks: &Blocks<Joint>) -> Result<Vec<[f64; VARIABLES]>> {
        self.call()?;
        Ok(blocks.blocks.iter().map(|block| block.squares()).collect())
    }

    fn step(&mut self, blocks: &mut Blocks<Joint>, step: &JointStep) -> Result<()> {
        self.call()?;
        blocks.blocks.iter_mut().for_each(|block| block.step(step));
        Ok(())
    }
}
