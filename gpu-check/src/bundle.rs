//! What a bundle (../bundle.sh) does on a machine with a GPU: kernels and whole runs on the device
//! beside the processor's, and how fast they are, into `gpu.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::best;
use crate::cases;
use crate::compared::{Compared, Hashes};
use crate::device::gpu::queue::Queue;
use crate::rates::{self, Rate};
use crate::runs::Runs;

/// No part is begun later than that, so that all is over within eight minutes.
const BEGIN_WITHIN: Duration = Duration::from_secs(330);

/// How large that is which is measured: rows and panels of a product, classes and experts of
/// mixtures, their rows, and rows, classes and features of whole runs.
struct Sizes {
    product: [usize; 2],
    mixtures: [(usize, usize); 2],
    rows: &'static [usize],
    runs: [usize; 3],
}

const WHOLE: Sizes = Sizes {
    product: [8192, rates::PANELS],
    mixtures: [(3862, 2), (3862, 16)],
    rows: &[2048, 4096, 8192],
    runs: [65536, 3862, 1024],
};

const SMALL: Sizes =
    Sizes { product: [64, 5], mixtures: [(40, 2), (40, 3)], rows: &[64], runs: [600, 40, 24] };

/// What was found, as it stands in gpu.json.
#[derive(Serialize)]
pub struct Found {
    device: String,
    driver: String,
    /// Of what was computed on both.
    hashes: BTreeMap<String, Hashes>,
    rates: Vec<Rate>,
    /// What compute-sanitizer's tools say, where it is there.
    sanitizer: BTreeMap<String, String>,
    /// What was to be done and has failed, or for which there was no time.
    failed: Vec<String>,
    left_out: Vec<String>,
    /// Whether it came to its end.
    ended: bool,
    #[serde(skip)]
    begun: Instant,
    #[serde(skip)]
    path: PathBuf,
}

/// What a bundle's run shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All is as on the processor.
    Equal,
    /// Something isn't, or has failed.
    Odd,
    /// What there was time for is.
    Part,
}

/// What is asked of a bundle.
pub struct Asked<'a> {
    /// `cuda` or `opencl`, as `run.device` has it.
    pub kind: &'a str,
    /// For results and what is made on the way.
    pub out: &'a Path,
    /// Few cases, runs and rows: for devices that are processors.
    pub small: bool,
}

impl Found {
    /// Nothing yet, of a device as it describes itself.
    fn begin(described: &str, out: &Path) -> Found {
        let (device, driver) = described.split_once(", ").unwrap_or((described, ""));
        let kernel = fs::read_to_string("/sys/module/nvidia/version").unwrap_or_default();
        let of_kernel = if device.starts_with("CUDA") { kernel.trim() } else { "" };
        let driver = [driver, of_kernel].into_iter().filter(|part| !part.is_empty());
        Found {
            device: device.into(),
            driver: driver.collect::<Vec<_>>().join(", "),
            hashes: BTreeMap::new(),
            rates: Vec::new(),
            sanitizer: BTreeMap::new(),
            failed: Vec::new(),
            left_out: Vec::new(),
            ended: false,
            begun: Instant::now(),
            path: out.join("gpu.json"),
        }
    }

    /// Does a part, unless it is too late.
    fn part(&mut self, name: &str, work: impl FnOnce(&mut Found) -> Result<(), String>) {
        if self.begun.elapsed() > BEGIN_WITHIN {
            return self.left_out.push(name.into());
        }
        let begun = Instant::now();
        let outcome = work(self);
        println!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
        if let Err(error) = outcome {
            println!("FAILED: {name}: {error}");
            self.failed.push(format!("{name}: {error}"));
        }
        // What hangs later takes nothing with it.
        if let Err(error) = self.write() {
            println!("{error}");
        }
    }

    fn write(&self) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).expect("plain data");
        fs::write(&self.path, text + "\n")
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }

    fn shown(&self) -> Shown {
        let equal = |hashes: &Hashes| hashes.host == hashes.device;
        let equal = !self.hashes.is_empty() && self.hashes.values().all(equal);
        match (equal && self.failed.is_empty(), self.left_out.is_empty()) {
            (true, true) => Shown::Equal,
            (true, false) => Shown::Part,
            (false, _) => Shown::Odd,
        }
    }
}

