//! Grids of ranks on other devices than the host, and on several at once: what ranks of a column
//! have between them comes to the bits of one rank on the host.

use reelscale::internals::report::Report;
use reelscale::internals::train::{Data, Run, Setting, host_of};
use reelscale::{Comm, Exit, Job, Result, run_threads};

use super::common::pinned_jobs::{VIDEOS, job, shards, sliced};
use super::common::pins::{Literals, Pin, on_device};
use super::common::stopped::train;
use super::gpu::{Watched, device, device_that_is_lost, device_that_stops, missing};
use super::textbook::Textbook;

/// What a rank computes with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum On {
    Host,
    Textbook,
    OpenCl,
}
use On::{Host, OpenCl, Textbook as Book};

/// Grids, and what their ranks compute with; some of them are left over.
const GRIDS: &[(&str, &[On])] = &[
    ("2x2", &[Book; 5]),
    ("4x1", &[Book; 4]),
    ("2x1", &[OpenCl, OpenCl]),
    ("3x1", &[OpenCl; 3]),
    ("2x1", &[Book, OpenCl, Host]),
    ("2x2", &[Host, OpenCl, OpenCl, Book]),
    ("4x1", &[OpenCl, Book, Host, OpenCl]),
    ("1x3", &[Book, Host, OpenCl]),
];

/// What a job comes to whose ranks compute with these.
fn pin(job: &Job, kinds: &[On]) -> Pin {
    let epsilon = job.model.epsilon;
    Pin::of_ranks(&vec![1; kinds.len()], |comm, report| match kinds[comm.rank()] {
        Host => on_device(job, comm, host_of(job)?, report),
        Book => on_device(job, comm, Textbook::new(epsilon), report),
        OpenCl => on_device(job, comm, device(epsilon), report),
    })
}

#[test]
fn ranks_of_a_column_come_to_the_same_bits_on_any_devices() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let (mut literals, without) = (Literals::read("slices.txt"), missing());
    for (name, own, slices) in sliced() {
        let mut job = job(folder.path(), &name, &own);
        job.run.threads = 1;
        for (grid, kinds) in GRIDS {
            let rows: usize = grid[..1].parse().unwrap();
            let there = !without || !kinds.contains(&OpenCl);
            if rows <= slices && there {
                job.run.grid = grid.to_string();
                literals.check(&name, &format!("{grid} of {kinds:?}"), pin(&job, kinds));
            }
        }
    }
}

/// A job of four slices.
fn four_slices(folder: &std::path::Path) -> Job {
    shards(folder, 0);
    let wanted = "class-patience-averaging-adam-no-dummy";
    let (name, own) = VIDEOS.iter().find(|job| job.0 == wanted).unwrap();
    let mut job = job(folder, name, &format!("{own}\nexperts.row_slices = 4"));
    job.run.threads = 1;
    job
}

fn on_grid(job: &Job, grid: &str) -> Job {
    let mut job = job.clone();
    job.run.grid = grid.into();
    job
}

/// Stopped at a launch of one rank it goes on on other grids, on the host or the tests' device, and
/// on OpenCL.
#[test]
fn a_run_stops_on_a_grid_and_goes_on_on_others_and_on_other_devices() {
    if missing() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let job = four_slices(data.path());
    let expected = Pin::of_run(&job, 1).weights;
    let stopping = |job: &Job, at: usize| {
        let job = job.clone();
        move |comm: &Comm| match comm.rank() {
            1 => Ok(device_that_stops(Watched::new(), &job, (comm, at))),
            _ => Ok(device(job.model.epsilon)),
        }
    };
    let (mut launch, mut stopped) = (1, 0);
    loop {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (on_grid(&job, "2x2"), on_grid(&job, "3x1"));
        if train(&first, 4, folder.path(), stopping(&first, launch)).0 {
            break;
        }
        if stopped % 2 == 1 {
            train(&second, 3, folder.path(), stopping(&second, launch / 2 + 1));
        }
        let last = on_grid(&job, ["1x4", "4x1", "2x1"][stopped % 3]);
        let ended = match stopped % 4 {
            3 => train(&last, 4, folder.path(), |_| Ok(Textbook::new(job.model.epsilon))),
            _ => train(&last, 4, folder.path(), |_| host_of(&job)),
        };
        assert_eq!(ended, (true, expected.clone()), "stopped at launch {launch}");
        (launch, stopped) = (launch + 11 + launch / 2, stopped + 1);
    }
    assert!(stopped > 4, "{stopped} stops");
}

/// Whatever the others of its column compute with, and wherever it is lost.
#[test]
fn a_device_that_is_lost_in_a_column_ends_all_ranks() {
    if missing() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let job = on_grid(&four_slices(data.path()), "3x1");
    let outcomes = |lost_at: usize| {
        let end = |comm: &Comm| -> Result<(Result<()>, usize)> {
            let (data, mut report) = (Data::open(comm, &job)?, Report::new(None));
            let setting = Setting::new(comm, &job, data)?;
            if comm.rank() != 1 {
                let device = Textbook::new(job.model.epsilon);
                let run = Run::begin(setting, device, &mut report, None);
                return Ok((run.and_then(|run| run.finish().map(drop)), 0));
            }
            let (device, launches) = device_that_is_lost(&job, lost_at);
            let run = Run::begin(setting, device, &mut report, None);
            Ok((run.and_then(|run| run.finish().map(drop)), launches.get()))
        };
        run_threads(3, end).unwrap()
    };
    let whole = outcomes(usize::MAX);
    assert!(whole.iter().all(|rank| rank.0.is_ok()));
    let launches = whole[1].1;
    assert!(launches > 100, "{launches} launches");
    for lost_at in (0..launches).step_by(launches / 12 + 1) {
        for (outcome, _) in outcomes(lost_at) {
            let error = outcome.unwrap_err();
            assert_eq!(error.exit, Exit::Resources, "launch {lost_at}: {error}");
            assert!(error.text.contains("is lost"), "launch {lost_at}: {error}");
        }
    }
}
