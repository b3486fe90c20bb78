//! What each step of a job takes of a rank: seconds, what of them it is, bytes, and what limits it.
//! Efficiency is that of `bench rank`: the flop of 1 / P of a step at the kernel's rate, over the
//! seconds of the fullest rank.

use serde_json::{Value, json};

use super::Question;
use super::world::World;
use crate::commands::bench::rank::steps::Step;
use crate::cost::grid::{Machine, Work, parts, seconds_on};
use crate::cost::network::Network;
use crate::cost::pretraining::{self, MiniBatchWork};
use crate::cost::searches::searches;
use crate::cost::traffic::{
    ExpertEpoch, Moved, Pretraining, Share, experts, experts_travel, ordered_sum,
};
use crate::cost::{self, owners};
use crate::device::Part;
use crate::model::{Layout, parameters, stride_of};
use crate::partition::{Blocks, Grid, groups};

const NUMBER: usize = size_of::<f32>();
/// Seconds of a thread for a number of a frame, of its features or behind a layer, there and back
/// (it is dequantised, standardised, activated, pooled), by frames of 256 bytes through 256 units.
const FRAME_NUMBER_SECONDS: f64 = 3e-9;
/// A network that takes no time: what is left is a rank's own.
const FREE: Network = Network { bytes_per_second: f64::INFINITY, message_seconds: 0.0 };

/// A step, once.
pub(super) struct StepPlan {
    name: &'static str,
    /// What it is once: an epoch, an iteration, a pass.
    of: &'static str,
    /// How often a run does it.
    times: usize,
    seconds: f64,
    /// Of the fullest rank, and of each rank if all had as much.
    arithmetic: f64,
    ideal: f64,
    /// What of the network isn't behind arithmetic, and host work.
    waiting: f64,
    host: f64,
    received: usize,
    idle: usize,
    /// Bytes that a rank reads.
    input: f64,
}

/// All steps of a run.
pub(super) struct Steps {
    all: Vec<StepPlan>,
    /// Flop of a core a second in the gradients of stages 1 and 2.
    core_rates: [f64; 2],
}

impl StepPlan {
    fn efficiency(&self) -> f64 {
        self.ideal / self.seconds
    }

    /// What takes most of the time beside what arithmetic would take if all ranks had as much.
    fn limited_by(&self) -> &'static str {
        let uneven = self.arithmetic - self.ideal;
        let losses =
            [("too few blocks", uneven), ("host work", self.host), ("network", self.waiting)];
        let (name, most) =
            losses.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("three of them");
        if most < 0.1 * self.seconds { "arithmetic" } else { name }
    }

    fn json(&self) -> Value {
        json!({
            "step": self.name,
            "of": self.of,
            "times": self.times,
            "seconds": self.seconds,
            "arithmetic_seconds": self.arithmetic,
            "host_seconds": self.host,
            "waiting_seconds": self.waiting,
            "bytes_received": self.received,
            "idle_ranks": self.idle,
            "limited_by": self.limited_by(),
            "efficiency": self.efficiency(),
        })
    }
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
        let threads = world.threads as f64;
        Steps { all: steps, core_rates: [1, 2].map(|stage| making.rate(stage) / threads) }
    }

    pub(super) fn core_rates(&self) -> [f64; 2] {
        self.core_rates
    }

    /// Seconds of a run whose steps go to their ends.
    pub(super) fn total(&self) -> f64 {
        self.all.iter().map(|step| step.times as f64 * step.seconds).sum()
    }

    /// Of all steps together.
    pub(super) fn efficiency(&self) -> f64 {
        let ideal: f64 = self.all.iter().map(|step| step.times as f64 * step.ideal).sum();
        ideal / self.total()
    }

    /// Bytes a second that the busiest step wants of a rank's input.
    pub(super) fn input_rate(&self) -> f64 {
        self.all.iter().map(|step| step.input / step.seconds).fold(0.0, f64::max)
    }

    /// Ranks that have nothing to do in some step, the most of any.
    pub(super) fn idle_ranks(&self) -> usize {
        self.all.iter().map(|step| step.idle).max().unwrap_or(0)
    }

    pub(super) fn json(&self) -> Vec<Value> {
        self.all.iter().map(StepPlan::json).collect()
    }
}

/// What steps are made of.
struct Making<'a> {
    world: &'a World,
    question: &'a Question,
}

