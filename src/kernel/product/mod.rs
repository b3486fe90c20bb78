//! Matrix products on panels of sixteen columns.
//!
//! C = A B or C += A B, where every element of C is one chain of fused multiply-adds over k in
//! order. Nothing else about the computation can be seen in the bits: not the tile's shape, not the
//! blocking over k (a partial sum that goes through memory is exact), not the vector width. That is
//! what lets ranks, threads and processors agree (ARCHITECTURE.md, "Same bits").

pub mod definition;
mod destination;
mod pack;
pub(crate) mod rectangles;
mod registers;

pub(crate) use self::destination::Apart;
use self::destination::Places;
pub use self::destination::{Destination, Output};
use self::pack::pack;
#[cfg(target_arch = "aarch64")]
use self::registers::Quarters;
use self::registers::Vector;
#[cfg(target_arch = "x86_64")]
use self::registers::{Full, Halves};
use crate::kernel::vector::{Instructions, LANES, Lanes, Set};

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

/// Sizes of a product: `rows` x `depth` times `depth` x (16 `panels`).
#[derive(Clone, Copy)]
pub struct Size {
    pub rows: usize,
    pub depth: usize,
    pub panels: usize,
}

/// What the chains of a product begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// +0: C = A B.
    Zero,
    /// What C holds: C += A B.
    Output,
}

/// Largest depth of one block: a pair of panels of B (48 KiB) stays in the nearest caches.
const DEPTH_BLOCK: usize = 384;
/// Largest number of rows of one block: its packed copy of A (216 KiB) stays in the second-level
/// cache. A multiple of every register tile's rows.
const ROW_BLOCK: usize = 144;

/// Room for the packed copy of a block of A. One per thread, made once.
pub struct Workspace {
    instructions: Instructions,
    packed: Vec<f32>,
}

impl AsMut<Workspace> for Workspace {
    fn as_mut(&mut self) -> &mut Workspace {
        self
    }
}

impl Workspace {
    pub fn new(instructions: Instructions) -> Workspace {
        Workspace { instructions, packed: vec![0.0; ROW_BLOCK * DEPTH_BLOCK] }
    }

    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// C += A B. Padding lanes of a panel are treated as all others.
    pub fn accumulate(&mut self, size: Size, a: Left, b: Panels, c: &mut impl Destination) {
        if size.depth > 0 {
            self.product(size, Start::Output, a, b, c);
        }
    }

    /// C = A B, whatever C held: 0 where there is no depth.
    pub fn multiply(&mut self, size: Size, a: Left, b: Panels, c: &mut impl Destination) {
        if size.depth > 0 {
            return self.product(size, Start::Zero, a, b, c);
        }
        if size.rows == 0 || size.panels == 0 {
            return;
        }
        c.check(size);
        let mut places = c.places();
        for panel in 0..size.panels {
            for row in 0..size.rows {
                let place = places.of(panel).wrapping_add(row * places.row());
                // SAFETY: `check` has passed, so sixteen numbers lie there.
                unsafe { place.cast::<Lanes>().write_unaligned([0.0; LANES]) };
            }
        }
    }

