//! `reelscale bench metrics`: exact GAP@20 and MAP@20 of synthetic best lists.

use std::time::Instant;

use serde_json::{Value, json};

use super::{Measuring, at_least_one, peak_mib};
use crate::comm::Comm;
use crate::error::Result;
use crate::inference::rankings::{Ranked, Visited, metrics};
use crate::inference::scores::TOP;
use crate::labels::Labels;
use crate::metrics::TopLists;
use crate::rng::{Purpose, Stream};

/// Exact metrics over the 20 best classes of every row, on one rank.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    #[arg(long, default_value_t = 3862)]
    classes: usize,
}

pub(crate) fn run(_: &Measuring, args: &Args) -> Result<Vec<Value>> {
    at_least_one(&[("rows", args.rows), ("classes", args.classes)])?;
    let mut stream = Stream::new(7, Purpose::PlantedRows, 0);
    let (mut top, mut labels) = (TopLists::new(args.rows, TOP), Labels::new());
    for row in 0..args.rows {
        let mut class = || stream.below(args.classes as u64) as u32;
        let mut best: Vec<u32> = (0..TOP).map(|_| class()).collect();
        best.sort_unstable();
        best.dedup();
        let mut own = vec![best[0], class(), class()];
        own.sort_unstable();
        own.dedup();
        labels.push(&own);
        best.iter().for_each(|class| {
            top.offer(row, *class as usize, &[stream.uniform()]);
        });
    }
    let before = peak_mib();
    let ranked = Ranked { first_row: 0, top: &top, labels: &labels };
    let started = Instant::now();
    let found = metrics(&Comm::serial(), &ranked, args.classes, TOP, Visited::default());
    let seconds = started.elapsed().as_secs_f64();
    Ok(vec![json!({
        "rows": args.rows, "classes": args.classes, "seconds": seconds,
        "lists_mib": before, "peak_mib": peak_mib(),
        "gap_at_20": found.gap_at_20, "map_at_20": found.map_at_20,
    })])
}
