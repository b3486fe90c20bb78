//! Compares the device kernels of reelscale with its processor kernels, bit by bit, on random
//! shapes, in one process; then measures rates. It needs glibc and a device's driver, no more.
//!
//! ```text
//! gpu-check cuda|opencl [--device N] [--ptx FILE] [--options TEXT] [--plant FROM TO]
//!           [--cases N] [--seed N] [--only KIND] [--rates [--rows N]]
//! gpu-check plain --library FILE [--order forward|reverse|SEED] [--without-barrier N]
//!           [--cases N] [--seed N] [--only KIND]
//! gpu-check barriers --library FILE
//! gpu-check inspect [--ptx FILE]
//! gpu-check bundle --out FOLDER [--device cuda|opencl] [--small]
//! ```
//!
//! `plain` takes a build of ../src/kernel/text/plain.cpp (check.sh), of which `barriers` tells how
//! many there are; `bundle` is what run.sh of a bundle does; `inspect` looks through the PTX for
//! operations that aren't rounded to nearest. Exit 0: all bits are equal, 1: some differ, 3: there
//! is no such device, 9: the device is full or lost.

// These files are the program's own; of some only a part is used here.
#[allow(dead_code)]
#[path = "../../src/example.rs"]
pub mod example;
#[allow(dead_code)]
#[path = "../../src/kernel/mod.rs"]
pub mod kernel;
#[allow(dead_code)]
#[path = "../../src/labels.rs"]
pub mod labels;
#[allow(dead_code)]
#[path = "../../src/model/mod.rs"]
pub mod model;
#[allow(dead_code)]
#[path = "../../src/names.rs"]
pub mod names;
#[allow(dead_code)]
#[path = "../../src/optim/mod.rs"]
pub mod optim;
#[allow(dead_code)]
#[path = "../../src/packed.rs"]
pub mod packed;
#[allow(dead_code)]
#[path = "../../src/partition/mod.rs"]
pub mod partition;
#[allow(dead_code)]
#[path = "../../src/progress.rs"]
pub mod progress;
#[allow(dead_code)]
#[path = "../../src/rng.rs"]
pub mod rng;
#[allow(dead_code)]
#[path = "../../src/stint.rs"]
pub mod stint;
#[allow(dead_code)]
#[path = "../../src/team/mod.rs"]
pub mod team;
#[allow(dead_code)]
#[path = "../../src/tree.rs"]
pub mod tree;

#[allow(dead_code)]
mod device;

mod best;
mod bundle;
mod cases;
mod compared;
mod frames;
mod learning;
mod mixtures;
mod plain;
mod rates;
mod runs;
mod shared_layers;
mod visits;

use std::path::PathBuf;
use std::process::ExitCode;

use bundle::Shown;
use compared::Compared;
use device::gpu::cuda::Cuda;
use device::gpu::launcher::Launcher;
use device::gpu::opencl::{Kinds, OpenCl, devices};
use device::gpu::queue::Queue;
use kernel::text::{OPENCL_OPTIONS, PTX, inspect, whole};
use plain::{Order, Plain};

/// What stands on the command line.
struct Arguments(Vec<String>);

impl Arguments {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    /// The word so many places after `name`.
    fn after(&self, name: &str, place: usize) -> Option<String> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + place).cloned()
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        let text = self.after(name, 1);
        text.map_or(default, |text| text.parse().expect("a whole number"))
    }

    fn library(&self) -> PathBuf {
        PathBuf::from(self.after("--library", 1).expect("--library FILE"))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments(std::env::args().skip(1).collect());
    let kind = arguments.0.first().map_or("", String::as_str);
    let ptx = arguments.after("--ptx", 1);
    let ptx = ptx.map(|path| std::fs::read_to_string(path).expect("PTX"));
    let ptx = ptx.as_deref().unwrap_or(PTX);
    match kind {
        "inspect" => {
            let faults = inspect::faults(ptx);
            faults.iter().take(5).for_each(|fault| println!("{fault}"));
            println!("{} faults", faults.len());
            return if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) };
        }
        "barriers" => {
            // SAFETY: check.sh builds it from the text.
            let count = unsafe { Plain::barriers(&arguments.library()) };
            println!("{}", count.expect("a build of plain.cpp"));
            return ExitCode::SUCCESS;
        }
        "bundle" => return of_bundle(&arguments),
        _ => {}
    }
    let launcher = match launcher(kind, &arguments, ptx) {
        Ok(launcher) => launcher,
        Err(error) => {
            eprintln!("gpu-check: {error}");
            return ExitCode::from(3);
        }
    };
    let (queue, seconds) = timed(launcher);
    let queue = &queue;
    let mut compared = Compared::default();
    let (cases, seed) = (arguments.number("--cases", 40), arguments.number("--seed", 1));
    let only = arguments.after("--only", 1);
    let outcome = cases::all(queue, cases, seed, only.as_deref(), &mut compared).and_then(|()| {
        let rows = arguments.number("--rows", 0) as usize;
        match arguments.has("--rates") {
            true => rates::all(queue, &seconds, rows, &mut compared),
            false => Ok(()),
        }
    });
    compared.print();
    match outcome {
        Ok(()) if compared.equal() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(1),
        Err(error) => {
            eprintln!("gpu-check: {error}");
            ExitCode::from(9)
        }
    }
}

