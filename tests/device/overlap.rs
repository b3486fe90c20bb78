//! How much of the traffic of the two flows hides behind work, over real mpirun: the device rests
//! in the place of work, so that many ranks fit on few cores. `make overlap` prints the table.
//!
//! W is work alone, T traffic alone, M both; what is hidden of the smaller is (W + T - M) / min(W,
//! T). Polls are those of the device between its pieces of work.

use std::ops::Range;
use std::time::{Duration, Instant};

use reelscale::Comm;
use reelscale::internals::device::{Device, Pace};
use reelscale::internals::flow::experts_travel::visit_blocks;
use reelscale::internals::flow::own_rows::{OwnRows, Room};
use reelscale::internals::flow::rows_travel::{Order, Travel};
use reelscale::internals::labels::Labels;
use reelscale::internals::model::Matrix;
use reelscale::internals::model::experts::{Experts, layouts};
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::partition::Blocks;
use reelscale::internals::rng::{Permutation, Purpose};

use super::common::reelscale;
use super::network::Wave;
use super::textbook::Textbook;

/// Class blocks of a pass, and windows of an epoch.
const VISITS: usize = 32;
/// Width of activations, so that a class block takes 4.2 MB and a window 4.2 MB.
const WIDTH: usize = 1024;
const EXPERTS: usize = 32;
const WINDOW: usize = 1024;
/// What work takes, in times of what traffic takes.
const WORK: f64 = 1.5;
/// Measurements, of which the median counts.
const TIMES: usize = 5;

/// Seconds of the slowest rank.
fn seconds(comm: &Comm, mut work: impl FnMut()) -> f64 {
    comm.barrier();
    let started = Instant::now();
    work();
    let own = started.elapsed().as_secs_f64();
    comm.all_gather(&[own]).into_iter().fold(0.0, f64::max)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A piece of work between two polls.
fn pieces(device: &mut Textbook, polls: usize, pace: &mut Pace) {
    let mut wave = Wave::of_nothing(&device.meter, polls);
    let layout = &layouts(&[1], Dummy::None, 1, 1)[0];
    let visitor = device.visitor(layout, layout.empty_parameters().into());
    device.visit(&visitor, &mut wave, pace).unwrap();
}

/// A pass of one flow, whose visits are `visit`.
type Flow<'a> = dyn Fn(&mut Textbook, &mut dyn FnMut(&mut Textbook, &mut Pace)) + 'a;

/// W, T and M of a flow, medians.
fn measure(comm: &Comm, flow: &Flow, polls: usize) -> [f64; 3] {
    let alone = || seconds(comm, || flow(&mut Textbook::new(0.0), &mut |_, _| ()));
    let traffic = median((0..TIMES).map(|_| alone()).collect());
    let rest = Duration::from_secs_f64(traffic * WORK / (VISITS * polls) as f64);
    let mut found = [const { Vec::new() }; 3];
    for _ in 0..TIMES {
        let device = &mut Textbook::new(0.0).resting(rest);
        found[0].push(seconds(comm, || {
            let stopped = || false;
            let mut nothing = || ();
            let mut pace = Pace::new(&mut nothing, &stopped);
            (0..VISITS).for_each(|_| pieces(device, polls, &mut pace));
        }));
        found[1].push(alone());
        let visit = &mut |device: &mut Textbook, pace: &mut Pace| pieces(device, polls, pace);
        found[2].push(seconds(comm, || flow(device, visit)));
    }
    found.map(median)
}

/// What each rank does.
fn measure_both(comm: &Comm) {
    let layouts = layouts(&vec![EXPERTS; 16 * VISITS], Dummy::None, WIDTH, VISITS);
    assert_eq!(layouts.len(), VISITS);
    let owners = comm.deal(VISITS);
    let parameters = layouts[owners.own()].iter().map(|one| one.empty_parameters().into());
    let experts = Experts { parameters: parameters.collect(), owners, layouts };
    let experts_travel =
        |device: &mut Textbook, visit: &mut dyn FnMut(&mut Textbook, &mut Pace)| {
            visit_blocks(comm, &experts, |_, _, pace| visit(device, pace));
        };

    let rows = WINDOW * VISITS;
    let blocks = Blocks::even(rows, 256);
    let owners = comm.deal(blocks.len());
    let runs: Vec<Range<usize>> = owners.runs().into_iter().map(|run| blocks.run(run)).collect();
    let own_rows = runs[comm.rank()].clone();
    let mut own = OwnRows::new(own_rows.clone(), WIDTH, &Room::unlimited()).unwrap();
    let mut labels = Labels::new();
    own_rows.clone().for_each(|row| labels.push(&[row as u32 % 100]));
    own.push(&Matrix::zeros(own_rows.len(), WIDTH), &labels).unwrap();
    let order = || Order::Shuffled(Permutation::new(1, Purpose::RowOrder, 0, rows));
    let rows_travel = |device: &mut Textbook, visit: &mut dyn FnMut(&mut Textbook, &mut Pace)| {
        let (order, window) = (order(), WINDOW);
        let travel = Travel { comm, own: &own, runs: &runs, order, window, dropout: None };
        let mut windows = travel.windows(0, device).unwrap();
        let mut visit = |device: &mut Textbook, _: &_, pace: &mut Pace| {
            visit(device, pace);
            Ok(())
        };
        while windows.pass(device, &mut visit).unwrap().is_some() {}
    };

    let flows: [(&str, &Flow); 2] =
        [("experts travel", &experts_travel), ("rows travel", &rows_travel)];
    for (name, flow) in flows {
        for polls in [12, 4] {
            let [w, t, m] = measure(comm, flow, polls);
            if comm.is_root() {
                let (ranks, hidden) = (comm.size(), (w + t - m) / w.min(t));
                println!("| {name} | {ranks} | {polls} | {w:.3} | {t:.3} | {m:.3} | {hidden:.2} |");
            }
        }
    }
}

/// One rank, started by the test below.
#[test]
#[ignore = "a rank of the test below"]
fn one_rank() {
    let comm = Comm::mpi().unwrap();
    comm.without_watch();
    measure_both(&comm);
}

#[test]
fn traffic_hides_behind_work() {
    if std::env::var_os("REELSCALE_OVERLAP").is_none() {
        println!("skipped: `make overlap` runs it");
        return;
    }
    if crate::common::without_mpi() {
        return;
    }
    println!("| flow | ranks | polls a visit | W s | T s | M s | hidden |");
    println!("|---|---|---|---|---|---|---|");
    for ranks in [2, 4, 8, 16] {
        let own = std::env::current_exe().unwrap();
        let rank = reelscale("overlap::one_rank --exact --ignored --nocapture");
        let text = rank.program(own).ranks(ranks).within(600).stdout();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
        assert_eq!(lines.len(), 4, "{text}");
        lines.iter().for_each(|line| println!("{line}"));
    }
}
