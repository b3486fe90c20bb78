//! Compares the device kernels of reelscale with its processor kernels, bit by bit, on random
//! shapes, in one process; then measures rates. It needs glibc and a device's driver, no more.
//!
//! ```text
//! gpu-check cuda|opencl|plain [--device N] [--ptx FILE] [--options TEXT] [--plant FROM TO]
//!           [--order forward|reverse|SEED] [--without-barriers] [--cases N] [--seed N]
//!           [--rates [--rows N]]
//! gpu-check inspect [--ptx FILE]
//! ```
//!
//! `inspect` looks through the PTX for operations that aren't rounded to nearest. Exit 0: all bits
//! are equal, 1: some differ, 3: there is no such device, 9: the device is full or lost.

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
#[path = "../../src/optim/mod.rs"]
pub mod optim;
#[allow(dead_code)]
#[path = "../../src/packed.rs"]
pub mod packed;
#[allow(dead_code)]
#[path = "../../src/partition.rs"]
pub mod partition;
#[allow(dead_code)]
#[path = "../../src/progress.rs"]
pub mod progress;
#[allow(dead_code)]
#[path = "../../src/rng.rs"]
pub mod rng;
#[allow(dead_code)]
#[path = "../../src/team.rs"]
pub mod team;

#[allow(dead_code)]
mod device;

mod cases;
mod compared;
mod learning;
mod mixtures;
mod plain;
mod rates;
mod shared_layers;
mod visits;

use std::ffi::{c_char, c_int, c_void};
use std::process::ExitCode;

use compared::Compared;
use device::gpu::cuda::Cuda;
use device::gpu::launcher::Launcher;
use device::gpu::opencl::{Kinds, OpenCl, devices};
use device::gpu::queue::Queue;
use kernel::text::{OPENCL_OPTIONS, PTX, inspect, whole};
use plain::{Order, Plain};

unsafe extern "C" {
    fn plain_run(
        name: *const c_char,
        x: c_int,
        y: c_int,
        threads: c_int,
        arguments: *const *const c_void,
        order: u64,
    ) -> c_int;
    fn plain_run_broken(
        name: *const c_char,
        x: c_int,
        y: c_int,
        threads: c_int,
        arguments: *const *const c_void,
        order: u64,
    ) -> c_int;
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let after = |name: &str, place: usize| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + place).cloned()
    };
    let number = |name: &str, default: u64| {
        after(name, 1).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let kind = arguments.first().map_or("plain", String::as_str);
    let ptx = after("--ptx", 1).map(|path| std::fs::read_to_string(path).expect("PTX"));
    let ptx = ptx.as_deref().unwrap_or(PTX);
    if kind == "inspect" {
        let faults = inspect::faults(ptx);
        println!("{} faults", faults.len());
        faults.iter().take(5).for_each(|fault| println!("{fault}"));
        return if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    }
    let ordinal = number("--device", 0);
    let launcher: Result<Box<dyn Launcher>, String> = match kind {
        "cuda" => {
            let cuda = Cuda::new(ordinal as i32, ptx);
            cuda.map(|cuda| Box::new(cuda) as Box<dyn Launcher>)
        }
        "opencl" => {
            let mut text = whole();
            if let (Some(from), Some(to)) = (after("--plant", 1), after("--plant", 2)) {
                assert!(text.contains(&from), "nothing to plant in");
                text = text.replace(&from, &to);
            }
            let options = after("--options", 1).unwrap_or(OPENCL_OPTIONS.into());
            let found = devices(Kinds::Any).and_then(|devices| {
                devices.get(ordinal as usize).copied().ok_or("OpenCL: no such device".into())
            });
            let opencl = found.and_then(|device| OpenCl::of(device, &text, &options));
            opencl.map(|opencl| Box::new(opencl) as Box<dyn Launcher>)
        }
        _ => {
            let order = match after("--order", 1).as_deref() {
                None | Some("forward") => Order::Forward,
                Some("reverse") => Order::Reverse,
                Some(seed) => Order::Random(seed.parse().expect("an order")),
            };
            let run = if has("--without-barriers") { plain_run_broken } else { plain_run };
            // SAFETY: both are built from the text (build.rs).
            Ok(Box::new(unsafe { Plain::new(run, order) }))
        }
    };
    let launcher = match launcher {
        Ok(launcher) => launcher,
        Err(error) => {
            eprintln!("gpu-check: {error}");
            return ExitCode::from(3);
        }
    };
    let seconds = rates::Seconds::default();
    let timed = rates::Timed { inner: launcher, seconds: seconds.clone() };
    let queue = &Queue::new(Box::new(timed), usize::MAX);
    println!("{}", queue.describe());
    let mut compared = Compared::default();
    let outcome = cases::all(queue, number("--cases", 40), number("--seed", 1), &mut compared)
        .and_then(|()| match has("--rates") {
            true => rates::all(queue, &seconds, number("--rows", 0) as usize, &mut compared),
            false => Ok(()),
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