    fn product(&mut self, size: Size, start: Start, a: Left, b: Panels, c: &mut impl Destination) {
        if size.rows == 0 || size.panels == 0 {
            return;
        }
        check(size, a, b);
        c.check(size);
        let c = &mut c.places();
        let packed = &mut self.packed[..];
        match self.instructions.set() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token says that the processor has them; the checks have bounded B and C.
            Set::Avx512 => unsafe { avx512(size, start, a, b, c, packed) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Avx2 => unsafe { avx2(size, start, a, b, c, packed) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: 64-bit ARM has NEON; the checks have bounded B and C.
            Set::Neon => unsafe { blocks::<Quarters, 6, 1, _>(size, start, a, b, c, packed) },
            // SAFETY: every processor can; the checks have bounded B and C.
            Set::Plain => unsafe { blocks::<Lanes, 6, 1, _>(size, start, a, b, c, packed) },
        }
    }
}

/// What arithmetic without bounds checks relies on: all numbers of a product, of which there is at
/// least one, lie within A and B. C has checks of its own.
fn check(size: Size, a: Left, b: Panels) {
    let Size { rows, depth, panels } = size;
    assert!(within([(rows, a.row), (depth, a.column)], 1, a.data), "A is too short");
    assert!(within([(panels, b.panel), (depth, b.row)], LANES, b.data), "B is too short");
    let end_to_end = a.row == 1 || a.column == 1 || rows == 1 || depth == 1;
    assert!(end_to_end, "rows or columns of A lie end to end");
    let apart = (a.row > 0 || rows == 1) && (a.column > 0 || depth == 1);
    assert!(apart, "rows and columns of A lie apart");
}

/// Whether the last of some blocks of `numbers`, both of their steps (how many, at least 1, and how
/// far apart), lies within `data`.
fn within(steps: [(usize, usize); 2], numbers: usize, data: &[f32]) -> bool {
    let mut steps = steps.into_iter();
    let end = steps.try_fold(numbers, |end, (count, stride)| {
        end.checked_add((count - 1).checked_mul(stride)?)
    });
    end.is_some_and(|end| end <= data.len())
}

// Register tiles: of 32 registers of 16 lanes 24 hold sums and 2 hold B; of 16 registers of 8
// lanes 12 and 2; of 32 registers of 4 lanes 24 and 4. Some are always left for the numbers of A.

/// # Safety
/// `check` has passed.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]
unsafe fn avx512(
    size: Size,
    start: Start,
    a: Left,
    b: Panels,
    c: &mut impl Places,
    packed: &mut [f32],
) {
    // SAFETY: this function's own instructions; `check` has passed.
    unsafe { blocks::<Full, 12, 2, _>(size, start, a, b, c, packed) };
}

/// # Safety
/// `check` has passed.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(
    size: Size,
    start: Start,
    a: Left,
    b: Panels,
    c: &mut impl Places,
    packed: &mut [f32],
) {
    // SAFETY: this function's own instructions; `check` has passed.
    unsafe { blocks::<Halves, 6, 1, _>(size, start, a, b, c, packed) };
}

/// The product in blocks of depth and rows, by register tiles of `ROWS` x (16 `PANELS`).
///
/// # Safety
/// The processor has the instructions of `V`, and `check` has passed.
#[inline(always)]
unsafe fn blocks<V: Vector, const ROWS: usize, const PANELS: usize, C: Places>(
    size: Size,
    start: Start,
    a: Left,
    b: Panels,
    c: &mut C,
    packed: &mut [f32],
) {
    // Equal blocks: a short last one would pass over C for little.
    let depth_block = size.depth.div_ceil(size.depth.div_ceil(DEPTH_BLOCK));
    let row_block = size.rows.div_ceil(size.rows.div_ceil(ROW_BLOCK)).next_multiple_of(ROWS);
    for depth_from in (0..size.depth).step_by(depth_block) {
        let depth = depth_block.min(size.depth - depth_from);
        for row_from in (0..size.rows).step_by(row_block) {
            let rows = row_block.min(size.rows - row_from);
            let corner = &a.data[row_from * a.row + depth_from * a.column..];
            pack::<ROWS>(Left { data: corner, ..a }, rows, depth, packed);
            // What the first block of depth leaves, the others go on with.
            let start = if depth_from == 0 { start } else { Start::Output };
            let mut panel = 0;
            while panel < size.panels {
                let b_from = &b.data[panel * b.panel + depth_from * b.row..];
                let (b, row) = (Panels { data: b_from, ..b }, c.row());
                let mut place = |panel| c.of(panel).wrapping_add(row_from * row);
                if panel + PANELS <= size.panels {
                    let to = (std::array::from_fn(|next| place(panel + next)), row);
                    // SAFETY: these panels and rows are some of the product's.
                    unsafe { strips::<V, ROWS, PANELS>(packed, rows, depth, start, b, to) };
                    panel += PANELS;
                } else {
                    let to = ([place(panel)], row);
                    // SAFETY: as above.
                    unsafe { strips::<V, ROWS, 1>(packed, rows, depth, start, b, to) };
                    panel += 1;
                }
            }
        }
    }
}

/// All rows of a packed block times some panels. The last strip takes the smallest tile that holds
/// it. `to`: where each panel of C begins, and how far its rows are apart.
///
/// # Safety
/// The processor has the instructions of `V`; `PANELS` panels of `depth` lie within B from its
/// beginning, and `rows` rows of C from each of `to` on.
#[inline(always)]
unsafe fn strips<V: Vector, const ROWS: usize, const PANELS: usize>(
    packed: &[f32],
    rows: usize,
    depth: usize,
    start: Start,
    b: Panels,
    (to, row): ([*mut f32; PANELS], usize),
) {
    for (index, strip) in packed.chunks_exact(ROWS * depth).take(rows.div_ceil(ROWS)).enumerate() {
        let live = ROWS.min(rows - index * ROWS);
        let to = (to.map(|panel| panel.wrapping_add(index * ROWS * row)), row);
        // SAFETY: the strip's live rows are some of these rows, its depth is theirs.
        unsafe {
            if live > 2 * ROWS / 3 {
                register_tile::<V, ROWS, ROWS, PANELS>(strip, live, start, b, to);
            } else if ROWS == 12 && live > 4 {
                register_tile::<V, ROWS, 8, PANELS>(strip, live, start, b, to);
            } else {
                register_tile::<V, ROWS, 4, PANELS>(strip, live, start, b, to);
            }
        }
    }
}

