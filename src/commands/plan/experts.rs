//! What the expert step takes of a rank, by the model that chooses its grid (`cost/grid.rs`).

use super::step_plan::StepPlan;
use super::steps::Making;
use crate::commands::bench::rank::steps::Step;
use crate::cost::grid::{Exchange, Work, parts, seconds_on};
use crate::cost::searches::searches;
use crate::cost::traffic::{ExpertEpoch, Moved, experts, row_bytes};
use crate::device::Part;
use crate::model::{Layout, parameters, stride_of};
use crate::partition::Grid;

impl Making<'_> {
    pub(super) fn experts(&self) -> StepPlan {
        let whole = &self.world.whole;
        let (job, ranks, grid) = (&whole.job, whole.ranks, &whole.grid);
        let (all, rows) = (parameters(&whole.large), job.plan.rows);
        let (step, passes) = job.experts.step_rows(rows);
        let (batch, width, shares) = (step.min(rows), whole.shape.outputs(), vec![1; ranks]);
        let slices = job.experts.row_slices;
        let learned = f64::from(job.experts.negatives);
        let work = Work { blocks: &all, width, batch, passes, slices, learned, shares: &shares };
        let machines = vec![self.machine(Step::Experts); ranks];
        let batches = rows.div_ceil(batch);
        let fullest = whole.fullest(Step::Experts);
        let blocks = whole.own(Step::Experts, fullest);
        let found = seconds_on(&work, grid, &self.question.network, &machines);
        let mut host = found.host;
        if grid.rows() > 1 && !passes {
            host += self.over_the_bus(Exchange::of(&work, &parameters(blocks), grid.rows()).bytes);
        }
        let times = batches as f64;
        let beside = self.beside_experts(blocks, found.products * times);
        let window = job.experts.window_rows().min(rows);
        let windows = rows.div_ceil(window);
        let late = self.window_late(window / grid.rows(), found.all() * times / windows as f64);
        StepPlan {
            name: "experts",
            of: "epoch",
            times: job.rounds.count * job.experts.epochs,
            arithmetic: (found.products + found.threads) * times,
            threads: found.threads * times,
            ideal: whole.flop(Step::Experts) / ranks as f64 / self.best_rate(Step::Experts),
            waiting: found.waiting * times + late * windows as f64,
            host: host * times + beside,
            moved: self.moved_in_experts(fullest, batches),
            idle: self.world.idle_in_experts(),
            input: 0.0,
            late: 0.0,
        }
    }

    /// Seconds by which so many rows of a window come to a rank late: they travel while it works
    /// for `work` seconds on the window before. What a mini-batch waits has their bytes, no
    /// messages.
    fn window_late(&self, rows: usize, work: f64) -> f64 {
        let (ranks, network) = (self.world.whole.ranks, &self.question.network);
        if ranks == 1 {
            return 0.0;
        }
        let bytes = rows * row_bytes(self.world.whole.shape.outputs());
        (network.messages(ranks - 1, bytes) - work).max(0.0)
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
