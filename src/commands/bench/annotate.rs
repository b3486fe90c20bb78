//! `reelscale bench annotate`: videos annotated a second, beside the bare product of their
//! activations with all weights, in turns.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::on_device::{OnDevice, without_layers};
use super::{Measuring, Scratch, at_least_one, median, peak_mib};
use crate::comm::Comm;
use crate::commands::annotate::annotate_all;
use crate::commands::device::RankDevice;
use crate::cost::flops;
use crate::data::{Dataset, Kind, ShardHeader, ShardInfo, ShardWriter};
use crate::device::{Device, Host};
use crate::error::Result;
use crate::example::{Example, FeaturePart, Values};
use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::Kernel;
use crate::kernel::product::{Left, Output, Panels, Size};
use crate::kernel::text::calls::{self as text, Form};
use crate::kernel::vector::LANES;
use crate::model::annotator::Annotator;
use crate::model::experts::{Experts, layouts};
use crate::model::spec::{Dummy, Normalize};
use crate::progress::tick;
use crate::rng::{Purpose, Stream};
use crate::system;
use crate::team::Team;

/// Annotating as `annotate --output DIR/` does it on one rank, from shards on disk to parts on
/// disk, by a model without shared layers; and the products of the same rows alone, on the
/// processor or on a device.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 3862)]
    classes: usize,
    #[arg(long, default_value_t = 2)]
    experts: usize,
    #[arg(long, default_value_t = 7680)]
    rows: usize,
    /// Features, which are the activations.
    #[arg(long, default_value_t = 1024)]
    activations: usize,
    #[arg(long, default_value_t = 1)]
    pub(super) threads: usize,
    /// Classes of a video.
    #[arg(long, default_value_t = 20)]
    top: usize,
}

/// Rows of a tile of the bare product.
const ROWS: usize = 240;
/// Rows of a shard.
const SHARD_ROWS: usize = 4096;

pub(crate) fn run(measuring: &Measuring, args: &Args, device: RankDevice) -> Result<Vec<Value>> {
    let (k, e, rows, d) = (args.classes, args.experts, args.rows, args.activations);
    at_least_one(&[("classes", k), ("experts", e), ("rows", rows), ("activations", d)])?;
    let (threads, folder) = (args.threads.max(1), Scratch::new()?);
    let shards: Result<Vec<ShardInfo>> =
        synthesize(args, &folder.0)?.iter().map(|path| ShardInfo::read(path)).collect();
    let annotator = annotator(args);
    let dataset = Dataset::new(shards?)?.scaled_by(annotator.shape.normalize, None);
    let given = Given { dataset, annotator, top: args.top.min(k), folder: folder.0.clone() };
    let (kernel, [of_product, of_all]) = match device {
        RankDevice::Host(mut host) => {
            let mut activations = Matrix::zeros(rows, d);
            let mut stream = Stream::new(7, Purpose::PlantedRows, 0);
            activations.data.iter_mut().for_each(|number| *number = stream.uniform());
            let work = &mut |host: &mut Host| {
                product(host.kernels_mut(), &given.annotator.experts, &activations);
                Ok(())
            };
            (measuring.kernel.name(), turns(measuring, &given, &mut host, work)?)
        }
        RankDevice::Gpu(mut gpu) => {
            let columns = flops::columns(k, e).next_multiple_of(LANES);
            let form = Form::turned(text::Size { rows, depth: d, columns });
            let (a, b) = (vec![0.25; rows * d], vec![0.5; d * columns]);
            let size = (rows, d, columns);
            let product = OnDevice::new(gpu.queue(), form, size, (&a, &b))?;
            ("device", turns(measuring, &given, &mut gpu, &mut |_| product.run())?)
        }
    };
    let shares = |own: &[f64], all: &[f64]| median(own.iter().zip(all).map(|(a, b)| a / b));
    let (flop, all) = (flops::product(rows, d, flops::columns(k, e)), of_all.medians());
    let core_seconds = all[1] / rows as f64;
    Ok(vec![json!({
        "kernel": kernel, "classes": k, "experts": e, "rows": rows,
        "activations": d, "threads": threads, "seconds": all[0],
        "rows_per_second": rows as f64 / all[0], "rows_per_core_second": 1.0 / core_seconds,
        "gflops": flop / all[0] / 1e9, "product_gflops": flop / of_product.medians()[0] / 1e9,
        "share_of_product": shares(&of_product.seconds, &of_all.seconds),
        "share_of_product_by_core_time": shares(&of_product.core_seconds, &of_all.core_seconds),
        "core_hours_per_billion": 1e9 * core_seconds / 3600.0, "peak_mib": peak_mib(),
    })])
}

