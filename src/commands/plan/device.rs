//! Plans for ranks that have a GPU each: what one does in a second, what it has of memory, and what
//! steps take beside its products, as one H200 beside sixteen threads was found to take in whole
//! runs (docs/gpu-notes.md, "Whole runs").

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Question;
use super::steps::Making;
use crate::comm::Comm;
use crate::commands::bench::rank::steps::Step;
use crate::commands::bench::{EPSILON, Measuring, mixture};
use crate::commands::device::{RankDevice, Told, chosen};
use crate::cost::budget::GIB;
use crate::cost::device_time::{DeviceRates, PLAIN_BYTES_PER_SECOND, PRETRAINED_NUMBER_SECONDS};
use crate::device::Host;
use crate::device::gpu::{PASS_ROWS, VISIT_ROWS};
use crate::error::{Error, Exit, Result};
use crate::job::Job;
use crate::model::Layout;
use crate::model::experts::layouts;
use crate::model::spec::Dummy;

/// GPUs that have been measured: TFLOP/s of a large product in float32, and GiB.
const MEASURED: [(&str, f64, f64); 2] = [("h200", 49.5, 139.0), ("h100", 50.1, 79.0)];
/// Bytes a second between a host and its GPU, from memory that stays where it is.
const BUS_BYTES_PER_SECOND: f64 = 55e9;
/// Seconds that a byte of the weights takes home after an epoch, where it is checked.
const HOME_SECONDS: f64 = 0.72e-9;
/// Seconds that a number of a row's features takes from its shard to the device in the shared step.
const ROW_NUMBER_SECONDS: f64 = 4e-9;

/// A GPU that each rank is meant to have; in a file of rates the one that was measured there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Gpu {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) rates: DeviceRates,
    pub(super) memory_bytes: usize,
    /// Where its figures come from.
    #[serde(skip, default = "calibrated")]
    source: &'static str,
}

fn calibrated() -> &'static str {
    "measured by --calibrate"
}

/// What `--device` says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meant {
    Host,
    Gpu(Gpu),
    /// The one of a file of rates: of this kind, where it is measured now.
    Measured(String),
}

/// Classes, experts of each and activations of the mini-batch by which a GPU is measured, its rows,
/// and how often.
const SHAPE: [usize; 3] = [256, 16, 1024];
const ROWS: usize = 2048;
const RUNS: usize = 3;

impl FromStr for Meant {
    type Err = String;

    /// `host`, `h200`, `h100`, `cuda`, `opencl`, or as `40TFLOP/s,80GiB`.
    fn from_str(text: &str) -> std::result::Result<Meant, String> {
        match text {
            "host" => return Ok(Meant::Host),
            "cuda" | "opencl" => return Ok(Meant::Measured(text.into())),
            _ => (),
        }
        let measured = MEASURED.iter().find(|known| known.0 == text);
        let measured = measured.map(|known| Gpu::new(*known, "one was measured"));
        let number = |text: &str, unit: &str, most: f64| -> Option<f64> {
            let number: f64 = text.trim().strip_suffix(unit)?.parse().ok()?;
            (1e-3..=most).contains(&number).then_some(number)
        };
        let told = || {
            let (rate, memory) = text.split_once(',')?;
            let figures = (text, number(rate, "TFLOP/s", 1e6)?, number(memory, "GiB", 1e6)?);
            Some(Gpu::new(figures, "as told"))
        };
        let expected = "expected host, h200, h100, cuda, opencl or as 40TFLOP/s,80GiB";
        measured.or_else(told).map(Meant::Gpu).ok_or_else(|| format!("found {text:?}, {expected}"))
    }
}

impl Gpu {
    fn new((name, teraflops, gib): (&str, f64, f64), source: &'static str) -> Gpu {
        let rates = DeviceRates { flop_per_second: teraflops * 1e12 };
        Gpu { name: name.into(), rates, memory_bytes: (gib * GIB) as usize, source }
    }

