//! What is frozen travels: rows (activations and labels) pass every rank, whose class blocks stay
//! at home and learn.
//!
//! Expert step. Rows come in windows: every rank contributes those it holds and receives the whole
//! window, put into the order that all ranks agree on; the next window is on its way while this one
//! is worked on. No gradient crosses ranks.

use std::ops::Range;
use std::sync::Mutex;

use super::dropout::Dropout;
use super::own_rows::{OwnRows, seal_of, sealed_stride};
use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::Passing;
use crate::labels::Labels;
use crate::rng::Permutation;
use crate::team::{Ahead, Team};

/// Rows that a thread puts in their places at once.
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
    fn row(&self, position: usize) -> usize {
        match self {
            Order::Natural => position,
            Order::Shuffled(permutation) => permutation.at(position),
        }
    }
}

/// Rows of consecutive positions of the order, on their way past the class blocks.
pub struct Window {
    /// Position of its first row.
    pub first: usize,
    pub activations: Matrix,
    pub labels: Labels,
}

impl Window {
    pub fn passing(&self) -> Passing<'_> {
        Passing { activations: &self.activations, labels: &self.labels, weights: &[] }
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
    /// Numbers of each rank's part.
    counts: Vec<usize>,
    /// For each position of the window the rank that holds its row.
    holders: Vec<usize>,
    labels: Vec<Vec<u32>>,
}

/// A sealed row and the rank that holds it.
type Arrived<'a> = (usize, &'a [f32]);

/// This rank's rows of one window after the other, rows end to end.
enum Mine<'a> {
    Memory(&'a OwnRows),
    /// Read from the scratch file while the window before is worked on.
    Scratch(Ahead<Vec<f32>, Error>),
}

/// The windows of an epoch, one after the other.
pub struct Windows<'a> {
    travel: &'a Travel<'a>,
    spans: std::vec::IntoIter<Range<usize>>,
    mine: Mine<'a>,
    /// The window that is visited next; no rows once there is none.
    here: Window,
    /// The one after it, rank by rank. Two windows in all.
    arriving: Vec<f32>,
}

impl Travel<'_> {
    /// All windows from row `from` of the order on, where a window begins. Collective.
    ///
    /// # Errors
    /// What reading back activations gives.
    pub fn windows(&self, from: usize) -> Result<Windows<'_>> {
        let total = self.runs.last().expect("a run for each rank").end;
        let spans: Vec<Range<usize>> = (from..total)
            .step_by(self.window)
            .map(|from| from..(from + self.window).min(total))
            .collect();
        let activations = Matrix::zeros(0, self.own.width());
        let here = Window { first: from, activations, labels: Labels::new() };
        let (mine, spans, arriving) = (self.mine(spans.clone()), spans.into_iter(), Vec::new());
        let mut windows = Windows { travel: self, spans, mine, here, arriving };
        windows.pass(|_, _| ())?;
        Ok(windows)
    }

    /// Finds who holds the rows of a window, and exchanges their labels, which are few.
    fn parts(&self, span: &Range<usize>) -> Parts {
        let stride = sealed_stride(self.own.width());
        let (mut holders, mut label_words) = (Vec::with_capacity(span.len()), Vec::new());
        let mut counts = vec![0; self.runs.len()];
        for position in span.clone() {
            let row = self.order.row(position);
            let holder = self.runs.partition_point(|run| run.end <= row);
            holders.push(holder);
            counts[holder] += stride;
            if holder == self.comm.rank() {
                let labels = self.own.labels.row(row - self.own.rows.start);
                label_words.push(labels.len() as u32);
                label_words.extend_from_slice(labels);
            }
        }
        let labels = self.comm.all_gather_any(&label_words);
        Parts { counts, holders, labels }
    }

    fn mine(&self, spans: Vec<Range<usize>>) -> Mine<'_> {
        let Some(scratch) = self.own.scratch() else { return Mine::Memory(self.own) };
        let (order, own) = (self.order.clone(), self.own.rows.clone());
        let mut spans = spans.into_iter();
        Mine::Scratch(Ahead::new(0, move || {
            let rows = rows_within(&order, spans.next()?, &own);
            let mut part = Vec::new();
            Some(scratch.copy_sealed(&rows, &mut part).map(|()| part))
        }))
    }
}

