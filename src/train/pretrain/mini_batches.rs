//! The rows of a mini-batch: a fixed number of groups of row blocks, each giving its share.
//!
//! The rows of a group come in a random order that can be read from disk: runs of rows are
//! shuffled, and rows within a few runs at a time, so that memory stays small and reading stays
//! sequential. The order follows from (seed, epoch, group) alone, so it can be taken up anywhere.

use std::ops::Range;

use super::ranks::Learners;
use crate::data::{Dataset, Reader};
use crate::error::{Error, Result};
use crate::flow::home_rows::{HomeRows, ReadRows, no_rows, read_rows};
use crate::job::PretrainJob;
use crate::labels::Labels;
use crate::model::features::Features;
use crate::partition::{Blocks, Owners, groups};
use crate::rng::{Purpose, Stream};
use crate::team::Ahead;

/// Rows that are read together.
const RUN: usize = 64;
/// Runs among which rows are shuffled.
const RUNS_SHUFFLED: usize = 8;

/// How training rows are divided into groups, and an epoch into mini-batches.
pub(crate) struct RowGroups<'a> {
    pub(crate) rows: &'a HomeRows,
    job: &'a PretrainJob,
    seed: u64,
    /// Row blocks cut into groups.
    groups: Blocks,
    /// Who runs which group, and how many ranks, the first, run any.
    pub(crate) owners: Owners,
    learners: usize,
}

/// Rows of the mini-batch under way that this rank runs.
pub(crate) struct Batch {
    /// Rows of all groups.
    pub(crate) rows: usize,
    /// Where the rows of each rank that learns lie among them.
    pub(crate) runs: Vec<Range<usize>>,
    /// Features and labels of each own group.
    pub(crate) groups: Vec<(Features, Labels)>,
}

/// Rows that a group of `rows` gives to one of `steps` mini-batches.
fn share(rows: usize, step: usize, steps: usize) -> usize {
    (step + 1) * rows / steps - step * rows / steps
}

/// Mini-batches of an epoch, read ahead.
pub(crate) struct Batches<'a> {
    rows: &'a HomeRows,
    ahead: Ahead<'static, Batch, Error>,
}

impl RowGroups<'_> {
    pub(crate) fn new<'a>(
        learners: &Learners,
        job: &'a PretrainJob,
        seed: u64,
        rows: &'a HomeRows,
    ) -> RowGroups<'a> {
        let groups = Blocks::even(rows.blocks.len(), groups(job.batch, job.groups));
        let owners = learners.deal(groups.len());
        RowGroups { rows, job, seed, owners, learners: learners.count(), groups }
    }

    /// Number of groups.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// How an error names the row blocks of one of this rank's groups, which is counted from the
    /// rank's first.
    pub(crate) fn row_blocks_of(&self, own: usize) -> String {
        let blocks = self.groups.block(self.owners.own().start + own);
        format!("row blocks {} to {}", blocks.start, blocks.end - 1)
    }

    /// Mini-batches of an epoch.
    pub(crate) fn steps(&self) -> usize {
        self.rows.rows().div_ceil(self.job.batch)
    }

    /// Rows of the first `step` mini-batches of an epoch.
    pub(crate) fn rows_before(&self, step: usize) -> usize {
        let lengths = (0..self.groups.len()).map(|group| self.group_rows(group).len());
        lengths.map(|length| step * length / self.steps()).sum()
    }

    /// The rows of a group.
    fn group_rows(&self, group: usize) -> Range<usize> {
        self.rows.blocks.run(self.groups.block(group))
    }

    /// This rank's part of the mini-batches `left` of an epoch, while a thread reads the next.
    pub(crate) fn batches(&self, epoch: usize, mut left: Range<usize>) -> Batches<'_> {
        let (dataset, steps) = (self.rows.dataset(), self.steps());
        let groups = self.groups.clone();
        let lengths: Vec<usize> =
            (0..groups.len()).map(|group| self.group_rows(group).len()).collect();
        let (own, mut runs) = (self.owners.own(), self.owners.runs());
        runs.truncate(self.learners);
        let source = |group: usize| {
            let (rows, frames) = (self.group_rows(group), self.job.frames);
            let mut source = GroupRows::new(dataset, rows, self.seed, frames, epoch, group);
            source.skip(left.start * lengths[group] / steps);
            source
        };
        let mut sources: Vec<GroupRows> = own.clone().map(source).collect();
        let mut reader = dataset.reader();
        let ahead = Ahead::new(1, move || {
            let step = left.next()?;
            let of = |group: usize| share(lengths[group], step, steps);
            let mut rows = 0;
            let places = runs.iter().map(|run| {
                let from = rows;
                rows += run.clone().map(of).sum::<usize>();
                from..rows
            });
            let places: Vec<Range<usize>> = places.collect();
            let groups = sources.iter_mut().zip(own.clone());
            let groups = groups.map(|(source, group)| source.next(&mut reader, of(group)));
            Some(groups.collect::<Result<_>>().map(|groups| Batch { rows, runs: places, groups }))
        });
        Batches { rows: self.rows, ahead }
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.ahead.next()
    }
}