    /// The one that is meant: as told, else where the job names a device that isn't its processor
    /// that of the rates, or an H200.
    ///
    /// # Errors
    /// Exit 2: that of the rates is meant, which have none.
    pub(super) fn meant(
        told: Option<&Meant>,
        job: &Job,
        of_rates: Option<&Gpu>,
    ) -> Result<Option<Gpu>> {
        let of_rates = of_rates.cloned();
        match (told, &*job.run.device) {
            (Some(Meant::Host), _) | (None, "auto" | "host") => Ok(None),
            (Some(Meant::Gpu(gpu)), _) => Ok(Some(gpu.clone())),
            (None, _) => {
                let h200 = || Gpu::new(MEASURED[0], "one was measured");
                Ok(Some(of_rates.unwrap_or_else(h200)))
            }
            (Some(Meant::Measured(name)), _) => {
                let none = || {
                    let text = format!("--device: found {name}, but rates of no such device");
                    Error::usage(text)
                        .hint(format!("--calibrate FILE --device {name} where one is"))
                };
                of_rates.ok_or_else(none).map(Some)
            }
        }
    }

    /// What a plan rests on, of ranks that have it.
    pub(super) fn assumptions(&self, question: &Question) -> Value {
        let (told, found) = (self.source, "one H200 beside 16 threads was found to take it");
        json!([
            { "name": "device", "value": self.name, "source": told },
            { "name": "device_product_tflops", "value": self.rates.flop_per_second / 1e12,
              "source": told },
            { "name": "device_memory_gib", "value": self.limit(&question.job) as f64 / GIB,
              "source": "run.device_memory_gib, else all it has" },
            { "name": "bus_gbytes", "value": BUS_BYTES_PER_SECOND / 1e9,
              "source": "that of one H200" },
            { "name": "rows_to_device_ns_a_number", "value": ROW_NUMBER_SECONDS * 1e9,
              "source": found },
            { "name": "pretraining_ns_a_number", "value": PRETRAINED_NUMBER_SECONDS * 1e9,
              "source": found },
        ])
    }

    /// Bytes of it that a rank may take.
    pub(super) fn limit(&self, job: &Job) -> usize {
        match job.run.device_memory_gib {
            0.0 => self.memory_bytes,
            gib => self.memory_bytes.min((gib * GIB) as usize),
        }
    }

    /// That of this machine, of a kind.
    ///
    /// # Errors
    /// Exit 3: there is none that gives the processor's bits; exit 9: it is lost.
    pub(super) fn measure(kind: &str) -> Result<Gpu> {
        let measuring = Measuring::times(RUNS);
        let host = Host::named("auto", 1, EPSILON).expect("a name of ours");
        let given = chosen(&Comm::serial(), Told::by("--device", kind), Ok(host), EPSILON)?;
        let name = given.device.name();
        let RankDevice::Gpu(gpu) = &given.device else {
            return Err(Error::new(Exit::Launch, format!("--device: found {name}, not {kind:?}")));
        };
        let memory_bytes = gpu.queue().limit();
        let found = mixture::run(&measuring, &mixture::Args::of(SHAPE, ROWS, 1, 1), given.device)?;
        let seconds = found[0]["seconds"].as_f64().expect("a measurement");
        let [classes, experts, width] = SHAPE;
        let cut = layouts(&vec![experts; classes], Dummy::Learned, width, 1);
        let panels = cut.iter().map(|layout| layout.panels).sum();
        let rates = DeviceRates::of_mini_batch(seconds, (ROWS, panels, width));
        Ok(Gpu { name, rates, memory_bytes, source: calibrated() })
    }
}

