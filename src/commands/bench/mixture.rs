//! `reelscale bench mixture`: one gradient of a tile of rows through all class blocks.

use std::hint::black_box;

use serde_json::{Value, json};

use super::{EPSILON, Measuring, at_least_one, on_device, peak_mib};
use crate::comm::Comm;
use crate::commands::device::RankDevice;
use crate::cost::flops;
use crate::device::gpu::Bounds;
use crate::device::host::{KernelAndSums, Vectors};
use crate::error::Result;
use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::{
    Kernel, Passing, activation_gradient, sliced_expert_gradient, transpose_into,
};
use crate::kernel::normalise::normalise_l2;
use crate::kernel::vector::{Instructions, LANES};
use crate::labels::Labels;
use crate::model::experts::{Experts, layouts};
use crate::model::spec::Dummy;
use crate::rng::{Purpose, Stream};
use crate::team::Team;
use crate::tree::Summing;

/// The mixture kernel: loss and one gradient of rows through K classes of E experts. On a device
/// the whole step, as training asks for it: rows come, stage 1 takes a step of AdaGrad, losses go
/// back.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 3862)]
    classes: usize,
    #[arg(long, default_value_t = 2)]
    experts: usize,
    #[arg(long, default_value_t = 2048)]
    rows: usize,
    /// Width d of the activations.
    #[arg(long, default_value_t = 1024)]
    activations: usize,
    /// 1: gradient of gates and experts; 2: of the activations.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    stage: u8,
    #[arg(long, default_value_t = 1)]
    pub(super) threads: usize,
    /// Labels of a row.
    #[arg(long, default_value_t = 3)]
    labels: usize,
    /// Class blocks, as run.class_blocks.
    #[arg(long, default_value_t = 0)]
    class_blocks: usize,
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// Rows that a thread takes at once in stage 2.
const ROWS: usize = 240;

impl Args {
    /// The gradient of stage `stage` of `rows` rows, of this shape.
    pub(crate) fn of(shape: [usize; 3], rows: usize, stage: u8, threads: usize) -> Args {
        let [classes, experts, activations] = shape;
        let (labels, class_blocks, seed) = (3, 0, 7);
        Args { classes, experts, rows, activations, stage, threads, labels, class_blocks, seed }
    }
}

pub(crate) fn run(measuring: &Measuring, args: &Args, device: RankDevice) -> Result<Vec<Value>> {
    let (k, e, rows, d) = (args.classes, args.experts, args.rows, args.activations);
    at_least_one(&[("classes", k), ("experts", e), ("rows", rows), ("activations", d)])?;
    let layouts = layouts(&vec![e; k], Dummy::Learned, d, args.class_blocks);
    let count = layouts.len();
    let experts = Experts::new(layouts, Comm::serial().deal(count), args.seed, 0);
    let (activations, labels) = some_rows(args);
    let threads = args.threads.max(1);
    let (kernel, (seconds, loss)) = match device {
        RankDevice::Host(_) => {
            let seconds_and_loss = on_host(measuring, args, &experts, (&activations, &labels));
            (measuring.kernel.name(), seconds_and_loss)
        }
        RankDevice::Gpu(mut gpu) => {
            gpu.keep_to(Bounds::of_a_step(gpu.queue().limit()));
            let rows = (&activations, &labels);
            let found = match args.stage {
                1 => on_device::expert_step(measuring, &mut gpu, &experts, rows)?,
                _ => on_device::shared_step(measuring, &mut gpu, experts, rows)?,
            };
            ("device", found)
        }
    };
    let flop = flops::logits_and_gradient(rows, d, flops::columns(k, e));
    Ok(vec![json!({
        "kernel": kernel, "stage": args.stage, "classes": k, "experts": e,
        "rows": rows, "activations": d, "threads": threads, "seconds": seconds,
        "rows_per_second": rows as f64 / seconds, "gflops": flop / seconds / 1e9,
        "peak_mib": peak_mib(), "loss": loss / rows as f64,
    })])
}

/// Floating-point operations a second of one core in the gradient of stage `stage` of these class
/// blocks, by `clock`: in each of `repeat` runs.
pub(crate) fn rates_of_core(
    kernel: Instructions,
    stage: u8,
    (experts, rows): (&Experts, &SomeRows),
    repeat: usize,
    clock: &dyn Fn() -> f64,
) -> Vec<f64> {
    let SomeRows { activations, labels } = rows;
    let passing = Passing { activations, labels, weights: &[] };
    let kernels = &mut [Kernel::new(kernel, EPSILON)];
    let mut run = || match stage {
        1 => stage_1(kernels, experts, passing),
        _ => stage_2(kernels, experts, passing),
    };
    run();
    let counts = experts.layouts.iter().flat_map(|layout| &layout.experts);
    let columns = counts.map(|count| flops::columns(1, *count)).sum();
    let width = experts.layouts.first().map_or(0, |layout| layout.width);
    let flop = flops::logits_and_gradient(labels.rows(), width, columns);
    let rates = (0..repeat).map(|_| {
        let before = clock();
        black_box(run());
        flop / (clock() - before)
    });
    rates.collect()
}

