//! Stage 1, the expert step (docs/method.md, section 4.2): shared layers frozen, activations travel
//! past the class blocks, which stay with their owner rank and learn. No gradient crosses ranks.

mod early_stopping;
mod full_batch;
mod mini_batch;
mod negatives;
mod restore;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use self::early_stopping::HeldOut;
use self::full_batch::BlockSearch;
use self::mini_batch::Learner;
pub use self::mini_batch::Worker;
use self::negatives::Negatives;
use super::losses::total_over_blocks;
use super::saved::Saved;
use super::standing::Best;
use super::state::State;
use crate::comm::Comm;
use crate::device::{Device, Dropout, Pace};
use crate::error::Result;
use crate::flow::own_rows::OwnRows;
use crate::flow::rows_travel::{Order, Travel};
use crate::job::ExpertsJob;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::mixture::{Block, Kernel};
use crate::model::annotator::Annotator;
use crate::model::experts::Experts;
use crate::optim::Solver;
use crate::packed::put;
use crate::rng::{Permutation, Purpose};
use crate::team::Team;

/// Where an expert step stands, and what it learns with besides the weights.
pub struct Learning {
    position: Position,
    blocks: BlocksLearning,
    /// Of each block, where its classes stop by themselves; else none.
    held_out: Vec<HeldOut>,
    /// The best epoch, where the job looks for it.
    pub best: Best,
}

/// The window that comes next.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Position {
    epoch: usize,
    /// Rows of the epoch, or of the pass, that have passed all class blocks. A block may be
    /// further.
    rows: usize,
    /// Epochs without a better validation.
    without: usize,
    done: bool,
}

/// What the class blocks of this rank have.
enum BlocksLearning {
    MiniBatch(Vec<Learner>),
    FullBatch(Vec<BlockSearch>),
    /// The step is at its end, where what blocks have learned with is of no more use.
    Done,
}

impl Learning {
    pub fn new(job: &ExpertsJob, experts: &Experts) -> Learning {
        let layouts = experts.own_layouts().iter();
        let wanted = layouts.clone().filter(|_| job.class_patience > 0);
        let held_out = wanted.map(|layout| HeldOut::new(layout, job.class_patience)).collect();
        let blocks = match job.solver {
            Solver::Lbfgs => {
                let blocks = layouts.zip(&experts.parameters);
                let search = |(layout, parameters): (&Layout, &Arc<Vec<f32>>)| {
                    BlockSearch::new(layout, parameters, job.tolerance)
                };
                BlocksLearning::FullBatch(blocks.map(search).collect())
            }
            _ => BlocksLearning::MiniBatch(layouts.map(|one| Learner::new(one, job)).collect()),
        };
        Learning { position: Position::default(), blocks, held_out, best: Best::default() }
    }
}

impl Saved for Learning {
    fn put_common(&self, to: &mut dyn io::Write) -> io::Result<()> {
        put(to, &self.position)
    }

    fn has_blocks(&self) -> bool {
        !self.position.done
    }

    fn put_block(&self, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        match &self.blocks {
            BlocksLearning::MiniBatch(blocks) => put(to, &blocks[index])?,
            BlocksLearning::FullBatch(blocks) => blocks[index].put(to)?,
            BlocksLearning::Done => return Ok(()),
        }
        self.held_out.get(index).map_or(Ok(()), |held_out| put(to, held_out))
    }

    fn best(&self) -> Option<&Best> {
        Some(&self.best)
    }
}

/// What an expert step works on.
pub struct ExpertStep<'a> {
    pub comm: &'a Comm,
    pub job: &'a ExpertsJob,
    pub seed: u64,
    /// Round 1, 2, ...: part of what the order of rows is drawn from.
    pub round: usize,
    /// This rank's rows.
    pub own: &'a OwnRows,
    /// The rows of each rank.
    pub runs: &'a [Range<usize>],
}

