//! What a core of the machine meant does in a second: measured there (`--calibrate`), or stated.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Question;
use super::device::{Gpu, Meant};
use crate::comm::Comm;
use crate::commands::bench::mixture::{RATE_ROWS, SomeRows, at_once, rates_of_core};
use crate::device::host::Instructions;
use crate::disk::{Disk, read_text};
use crate::error::{Error, Result};
use crate::model::LANES;
use crate::model::experts::{Experts, layouts};
use crate::model::spec::Dummy;
use crate::report::median;
use crate::system;

/// Bytes of a file of rates at most.
const BYTES_MAX: u64 = 1 << 20;
/// What a core may do a second, operations or bytes: no machine is slower or faster.
const RATES: std::ops::RangeInclusive<f64> = 1e5..=1e16;
const FORMAT: &str = "reelscale-rates";
/// What a core of an AVX2 server does, as the model of grids has it.
const STATED_FLOP_PER_SECOND: f64 = 100e9;
/// What a core copies.
const STATED_COPY: f64 = 4e9;
/// Experts a class and activations of which cores are measured.
const EXPERTS: [usize; 4] = [1, 4, 16, 64];
const WIDTHS: [usize; 3] = [256, 1024, 2048];
/// Columns of the class blocks of a measurement, about, and its runs.
const COLUMNS: usize = 2048;
const RUNS: usize = 5;
/// Bytes that a core copies: more than its share of caches.
const COPIED: usize = 16 << 20;

/// Rates of one core while all cores of its machine are at work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rates {
    format: String,
    /// Where they come from, in words.
    source: String,
    measured: Vec<Measured>,
    pub(super) copy_bytes_per_second: f64,
    /// The machine's GPU, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<Gpu>,
}

/// Flop a second in the gradient of the weights (stage 1) and of the activations (stage 2).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Measured {
    experts: usize,
    width: usize,
    stage_1: f64,
    stage_2: f64,
}

impl Rates {
    /// Those of a file, measured now and kept in a file, of a device too where one is named that is
    /// to be measured, or stated ones.
    ///
    /// # Errors
    /// Exit 2: the file isn't one of rates; exit 3 and 9: what that device gives; exit 5: the file
    /// can't be written.
    pub(super) fn of(
        file: Option<&Path>,
        calibrate: Option<&Path>,
        device: Option<&Meant>,
    ) -> Result<Rates> {
        match (file, calibrate) {
            (Some(path), _) => Rates::read(path),
            (_, Some(path)) => Rates::measure(path, device),
            _ => Ok(Rates {
                format: FORMAT.into(),
                source: "stated, not measured: --calibrate FILE measures them".into(),
                measured: Vec::new(),
                copy_bytes_per_second: STATED_COPY,
                device: None,
            }),
        }
    }