impl Making<'_> {
    /// Flop a second of a rank in the gradient of a stage, or in the shared layers (0).
    fn rate(&self, stage: u8) -> f64 {
        let whole = &self.world.whole;
        let (count, width) = (whole.large.len().max(1), whole.shape.outputs());
        let classes: usize = whole.large.iter().map(|layout| layout.classes.len()).sum();
        let all: usize = whole.large.iter().flat_map(|layout| &layout.experts).sum();
        let experts = all as f64 / classes.max(count) as f64;
        self.question.rates.flop_per_second(stage, experts, width) * self.world.threads as f64
    }

    fn machine(&self, stage: u8) -> Machine {
        Machine { flop_per_second: self.rate(stage), threads: self.world.threads }
    }

    /// Rows of the rank that has most, and row blocks of it.
    fn rows(&self, rank: usize) -> usize {
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

    fn labels(&self, rows: usize) -> usize {
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
        let work = MiniBatchWork {
            blocks: &blocks,
            width: layers.outputs(),
            rows: batch,
            groups: count,
            shared: layers.parameters(),
            layers: (layer_flop / 6.0) as usize,
        };
        let steps = job.plan.rows.div_ceil(batch);
        let machine = self.machine(1);
        let fullest = whole.fullest(Step::Pretrain);
        let frames = if job.plan.frames > 0 { job.pretrain.frames.max(1) } else { 0 };
        let own_rows = whole.share_of_groups(fullest) * batch as f64;
        let beside = self.frame_work(own_rows, frames);
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
            seconds: seconds * times,
            arithmetic: arithmetic * times,
            ideal: flop / ranks as f64 / machine.flop_per_second,
            waiting: (seconds - without) * times,
            host: (without - arithmetic) * times,
            received: moved.received,
            idle: ranks - learners,
            input: self.row_bytes(frames) * (rows / learners) as f64,
        }
    }

    /// Rows become activations, once a round.
    fn activations(&self) -> StepPlan {
        let whole = &self.world.whole;
        let fullest = whole.fullest(Step::Shared);
        let (rows, all) = (self.rows(fullest), whole.job.plan.rows);
        // Of three products forward and back one.
        let row = whole.flop_of_layers(Step::Shared, 1) / 3.0;
        let rate = self.rate(0);
        let input = self.row_bytes(whole.job.plan.frames) * rows as f64;
        let arithmetic = rows as f64 * row / rate;
        let ideal = all as f64 / whole.ranks as f64 * row / rate;
        // Whoever has no layers copies, at what memory gives a core.
        let copied =
            input / (self.question.rates.copy_bytes_per_second * self.world.threads as f64);
        let host = copied + self.frame_work(rows as f64, whole.job.plan.frames) / 2.0;
        StepPlan {
            name: "activations",
            of: "pass",
            times: whole.job.rounds.count,
            seconds: arithmetic + host,
            arithmetic,
            ideal,
            waiting: 0.0,
            host,
            received: 0,
            idle: self.without_rows(),
            input,
        }
    }

    fn experts(&self) -> StepPlan {
        let whole = &self.world.whole;
        let (job, ranks, grid) = (&whole.job, whole.ranks, &whole.grid);
        let (all, rows) = (parameters(&whole.large), job.plan.rows);
        let (step, passes) = job.experts.step_rows(rows);
        let (batch, width, shares) = (step.min(rows), whole.shape.outputs(), vec![1; ranks]);
        let slices = job.experts.row_slices;
        let work = Work { blocks: &all, width, batch, passes, slices, shares: &shares };
        let rate = self.rate(1);
        let machine = (&vec![rate; ranks][..], self.world.threads);
        let batches = rows.div_ceil(batch);
        let learned = f64::from(job.experts.negatives);
        let seconds = seconds_on(&work, grid, &self.question.network, machine);
        let without = seconds_on(&work, grid, &FREE, machine);
        let fullest = whole.fullest(Step::Experts);
        let own = whole.flop_of_blocks(Step::Experts, whole.own(Step::Experts, fullest), batch)
            * whole.slices(fullest) as f64
            / slices as f64;
        let arithmetic = learned * (own / rate).min(without);
        let host = without - (own / rate).min(without);
        let times = batches as f64;
        StepPlan {
            name: "experts",
            of: "epoch",
            times: job.rounds.count * job.experts.epochs,
            seconds: (arithmetic + host + (seconds - without)) * times,
            arithmetic: arithmetic * times,
            ideal: whole.flop(Step::Experts) / ranks as f64 / rate,
            waiting: (seconds - without) * times,
            host: host * times,
            received: self.moved_in_experts(fullest, batches).received,
            idle: self.world.idle_in_experts(),
            input: 0.0,
        }
    }

    fn moved_in_experts(&self, rank: usize, batches: usize) -> Moved {
        let whole = &self.world.whole;
        let (job, large) = (&whole.job, &whole.large);
        let shape = (whole.grid.rows(), whole.grid.columns());
        let grid = Grid::new(shape, job.experts.row_slices, whole.ranks, rank);
        let columns = grid.deal(&parameters(large), &vec![1; whole.ranks]);
        let most = columns.of_column.runs().iter().map(std::ops::Range::len).max().unwrap_or(0);
        let panels = large.iter().map(|layout| layout.panels).max().unwrap_or(0);
        let held = &large[columns.of_column.own()];
        let in_turns = |layout: &Layout| {
            let parts = Part::all(layout, parts(most, panels));
            (parts.iter().map(|part| part.numbers(layout)).collect(), 16 * layout.groups.len())
        };
        // Solvers that take all rows for a step exchange class blocks at the end of a pass.
        let (_, passes) = job.experts.step_rows(job.plan.rows);
        let blocks = if passes { Vec::new() } else { held.iter().map(in_turns).collect() };
        let ends = if passes { pass_ends(&grid, held) } else { Moved::default() };
        let (rows, stride) = (job.plan.rows, stride_of(whole.shape.outputs()));
        let sizes = |rows: usize| [rows, rows * stride, self.labels(rows)];
        let own = grid.slices().own().len();
        let taken = rows * own / job.experts.row_slices.max(1);
        let epoch = ExpertEpoch {
            grid: &grid,
            owners: &columns.owners,
            windows: rows.div_ceil(job.experts.window_rows()),
            batches,
            given: sizes(self.rows(rank)),
            taken: grid.own().map(|_| sizes(taken)),
            blocks: &blocks,
            averaging: job.experts.averaging > 0.0,
        };
        experts(&epoch) + ends
    }

    /// An iteration: all class blocks pass each wave of a rank's rows.
    fn shared(&self) -> StepPlan {
        let whole = &self.world.whole;
        let (ranks, rows) = (whole.ranks, whole.job.plan.rows);
        let fullest = whole.fullest(Step::Shared);
        let own = self.rows(fullest) as f64;
        let blocks = whole.flop_of_blocks(Step::Shared, &whole.large, 1) / self.rate(2);
        let layers = whole.flop_of_layers(Step::Shared, 1) / self.rate(0);
        let arithmetic = own * (blocks + layers);
        let waves = whole.row_blocks(fullest).len().div_ceil(self.world.plan.wave.max(1));
        let all = parameters(&whole.large);
        let travel = experts_travel(&all, &owners(all.len(), ranks), fullest);
        let row_blocks = owners(whole.all_row_blocks(), ranks);
        let sum = ordered_sum(self.world.shared(), NUMBER, &row_blocks, fullest);
        let network = &self.question.network;
        let seconds = |moved: &Moved, messages: usize| {
            let bytes = moved.received.max(moved.sent) as f64;
            bytes / network.bytes_per_second + messages as f64 * network.message_seconds
        };
        let travelling = waves as f64 * seconds(&travel, travel.calls);
        let summing = seconds(&sum, 2 * (ranks - 1));
        // Class blocks come while others are worked on.
        let waiting = (travelling - arithmetic).max(0.0) + summing;
        let received = waves * travel.received + sum.received;
        let host = self.frame_work(own, whole.job.plan.frames);
        StepPlan {
            name: "shared",
            of: "iteration",
            times: whole.job.rounds.count * whole.job.shared.iterations,
            seconds: arithmetic + waiting + host,
            arithmetic,
            ideal: rows as f64 / ranks as f64 * (blocks + layers),
            waiting,
            host,
            received,
            idle: self.without_rows(),
            input: self.row_bytes(whole.job.plan.frames) * own,
        }
    }
}

/// What a rank of a column moves of these class blocks when all rows have gone by.
fn pass_ends(grid: &Grid, held: &[Layout]) -> Moved {
    if grid.rows() == 1 || grid.own().is_none() {
        return Moved::default();
    }
    let of_block = |layout: &Layout| {
        let of_class = |class: usize| layout.places_of(class).0.len();
        let numbers: Vec<usize> = (0..layout.classes.len()).map(of_class).collect();
        searches(&numbers, grid.slices())
    };
    held.iter().map(of_block).sum()
}
