//! iRprop+'s steps of the shared layers, taken by a kernel: the processor's bits, also after stops.

use std::sync::{Arc, Mutex};

use reelscale::Comm;
use reelscale::internals::kernel::text::{OPENCL_OPTIONS, whole};
use reelscale::internals::train::host_of;

use super::common::pinned_jobs::{job, shards};
use super::common::pins::Pin;
use super::common::stopped::train;
use super::gpu::{Watched, device_that_stops, missing};

/// Many steps, of which some turn, with losses that rise.
const JOB: &str = "
pretrain.epochs = 0
experts.count = 1
experts.epochs = 1
shared.iterations = 12
shared.step_initial = 0.5
shared.step_max = 1
model.shared = [{ dense = 19, activation = \"relu\" }, { gating = true }]";

#[test]
fn steps_by_signs_are_the_processors_and_other_ones_are_seen() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let job = job(folder.path(), "signs", JOB);
    let expected = Pin::of_run(&job, 1);
    let kernels = Arc::new(Mutex::default());
    for ranks in [1, 3] {
        let device = |_: &_| {
            let mut launcher = Watched::new();
            launcher.kernels = Arc::clone(&kernels);
            Ok(launcher.device(&job))
        };
        assert_eq!(Pin::of_run_on(&job, &vec![1; ranks], device), expected, "{ranks} ranks");
    }
    assert!(kernels.lock().unwrap().contains("irprop"), "the kernel takes the steps");
    // gpu-check plants other ones.
    let (right, wrong) = ("if (rose) weights[at] = weights[at] - moves[at];", "");
    let text = whole().replace(right, wrong);
    assert_ne!(text, whole());
    let device = |_: &_| Ok(Watched::of(&text, OPENCL_OPTIONS).unwrap().device(&job));
    let found = Pin::of_run_on(&job, &[1], device).weights;
    assert_ne!(found, expected.weights, "a move that is never taken back isn't seen");
}

/// Checkpoints have what only the device keeps, at each pass and where the run stops, and the
/// device goes on from them.
#[test]
fn a_run_stops_between_steps_by_signs_and_goes_on() {
    if missing() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    shards(data.path(), 0);
    let job = job(data.path(), "signs", JOB);
    let expected = Pin::of_run(&job, 1).weights;
    let stopping = |launch: usize| {
        let job = &job;
        move |comm: &Comm| {
            let launch = if comm.rank() == 1 { launch } else { usize::MAX };
            Ok(device_that_stops(Watched::new(), job, (comm, launch)))
        }
    };
    let (mut launch, mut stopped) = (1, 0);
    loop {
        let folder = tempfile::tempdir().unwrap();
        if train(&job, 2, folder.path(), stopping(launch)).0 {
            break;
        }
        // It goes on on the device, and the host ends every second one.
        let ended = match stopped % 2 {
            0 => train(&job, 3, folder.path(), stopping(usize::MAX)),
            _ => train(&job, 3, folder.path(), |_| host_of(&job)),
        };
        assert_eq!(ended, (true, expected.clone()), "stopped at launch {launch}");
        (launch, stopped) = (launch + 40 + launch / 3, stopped + 1);
    }
    assert!(stopped > 4, "{stopped} stops");
}
