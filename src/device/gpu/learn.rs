//! Class blocks on a device that learn by mini-batches.

use std::ops::Range;

use super::in_turn::Beside;
use super::mixture::Sums;
use super::part::{Part, runs};
use super::rows::Rows;
use super::waiting::{QUEUED, wait_beside};
use super::window::Window;
use crate::device::slices::vectors_of;
use crate::device::{Learn, MiniBatches, Pace, Slices, Solving};
use crate::kernel::text::calls::{Rates, Stepper};
use crate::kernel::vector::Instructions;
use crate::optim::Step;
use crate::team::Team;
use crate::tree::{Node, Partials};

/// What some blocks' next step is taken with.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Next {
    rate: f32,
    /// How much of the way their averages go; None: there are none.
    share: Option<f32>,
}

impl Part<MiniBatches> {
    /// Takes every block that still learns through the mini-batches of the window that it hasn't
    /// seen, one mini-batch of all blocks after another.
    pub(super) fn learn(
        &mut self,
        rows: &Rows,
        how: &Learn,
        pace: &mut Pace,
        beside: Beside,
    ) -> Result<(), String> {
        let Some(held) = &self.held else { return Ok(()) };
        let queue = &held.queue.clone();
        for from in (0..rows.count()).step_by(how.batch) {
            let batch = from..(from + how.batch).min(rows.count());
            let wanting = self.wanting(rows.first + batch.end);
            match how.negatives {
                _ if pace.stopped() => return Ok(()),
                None => {
                    let next = wanting.into_iter().map(|block| (block, self.next(block, how)));
                    for (run, next) in runs(next.collect::<Vec<_>>().into_iter()) {
                        self.step(rows, run, next, (how, rows.first, batch.clone()))?;
                    }
                }
                Some(_) => {
                    for block in wanting {
                        if pace.stopped() {
                            return Ok(());
                        }
                        let next = self.next(block, how);
                        let run = block..block + 1;
                        // Memory that goes back is work, which nobody is to wait for here.
                        let _drawn =
                            self.step(rows, run, next, (how, rows.first, batch.clone()))?;
                        // Rows of the next block are drawn and go up while those two are learned.
                        queue.mark()?;
                        wait_beside(queue, pace, QUEUED, beside)?;
                    }
                }
            }
            queue.mark()?;
            wait_beside(queue, pace, QUEUED, beside)?;
        }
        Ok(())
    }

    /// Exchanges weights and their averages, where there are any.
    pub(crate) fn swap_averages(&mut self) {
        let own = self.own.get_mut();
        let averages = own.iter().any(|own| own.block.state.average.is_some());
        let Some(held) = self.held.as_mut().filter(|_| averages) else { return };
        let average = held.vectors.last_mut().expect("an average");
        std::mem::swap(&mut held.parameters, average);
        own.iter_mut().for_each(|own| own.swap());
    }

    /// Ends an epoch: the sums of losses of blocks that still learn begin again.
    pub(crate) fn end_epoch(&mut self, tolerance: f64) -> Result<(), String> {
        self.class_losses()?;
        for index in 0..self.count() {
            let state = &mut self.own.get_mut()[index].block.state;
            state.end_epoch(tolerance);
            let losses = state.losses.clone();
            self.held().set_losses(index, &losses)?;
        }
        Ok(())
    }

    /// The blocks that are to learn from the mini-batch that ends before row `end` of the epoch.
    pub(super) fn wanting(&self, end: usize) -> Vec<usize> {
        let own = self.own.borrow();
        (0..own.len()).filter(|block| own[*block].block.state.wants(end)).collect()
    }

    /// What a block's next step is taken with, which is counted.
    pub(super) fn next(&mut self, block: usize, how: &Learn) -> Next {
        let state = &mut self.own.get_mut()[block].block.state;
        let rate = state.solver.rate(how.learning_rate);
        Next { rate, share: state.average.as_mut().map(|average| average.share()) }
    }

    fn stepper(&self) -> Option<Stepper> {
        self.own.borrow().first().and_then(|own| own.block.state.solver.stepper())
    }

    /// The gradient and the step of some blocks, of one where rows are drawn, by a mini-batch.
    /// Gives the drawn rows that the device may not be through with, if there are any.
    fn step(
        &mut self,
        rows: &Rows,
        run: Range<usize>,
        next: Next,
        what: (&Learn, usize, Range<usize>),
    ) -> Result<Option<Window>, String> {
        let (how, _, batch) = what.clone();
        let mut last = None;
        match self.stepper() {
            // Nothing stands between the gradient and the step: they are one.
            Some(stepper) if how.slices == 1 => {
                let drawn = self.drawn(rows, how, (run.start, batch.clone()), rows.first)?;
                let (window, own) = rows_of(&drawn, rows, batch);
                let held = self.held.as_mut().expect("a block");
                held.learn(window, own, run.clone(), (stepper, rates(next, &what)))?;
                last = drawn;
            }
            Some(stepper) => {
                let sum = self.gradient(rows, how, run.clone(), batch)?;
                let (held, gradient) = (self.held(), &self.gradients[sum]);
                held.step(run.clone(), gradient, (stepper, rates(next, &what)), 1.0)?;
            }
            None => {
                let sum = self.gradient(rows, how, run.clone(), batch)?;
                for block in run {
                    let gradient = self.held().read(&self.gradients[sum], block)?;
                    self.step_by(block, &gradient, next, what.clone())?;
                }
                return Ok(None);
            }
        }
        self.stepped(run, next, what).map(|()| last)
    }

