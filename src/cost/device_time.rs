//! Seconds that a GPU takes for the products of a step, by how many tiles each is cut into and how
//! many of them are worked on at once (docs/benchmarks.md, "A rank a GPU"). The constants are those
//! of an H200 (docs/gpu-notes.md).

use serde::{Deserialize, Serialize};

use crate::kernel::vector::LANES;

/// Tiles that an H200 works on at once, one a multiprocessor.
const AT_ONCE: usize = 132;
/// Tiles of 128 x 128 from which on a product has no smaller ones.
const ENOUGH: usize = 128;
/// Flop a second of an H200 in the products of each shape.
const H200: f64 = 49.5e12;
const GRADIENT: f64 = 47.7e12;
const SMALL_TILES: f64 = 38e12;
const FEW_SMALL_TILES: f64 = 32e12;
/// Seconds a number of the logits: sweep, losses and gradient of the biases; the same of a visit.
const LOGIT: f64 = 3.8e-12;
const VISITED_LOGIT: f64 = 3.3e-12;
/// Seconds a column of a thousand activations: AdaGrad's vectors; the turned copy of W.
const COLUMN: f64 = 3.1e-9 / 1024.0;
const TURNED_COLUMN: f64 = 3.9e-9 / 1024.0;
/// Seconds that the launches of a mini-batch or a visit take.
const LAUNCHES: f64 = 30e-6;

/// Seconds that a number of a row's features takes in pretraining on its way from its shard to the
/// device and back, and bytes of frames a second, from memory that is like any other.
pub(crate) const PRETRAINED_NUMBER_SECONDS: f64 = 43e-9;
pub(crate) const PLAIN_BYTES_PER_SECOND: f64 = 17e9;

/// Seconds of a row of so many features in pretraining beside products, of which so many frames are
/// drawn; 0: it is of video level.
pub(crate) fn beside_pretraining(features: usize, frames: usize) -> f64 {
    let of_frames = (frames * features) as f64 / PLAIN_BYTES_PER_SECOND;
    of_frames + features as f64 * PRETRAINED_NUMBER_SECONDS
}

/// A GPU, by what it does in a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeviceRates {
    /// Flop a second of a large product in float32: an H200's times this is what others do.
    pub(crate) flop_per_second: f64,
}

/// How large a product's tiles are, and what a GPU does with 132 of them at once.
type Tiling = ([usize; 2], f64);

/// Seconds of an H200 for a product m x n over so much depth.
fn product([rows, columns]: [usize; 2], depth: usize, ([high, wide], rate): Tiling) -> f64 {
    let tiles = rows.div_ceil(high) * columns.div_ceil(wide);
    let rounds = tiles.div_ceil(AT_ONCE) * AT_ONCE;
    (rounds * 2 * high * wide * depth) as f64 / rate
}

/// The same of logits or of a gradient of activations, whose tiles are small where they are few.
fn along_rows([rows, columns]: [usize; 2], depth: usize) -> f64 {
    let tiles = |side: usize| rows.div_ceil(side) * columns.div_ceil(side);
    let tiling = match (tiles(128), tiles(64)) {
        (ENOUGH.., _) => ([128, 128], H200),
        (_, ..=AT_ONCE) => ([64, 64], FEW_SMALL_TILES),
        _ => ([64, 64], SMALL_TILES),
    };
    product([rows, columns], depth, tiling)
}

/// Seconds of an H200 for logits and the gradient of their weights.
fn products(rows: usize, columns: usize, width: usize) -> f64 {
    let gradient = product([width, columns], rows, ([64, 128], GRADIENT));
    along_rows([rows, columns], width) + gradient
}

impl DeviceRates {
    /// A GPU whose mini-batch of the expert step of this size takes so many seconds.
    pub(crate) fn of_mini_batch(
        seconds: f64,
        (rows, panels, width): (usize, usize, usize),
    ) -> DeviceRates {
        let h200 = DeviceRates { flop_per_second: H200 };
        let products = products(rows, panels * LANES, width);
        let beside = h200.mini_batch(rows, panels, width) - products;
        // What isn't a product is a small part; where it is all, there is nothing to measure by.
        let slower = ((seconds - beside) / products).max(seconds / products / 2.0);
        DeviceRates { flop_per_second: H200 / slower }
    }

    /// How many times as long as an H200 it takes for a product.
    fn slower(&self) -> f64 {
        H200 / self.flop_per_second
    }

    /// A mini-batch of the expert step on so many panels of activations.
    pub(crate) fn mini_batch(&self, rows: usize, panels: usize, width: usize) -> f64 {
        let columns = panels * LANES;
        let beside = LOGIT * (rows * columns) as f64 + COLUMN * (columns * width) as f64;
        products(rows, columns, width) * self.slower() + beside + LAUNCHES
    }

    /// A class block of so many panels that visits so many rows: gradient of the activations.
    pub(crate) fn visit(&self, rows: usize, panels: usize, width: usize) -> f64 {
        let columns = panels * LANES;
        let products = along_rows([rows, columns], width) + along_rows([rows, width], columns);
        let beside =
            VISITED_LOGIT * (rows * columns) as f64 + TURNED_COLUMN * (columns * width) as f64;
        products * self.slower() + beside + LAUNCHES
    }

    /// A mini-batch of pretraining: both gradients.
    pub(crate) fn pretraining(&self, rows: usize, panels: usize, width: usize) -> f64 {
        let turned = along_rows([rows, width], panels * LANES) * self.slower();
        self.mini_batch(rows, panels, width) + turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::flops;
    use crate::model::experts::layouts;
    use crate::model::spec::Dummy;

    /// TFLOP/s of 3,862 classes of E experts on 1,024 activations, as the H200 was measured
    /// (docs/gpu-notes.md, "The steps"), and by these formulas.
    #[test]
    fn an_h200_does_what_it_was_measured_to_do() {
        let gpu = DeviceRates { flop_per_second: H200 };
        let measured = [
            (16, 256, 37.9, 21.0),
            (16, 2048, 47.6, 44.0),
            (16, 8192, 48.7, 45.9),
            (2, 256, 31.2, 18.8),
            (2, 2048, 42.0, 40.6),
            (2, 8192, 43.6, 43.0),
        ];
        for (experts, rows, first, second) in measured {
            let whole = layouts(&vec![experts; 3862], Dummy::Learned, 1024, 1);
            let panels = whole.iter().map(|layout| layout.panels).sum();
            let flop = flops::logits_and_gradient(rows, 1024, flops::columns(3862, experts));
            let rate = |seconds: f64| flop / seconds / 1e12;
            let found = [gpu.mini_batch(rows, panels, 1024), gpu.visit(rows, panels, 1024)];
            for (found, measured) in found.map(rate).into_iter().zip([first, second]) {
                let ratio = found / measured;
                assert!((0.93..1.12).contains(&ratio), "{experts} x {rows}: {found} {measured}");
            }
        }
        let size = (2048, 528, 1024);
        let found = DeviceRates::of_mini_batch(gpu.mini_batch(2048, 528, 1024), size);
        assert!((found.flop_per_second / H200 - 1.0).abs() < 1e-9, "{found:?}");
        // Half as fast takes twice as long, but for what memory and launches take.
        let half = DeviceRates { flop_per_second: H200 / 2.0 };
        let ratio = half.mini_batch(2048, 7986, 1024) / gpu.mini_batch(2048, 7986, 1024);
        assert!((1.9..2.0).contains(&ratio), "{ratio}");
    }
}