/// Rows that a core is measured with.
pub(crate) struct SomeRows {
    activations: Matrix,
    labels: Labels,
}

impl SomeRows {
    /// So many rows for these class blocks.
    pub(crate) fn of(experts: &Experts, rows: usize) -> SomeRows {
        let classes = experts.layouts.last().map_or(0, |layout| layout.classes.end);
        let width = experts.layouts.first().map_or(0, |layout| layout.width);
        let (activations, labels) = some_rows(&Args::of([classes, 0, width], rows, 1, 1));
        SomeRows { activations, labels }
    }
}

/// The best of one core's runs.
pub(crate) fn best(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

/// What `work` gives on each of so many threads that do it at once.
pub(crate) fn at_once<T: Send>(threads: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        // A thread that panics has ended the run (`caught.rs`).
        threads.into_iter().flat_map(|thread| thread.join()).collect()
    })
}

/// Median seconds of one gradient on the processor, and the loss of all rows.
fn on_host(
    measuring: &Measuring,
    args: &Args,
    experts: &Experts,
    (activations, labels): (&Matrix, &Labels),
) -> (f64, f64) {
    let passing = Passing { activations, labels, weights: &[] };
    let mut kernels: Vec<Kernel> =
        (0..args.threads.max(1)).map(|_| Kernel::new(measuring.kernel, EPSILON)).collect();
    let mut loss = 0.0;
    let seconds = match args.stage {
        1 => measuring.seconds(|| loss = stage_1(&mut kernels, experts, passing)),
        _ => measuring.seconds(|| loss = stage_2(&mut kernels, experts, passing)),
    };
    (seconds, loss)
}

/// Activations of length 1, none negative, and `labels` labels a row.
fn some_rows(args: &Args) -> (Matrix, Labels) {
    let mut stream = Stream::new(args.seed, Purpose::PlantedRows, 0);
    let mut activations = Matrix::zeros(args.rows, args.activations);
    let mut labels = Labels::new();
    for row in 0..args.rows {
        let values = &mut activations.row_mut(row)[..args.activations];
        values.iter_mut().for_each(|value| *value = stream.normal().max(0.0));
        let mut own: Vec<u32> =
            (0..args.labels).map(|_| stream.below(args.classes as u64) as u32).collect();
        own.sort_unstable();
        own.dedup();
        labels.push(&own);
    }
    normalise_l2(Instructions::detect(), &mut activations);
    (activations, labels)
}

/// Every block's gradient, one after the other in each thread's own room, as in the expert step.
fn stage_1(kernels: &mut [Kernel], experts: &Experts, passing: Passing) -> f64 {
    let mut losses = vec![0.0; experts.own().len()];
    let mut sums: Vec<Vectors> = kernels.iter().map(|_| Vectors::default()).collect();
    let (rows, order) = (0..passing.labels.rows(), Summing::of_all(1));
    Team::new(&mut KernelAndSums::team(kernels, &mut sums)).together(
        experts.own().zip(&mut losses).collect(),
        |team: &mut Team<KernelAndSums>, (block, loss): (usize, &mut f64)| {
            let block = experts.block(block);
            let mut class_loss = vec![0.0; block.layout.groups.len() * LANES];
            let mut sums = std::mem::take(team.own().sums);
            let vectors = sums.of(1, block.parameters.len());
            let (of, losses) = ((std::slice::from_ref(&rows), &order), &mut class_loss);
            sliced_expert_gradient(team, block, passing, of, vectors, losses, || true);
            black_box(&vectors);
            *team.own().sums = sums;
            *loss = class_loss.iter().sum();
        },
    );
    losses.iter().sum()
}

/// The activations' gradient, a run of rows for each thread, as in the shared step.
fn stage_2(kernels: &mut [Kernel], experts: &Experts, passing: Passing) -> f64 {
    let (rows, stride) = (passing.labels.rows(), passing.activations.stride());
    let mut dv = vec![0.0; rows * stride];
    let mut losses = vec![0.0; rows.div_ceil(ROWS)];
    let mut transposed = Vec::new();
    for block in experts.own() {
        let block = experts.block(block);
        transpose_into(&mut Team::new(kernels), block, &mut transposed);
        let runs = dv.chunks_mut(ROWS * stride).zip(&mut losses).enumerate();
        Team::new(kernels).for_each(
            runs,
            |kernel, (run, (dv, loss)): (usize, (&mut [f32], &mut f64))| {
                let rows = run * ROWS..run * ROWS + dv.len() / stride;
                let mut class_loss = vec![0.0; block.layout.groups.len() * LANES];
                let (team, losses) = (&mut Team::alone(kernel), &mut class_loss);
                activation_gradient(team, block, &transposed, passing, rows, dv, losses);
                *loss += class_loss.iter().sum::<f64>();
            },
        );
    }
    black_box(&dv);
    losses.iter().sum()
}
