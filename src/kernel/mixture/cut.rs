//! How a team divides the rows of a class block. Every number is worked on by one thread from
//! beginning to end, so none of it shows in the bits.

use std::ops::Range;

use super::layout::Layout;
use crate::kernel::product::rectangles::{FEW_ROWS, REGISTER_ROWS, share};

/// Numbers of logits of one tile: 256 KiB.
const TILE_LOGITS: usize = 65_536;
/// Rows of a tile at least, unless there are fewer: every tile passes over all weights of a block.
const TILE_ROWS_MIN: usize = 240;
/// And at most.
const TILE_ROWS_MAX: usize = 480;

/// Cuts rows into about equal tiles whose logits stay in cache, whole register tiles but for the
/// last. A team's tiles are such that its members get as many rows as each other.
pub(super) fn tiles(
    layout: &Layout,
    rows: Range<usize>,
    team: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let count = tile_count(layout, rows.len());
    let whole = if team == 1 { REGISTER_ROWS } else { FEW_ROWS * team };
    let height = rows.len().div_ceil(count).next_multiple_of(whole).max(whole);
    rows.clone().step_by(height).map(move |from| from..(from + height).min(rows.end))
}

/// Cuts rows into about equal tiles as `tiles`, of which each member of a team takes whole ones:
/// so many, or so small, that its members get as many rows as each other.
pub(super) fn shares(
    layout: &Layout,
    rows: Range<usize>,
    team: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let count = tile_count(layout, rows.len()).next_multiple_of(team);
    let height = share(rows.len(), count);
    rows.clone().step_by(height).map(move |from| from..(from + height).min(rows.end))
}

/// Tiles whose logits stay in cache.
fn tile_count(layout: &Layout, rows: usize) -> usize {
    let most = (TILE_LOGITS / layout.columns()).clamp(TILE_ROWS_MIN, TILE_ROWS_MAX);
    rows.div_ceil(most).max(1)
}

/// Rows of a tile that each member of a team takes, the last one perhaps fewer.
pub(super) fn height(rows: usize, team: usize) -> usize {
    rows.div_ceil(team).next_multiple_of(FEW_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::mixture::layout::Dummy;
    use crate::kernel::product::rectangles::{Cut, cut};

    /// Sixteen threads at a block of YouTube-8M with two experts a class (3 or 4 groups of 5
    /// panels), and at one group of 200 experts a class: nobody has more than a fourteenth of a
    /// tile, neither of the sweep nor of the gradient.
    #[test]
    fn sixteen_threads_share_one_block() {
        let block = |classes, experts, width| {
            Layout::new(0..classes, vec![experts; classes], Dummy::Learned, width)
        };
        for (layout, rows) in [
            (block(48, 2, 1024), 256),
            (block(64, 2, 1024), 256),
            (block(16, 200, 1024), 256),
            (block(64, 2, 1152), 2048),
            (block(64, 2, 512), 256),
        ] {
            let Cut { stretch, panels } = cut(layout.width, layout.panels, 16);
            let of = format!("{} x {} panels", layout.width, layout.panels);
            let largest = 14 * stretch * panels;
            assert!(largest <= layout.width * layout.panels, "{of}: {stretch} x {panels}");
            for tile in tiles(&layout, 0..rows, 16) {
                assert!(14 * height(tile.len(), 16) <= tile.len(), "{of}: {tile:?}");
            }
            let mut busy = [0; 16];
            let shares = shares(&layout, 0..rows, 16).enumerate();
            shares.for_each(|(index, tile)| busy[index % 16] += tile.len());
            assert!(14 * busy[0] <= rows, "{of}: {busy:?}");
        }
    }
}
