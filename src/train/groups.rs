//! The rows of one group in a random order that can be read from disk: runs of rows are shuffled,
//! and rows within a few runs at a time, so that memory stays small and reading stays sequential.
//!
//! The order follows from (seed, epoch, group) alone.

use std::ops::Range;

use crate::data::{Dataset, Reader};
use crate::error::Result;
use crate::flow::home_rows::read_rows;
use crate::labels::Labels;
use crate::model::matrix::Matrix;
use crate::rng::{Purpose, Stream};

/// Rows that are read together.
const RUN: usize = 64;
/// Runs among which rows are shuffled.
const RUNS_SHUFFLED: usize = 8;

/// A group's rows on their way out, in one epoch's order.
pub struct GroupRows {
    width: usize,
    stream: Stream,
    /// Runs not read yet, the next one last.
    runs: Vec<Range<usize>>,
    features: Matrix,
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
        epoch: usize,
        group: usize,
    ) -> GroupRows {
        let mut stream =
            Stream::new(seed, Purpose::RowOrder, 1 << 47 | (epoch << 20 | group) as u64);
        let mut runs: Vec<Range<usize>> =
            rows.clone().step_by(RUN).map(|from| from..(from + RUN).min(rows.end)).collect();
        stream.shuffle(&mut runs);
        GroupRows {
            width: dataset.width(),
            stream,
            runs,
            features: Matrix::zeros(0, dataset.width()),
            labels: Labels::new(),
            order: Vec::new(),
        }
    }

    /// The next `count` rows: features [count][D] and labels.
    pub fn next(&mut self, reader: &mut Reader, count: usize) -> Result<(Matrix, Labels)> {
        let mut features = Matrix::zeros(count, self.width);
        let mut labels = Labels::new();
        for row in 0..count {
            if self.order.is_empty() {
                self.refill(reader)?;
            }
            let from = self.order.pop().expect("a group gives out each row once an epoch");
            features.row_mut(row).copy_from_slice(self.features.row(from));
            labels.push(self.labels.row(from));
        }
        Ok((features, labels))
    }

    fn refill(&mut self, reader: &mut Reader) -> Result<()> {
        self.features.resize(0);
        self.labels.clear();
        for _ in 0..RUNS_SHUFFLED {
            let Some(run) = self.runs.pop() else { break };
            let (features, labels) = read_rows(reader, self.width, run)?;
            let at = self.features.rows();
            self.features.resize(at + features.rows());
            let stride = features.stride();
            self.features.data[at * stride..].copy_from_slice(&features.data);
            self.labels.extend(&labels);
        }
        self.order = (0..self.features.rows()).collect();
        self.stream.shuffle(&mut self.order);
        Ok(())
    }
}
