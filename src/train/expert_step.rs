//! Stage 1, the expert step (method.md, section 4): shared layers frozen, activations travel past
//! the class blocks, which stay with their owner rank and learn. No gradient crosses ranks.

use std::ops::Range;
use std::sync::Arc;

use super::losses::total_over_blocks;
use crate::comm::Comm;
use crate::error::Result;
use crate::flow::own_rows::OwnRows;
use crate::flow::rows_travel::{Dropout, Order, Travel, Window};
use crate::job::ExpertsJob;
use crate::model::experts::Experts;
use crate::model::layout::Layout;
use crate::model::mixture::{Block, Kernel};
use crate::model::vector::LANES;
use crate::optim::Solver;
use crate::optim::adagrad::Adagrad;
use crate::optim::adam::Adam;
use crate::optim::average::Average;
use crate::optim::lbfgs::Lbfgs;
use crate::parallel::work_off;
use crate::rng::{Permutation, Purpose};

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

/// Is told of every epoch: its number, its mean training loss, the experts and the threads'
/// kernels.
type Told<'a> = &'a mut dyn FnMut(usize, f64, &Experts, &mut [Kernel]) -> bool;

/// One thread's kernel with the gradient that it makes.
struct Worker<'a> {
    kernel: &'a mut Kernel,
    gradient: Vec<f32>,
}

enum Optimizer {
    Adam(Adam),
    Adagrad(Adagrad),
}

/// What a class block that learns by mini-batches has besides its weights.
struct Learner {
    optimizer: Optimizer,
    /// [groups][16] losses of the epoch under way, before each mini-batch's step.
    losses: Vec<f64>,
    /// The same of the epoch before.
    last_losses: Vec<f64>,
    converged: bool,
    /// Of the block's weights, where the job wants it.
    average: Option<Average>,
}

/// A class block that passes a window: what it has, its layout and its weights.
type Lesson<'a> = (&'a mut Learner, (&'a Layout, &'a mut Arc<Vec<f32>>));

