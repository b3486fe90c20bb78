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

/// A job with 22 class blocks of sixteen classes and 44 row blocks.
fn job(folder: &std::path::Path, balance: &str, epochs: usize, iterations: usize) -> Job {
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\n[model]\nshared = [{{ dense = {WIDTH} }}]\n[pretrain]\n\
         epochs = 0\n[experts]\ncount = 1\nbatch = 88\nwindow = 352\nepochs = {epochs}\n[shared]\n\
         iterations = {iterations}\n[rounds]\ncount = 1\n[checkpoint]\nminutes = 0\n[run]\n\
         class_blocks = 22\nrow_blocks = 44\nthreads = 1\nbalance = \"{balance}\"\n",
        folder.display()
    );
    Job::parse(&text, "job", &[]).unwrap()
}

/// The part of the summed rate that ranks of these speeds reach in an expert step of so many epochs
/// and a shared step of so many iterations, from beginning to end: the work of both at that rate,
/// which takes `ideal` seconds, by what they took.
fn reached(balance: &str, (epochs, iterations): (usize, usize), ideal: f64) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    common::shards(folder.path(), ROWS, CLASSES, 8);
    let job = job(folder.path(), balance, epochs, iterations);
    let seconds = run_threads(SPEEDS.len(), |comm| {
        let data = Data::open(comm, &job)?;
        let rows = data.train.rows();
        let setting = Setting::new(comm, &job, data)?;
        let layouts = layouts(&[1; CLASSES], Dummy::Learned, WIDTH, 22);
        let weights: usize = layouts.iter().map(Layout::parameters).sum();
        let flop = 4.0 * (rows * weights * (epochs + iterations)) as f64;
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

#[test]
fn ranks_of_unequal_speed_reach_their_summed_rate() {
    let equal = reached("equal", (1, 1), 0.5);
    assert!((0.14..0.19).contains(&equal), "equal shares: {equal}");
    let measured = reached("measured", (6, 6), 12.0);
    println!("of the summed rate: equal shares {equal:.3}, measured {measured:.3}");
    assert!(measured >= 0.95, "measured shares: {measured}");
}
