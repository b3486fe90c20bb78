//! `reelscale bench overlap`: how much of what travels is hidden behind work, through the flows of
//! a real run. The work rests instead of computing, so that many ranks fit on few cores.

mod turns;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::turns::Turns;
use super::{Measuring, at_least_one, median};
use crate::comm::Comm;
use crate::cost::flops;
use crate::cost::traffic::row_bytes;
use crate::device::Host;
use crate::error::Result;
use crate::flow::experts_travel::{AHEAD, visit_blocks};
use crate::flow::own_rows::{OwnRows, Room};
use crate::flow::windows::{Order, Travel};
use crate::labels::Labels;
use crate::model::experts::{Experts, layouts};
use crate::model::spec::Dummy;
use crate::model::{Layout, Matrix};
use crate::partition::Grid;
use crate::progress::tick;
use crate::rng::{Permutation, Purpose};
use crate::system;

/// Class blocks that pass rows, rows that pass class blocks, and turns of a grid's class blocks,
/// while ranks rest a given time for each: W, the work alone; T, the traffic alone; M, both;
/// (W + T - M) / min(W, T) is hidden.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Class blocks of a pass, and windows of an epoch.
    #[arg(long, default_value_t = 12)]
    pieces: usize,
    /// Size of each, about, in MiB.
    #[arg(long, default_value_t = 1.0)]
    mib: f64,
    /// How often the work of one lets messages move.
    #[arg(long, default_value_t = 12)]
    polls: usize,
    /// What the work of one takes, in milliseconds; 0: as long as its traffic.
    #[arg(long, default_value_t = 0.0)]
    rest_ms: f64,
    /// Rows and columns of ranks, as 4x4, whose class blocks take turns, two in each column.
    #[arg(long, value_name = "RxC", value_parser = turns::shape_of)]
    grid: Option<(usize, usize)>,
}

/// Activations of a row and of a class.
const WIDTH: usize = 1024;

/// Rests as the work on one piece would compute. What a poll takes comes on top, as it does there.
fn rest(time: Duration, polls: usize, poll: &mut dyn FnMut()) {
    for _ in 0..polls {
        std::thread::sleep(time / polls as u32);
        poll();
    }
}

/// Seconds of the work on all pieces alone.
fn work_alone(args: &Args, time: Duration) -> f64 {
    let began = Instant::now();
    (0..args.pieces).for_each(|_| rest(time, args.polls, &mut || ()));
    began.elapsed().as_secs_f64()
}

pub(crate) fn run(comm: &Comm, measuring: &Measuring, args: &Args) -> Result<Vec<Value>> {
    at_least_one(&[("pieces", args.pieces), ("polls", args.polls)])?;
    let bytes = (args.mib * f64::from(1 << 20)) as usize;
    let experts = blocks(comm, args.pieces, bytes);
    let rows = Rows::new(comm, args.pieces, bytes);
    let of_blocks = |time| blocks_pass(comm, &experts, args.polls, time);
    let of_rows = |time| rows.pass(comm, args.polls, time);
    let turns = args.grid.map(|shape| Turns::new(comm, shape, &layout(bytes, 1)[0])).transpose();
    let turns = comm.agree(turns)?.map(RefCell::new);
    let of_turns = |time| match &turns {
        Some(turns) => turns.borrow_mut().pass(comm, (args.pieces, args.polls), time),
        None => Ok(0.0),
    };
    let mut found = Vec::new();
    let mut flows = vec![
        ("experts travel", &of_blocks as &dyn Fn(Duration) -> Result<f64>),
        ("rows travel", &of_rows),
    ];
    flows.extend(turns.as_ref().map(|_| ("turns", &of_turns as &dyn Fn(Duration) -> Result<f64>)));
    for (flow, pass) in flows {
        let (mut all, mut processors) = (Vec::new(), Vec::new());
        // The first one opens connections.
        for turn in 0..=measuring.repeat {
            let before = system::own_processor_seconds();
            let traffic = slowest(comm, pass(Duration::ZERO)?);
            let busy = system::own_processor_seconds() - before;
            let time = match args.rest_ms > 0.0 {
                true => Duration::from_secs_f64(args.rest_ms / 1e3),
                false => Duration::from_secs_f64(traffic / args.pieces as f64),
            };
            let both = slowest(comm, pass(time)?);
            comm.barrier();
            let work = slowest(comm, work_alone(args, time));
            let hidden = (work + traffic - both) / work.min(traffic);
            if turn > 0 {
                all.push([work, traffic, both, hidden]);
                processors.push(comm.all_gather(&[busy]).iter().sum::<f64>());
            }
            tick();
        }
        all.sort_by(|one, other| one[3].total_cmp(&other[3]));
        let [work, traffic, both, hidden] = all[all.len() / 2];
        found.push(json!({
            "flow": flow, "ranks": comm.size(), "pieces": args.pieces, "mib": args.mib,
            "polls": args.polls, "work_seconds": work, "traffic_seconds": traffic,
            "both_seconds": both, "hidden": hidden, "hidden_least": all[0][3],
            "hidden_most": all[all.len() - 1][3],
            // What all ranks compute and ask while nothing but traffic goes on.
            "traffic_processor_seconds": median(processors),
        }));
    }
    Ok(found)
}

