//! Lists of rows' best classes that stay on a device while class blocks visit.

use std::ops::Range;

use super::queue::{Memory, Queue};
use crate::kernel::best::MOST;
use crate::kernel::text::sweeps::{self, Offer};

/// Rows whose lists come down at once.
const ROWS: usize = 8192;
/// Bytes of a pair.
const PAIR_BYTES: usize = size_of::<f32>() + size_of::<i32>();

/// The lists.
pub(crate) struct Lists {
    rows: usize,
    limit: usize,
    /// [rows][limit]
    scores: Memory,
    classes: Memory,
    /// Of each row the first visit that had a score which is no number, from 1 on, or 0.
    odd: Memory,
    /// The classes of each block that has visited.
    visits: Vec<Range<usize>>,
}

impl Lists {
    /// What lists of so many pairs take for so many rows; None: a device has no such lists.
    pub(crate) fn bytes(rows: usize, limit: usize) -> Option<usize> {
        let row = limit * PAIR_BYTES + size_of::<i32>();
        (1..=MOST).contains(&limit).then_some(rows * row)
    }

    /// Bytes that these take.
    #[allow(dead_code, reason = "gpu-check holds no rows at rest")]
    pub(crate) fn held(&self) -> usize {
        Lists::bytes(self.rows, self.limit).unwrap_or(0)
    }

    /// Pairs of each at most.
    #[allow(dead_code, reason = "gpu-check compares as many with the processor's")]
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Empty lists of at most `limit` pairs each.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn new(queue: &Queue, rows: usize, limit: usize) -> Result<Lists, String> {
        let scores = queue.make(rows * limit * size_of::<f32>())?;
        let classes = queue.make(rows * limit * size_of::<i32>())?;
        let odd = queue.make(rows * size_of::<i32>())?;
        Ok(Lists { rows, limit, scores, classes, odd, visits: Vec::new() })
    }

    /// A block of these classes visits all rows.
    pub(crate) fn begin(&mut self, classes: Range<usize>) {
        self.visits.push(classes);
    }

    /// Offers that block's scores of some rows, [rows][classes].
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn offer(
        &self,
        queue: &Queue,
        rows: Range<usize>,
        scores: &Memory,
    ) -> Result<(), String> {
        assert!(rows.end <= self.rows, "rows that have lists");
        let classes = self.visits.last().expect("a block that visits");
        let offer = Offer {
            classes: classes.len(),
            first_class: classes.start,
            limit: self.limit,
            first_list: rows.start,
            visit: self.visits.len(),
        };
        let lists = [&self.scores, &self.classes, &self.odd].map(Memory::buffer);
        queue.launch(&sweeps::best(rows.len(), offer, scores.buffer(), lists))
    }

    /// Calls `take` with each row's pairs, best first, row after row. Where some row had a score
    /// that is no number: the first class of the first block that made one.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(crate) fn give(
        &self,
        mut take: impl FnMut(&mut dyn Iterator<Item = (f32, u32)>),
    ) -> Result<Option<usize>, String> {
        let offered: usize = self.visits.iter().map(Range::len).sum();
        let (limit, pairs) = (self.limit, offered.min(self.limit));
        let mut odd = usize::MAX;
        if pairs == 0 {
            return Ok(None);
        }
        for from in (0..self.rows).step_by(ROWS) {
            let rows = ROWS.min(self.rows - from);
            let scores: Vec<f32> = self.scores.read(from * limit, rows * limit)?;
            let classes: Vec<i32> = self.classes.read(from * limit, rows * limit)?;
            let visits: Vec<i32> = self.odd.read(from, rows)?;
            let of_odd = visits.iter().filter(|visit| **visit > 0);
            odd = of_odd.map(|visit| *visit as usize).min().unwrap_or(odd).min(odd);
            if odd < usize::MAX {
                continue;
            }
            for (scores, classes) in scores.chunks(limit).zip(classes.chunks(limit)) {
                let row = scores.iter().zip(classes).take(pairs);
                take(&mut row.map(|(score, class)| (*score, *class as u32)));
            }
        }
        Ok((odd < usize::MAX).then(|| self.visits[odd - 1].start))
    }
}
