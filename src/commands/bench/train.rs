//! `reelscale bench train`: the expert step and the shared step of a real run, beside the rate of
//! the kernel itself at the same shape on the same threads.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{EPSILON, Measuring, Scratch, at_least_one, median, mixture, peak_mib};
use crate::comm::Comm;
use crate::commands::device::RankDevice;
use crate::cost::flops;
use crate::data::{Kind, ShardHeader, ShardWriter};
use crate::device::Host;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::report::{Events, Report};
use crate::synthetic::Planted;
use crate::train::{Data, Run, Setting};

/// Training on synthesized or given shards: optimizer, loss, input and all, on a device where one
/// is named.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Shards; without any, rows are synthesized into a temporary folder.
    #[arg(long, num_args = 1..)]
    data: Vec<String>,
    /// Rows to synthesize.
    #[arg(long, default_value_t = 8192)]
    rows: usize,
    /// Classes of synthesized rows.
    #[arg(long, default_value_t = 3862)]
    classes: usize,
    /// Features of synthesized rows, which are the activations of the expert step too.
    #[arg(long, default_value_t = 1024)]
    features: usize,
    #[arg(long, default_value_t = 2)]
    experts: usize,
    /// Rows of a mini-batch of the expert step.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Slices of a mini-batch, as experts.row_slices.
    #[arg(long, default_value_t = 1)]
    row_slices: usize,
    #[arg(long, default_value = "adagrad")]
    solver: String,
    /// Threads of a rank.
    #[arg(long, default_value_t = 1)]
    pub(super) threads: usize,
    /// Bytes that a rank may take, as run.memory_gib.
    #[arg(long, default_value_t = 0.0)]
    memory_gib: f64,
}

/// Rows of the kernel's own run.
const KERNEL_ROWS: usize = 2048;

pub(crate) fn run(
    comm: &Comm,
    measuring: &Measuring,
    args: &Args,
    device: RankDevice,
) -> Result<Vec<Value>> {
    at_least_one(&[("rows", args.rows), ("classes", args.classes), ("features", args.features)])?;
    let folder = Scratch::shared(comm)?;
    let found = measure(comm, measuring, (args, device), &folder.0)?;
    // Others of this node may still read there.
    comm.barrier();
    Ok(found)
}

fn measure(
    comm: &Comm,
    measuring: &Measuring,
    (args, device): (&Args, RankDevice),
    folder: &Path,
) -> Result<Vec<Value>> {
    let patterns = match args.data.is_empty() {
        true => vec![comm.agree(synthesize(comm, args, folder))?.display().to_string()],
        false => args.data.clone(),
    };
    let text = format!(
        "[data]\ntrain = {patterns:?}\n[model]\nshared = [{{ gating = true }}]\n\
         [pretrain]\nepochs = 1\nexperts = 1\nbatch = 4096\n[experts]\ncount = {}\nbatch = {}\n\
         row_slices = {}\nsolver = {:?}\nepochs = {}\n[shared]\niterations = {}\n\
         [rounds]\ncount = 1\n[run]\nthreads = {}\nkernel = {:?}\nmemory_gib = {}\n",
        args.experts,
        args.batch,
        args.row_slices,
        args.solver,
        measuring.repeat + 1,
        measuring.repeat + 1,
        args.threads,
        measuring.kernel.name(),
        args.memory_gib,
    );
    let job = Job::parse(&text, "bench train", &[])?;
    let data = Data::open(comm, &job)?;
    let (rows, dataset) = (data.train.rows(), data.train.dataset());
    let shape = [dataset.class_count(), args.experts, dataset.width()];
    let flop_per_row = flops::logits_and_gradient(1, shape[2], flops::columns(shape[0], shape[1]));
    let events = folder.join(format!("events-{}.jsonl", comm.rank()));
    let report = &mut Report::new(Some(Events::new(Disk::default(), &events)));
    let again = |device: &RankDevice| {
        device.again(Host::new(measuring.kernel, args.threads, EPSILON), EPSILON)
    };
    let mut setting = Setting::new(comm, &job, data)?;
    match again(&device).planned(&mut setting)? {
        RankDevice::Host(host) => Run::begin(setting, host, report, None)?.finish()?,
        RankDevice::Gpu(gpu) => Run::begin(setting, gpu, report, None)?.finish()?,
    };
    let mut found = Vec::new();
    for (step, counter, stage) in [("experts", "epoch", 1), ("shared", "iteration", 2)] {
        let own = mixture::Args::of(shape, KERNEL_ROWS, stage, args.threads);
        let kernel = &mixture::run(measuring, &own, again(&device))?[0];
        let kernel_rows = kernel["rows_per_second"].as_f64().expect("a rate") * comm.size() as f64;
        let seconds = median_seconds(&events, step, counter)?;
        let rate = rows as f64 / seconds;
        found.push(json!({
            "step": step, "kernel": measuring.kernel.name(), "ranks": comm.size(),
            "threads": args.threads, "rows": rows, "classes": shape[0], "experts": shape[1],
            "activations": shape[2], "batch": args.batch, "row_slices": args.row_slices,
            "seconds": seconds,
            "rows_per_second": rate, "gflops": flop_per_row * rate / 1e9,
            "kernel_rows_per_second": kernel_rows, "share_of_kernel": rate / kernel_rows,
            "peak_mib": peak_mib(),
        }));
    }
    Ok(found)
}

/// Writes rows drawn from a planted model and returns the shard, which has one name on all nodes;
/// of the ranks of a node the first gives it that.
fn synthesize(comm: &Comm, args: &Args, folder: &Path) -> Result<PathBuf> {
    let planted = Planted::new(1, args.features, args.classes, 2);
    let header = ShardHeader {
        parts: planted.parts(),
        class_count: args.classes,
        kind: Kind::Video,
        source: "bench train".into(),
    };
    let (path, own) = (folder.join("rows.h5"), folder.join(format!("rows-{}.h5", comm.rank())));
    let mut writer = ShardWriter::create(&own, &header)?;
    (0..args.rows as u64).try_for_each(|row| writer.push(&planted.example(row)))?;
    writer.finish()?;
    match Disk::default().hard_link(&own, &path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::file(&path, &error)),
        _ => Ok(path),
    }
}

/// Median time of the events of a step that have this counter, but for the first, which pays for
/// what comes before.
fn median_seconds(events: &Path, step: &str, counter: &str) -> Result<f64> {
    let file = File::open(events).map_err(|error| Error::storage(error.to_string()))?;
    let events = BufReader::new(file).lines().map_while(std::io::Result::ok);
    let seconds = events
        .map(|line| serde_json::from_str::<Value>(&line).expect("events are JSON"))
        .filter(|event| event["step"] == step && event[counter].as_u64() > Some(1))
        .map(|event| event["timing"]["seconds"].as_f64().expect("a time"));
    Ok(median(seconds))
}
