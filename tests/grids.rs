//! Ranks as a grid in the expert step: whatever the rows and columns, weights and losses are those
//! of one rank, which depend on the number of slices alone.

mod common;
#[path = "grids/searches.rs"]
mod searches;

use std::time::Duration;

use common::pinned_jobs::{job, shards, sliced};
use common::pins::{Literals, Pin};
use common::{json, rank_of, reelscale, signal};
use reelscale::Job;

/// Rows and columns of grids that fit on so many ranks: all columns that there are ranks for, one
/// less where ranks are left over then, and one.
fn grids(ranks: usize, slices: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..=ranks.min(slices)).flat_map(move |rows| {
        let most = ranks / rows;
        let mut columns = vec![most, most - 1, 1];
        columns.retain(|columns| *columns > 0);
        columns.dedup();
        columns.into_iter().map(move |columns| (rows, columns))
    })
}

fn on_grid(job: &mut Job, (rows, columns): (usize, usize)) {
    job.run.grid = format!("{rows}x{columns}");
}

#[test]
fn weights_depend_on_slices_alone() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let mut literals = Literals::read("slices.txt");
    for (name, own, slices) in sliced() {
        let mut job = job(folder.path(), &name, &own);
        job.run.threads = 1;
        for ranks in [2, 3, 4, 6, 8] {
            for grid in grids(ranks, slices).filter(|grid| grid.0 > 1) {
                on_grid(&mut job, grid);
                let how = format!("{} of {ranks} ranks", job.run.grid);
                literals.check(&name, &how, Pin::of_run(&job, ranks));
            }
        }
    }
}

/// Grids of MPI ranks, of which some may be left over, and ones that can't be.
#[test]
fn grids_of_processes_come_to_the_same_result() {
    common::needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let path = |name: &str| folder.path().join(name);
    let text = "[data]\ntrain = [\"DATA/train-*.h5\"]\nvalidation_fraction = 0.25\n[model]\n\
                shared = [{ dense = 16, activation = \"relu\" }]\n[pretrain]\nepochs = 1\n\
                [experts]\nbatch = 32\ncount = 2\nepochs = 3\nwindow = 100\nrow_slices = 4\n\
                solver = \"adam\"\naveraging = 0.8\n[run]\nthreads = 1\nclass_blocks = 3\n";
    let text = text.replace("DATA", folder.path().to_str().unwrap());
    std::fs::write(path("job.toml"), text).unwrap();
    let train = |solver: &str, ranks: usize, grid: &str| {
        let output = path(&format!("{solver}-{ranks}-{grid}"));
        let command = reelscale("train").path(&path("job.toml")).arg("--output").path(&output);
        let solver = format!("experts.solver={solver}");
        let command = command.arg("--set").arg(format!("run.grid={grid}"));
        (command.arg("--set").arg(solver).ranks(ranks), output)
    };
    let starts = [(1, "auto"), (2, "2x1"), (4, "2x2"), (4, "4x1"), (3, "2x1"), (4, "auto")];
    for solver in ["adam", "lbfgs"] {
        let results = starts.map(|(ranks, grid)| {
            let (command, output) = train(solver, ranks, grid);
            command.within(120).stdout();
            json(&output.join("run.json"), "result_hash").as_str().expect("a hash").to_string()
        });
        assert!(results.iter().all(|result| *result == results[0]), "{solver}: {results:?}");
    }
    for (ranks, grid, expected) in [
        (2, "2x2", "run.grid: found \"2x2\", this run has 2 ranks"),
        (2, "5x1", "found 5 rows, expected at most experts.row_slices = 4"),
        (2, "2by1", "run.grid: found \"2by1\", expected auto or rows x columns such as"),
    ] {
        let text = train("adam", ranks, grid).0.within(60).fails_with(2);
        assert!(text.contains(expected), "{grid}: {text}");
    }
}

/// Processes on a grid that are told to stop, killed or stopped for ever in the middle of an expert
/// step: all end, and the run goes on on other grids to the same result.
#[test]
fn runs_that_end_early_go_on_on_other_grids() {
    common::needs_mpi!();
    let folder = tempfile::tempdir().unwrap();
    common::shards(&folder.path().join("data"), 6000, 300, 48);
    let job = folder.path().join("job.toml");
    let text = "[data]\ntrain = [\"DATA/*.h5\"]\nvalidation_fraction = 0.2\n[pretrain]\n\
                epochs = 0\n[experts]\nbatch = 64\ncount = 4\nepochs = 12\nwindow = 512\n\
                row_slices = 4\nsolver = \"adam\"\naveraging = 0.9\n[rounds]\ncount = 1\n\
                [checkpoint]\nminutes = 0\nevery = 3\n[run]\nthreads = 1\nclass_blocks = 5\n";
    let data = folder.path().join("data");
    std::fs::write(&job, text.replace("DATA", data.to_str().unwrap())).unwrap();
    let train = |name: &str, ranks: usize, grid: &str| {
        let command = reelscale("train").path(&job).arg("--output").path(&folder.path().join(name));
        let seconds = if name == "hangs" { 3 } else { 600 };
        let sets = [format!("run.grid={grid}"), format!("run.stall_seconds={seconds}")];
        let command = sets.into_iter().fold(command, |command, set| command.arg("--set").arg(set));
        command.ranks(ranks).within(120)
    };
    let record = |name: &str| folder.path().join(name).join("run.json");
    let result = |name: &str| {
        assert_eq!(json(&record(name), "finished"), true, "{name}");
        json(&record(name), "result_hash").as_str().expect("a hash").to_string()
    };
    // Sends a rank a signal once so many epochs are over; what is printed, and the exit code.
    let disturb = |(name, ranks, grid): (&str, usize, &str), epoch: usize, (with, rank)| {
        let mut run = train(name, ranks, grid).spawn();
        let events = folder.path().join(name).join("metrics.jsonl");
        run.wait_for(&events, &format!("\"round\":1,\"epoch\":{epoch}"));
        // Signs of life are left twice a second.
        std::thread::sleep(Duration::from_millis(if with == "STOP" { 1000 } else { 0 }));
        let processes = run.processes();
        let chosen = processes.iter().find(|process| rank_of(**process) == Some(rank));
        signal(with, *chosen.expect("it runs"));
        let output = run.finish();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!folder.path().join(name).join("model").exists(), "{name}: {printed}");
        (output.status.code(), printed)
    };
    train("whole", 1, "auto").stdout();
    for (name, ranks, grid, with, rank, then) in [
        ("told", 4, "2x2", "TERM", 3, Some((3, "3x1"))),
        ("killed", 4, "4x1", "KILL", 2, Some((4, "2x2"))),
        ("left-over", 3, "2x1", "KILL", 2, None),
        ("hangs", 4, "2x2", "STOP", 1, None),
    ] {
        let (code, printed) = disturb((name, ranks, grid), 1, (with, rank));
        match with {
            "TERM" => assert_eq!(code, Some(0), "{printed}"),
            "STOP" => {
                assert_eq!(code, Some(8), "{printed}");
                assert!(printed.contains(&format!("rank {rank} (host ")), "{printed}");
            }
            _ => assert_ne!(code, Some(0), "{printed}"),
        }
        if let Some((ranks, grid)) = then {
            let (code, printed) = disturb((name, ranks, grid), 7, ("TERM", 0));
            assert_eq!(code, Some(0), "{printed}");
        }
        train(name, 2, "1x2").stdout();
        assert_eq!(result(name), result("whole"), "{name}");
    }
}
