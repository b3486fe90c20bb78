//! Ranks that compute on a device with the device text: on PoCL the pinned jobs come to their
//! literals. Where no OpenCL device is there, these tests say that they skip.

#[path = "../common/mod.rs"]
mod common;

use common::pinned_jobs::{FRAMES, VIDEOS, job, shards};
use common::pins::{Literals, Pin};
use reelscale::Host;
use reelscale::internals::device::gpu::Gpu;
use reelscale::internals::device::gpu::opencl::OpenCl;
use reelscale::internals::device::gpu::queue::Queue;
use reelscale::internals::job::Job;
use reelscale::internals::kernel::text::{OPENCL_OPTIONS, whole};

/// A device of its own for a rank.
fn device(job: &Job) -> Result<Gpu, String> {
    let launcher = OpenCl::new(0, &whole(), OPENCL_OPTIONS)?;
    let host = Host::detected(1, job.model.epsilon);
    Ok(Gpu::new(host, Queue::new(Box::new(launcher), usize::MAX), job.model.epsilon))
}

/// Every job on one, two and three ranks.
fn check(literals: &str, jobs: &[(&str, &str)], frames: usize) {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), frames);
    let mut literals = Literals::read(literals);
    for (name, own) in jobs {
        let job = job(folder.path(), name, own);
        for ranks in [1, 2, 3] {
            let device = |_: &_| Ok(device(&job).unwrap());
            let pin = Pin::of_run_on(&job, &vec![1; ranks], device);
            literals.check(name, &format!("OpenCL, {ranks} ranks"), pin);
        }
    }
    literals.finish();
}

#[test]
fn jobs_on_videos_come_to_their_literals() {
    check("videos.txt", VIDEOS, 0);
}

#[test]
fn jobs_on_frames_come_to_their_literals() {
    check("frames.txt", FRAMES, 6);
}
