//! Each row's best classes, as kernel/best/ defines them.

use crate::kernel::best::definition::order;

/// The k best (score, class) pairs of each row, best first; ties go to the lower class. Filled by
/// blocks of classes in any order, with the same result.
#[derive(Clone, Debug, PartialEq)]
pub struct TopLists {
    /// Where each row's list begins and the last one ends: as many pairs as it has room for.
    starts: Vec<usize>,
    entries: Vec<(f32, u32)>,
    lengths: Vec<u32>,
}

impl TopLists {
    /// Empty lists of at most `limit` pairs for each of `rows` rows.
    pub fn new(rows: usize, limit: usize) -> TopLists {
        assert!(limit > 0, "a list holds something");
        let starts = (0..=rows).map(|row| row * limit).collect();
        TopLists { starts, entries: vec![(0.0, 0); rows * limit], lengths: vec![0; rows] }
    }

    /// Lists of all pairs of each row, which come in any order. Scores are numbers.
    pub(crate) fn of_all<'a>(rows: impl Iterator<Item = &'a [(f32, u32)]>) -> TopLists {
        let (mut starts, mut entries, mut lengths) = (vec![0], Vec::new(), Vec::new());
        for pairs in rows {
            let from = entries.len();
            entries.extend_from_slice(pairs);
            entries[from..].sort_unstable_by(|one, other| order(*one, *other));
            starts.push(entries.len());
            lengths.push(pairs.len() as u32);
        }
        TopLists { starts, entries, lengths }
    }

    pub(crate) fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// The pairs of one row, best first.
    pub(crate) fn row(&self, row: usize) -> &[(f32, u32)] {
        &self.entries[self.starts[row]..][..self.lengths[row] as usize]
    }

    /// Offers scores of consecutive classes from `first_class` on to one row. Whether all are
    /// numbers.
    pub fn offer(&mut self, row: usize, first_class: usize, scores: &[f32]) -> bool {
        let list = &mut self.entries[self.starts[row]..self.starts[row + 1]];
        TopList { list, length: &mut self.lengths[row] }.offer(first_class, scores)
    }

    /// The list of each row, in order: different threads may fill them.
    pub fn lists(&mut self) -> Vec<TopList<'_>> {
        let mut rest = &mut self.entries[..];
        let lengths = self.lengths.iter_mut().zip(self.starts.windows(2));
        let list = |(length, ends): (_, &[usize])| {
            let (list, after) = std::mem::take(&mut rest).split_at_mut(ends[1] - ends[0]);
            rest = after;
            TopList { list, length }
        };
        lengths.map(list).collect()
    }
}

/// Scores that are compared at once with the last one of a list that is full.
const AT_ONCE: usize = 16;

/// The list of one row.
pub struct TopList<'a> {
    /// As many pairs as it has room for, of which `length` are there.
    list: &'a mut [(f32, u32)],
    length: &'a mut u32,
}

impl TopList<'_> {
    /// How many pairs it has room for.
    pub(crate) fn room(&self) -> usize {
        self.list.len()
    }

    /// Offers pairs whose scores are numbers.
    pub(crate) fn offer_pairs(&mut self, pairs: impl Iterator<Item = (f32, u32)>) {
        pairs.for_each(|(score, class)| self.offer_one(score, class));
    }

    /// Offers scores of consecutive classes from `first_class` on. Whether all are numbers.
    pub(crate) fn offer(&mut self, first_class: usize, scores: &[f32]) -> bool {
        let (limit, mut numbers) = (self.list.len(), true);
        for (index, some) in scores.chunks(AT_ONCE).enumerate() {
            if *self.length as usize == limit {
                let least = self.list[limit - 1].0;
                // Without an early exit, so that it is vector code.
                if some.iter().fold(true, |below, score| below & (*score < least)) {
                    continue;
                }
            }
            let first = first_class + index * AT_ONCE;
            for (class, score) in (first as u32..).zip(some) {
                match score.is_nan() {
                    true => numbers = false,
                    false => self.offer_one(*score, class),
                }
            }
        }
        numbers
    }

    /// Offers one score, which is a number.
    fn offer_one(&mut self, score: f32, class: u32) {
        let (length, limit) = (*self.length as usize, self.list.len());
        let better = |entry: &(f32, u32)| entry.0 > score || entry.0 == score && entry.1 < class;
        // What comes best first goes behind the others.
        let behind = self.list[..length].last().is_none_or(better);
        if behind && length == limit {
            return;
        }
        let at = if behind { length } else { self.list[..length].partition_point(better) };
        let end = (length + 1).min(limit);
        self.list.copy_within(at..end - 1, at + 1);
        self.list[at] = (score, class);
        *self.length = end as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::best::definition::best;

    #[test]
    fn blocks_in_any_order_give_the_sorted_best() {
        let scores: Vec<f32> = (0..100).map(|class| ((class * 37) % 11) as f32).collect();
        let expected = best(100, scores.iter().copied().zip(0..).collect());
        for (limit, blocks) in [(20, [0, 1, 2, 3]), (7, [3, 1, 0, 2]), (200, [2, 3, 1, 0])] {
            let mut top = TopLists::new(1, limit);
            for block in blocks {
                assert!(top.offer(0, block * 25, &scores[block * 25..(block + 1) * 25]));
            }
            assert_eq!(top.row(0), &expected[..limit.min(100)]);
        }
        // Pairs of a part of the classes, best first, join those that are there.
        let mut joined = TopLists::new(1, 9);
        for part in [3, 0, 2, 1] {
            let own = scores.iter().copied().zip(0..).filter(|pair| pair.1 % 4 == part).collect();
            joined.lists()[0].offer_pairs(best(9, own).into_iter());
        }
        assert_eq!(joined.row(0), &expected[..9]);
        let mut two = TopLists::new(2, 3);
        two.lists().iter_mut().for_each(|list| assert!(list.offer(0, &scores)));
        assert_eq!((two.row(0), two.row(1)), (&expected[..3], &expected[..3]));
        let mut given: Vec<(f32, u32)> = scores.iter().copied().zip(0..).collect();
        given.reverse();
        let top = TopLists::of_all([&given[..3], &[], &given[..]].into_iter());
        assert_eq!((top.row(1).len(), top.row(2)), (0, &expected[..]));
    }

    #[test]
    fn what_is_no_number_is_found_wherever_it_stands() {
        for at in 0..40 {
            let mut scores = [0.25; 40];
            scores[0] = 0.5;
            let mut top = TopLists::new(1, 2);
            assert!(top.offer(0, 0, &scores), "before it");
            scores[at] = f32::NAN;
            assert!(!top.offer(0, 40, &scores), "at {at}");
            assert!(top.row(0).iter().all(|pair| !pair.0.is_nan()));
        }
    }
}
