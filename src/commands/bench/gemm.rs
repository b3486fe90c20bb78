//! `reelscale bench gemm`: the rate of matrix products of the shapes that the kernel multiplies.

use std::hint::black_box;

use serde_json::{Value, json};

use super::Measuring;
use crate::cost::flops;
use crate::kernel::product::{Left, Output, Panels, Size, Workspace};
use crate::kernel::vector::LANES;
use crate::rng::{Purpose, Stream};

/// Matrix products rows x depth times depth x columns, on one thread.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 512)]
    rows: usize,
    #[arg(long, default_value_t = 1024)]
    depth: usize,
    /// Rounded up to whole panels of sixteen.
    #[arg(long, default_value_t = 320)]
    columns: usize,
}

pub(crate) fn run(measuring: &Measuring, args: &Args) -> Vec<Value> {
    let panels = args.columns.div_ceil(LANES);
    let (m, k, n) = (args.rows, args.depth, panels * LANES);
    let mut stream = Stream::new(7, Purpose::PlantedRows, 0);
    let mut random = |count: usize| (0..count).map(|_| stream.uniform() - 0.5).collect::<Vec<_>>();
    let (a, b) = (random(m * k), random(k * n));
    let mut c = vec![0.0; m * n];
    let mut workspace = Workspace::new(measuring.kernel);
    // Rows times weights (logits), and the same rows turned (the weights' gradient).
    [("row by row", k, 1), ("turned", 1, m)]
        .map(|(left, row, column)| {
            let seconds = measuring.seconds(|| {
                workspace.accumulate(
                    Size { rows: m, depth: k, panels },
                    Left { data: &a, row, column },
                    Panels { data: &b, row: LANES, panel: k * LANES },
                    &mut Output { data: &mut c, row: n, panel: LANES },
                );
                black_box(&c);
            });
            json!({
                "kernel": measuring.kernel.name(), "left": left, "rows": m, "depth": k,
                "columns": n, "seconds": seconds,
                "gflops": flops::product(m, k, n) / seconds / 1e9,
            })
        })
        .to_vec()
}
