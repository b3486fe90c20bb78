//! Ranks of unequal speed: devices that rest as long as a slow one would compute.

use std::time::Instant;

use reelscale::internals::comm::run_threads;
use reelscale::internals::job::Job;
use reelscale::internals::model::Layout;
use reelscale::internals::model::experts::layouts;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::report::Report;
use reelscale::internals::train::{Data, Run, Setting};

use super::common;
use super::textbook::Textbook;

/// Of each rank, in parts of the slowest.
const SPEEDS: [f64; 4] = [1.0, 1.0, 4.0, 16.0];
const CLASSES: usize = 352;
const WIDTH: usize = 16;
const ROWS: usize = 1408;

/// A job with 22 class blocks of sixteen classes and 44 row blocks, on a grid if one is named,
/// whose rows take the slices of mini-batches that are half of all rows.
fn job(
    folder: &std::path::Path,
    (balance, grid): (&str, Option<&str>),
    (epochs, iterations): (usize, usize),
) -> Job {
    let (batch, window, slices) = if grid.is_some() { (704, 1408, 64) } else { (88, 352, 1) };
    let grid = grid.unwrap_or("auto");
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\n[model]\nshared = [{{ dense = {WIDTH} }}]\n[pretrain]\n\
         epochs = 0\n[experts]\ncount = 1\nbatch = {batch}\nwindow = {window}\n\
         row_slices = {slices}\nepochs = {epochs}\n[shared]\n\
         iterations = {iterations}\n[rounds]\ncount = 1\n[checkpoint]\nminutes = 0\n[run]\n\
         class_blocks = 22\nrow_blocks = 44\nthreads = 1\nbalance = \"{balance}\"\n\
         grid = \"{grid}\"\n",
        folder.display()
    );
    Job::parse(&text, "job", &[]).unwrap()
}

/// The part of the summed rate that ranks of these speeds reach in an expert step of so many epochs
/// and a shared step of so many iterations, from beginning to end: the work of both at that rate,
/// which takes `ideal` seconds, by what they took.
fn reached(how: (&str, Option<&str>), steps: (usize, usize), ideal: f64) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    common::shards(folder.path(), ROWS, CLASSES, 8);
    let job = job(folder.path(), how, steps);
    let seconds = run_threads(SPEEDS.len(), |comm| {
        let data = Data::open(comm, &job)?;
        let rows = data.train.rows();
        let setting = Setting::new(comm, &job, data)?;
        let layouts = layouts(&[1; CLASSES], Dummy::Learned, WIDTH, 22);
        let weights: usize = layouts.iter().map(Layout::parameters).sum();
        let flop = 4.0 * (rows * weights * (steps.0 + steps.1)) as f64;
        let rate = flop / ideal / SPEEDS.iter().sum::<f64>();
        let device = Textbook::new(job.model.epsilon).at_rate(rate * SPEEDS[comm.rank()]);
        let mut report = Report::new(None);
        let run = Run::begin(setting, device, &mut report, None)?;
        comm.barrier();
        let began = Instant::now();
        run.finish()?;
        Ok(began.elapsed().as_secs_f64())
    });
    ideal / seconds.unwrap().into_iter().fold(0.0, f64::max)
}

/// Each a column, and all in one column, by slices, of which 2, 2, 12 and 48 of 64 are 97 % at
/// best. One after the other, as they are timed.
#[test]
fn ranks_of_unequal_speed_reach_their_summed_rate() {
    let equal = reached(("equal", None), (1, 1), 0.5);
    assert!((0.14..0.19).contains(&equal), "equal shares: {equal}");
    let measured = reached(("measured", None), (6, 6), 12.0);
    println!("of the summed rate: equal shares {equal:.3}, measured {measured:.3}");
    assert!(measured >= 0.95, "measured shares: {measured}");
    let equal = reached(("equal", Some("4x1")), (1, 1), 0.5);
    assert!((0.14..0.19).contains(&equal), "equal slices: {equal}");
    let measured = reached(("measured", Some("4x1")), (6, 6), 12.0);
    println!("of the summed rate: equal slices {equal:.3}, measured {measured:.3}");
    assert!(measured >= 0.90, "measured slices: {measured}");
}
