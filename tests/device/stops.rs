//! Runs that are stopped on one device and go on on the other.

use reelscale::Comm;
use reelscale::internals::train::host_of;

use super::common::pinned_jobs::{VIDEOS, job, shards};
use super::common::pins::Pin;
use super::common::stopped::train;
use super::textbook::Textbook;

/// Averages, classes that stop by themselves, both kinds of solvers, negatives, dropout.
const JOBS: [&str; 4] = [
    "adam-averaging-tolerance-three-slices",
    "class-patience-averaging-adam-no-dummy",
    "features-class-patience-lbfgs-exact",
    "tanh-negatives-dropout-averaging-adam",
];

/// Stopped at any call of the one device, it goes on on the other, on other ranks, to the same.
#[test]
fn a_stopped_run_goes_on_on_the_other_device() {
    let data = tempfile::tempdir().unwrap();
    shards(data.path(), 0);
    for (name, own) in VIDEOS.iter().filter(|job| JOBS.contains(&job.0)) {
        let job = job(data.path(), name, own);
        let expected = Pin::of_run(&job, 1).weights;
        let (mut call, mut stopped) = (1, 0);
        loop {
            let folder = tempfile::tempdir().unwrap();
            let textbook = |comm: &Comm| {
                let device = Textbook::new(job.model.epsilon);
                // One rank is told, and tells the other.
                Ok(match comm.rank() {
                    1 => device.stopping_at(call, comm),
                    _ => device,
                })
            };
            if train(&job, 2, folder.path(), textbook).0 {
                break;
            }
            let ended = train(&job, 3, folder.path(), |_| host_of(&job));
            assert_eq!(ended, (true, expected.clone()), "{name}, stopped at call {call}");
            (call, stopped) = (call + 1 + call / 4, stopped + 1);
        }
        assert!(stopped > 10, "{name}: {stopped} stops");
    }
}
