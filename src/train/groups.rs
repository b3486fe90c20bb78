//! The rows of one group in a random order that can be read from disk: runs of rows are shuffled,
//! and rows within a few runs at a time, so that memory stays small and reading stays sequential.
//!
//! The order follows from (seed, epoch, group) alone.

use std::ops::Range;

use crate::data::{Dataset, Reader};
use crate::error::Result;
use crate::flow::home_rows::{ReadRows, read_rows};
use crate::labels::Labels;
use crate::model::features::Features;
use crate::rng::{Purpose, Stream};

/// Rows that are read together.
const RUN: usize = 64;
/// Runs among which rows are shuffled.
const RUNS_SHUFFLED: usize = 8;

/// A group's rows on their way out, in one epoch's order.
pub struct GroupRows {
    stream: Stream,
    seed: u64,
    /// Frames drawn of each row; 0: all.
    frames: usize,
    /// Number that the frames of row 0 are drawn with in this epoch.
    first: u64,
    /// Runs not read yet, the next one last.
    runs: Vec<Range<usize>>,
    features: Option<Features>,
    labels: Labels,
    /// Rows of `features` not given out yet, the next one last.
    order: Vec<usize>,
}

impl GroupRows {
    /// The rows `rows` of `dataset`, in the order of this epoch.
    pub fn new(
        dataset: &Dataset,
        rows: Range<usize>,
        seed: u64,
        frames: usize,
        epoch: usize,
        group: usize,
    ) -> GroupRows {
        let mut stream =
            Stream::new(seed, Purpose::RowOrder, 1 << 47 | (epoch << 20 | group) as u64);
        let mut runs: Vec<Range<usize>> =
            rows.clone().step_by(RUN).map(|from| from..(from + RUN).min(rows.end)).collect();
        stream.shuffle(&mut runs);
        GroupRows {
            stream,
            seed,
            frames,
            first: (epoch * dataset.rows()) as u64,
            runs,
            features: None,
            labels: Labels::new(),
            order: Vec::new(),
        }
    }

    /// The next `count` rows.
    pub fn next(&mut self, reader: &mut Reader, count: usize) -> ReadRows {
        if count == 0 {
            return read_rows(reader, 0..0);
        }
        let (mut features, mut labels) = (None, Labels::new());
        for _ in 0..count {
            if self.order.is_empty() {
                self.refill(reader)?;
            }
            let from = self.order.pop().expect("a group gives out each row once an epoch");
            let all = self.features.as_ref().expect("where its order is");
            features.get_or_insert_with(|| all.empty()).push(all, from);
            labels.push(self.labels.row(from));
        }
        Ok((features.expect("a row at least"), labels))
    }

    fn refill(&mut self, reader: &mut Reader) -> Result<()> {
        self.features = None;
        self.labels.clear();
        for _ in 0..RUNS_SHUFFLED {
            let Some(run) = self.runs.pop() else { break };
            let (seed, first) = (self.seed, self.first + run.start as u64);
            let (features, labels) = read_rows(reader, run)?;
            let stream = |row: usize| Stream::new(seed, Purpose::FrameSample, first + row as u64);
            let features = features.sampled(self.frames, stream);
            match &mut self.features {
                Some(all) => all.extend(&features),
                none => *none = Some(features),
            }
            self.labels.extend(&labels);
        }
        self.order = (0..self.labels.rows()).collect();
        self.stream.shuffle(&mut self.order);
        Ok(())
    }
}
