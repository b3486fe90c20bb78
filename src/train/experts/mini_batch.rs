//! A class block that learns by mini-batches in the expert step.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::negatives::{Drawn, Negatives};
use crate::comm::StopFlag;
use crate::job::ExpertsJob;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::mixture::{Block, Kernel, Passing, fresh_expert_gradient};
use crate::kernel::vector::LANES;
use crate::optim::adagrad::Adagrad;
use crate::optim::adam::Adam;
use crate::optim::average::Average;
use crate::optim::{Solver, Step};
use crate::packed;
use crate::team::Team;

/// One thread's kernel with the gradient that it makes.
pub struct Worker<'a> {
    pub kernel: &'a mut Kernel,
    pub gradient: &'a mut Vec<f32>,
}

impl Worker<'_> {
    /// A worker for each kernel, of which there are as many as gradients.
    pub fn team<'a>(kernels: &'a mut [Kernel], gradients: &'a mut [Vec<f32>]) -> Vec<Worker<'a>> {
        let places = kernels.iter_mut().zip(gradients);
        places.map(|(kernel, gradient)| Worker { kernel, gradient }).collect()
    }
}

impl AsMut<Kernel> for Worker<'_> {
    fn as_mut(&mut self) -> &mut Kernel {
        self.kernel
    }
}

#[derive(Serialize, Deserialize)]
enum Optimizer {
    Adam(Adam),
    Adagrad(Adagrad),
}

/// What a class block that learns by mini-batches has besides its weights.
#[derive(Serialize, Deserialize)]
pub struct Learner {
    optimizer: Optimizer,
    /// [groups][16] losses of the epoch under way, before each mini-batch's step.
    #[serde(with = "packed")]
    losses: Vec<f64>,
    /// The same of the epoch before.
    #[serde(with = "packed")]
    last_losses: Vec<f64>,
    /// Rows of the epoch that it has learned from: a stop may come in the middle of a window.
    rows: usize,
    pub converged: bool,
    /// Of the block's weights, where the job wants it.
    pub average: Option<Average>,
}

impl Learner {
    pub fn new(layout: &Layout, job: &ExpertsJob) -> Learner {
        let optimizer = match job.solver {
            Solver::Adam => Optimizer::Adam(Adam::new(layout.parameters())),
            _ => Optimizer::Adagrad(Adagrad::new(layout.parameters())),
        };
        let losses = vec![0.0; layout.groups.len() * LANES];
        let last_losses = vec![f64::INFINITY; losses.len()];
        let average =
            (job.averaging > 0.0).then(|| Average::new(layout.parameters(), job.averaging));
        Learner { optimizer, losses, last_losses, rows: 0, converged: false, average }
    }

    /// What of it, read back, no block of a run of `job` can have come to. A block that still
    /// learns has learned from `rows`, whole mini-batches of them or all.
    pub fn fault(&self, layout: &Layout, job: &ExpertsJob, rows: Range<usize>) -> Option<String> {
        let parameters = layout.parameters();
        let optimizer = match (&self.optimizer, job.solver) {
            (Optimizer::Adam(adam), Solver::Adam) => adam.fault(parameters),
            (Optimizer::Adagrad(adagrad), Solver::Adagrad) => adagrad.fault(parameters),
            _ => Some("found the state of another solver".into()),
        };
        let average = match &self.average {
            Some(average) if job.averaging > 0.0 => average.fault(parameters, job.averaging),
            None if job.averaging == 0.0 => None,
            _ => Some("found an average, or none, against the job".into()),
        };
        let [losses, last_losses] = [&self.losses, &self.last_losses];
        let counts = [losses.len(), last_losses.len()] == [layout.groups.len() * LANES; 2];
        // Before the first epoch is over the last ones are infinite.
        let fine = losses.iter().all(|loss| loss.is_finite())
            && last_losses.iter().all(|loss| *loss > f64::NEG_INFINITY);
        let places = (rows.start..=rows.end).contains(&self.rows)
            && ((self.rows - rows.start).is_multiple_of(job.batch) || self.rows == rows.end);
        optimizer.or(average).or_else(|| match () {
            () if !counts || !fine => Some("losses: found others than a block has".into()),
            () if !places && !self.converged => {
                Some(format!("rows: found {}, expected mini-batches in {rows:?}", self.rows))
            }
            () => None,
        })
    }

    /// Runs through the mini-batches of a window that it hasn't seen, while weights and optimizer
    /// state are hot, until the run is to stop. A team of several threads shares every mini-batch.
    pub fn learn(
        &mut self,
        team: &mut Team<Worker>,
        layout: &Layout,
        parameters: &mut [f32],
        (first, window): (usize, Passing),
        (job, negatives, stop): (&ExpertsJob, Option<Negatives>, &StopFlag),
    ) {
        let rows = window.labels.rows();
        let instructions = team.own().kernel.gemm().instructions();
        let mut gradient = std::mem::take(team.own().gradient);
        gradient.resize(parameters.len(), 0.0);
        let mut drawn = Drawn::new(layout.width);
        for from in (self.rows - first..rows).step_by(job.batch) {
            if stop.asked() {
                break;
            }
            let batch = from..(from + job.batch).min(rows);
            self.rows = first + batch.end;
            let step = Step {
                learning_rate: job.learning_rate,
                scale: 1.0 / batch.len() as f32,
                l2: job.l2,
                decayed: layout.biases(),
            };
            let (block, losses) = (Block { layout, parameters }, &mut self.losses);
            let (mut passing, mut rows) = (window, batch);
            if let Some(negatives) = negatives {
                drawn.draw(negatives, layout, passing, rows, first);
                (passing, rows) = (drawn.passing(), 0..drawn.rows());
            }
            match rows.is_empty() {
                true => gradient.fill(0.0),
                false => fresh_expert_gradient(team, block, passing, rows, &mut gradient, losses),
            }
            match &mut self.optimizer {
                Optimizer::Adam(adam) => adam.step(team, instructions, parameters, &gradient, step),
                Optimizer::Adagrad(adagrad) => {
                    adagrad.step(team, instructions, parameters, &gradient, step);
                }
            }
            if let Some(average) = &mut self.average {
                average.step(team, instructions, parameters);
            }
        }
        *team.own().gradient = gradient;
    }

    /// Loss of the epoch, summed over the block's classes and all rows.
    pub fn loss(&self) -> f64 {
        self.losses.iter().sum()
    }

    /// A block whose every class fell by less than `tolerance` has converged; its loss stays.
    pub fn end_epoch(&mut self, tolerance: f64) {
        self.rows = 0;
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