/// Launches that can be timed.
fn timed(launcher: Box<dyn Launcher>) -> (Queue, rates::Seconds) {
    let seconds = rates::Seconds::default();
    let timed = rates::Timed { inner: launcher, seconds: seconds.clone() };
    let queue = Queue::new(Box::new(timed), usize::MAX);
    println!("{}", queue.describe());
    (queue, seconds)
}

/// What run.sh of a bundle asks for.
fn of_bundle(arguments: &Arguments) -> ExitCode {
    let told = |code: u8, error: String| {
        eprintln!("gpu-check: {error}");
        ExitCode::from(code)
    };
    let kind = arguments.after("--device", 1).unwrap_or("cuda".into());
    let out = PathBuf::from(arguments.after("--out", 1).expect("--out FOLDER"));
    let launcher = match kind.as_str() {
        "cuda" | "opencl" => launcher(&kind, &Arguments(Vec::new()), PTX),
        _ => Err(format!("--device: found {kind:?}, expected cuda or opencl")),
    };
    let (queue, seconds) = match launcher {
        Ok(launcher) => timed(launcher),
        Err(error) => return told(3, error),
    };
    let out = std::fs::create_dir_all(&out).and_then(|()| out.canonicalize());
    let outcome = out.map_err(|error| format!("--out: {error}")).and_then(|out| {
        let asked = bundle::Asked { kind: &kind, out: &out, small: arguments.has("--small") };
        bundle::run(&asked, queue, &seconds)
    });
    match outcome {
        Ok(Shown::Equal) => ExitCode::SUCCESS,
        Ok(Shown::Odd) => ExitCode::from(1),
        Ok(Shown::Part) => ExitCode::from(2),
        Err(error) => told(1, error),
    }
}

/// The device that is asked for.
fn launcher(kind: &str, arguments: &Arguments, ptx: &str) -> Result<Box<dyn Launcher>, String> {
    let ordinal = arguments.number("--device", 0);
    match kind {
        "cuda" => Ok(Box::new(Cuda::new(ordinal as i32, ptx)?)),
        "opencl" => {
            let mut text = whole();
            let planted = arguments.after("--plant", 1).zip(arguments.after("--plant", 2));
            if let Some((from, to)) = planted {
                assert!(text.contains(&from), "nothing to plant in");
                text = text.replace(&from, &to);
            }
            let options = arguments.after("--options", 1).unwrap_or(OPENCL_OPTIONS.into());
            let devices = devices(Kinds::Any)?;
            let device = devices.get(ordinal as usize).ok_or("OpenCL: no such device")?;
            Ok(Box::new(OpenCl::of(*device, &text, &options)?))
        }
        "plain" => {
            let order = match arguments.after("--order", 1).as_deref() {
                None | Some("forward") => Order::Forward,
                Some("reverse") => Order::Reverse,
                Some(seed) => Order::Random(seed.parse().expect("an order")),
            };
            let left_out = arguments.after("--without-barrier", 1);
            let left_out = left_out.map(|barrier| barrier.parse().expect("a barrier"));
            // SAFETY: check.sh builds it from the text.
            Ok(Box::new(unsafe { Plain::new(&arguments.library(), order, left_out) }?))
        }
        _ => Err("found no kind of device, expected cuda, opencl or plain".into()),
    }
}