    /// A block's step by a gradient that the host has.
    pub(super) fn step_by(
        &mut self,
        block: usize,
        gradient: &[f32],
        next: Next,
        what: (&Learn, usize, Range<usize>),
    ) -> Result<(), String> {
        match self.stepper() {
            Some(stepper) => {
                let rates = rates(next, &what);
                let (held, room) = self.parts()?;
                held.write(room, block, gradient)?;
                held.step(block..block + 1, room, (stepper, rates), 1.0)?;
            }
            None => {
                let (how, _, batch) = &what;
                self.rewrite(block, |own, weights| {
                    let step = Step {
                        learning_rate: how.learning_rate,
                        scale: 1.0 / batch.len() as f32,
                        l2: how.l2,
                        decayed: own.layout.biases(),
                    };
                    let (mut alone, instructions) = ((), Instructions::detect());
                    let team = &mut Team::alone(&mut alone);
                    own.state.solver.step(team, instructions, weights, gradient, step);
                })?;
            }
        }
        self.stepped(block..block + 1, next, what)
    }

    /// What follows a step of some blocks.
    fn stepped(
        &mut self,
        run: Range<usize>,
        next: Next,
        (_, first, batch): (&Learn, usize, Range<usize>),
    ) -> Result<(), String> {
        if let Some(share) = next.share {
            let held = self.held();
            held.average(run.clone(), share, held.vectors().last().expect("an average"))?;
        }
        for own in &mut self.own.get_mut()[run] {
            own.block.state.rows = first + batch.end;
            own.changed();
        }
        Ok(())
    }
}

impl<S: Solving> Part<S> {
    /// The gradient of some blocks, of one where rows are drawn, over a mini-batch: the sum over
    /// its slices along the tree. Gives which of the vectors it is in.
    fn gradient(
        &mut self,
        rows: &Rows,
        how: &Learn,
        run: Range<usize>,
        batch: Range<usize>,
    ) -> Result<usize, String> {
        let all = Slices::all(how.slices);
        let slices = all.of(batch.len()).enumerate();
        let slices = slices
            .map(|(slice, own)| (slice, slice, batch.start + own.start..batch.start + own.end));
        let of = (run.clone(), vectors_of(how.slices));
        let nodes = self.gradients_of_slices(rows, how, of, (slices.collect(), rows.first))?;
        let (mut added, mut free) = (Vec::new(), Vec::new());
        let nodes = nodes.into_iter().rev();
        let sum = nodes.reduce(|right, left| both(left, right, &mut added)).expect("a slice");
        self.add(&run, &added, &mut free)?;
        Ok(sum)
    }

    /// The gradients of some blocks, of one where rows are drawn, over a run of slices: of each its
    /// index, its chain of losses and its rows, of which row i is at `position` + i of the epoch.
    /// Gives which of the vectors, of which there are `room`, the nodes are in.
    pub(super) fn gradients_of_slices(
        &mut self,
        rows: &Rows,
        how: &Learn,
        (run, room): (Range<usize>, usize),
        (slices, position): (Vec<(usize, usize, Range<usize>)>, usize),
    ) -> Result<Vec<usize>, String> {
        let (mut free, mut sums): (Vec<usize>, _) = ((0..room).collect(), Partials::default());
        for (slice, chain, own) in slices {
            let drawn = self.drawn(rows, how, (run.start, own.clone()), position)?;
            let (window, own) = rows_of(&drawn, rows, own);
            let (held, vectors) = self.parts_with(room)?;
            let vector = free.pop().expect("room for every partial sum");
            let sum = (Sums::Begin, chain);
            held.expert_gradient(window, own, run.clone(), &vectors[vector], sum)?;
            let mut added = Vec::new();
            sums.push(Node::leaf(slice), vector, |left, right| both(left, right, &mut added));
            self.add(&run, &added, &mut free)?;
        }
        Ok(sums.into_sums().collect())
    }

    /// Adds vectors, and each right one is free again.
    fn add(
        &mut self,
        run: &Range<usize>,
        added: &[(usize, usize)],
        free: &mut Vec<usize>,
    ) -> Result<(), String> {
        for (left, right) in added {
            let [left, right_one] = [left, right].map(|vector| &self.gradients[*vector]);
            self.held().add(run.clone(), left, right_one)?;
            free.push(*right);
        }
        Ok(())
    }

    /// Of some rows those that a block learns from, where they are drawn.
    fn drawn(
        &self,
        rows: &Rows,
        how: &Learn,
        (block, own): (usize, Range<usize>),
        position: usize,
    ) -> Result<Option<Window>, String> {
        let Some(negatives) = how.negatives else { return Ok(None) };
        let held = self.held();
        rows.draw(&held.queue, negatives, &held.layouts[block], (own, position)).map(Some)
    }
}

/// The rows that count of some of a window: those that were drawn of them, or themselves.
fn rows_of<'a>(
    drawn: &'a Option<Window>,
    rows: &'a Rows,
    own: Range<usize>,
) -> (&'a Window, Range<usize>) {
    match drawn {
        Some(drawn) => (drawn, 0..drawn.rows()),
        None => (&rows.window, own),
    }
}

/// Notes which two are added, and where: in the left one.
fn both(left: usize, right: usize, added: &mut Vec<(usize, usize)>) -> usize {
    added.push((left, right));
    left
}

/// Gradients are sums; a mini-batch counts by all of its rows, drawn or not.
fn rates(next: Next, (how, _, batch): &(&Learn, usize, Range<usize>)) -> Rates {
    Rates { rate: next.rate, scale: 1.0 / batch.len() as f32, l2: how.l2 }
}
