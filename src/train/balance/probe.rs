//! What a device computes a second: mini-batches of the expert step past some class blocks of the
//! job's own, whose weights stay what they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cost::flops;
use crate::device::{Arrived, ClassBlock, Device, Learn, MiniBatches, Pace};
use crate::error::Result;
use crate::labels::Labels;
use crate::model::experts::layouts;
use crate::model::{Layout, stride_of};
use crate::optim::MiniBatchSolver;
use crate::train::setting::Setting;

/// Numbers of the class blocks that a probe takes, unless one has more.
const NUMBERS: usize = 1 << 23;
/// Rows of its first mini-batch.
const ROWS: usize = 32;

/// Floating-point operations a second of `device`, measured for about so long. The first mini-batch
/// warms up and doesn't count.
///
/// # Errors
/// The device is full or lost.
pub(super) fn rate<D: Device>(setting: &Setting, device: &mut D, most: Duration) -> Result<u64> {
    let (shape, job) = (&setting.shape, &setting.job.experts);
    let width = shape.shared_layers().outputs();
    let mut layouts = layouts(&setting.data.experts, shape.dummy, width, shape.class_blocks);
    let mut numbers = 0;
    let some = layouts.iter().take_while(|layout| {
        numbers += layout.parameters();
        numbers <= NUMBERS
    });
    let share = layouts.len().div_ceil(setting.comm.size());
    layouts.truncate(some.count().min(share).max(1));
    let columns: usize = layouts.iter().map(Layout::columns).sum();
    let block = |layout: &Layout| ClassBlock {
        layout: layout.clone(),
        weights: Arc::new(layout.empty_parameters()),
        state: MiniBatches::new(layout, MiniBatchSolver::Adagrad, 0.0, 1),
    };
    let mut blocks = device.hold(layouts.iter().map(block).collect())?;
    let classes = layouts.last().map_or(1, |layout| layout.classes.end);
    let began = Instant::now();
    let (mut rows, mut before) = (ROWS.min(job.batch), None);
    let (mut flop, mut seconds, mut warm) = (0.0, 0.0, false);
    while flop == 0.0 || began.elapsed() < most {
        let put =
            &mut |to: &mut [f32], labels: &mut Labels| some_rows(rows, width, classes, to, labels);
        let here = device.bring(Arrived { first: 0, rows, width, put }, before.take())?;
        let batch = job.batch.min(rows);
        let how = Learn { batch, slices: 1, learning_rate: 0.0, l2: 0.0, negatives: None };
        let start = Instant::now();
        device.learn(&mut blocks, &here, &how, &mut Pace::new(&mut || (), &|| false))?;
        // A device is done once it gives numbers back.
        device.class_losses(&blocks)?;
        let took = start.elapsed();
        device.end_epoch(&mut blocks, 0.0)?;
        before = Some(here);
        // Rows as they come in a step, as long as a probe sees several windows of them.
        let longer = took < most / 16 && rows < job.window_rows();
        if warm && !longer {
            flop += flops::logits_and_gradient(rows, width, columns);
            seconds += took.as_secs_f64();
        }
        if warm && longer {
            rows = (rows * 2).min(job.window_rows());
        }
        warm = true;
    }
    Ok((flop / seconds.max(1e-9)) as u64)
}

/// Activations, none of which is 0, [rows][stride of `width`], and a label for each row.
fn some_rows(rows: usize, width: usize, classes: usize, to: &mut [f32], labels: &mut Labels) {
    let scale = 1.0 / (width as f32).sqrt();
    for (row, numbers) in to.chunks_mut(stride_of(width)).take(rows).enumerate() {
        for (place, number) in numbers[..width].iter_mut().enumerate() {
            *number = scale * (0.5 + ((row * 31 + place * 7) % 64) as f32 / 64.0);
        }
    }
    *labels = Labels::new();
    (0..rows).for_each(|row| labels.push(&[(row % classes) as u32]));
}
