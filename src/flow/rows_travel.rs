//! What is frozen travels: rows (activations and labels) pass every rank, whose class blocks stay
//! at home and learn.
//!
//! Expert step. Rows come in windows: every rank contributes those it holds and receives the whole
//! window, put into the order that all ranks agree on. No gradient crosses ranks.
//!
//! While a window is put in order and worked on the next one is on its way, and ranks tell each
//! other how many labels the one after that has. A window starts once ranks have agreed on the one
//! before it: what is small would stand behind it in the network, and everybody wait for that.

use std::ops::Range;

use super::own_rows::{OwnRows, seal_of, sealed_stride};
use crate::comm::{Announced, Cargo, Comm, Exchange};
use crate::device::{self, Device, Dropout, Pace, host_arithmetic};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::rng::Permutation;
use crate::team::{Ahead, Team};

/// Rows that a thread proves at once.
const ROWS_AT_ONCE: usize = 64;

/// The order in which rows pass.
#[derive(Clone, Debug)]
pub enum Order {
    /// As they lie in the dataset.
    Natural,
    /// A random permutation, the same on all ranks.
    Shuffled(Permutation),
}

impl Order {
    /// The rows at these positions.
    fn rows(&self, positions: Range<usize>) -> Vec<usize> {
        match self {
            Order::Natural => positions.collect(),
            Order::Shuffled(permutation) => host_arithmetic::permuted(permutation, positions),
        }
    }
}

/// Which rows travel and how.
pub struct Travel<'a> {
    pub comm: &'a Comm,
    pub own: &'a OwnRows,
    /// The rows of each rank, one after the other from 0 to N.
    pub runs: &'a [Range<usize>],
    pub order: Order,
    /// Rows of a window.
    pub window: usize,
    /// What is left out of each row, if anything.
    pub dropout: Option<Dropout>,
}

/// Whose rows make up a window.
struct Parts {
    positions: Range<usize>,
    /// The row at each position, of all ranks' rows.
    rows: Vec<usize>,
    /// Numbers of each rank's part.
    counts: Vec<usize>,
    /// The rank that holds the row at each position of the window.
    holders: Vec<usize>,
}

/// A window of which ranks tell each other how many labels it has.
struct Coming<'a> {
    parts: Parts,
    labels: Announced<'a, u32>,
}

/// A window that is on its way, rank by rank.
struct Arriving<'a> {
    parts: Parts,
    rows: Exchange<'a, f32>,
    /// For each row how many labels it has, and those.
    labels: Exchange<'a, u32>,
    /// How many words each rank's labels take.
    label_counts: Vec<usize>,
}

/// This rank's rows of one window after the other, rows end to end.
enum Mine<'a> {
    Memory(&'a OwnRows),
    /// Read from the scratch file while the window before is worked on.
    Scratch(Ahead<Vec<f32>, Error>),
}

/// A window that is here, rank by rank.
struct Arrived {
    parts: Parts,
    rows: Vec<f32>,
    labels: Labels,
}

/// The windows of an epoch, one after the other.
pub struct Windows<'a, D: Device> {
    travel: &'a Travel<'a>,
    spans: std::vec::IntoIter<Range<usize>>,
    mine: Mine<'a>,
    /// A window of which ranks tell each other how many labels it has.
    coming: Option<Coming<'a>>,
    /// The one before it.
    arriving: Option<Arriving<'a>>,
    /// The one before that, which is visited next; none once all have passed.
    here: Option<Arrived>,
    /// Rows that were visited, whose memory the device uses again. Three windows in all.
    before: Option<D::Rows>,
    /// Memory of a window that has been brought to the device.
    spare: Vec<f32>,
}

