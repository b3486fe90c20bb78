//! What a core of the machine meant does in a second: measured there (`--calibrate`), or stated.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Question;
use super::calibration::{self, Calibration};
use super::device::{Gpu, Meant};
use crate::disk::{Disk, folder_of, read_text, there};
use crate::error::{Error, Result};

/// Bytes of a file of rates at most.
const BYTES_MAX: u64 = 1 << 20;
/// What a core may do a second, operations or bytes: no machine is slower or faster.
const RATES: std::ops::RangeInclusive<f64> = 1e5..=1e16;
const FORMAT: &str = "reelscale-rates";
/// What a core of an AVX2 server does, as the model of grids has it.
const STATED_FLOP_PER_SECOND: f64 = 100e9;
/// What a core copies.
const STATED_COPY: f64 = 4e9;

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
pub(super) struct Measured {
    pub(super) experts: usize,
    pub(super) width: usize,
    pub(super) stage_1: f64,
    pub(super) stage_2: f64,
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
        let measured = !rates.measured.is_empty() && rates.measured.iter().all(sane);
        if rates.format != FORMAT || !measured || !others {
            let text = "isn't a file that --calibrate has written: it writes one anew";
            return Err(wrong(text.into()));
        }
        Ok(rates)
    }

    fn measure(path: &Path, device: Option<&Meant>) -> Result<Rates> {
        replaceable(path)?;
        let device = match device {
            Some(Meant::Measured(kind)) => Some(Gpu::measure(kind)?),
            _ => None,
        };
        let Calibration { measured, copy_bytes_per_second, disturbed } = calibration::measure();
        let host = crate::report::host();
        let source = format!(
            "measured by --calibrate on {host}; runs took {disturbed:.2} times as long as the best"
        );
        let format = FORMAT.into();
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
            { "name": "storage_gbytes",
              "value": question.written_per_second() / 1e9,
              "source": match question.storage {
                  Some(_) => "--storage, of each rank",
                  None => "stated, of each rank, for checkpoints; steps wait for no input",
              } },
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

/// Sees that rates may be written to `path`, before they are measured for a minute.
///
/// # Errors
/// Exit 2: something else is there; exit 5: there is no such folder, or it takes no file.
fn replaceable(path: &Path) -> Result<()> {
    let failed = |error: io::Error| Error::file(path, &error);
    let earlier = there(path).map_err(failed)?;
    if earlier.is_some_and(|found| !found.is_file() || Rates::read(path).is_err()) {
        let text = format!("--calibrate: {}: exists and isn't a file of rates", path.display());
        return Err(Error::usage(text).hint("name another file, or remove this one"));
    }
    Disk::default().try_folder_of(path).map_err(|error| Error::file(folder_of(path), &error))
}
