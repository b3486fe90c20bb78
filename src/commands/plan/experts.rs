//! What the expert step takes of a rank, beside what the choice of its grid goes by
//! (`cost/grid.rs`): threads that end unevenly, what exchanges take of one thread, and those that
//! aren't hidden. The constants are those of ranks of sixteen threads as `bench rank` measured them
//! on 16 to 1,024 ranks (BENCHMARKS.md, "More ranks than are here").

use super::steps::{FREE, Making, StepPlan};
use crate::commands::bench::rank::steps::Step;
use crate::cost::grid::{Exchange, Work, parts, seconds_on};
use crate::cost::searches::searches;
use crate::cost::traffic::{ExpertEpoch, Moved, experts};
use crate::device::Part;
use crate::model::{Layout, parameters, stride_of};
use crate::partition::Grid;

/// Seconds that a class block's turn takes beside its products, for each time that the number of
/// threads is doubled: they begin and end several times, and their shares are small products.
const TURN_SECONDS: f64 = 0.125e-3;
/// Seconds of one thread for the exchanges of a mini-batch, and of a core for a number that is
/// exchanged, beside those of `cost/grid.rs`.
const EXCHANGE_SECONDS: f64 = 0.7e-3;
const EXCHANGED_NUMBER_SECONDS: f64 = 5.4e-9;
/// Of a rank's exchanges those of so many class blocks aren't behind the arithmetic of others.
const EXPOSED: f64 = 2.0;

impl Making<'_> {
    pub(super) fn experts(&self) -> StepPlan {
        let whole = &self.world.whole;
        let (job, ranks, grid) = (&whole.job, whole.ranks, &whole.grid);
        let (all, rows) = (parameters(&whole.large), job.plan.rows);
        let (step, passes) = job.experts.step_rows(rows);
        let (batch, width, shares) = (step.min(rows), whole.shape.outputs(), vec![1; ranks]);
        let slices = job.experts.row_slices;
        let work = Work { blocks: &all, width, batch, passes, slices, shares: &shares };
        let rate = self.rate(Step::Experts);
        let machine = (&vec![rate; ranks][..], self.world.threads);
        let batches = rows.div_ceil(batch);
        let (learned, threads) = (f64::from(job.experts.negatives), self.world.threads as f64);
        let without = seconds_on(&work, grid, &FREE, machine);
        let fullest = whole.fullest(Step::Experts);
        let blocks = whole.own(Step::Experts, fullest);
        let own = whole.flop_of_blocks(Step::Experts, blocks, batch) * whole.slices(fullest) as f64
            / slices as f64
            / rate;
        let products = own.min(without);
        let mut host = without - products;
        let mut waiting = seconds_on(&work, grid, &self.question.network, machine) - without;
        if grid.rows() > 1 && !passes {
            let exchange = Exchange::of(&work, &parameters(blocks), grid.rows());
            let numbers = exchange.bytes / size_of::<f32>() as f64;
            host += EXCHANGE_SECONDS + EXCHANGED_NUMBER_SECONDS * numbers / threads;
            let exposed = (EXPOSED / blocks.len() as f64).min(1.0);
            waiting = waiting.max(exposed * exchange.seconds(&self.question.network));
            host += self.over_the_bus(exchange.bytes);
        }
        // Where no gradients are exchanged, a block is one thread's, until there are fewer than
        // threads.
        let shared_by_threads = match grid.rows() {
            1 => blocks.len() % self.world.threads,
            _ => blocks.len(),
        };
        let turns = TURN_SECONDS * self.doublings_of_threads() * shared_by_threads as f64;
        let products = learned * products;
        let uneven = products * self.uneven() + turns;
        let times = batches as f64;
        let beside = self.beside_experts(blocks, products * times);
        StepPlan {
            name: "experts",
            of: "epoch",
            times: job.rounds.count * job.experts.epochs,
            arithmetic: (products + uneven) * times,
            threads: uneven * times,
            ideal: whole.flop(Step::Experts) / ranks as f64 / self.best_rate(Step::Experts),
            waiting: waiting * times,
            host: host * times + beside,
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
