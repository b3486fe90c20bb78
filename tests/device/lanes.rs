//! Copies that go on beside work: whenever they take place within what is allowed, the bits are the
//! same, and every wait is needed. A copy that fails ends the run on all ranks.

use std::sync::Mutex;

use reelscale::internals::device::gpu::Gpu;
use reelscale::internals::device::gpu::launcher::Lane;
use reelscale::internals::device::gpu::queue::Queue;
use reelscale::internals::report::Report;
use reelscale::internals::train::{Data, Run, Setting};
use reelscale::{Exit, Host, Job, Result, run_threads};

use super::common::pinned_jobs::{FRAMES, VIDEOS, job, shards};
use super::common::pins::{Pin, weights};
use super::deferred::When::{AtLast, AtOnce};
use super::deferred::{Deferred, Fault, When};
use super::gpu::missing;
use super::stream::share_of;

/// Bytes of a piece that copies go in: less than most of them have.
const PIECE: usize = 1024;

/// All that copies up and down may do.
const ALL: [[When; 2]; 4] =
    [[AtLast, AtLast], [AtLast, AtOnce], [AtOnce, AtLast], [AtOnce, AtOnce]];

/// A job whose rows are drawn for each block, one by full batches, and one of frames.
const JOBS: [&str; 3] = ["negatives", "lbfgs", "frames"];

/// Those jobs, and a folder for each one's shards.
fn jobs() -> Vec<(&'static str, Job, tempfile::TempDir)> {
    let of = |wanted: &str| {
        let (jobs, frames) = if wanted == "frames" { (FRAMES, 6) } else { (VIDEOS, 0) };
        let found = jobs.iter().find(|job| frames > 0 || job.0.contains(wanted));
        let ((name, own), folder) = (found.unwrap(), tempfile::tempdir().unwrap());
        shards(folder.path(), frames);
        (*name, job(folder.path(), name, own), folder)
    };
    JOBS.map(of).into()
}

/// Of the memory between the least that a job can do with and the most that it takes, what devices
/// have where class blocks come and go: one at a time, or two.
const SHARES: [f64; 2] = [0.0, 0.5];

/// Trains on ranks whose devices do their copies then, and have a share of the memory: each one's
/// hash of the model; what it has followed is added up.
fn trained(
    (job, share): (&Job, f64),
    ranks: usize,
    (when, fault): ([When; 2], Fault),
    follows: &Mutex<[[usize; 3]; 3]>,
) -> Vec<Result<String>> {
    let outcomes = run_threads(ranks, |comm| {
        let launcher = Deferred::new(when, fault);
        let followed = launcher.follows.clone();
        let mut setting = Setting::new(comm, job, Data::open(comm, job)?)?;
        let free = setting.plan_device(Some(usize::MAX))?.expect("a device").peak();
        let limit = share_of(&mut setting, free, share);
        let plan = setting.plan_device(Some(limit))?.expect("a device");
        let queue = Queue::in_pieces_of(PIECE, Box::new(launcher), limit);
        let epsilon = job.model.epsilon;
        let device = Gpu::new(Host::detected(1, epsilon), queue.clone(), epsilon);
        let mut device = device.in_runs_of(48);
        device.keep_to(plan.room);
        let mut report = Report::new(None);
        let run = Run::begin(setting, device, &mut report, None);
        let trained = run.and_then(|run| run.finish());
        let trained = trained.map(|trained| weights(comm, &trained.annotator));
        assert_eq!(queue.held().0, 0, "all memory was given back");
        let mut all = follows.lock().unwrap();
        let own = *followed.borrow();
        all.iter_mut().flatten().zip(own.iter().flatten()).for_each(|(all, own)| *all += own);
        Ok(trained)
    });
    // What is no number ends a run, too.
    outcomes.unwrap_or_else(|error| vec![Err(error)])
}

/// The pairs of lanes of which the first ever followed the second.
fn pairs(follows: &Mutex<[[usize; 3]; 3]>) -> Vec<(Lane, Lane)> {
    let follows = follows.lock().unwrap();
    let all = Lane::ALL.into_iter().flat_map(|one| Lane::ALL.map(|other| (one, other)));
    all.filter(|(one, other)| follows[*one as usize][*other as usize] > 0).collect()
}

#[test]
fn copies_take_place_whenever_they_may_and_the_bits_are_the_same() {
    if missing() {
        return;
    }
    let follows = Mutex::default();
    for (name, job, _folder) in jobs() {
        let expected = Pin::of_run(&job, 1).weights;
        for (ranks, when) in ALL.into_iter().map(|when| (1, when)).chain([(3, ALL[0])]) {
            let all = if ranks == 1 { &[0.0, 0.5, 1.0][..] } else { &SHARES[1..] };
            for share in all.iter().copied() {
                for found in trained((&job, share), ranks, (when, Fault::Nothing), &follows) {
                    assert_eq!(
                        found.unwrap(),
                        expected,
                        "{name}, {ranks} ranks, {when:?}, {share}"
                    );
                }
            }
        }
    }
    println!("lanes that follow others: {:?}", pairs(&follows));
    assert!(pairs(&follows).len() > 2);
}

/// Controls: without the waits of one lane for another, or of the host for any, bits are others.
#[test]
fn without_its_waits_copies_give_other_bits() {
    if missing() {
        return;
    }
    let all = jobs();
    let (follows, none) = (Mutex::default(), Mutex::default());
    let expected: Vec<String> = all.iter().map(|(_, job, _)| Pin::of_run(job, 1).weights).collect();
    let differs = |fault: Fault, follows: &Mutex<_>| {
        let wrong = |when: [When; 2]| {
            all.iter().zip(&expected).any(|((_, job, _), expected)| {
                let of = |share| trained((job, share), 1, (when, fault), follows).swap_remove(0);
                SHARES.into_iter().any(|share| of(share).ok().as_ref() != Some(expected))
            })
        };
        ALL.into_iter().find(|when| wrong(*when))
    };
    assert_eq!(differs(Fault::Nothing, &follows), None);
    for (follower, followed) in pairs(&follows) {
        let seen = differs(Fault::Unfollowed(follower, followed), &none);
        println!("{follower:?} that doesn't follow {followed:?}: {seen:?}");
        assert!(seen.is_some(), "{follower:?} needn't follow {followed:?}");
    }
    assert!(differs(Fault::Early, &none).is_some(), "the host needn't wait");
}

/// Whichever copy fails, its run ends with that, on all ranks.
#[test]
fn a_copy_that_fails_ends_the_run() {
    if missing() {
        return;
    }
    let follows = Mutex::default();
    for (name, job, _folder) in jobs() {
        let (mut copies, mut failed) = (0, 0);
        loop {
            let when = (ALL[failed % 4], Fault::Fails(copies));
            let all = trained((&job, SHARES[failed / 4 % 2]), 2, when, &follows);
            if all.iter().all(|found| found.is_ok()) {
                break;
            }
            for found in all {
                let error = found.unwrap_err();
                assert_eq!(error.exit, Exit::Resources, "{name}, copy {copies}: {error}");
                assert!(error.text.contains("a copy of the tests"), "{name}, {copies}: {error}");
            }
            (copies, failed) = (2 * copies + 3, failed + 1);
        }
        assert!(failed > 5, "{name}: {failed} copies failed");
    }
}