impl ExpertStep<'_> {
    /// Trains the class blocks in `experts`. `told` is called after every epoch (or full-batch
    /// pass) with its number, its mean training loss and the experts; it returns false to stop.
    ///
    /// # Errors
    /// What reading back activations gives.
    pub fn run(&self, experts: &mut Experts, kernels: &mut [Kernel], told: Told) -> Result<()> {
        match self.job.solver {
            Solver::Lbfgs => self.full_batch(experts, kernels, told),
            Solver::Adam | Solver::Adagrad => self.mini_batches(experts, kernels, told),
        }
    }

    fn total_rows(&self) -> usize {
        self.runs.last().expect("a run for each rank").end
    }

    fn travel(&self, order: Order, dropout: Option<Dropout>) -> Travel<'_> {
        let window = (self.job.window / self.job.batch).max(1) * self.job.batch;
        Travel { comm: self.comm, own: self.own, runs: self.runs, order, window, dropout }
    }

    /// What is left out of the rows of an epoch.
    fn dropout(&self, epoch: usize) -> Option<Dropout> {
        let (share, seed) = (self.job.dropout, self.seed);
        let first = (self.round * self.job.epochs + epoch) * self.total_rows();
        (share > 0.0).then_some(Dropout { share, seed, first: first as u64 })
    }

    fn mini_batches(
        &self,
        experts: &mut Experts,
        kernels: &mut [Kernel],
        told: Told,
    ) -> Result<()> {
        let (own, count, rows) = (experts.own.clone(), experts.layouts.len(), self.total_rows());
        let mut learners: Vec<Learner> = experts.layouts[own.clone()]
            .iter()
            .map(|layout| Learner::new(layout, self.job))
            .collect();
        for epoch in 0..self.job.epochs {
            let stream = (self.round << 20 | epoch) as u64;
            let order = Permutation::new(self.seed, Purpose::RowOrder, stream, rows);
            let mut workers: Vec<Worker> =
                kernels.iter_mut().map(|kernel| Worker { kernel, gradient: Vec::new() }).collect();
            let layouts = &experts.layouts[own.clone()];
            self.travel(Order::Shuffled(order), self.dropout(epoch)).windows(|window, poll| {
                let blocks = layouts.iter().zip(&mut experts.parameters);
                let items = learners.iter_mut().zip(blocks).filter(|item| !item.0.converged);
                let items = items.collect();
                let learn = |worker: &mut Worker, (learner, (layout, parameters)): Lesson| {
                    let parameters = Arc::make_mut(parameters);
                    learner.learn(worker, layout, parameters, window, self.job);
                };
                work_off(&mut workers, items, learn, poll);
            })?;
            let losses = learners.iter().map(Learner::loss).collect();
            let loss = total_over_blocks(self.comm, count, losses) / rows as f64;
            learners.iter_mut().for_each(|learner| learner.end_epoch(self.job.tolerance));
            let left = learners.iter().filter(|learner| !learner.converged).count();
            // What is told of, and left at the end, is the average.
            swap_averages(&mut learners, experts);
            let go_on = told(epoch, loss, experts, kernels) && self.comm.max(left as u64) > 0;
            if !go_on || epoch + 1 == self.job.epochs {
                break;
            }
            swap_averages(&mut learners, experts);
        }
        Ok(())
    }

    fn full_batch(&self, experts: &mut Experts, kernels: &mut [Kernel], told: Told) -> Result<()> {
        let (own, count, rows) = (experts.own.clone(), experts.layouts.len(), self.total_rows());
        let mut searches: Vec<BlockSearch> = experts.layouts[own.clone()]
            .iter()
            .zip(&experts.parameters)
            .map(|(layout, parameters)| BlockSearch::new(layout, parameters, self.job.tolerance))
            .collect();
        for pass in 0..self.job.epochs {
            let layouts = &experts.layouts[own.clone()];
            self.travel(Order::Natural, None).windows(|window, poll| {
                let blocks = layouts.iter().zip(&experts.parameters);
                let items = searches.iter_mut().zip(blocks).filter(|item| !item.0.converged());
                work_off(
                    kernels,
                    items.collect(),
                    |kernel, (search, (layout, parameters)): (&mut BlockSearch, _)| {
                        search.evaluate(kernel, Block { layout, parameters }, window);
                    },
                    poll,
                );
            })?;
            let items = searches.iter_mut().zip(&mut experts.parameters);
            let items = items.filter(|item| !item.0.converged()).collect();
            let l2 = f64::from(self.job.l2);
            let advance =
                |_: &mut Kernel, (search, parameters): (&mut BlockSearch, &mut Arc<Vec<f32>>)| {
                    search.advance(Arc::<Vec<f32>>::make_mut(parameters), rows, l2);
                };
            work_off(kernels, items, advance, &mut || ());
            let losses = searches.iter().map(BlockSearch::value).collect();
            let loss = total_over_blocks(self.comm, count, losses);
            let left = searches.iter().filter(|search| !search.converged()).count();
            if !told(pass, loss, experts, kernels) || self.comm.max(left as u64) == 0 {
                break;
            }
        }
        for (search, parameters) in searches.iter().zip(&mut experts.parameters) {
            search.settle(Arc::<Vec<f32>>::make_mut(parameters));
        }
        Ok(())
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

impl Learner {
    fn new(layout: &Layout, job: &ExpertsJob) -> Learner {
        let optimizer = match job.solver {
            Solver::Adam => Optimizer::Adam(Adam::new(layout.parameters())),
            _ => Optimizer::Adagrad(Adagrad::new(layout.parameters())),
        };
        let losses = vec![0.0; layout.groups.len() * LANES];
        let last_losses = vec![f64::INFINITY; losses.len()];
        let average =
            (job.averaging > 0.0).then(|| Average::new(layout.parameters(), job.averaging));
        Learner { optimizer, losses, last_losses, converged: false, average }
    }

    /// Runs through the mini-batches of a window while weights and optimizer state are hot.
    fn learn(
        &mut self,
        worker: &mut Worker,
        layout: &Layout,
        parameters: &mut [f32],
        window: &Window,
        job: &ExpertsJob,
    ) {
        let rows = window.labels.rows();
        let instructions = worker.kernel.gemm().instructions();
        let (rate, decay) = (job.learning_rate, (job.l2, layout.biases()));
        for from in (0..rows).step_by(job.batch) {
            let batch = from..(from + job.batch).min(rows);
            let scale = 1.0 / batch.len() as f32;
            let gradient = &mut worker.gradient;
            gradient.resize(parameters.len(), 0.0);
            let (block, losses) = (Block { layout, parameters }, &mut self.losses);
            worker.kernel.fresh_expert_gradient(block, window.passing(), batch, gradient, losses);
            match &mut self.optimizer {
                Optimizer::Adam(adam) => {
                    adam.step(instructions, parameters, gradient, rate, scale, decay);
                }
                Optimizer::Adagrad(adagrad) => {
                    adagrad.step(instructions, parameters, gradient, rate, scale, decay);
                }
            }
            if let Some(average) = &mut self.average {
                average.step(instructions, parameters);
            }
        }
    }

    /// Loss of the epoch, summed over the block's classes and all rows.
    fn loss(&self) -> f64 {
        self.losses.iter().sum()
    }

    /// A block whose every class fell by less than `tolerance` has converged; its loss stays.
    fn end_epoch(&mut self, tolerance: f64) {
        if self.converged {
            return;
        }
        let settled = |(now, before): (&f64, &f64)| before - now <= tolerance * now;
        self.converged = tolerance > 0.0 && self.losses.iter().zip(&self.last_losses).all(settled);
        if !self.converged {
            self.last_losses.copy_from_slice(&self.losses);
            self.losses.fill(0.0);
        }
    }
}

/// A class block whose classes search by L-BFGS, each by itself. The block's parameters stand at
/// the trial points.
struct BlockSearch {
    gradient: Vec<f32>,
    /// [groups][16]
    losses: Vec<f64>,
    classes: Vec<ClassSearch>,
}

/// One class: where its numbers lie in the block's parameters, weights first, and its search.
struct ClassSearch {
    places: Vec<usize>,
    /// The first so many of `places` are weights, the rest biases.
    weights: usize,
    search: Lbfgs,
}

impl BlockSearch {
    fn new(layout: &Layout, parameters: &[f32], tolerance: f64) -> BlockSearch {
        let classes = (0..layout.classes.len())
            .map(|class| {
                let (places, weights) = layout.places_of(class);
                let point = places.iter().map(|place| parameters[*place]).collect();
                ClassSearch { places, weights, search: Lbfgs::new(point, tolerance) }
            })
            .collect();
        let losses = vec![0.0; layout.groups.len() * LANES];
        BlockSearch { gradient: vec![0.0; parameters.len()], losses, classes }
    }

    fn converged(&self) -> bool {
        self.classes.iter().all(|class| class.search.converged())
    }

    /// Objectives at the last accepted points, summed over classes.
    fn value(&self) -> f64 {
        self.classes.iter().map(|class| class.search.value()).sum()
    }

    fn evaluate(&mut self, kernel: &mut Kernel, block: Block, window: &Window) {
        let rows = 0..window.labels.rows();
        let (gradient, losses) = (&mut self.gradient, &mut self.losses);
        kernel.expert_gradient(block, window.passing(), rows, gradient, losses);
    }

    /// Tells every class its objective, mean loss + l2 |w|^2 / 2, and moves it to its next trial.
    fn advance(&mut self, parameters: &mut [f32], rows: usize, l2: f64) {
        let scale = 1.0 / rows as f64;
        for (index, class) in self.classes.iter_mut().enumerate() {
            let (mut value, mut gradient) = (self.losses[index] * scale, Vec::new());
            for (position, place) in class.places.iter().enumerate() {
                let mut slope = f64::from(self.gradient[*place]) * scale;
                if position < class.weights {
                    let weight = f64::from(parameters[*place]);
                    value += 0.5 * l2 * weight * weight;
                    slope += l2 * weight;
                }
                gradient.push(slope as f32);
            }
            class.search.told(value, &gradient);
            let trial = class.search.trial();
            class.places.iter().zip(trial).for_each(|(place, weight)| parameters[*place] = weight);
        }
        self.gradient.fill(0.0);
        self.losses.fill(0.0);
    }

    /// Puts every class at its last accepted point.
    fn settle(&self, parameters: &mut [f32]) {
        for class in &self.classes {
            let point = class.search.point();
            class.places.iter().zip(point).for_each(|(place, weight)| parameters[*place] = *weight);
        }
    }
}
