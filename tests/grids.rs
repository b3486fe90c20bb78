//! Ranks as a grid in the expert step: whatever the rows and columns, weights and losses are those
//! of one rank, which depend on the number of slices alone.

mod common;

use common::pinned_jobs::{job, shards, sliced};
use common::pins::{Literals, Pin};
use common::{json, reelscale};
use reelscale::Job;
use reelscale::internals::optim::Solver;

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
        if matches!(job.experts.solver, Solver::FullBatch(_)) {
            continue;
        }
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
    let train = |ranks: usize, grid: &str| {
        let output = path(&format!("{ranks}-{grid}"));
        let command = reelscale("train").path(&path("job.toml")).arg("--output").path(&output);
        (command.arg("--set").arg(format!("run.grid={grid}")).ranks(ranks), output)
    };
    let results = [(1, "auto"), (2, "2x1"), (4, "2x2"), (4, "4x1"), (3, "2x1"), (4, "auto")];
    let results = results.map(|(ranks, grid)| {
        let (command, output) = train(ranks, grid);
        command.within(120).stdout();
        json(&output.join("run.json"), "result_hash").as_str().expect("a hash").to_string()
    });
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
    for (ranks, grid, expected) in [
        (2, "2x2", "run.grid: found \"2x2\", this run has 2 ranks"),
        (2, "5x1", "found 5 rows, expected at most experts.row_slices = 4"),
        (2, "2by1", "run.grid: found \"2by1\", expected auto or rows x columns such as"),
    ] {
        let text = train(ranks, grid).0.within(60).fails_with(2);
        assert!(text.contains(expected), "{grid}: {text}");
    }
    let (command, _) = train(2, "2x1");
    let text = command.arg("--set").arg("experts.solver=lbfgs").within(60).fails_with(2);
    assert!(text.contains("found 2 rows beside experts.solver = \"lbfgs\""), "{text}");
}