impl Travel<'_> {
    /// What a rank gives that can't read its rows: zeros.
    fn nothing(&self, parts: &Parts) -> Vec<f32> {
        let stride = sealed_stride(self.own.width());
        let mut row = vec![0.0; stride];
        row[stride - 1] = f32::from_bits(seal_of(&row[..stride - 1]));
        row.repeat(parts.counts[self.comm.rank()] / stride)
    }

    /// `window` becomes the one whose rows came rank by rank, in the window's order, less what is
    /// left out. Rows that arrived damaged are zeros, and the next agreement gives an error.
    fn put_in_order(&self, parts: &Parts, all: &[f32], window: &mut Window) {
        let stride = sealed_stride(self.own.width());
        let mut next = starts(&parts.counts);
        let places = parts.holders.iter().map(|holder| {
            let at = next[*holder];
            next[*holder] += stride;
            (*holder, &all[at..at + stride])
        });
        let arrived: Vec<Arrived> = places.collect();
        let (activations, first) = (&mut window.activations, window.first);
        activations.resize(arrived.len());
        let width = activations.stride() * ROWS_AT_ONCE;
        let pieces =
            arrived.chunks(ROWS_AT_ONCE).zip(activations.data.chunks_mut(width)).enumerate();
        let (rank, order, dropout) = (self.comm.rank(), &self.order, self.dropout);
        let damage = Mutex::new(None);
        let work = |_: &mut (), (piece, (arrived, places)): (usize, (&[Arrived], &mut [f32]))| {
            let rows = arrived.iter().zip(places.chunks_mut(stride - 1));
            for (position, ((holder, sealed), place)) in (first + piece * ROWS_AT_ONCE..).zip(rows)
            {
                let (row, (numbers, seal)) = (order.row(position), sealed.split_at(stride - 1));
                place.copy_from_slice(numbers);
                let seal = seal[0].to_bits();
                // What a rank sends itself doesn't travel.
                let found = if *holder == rank { seal } else { seal_of(place) };
                if found != seal {
                    place.fill(0.0);
                    let found = Some((*holder, row, found, seal));
                    *damage.lock().expect("nobody panics with it") = found;
                }
                if let Some(dropout) = dropout {
                    dropout.apply(row, place);
                }
            }
        };
        Team::new(&mut vec![(); self.comm.threads()]).for_each(pieces, work);
        let damage = damage.into_inner().expect("nobody panics with it");
        if let Some((holder, row, found, seal)) = damage {
            let what = format!("activations of row {row}");
            self.comm.keep_damage(self.comm.damaged(holder, what, found, seal));
        }
        parts.put_labels(&mut window.labels);
    }
}

/// Where each of consecutive parts begins.
fn starts(counts: &[usize]) -> Vec<usize> {
    counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect()
}

impl Windows<'_> {
    /// Visits the next window while the one after it arrives. Returns how many rows of the order
    /// have passed, or nothing once all have. Collective, also where a rank can't read its part: it
    /// gives zeros, and ranks have to agree before they pass the next window.
    ///
    /// # Errors
    /// What reading back activations gives.
    pub fn pass(
        &mut self,
        mut visit: impl FnMut(&Window, &mut dyn FnMut()),
    ) -> Result<Option<usize>> {
        let here = &mut self.here;
        let (rows, passed) = (here.labels.rows(), here.first + here.labels.rows());
        let mut visit = |window: &Window, poll: &mut dyn FnMut()| {
            if rows > 0 {
                visit(window, poll);
            }
        };
        match self.spans.next() {
            Some(span) => {
                let parts = self.travel.parts(&span);
                let (part, outcome) = match self.mine.next(self.travel, &span) {
                    Ok(part) => (part, Ok(())),
                    Err(error) => (self.travel.nothing(&parts), Err(error)),
                };
                self.arriving.resize(parts.counts.iter().sum(), 0.0);
                let (comm, counts) = (self.travel.comm, &parts.counts);
                comm.all_gather_v_during(&part, counts, &mut self.arriving, |poll| {
                    visit(here, poll);
                });
                here.first = span.start;
                self.travel.put_in_order(&parts, &self.arriving, here);
                outcome?;
            }
            None => {
                visit(here, &mut || ());
                here.labels.clear();
            }
        }
        Ok((rows > 0).then_some(passed))
    }
}

impl Drop for Windows<'_> {
    fn drop(&mut self) {
        self.travel.own.waited(self.mine.wait_seconds());
    }
}

impl Mine<'_> {
    fn next(&mut self, travel: &Travel, span: &Range<usize>) -> Result<Vec<f32>> {
        match self {
            Mine::Memory(own) => {
                let rows = rows_within(&travel.order, span.clone(), &own.rows);
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

/// Those rows at the positions `span` that are among `own`, counted from its first.
fn rows_within(order: &Order, span: Range<usize>, own: &Range<usize>) -> Vec<usize> {
    let rows = span.map(|position| order.row(position)).filter(|row| own.contains(row));
    rows.map(|row| row - own.start).collect()
}

impl Parts {
    /// The labels of the window's rows, in its order.
    fn put_labels(&self, labels: &mut Labels) {
        labels.clear();
        let mut next = vec![0; self.labels.len()];
        for holder in &self.holders {
            let (words, at) = (&self.labels[*holder], next[*holder]);
            let count = words[at] as usize;
            labels.push(&words[at + 1..at + 1 + count]);
            next[*holder] += 1 + count;
        }
    }
}
