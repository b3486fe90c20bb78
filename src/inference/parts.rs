//! Rows in parts, and each part's rows read ahead with their ids: what is annotated part by part.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::data::{Dataset, Kind, Reader};
use crate::error::{Error, Result};
use crate::flow::home_rows::{FRAME_ROWS_AT_ONCE, ROWS_AT_ONCE, cut, read_rows};
use crate::labels::Labels;
use crate::model::features::Features;
use crate::team::Ahead;

/// A fixed run of rows of one shard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) shard: usize,
    /// The first of them in the shard.
    pub(crate) first: usize,
    /// Among all rows.
    pub(crate) rows: Range<usize>,
}

/// The parts of `dataset`, which is of whole shards, in the order of its rows: each shard cut into
/// runs of `part_rows`. They follow from the shards alone.
pub(crate) fn parts(dataset: &Dataset, part_rows: usize) -> Vec<Part> {
    let (mut parts, mut at) = (Vec::new(), 0);
    for (shard, info) in dataset.shards().iter().enumerate() {
        let own = cut(at..at + info.rows, part_rows);
        parts.extend(own.map(|rows| Part { shard, first: rows.start - at, rows }));
        at += info.rows;
    }
    parts
}

/// Some rows of one part.
pub(crate) struct PartRows {
    /// Which of the parts.
    pub(crate) part: usize,
    /// Whether they are its last ones.
    pub(crate) last: bool,
    /// Among all rows.
    pub(crate) rows: Range<usize>,
    pub(crate) ids: Vec<Vec<u8>>,
}

/// The same as they were read.
pub(crate) struct Piece {
    pub(crate) of: PartRows,
    pub(crate) features: Features,
    pub(crate) labels: Labels,
}

/// The same with their best classes.
pub(crate) struct Annotated {
    pub(crate) of: PartRows,
    /// [rows][classes of each], best first.
    pub(crate) best: Vec<(f32, u32)>,
}

/// The pieces of some parts, read one part after the other by a thread of their own.
pub(crate) struct PartsAhead {
    /// Dropped first: its end is what the thread waits for.
    wanted: Sender<usize>,
    pieces: Ahead<'static, Piece, Error>,
    /// How many of them are still to come, of the parts that are wanted so far.
    left: usize,
    parts: Vec<Part>,
    rows_max: usize,
}

impl PartsAhead {
    /// None of them is read before it is wanted; `depth` pieces wait at most.
    pub(crate) fn new(dataset: &Dataset, parts: Vec<Part>, depth: usize) -> PartsAhead {
        let rows_max = match dataset.kind() {
            Kind::Video => ROWS_AT_ONCE,
            Kind::Frames => FRAME_ROWS_AT_ONCE,
        };
        let (wanted, parts_wanted) = channel();
        let (mut reader, own) = (dataset.reader(), parts.clone());
        let (mut part, mut runs) = (0, VecDeque::new());
        let read = move || loop {
            if let Some(run) = runs.pop_front() {
                return Some(read_piece(&mut reader, part, run, runs.is_empty()));
            }
            part = parts_wanted.recv().ok()?;
            runs = cut(own[part].rows.clone(), rows_max).collect();
        };
        let pieces = Ahead::new(depth, read);
        PartsAhead { wanted, pieces, left: 0, parts, rows_max }
    }

    /// Rows of a piece at most.
    pub(crate) fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// Another part is wanted, after those before.
    pub(crate) fn want(&mut self, part: usize) {
        self.left += self.parts[part].rows.len().div_ceil(self.rows_max);
        // After an error nobody listens any more; that is the piece's.
        let _ = self.wanted.send(part);
    }

    /// Whether there are pieces to come.
    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next piece, where it comes within this time. There is one to come, and the caller holds
    /// an `Awaiting`.
    pub(crate) fn within(&mut self, time: Duration) -> Option<Result<Piece>> {
        let found = self.pieces.within(time)?;
        self.left -= 1;
        Some(found)
    }

    /// Seconds that were waited for rows.
    pub(crate) fn wait_seconds(&self) -> f64 {
        self.pieces.wait_seconds()
    }
}

fn read_piece(reader: &mut Reader, part: usize, rows: Range<usize>, last: bool) -> Result<Piece> {
    let (features, labels) = read_rows(reader, rows.clone())?;
    let ids = reader.ids(rows.clone())?;
    Ok(Piece { of: PartRows { part, last, rows, ids }, features, labels })
}