impl Drop for Batches<'_> {
    fn drop(&mut self) {
        self.rows.waited(self.ahead.wait_seconds());
    }
}

/// A group's rows on their way out, in one epoch's order.
struct GroupRows {
    stream: Stream,
    seed: u64,
    /// Frames drawn of each row; 0: all.
    frames: usize,
    /// Number that the frames of row 0 are drawn with in this epoch.
    first: u64,
    /// Runs not shuffled yet, the next one last.
    runs: Vec<Range<usize>>,
    /// Runs among which rows are shuffled now, until they are read.
    unread: Vec<Range<usize>>,
    features: Features,
    labels: Labels,
    /// Rows of those runs not given out yet, the next one last.
    order: Vec<usize>,
}

impl GroupRows {
    /// The rows `rows` of `dataset`, in the order of this epoch.
    fn new(
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
            unread: Vec::new(),
            features: no_rows(dataset),
            labels: Labels::new(),
            order: Vec::new(),
        }
    }

    /// Leaves out the next `count` rows without reading them.
    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next_place();
        }
    }

    /// The next `count` rows.
    fn next(&mut self, reader: &mut Reader, count: usize) -> ReadRows {
        let (mut features, mut labels) = (no_rows(reader.dataset()), Labels::new());
        features.reserve(count);
        for _ in 0..count {
            let from = self.next_place();
            self.read(reader)?;
            features.push(&self.features, from);
            labels.push(self.labels.row(from));
        }
        Ok((features, labels))
    }

    /// Where the next row lies among the runs that are shuffled now.
    fn next_place(&mut self) -> usize {
        if self.order.is_empty() {
            let left = self.runs.len().saturating_sub(RUNS_SHUFFLED);
            self.unread = self.runs.split_off(left);
            self.unread.reverse();
            self.order = (0..self.unread.iter().map(Range::len).sum()).collect();
            self.stream.shuffle(&mut self.order);
        }
        self.order.pop().expect("a group gives out each row once an epoch")
    }

    /// Reads the runs that are shuffled now, unless that has been done.
    fn read(&mut self, reader: &mut Reader) -> Result<()> {
        if self.unread.is_empty() {
            return Ok(());
        }
        self.features = no_rows(reader.dataset());
        self.labels.clear();
        for run in std::mem::take(&mut self.unread) {
            let (seed, first) = (self.seed, self.first + run.start as u64);
            let (features, labels) = read_rows(reader, run)?;
            let stream = |row: usize| Stream::new(seed, Purpose::FrameSample, first + row as u64);
            self.features.append(features.sampled(self.frames, stream));
            self.labels.extend(&labels);
        }
        Ok(())
    }
}
