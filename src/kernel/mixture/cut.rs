//! How a team divides a class block: rows of a tile for the sweep, rectangles of d x panels for the
//! weights' gradient. Every number is worked on by one thread from beginning to end, so none of it
//! shows in the bits.

use std::ops::Range;

use super::layout::Layout;
use crate::kernel::vector::LANES;

/// Numbers of logits of one tile: 256 KiB.
const TILE_LOGITS: usize = 65_536;
/// Rows of a tile at least, unless there are fewer: every tile passes over all weights of a block.
const TILE_ROWS_MIN: usize = 240;
/// And at most.
const TILE_ROWS_MAX: usize = 480;
/// Rows of the largest register tile, which is one of activations' numbers in the gradient.
const REGISTER_ROWS: usize = 12;
/// Rows of the smallest.
const FEW_ROWS: usize = 4;
/// What it takes to pack a number of V' for a rectangle, beside the products of so many panels with
/// it.
const PACKING: usize = 1;

/// Cuts rows into about equal tiles whose logits stay in cache, whole register tiles but for the
/// last. A team's tiles are such that its members get as many rows as each other.
pub(super) fn tiles(
    layout: &Layout,
    rows: Range<usize>,
    team: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let most = (TILE_LOGITS / layout.columns()).clamp(TILE_ROWS_MIN, TILE_ROWS_MAX);
    let count = rows.len().div_ceil(most).max(1);
    let whole = if team == 1 { REGISTER_ROWS } else { FEW_ROWS * team };
    let height = rows.len().div_ceil(count).next_multiple_of(whole).max(whole);
    rows.clone().step_by(height).map(move |from| from..(from + height).min(rows.end))
}

/// Rows of a tile that each member of a team takes, the last one perhaps fewer.
pub(super) fn height(rows: usize, team: usize) -> usize {
    rows.div_ceil(team).next_multiple_of(FEW_ROWS)
}

/// Rectangles of d x panels, at most one for each member of a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Numbers of d that a rectangle has, at most.
    pub(super) stretch: usize,
    /// Panels that it has, at most.
    pub(super) panels: usize,
}

/// The cut whose largest rectangle is the least work: d is cut first, since each rectangle packs
/// its stretch of V' once, whatever the panels.
pub(super) fn cut(width: usize, panels: usize, team: usize) -> Cut {
    let cuts = (1..=team).map(|stretches| {
        let stretch = width.div_ceil(stretches).next_multiple_of(REGISTER_ROWS).min(width);
        Cut { stretch, panels: panels.div_ceil(team / width.div_ceil(stretch)) }
    });
    cuts.min_by_key(|cut| cut.stretch * (cut.panels + PACKING)).expect("a member")
}

/// A rectangle of the gradient.
pub(super) struct Part<'a> {
    /// Where its stretch of d begins.
    pub(super) from: usize,
    /// Its first panel.
    pub(super) first: usize,
    /// Of each panel its numbers [stretch][16].
    pub(super) weights: Vec<&'a mut [f32]>,
    /// Those of its panels, if they are its: the last stretch has them, which may be short.
    pub(super) biases: Option<&'a mut [f32]>,
}

/// The rectangles of a gradient [panels][d][16] and its biases [panels][16].
pub(super) fn parts<'a>(
    (weights, biases): (&'a mut [f32], &'a mut [f32]),
    width: usize,
    cut: Cut,
) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let of_panels = weights.chunks_mut(cut.panels * width * LANES);
    let of_panels = of_panels.zip(biases.chunks_mut(cut.panels * LANES)).enumerate();
    for (index, (weights, biases)) in of_panels {
        let (begin, first) = (parts.len(), index * cut.panels);
        let part = |from| Part { from, first, weights: Vec::new(), biases: None };
        parts.extend((0..width).step_by(cut.stretch).map(part));
        for panel in weights.chunks_mut(width * LANES) {
            let stretches = parts[begin..].iter_mut().zip(panel.chunks_mut(cut.stretch * LANES));
            stretches.for_each(|(part, numbers)| part.weights.push(numbers));
        }
        parts.last_mut().expect("a stretch").biases = Some(biases);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::mixture::layout::Dummy;

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
        }
        assert_eq!(cut(1024, 15, 16), Cut { stretch: 72, panels: 15 });
        assert_eq!(cut(64, 64, 16), Cut { stretch: 64, panels: 4 }, "narrow activations");
        assert_eq!(cut(1024, 15, 1), Cut { stretch: 1024, panels: 15 });
    }

    #[test]
    fn parts_are_all_numbers_once() {
        for (width, panels) in [(1, 1), (7, 5), (64, 65), (1024, 15), (100, 401)] {
            for team in 1..=17 {
                let mut weights: Vec<f32> = vec![0.0; panels * width * LANES];
                let mut biases = vec![0.0; panels * LANES];
                let cut = cut(width, panels, team);
                let parts = parts((&mut weights, &mut biases), width, cut);
                assert!((1..=team).contains(&parts.len()), "{width} x {panels}: {cut:?}");
                for part in parts {
                    let firsts = part.weights.into_iter().enumerate();
                    for (panel, numbers) in firsts {
                        let at = ((part.first + panel) * width + part.from) * LANES;
                        let places = (at..).zip(numbers);
                        places.for_each(|(at, number)| *number += at as f32);
                    }
                    let at = part.first * LANES;
                    let places = (at..).zip(part.biases.into_iter().flatten());
                    places.for_each(|(at, number)| *number += at as f32);
                }
                let once = |numbers: &[f32]| (0..).zip(numbers).all(|(at, x)| *x == at as f32);
                assert!(once(&weights) && once(&biases), "{width} x {panels}: {cut:?}");
            }
        }
    }
}
