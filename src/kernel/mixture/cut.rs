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

/// Rows that are swept at once: several whole slices, or rows of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SliceTile {
    pub(super) rows: Range<usize>,
    /// The slices that they are of.
    pub(super) slices: Range<usize>,
    /// Whether the first of them begins here, and whether the last one ends here.
    pub(super) begins: bool,
    pub(super) ends: bool,
}

/// Cuts slices of rows, which follow each other, into tiles whose logits stay in the caches of a
/// team: as many whole slices as fit, and where one doesn't, about equal runs of its rows, such
/// that members get as many rows as each other, in whole register tiles but for the last.
pub(super) fn tiles(layout: &Layout, slices: &[Range<usize>], team: usize) -> Vec<SliceTile> {
    let most = team * tile_rows(layout);
    let (mut tiles, mut at) = (Vec::new(), 0);
    while at < slices.len() {
        let from = slices[at].start;
        let whole = slices[at..].iter().take_while(|slice| slice.end - from <= most).count();
        let Some(last) = whole.checked_sub(1) else {
            tiles.extend(tiles_of(slices[at].clone(), at, most, team));
            at += 1;
            continue;
        };
        let rows = from..slices[at + last].end;
        tiles.push(SliceTile { rows, slices: at..at + whole, begins: true, ends: true });
        at += whole;
    }
    tiles
}

/// The tiles of one slice, of which there is more than fits.
fn tiles_of(
    rows: Range<usize>,
    slice: usize,
    most: usize,
    team: usize,
) -> impl Iterator<Item = SliceTile> {
    let unit = if team == 1 { REGISTER_ROWS } else { FEW_ROWS * team };
    let height = rows.len().div_ceil(rows.len().div_ceil(most)).next_multiple_of(unit);
    rows.clone().step_by(height).map(move |from| {
        let own = from..(from + height).min(rows.end);
        let (begins, ends) = (own.start == rows.start, own.end == rows.end);
        SliceTile { rows: own, slices: slice..slice + 1, begins, ends }
    })
}

/// Cuts rows into about equal tiles as `tiles`, of which each member of a team takes whole ones:
/// so many, or so small, that its members get as many rows as each other.
pub(super) fn shares(
    layout: &Layout,
    rows: Range<usize>,
    team: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let count = rows.len().div_ceil(tile_rows(layout)).max(1).next_multiple_of(team);
    let height = share(rows.len(), count);
    rows.clone().step_by(height).map(move |from| from..(from + height).min(rows.end))
}

/// Rows whose logits stay in a thread's cache.
fn tile_rows(layout: &Layout) -> usize {
    (TILE_LOGITS / layout.columns()).clamp(TILE_ROWS_MIN, TILE_ROWS_MAX)
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

    /// However rows are cut into slices, tiles are all of them once, in order, and no larger than
    /// the caches of a team.
    #[test]
    fn tiles_are_whole_slices_or_one_of_them() {
        let layout = Layout::new(0..16, vec![16; 16], Dummy::Learned, 8);
        for (rows, count) in [(0, 1), (0, 3), (100, 1), (241, 1), (700, 3), (2048, 4), (90, 64)] {
            for team in [1, 3, 16] {
                let own = |index: usize| 5 + index * rows / count..5 + (index + 1) * rows / count;
                let slices: Vec<_> = (0..count).map(own).collect();
                let (mut row, mut open) = (5, 0);
                for tile in tiles(&layout, &slices, team) {
                    assert!(tile.rows.len() <= team * 252, "{tile:?} of {slices:?}");
                    assert_eq!((tile.rows.start, tile.slices.start), (row, open), "in order");
                    assert_eq!(tile.begins, row == slices[open].start, "{tile:?}");
                    assert!(tile.begins && tile.ends || tile.slices.len() == 1, "{tile:?}");
                    (row, open) = (tile.rows.end, tile.slices.end - usize::from(!tile.ends));
                    assert_eq!(tile.ends, row == slices[tile.slices.end - 1].end, "{tile:?}");
                }
                assert_eq!((row, open), (5 + rows, count), "all of them");
            }
        }
    }

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
            for tile in tiles(&layout, std::slice::from_ref(&(0..rows)), 16) {
                let count = tile.rows.len();
                assert!(14 * height(count, 16) <= count, "{of}: {tile:?}");
            }
            let mut busy = [0; 16];
            let shares = shares(&layout, 0..rows, 16).enumerate();
            shares.for_each(|(index, tile)| busy[index % 16] += tile.len());
            assert!(14 * busy[0] <= rows, "{of}: {busy:?}");
        }
    }
}