/// A class block that passes a window: what it has, its layout and its weights.
type Lesson<'a> = (&'a mut Learner, (&'a Layout, &'a mut Arc<Vec<f32>>));
/// The same of one whose classes search.
type Search<'a> = (&'a mut BlockSearch, (&'a Layout, &'a Arc<Vec<f32>>));

impl ExpertStep<'_> {
    /// Trains the mixtures of `model` from where `learning` stands to the end of the step.
    ///
    /// # Errors
    /// What reading back activations and validating gives; exit 75 when told to stop, with `model`
    /// and `learning` where they can go on.
    pub fn run<D: Device>(
        &self,
        state: &mut State<D>,
        model: &mut Annotator,
        learning: &mut Learning,
    ) -> Result<()> {
        while !learning.position.done {
            match self.job.solver {
                Solver::Lbfgs => self.pass(state, model, learning)?,
                Solver::Adam | Solver::Adagrad => self.epoch(state, model, learning)?,
            }
        }
        Ok(())
    }

    /// What an error calls an epoch.
    fn place(&self, epoch: usize) -> String {
        format!("expert step, round {}, epoch {}", self.round, epoch + 1)
    }

    fn total_rows(&self) -> usize {
        self.runs.last().expect("a run for each rank").end
    }

    fn travel(&self, order: Order, dropout: Option<Dropout>) -> Travel<'_> {
        let window = self.job.window_rows();
        Travel { comm: self.comm, own: self.own, runs: self.runs, order, window, dropout }
    }

    /// Rows of all epochs before one.
    fn first(&self, epoch: usize) -> u64 {
        ((self.round * self.job.epochs + epoch) * self.total_rows()) as u64
    }

    /// What is left out of the rows of an epoch.
    fn dropout(&self, epoch: usize) -> Option<Dropout> {
        Dropout::of(self.job.dropout, self.seed, self.first(epoch))
    }

    /// Which rows class blocks without a label of theirs learn from in an epoch.
    fn negatives(&self, epoch: usize, class_count: usize) -> Option<Negatives> {
        let (share, seed, first) = (self.job.negatives, self.seed, self.first(epoch));
        (share < 1.0).then_some(Negatives { share, seed, first, class_count })
    }

    /// Every row once, in mini-batches.
    fn epoch<D: Device>(
        &self,
        state: &mut State<D>,
        model: &mut Annotator,
        learning: &mut Learning,
    ) -> Result<()> {
        let (epoch, rows) = (learning.position.epoch, self.total_rows());
        let stream = (self.round << 20 | epoch) as u64;
        let order = Permutation::new(self.seed, Purpose::RowOrder, stream, rows);
        let travel = self.travel(Order::Shuffled(order), self.dropout(epoch));
        let mut windows =
            self.comm.agree(travel.windows(learning.position.rows, &mut state.device))?;
        let mut gradients = vec![Vec::new(); state.device.kernels().len()];
        loop {
            let experts = &mut model.experts;
            let layouts = &experts.layouts[experts.own()];
            let negatives = self.negatives(epoch, model.shape.class_count);
            let how = (self.job, negatives, self.comm.stop());
            let first = learning.position.rows;
            let passed = windows.pass(&mut state.device, |device, rows, pace| {
                let window = (first, D::passing(rows));
                let mut workers = Worker::team(device.kernels(), &mut gradients);
                let blocks = layouts.iter().zip(&mut experts.parameters);
                let items = learning.learners().iter_mut().zip(blocks);
                let items = items.filter(|item| !item.0.converged).collect();
                let learn = |team: &mut Team<Worker>, (learner, (layout, parameters)): Lesson| {
                    let parameters = Arc::make_mut(parameters);
                    learner.learn(team, layout, parameters, window, how);
                };
                Team::new(&mut workers).polling(&mut || pace.poll()).together(items, learn);
                Ok(())
            });
            // All ranks come to the last window at once.
            let Some(passed) = passed.transpose() else { break };
            // Before that: a stop may have left blocks behind in this window.
            learning.position.rows = state.boundary_after(passed, model, learning)?;
        }
        let losses = learning.learners().iter().map(Learner::loss).collect();
        let loss = total_over_blocks(self.comm, &model.experts.owners, losses);
        state.check(&self.place(epoch), model, loss, None)?;
        // What is told of, and left at the end, is the average.
        swap_averages(learning.learners(), &mut model.experts);
        let told = self.told(loss / rows as f64, state, model, learning);
        let go_on = told.inspect_err(|_| swap_averages(learning.learners(), &mut model.experts))?;
        let learners = learning.learners();
        learners.iter_mut().for_each(|learner| learner.end_epoch(self.job.tolerance));
        let left = learners.iter().filter(|learner| !learner.converged).count();
        self.next(learning, go_on, left);
        match learning.position.done {
            true => {
                learning.put_back(&mut model.experts, true);
                learning.blocks = BlocksLearning::Done;
            }
            false => swap_averages(learning.learners(), &mut model.experts),
        }
        Ok(())
    }

    /// Every row past every class block, whose classes then take a step of their searches.
    fn pass<D: Device>(
        &self,
        state: &mut State<D>,
        model: &mut Annotator,
        learning: &mut Learning,
    ) -> Result<()> {
        if learning.position.rows == 0 {
            self.search(state, &mut model.experts, learning)?;
            learning.position.rows = self.total_rows();
        }
        let losses = learning.searches().iter().map(BlockSearch::value).collect();
        let loss = total_over_blocks(self.comm, &model.experts.owners, losses);
        state.check(&self.place(learning.position.epoch), model, loss, None)?;
        let go_on = self.told(loss, state, model, learning)?;
        let left = learning.searches().iter().filter(|search| !search.converged()).count();
        self.next(learning, go_on, left);
        if learning.position.done {
            let blocks = learning.searches().iter().zip(&mut model.experts.parameters);
            blocks.for_each(|(search, place)| search.settle(Arc::<Vec<f32>>::make_mut(place)));
            learning.put_back(&mut model.experts, true);
            learning.blocks = BlocksLearning::Done;
        }
        state.boundary(model, learning)
    }

    /// The pass itself. Nothing stays of one that is stopped.
    fn search<D: Device>(
        &self,
        state: &mut State<D>,
        experts: &mut Experts,
        learning: &mut Learning,
    ) -> Result<()> {
        let rows = self.total_rows();
        let layouts = &experts.layouts[experts.own()];
        let travel = self.travel(Order::Natural, None);
        let mut windows = self.comm.agree(travel.windows(0, &mut state.device))?;
        let mut visit = |device: &mut D, rows: &D::Rows, pace: &mut Pace| {
            let window = D::passing(rows);
            let blocks = layouts.iter().zip(&experts.parameters);
            let items = learning.searches().iter_mut().zip(blocks);
            let stop = self.comm.stop();
            let evaluate = |team: &mut Team<Kernel>, (search, (layout, parameters)): Search| {
                if !stop.asked() {
                    search.evaluate(team, Block { layout, parameters }, window);
                }
            };
            let items = items.filter(|item| !item.0.converged()).collect();
            Team::new(device.kernels()).polling(&mut || pace.poll()).together(items, evaluate);
            Ok(())
        };
        while let Some(passed) = windows.pass(&mut state.device, &mut visit).transpose() {
            let outcome = passed.and_then(|_| self.comm.unless_stopped());
            if let Err(error) = self.comm.agree(outcome) {
                learning.searches().iter_mut().for_each(BlockSearch::forget);
                return Err(error);
            }
        }
        let items = learning.searches().iter_mut().zip(&mut experts.parameters);
        let items = items.filter(|item| !item.0.converged());
        let l2 = f64::from(self.job.l2);
        let advance =
            |_: &mut Kernel, (search, parameters): (&mut BlockSearch, &mut Arc<Vec<f32>>)| {
                search.advance(Arc::<Vec<f32>>::make_mut(parameters), rows, l2);
            };
        Team::new(state.device.kernels()).for_each(items, advance);
        Ok(())
    }

    /// Goes to the next epoch or pass, or ends the step: where `go_on` is false, or no rank has a
    /// class block left that learns.
    fn next(&self, learning: &mut Learning, go_on: bool, left: usize) {
        let anyone = self.comm.max(left as u64) > 0;
        let position = &mut learning.position;
        (position.epoch, position.rows) = (position.epoch + 1, 0);
        position.done = !go_on || !anyone || position.epoch == self.job.epochs;
    }

    /// Tells of an epoch, or of a pass; returns whether to go on, as far as validation says.
    fn told<D: Device>(
        &self,
        loss: f64,
        state: &mut State<D>,
        model: &mut Annotator,
        learning: &mut Learning,
    ) -> Result<bool> {
        let epoch = learning.position.epoch + 1;
        let event = json!({ "step": "experts", "round": self.round, "epoch": epoch, "loss": loss });
        if self.job.class_patience > 0 {
            learning.put_back(&mut model.experts, false);
            let losses = state.offer_classes(model, event)?;
            learning.told(&losses, &mut model.experts);
            return Ok(true);
        }
        if self.job.patience == 0 {
            state.tell(event);
            return Ok(true);
        }
        let better = state.offer(model, &mut learning.best, event)?;
        let position = &mut learning.position;
        position.without = if better { 0 } else { position.without + 1 };
        Ok(position.without < self.job.patience)
    }
}

