//! `reelscale bench rank`: what stand-ins send is what real ranks send, to the byte, and comes when
//! a network would bring it.

mod common;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use common::reelscale;
use reelscale::internals::comm::OrderedSum;
use reelscale::internals::commands::{Pool, among_stand_ins};
use reelscale::internals::cost::network::Network;
use reelscale::internals::cost::traffic::{
    Moved, Share, experts_travel, ordered_sum, windows_travel, windows_travel_in_grid,
};
use reelscale::internals::device::Host;
use reelscale::internals::flow::experts_travel::{AHEAD, visit_blocks};
use reelscale::internals::flow::own_rows::{OwnRows, Room};
use reelscale::internals::flow::windows::{Order, Travel};
use reelscale::internals::job::Job;
use reelscale::internals::kernel::matrix::{Matrix, stride_of};
use reelscale::internals::labels::Labels;
use reelscale::internals::model::experts::{Experts, layouts};
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::partition::{Grid, Owners};
use reelscale::internals::rng::{Permutation, Purpose};
use serde_json::Value;

const WIDTH: usize = 24;
const LABELS: usize = 2;

/// A job for `rows` rows with two labels each, and further lines.
fn job(rows: usize, more: &str) -> String {
    format!(
        "[data]\ntrain = [\"nowhere/*.h5\"]\n[model]\nshared = [{{ dense = {WIDTH} }}]\n\
         [experts]\ncount = 2\nbatch = 64\nwindow = 256\nepochs = 2\n{more}\n\
         [plan]\nrows = {rows}\nfeatures = 40\nclasses = 200\nlabels_per_row = {LABELS}\n"
    )
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// What `bench rank` prints of the expert step.
fn found(before: &str, job: &Path, arguments: &str) -> Value {
    let line = format!("{before} bench rank {} --format json {arguments}", job.display());
    serde_json::from_str(&reelscale(line.trim()).stdout()).expect("an object")
}

/// Whatever a sample of these ranks counts is the same among stand-ins.
fn compare(job: &Path, ranks: usize, rank: usize, arguments: &str) {
    let arguments = format!("--windows 3 --threads 1 --rank {rank} {arguments}");
    let real = found(&format!("--comm threads={ranks}"), job, &arguments);
    let alone = found("", job, &format!("--ranks {ranks} {arguments}"));
    let steps = [&real, &alone].map(|found| &found["steps"][0]);
    for key in ["pieces", "rows", "bytes_received"] {
        let samples = steps.map(|step| step["sample"][key].as_u64().unwrap());
        assert!(samples[0] > 0 && samples[0] == samples[1], "{key}: {real}\n{alone}");
    }
    assert_eq!(steps[0]["fullest"], steps[1]["fullest"]);
    assert!(alone["peak_bytes"].as_u64().unwrap() > 100_000, "{alone}");
}

#[test]
fn a_rank_among_stand_ins_gets_what_it_gets_among_ranks() {
    for more in ["", "dropout = 0.5", "solver = \"adam\"\naveraging = 0.9", "negatives = 0.25"] {
        let (_folder, job) = written(&job(3000, more));
        for (ranks, rank) in [(2, 0), (2, 1), (3, 2)] {
            compare(&job, ranks, rank, "--steps experts");
        }
    }
}

#[test]
fn so_it_does_in_the_shared_step_and_in_pretraining() {
    let row_blocks = "[run]\nrow_blocks = 12\n[pretrain]\nbatch = 200\nranks = 64";
    for features in ["", "--set plan.frames=5 --set model.frames=[{dense=16}]"] {
        let (_folder, job) = written(&job(3000, row_blocks));
        for (ranks, rank) in [(2, 1), (3, 0), (7, 6)] {
            for step in ["shared", "pretrain"] {
                compare(&job, ranks, rank, &format!("--steps {step} {features}"));
            }
        }
    }
}

/// One row in twenty, whose time counts twenty times, takes the shared step as long as all rows.
#[test]
fn a_sample_of_rows_stands_for_all() {
    let more = "[run]\nrow_blocks = 8";
    let (_folder, job) = written(&job(3840, more));
    let arithmetic = |seconds: f64| {
        let arguments = format!("--ranks 4 --threads 2 --steps shared --seconds {seconds}");
        let found = found("", &job, &arguments);
        let lines = found["assumptions"].as_array().unwrap().iter();
        let said = |line: &Value| line.as_str().unwrap().contains("one row in 20.0");
        let sampled = lines.clone().any(said);
        (found["steps"][0]["arithmetic_seconds"].as_f64().unwrap(), sampled)
    };
    let (part, all) = (arithmetic(1e-6), arithmetic(1e6));
    assert!(part.1 && !all.1);
    let ratio = part.0 / all.0;
    assert!((0.3..4.0).contains(&ratio), "{part:?} {all:?}");
}

/// Three rows of a grid, of six slices, where there are ranks enough; else one.
fn in_grid((rank, ranks): (usize, usize)) -> Grid {
    let (rows, slices) = if ranks > 3 { (3, 6) } else { (1, 1) };
    Grid::new((rows, ranks / rows), slices, ranks, rank)
}

/// At any scale: a flow on one rank among stand-ins moves what the formulas say.
#[test]
fn stand_ins_of_a_thousand_ranks_move_what_formulas_say() {
    let plan = Job::parse(&job(9000, ""), "job", &[]).unwrap().plan;
    let pool = Rc::new(Pool::new(&plan, WIDTH));
    let network: Network = "10GB/s,2us".parse().unwrap();
    for (ranks, rank) in [(1, 0), (2, 1), (5, 3), (1024, 0), (1024, 700)] {
        let runs: Vec<Range<usize>> = Owners::even(9000, ranks, 0).runs();
        let counts = vec![1; 3200];
        let layouts = layouts(&counts, Dummy::Learned, WIDTH, 150);
        let parameters: Vec<usize> = layouts.iter().map(|one| one.parameters()).collect();
        let [rows, rows_in_grid, blocks, sum] =
            among_stand_ins((rank, ranks), network, &pool, 0.0, |comm, _| {
                let mut before = Moved::default();
                let mut moved = || {
                    let (now, then) = (comm.traffic(), before);
                    before = Moved {
                        sent: now.bytes_sent as usize,
                        received: now.bytes_received as usize,
                        calls: now.messages as usize,
                    };
                    let of = |now: usize, then: usize| now - then;
                    Moved {
                        sent: of(before.sent, then.sent),
                        received: of(before.received, then.received),
                        calls: of(before.calls, then.calls),
                    }
                };
                let own = runs[rank].clone();
                let mut rest = OwnRows::new(own.clone(), WIDTH, &Room::unlimited()).unwrap();
                let mut labels = Labels::new();
                own.clone().for_each(|_| labels.push(&[3, 7]));
                rest.push(&Matrix::zeros(own.len(), WIDTH), &labels).unwrap();
                let order = Order::Shuffled(Permutation::new(1, Purpose::RowOrder, 0, 9000));
                let grid = &Grid::new((1, comm.size()), 1, comm.size(), comm.rank());
                let (own, runs) = (&rest, &runs[..]);
                let travel =
                    Travel { comm, own, runs, order, grid, batch: 350, window: 700, dropout: None };
                let device = &mut Host::detected(3, 0.0);
                {
                    let mut windows = travel.windows(0).unwrap();
                    while windows.pass(device, |_, _, _| Ok(())).unwrap().is_some() {}
                }
                let rows = moved();
                let grid = &in_grid((rank, ranks));
                let travel = Travel { grid, ..travel };
                {
                    let mut windows = travel.windows(0).unwrap();
                    while windows.pass(device, |_, _, _| Ok(())).unwrap().is_some() {}
                }
                let rows_in_grid = moved();
                let owners = comm.deal(layouts.len());
                let weights = layouts[owners.own()].iter().map(|one| one.empty_parameters().into());
                let experts =
                    Experts { parameters: weights.collect(), owners, layouts: layouts.clone() };
                let mut visited = 0;
                visit_blocks(comm, &experts, AHEAD, |_, weights, _| {
                    visited += usize::from(weights.iter().all(|weight| weight.is_finite()));
                });
                assert_eq!(visited, layouts.len());
                let blocks = moved();
                let leaves = Owners::even(300, ranks, rank);
                let mut sum = OrderedSum::new(comm, "numbers", leaves.runs(), 5000);
                leaves.own().for_each(|_| sum.add(vec![1.0f32; 5000]));
                // What others would add is 0.
                let total = sum.finish(comm);
                let [from, to] = [rank, rank + 1].map(|rank| rank * 5000 / ranks);
                assert!(total[from..to].iter().all(|sum| *sum == leaves.own().len() as f32));
                let sum = moved();
                // Nothing came damaged.
                comm.agree(Ok(())).unwrap();
                [rows, rows_in_grid, blocks, sum]
            });
        let share = |times: usize| Share { own: times * runs[rank].len(), all: times * 9000 };
        let windows = 9000usize.div_ceil(700);
        let shares = (share(1), share(stride_of(WIDTH)), share(LABELS));
        assert_eq!(rows, windows_travel(shares, windows, ranks), "{ranks}");
        if ranks > 3 {
            let of = |rows: usize| [rows, stride_of(WIDTH) * rows, LABELS * rows];
            // 25 mini-batches of 350 rows and one of 250, of which a row has two slices of six.
            let grid = in_grid((rank, ranks));
            let taken = grid.own().map(|_| of(25 * (700 / 6) + 250 / 3));
            let found = windows_travel_in_grid((of(runs[rank].len()), taken), windows, ranks, 3);
            assert_eq!(rows_in_grid.calls, found.calls, "{ranks}");
            assert_eq!(rows_in_grid.sent, found.sent, "{ranks}");
            let ratio = rows_in_grid.received as f64 / found.received as f64;
            assert!((0.99..1.01).contains(&ratio), "{rows_in_grid:?} {found:?}");
        }
        let owners = Owners::even(layouts.len(), ranks, rank);
        assert_eq!(blocks, experts_travel(&parameters, &owners, rank), "{ranks}");
        let owners = Owners::even(300, ranks, rank);
        assert_eq!(sum, ordered_sum(5000, 4, &owners, rank), "{ranks}");
    }
}

/// Where the network is slow its bytes decide: windows take as long as they are on their way.
#[test]
fn what_travels_takes_its_time() {
    let (_folder, job) = written(&job(3000, ""));
    let seconds = |network: &str| {
        let arguments = format!("--ranks 4 --windows 4 --rest 1000 --network {network}");
        let found = found("", &job, &arguments);
        let sample = &found["steps"][0]["sample"];
        let (seconds, bytes) = (&sample["seconds"], &sample["bytes_received"]);
        (seconds.as_f64().unwrap(), bytes.as_f64().unwrap())
    };
    for (network, per_byte) in [("0.0001GB/s,1us", 1e-5), ("0.0002GB/s,1us", 5e-6)] {
        let (seconds, bytes) = seconds(network);
        // The fullest rank gives a little more or less than it gets.
        let ratio = seconds / (bytes * per_byte);
        assert!((0.97..1.1).contains(&ratio), "{network}: {seconds} s for {bytes} bytes");
    }
    // Three other ranks, three messages of 20 ms for each of two exchanges a window.
    let (seconds, _) = seconds("100GB/s,20000us");
    assert!((0.9 * 0.48..1.1 * 0.48).contains(&seconds), "{seconds} s");
}

#[test]
fn wrong_arguments_are_refused() {
    let (_folder, job) = written(&job(3000, ""));
    let shown = job.display();
    let text = reelscale(&format!("bench rank {shown} --set plan.rows=0")).fails_with(2);
    assert!(text.contains("plan.rows: found 0"), "{text}");
    let text = reelscale(&format!("bench rank {shown} --ranks 3 --rank 3")).fails_with(2);
    assert!(text.contains("--rank: found 3, expected below 3"), "{text}");
    let text = reelscale(&format!("bench rank {shown} --ranks 0")).fails_with(2);
    assert!(text.contains("--ranks: found 0"), "{text}");
    let text = reelscale(&format!("bench rank {shown} --set plan.rows=200 --set experts.epochs=1"))
        .fails_with(2);
    assert!(text.contains("found rows of one window"), "{text}");
    assert_eq!(
        reelscale(&format!("bench rank {shown} --network 10GB/s")).output().status.code(),
        Some(2)
    );
}
