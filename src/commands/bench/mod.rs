//! `reelscale bench`: how fast the parts are on this machine, each beside its measured limit.

mod annotate;
mod gemm;
mod input;
mod metrics;
pub(super) mod mixture;
mod on_device;
mod overlap;
pub(super) mod rank;
mod sum;
mod train;

use std::path::PathBuf;
use std::time::Instant;

use clap::Subcommand;
use serde_json::Value;

use super::device::{DeviceArgs, RankDevice, chosen};
use super::out::{self, For, Format};
use crate::comm::Comm;
use crate::commands::examples;
use crate::device::Host;
use crate::device::host::Instructions;
use crate::error::{Error, Result};
use crate::human::json_line;
use crate::progress::tick;
use crate::system;

/// Measures the parts of the program on this machine.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = examples::BENCH)]
pub(crate) struct Args {
    #[command(subcommand)]
    benchmark: Benchmark,
    /// Table for people or one JSON object per line.
    #[arg(long, value_enum, default_value = "text", global = true)]
    format: Format,
    /// Timed runs after one that isn't; the median counts.
    #[arg(long, default_value_t = 5, global = true)]
    repeat: usize,
    /// Vector instructions: auto, plain, avx2, avx512 or neon.
    #[arg(long, default_value = "auto", global = true, value_parser = Instructions::parse)]
    kernel: Instructions,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    pub(crate) patience: crate::commands::Patience,
}

#[derive(Clone, Debug, Subcommand)]
enum Benchmark {
    #[command(after_help = examples::BENCH_ANNOTATE)]
    Annotate(annotate::Args),
    #[command(after_help = examples::BENCH_GEMM)]
    Gemm(gemm::Args),
    #[command(after_help = examples::BENCH_INPUT)]
    Input(input::Args),
    #[command(after_help = examples::BENCH_MIXTURE)]
    Mixture(mixture::Args),
    #[command(after_help = examples::BENCH_SUM)]
    Sum(sum::Args),
    #[command(after_help = examples::BENCH_METRICS)]
    Metrics(metrics::Args),
    #[command(after_help = examples::BENCH_OVERLAP)]
    Overlap(overlap::Args),
    #[command(after_help = examples::BENCH_RANK)]
    Rank(rank::Args),
    #[command(after_help = examples::BENCH_TRAIN)]
    Train(train::Args),
}

/// eps of the loss.
pub(super) const EPSILON: f32 = 1e-5;

/// How every benchmark measures.
pub(crate) struct Measuring {
    repeat: usize,
    kernel: Instructions,
}

impl Measuring {
    /// So many runs by the best instructions that there are.
    pub(crate) fn times(repeat: usize) -> Measuring {
        Measuring { repeat, kernel: Instructions::parse("auto").expect("a name of ours") }
    }
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let format = args.format;
    let measuring = Measuring { repeat: args.repeat.max(1), kernel: args.kernel };
    let device = match args.benchmark.threads() {
        Some(threads) => {
            let host = Ok(Host::new(args.kernel, threads, EPSILON));
            let given = chosen(comm, args.device.told(), host, EPSILON)?;
            args.device.announce(&given);
            given.device
        }
        None => {
            comm.agree(args.device.unnamed("this benchmark"))?;
            RankDevice::Host(Host::new(args.kernel, 1, EPSILON))
        }
    };
    let name = device.name();
    let mut rows = match args.benchmark {
        Benchmark::Annotate(args) => annotate::run(&measuring, &args, device)?,
        Benchmark::Gemm(args) => gemm::run(&measuring, &args, &device)?,
        Benchmark::Input(args) => input::run(&measuring, &args)?,
        Benchmark::Mixture(args) => mixture::run(&measuring, &args, device)?,
        Benchmark::Sum(args) => sum::run(&measuring, &args)?,
        Benchmark::Metrics(args) => metrics::run(&measuring, &args)?,
        Benchmark::Overlap(args) => overlap::run(comm, &measuring, &args)?,
        Benchmark::Rank(args) => return rank::run(comm, &measuring, &args, format),
        Benchmark::Train(args) => train::run(comm, &measuring, &args, device)?,
    };
    rows.iter_mut().for_each(|row| row["device"] = name.as_str().into());
    out::print(comm, For::Reading, || match format {
        Format::Json => rows.iter().map(json_line).collect(),
        Format::Text => table(&rows),
    })
}

impl Benchmark {
    /// Threads of the processor's part of what it measures, where that may be a device.
    fn threads(&self) -> Option<usize> {
        match self {
            Benchmark::Annotate(args) => Some(args.threads.max(1)),
            Benchmark::Gemm(_) => Some(1),
            Benchmark::Mixture(args) => Some(args.threads),
            Benchmark::Train(args) => Some(args.threads),
            _ => None,
        }
    }
}

impl Measuring {
    /// Median seconds of a run of `work`.
    ///
    /// # Errors
    /// The first that it gives.
    fn seconds_of(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        let mut outcome = Ok(());
        let seconds = self.seconds(|| {
            if outcome.is_ok() {
                outcome = work();
            }
        });
        outcome.map(|()| seconds)
    }

    /// The same of work that can't fail.
    fn seconds(&self, mut work: impl FnMut()) -> f64 {
        work();
        median((0..self.repeat).map(|_| {
            let started = Instant::now();
            work();
            let seconds = started.elapsed().as_secs_f64();
            // A long measurement is no hang.
            tick();
            seconds
        }))
    }
}

/// There is one number at least.
fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    crate::report::median(&mut numbers.into_iter().collect::<Vec<f64>>())
}

/// A folder of its own below the system's temporary one, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("reelscale-bench-{}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|error| Error::storage(format!("{}: {error}", path.display())))?;
        Ok(Scratch(path))
    }

    /// One that all ranks call alike, whatever their nodes; ranks of one node share it. Collective.
    fn shared(comm: &Comm) -> Result<Scratch> {
        let process = comm.all_gather(&[std::process::id()])[0];
        let path = std::env::temp_dir().join(format!("reelscale-bench-{process}"));
        let made = std::fs::create_dir_all(&path)
            .map_err(|error| Error::storage(format!("{}: {error}", path.display())));
        comm.agree(made)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The most memory that this process had so far, in MiB.
fn peak_mib() -> u64 {
    system::own_peak() >> 20
}

/// Refuses a size of zero.
fn at_least_one(sizes: &[(&str, usize)]) -> Result<()> {
    let wrong =
        |(name, _): &(&str, usize)| Error::usage(format!("--{name}: found 0, expected at least 1"));
    Error::all(sizes.iter().filter(|size| size.1 == 0).map(wrong).collect())
}

/// Objects of the same keys as columns.
pub(super) fn table(rows: &[Value]) -> String {
    let Some(Value::Object(first)) = rows.first() else { return String::new() };
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.4}", number.as_f64().expect("a float"))
        }
        other => other.to_string(),
    };
    let names: Vec<String> = first.keys().cloned().collect();
    let lines: Vec<Vec<String>> = std::iter::once(names.clone())
        .chain(rows.iter().map(|row| names.iter().map(|name| cell(&row[name])).collect()))
        .collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0))
        .collect();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    lines.iter().map(line).collect()
}