impl Learning {
    /// Puts classes that have stopped by themselves back to their best, or all classes.
    fn put_back(&self, experts: &mut Experts, all: bool) {
        let layouts = &experts.layouts[experts.own()];
        let places = layouts.iter().zip(&mut experts.parameters);
        for (held_out, (layout, parameters)) in self.held_out.iter().zip(places) {
            held_out.put_back(layout, all, Arc::<Vec<f32>>::make_mut(parameters));
        }
    }

    /// Takes each class's loss on the validation rows. What has stopped has converged.
    fn told(&mut self, losses: &[f64], experts: &mut Experts) {
        let layouts = &experts.layouts[experts.own()];
        for (index, held_out) in self.held_out.iter_mut().enumerate() {
            let (layout, parameters) = (&layouts[index], &experts.parameters[index]);
            held_out.told(layout, &losses[layout.classes.clone()], parameters);
        }
        self.put_back(experts, false);
        for (index, held_out) in self.held_out.iter().enumerate() {
            match &mut self.blocks {
                BlocksLearning::MiniBatch(blocks) => {
                    blocks[index].converged |= held_out.all_stopped();
                }
                BlocksLearning::FullBatch(blocks) => {
                    blocks[index].end_stopped(held_out, &experts.parameters[index]);
                }
                BlocksLearning::Done => (),
            }
        }
    }

    fn learners(&mut self) -> &mut Vec<Learner> {
        match &mut self.blocks {
            BlocksLearning::MiniBatch(learners) => learners,
            _ => panic!("mini-batches of a full-batch solver"),
        }
    }

    fn searches(&mut self) -> &mut Vec<BlockSearch> {
        match &mut self.blocks {
            BlocksLearning::FullBatch(searches) => searches,
            _ => panic!("full batches of a mini-batch solver"),
        }
    }
}

/// Exchanges the weights and their averages, where there are any.
fn swap_averages(learners: &mut [Learner], experts: &mut Experts) {
    for (learner, parameters) in learners.iter_mut().zip(&mut experts.parameters) {
        if let Some(average) = &mut learner.average {
            std::mem::swap(&mut average.weights, parameters);
        }
    }
}
