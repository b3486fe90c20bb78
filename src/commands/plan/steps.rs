//! What each step of a job takes of a rank: seconds, what of them it is, bytes, and what limits it.
//! Efficiency is that of `bench rank`: the flop of 1 / P of a step at the kernel's rate, over the
//! seconds of the fullest rank.

use serde_json::Value;

use super::Question;
use super::step_plan::StepPlan;
use super::world::World;
use crate::commands::bench::rank::steps::Step;
use crate::cost::grid::Machine;
use crate::cost::network::Network;
use crate::cost::pretraining::{self, MiniBatchWork};
use crate::cost::traffic::{Moved, Pretraining, Share, experts_travel, ordered_sum};
use crate::cost::{self, owners};
use crate::model::parameters;
use crate::partition::{Blocks, groups};

const NUMBER: usize = size_of::<f32>();
/// Seconds of a thread for a number of a frame, of its features or behind a layer, there and back
/// (it is dequantised, standardised, activated, pooled), by frames of 256 bytes through 256 units.
const FRAME_NUMBER_SECONDS: f64 = 3e-9;
/// Seconds of a thread for a row that pretraining reads in its shuffled order, proof included: 6 us
/// where `bench input` reads rows of 1,024 features so, 11 in a profile of pretraining on 128.
const SHUFFLED_ROW_SECONDS: f64 = 8e-6;
/// How much longer than all of them in the mean the slowest thread of a team takes, for each time
/// that their number is doubled.
const UNEVEN: f64 = 0.04;
/// A network that takes no time: what is left is a rank's own.
const FREE: Network = Network { bytes_per_second: f64::INFINITY, message_seconds: 0.0 };

/// All steps of a run.
pub(super) struct Steps {
    all: Vec<StepPlan>,
    /// Flop of a core a second in the gradients of stages 1 and 2.
    core_rates: [f64; 2],
}

impl Steps {
    pub(super) fn new(world: &World, question: &Question) -> Steps {
        let making = Making { world, question };
        let job = &world.whole.job;
        let mut steps = Vec::new();
        if job.pretrain.epochs > 0 {
            steps.push(making.pretraining());
        }
        if job.rounds.count > 0 {
            steps.extend([making.activations(), making.experts()]);
            if job.shared.iterations > 0 && world.shared() > 0 {
                steps.push(making.shared());
            }
        }
        if let Some(storage) = question.storage {
            let late = |step: &StepPlan| (step.input / storage - step.with_input()).max(0.0);
            steps.iter_mut().for_each(|step| step.late = late(step));
        }
        let threads = world.threads as f64;
        let core_rates = [Step::Experts, Step::Shared].map(|step| making.rate(step) / threads);
        Steps { all: steps, core_rates }
    }

    pub(super) fn core_rates(&self) -> [f64; 2] {
        self.core_rates
    }

    /// Seconds of a run whose steps go to their ends.
    pub(super) fn total(&self) -> f64 {
        self.all.iter().map(|step| step.times as f64 * step.seconds()).sum()
    }

    /// Seconds of it in which ranks wait for the network.
    pub(super) fn waiting(&self) -> f64 {
        self.all.iter().map(|step| step.times as f64 * step.waiting).sum()
    }

    /// Of all steps together.
    pub(super) fn efficiency(&self) -> f64 {
        let ideal: f64 = self.all.iter().map(|step| step.times as f64 * step.ideal).sum();
        ideal / self.total()
    }

    /// Bytes a second that the busiest step wants of a rank's input, so as not to wait: 0 where no
    /// step computes on what it reads, as a pass without shared layers only copies.
    pub(super) fn input_rate(&self) -> f64 {
        let computing = self.all.iter().filter(|step| step.arithmetic > 0.0);
        computing.map(|step| step.input / step.with_input()).fold(0.0, f64::max)
    }

    /// Ranks that have nothing to do in some step, the most of any.
    pub(super) fn idle_ranks(&self) -> usize {
        self.all.iter().map(|step| step.idle).max().unwrap_or(0)
    }

    /// On so many ranks, so many of them on a node.
    pub(super) fn json(&self, ranks: usize, of_node: usize) -> Vec<Value> {
        let beyond = (ranks - of_node) as f64 / (ranks - 1).max(1) as f64;
        self.all.iter().map(|step| step.json((of_node, beyond))).collect()
    }
}

/// What steps are made of.
pub(super) struct Making<'a> {
    pub(super) world: &'a World,
    pub(super) question: &'a Question,
}