/// Compares and measures all.
///
/// # Errors
/// Results can't be written.
pub fn run(asked: &Asked, queue: Queue, seconds: &rates::Seconds) -> Result<Shown, String> {
    let mut found = Found::begin(&queue.describe(), asked.out);
    kernels(asked, &queue, seconds, &mut found);
    // What it held is free for the ranks.
    drop(queue);
    let runs = Runs::new(asked.kind, asked.out)?;
    for (index, job) in runs.jobs()?.into_iter().enumerate() {
        if !asked.small || index % 7 == 0 {
            found.part(&format!("job {job}"), |found| pinned(&runs, &job, found));
        }
    }
    let sizes = if asked.small { &SMALL } else { &WHOLE };
    found.part("steps of runs", |found| steps(&runs, sizes.runs, found));
    if let Some(sanitizer) = sanitizer() {
        for tool in ["memcheck", "racecheck"] {
            found.part(tool, |found| {
                let told = runs.under(&sanitizer, tool)?;
                println!("{tool}: {told}");
                found.sanitizer.insert(tool.into(), told);
                Ok(())
            });
        }
    }
    found.ended = true;
    found.write()?;
    let odd = found.hashes.values().filter(|hashes| hashes.host != hashes.device).count();
    println!(
        "{} hashes, {odd} differ; {} failed, {} left out; {:.0} s; {}",
        found.hashes.len(),
        found.failed.len(),
        found.left_out.len(),
        found.begun.elapsed().as_secs_f64(),
        found.path.display()
    );
    Ok(found.shown())
}

/// Kernels beside the processor's, and their rates.
fn kernels(asked: &Asked, queue: &Queue, seconds: &rates::Seconds, found: &mut Found) {
    let mut compared = Compared::default();
    let count = if asked.small { 4 } else { 40 };
    found.part("kernels", |_| cases::all(queue, count, 1, None, &mut compared));
    if !asked.small {
        found.part("a large block", |_| rates::large(queue, &mut compared));
    }
    let sizes = if asked.small { &SMALL } else { &WHOLE };
    found.part("rates of products", |found| {
        found.rates.extend(rates::products(queue, &[sizes.product[0]], sizes.product[1])?);
        Ok(())
    });
    found.part("rates of best classes", |found| {
        found.rates.extend(best::rates(queue, sizes.product[0])?);
        Ok(())
    });
    for shape in sizes.mixtures {
        found.part(&format!("rates of {} x {}", shape.0, shape.1), |found| {
            found.rates.extend(rates::steps(queue, seconds, shape, sizes.rows)?);
            Ok(())
        });
    }
    compared.print();
    let named = compared.hashes().map(|(name, hashes)| (format!("kernel {name}"), hashes));
    found.hashes.extend(named);
}

/// A pinned job on the processor, and on the device on one rank and on two that share it.
fn pinned(runs: &Runs, job: &str, found: &mut Found) -> Result<(), String> {
    let host = runs.train(job, "host", 1)?;
    for (ranks, what) in [(1, "1 rank"), (2, "2 thread ranks")] {
        let device = runs.train(job, runs.kind, ranks)?;
        let hashes = Hashes { host: host.clone(), device };
        found.hashes.insert(format!("job {job}, {what}"), hashes);
    }
    Ok(())
}

/// Runs with the classes of real ones: their steps' rates, and one's bits.
fn steps(runs: &Runs, shape: [usize; 3], found: &mut Found) -> Result<(), String> {
    runs.synthesize(shape)?;
    for experts in [2, 16] {
        let (device, rates) = runs.steps(shape, experts, runs.kind)?;
        found.rates.extend(rates);
        if experts == 2 {
            let (host, _) = runs.steps(shape, experts, "host")?;
            let name = format!("run of {} x {experts}", shape[1]);
            found.hashes.insert(name, Hashes { host, device });
        }
    }
    Ok(())
}

/// Where compute-sanitizer is, if it is there.
fn sanitizer() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/local/cuda/bin")]);
    folders.map(|folder| folder.join("compute-sanitizer")).find(|tool| tool.is_file())
}
