//! How a team divides the gradient of weights `[panel][d][16]`, a product over rows, and rows that
//! a product takes each by itself. Every number is worked on by one thread from beginning to end,
//! so none of it shows in the bits.

use super::ROW_BLOCK;
use crate::kernel::vector::LANES;

/// Rows of the largest register tile, which is one of activations' numbers in the gradient.
pub(crate) const REGISTER_ROWS: usize = 12;
/// Rows of the smallest.
pub(crate) const FEW_ROWS: usize = 4;
/// What it takes to pack a number of V' for a rectangle, beside the products of so many panels with
/// it.
const PACKING: usize = 1;

/// Rows of each of at most `count` about equal runs: whole register tiles, and small ones where
/// there are few rows.
pub(crate) fn share(rows: usize, count: usize) -> usize {
    let few = rows < 4 * REGISTER_ROWS * count;
    let whole = if few { FEW_ROWS } else { REGISTER_ROWS };
    rows.div_ceil(count).next_multiple_of(whole).max(whole)
}

/// Rectangles of d x panels, at most one for each member of a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Numbers of d that a rectangle has, at most.
    pub(crate) stretch: usize,
    /// Panels that it has, at most.
    pub(crate) panels: usize,
}

/// The cut whose largest rectangle is the least work: d is cut first, since each rectangle packs
/// its stretch of V' once, whatever the panels.
pub(crate) fn cut(width: usize, panels: usize, team: usize) -> Cut {
    let cuts = (1..=team).map(|stretches| {
        let stretch = width.div_ceil(stretches).next_multiple_of(FEW_ROWS).min(width);
        Cut { stretch, panels: panels.div_ceil(team / width.div_ceil(stretch)) }
    });
    cuts.min_by_key(|cut| tiled(cut.stretch) * (cut.panels + PACKING)).expect("a member")
}

/// What it takes to compute so many rows, beside a row of a whole register tile: small tiles leave
/// registers idle.
fn tiled(rows: usize) -> usize {
    let rest = match rows % REGISTER_ROWS {
        0 => 0,
        1..=4 => 6,
        5..=8 => 9,
        _ => REGISTER_ROWS,
    };
    rows / REGISTER_ROWS * REGISTER_ROWS + rest
}

impl Cut {
    /// The same with rectangles of about so many numbers. What is left of a long stretch is one
    /// packed block of V'; then panels are cut, since a short stretch reads dZ from far for little.
    pub(crate) fn within(self, numbers: usize) -> Cut {
        let equal = |all: usize, most: usize| all.div_ceil(all.div_ceil(most.clamp(1, all)));
        if self.stretch * self.panels * LANES <= numbers {
            return self;
        }
        let stretch = equal(self.stretch, ROW_BLOCK).next_multiple_of(FEW_ROWS).min(self.stretch);
        Cut { stretch, panels: equal(self.panels, numbers / (stretch * LANES)) }
    }
}

/// A rectangle of the gradient.
pub(crate) struct Part<'a> {
    /// Where its stretch of d begins.
    pub(crate) from: usize,
    /// Its first panel.
    pub(crate) first: usize,
    /// Of each panel its numbers [stretch][16].
    pub(crate) weights: Vec<&'a mut [f32]>,
    /// Those of its panels, if they are its: the last stretch has them, which may be short.
    pub(crate) biases: Option<&'a mut [f32]>,
}

/// The rectangles of a gradient [panels][d][16] and its biases [panels][16].
pub(crate) fn parts<'a>(
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

    #[test]
    fn rectangles_are_as_large_as_each_other() {
        assert_eq!(cut(1024, 15, 16), Cut { stretch: 64, panels: 15 });
        assert_eq!(cut(64, 64, 16), Cut { stretch: 32, panels: 8 }, "narrow activations");
        assert_eq!(cut(1024, 15, 1), Cut { stretch: 1024, panels: 15 });
        // A gating layer of 1,024, and a dense one of 1,152 inputs.
        for width in [1024, 1152] {
            let Cut { stretch, panels } = cut(width, 64, 16);
            assert!(14 * stretch * panels <= width * 64, "{width}: {stretch} x {panels}");
        }
    }

    #[test]
    fn rectangles_stay_in_cache() {
        let whole = Cut { stretch: 1024, panels: 33 };
        assert_eq!(whole.within(1 << 15), Cut { stretch: 128, panels: 11 });
        assert_eq!(whole.within(1 << 20), whole);
        assert_eq!(whole.within(1), Cut { stretch: 128, panels: 1 });
        assert_eq!(Cut { stretch: 7, panels: 5 }.within(9), Cut { stretch: 7, panels: 1 });
        // Four groups of 64 experts a class, 16 threads: dZ is read for 128 numbers of d.
        let wide = cut(1024, 516, 16).within(1 << 17);
        assert_eq!(wide, Cut { stretch: 128, panels: 52 });
    }

    #[test]
    fn runs_of_rows_are_about_equal() {
        for (rows, count) in [(0, 1), (1, 16), (47, 16), (480, 16), (15_191, 16), (15_191, 1)] {
            let height = share(rows, count);
            assert!(height > 0 && height * count >= rows, "{rows} rows, {count} runs: {height}");
            assert!(height < rows.div_ceil(count) + REGISTER_ROWS, "{rows}, {count}: {height}");
        }
    }

    #[test]
    fn parts_are_all_numbers_once() {
        for (width, panels) in [(1, 1), (7, 5), (64, 65), (1024, 15), (100, 401)] {
            for team in 1..=17 {
                let mut weights: Vec<f32> = vec![0.0; panels * width * LANES];
                let mut biases = vec![0.0; panels * LANES];
                let whole = cut(width, panels, team);
                let cut = if team % 3 == 0 { whole.within(1000) } else { whole };
                let parts = parts((&mut weights, &mut biases), width, cut);
                let count = 1..=if cut == whole { team } else { usize::MAX };
                assert!(count.contains(&parts.len()), "{width} x {panels}: {cut:?}");
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
