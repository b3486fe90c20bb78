//! `reelscale bench input`: how fast one reader reads shards, beside what one core of the trainer
//! asks of it.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Measuring, Scratch, at_least_one};
use crate::cost::flops;
use crate::data::{Dataset, Kind, Reader, ShardHeader, ShardInfo, ShardWriter, find};
use crate::error::Result;
use crate::example::{Example, FeaturePart, Values};
use crate::labels::Labels;
use crate::rng::{Purpose, Stream};

/// The reader of shards, in the order of full passes and in that of pretraining.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Shards; without any, rows are synthesized into a temporary folder, as floats and as bytes.
    #[arg(long, num_args = 1..)]
    data: Vec<String>,
    /// Rows to synthesize.
    #[arg(long, default_value_t = 20_000)]
    rows: usize,
    /// Features of synthesized rows.
    #[arg(long, default_value_t = 1024)]
    features: usize,
    /// Classes K of the model that is fed.
    #[arg(long, default_value_t = 3862)]
    classes: usize,
    /// Experts E of each of its classes.
    #[arg(long, default_value_t = 2)]
    experts: usize,
}

/// Rows of one read of a full pass.
const PASS_ROWS: usize = 1024;
/// Rows of one read of pretraining, whose reads are shuffled.
const SHUFFLED_ROWS: usize = 64;
/// Products and sums that a core of the trainer does in a second, as `bench mixture` measures.
const CORE_FLOP_PER_SECOND: f64 = 100e9;

pub(crate) fn run(measuring: &Measuring, args: &Args) -> Result<Vec<Value>> {
    let sizes = [("classes", args.classes), ("experts", args.experts)];
    at_least_one(&[("rows", args.rows), ("features", args.features), sizes[0], sizes[1]])?;
    if !args.data.is_empty() {
        let infos: Result<Vec<ShardInfo>> =
            find(&args.data)?.iter().map(|path| ShardInfo::read(path)).collect();
        return measure(measuring, args, infos?);
    }
    let folder = Scratch::new()?;
    let both = [false, true].map(|as_bytes| {
        let path = synthesize(args, &folder.0, as_bytes)?;
        measure(measuring, args, vec![ShardInfo::read(&path)?])
    });
    let [floats, bytes] = both;
    Ok([floats?, bytes?].concat())
}

/// A shard of uniform numbers with three labels a row.
fn synthesize(args: &Args, folder: &Path, as_bytes: bool) -> Result<PathBuf> {
    let path = folder.join(if as_bytes { "u8.h5" } else { "f32.h5" });
    let parts = vec![FeaturePart { name: "synthetic".into(), size: args.features }];
    let (class_count, source) = (args.classes, "bench input".to_string());
    let header = ShardHeader { parts, class_count, kind: Kind::Video, source };
    let mut writer = match as_bytes {
        true => ShardWriter::create_bytes(&path, &header)?,
        false => ShardWriter::create(&path, &header)?,
    };
    for row in 0..args.rows {
        let mut stream = Stream::new(7, Purpose::PlantedRows, row as u64);
        let values = (0..args.features).map(|_| 2.0 * stream.uniform() - 1.0).collect();
        let mut labels: Vec<u32> =
            (0..3).map(|_| stream.below(args.classes as u64) as u32).collect();
        labels.sort_unstable();
        labels.dedup();
        let id = row.to_string().into_bytes();
        writer.push(&Example { id, labels, values: Values::Video(values) })?;
    }
    writer.finish()?;
    Ok(path)
}

/// Both orders over the same shards. The first run isn't timed, so that what fits in the system's
/// file cache comes from there: the figure is the reader's, not the disk's.
fn measure(measuring: &Measuring, args: &Args, infos: Vec<ShardInfo>) -> Result<Vec<Value>> {
    let dataset = Dataset::new(infos)?;
    let (rows, width) = (dataset.rows(), dataset.width());
    let encoding = &dataset.shards()[0].encoding;
    let columns = flops::columns(args.classes, args.experts);
    let flop_per_row = flops::logits_and_gradient(1, width, columns);
    let needed = CORE_FLOP_PER_SECOND / flop_per_row;
    let orders = [("in order", PASS_ROWS, false), ("shuffled", SHUFFLED_ROWS, true)];
    orders
        .into_iter()
        .map(|(order, length, shuffled)| {
            let mut starts: Vec<usize> = (0..rows).step_by(length).collect();
            if shuffled {
                Stream::new(7, Purpose::RowOrder, 0).shuffle(&mut starts);
            }
            let (mut reader, mut outcome) = (dataset.reader(), Ok(()));
            let seconds = measuring.seconds(|| {
                let read = read_all(&mut reader, &starts, length, rows, width);
                outcome = std::mem::replace(&mut outcome, Ok(())).and(read);
            });
            outcome?;
            let rate = rows as f64 / seconds;
            Ok(json!({
                "values": encoding.name(), "order": order,
                "rows_per_read": length, "rows": rows, "features": width, "seconds": seconds,
                "rows_per_second": rate,
                "gib_per_second": rate * (width * encoding.size()) as f64 / (1u64 << 30) as f64,
                "core_rows_per_second": needed, "cores_fed": rate / needed,
            }))
        })
        .collect()
}

fn read_all(
    reader: &mut Reader,
    starts: &[usize],
    length: usize,
    rows: usize,
    width: usize,
) -> Result<()> {
    let (mut features, mut labels) = (vec![0.0; length * width], Labels::new());
    for from in starts {
        let run = *from..(from + length).min(rows);
        labels.clear();
        reader.read(run.clone(), &mut features[..run.len() * width], &mut labels)?;
        black_box(&features);
    }
    Ok(())
}