impl Travel<'_> {
    /// All windows from row `from` of the order on, where a window begins. Collective.
    ///
    /// # Errors
    /// What reading back activations gives.
    pub fn windows<D: Device>(&self, from: usize) -> Result<Windows<'_, D>> {
        let total = self.runs.last().expect("a run for each rank").end;
        let spans: Vec<Range<usize>> = (from..total)
            .step_by(self.window)
            .map(|from| from..(from + self.window).min(total))
            .collect();
        let (mine, mut spans) = (self.mine(spans.clone()), spans.into_iter());
        let coming = spans.next().map(|span| self.announce(span));
        let (arriving, here, before, spare) = (None, None, None, Vec::new());
        let mut windows =
            Windows { travel: self, spans, mine, coming, arriving, here, before, spare };
        let read = windows.start();
        windows.receive();
        read.map(|()| windows)
    }

    /// Finds who holds the rows of a window, and starts to exchange their labels, which are few.
    fn announce(&self, positions: Range<usize>) -> Coming<'_> {
        let stride = sealed_stride(self.own.width());
        let (mut holders, mut label_words) = (Vec::with_capacity(positions.len()), Vec::new());
        let mut counts = vec![0; self.runs.len()];
        let rows = self.order.rows(positions.clone());
        for row in rows.iter().copied() {
            let holder = self.runs.partition_point(|run| run.end <= row);
            holders.push(holder);
            counts[holder] += stride;
            if holder == self.comm.rank() {
                let labels = self.own.labels.row(row - self.own.rows.start);
                label_words.push(labels.len() as u32);
                label_words.extend_from_slice(labels);
            }
        }
        self.comm.carries(Cargo::Labels { numbers: &counts, stride });
        let labels = self.comm.start_all_gather_any(label_words);
        Coming { parts: Parts { positions, rows, counts, holders }, labels }
    }

    fn mine(&self, spans: Vec<Range<usize>>) -> Mine<'_> {
        let Some(scratch) = self.own.scratch() else { return Mine::Memory(self.own) };
        let (order, own) = (self.order.clone(), self.own.rows.clone());
        let mut spans = spans.into_iter();
        Mine::Scratch(Ahead::new(0, move || {
            let rows = rows_within(order.rows(spans.next()?), &own);
            let mut part = Vec::new();
            Some(scratch.copy_sealed(&rows, &mut part).map(|()| part))
        }))
    }
}

impl Travel<'_> {
    /// The part of a rank that can't read its rows: zeros.
    fn nothing(&self, parts: &Parts) -> Vec<f32> {
        let stride = sealed_stride(self.own.width());
        let mut row = vec![0.0; stride];
        row[stride - 1] = f32::from_bits(seal_of(&row[..stride - 1]));
        row.repeat(parts.counts[self.comm.rank()] / stride)
    }

    /// Brings a window to the device, less what is left out. `before` are the rows of the window
    /// before.
    fn bring<D: Device>(
        &self,
        device: &mut D,
        window: &mut Arrived,
        before: Option<D::Rows>,
    ) -> Result<D::Rows> {
        let Arrived { parts, rows, labels } = window;
        let from = parts.places(sealed_stride(self.own.width()));
        self.prove(parts, &from, rows);
        let arrived = device::Arrived {
            first: parts.positions.start,
            width: self.own.width(),
            numbers: rows,
            from: &from,
            labels: std::mem::take(labels),
            dropout: self.dropout.map(|dropout| (dropout, &parts.rows[..])),
        };
        device.bring(arrived, before)
    }

    /// Sees that rows came as they were made. Those that didn't are zeros, and the next agreement
    /// gives an error. What a rank sends itself doesn't travel.
    fn prove(&self, parts: &Parts, from: &[usize], arrived: &mut [f32]) {
        if self.comm.size() == 1 {
            return;
        }
        let stride = sealed_stride(self.own.width());
        let rows: Vec<(usize, usize)> =
            parts.holders.iter().copied().zip(from.iter().copied()).collect();
        let (rank, numbers) = (self.comm.rank(), &*arrived);
        let damaged = |_: &mut (), (piece, rows): (usize, &[(usize, usize)])| {
            let rows = (piece * ROWS_AT_ONCE..).zip(rows).filter(|(_, row)| row.0 != rank);
            let damaged = rows.filter_map(|(at, (_, from))| {
                let (numbers, seal) = numbers[*from..from + stride].split_at(stride - 1);
                let (found, seal) = (seal_of(numbers), seal[0].to_bits());
                (found != seal).then_some((at, found, seal))
            });
            damaged.collect::<Vec<_>>()
        };
        let pieces = rows.chunks(ROWS_AT_ONCE).enumerate();
        let mut threads = vec![(); self.comm.threads()];
        for (at, found, seal) in Team::new(&mut threads).map(pieces, damaged).concat() {
            let (holder, from) = rows[at];
            arrived[from..from + stride - 1].fill(0.0);
            let what = format!("activations of row {}", parts.rows[at]);
            self.comm.keep_damage(self.comm.damaged(holder, what, found, seal));
        }
    }
}

/// Where each of consecutive parts begins.
fn starts(counts: &[usize]) -> Vec<usize> {
    counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect()
}