/// The first `live` rows of a strip, at least one and at most `TILE` of its `ROWS`, times `PANELS`
/// panels, through registers.
///
/// # Safety
/// The processor has the instructions of `V`; `PANELS` panels of the strip's depth lie within B
/// from its beginning, and `live` rows of C from each of `to` on.
#[inline(always)]
unsafe fn register_tile<V: Vector, const ROWS: usize, const TILE: usize, const PANELS: usize>(
    strip: &[f32],
    live: usize,
    start: Start,
    b: Panels,
    (to, apart): ([*mut f32; PANELS], usize),
) {
    // SAFETY: within C for rows below `live`; no others are asked for.
    let place = |row: usize, panel: usize| unsafe { to[panel].add(row * apart) };
    // SAFETY: the processor has the instructions.
    let zero = unsafe { V::splat(0.0) };
    let mut sums = [[zero; PANELS]; TILE];
    for row in 0..TILE * usize::from(start == Start::Output) {
        for panel in 0..PANELS {
            // SAFETY: a row below `live`, and sixteen numbers lie there.
            sums[row][panel] = unsafe { V::read(place(row.min(live - 1), panel)) };
        }
    }
    let mut from = b.data.as_ptr();
    for a in strip.chunks_exact(ROWS) {
        // SAFETY: as many rows of B as the strip is deep lie within it.
        let read = |panel: usize| unsafe { V::read(from.wrapping_add(panel * b.panel)) };
        let numbers: [V; PANELS] = std::array::from_fn(read);
        for row in 0..TILE {
            // SAFETY: the processor has the instructions.
            let number = unsafe { V::splat(a[row]) };
            for panel in 0..PANELS {
                // SAFETY: as above.
                sums[row][panel] = unsafe { number.times_plus(numbers[panel], sums[row][panel]) };
            }
        }
        from = from.wrapping_add(b.row);
    }
    // Rows beyond `live` are computed but not written.
    for row in 0..TILE {
        if row < live {
            // SAFETY: a row below `live`, and there is room for sixteen numbers.
            (0..PANELS).for_each(|panel| unsafe { sums[row][panel].write(place(row, panel)) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    fn random(stream: &mut Stream, count: usize) -> Vec<f32> {
        (0..count).map(|_| stream.uniform() - 0.5).collect()
    }

    /// A [m][k] laid out as [k][m].
    fn turned(a: &[f32], m: usize, k: usize) -> Vec<f32> {
        (0..k * m).map(|at| a[at % m * k + at / m]).collect()
    }

    /// Every element is the chain of fused multiply-adds over k, to the bit, on all instructions.
    #[test]
    fn every_element_is_one_chain_in_order() {
        let mut stream = Stream::new(3, Purpose::PlantedRows, 0);
        for (m, k, p) in [
            (1, 1, 1),
            (7, 193, 2),
            (121, 5, 3),
            (13, 400, 1),
            (6, 192, 5),
            (3, 0, 2),
            (250, 771, 3),
        ] {
            let (a, b) = (random(&mut stream, m * k), random(&mut stream, k * p * LANES));
            let start = random(&mut stream, m * p * LANES);
            for instructions in Instructions::available() {
                let size = Size { rows: m, depth: k, panels: p };
                let left = Left { data: &a, row: k, column: 1 };
                let panels = Panels { data: &b, row: p * LANES, panel: LANES };
                let product = |fresh: bool, left: Left, start: &[f32]| {
                    let (mut c, mut workspace) = (start.to_vec(), Workspace::new(instructions));
                    let output = &mut Output { data: &mut c, row: p * LANES, panel: LANES };
                    match fresh {
                        true => workspace.multiply(size, left, panels, output),
                        false => workspace.accumulate(size, left, panels, output),
                    }
                    c
                };
                let c = product(false, left, &start);
                if k > 0 {
                    let (turned, zeros) = (turned(&a, m, k), vec![0.0; start.len()]);
                    let turned = Left { data: &turned, row: 1, column: m };
                    let fresh = product(true, left, &start);
                    assert!(fresh == product(false, turned, &zeros), "{m} {k} {p}");
                }
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