impl Making<'_> {
    /// Flop a second of a GPU in the products of a step: with what the fullest rank has at once, or
    /// had it all.
    pub(super) fn rate_of_device(&self, gpu: &Gpu, step: Step, all: bool) -> f64 {
        let whole = &self.world.whole;
        let (width, fullest) = (whole.shape.outputs(), whole.fullest(step));
        let (blocks, rows) = match (step, all) {
            (Step::Pretrain, true) => (&whole.small[..], whole.job.pretrain.batch),
            (Step::Pretrain, false) => (whole.own(step, fullest), whole.job.pretrain.batch),
            (Step::Experts, true) => (&whole.large[..], self.step_rows(whole.job.plan.rows)),
            (Step::Experts, false) => {
                let slices = whole.slices(fullest) as f64 / whole.job.experts.row_slices as f64;
                let rows = self.step_rows(whole.job.plan.rows) as f64 * slices;
                (whole.own(step, fullest), rows.ceil() as usize)
            }
            (Step::Shared, true) => (&whole.large[..], VISIT_ROWS),
            (Step::Shared, false) => (&whole.large[..], self.rows_of_a_wave(fullest)),
        };
        let rows = rows.clamp(1, whole.job.plan.rows.max(1)).min(VISIT_ROWS);
        let panels = || blocks.iter().map(|layout| layout.panels);
        let seconds: f64 = match step {
            Step::Pretrain => gpu.rates.pretraining(rows, panels().sum(), width),
            Step::Experts => gpu.rates.mini_batch(rows, panels().sum(), width),
            Step::Shared => panels().map(|own| gpu.rates.visit(rows, own, width)).sum(),
        };
        whole.flop_of_blocks(step, blocks, rows) / seconds
    }

    /// Rows of a mini-batch, or those that a solver of full batches takes at once.
    fn step_rows(&self, rows: usize) -> usize {
        let (step, passes) = self.world.whole.job.experts.step_rows(rows);
        if passes { PASS_ROWS.min(rows) } else { step.min(rows) }
    }

    /// Rows that class blocks visit at once.
    fn rows_of_a_wave(&self, rank: usize) -> usize {
        let blocks = self.world.whole.row_blocks(rank).len().max(1);
        let rows = self.rows(rank);
        rows.div_ceil(blocks) * self.world.plan.wave.clamp(1, blocks)
    }

    /// Seconds of an epoch of the expert step beside a device's products, if ranks have one: its
    /// weights come home, and where they find no place there, class blocks come and go with each
    /// window, as far as so much arithmetic doesn't hide them.
    pub(super) fn beside_experts(&self, own: &[Layout], arithmetic: f64) -> f64 {
        let Some(plan) = &self.world.device else { return 0.0 };
        let whole = &self.world.whole;
        let bytes = (own.iter().map(Layout::parameters).sum::<usize>() * size_of::<f32>()) as f64;
        let windows = whole.job.plan.rows.div_ceil(whole.job.experts.window_rows()) as f64;
        // Up and down: weights, and two numbers of each that their solver keeps.
        let each = if plan.streams { 6.0 * windows } else { 0.0 };
        bytes * HOME_SECONDS + (self.over_the_bus(each * bytes) - arithmetic).max(0.0)
    }

    /// Seconds that so many bytes take between a rank and its device, if it has one.
    pub(super) fn over_the_bus(&self, bytes: f64) -> f64 {
        if self.world.device.is_some() { bytes / BUS_BYTES_PER_SECOND } else { 0.0 }
    }

    /// Seconds in which all class blocks go up to a device once, to visit a wave.
    pub(super) fn up_to_device(&self) -> f64 {
        self.over_the_bus((self.world.parameters() * size_of::<f32>()) as f64)
    }

    /// Of a pass over rows: they come from their shards, frames by their bytes.
    pub(super) fn rows_to_device(&self, rows: f64) -> f64 {
        let plan = &self.world.whole.job.plan;
        match plan.frames {
            0 => rows * plan.features as f64 * ROW_NUMBER_SECONDS,
            frames => rows * (frames * plan.features) as f64 / PLAIN_BYTES_PER_SECOND,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_or_told_in_figures() {
        let gpu = |text: &str| match text.parse() {
            Ok(Meant::Gpu(gpu)) => Ok((gpu.rates.flop_per_second, gpu.memory_bytes >> 30)),
            Ok(_) => Ok((0.0, 0)),
            Err(text) => Err(text),
        };
        assert_eq!(gpu("host"), Ok((0.0, 0)));
        assert_eq!(gpu("h200"), Ok((49.5e12, 139)));
        assert_eq!(gpu("20TFLOP/s,24GiB"), Ok((20e12, 24)));
        for wrong in ["", "h300", "20TFLOP/s", "0TFLOP/s,24GiB", "nanTFLOP/s,24GiB", "2,24GiB"] {
            let found = gpu(wrong).unwrap_err();
            let expected = "expected host, h200, h100, cuda, opencl or as 40TFLOP/s,80GiB";
            assert_eq!(found, format!("found {wrong:?}, {expected}"));
        }
    }
}