    fn read(path: &Path) -> Result<Rates> {
        let wrong = |text: String| Error::usage(format!("--rates: {}: {text}", path.display()));
        let text = read_text(path, BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
        let rates: Rates = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let sane = |one: &Measured| {
            [one.stage_1, one.stage_2].iter().all(|rate| RATES.contains(rate))
                && one.experts > 0
                && one.width > 0
        };
        let of_device = rates.device.as_ref().map(|device| device.rates.flop_per_second);
        let others = [Some(rates.copy_bytes_per_second), of_device];
        let others = others.iter().flatten().all(|rate| RATES.contains(rate));
        if rates.format != FORMAT || !rates.measured.iter().all(sane) || !others {
            let text = "isn't a file that --calibrate has written: it writes one anew";
            return Err(wrong(text.into()));
        }
        Ok(rates)
    }

    fn measure(path: &Path, device: Option<&Meant>) -> Result<Rates> {
        let device = match device {
            Some(Meant::Measured(kind)) => Some(Gpu::measure(kind)?),
            _ => None,
        };
        let mut measured = Vec::new();
        for width in WIDTHS {
            for experts in EXPERTS {
                let [stage_1, stage_2] = [1, 2].map(|stage| rate(stage, experts, width));
                measured.push(Measured { experts, width, stage_1, stage_2 });
                crate::progress::tick();
            }
        }
        let source = format!("measured by --calibrate on {}", crate::report::host());
        let (format, copy_bytes_per_second) = (FORMAT.into(), copy_rate());
        let rates = Rates { format, source, measured, copy_bytes_per_second, device };
        let text = serde_json::to_string_pretty(&rates).expect("plain data") + "\n";
        let written = Disk::default().write_text(path, &text);
        written.map_err(|error| Error::file(path, &error))?;
        Ok(rates)
    }

    /// Flop a second of a core in the gradient of a stage, 1 or 2, or in shared layers (0), of
    /// mixtures of so many experts on so many activations: those of the nearest that were measured.
    pub(super) fn flop_per_second(&self, stage: u8, experts: f64, width: usize) -> f64 {
        let distance = |one: &Measured| {
            let ratio = |a: f64, b: f64| (a / b).ln().abs();
            ratio(one.experts as f64, experts) + ratio(one.width as f64, width as f64)
        };
        let near = self.measured.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        near.map_or(STATED_FLOP_PER_SECOND, |near| match stage {
            2 => near.stage_2,
            _ => near.stage_1,
        })
    }

    /// What a plan rests on, of which the first is what a core does a second in the gradients of
    /// stages 1 and 2 of its job.
    pub(super) fn assumptions(&self, question: &Question, [first, second]: [f64; 2]) -> Value {
        let network = &question.network;
        let zipf = format!("zipf {}", question.job.plan.zipf);
        let (class_sizes, of_classes) = match question.counted {
            true => ("counted", "shards"),
            false => (&zipf[..], "plan.zipf, for experts.positives_per_expert"),
        };
        let of_ranks = match &question.device {
            None => json!([
                { "name": "core_gflops_experts", "value": first / 1e9, "source": self.source },
                { "name": "core_gflops_shared", "value": second / 1e9, "source": self.source },
            ]),
            Some(gpu) => gpu.assumptions(question),
        };
        let others = json!([
            { "name": "copy_gbytes", "value": self.copy_bytes_per_second / 1e9,
              "source": self.source },
            { "name": "network_gbytes", "value": network.bytes_per_second / 1e9,
              "source": "--network" },
            { "name": "message_us", "value": network.message_seconds * 1e6, "source": "--network" },
            { "name": "threads", "value": question.threads,
              "source": "each has a core of its own" },
            { "name": "labels_per_row", "value": question.job.plan.labels_per_row,
              "source": "plan or shards" },
            { "name": "class sizes", "value": class_sizes, "source": of_classes },
            { "name": "memory", "value": "without what MPI and HDF5 take",
              "source": "HDF5 up to 4 MiB for each of 16 open shards" },
        ]);
        let all = [of_ranks, others].into_iter();
        all.flat_map(|list| list.as_array().cloned().unwrap_or_default()).collect()
    }
}

/// Flop a second of a core while all cores do the same: what they take from one another, the
/// clock's rate first, they take from ranks too. In the mean over cores, of each its median run.
fn rate(stage: u8, experts: usize, width: usize) -> f64 {
    // Whole groups of classes in one block, in which no lane is left empty.
    let classes = (COLUMNS / (2 * experts + 1)).next_multiple_of(LANES);
    let cut = layouts(&vec![experts; classes], Dummy::Learned, width, 1);
    let owners = Comm::serial().deal(cut.len());
    let experts = Experts::new(cut, owners, 7, 0);
    let kernel = Instructions::parse("auto").expect("a name of ours");
    let rows = SomeRows::of(&experts, RATE_ROWS);
    of_busy_cores(|| {
        let began = Instant::now();
        rates_of_core(kernel, stage, (&experts, &rows), RUNS, &|| began.elapsed().as_secs_f64())
    })
}

/// Bytes a second that a core copies while all cores do.
fn copy_rate() -> f64 {
    of_busy_cores(|| {
        let (from, mut to) = (vec![1_u8; COPIED], vec![0_u8; COPIED]);
        let rates = (0..RUNS).map(|_| {
            let began = Instant::now();
            to.copy_from_slice(std::hint::black_box(&from));
            std::hint::black_box(&mut to);
            from.len() as f64 / began.elapsed().as_secs_f64()
        });
        rates.collect()
    })
}

/// The mean over the cores of this machine of the median of what each finds while all do `work`,
/// one thread on each.
fn of_busy_cores(work: impl Fn() -> Vec<f64> + Sync) -> f64 {
    let mut of_cores = at_once(system::whole_cores(), work);
    let medians: Vec<f64> = of_cores.iter_mut().map(|rates| median(rates)).collect();
    medians.iter().sum::<f64>() / medians.len() as f64
}
