//! `reelscale bench annotate`: videos annotated a second, beside the bare product of their
//! activations with all weights, in turns.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::{EPSILON, Measuring, Scratch, at_least_one, peak_mib};
use crate::comm::Comm;
use crate::commands::annotate::annotate_all;
use crate::cost::flops;
use crate::data::{Dataset, Kind, ShardHeader, ShardInfo, ShardWriter};
use crate::device::Host;
use crate::error::Result;
use crate::example::{Example, FeaturePart, Values};
use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::Kernel;
use crate::kernel::product::{Left, Output, Panels, Size};
use crate::kernel::vector::LANES;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::{Experts, layouts};
use crate::model::spec::{Dummy, Normalize};
use crate::progress::tick;
use crate::rng::{Purpose, Stream};
use crate::team::Team;

/// Annotating as `annotate --output DIR/` does it on one rank, from shards on disk to parts on
/// disk, by a model without shared layers; and the products of the same rows alone.
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
    threads: usize,
    /// Classes of a video.
    #[arg(long, default_value_t = 20)]
    top: usize,
}

/// Rows of a tile of the bare product.
const ROWS: usize = 240;
/// Rows of a shard.
const SHARD_ROWS: usize = 4096;

pub(crate) fn run(measuring: &Measuring, args: &Args) -> Result<Vec<Value>> {
    let (k, e, rows, d) = (args.classes, args.experts, args.rows, args.activations);
    at_least_one(&[("classes", k), ("experts", e), ("rows", rows), ("activations", d)])?;
    let (threads, folder) = (args.threads.max(1), Scratch::new()?);
    let shards: Result<Vec<ShardInfo>> =
        synthesize(args, &folder.0)?.iter().map(|path| ShardInfo::read(path)).collect();
    let annotator = annotator(args);
    let dataset = Dataset::new(shards?)?.scaled_by(annotator.shape.normalize, None);
    let mut host = Host::new(measuring.kernel, threads, EPSILON);
    let mut activations = Matrix::zeros(rows, d);
    let mut stream = Stream::new(7, Purpose::PlantedRows, 0);
    activations.data.iter_mut().for_each(|number| *number = stream.uniform());

    let mut seconds = [Vec::new(), Vec::new()];
    for turn in 0..=measuring.repeat {
        let started = Instant::now();
        product(host.kernels_mut(), &annotator.experts, &activations);
        let of_product = started.elapsed().as_secs_f64();
        tick();
        let to = folder.0.join(format!("parts-{turn}"));
        let started = Instant::now();
        annotate_all(&dataset, &annotator, &mut host, args.top.min(k), &to)?;
        let of_all = started.elapsed().as_secs_f64();
        // The first turn pays for fresh memory and a cold file cache.
        if turn > 0 {
            seconds[0].push(of_product);
            seconds[1].push(of_all);
        }
    }
    let mut shares: Vec<f64> = seconds[0].iter().zip(&seconds[1]).map(|(a, b)| a / b).collect();
    let [of_product, of_all] = seconds.map(median);
    let flop = flops::product(rows, d, flops::columns(k, e));
    shares.sort_by(f64::total_cmp);
    Ok(vec![json!({
        "kernel": measuring.kernel.name(), "classes": k, "experts": e, "rows": rows,
        "activations": d, "threads": threads, "seconds": of_all,
        "rows_per_second": rows as f64 / of_all, "gflops": flop / of_all / 1e9,
        "product_gflops": flop / of_product / 1e9, "share_of_product": shares[shares.len() / 2],
        "core_hours_per_billion": 1e9 / (rows as f64 / of_all) * threads as f64 / 3600.0,
        "peak_mib": peak_mib(),
    })])
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn annotator(args: &Args) -> Annotator {
    let shape = Shape {
        parts: vec![FeaturePart { name: "synthetic".into(), size: args.activations }],
        class_count: args.classes,
        normalize: Normalize::L2,
        standard: None,
        frames: Vec::new(),
        pooling: None,
        layers: Vec::new(),
        dummy: Dummy::Learned,
        epsilon: EPSILON,
        class_blocks: 0,
    };
    let layers = shape.shared_layers();
    let experts = vec![args.experts; args.classes];
    let layouts = layouts(&experts, shape.dummy, args.activations, shape.class_blocks);
    let owners = Comm::serial().deal(layouts.len());
    let experts = Experts::new(layouts, owners, 7, 0);
    Annotator { experts, shared: vec![0.0; layers.parameters()], layers, shape }
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

/// All activations times all weights, block by block, whose logits nobody looks at.
fn product(kernels: &mut [Kernel], experts: &Experts, activations: &Matrix) {
    let (rows, stride) = (activations.rows(), activations.stride());
    for (layout, weights) in experts.layouts.iter().zip(&experts.parameters) {
        let columns = layout.columns();
        let work = |kernel: &mut Kernel, from: usize| {
            let rows = from..(from + ROWS).min(rows);
            let mut logits = vec![0.0; rows.len() * columns];
            kernel.gemm().accumulate(
                Size { rows: rows.len(), depth: layout.width, panels: layout.panels },
                Left { data: activations.run(rows), row: stride, column: 1 },
                Panels {
                    data: &weights[..layout.biases()],
                    row: LANES,
                    panel: layout.width * LANES,
                },
                &mut Output { data: &mut logits, row: columns, panel: LANES },
            );
            black_box(&logits);
        };
        Team::new(kernels).for_each((0..rows).step_by(ROWS), work);
    }
}
