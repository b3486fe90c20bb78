//! Pooling and its way back, videos without frames among others.

use reelscale::internals::kernel::pooling::{Pooling, definition, pool, unpool};

use super::draws::Draws;
use super::{cases, kernels, same};

#[test]
fn pooling_is_its_definition() {
    for case in 0..cases(60) {
        let mut draws = Draws::new(case);
        let width = draws.some();
        let counts: Vec<usize> = (0..draws.below(9)).map(|_| draws.size()).collect();
        let mut frames = draws.matrix(counts.iter().sum(), width, 10.0);
        // Neighbours that are alike: the first of the largest counts.
        for frame in 1..frames.rows() {
            if draws.below(3) == 0 {
                let before = frames.row(frame - 1).to_vec();
                frames.row_mut(frame).copy_from_slice(&before);
            }
        }
        let slopes = draws.matrix(counts.len(), width, 1.0);
        let stride = frames.stride();
        for pooling in Pooling::ALL.iter().copied() {
            let mut pooled = vec![0.0; slopes.data.len()];
            let mut gradient = vec![0.0; frames.data.len()];
            let mut from = 0;
            for (row, count) in counts.iter().enumerate() {
                for at in 0..stride {
                    let place = |frame: usize| (from + frame) * stride + at;
                    let x: Vec<f32> = (0..*count).map(|frame| frames.data[place(frame)]).collect();
                    pooled[row * stride + at] = definition::pool(pooling, &x);
                    let slope = slopes.row(row)[at];
                    for (frame, dx) in definition::unpool(pooling, &x, slope).iter().enumerate() {
                        gradient[place(frame)] = *dx;
                    }
                }
                from += count;
            }
            for kernel in kernels() {
                let what =
                    || format!("case {case}: {pooling:?} of {counts:?} x {width}, {kernel:?}");
                let mut found = vec![7.0; pooled.len()];
                pool(kernel, pooling, &frames, &counts, &mut found);
                same(&found, &pooled, &what);
                let found = unpool(kernel, pooling, &frames, &counts, &slopes.data);
                same(&found.data, &gradient, &|| format!("back, {}", what()));
            }
        }
    }
}
