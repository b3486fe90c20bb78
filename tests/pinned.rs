//! Small jobs over all that a job can ask for, held to literal weights and losses: on every kernel
//! of this machine, on 1 and 3 ranks, on ranks that own unequal shares, in every version of the
//! program.

mod common;

use std::collections::BTreeSet;

use common::pinned_jobs::{FRAMES, VIDEOS, job, sets, shards, sliced};
use common::pins::{Literals, Pin};
use reelscale::internals::job::{ACTIVATIONS, Decides, Default, KEYS, Key, Takes};
use reelscale::internals::kernel::vector::Instructions;

/// Every job on every kernel, on one rank of two threads and on three ranks.
fn check(literals: &str, jobs: &[(&str, &str)], frames: usize) {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), frames);
    let mut literals = Literals::read(literals);
    for (name, own) in jobs {
        let mut job = job(folder.path(), name, own);
        for kernel in Instructions::available() {
            for (ranks, threads) in [(1, 2), (3, 1)] {
                job.run.kernel = kernel.name().into();
                job.run.threads = threads;
                let how = format!("{} kernel, {ranks} ranks x {threads} threads", kernel.name());
                literals.check(name, &how, Pin::of_run(&job, ranks));
            }
        }
        let uneven = Pin::of_run_in_shares(&job, &[0, 3, 1]);
        literals.check(name, "ranks of which one is idle and one has most", uneven);
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

/// One literal for each number of slices, which decides bits; ranks, threads and kernels don't.
#[test]
fn jobs_of_several_slices_come_to_their_literals() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let mut literals = Literals::read("slices.txt");
    for (name, own, _) in sliced() {
        let mut job = job(folder.path(), &name, &own);
        for kernel in Instructions::available() {
            for (ranks, threads) in [(1, 3), (2, 1), (3, 1)] {
                job.run.kernel = kernel.name().into();
                job.run.threads = threads;
                let how = format!("{} kernel, {ranks} ranks x {threads} threads", kernel.name());
                literals.check(&name, &how, Pin::of_run(&job, ranks));
            }
        }
    }
    literals.finish();
}

/// Every choice of every key, two values of any other key, every layer and activation.
#[test]
fn the_jobs_cover_all_that_is_computed() {
    let jobs = || VIDEOS.iter().chain(FRAMES);
    let decides = |key: &&Key| key.decides == Decides::Result || key.name == "data.validation";
    for key in KEYS.iter().filter(decides) {
        let value = |own| {
            let assignments = sets(own).filter_map(|line| line.split_once(" = "));
            let last = assignments.filter(|(name, _)| *name == key.name).last();
            let default = match key.default {
                Default::Always(value) => value,
                Default::Required | Default::By(..) => "",
            };
            last.map_or(default, |(_, value)| value).trim_matches('"')
        };
        let values: BTreeSet<&str> = jobs().map(|(_, own)| value(own)).collect();
        match key.takes {
            Takes::Choice(choices) => {
                let expected: BTreeSet<&str> = choices.iter().copied().collect();
                assert_eq!(values, expected, "{}", key.name);
            }
            _ => assert!(values.len() > 1, "{}: only {values:?}", key.name),
        }
    }
    let lines = |key: &str| -> String {
        let lines = jobs().flat_map(|(_, own)| own.lines()).map(str::trim);
        lines.filter(|line| line.starts_with(key)).collect()
    };
    for key in ["model.shared", "model.frames"] {
        for layer in ["dense", "gating", "residual"] {
            assert!(lines(key).contains(layer), "{key}: no {layer}");
        }
    }
    for activation in ACTIVATIONS {
        assert!(lines("model.shared").contains(activation), "no {activation}");
    }
}