impl Making<'_> {
    /// Flop a second of a rank in the products of a step.
    pub(super) fn rate(&self, step: Step) -> f64 {
        self.rate_with(step, false)
    }

    /// The same had one rank all of it: what efficiency is measured by.
    pub(super) fn best_rate(&self, step: Step) -> f64 {
        self.rate_with(step, true)
    }

    /// A rank in the products of a step.
    pub(super) fn machine(&self, step: Step) -> Machine {
        let threads = self.world.threads;
        let machine = match &self.question.device {
            Some(_) => Machine::gpu(threads),
            None => Machine::host(threads),
        };
        Machine { flop_per_second: self.rate(step), ..machine }
    }

    fn rate_with(&self, step: Step, all: bool) -> f64 {
        match &self.question.device {
            Some(gpu) => self.rate_of_device(gpu, step, all),
            None => self.rate_of_host(step.stage()),
        }
    }

    /// The same in the shared layers.
    fn layer_rate(&self) -> f64 {
        match &self.question.device {
            Some(gpu) => gpu.rates.flop_per_second,
            None => self.rate_of_host(0),
        }
    }

    /// Flop a second of a rank's threads in the gradient of a stage, or in the shared layers (0).
    fn rate_of_host(&self, stage: u8) -> f64 {
        let whole = &self.world.whole;
        let (count, width) = (whole.large.len().max(1), whole.shape.outputs());
        let classes: usize = whole.large.iter().map(|layout| layout.classes.len()).sum();
        let all: usize = whole.large.iter().flat_map(|layout| &layout.experts).sum();
        let experts = all as f64 / classes.max(count) as f64;
        self.question.rates.flop_per_second(stage, experts, width) * self.world.threads as f64
    }

    /// What threads that end unevenly add to products.
    pub(super) fn uneven(&self) -> f64 {
        UNEVEN * self.doublings_of_threads()
    }

    /// How often one thread is doubled to those that share a rank's products; a device needs none.
    pub(super) fn doublings_of_threads(&self) -> f64 {
        if self.question.device.is_some() { 0.0 } else { (self.world.threads as f64).log2() }
    }

    /// Rows of the rank that has most, and row blocks of it.
    pub(super) fn rows(&self, rank: usize) -> usize {
        let blocks =
            Blocks::even(self.world.whole.job.plan.rows, self.world.whole.all_row_blocks());
        blocks.run(self.world.whole.row_blocks(rank)).len()
    }

    /// Ranks that have no row.
    fn without_rows(&self) -> usize {
        let whole = &self.world.whole;
        (0..whole.ranks).filter(|rank| whole.row_blocks(*rank).is_empty()).count()
    }

    /// Bytes of a row of input.
    fn row_bytes(&self, frames: usize) -> f64 {
        let features = self.world.whole.job.plan.features;
        (if frames > 0 { frames * features } else { NUMBER * features }) as f64
    }

    /// Seconds of a rank for its rows' frames, so many of a row, beside products, there and back.
    fn frame_work(&self, rows: f64, frames: usize) -> f64 {
        let layers = self.world.whole.shape.shared_layers();
        let behind: usize = layers.frame_network().iter().map(|place| place.outputs).sum();
        let numbers = (self.world.whole.job.plan.features + behind) * frames;
        rows * numbers as f64 * FRAME_NUMBER_SECONDS / self.world.threads as f64
    }

    pub(super) fn labels(&self, rows: usize) -> usize {
        (rows as f64 * self.world.whole.job.plan.labels_per_row) as usize
    }

    fn pretraining(&self) -> StepPlan {
        let whole = &self.world.whole;
        let (job, ranks, learners) = (&whole.job, whole.ranks, whole.learners);
        let blocks = parameters(&whole.small);
        let layers = whole.shape.shared_layers();
        let batch = job.pretrain.batch.min(job.plan.rows);
        let count = Blocks::even(whole.all_row_blocks(), groups(batch, job.pretrain.groups)).len();
        let layer_flop = whole.flop_of_layers(Step::Pretrain, 1);
        let frames = whole.frames(Step::Pretrain);
        let work = MiniBatchWork {
            blocks: &blocks,
            width: layers.outputs(),
            rows: batch,
            groups: count,
            shared: layers.parameters(),
            layers: (layer_flop / 6.0) as usize,
            features: job.plan.features,
            frames,
        };
        let steps = job.plan.rows.div_ceil(batch);
        let machine = self.machine(Step::Pretrain);
        let fullest = whole.fullest(Step::Pretrain);
        let own_rows = whole.share_of_groups(fullest) * batch as f64;
        // What rows take on their way to a GPU, the model has.
        let beside = match machine.gpu {
            true => 0.0,
            false => {
                let read = own_rows * SHUFFLED_ROW_SECONDS / self.world.threads as f64;
                read + self.frame_work(own_rows, frames)
            }
        };
        let seconds =
            beside + pretraining::seconds(&work, learners, &self.question.network, &machine);
        let without = beside + pretraining::seconds(&work, learners, &FREE, &machine);
        let own = whole.flop_of_blocks(Step::Pretrain, whole.own(Step::Pretrain, fullest), batch)
            + own_rows * layer_flop;
        let arithmetic = (own / machine.flop_per_second).min(without);
        let times = steps as f64;
        let flop = whole.flop(Step::Pretrain);
        let rows = job.plan.rows;
        let share = |all: usize| Share { own: all.div_ceil(learners), all };
        let moved = cost::traffic::pretraining(
            &Pretraining {
                ranks,
                steps,
                rows: share(rows),
                labels: share(self.labels(rows)),
                width: layers.outputs(),
                shared: layers.parameters(),
                groups: &owners(count, learners),
                blocks: &owners(blocks.len(), learners),
            },
            fullest,
        );
        StepPlan {
            name: "pretrain",
            of: "epoch",
            times: job.pretrain.epochs,
            arithmetic: arithmetic * times,
            threads: 0.0,
            ideal: flop / ranks as f64 / self.best_rate(Step::Pretrain),
            waiting: (seconds - without) * times,
            host: (without - arithmetic) * times,
            moved,
            idle: ranks - learners,
            input: self.row_bytes(frames) * (rows / learners) as f64,
            late: 0.0,
        }
    }

    /// Rows become activations, once a round.
    fn activations(&self) -> StepPlan {
        let whole = &self.world.whole;
        let fullest = whole.fullest(Step::Shared);
        let (rows, all) = (self.rows(fullest), whole.job.plan.rows);
        // Of three products forward and back one.
        let row = whole.flop_of_layers(Step::Shared, 1) / 3.0;
        let rate = self.layer_rate();
        let input = self.row_bytes(whole.job.plan.frames) * rows as f64;
        let arithmetic = rows as f64 * row / rate;
        let ideal = all as f64 / whole.ranks as f64 * row / rate;
        // Whoever has no layers copies, at what memory gives a core.
        let copied =
            input / (self.question.rates.copy_bytes_per_second * self.world.threads as f64);
        let host = match self.question.device {
            Some(_) => self.rows_to_device(rows as f64),
            None => copied + self.frame_work(rows as f64, whole.job.plan.frames) / 2.0,
        };
        StepPlan {
            name: "activations",
            of: "pass",
            times: whole.job.rounds.count,
            arithmetic,
            threads: 0.0,
            ideal,
            waiting: 0.0,
            host,
            moved: Moved::default(),
            idle: self.without_rows(),
            input,
            late: 0.0,
        }
    }

    /// An iteration: all class blocks pass each wave of a rank's rows.
    fn shared(&self) -> StepPlan {
        let whole = &self.world.whole;
        let (ranks, rows) = (whole.ranks, whole.job.plan.rows);
        let fullest = whole.fullest(Step::Shared);
        let own = self.rows(fullest) as f64;
        let flop = whole.flop_of_blocks(Step::Shared, &whole.large, 1);
        let [blocks, best] =
            [self.rate(Step::Shared), self.best_rate(Step::Shared)].map(|rate| flop / rate);
        let layers = whole.flop_of_layers(Step::Shared, 1) / self.layer_rate();
        let products = own * (blocks + layers);
        let threads = products * self.uneven();
        let arithmetic = products + threads;
        let waves = whole.row_blocks(fullest).len().div_ceil(self.world.plan.wave.max(1));
        let all = parameters(&whole.large);
        let travel = experts_travel(&all, &owners(all.len(), ranks), fullest);
        let row_blocks = owners(whole.all_row_blocks(), ranks);
        let sum = ordered_sum(self.world.shared(), NUMBER, &row_blocks, fullest);
        let network = &self.question.network;
        let seconds = |moved: &Moved, messages: usize| {
            network.messages(messages, moved.received.max(moved.sent))
        };
        let travelling = waves as f64 * (seconds(&travel, travel.calls) + self.up_to_device());
        let summing = seconds(&sum, 2 * (ranks - 1));
        // Class blocks come while others are worked on.
        let waiting = (travelling - arithmetic).max(0.0) + summing;
        let moved = travel * waves + sum;
        let host = match self.question.device {
            Some(_) => self.rows_to_device(own),
            None => self.frame_work(own, whole.job.plan.frames),
        };
        StepPlan {
            name: "shared",
            of: "iteration",
            times: whole.job.rounds.count * whole.job.shared.iterations,
            arithmetic,
            threads,
            ideal: rows as f64 / ranks as f64 * (best + layers),
            waiting,
            host,
            moved,
            idle: self.without_rows(),
            input: self.row_bytes(whole.job.plan.frames) * own,
            late: 0.0,
        }
    }
}
