//! Slices of a mini-batch to the rows of a grid whose ranks are of unequal speed
//! (docs/thousand-ranks.md, section 5).
//!
//! Rank (r, c) has s_r slices of column c's class blocks, which cost b_c, and is through after
//! s_r b_c / share. All that is decided follows from whole numbers that all ranks have, by IEEE
//! operations in one order, so that all find the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Grid, with_left_over};

/// Columns whose ranks' shares slices are first dealt by, those that take most.
const STARTS: usize = 4;
/// How often blocks are dealt by the slices, and slices by the blocks.
const STEPS: usize = 3;

impl Grid {
    /// The same of ranks that take so much each; what is dealt are class blocks of these costs.
    /// Slices go to rows so that the rank that takes longest for its share is soon through: from
    /// several starts blocks are dealt by slices and slices by blocks, and the best of all is
    /// kept. With one column nothing is better. Each row takes a slice at least, however slow its
    /// ranks are: what a column steps and exchanges is cut evenly among all of its ranks, so that
    /// they wait for each other in any case.
    pub fn by_speed(
        shape: (usize, usize),
        slices: usize,
        (costs, shares): (&[usize], &[usize]),
        rank: usize,
    ) -> Grid {
        let even = Grid::new(shape, slices, shares.len(), rank);
        let (rows, columns) = shape;
        let of_grid = &shares[..rows * columns];
        if rows == 1 || of_grid.iter().all(|share| *share == of_grid[0]) {
            return even;
        }
        let rates: Vec<f64> = shares.iter().map(|share| (*share).max(1) as f64).collect();
        let (mut least, mut best) = (even.seconds(costs, shares, &rates), even.clone());
        for mut speeds in even.starts(&rates) {
            for _ in 0..STEPS {
                let grid = even.with_slices(&apportioned(slices, &speeds));
                let costs_of = grid.costs_of_columns(costs, shares);
                let seconds = grid.longest(&costs_of, &rates);
                speeds = grid.speeds_of_rows(&costs_of, &rates);
                if seconds < least {
                    (least, best) = (seconds, grid);
                }
            }
        }
        best
    }

    /// Seconds of the rank that takes longest for its slices of its column's class blocks, of these
    /// costs and dealt in `shares`; of each rank the cost of a slice that it gets through a second.
    pub(crate) fn seconds(&self, costs: &[usize], shares: &[usize], rates: &[f64]) -> f64 {
        self.longest(&self.costs_of_columns(costs, shares), rates)
    }

    /// Of each column.
    fn costs_of_columns(&self, costs: &[usize], shares: &[usize]) -> Vec<f64> {
        let dealt = self.deal(costs, shares).of_column;
        let of = |column| costs[dealt.run(column)].iter().map(|cost| *cost as f64).sum();
        (0..self.columns).map(of).collect()
    }

    fn longest(&self, costs_of: &[f64], rates: &[f64]) -> f64 {
        let slices: Vec<f64> = self.slices_of_rows().map(|count| count as f64).collect();
        let columns = costs_of.iter().zip(rates.chunks(self.rows));
        let longest = columns.map(|(cost, rates)| {
            let rows = slices.iter().zip(rates).map(|(slices, rate)| slices * cost / rate);
            rows.fold(0.0, f64::max)
        });
        longest.fold(0.0, f64::max)
    }

    /// How many slices the rank of each row that takes longest for one gets through a second.
    fn speeds_of_rows(&self, costs_of: &[f64], rates: &[f64]) -> Vec<f64> {
        let of = |row: usize| {
            let columns = costs_of.iter().zip(rates.chunks(self.rows));
            columns.map(|(cost, rates)| rates[row] / cost).fold(f64::INFINITY, f64::min)
        };
        (0..self.rows).map(of).collect()
    }

    /// What rows are first taken to get through: all that their ranks do, and what those of one
    /// column do, of which the fastest are tried.
    fn starts(&self, rates: &[f64]) -> Vec<Vec<f64>> {
        let columns: Vec<&[f64]> = rates.chunks(self.rows).take(self.columns).collect();
        let all = (0..self.rows).map(|row| columns.iter().map(|column| column[row]).sum());
        let mut order: Vec<usize> = (0..self.columns).collect();
        let sums: Vec<f64> = columns.iter().map(|column| column.iter().sum()).collect();
        order.sort_by(|one, other| sums[*other].total_cmp(&sums[*one]));
        let fastest = order.into_iter().take(STARTS).map(|column| columns[column].to_vec());
        std::iter::once(all.collect()).chain(fastest).collect()
    }

    /// How many slices each row takes.
    pub(crate) fn slices_of_rows(&self) -> impl Iterator<Item = usize> {
        (0..self.rows).map(|row| self.slices.run(row).len())
    }

    /// The same, whose rows take so many slices.
    fn with_slices(&self, counts: &[usize]) -> Grid {
        let ends = counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        let starts = std::iter::once(0).chain(ends).collect();
        let place = self.own().map(|place| place.row);
        Grid { slices: with_left_over(starts, place), ..self.clone() }
    }
}

