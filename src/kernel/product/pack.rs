//! Copies a block of A into strips as register tiles read it: a number of each of their rows, for
//! each k.

use super::Left;

/// Side of the squares that are turned within registers while A is packed.
const QUAD: usize = 4;

/// Copies rows x depth of A into strips of `ROWS` rows, each strip [depth][ROWS]; rows that don't
/// exist are zero.
#[inline(always)]
pub(super) fn pack<const ROWS: usize>(a: Left, rows: usize, depth: usize, packed: &mut [f32]) {
    for (index, strip) in packed.chunks_exact_mut(ROWS * depth).enumerate() {
        let from = index * ROWS;
        if from >= rows {
            return;
        }
        let live = ROWS.min(rows - from);
        if live < ROWS {
            strip.fill(0.0);
            for row in 0..live {
                for k in 0..depth {
                    strip[k * ROWS + row] = a.data[(from + row) * a.row + k * a.column];
                }
            }
        } else if a.row == 1 {
            for (k, numbers) in strip.chunks_exact_mut(ROWS).enumerate() {
                let at = from + k * a.column;
                numbers.copy_from_slice(&a.data[at..at + ROWS]);
            }
        } else {
            for row in (0..ROWS / QUAD * QUAD).step_by(QUAD) {
                turn_quads::<ROWS>(&a.data[(from + row) * a.row..], a, depth, &mut strip[row..]);
            }
            let rest: [&[f32]; 2] =
                std::array::from_fn(|row| &a.data[(from + ROWS - 2 + row) * a.row..][..depth]);
            if !ROWS.is_multiple_of(QUAD) {
                for (k, numbers) in strip.chunks_exact_mut(ROWS).enumerate() {
                    numbers[ROWS - 2] = rest[0][k];
                    numbers[ROWS - 1] = rest[1][k];
                }
            }
        }
    }
}

/// Four rows of A, from `lines` on, into four columns of a strip, in squares of 4 x 4 that turn
/// within registers.
#[inline(always)]
fn turn_quads<const ROWS: usize>(lines: &[f32], a: Left, depth: usize, strip: &mut [f32]) {
    assert!(a.column == 1 || depth == 1, "rows or columns of A lie end to end");
    let lines: [&[f32]; QUAD] = std::array::from_fn(|row| &lines[row * a.row..][..depth]);
    let quads = depth / QUAD * QUAD;
    for k in (0..quads).step_by(QUAD) {
        let square: [[f32; QUAD]; QUAD] =
            std::array::from_fn(|row| lines[row][k..k + QUAD].try_into().expect("four"));
        for column in 0..QUAD {
            let turned: [f32; QUAD] = std::array::from_fn(|row| square[row][column]);
            strip[(k + column) * ROWS..][..QUAD].copy_from_slice(&turned);
        }
    }
    for k in quads..depth {
        (0..QUAD).for_each(|row| strip[k * ROWS + row] = lines[row][k]);
    }
}