/// The longest of every rank's times. Positive numbers are ordered as their bits are.
fn slowest(comm: &Comm, seconds: f64) -> f64 {
    f64::from_bits(comm.max(seconds.to_bits()))
}

/// Class blocks of so many bytes each.
fn layout(bytes: usize, count: usize) -> Vec<Layout> {
    // Each column of a class has WIDTH weights and a bias.
    let class_bytes = flops::columns(1, 1) * (WIDTH + 1) * size_of::<f32>();
    let classes = (bytes / class_bytes).next_multiple_of(16).max(16);
    layouts(&vec![1; classes * count], Dummy::Learned, WIDTH, count)
}

/// The same, whose weights are zeros.
fn blocks(comm: &Comm, count: usize, bytes: usize) -> Experts {
    let layouts = layout(bytes, count);
    let owners = comm.deal(layouts.len());
    let parameters = layouts[owners.own()].iter().map(|one| one.empty_parameters().into());
    Experts { parameters: parameters.collect(), owners, layouts }
}

/// Seconds of a pass.
fn blocks_pass(comm: &Comm, experts: &Experts, polls: usize, time: Duration) -> Result<f64> {
    comm.barrier();
    let began = Instant::now();
    visit_blocks(comm, experts, AHEAD, |_, _, pace| rest_if(time, polls, &mut || pace.poll()));
    comm.agree(Ok(()))?;
    Ok(began.elapsed().as_secs_f64())
}

fn rest_if(time: Duration, polls: usize, poll: &mut dyn FnMut()) {
    if !time.is_zero() {
        rest(time, polls, poll);
    }
}

/// This rank's rows, and whose the others are.
struct Rows {
    own: OwnRows,
    runs: Vec<std::ops::Range<usize>>,
    window: usize,
}

impl Rows {
    /// Rows of so many windows of so many bytes, of one label each.
    fn new(comm: &Comm, windows: usize, bytes: usize) -> Rows {
        let window = (bytes / row_bytes(WIDTH)).max(1);
        let runs = comm.deal(window * windows).runs();
        let rows = runs[comm.rank()].clone();
        let mut own = OwnRows::new(rows.clone(), WIDTH, &Room::unlimited()).expect("in memory");
        let mut labels = Labels::new();
        rows.clone().for_each(|row| labels.push(&[row as u32 % 100]));
        own.push(&Matrix::zeros(rows.len(), WIDTH), &labels).expect("in memory");
        Rows { own, runs, window }
    }

    /// Seconds of an epoch.
    fn pass(&self, comm: &Comm, polls: usize, time: Duration) -> Result<f64> {
        let total = self.runs.last().expect("a rank").end;
        let order = Order::Shuffled(Permutation::new(1, Purpose::RowOrder, 0, total));
        let (own, runs, window) = (&self.own, &self.runs[..], self.window);
        let grid = &Grid::new((1, comm.size()), 1, comm.size(), comm.rank());
        let travel = Travel { comm, own, runs, order, grid, batch: window, window, dropout: None };
        let device = &mut Host::detected(1, 0.0);
        comm.barrier();
        let began = Instant::now();
        let mut windows = travel.windows(0)?;
        let mut visit = || -> Result<bool> {
            let passed = windows.pass(device, |_, _, pace| {
                rest_if(time, polls, &mut || pace.poll());
                Ok(())
            });
            Ok(passed?.is_some())
        };
        while comm.agree(visit())? {}
        Ok(began.elapsed().as_secs_f64())
    }
}
