//! What the processor's kernel does on these ranks while nothing else is asked of them. Of that the
//! rate of each step is told as a share, in progress and in the report at the end.

use std::collections::BTreeMap;
use std::time::Instant;

use super::advice::is_long_enough;
use crate::comm::Comm;
use crate::commands::bench::mixture::{at_once, best, rates_of_core};
use crate::commands::bench::rank::steps::{Step, Whole};
use crate::device::host::Instructions;
use crate::model::experts::{Experts, layouts};
use crate::model::{LANES, Layout};
use crate::optim::Solver;
use crate::report::STEPS;
use crate::stint;
use crate::train::Setting;

/// Numbers of the class block that it is measured on, about: a tenth of a second, where sixteen
/// classes don't have more.
const NUMBERS: usize = 1 << 18;
/// What a core is said to do in a second, to foresee how long a run takes. By it a run of a minute
/// has 6e12 operations for each thread, of which measuring two gradients is a six-hundredth.
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
    let threads = setting.threads * setting.comm.size();
    // A minute, where advice wants ten seconds.
    if !is_long_enough(flop / threads as f64 / CORE_FLOP_PER_SECOND / 6.0) {
        return KernelRates::new();
    }
    let [weights, activations] =
        [1, 2].map(|stage| of_all_threads(setting, &whole.large, kernel, stage));
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
    let frames = train.dataset().shards().iter().map(|shard| shard.frames).sum::<usize>();
    let mut job = setting.job.clone();
    (job.plan.rows, job.plan.frames) = (train.rows(), frames.div_ceil(train.rows().max(1)));
    Whole::new(&job, &setting.data, setting.grid.clone())
}

/// Floating-point operations a second of all threads of all ranks at once, in the gradient of stage
/// `stage`, on mixtures such as the first of `blocks`. Collective.
fn of_all_threads(setting: &Setting, blocks: &[Layout], kernel: Instructions, stage: u8) -> f64 {
    let (comm, shape) = (setting.comm, &setting.shape);
    let counts: Vec<usize> = blocks.iter().flat_map(|layout| &layout.experts).copied().collect();
    let width = shape.outputs();
    let of_class = (2 * counts.first().copied().unwrap_or(1) + 1) * (width + 1);
    let classes = (NUMBERS / of_class).next_multiple_of(LANES).min(counts.len());
    let cut = layouts(&counts[..classes], shape.dummy, width, 1);
    let owners = Comm::serial().deal(cut.len());
    let experts = &Experts::new(cut, owners, 7, 0);
    comm.barrier();
    let of_thread = || {
        let began = Instant::now();
        best(rates_of_core(kernel, stage, experts, 2, &|| began.elapsed().as_secs_f64()))
    };
    let own: f64 = at_once(setting.job.run.threads, of_thread).into_iter().sum();
    comm.all_gather(&[own]).into_iter().sum()
}
