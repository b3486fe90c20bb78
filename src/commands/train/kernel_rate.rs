//! What the processor's kernel does on these ranks while nothing else is asked of them. Of that the
//! rate of each step is told as a share, in progress and in the report at the end.

use std::collections::BTreeMap;
use std::time::Instant;

use super::advice::is_long_enough;
use crate::comm::Comm;
use crate::commands::bench::mixture::{SomeRows, at_once, best, rates_of_core};
use crate::commands::bench::rank::steps::{Step, Whole};
use crate::data::ShardInfo;
use crate::device::host::Instructions;
use crate::model::LANES;
use crate::model::experts::{Experts, layouts};
use crate::optim::Solver;
use crate::report::STEPS;
use crate::stint;
use crate::train::Setting;

/// Numbers of the class block that it is measured on, at most, and its columns, about.
const NUMBERS: usize = 1 << 20;
const COLUMNS: usize = 256;
/// Numbers times rows, about, and the rows that make whole tiles and those that are soon drawn.
const NUMBERS_AND_ROWS: usize = 1 << 28;
const ROWS: [usize; 2] = [240, 512];
/// What a core is said to do in a second, to foresee how long a run takes. By it a run of a minute
/// has 6e12 operations for each thread, of which measuring two gradients, three runs of 1e9 each,
/// is a thousandth.
const CORE_FLOP_PER_SECOND: f64 = 100e9;

/// Rows a second that the products of a step would take, at the rate that the kernel has by itself
/// on all threads of all ranks at once: by the name of the step. Nothing of a run that is short, or
/// computes on devices.
pub(super) type KernelRates = BTreeMap<&'static str, f64>;

/// Measures them before a run begins, and has progress told by them. Collective.
pub(super) fn measured(setting: &Setting, kernel: Instructions) -> KernelRates {
    let whole = whole(setting);
    let job = &whole.job;
    let by_rows =
        job.experts.negatives == 1.0 && matches!(job.experts.solver, Solver::MiniBatch(_));
    let learns_shared = whole.shape.shared_layers().parameters() > 0;
    let iterations = if learns_shared { job.shared.iterations } else { 0 };
    let steps = [
        (Step::Pretrain, job.pretrain.epochs),
        (Step::Experts, if by_rows { job.rounds.count * job.experts.epochs } else { 0 }),
        (Step::Shared, job.rounds.count * iterations),
    ];
    let flop = steps.iter().map(|(step, times)| whole.flop(*step) * *times as f64).sum::<f64>();
    let threads = setting.have.threads * setting.comm.size();
    // A minute, where advice wants ten seconds.
    if !is_long_enough(flop / threads as f64 / CORE_FLOP_PER_SECOND / 6.0) {
        return KernelRates::new();
    }
    let counts = whole.large.iter().flat_map(|layout| &layout.experts);
    let mean = counts.sum::<usize>() / whole.shape.class_count.max(1);
    let [weights, activations] = of_all_threads(setting, mean, kernel);
    let rates = STEPS.iter().zip(steps).filter(|(_, (_, times))| *times > 0);
    let rates = rates.map(|((name, told), (step, _))| {
        let kernel = if step.stage() == 2 { activations } else { weights };
        let rows = kernel / (whole.flop(step) / job.plan.rows as f64);
        stint::kernel_takes(told, rows);
        (*name, rows)
    });
    rates.collect()
}

/// The run as all of its rows and ranks.
fn whole(setting: &Setting) -> Whole {
    let train = &setting.data.train;
    let sums = |sums: [usize; 2], shard: &ShardInfo| [sums[0] + shard.rows, sums[1] + shard.frames];
    // Rows that validate may lie in the same shards.
    let [rows, frames] = train.dataset().shards().iter().fold([0; 2], sums);
    let mut job = setting.job.clone();
    (job.plan.rows, job.plan.frames) = (train.rows(), frames.div_ceil(rows.max(1)));
    Whole::new(&job, &setting.data, setting.grid.clone())
}

/// Floating-point operations a second of all threads of all ranks at once in the gradients of both
/// stages, on a class block of about so many experts a class. Collective.
fn of_all_threads(setting: &Setting, experts: usize, kernel: Instructions) -> [f64; 2] {
    let (comm, width) = (setting.comm, setting.shape.outputs());
    let most = (NUMBERS / LANES / (width + 1)).saturating_sub(1) / 2;
    let experts = experts.min(most).max(1);
    let of_class = 2 * experts + 1;
    let classes = (COLUMNS / of_class).next_multiple_of(LANES).max(LANES);
    let rows = NUMBERS_AND_ROWS / (classes * of_class * (width + 1));
    let cut = layouts(&vec![experts; classes], setting.shape.dummy, width, 1);
    let owners = Comm::serial().deal(cut.len());
    let experts = &Experts::new(cut, owners, 7, 0);
    let rows = &SomeRows::of(experts, rows.clamp(ROWS[0], ROWS[1]));
    let own = [1, 2].map(|stage| {
        comm.barrier();
        let of_thread = || {
            let began = Instant::now();
            let clock = || began.elapsed().as_secs_f64();
            best(&rates_of_core(kernel, stage, (experts, rows), 2, &clock))
        };
        at_once(setting.job.run.threads, of_thread).into_iter().sum::<f64>()
    });
    comm.all_gather(&[own]).into_iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d])
}