impl<D: Device> Windows<'_, D> {
    /// Visits the next window while the one after it arrives. Returns how many rows of the order
    /// have passed, or nothing once all have. Collective, also where a rank can't read its part: it
    /// gives zeros, and ranks have to agree before they pass the next window.
    ///
    /// # Errors
    /// What `visit` gives, reading back activations, and bringing them to `device`.
    pub fn pass(
        &mut self,
        device: &mut D,
        mut visit: impl FnMut(&mut D, &D::Rows, &mut Pace) -> Result<()>,
    ) -> Result<Option<usize>> {
        let Some(mut window) = self.here.take() else { return Ok(None) };
        let read = self.start();
        let rows = self.travel.bring(device, &mut window, self.before.take());
        let Arrived { parts: Parts { positions, .. }, rows: spare, .. } = window;
        self.spare = spare;
        let stop = self.travel.comm.stop();
        let stopped = || stop.asked();
        let mut poll = || {
            if let Some(arriving) = &mut self.arriving {
                // One that isn't here yet moves all that are on their way.
                let _ = arriving.rows.poll() && arriving.labels.poll();
            }
        };
        let visited = rows.and_then(|rows| {
            let visited = visit(device, &rows, &mut Pace::new(&mut poll, &stopped));
            self.before = Some(rows);
            visited
        });
        self.receive();
        visited.and(read)?;
        Ok(Some(positions.end))
    }

    /// Starts the window that is coming, and announces the one after it.
    fn start(&mut self) -> Result<()> {
        let Some(Coming { parts, labels }) = self.coming.take() else { return Ok(()) };
        let (part, read) = match self.mine.next(&parts.rows) {
            Ok(part) => (part, Ok(())),
            Err(error) => (self.travel.nothing(&parts), Err(error)),
        };
        let (labels, label_counts) = labels.start();
        let mut room = std::mem::take(&mut self.spare);
        room.resize(parts.counts.iter().sum(), 0.0);
        let comm = self.travel.comm;
        comm.carries(Cargo::Rows { stride: sealed_stride(self.travel.own.width()) });
        let rows = comm.start_all_gather_unsealed(part, &parts.counts, room);
        self.arriving = Some(Arriving { parts, rows, labels, label_counts });
        self.coming = self.spans.next().map(|span| self.travel.announce(span));
        read
    }

    /// Waits for the window that arrives.
    fn receive(&mut self) {
        self.here = self.arriving.take().map(|Arriving { parts, rows, labels, label_counts }| {
            let labels = parts.labels(&labels.wait(), &label_counts);
            Arrived { parts, rows: rows.wait(), labels }
        });
    }
}

impl<D: Device> Drop for Windows<'_, D> {
    fn drop(&mut self) {
        self.travel.own.waited(self.mine.wait_seconds());
    }
}

impl Mine<'_> {
    /// Those of the window that has these `rows`.
    fn next(&mut self, rows: &[usize]) -> Result<Vec<f32>> {
        match self {
            Mine::Memory(own) => {
                let rows = rows_within(rows.iter().copied(), &own.rows);
                let mut part = Vec::with_capacity(rows.len() * sealed_stride(own.width()));
                own.copy_sealed(&rows, &mut part).map(|()| part)
            }
            Mine::Scratch(ahead) => ahead.next().expect("a part of every window"),
        }
    }

    fn wait_seconds(&self) -> f64 {
        match self {
            Mine::Memory(_) => 0.0,
            Mine::Scratch(ahead) => ahead.wait_seconds(),
        }
    }
}

/// Those of `rows` that are among `own`, counted from its first.
fn rows_within(rows: impl IntoIterator<Item = usize>, own: &Range<usize>) -> Vec<usize> {
    let rows = rows.into_iter().filter(|row| own.contains(row));
    rows.map(|row| row - own.start).collect()
}

impl Parts {
    /// Where each row of the window begins among the numbers of all ranks, `stride` a row.
    fn places(&self, stride: usize) -> Vec<usize> {
        let mut next = starts(&self.counts);
        let places = self.holders.iter().map(|holder| {
            let at = next[*holder];
            next[*holder] += stride;
            at
        });
        places.collect()
    }

    /// The labels of the window's rows, in its order, of those that came rank by rank.
    fn labels(&self, words: &[u32], counts: &[usize]) -> Labels {
        let (mut labels, mut next) = (Labels::new(), starts(counts));
        for holder in &self.holders {
            let at = next[*holder];
            let count = words[at] as usize;
            labels.push(&words[at + 1..at + 1 + count]);
            next[*holder] += 1 + count;
        }
        labels
    }
}