/// So many slices to rows that get through so many a second, at least one to each, so that the row
/// that takes longest is through as soon as can be: one after the other to whichever has then taken
/// least time, the first of several.
fn apportioned(slices: usize, speeds: &[f64]) -> Vec<usize> {
    let mut counts = vec![1; speeds.len()];
    // The order of positive numbers is that of their bits.
    let with = |count: usize, row: usize| Reverse(((count as f64 / speeds[row]).to_bits(), row));
    let mut next: BinaryHeap<_> = (0..speeds.len()).map(|row| with(2, row)).collect();
    for _ in speeds.len()..slices {
        let Reverse((_, row)) = next.pop().expect("a row");
        counts[row] += 1;
        next.push(with(counts[row] + 1, row));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::super::tests::draws;
    use super::*;

    const SPEEDS: [usize; 4] = [62, 62, 250, 1000];

    /// Of the summed rate, with so many slices and class blocks that cost the same, in percent.
    fn reached(shape: (usize, usize), slices: usize, blocks: usize, shares: &[usize]) -> f64 {
        let costs = vec![7_000; blocks];
        let grid = Grid::by_speed(shape, slices, (&costs, shares), 0);
        let rates: Vec<f64> = shares.iter().map(|share| *share as f64).collect();
        let ideal = (7_000 * blocks * slices) as f64 / rates.iter().sum::<f64>();
        100.0 * ideal / grid.seconds(&costs, shares, &rates)
    }

    #[test]
    fn slices_go_to_rows_by_what_their_ranks_do() {
        let counts = |shape, slices, shares: &[usize]| -> Vec<usize> {
            let grid = Grid::by_speed(shape, slices, (&[5; 22], shares), 0);
            grid.slices_of_rows().collect()
        };
        assert_eq!(counts((4, 1), 64, &SPEEDS), [2, 2, 12, 48]);
        assert_eq!(counts((4, 1), 22, &SPEEDS), [1, 1, 4, 16]);
        assert_eq!(counts((4, 1), 4, &SPEEDS), [1; 4]);
        assert_eq!(counts((2, 2), 64, &SPEEDS), [13, 51]);
        assert_eq!(counts((1, 4), 64, &SPEEDS), [64]);
        assert_eq!(counts((3, 1), 64, &[1; 3]), [21, 21, 22], "as without speeds");
        assert_eq!(counts((3, 1), 64, &[0, 0, 0]), [21, 21, 22]);
        assert_eq!(counts((3, 1), 64, &[0, 1000, 1]), [1, 62, 1]);
        let shapes = [((4, 1), 95.0), ((2, 2), 90.0), ((1, 4), 99.0)];
        for (shape, least) in shapes {
            let found = reached(shape, 64, 22, &SPEEDS);
            assert!((least..=100.1).contains(&found), "{shape:?}: {found} %");
        }
        // Equal slices, as the slowest row needs.
        let equal = Grid::new((4, 1), 64, 4, 0).seconds(&[1; 22], &[1; 4], &[1.0, 1.0, 4.0, 16.0]);
        assert_eq!(equal, 16.0 * 22.0);
    }

    /// With one column no other slices are better: all are tried.
    #[test]
    fn slices_of_one_column_are_the_best_there_are() {
        let mut draw = draws();
        for _ in 0..200 {
            let rows = 2 + draw(2) as usize;
            let slices = rows + draw(12) as usize;
            let shares: Vec<usize> = (0..rows).map(|_| 1 + draw(30) as usize).collect();
            let rates: Vec<f64> = shares.iter().map(|share| *share as f64).collect();
            let grid = Grid::by_speed((rows, 1), slices, (&[3, 4], &shares), 0);
            let found = grid.seconds(&[3, 4], &shares, &rates);
            let mut best = f64::INFINITY;
            for first in 1..slices {
                for second in 1..=slices - first {
                    let third = slices - first - second;
                    let counts = [first, second, third];
                    if (rows == 3) == (third > 0) {
                        let each = counts.iter().zip(&rates).map(|(own, rate)| *own as f64 / rate);
                        best = best.min(7.0 * each.fold(0.0, f64::max));
                    }
                }
            }
            assert!((found / best - 1.0).abs() < 1e-9, "{shares:?} {slices}: {found} {best}");
        }
    }

    /// Whatever ranks are said to do: all rows take something, all find the same, every slice and
    /// block has one place, and nobody is worse off than with equal slices.
    #[test]
    fn hostile_shares_leave_no_slice_without_a_row() {
        let big = usize::MAX / 8;
        let hostile: [&[usize]; 7] = [
            &[0, 0, 0, 0, 0, 0, 0],
            &[1, 1000, 1, 1000, 1, 1000, 1],
            &[1000, 1, 1, 1, 1, 1, 1],
            &[1, 1, 1, 1, 1, 1, 1000],
            &[0, 7, 0, 7, 0, 7, 0],
            &[big, 1, big, 0, 3, big, 1],
            &[999, 1000, 998, 1000, 1000, 997, 1000],
        ];
        for shares in hostile {
            for shape in [(2, 1), (2, 2), (3, 2), (4, 1), (7, 1), (2, 3), (1, 5)] {
                for slices in [7, 12, 64, 4096] {
                    let costs: Vec<usize> = (0..9).map(|block| 1 + block * 7 % 5).collect();
                    let on = |rank| Grid::by_speed(shape, slices, (&costs, shares), rank);
                    let first = on(0);
                    let counts: Vec<usize> = first.slices_of_rows().collect();
                    assert!(counts.iter().all(|count| *count > 0), "{shape:?}: {counts:?}");
                    assert_eq!(counts.iter().sum::<usize>(), slices);
                    for grid in (1..shares.len()).map(on) {
                        assert_eq!(grid.slices_of_rows().collect::<Vec<_>>(), counts);
                        assert_eq!(grid.slices().own().is_empty(), grid.own().is_none());
                    }
                    let dealt = first.deal(&costs, shares);
                    assert_eq!((dealt.of_column.blocks(), dealt.owners.blocks()), (9, 9));
                    let rates: Vec<f64> = shares.iter().map(|one| (*one).max(1) as f64).collect();
                    let even = Grid::new(shape, slices, shares.len(), 0);
                    let [found, equal] =
                        [&first, &even].map(|grid| grid.seconds(&costs, shares, &rates));
                    assert!(found <= equal, "{shape:?} {shares:?}: {found} {equal}");
                }
            }
        }
    }
}
