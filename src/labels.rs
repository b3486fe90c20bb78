//! The true classes of rows, kept sparse: a video has about three of thousands.

use std::ops::Range;

/// The labels of rows 0..n in compressed sparse rows: row i has
/// `classes[offsets[i]..offsets[i+1]]`, in ascending order and without repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    offsets: Vec<usize>,
    classes: Vec<u32>,
}

impl Default for Labels {
    fn default() -> Labels {
        Labels { offsets: vec![0], classes: Vec::new() }
    }
}

impl Labels {
    pub fn new() -> Labels {
        Labels::default()
    }

    /// Appends one row's labels, which must be ascending and distinct.
    pub fn push(&mut self, classes: &[u32]) {
        assert!(classes.windows(2).all(|pair| pair[0] < pair[1]), "labels out of order");
        self.classes.extend_from_slice(classes);
        self.offsets.push(self.classes.len());
    }

    /// Appends all rows of `other`.
    pub fn extend(&mut self, other: &Labels) {
        (0..other.rows()).for_each(|row| self.push(other.row(row)));
    }

    /// Those of some rows, in this order.
    pub(crate) fn of(&self, rows: impl IntoIterator<Item = usize>) -> Labels {
        let mut own = Labels::new();
        rows.into_iter().for_each(|row| own.push(self.row(row)));
        own
    }

    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of (row, class) pairs.
    pub fn positives(&self) -> usize {
        self.classes.len()
    }

    /// The labels of one row, ascending.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.classes[self.offsets[row]..self.offsets[row + 1]]
    }

    /// Those labels of one row that fall within `classes`, ascending.
    pub fn row_within(&self, row: usize, classes: &Range<usize>) -> &[u32] {
        let labels = self.row(row);
        let from = labels.partition_point(|label| (*label as usize) < classes.start);
        let to = labels.partition_point(|label| (*label as usize) < classes.end);
        &labels[from..to]
    }

    /// Makes rows of so many labels each, and gives the memory of those, row after row, to be
    /// filled with what `push` would take.
    pub(crate) fn sized(&mut self, counts: impl Iterator<Item = usize>) -> &mut [u32] {
        self.offsets.truncate(1);
        let ends = counts.scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        self.offsets.extend(ends);
        self.classes.resize(self.offsets[self.offsets.len() - 1], 0);
        &mut self.classes
    }

    /// Number of labels of each row, as sent between ranks beside `classes`.
    pub(crate) fn counts(&self) -> Vec<u32> {
        self.offsets.windows(2).map(|pair| (pair[1] - pair[0]) as u32).collect()
    }

    /// All labels, row after row.
    pub(crate) fn classes(&self) -> &[u32] {
        &self.classes
    }

    pub(crate) fn clear(&mut self) {
        self.offsets.truncate(1);
        self.classes.clear();
    }
}
