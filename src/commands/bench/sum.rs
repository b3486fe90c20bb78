//! `reelscale bench sum`: the ordered sum beside the fastest one that doesn't keep an order.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Measuring, at_least_one, median};
use crate::comm::{Comm, OrderedSum, run_threads};
use crate::error::Result;

/// The sum of one vector per row block over ranks that are threads: the price of the same bits.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 256)]
    leaves: usize,
    /// Numbers of a vector: the shared layers' weights.
    #[arg(long, default_value_t = 1_180_672)]
    length: usize,
    #[arg(long, default_value_t = 2)]
    ranks: usize,
}

pub(crate) fn run(measuring: &Measuring, args: &Args) -> Result<Vec<Value>> {
    at_least_one(&[("leaves", args.leaves), ("length", args.length), ("ranks", args.ranks)])?;
    let found = run_threads(args.ranks, |comm| {
        let mut seconds = [Vec::new(), Vec::new()];
        for _ in 0..=measuring.repeat {
            for (way, sum) in [ordered, unordered].into_iter().enumerate() {
                comm.barrier();
                let started = Instant::now();
                black_box(sum(comm, args));
                comm.barrier();
                seconds[way].push(started.elapsed().as_secs_f64());
            }
        }
        Ok(seconds.map(|seconds| median(seconds.into_iter().skip(1))))
    })?;
    let [ordered, unordered] = found[0];
    Ok(vec![json!({
        "leaves": args.leaves, "length": args.length, "ranks": args.ranks,
        "ordered_seconds": ordered, "unordered_seconds": unordered,
        "gb_per_second": (args.leaves * args.length * size_of::<f32>()) as f64 / ordered / 1e9,
        "price_of_same_bits": ordered / unordered,
    })])
}

/// Makes `leaf` what a row block gives.
fn fill(leaf: &mut [f32], number: usize) {
    leaf.fill(number as f32);
}

fn ordered(comm: &Comm, args: &Args) -> Vec<f32> {
    let owners = comm.deal(args.leaves);
    let mut sum = OrderedSum::new(comm, "numbers", owners.runs(), args.length);
    for number in owners.own() {
        let mut leaf = sum.room();
        fill(&mut leaf, number);
        sum.add(leaf);
    }
    sum.finish(comm)
}

/// Every rank adds its leaves up as they come; then slices are added by one rank each.
fn unordered(comm: &Comm, args: &Args) -> Vec<f32> {
    let (mut own, mut leaf) = (vec![0.0f32; args.length], vec![0.0; args.length]);
    for number in comm.deal(args.leaves).own() {
        fill(&mut leaf, number);
        own.iter_mut().zip(&leaf).for_each(|(sum, number)| *sum += number);
    }
    if args.ranks == 1 {
        return own;
    }
    let slices = comm.deal(args.length).runs();
    let counts: Vec<usize> = slices.iter().map(Range::len).collect();
    let mine = counts[comm.rank()];
    let mut received = vec![0.0f32; mine * args.ranks];
    comm.all_to_all_v(&own, &counts, &mut received, &vec![mine; args.ranks]);
    let (total, others) = received.split_at_mut(mine);
    for other in others.chunks_exact(mine.max(1)) {
        total.iter_mut().zip(other).for_each(|(sum, number)| *sum += number);
    }
    comm.all_gather_v("numbers", total.to_vec(), &counts)
}
