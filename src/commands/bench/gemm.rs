//! `reelscale bench gemm`: the rate of matrix products of the shapes that the kernel multiplies.

use std::hint::black_box;

use serde_json::{Value, json};

use super::Measuring;
use super::on_device::OnDevice;
use crate::commands::device::RankDevice;
use crate::cost::flops;
use crate::error::Result;
use crate::kernel::product::{Left, Output, Panels, Size as HostSize, Workspace};
use crate::kernel::text::calls::{Form, Size};
use crate::kernel::vector::LANES;
use crate::rng::{Purpose, Stream};

/// Matrix products rows x depth times depth x columns, on one thread or on a device.
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

pub(crate) fn run(measuring: &Measuring, args: &Args, device: &RankDevice) -> Result<Vec<Value>> {
    let panels = args.columns.div_ceil(LANES);
    let (m, k, n) = (args.rows, args.depth, panels * LANES);
    let mut stream = Stream::new(7, Purpose::PlantedRows, 0);
    let mut random = |count: usize| (0..count).map(|_| stream.uniform() - 0.5).collect::<Vec<_>>();
    let (a, b) = (random(m * k), random(k * n));
    let found = |kernel: &str, left: &str, seconds: f64| {
        json!({
            "kernel": kernel, "left": left, "rows": m, "depth": k, "columns": n,
            "seconds": seconds, "gflops": flops::product(m, k, n) / seconds / 1e9,
        })
    };
    if let RankDevice::Gpu(gpu) = device {
        let size = (m, k, n);
        let forms = [
            ("row by row", Form::Straight),
            ("turned", Form::turned(Size { rows: m, depth: k, columns: n })),
            ("turned, for a gradient", Form::Gradient),
        ];
        let rows = forms.map(|(left, form)| {
            let product = OnDevice::new(gpu.queue(), form, size, (&a, &b))?;
            let seconds = measuring.seconds_of(|| product.run())?;
            Ok(found("device", left, seconds))
        });
        return rows.into_iter().collect();
    }
    let mut c = vec![0.0; m * n];
    let mut workspace = Workspace::new(measuring.kernel);
    // Rows times weights (logits), and the same rows turned (the weights' gradient).
    let rows = [("row by row", k, 1), ("turned", 1, m)].map(|(left, row, column)| {
        let seconds = measuring.seconds(|| {
            workspace.accumulate(
                HostSize { rows: m, depth: k, panels },
                Left { data: &a, row, column },
                Panels { data: &b, row: LANES, panel: k * LANES },
                &mut Output { data: &mut c, row: n, panel: LANES },
            );
            black_box(&c);
        });
        found(measuring.kernel.name(), left, seconds)
    });
    Ok(rows.to_vec())
}
