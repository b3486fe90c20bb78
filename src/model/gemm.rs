//! Matrix products on panels of sixteen columns.
//!
//! C = A B or C += A B, where every element of C is one chain of fused multiply-adds over k in
//! order. Nothing else about the computation can be seen in the bits: not the tile's shape, not the
//! blocking over k (a partial sum that goes through memory is exact), not the vector width. That is
//! what lets ranks, threads and processors agree (ARCHITECTURE.md, "Same bits").

use super::vector::{Instructions, LANES, Lanes, load, store};
use crate::vectorised;

/// A read by element (i, k) at `data[i * row + k * column]`.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

/// B read by panel: the sixteen numbers of (k, panel) begin at `data[panel * panel_stride + k *
/// row]`.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub panel: usize,
}

/// C, by row and panel: sixteen numbers begin at `data[i * row + panel * panel_stride]`.
pub struct Output<'a> {
    pub data: &'a mut [f32],
    pub row: usize,
    pub panel: usize,
}

/// Sizes of a product: `rows` x `depth` times `depth` x (16 `panels`).
#[derive(Clone, Copy)]
pub struct Size {
    pub rows: usize,
    pub depth: usize,
    pub panels: usize,
}

/// Depth of one block: a pair of panels of B (24 KiB) stays in the first-level cache.
const DEPTH_BLOCK: usize = 192;
/// Rows of one block: its packed copy of A (96 KiB) stays in the second-level cache.
const ROW_BLOCK: usize = 120;
/// Rows of one register tile; `ROW_BLOCK` is a multiple.
const TILE_ROWS: usize = 6;

/// Room for the packed copy of a block of A. One per thread, made once.
pub struct Workspace {
    instructions: Instructions,
    packed: Vec<f32>,
}

impl Workspace {
    pub fn new(instructions: Instructions) -> Workspace {
        Workspace { instructions, packed: vec![0.0; ROW_BLOCK * DEPTH_BLOCK] }
    }

    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// C += A B. Padding lanes of a panel are treated as all others.
    pub fn accumulate(&mut self, size: Size, a: Left, b: Panels, c: &mut Output) {
        if size.rows == 0 || size.depth == 0 || size.panels == 0 {
            return;
        }
        let (m, k, p) = (size.rows - 1, size.depth - 1, size.panels - 1);
        assert!(m * a.row + k * a.column < a.data.len(), "A is too short");
        assert!(p * b.panel + k * b.row + LANES <= b.data.len(), "B is too short");
        assert!(m * c.row + p * c.panel + LANES <= c.data.len(), "C is too short");
        let packed = &mut self.packed[..];
        vectorised!(
            self.instructions,
            |size: Size, a: Left, b: Panels, c: &mut Output, packed: &mut [f32]| {
                blocks(size, a, b, c, packed)
            };
            size, a, b, c, packed
        );
    }

    /// C = A B.
    pub fn multiply(&mut self, size: Size, a: Left, b: Panels, c: &mut Output) {
        for row in 0..size.rows {
            for panel in 0..size.panels {
                store(c.data, row * c.row + panel * c.panel, [0.0; LANES]);
            }
        }
        self.accumulate(size, a, b, c);
    }
}

#[inline(always)]
fn blocks(size: Size, a: Left, b: Panels, c: &mut Output, packed: &mut [f32]) {
    for depth_from in (0..size.depth).step_by(DEPTH_BLOCK) {
        let depth = DEPTH_BLOCK.min(size.depth - depth_from);
        for row_from in (0..size.rows).step_by(ROW_BLOCK) {
            let rows = ROW_BLOCK.min(size.rows - row_from);
            let corner = &a.data[row_from * a.row + depth_from * a.column..];
            pack(Left { data: corner, ..a }, rows, depth, packed);
            let mut panel = 0;
            while panel < size.panels {
                let b_at = panel * b.panel + depth_from * b.row;
                let c_at = row_from * c.row + panel * c.panel;
                for tile in 0..rows.div_ceil(TILE_ROWS) {
                    let strip = &packed[tile * TILE_ROWS * depth..(tile + 1) * TILE_ROWS * depth];
                    let live = TILE_ROWS.min(rows - tile * TILE_ROWS);
                    register_tile(
                        strip,
                        live,
                        &b.data[b_at..],
                        b.row,
                        c,
                        c_at + tile * TILE_ROWS * c.row,
                    );
                }
                panel += 1;
            }
        }
    }
}

/// Copies rows x depth of A into strips of `TILE_ROWS` rows, each strip [depth][TILE_ROWS]; rows
/// that don't exist are zero.
#[inline(always)]
fn pack(a: Left, rows: usize, depth: usize, packed: &mut [f32]) {
    for (tile, strip) in
        packed.chunks_mut(TILE_ROWS * depth).take(rows.div_ceil(TILE_ROWS)).enumerate()
    {
        for lane in 0..TILE_ROWS {
            let row = tile * TILE_ROWS + lane;
            for k in 0..depth {
                let value = if row < rows { a.data[row * a.row + k * a.column] } else { 0.0 };
                strip[k * TILE_ROWS + lane] = value;
            }
        }
    }
}

/// `live` rows of one panel of C, through registers.
#[inline(always)]
fn register_tile(strip: &[f32], live: usize, b: &[f32], b_row: usize, c: &mut Output, c_at: usize) {
    let mut sums = [[0.0; LANES]; TILE_ROWS];
    for row in 0..live {
        sums[row] = load(c.data, c_at + row * c.row);
    }
    for (k, a) in strip.chunks_exact(TILE_ROWS).enumerate() {
        // SAFETY: `accumulate` has checked that the last element read here lies within B.
        let b: &Lanes = unsafe { &*b.as_ptr().add(k * b_row).cast() };
        for row in 0..TILE_ROWS {
            for lane in 0..LANES {
                sums[row][lane] = a[row].mul_add(b[lane], sums[row][lane]);
            }
        }
    }
    for row in 0..live {
        store(c.data, c_at + row * c.row, sums[row]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    fn random(stream: &mut Stream, count: usize) -> Vec<f32> {
        (0..count).map(|_| stream.uniform() - 0.5).collect()
    }

    /// Every element is the chain of fused multiply-adds over k, to the bit, on all instructions.
    #[test]
    fn every_element_is_one_chain_in_order() {
        let mut stream = Stream::new(3, Purpose::PlantedRows, 0);
        for (m, k, p) in [(1, 1, 1), (7, 193, 2), (121, 5, 3), (13, 400, 1), (6, 192, 5), (3, 0, 2)]
        {
            let (a, b) = (random(&mut stream, m * k), random(&mut stream, k * p * LANES));
            let start = random(&mut stream, m * p * LANES);
            for instructions in Instructions::available() {
                let mut c = start.clone();
                Workspace::new(instructions).accumulate(
                    Size { rows: m, depth: k, panels: p },
                    Left { data: &a, row: k, column: 1 },
                    Panels { data: &b, row: p * LANES, panel: LANES },
                    &mut Output { data: &mut c, row: p * LANES, panel: LANES },
                );
                for i in 0..m {
                    for j in 0..p * LANES {
                        let width = p * LANES;
                        let chain = (0..k).fold(start[i * width + j], |sum, l| {
                            a[i * k + l].mul_add(b[l * width + j], sum)
                        });
                        assert_eq!(c[i * width + j].to_bits(), chain.to_bits(), "{m} {k} {p}");
                    }
                }
            }
        }
    }
}