/// What is annotated, and into which folder's parts.
struct Given {
    dataset: Dataset,
    annotator: Annotator,
    top: usize,
    folder: PathBuf,
}

/// What the product and all of it take, in turns.
fn turns<D: Device>(
    measuring: &Measuring,
    given: &Given,
    device: &mut D,
    product: &mut dyn FnMut(&mut D) -> Result<()>,
) -> Result<[Times; 2]> {
    let Given { dataset, annotator, top, folder } = given;
    let (mut of_product, mut of_all) = (Times::default(), Times::default());
    for turn in 0..=measuring.repeat {
        let to = folder.join(format!("parts-{turn}"));
        let product = timed(|| product(device))?;
        let all = timed(|| annotate_all(dataset, annotator, device, *top, &to))?;
        // The first turn pays for fresh memory and a cold file cache.
        if turn > 0 {
            of_product.add(product);
            of_all.add(all);
        }
    }
    Ok([of_product, of_all])
}

/// What turns took.
#[derive(Default)]
struct Times {
    seconds: Vec<f64>,
    /// Of all threads, whatever else the machine did meanwhile.
    core_seconds: Vec<f64>,
}

impl Times {
    fn add(&mut self, [seconds, core_seconds]: [f64; 2]) {
        self.seconds.push(seconds);
        self.core_seconds.push(core_seconds);
    }

    fn medians(&self) -> [f64; 2] {
        [&self.seconds, &self.core_seconds].map(|times| median(times.iter().copied()))
    }
}

/// Seconds that `work` takes, and seconds of cores.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<[f64; 2]> {
    let (started, cores) = (Instant::now(), system::own_processor_seconds());
    work()?;
    tick();
    Ok([started.elapsed().as_secs_f64(), system::own_processor_seconds() - cores])
}

fn annotator(args: &Args) -> Annotator {
    let experts = vec![args.experts; args.classes];
    let layouts = layouts(&experts, Dummy::Learned, args.activations, 0);
    let owners = Comm::serial().deal(layouts.len());
    let experts = Experts::new(layouts, owners, 7, 0);
    without_layers(experts, args.activations, ("synthetic", Normalize::L2))
}

/// Shards of uniform numbers with ids as long as YouTube-8M's.
fn synthesize(args: &Args, folder: &Path) -> Result<Vec<PathBuf>> {
    let header = ShardHeader {
        parts: vec![FeaturePart { name: "synthetic".into(), size: args.activations }],
        class_count: args.classes,
        kind: Kind::Video,
        source: "bench annotate".into(),
    };
    let starts = (0..args.rows).step_by(SHARD_ROWS);
    let shard = |first: usize| {
        let path = folder.join(format!("rows-{first:09}.h5"));
        let mut writer = ShardWriter::create_bytes(&path, &header)?;
        for row in first..(first + SHARD_ROWS).min(args.rows) {
            let mut stream = Stream::new(7, Purpose::PlantedRows, row as u64);
            let values = (0..args.activations).map(|_| 2.0 * stream.uniform() - 1.0).collect();
            let labels = vec![stream.below(args.classes as u64) as u32];
            let id = format!("{row:04}").into_bytes();
            writer.push(&Example { id, labels, values: Values::Video(values) })?;
        }
        writer.finish()?;
        Ok(path)
    };
    starts.map(shard).collect()
}

/// All activations times all weights, block by block, whose logits nobody looks at. Each thread has
/// room for those of a tile, made once, as in the work that this is compared with.
fn product(kernels: &mut [Kernel], experts: &Experts, activations: &Matrix) {
    let (rows, stride) = (activations.rows(), activations.stride());
    let mut members: Vec<(&mut Kernel, Vec<f32>)> =
        kernels.iter_mut().map(|kernel| (kernel, Vec::new())).collect();
    for (layout, weights) in experts.layouts.iter().zip(&experts.parameters) {
        let columns = layout.columns();
        let work = |(kernel, logits): &mut (&mut Kernel, Vec<f32>), from: usize| {
            let rows = from..(from + ROWS).min(rows);
            let numbers = rows.len() * columns;
            logits.resize(logits.len().max(numbers), 0.0);
            kernel.gemm().accumulate(
                Size { rows: rows.len(), depth: layout.width, panels: layout.panels },
                Left { data: activations.run(rows), row: stride, column: 1 },
                Panels {
                    data: &weights[..layout.biases()],
                    row: LANES,
                    panel: layout.width * LANES,
                },
                &mut Output { data: &mut logits[..numbers], row: columns, panel: LANES },
            );
            black_box(&logits);
        };
        Team::new(&mut members).for_each((0..rows).step_by(ROWS), work);
    }
}
