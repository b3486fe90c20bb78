//! What is frozen travels: rows (activations and labels) pass every rank, whose class blocks stay
//! at home and learn.
//!
//! Expert step. Rows come in windows: every rank gives those it holds to all ranks that take them,
//! and these put them in the order that all agree on. All ranks take all rows, or in a grid of
//! several rows each of those its slices of every mini-batch (`takers.rs`).
//!
//! A window is one exchange. Each rank's part says how long its next one is, so nothing else has
//! to travel before that (`record.rs`). Of what dropout leaves out nothing travels but signs. While
//! a window is put in order and worked on the next one is on its way; it starts once ranks have
//! agreed on the one before it, since what is small would stand behind it in the network.

mod arrive;
mod others;
mod plan;
mod record;
mod takers;

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use self::arrive::{Parts, Place, Source};
use self::others::Others;
use self::plan::Plan;
use self::record::{Form, head_words};
use self::takers::Takers;
use super::own_rows::{OwnRows, seal_of};
use crate::comm::{Comm, Exchange};
use crate::device::{Arrived, Device, Dropout, Pace, host_arithmetic};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::model::stride_of;
use crate::partition::Grid;
use crate::rng::Permutation;
use crate::team::Ahead;

/// Rows that a thread takes at once.
const ROWS_AT_ONCE: usize = 64;
/// Of memory for parts, whose lengths differ a little from window to window, so much more is made.
const SPARE_PART: usize = 16;

/// The order in which rows pass.
#[derive(Clone, Debug)]
pub enum Order {
    /// As they lie in the dataset.
    Natural,
    /// A random permutation, the same on all ranks.
    Shuffled(Permutation),
}

impl Order {
    /// The rows at the positions from `first` on.
    fn rows(&self, first: usize, rows: &mut [usize]) {
        match self {
            Order::Natural => (first..).zip(rows).for_each(|(position, row)| *row = position),
            Order::Shuffled(permutation) => host_arithmetic::permuted(permutation, first, rows),
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
    /// Which ranks take which slices of a mini-batch, of how many rows that is.
    pub grid: &'a Grid,
    pub batch: usize,
    /// Rows of a window: some mini-batches.
    pub window: usize,
    /// What is left out of each row, if anything.
    pub dropout: Option<Dropout>,
}

/// This rank's rows of one window after the other.
enum Mine<'a> {
    Memory(&'a OwnRows),
    /// Read from the scratch file while the window before is worked on.
    Scratch(Ahead<'static, Vec<f32>, Error>),
}

/// A window that is on its way.
struct Arriving<'a> {
    plan: Rc<Plan>,
    way: Way<'a>,
}

/// How a window comes.
enum Way<'a> {
    /// To one rank alone: as it was read, if it was.
    Alone(Vec<f32>),
    /// From all ranks, and how many words of each.
    Among(Exchange<'a, u32>, Vec<usize>),
}

/// A window that is here.
struct Here {
    plan: Rc<Plan>,
    rows: Came,
}

enum Came {
    Alone(Vec<f32>),
    Among(Parts),
}

/// Memory of windows that have passed, for those to come.
#[derive(Default)]
struct Memory {
    plans: Vec<Plan>,
    sent: Vec<u32>,
    received: Vec<u32>,
    places: Vec<Place>,
}

/// The windows of an epoch, one after the other.
pub struct Windows<'a, D: Device> {
    travel: &'a Travel<'a>,
    form: Form,
    takers: Arc<Takers>,
    /// Words of a record of any rank, at most; none are counted where all ranks take all rows.
    longest: usize,
    spans: std::vec::IntoIter<Range<usize>>,
    mine: Mine<'a>,
    /// The window that starts next, and how many words of it each rank gives.
    coming: Option<Rc<Plan>>,
    counts: Vec<usize>,
    /// The one before it.
    arriving: Option<Arriving<'a>>,
    /// The one before that, which is visited next; none once all have passed.
    here: Option<Here>,
    /// Rows that were visited, whose memory the device uses again.
    before: Option<D::Rows>,
    memory: Memory,
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
        let form = Form { stride: stride_of(self.own.width()), dropout: self.dropout };
        let (sizes, threads) = ([total, self.batch, self.window], self.comm.threads());
        let takers = Takers::new((self.grid, &self.order), sizes, self.own.rows.clone(), threads);
        let takers = Arc::new(takers);
        let (mine, spans) = (self.mine(takers.clone(), spans.clone()), spans.into_iter());
        let (coming, arriving, here, before) = (None, None, None, None);
        let (counts, memory) = (Vec::new(), Memory::default());
        let (travel, longest) = (self, 0);
        let mut windows = Windows {
            travel,
            form,
            takers,
            longest,
            spans,
            mine,
            coming,
            counts,
            arriving,
            here,
            before,
            memory,
        };
        windows.coming = windows.plan();
        windows.tell_first();
        let read = windows.start();
        windows.receive();
        read.map(|()| windows)
    }

    fn mine(&self, takers: Arc<Takers>, spans: Vec<Range<usize>>) -> Mine<'_> {
        let Some(scratch) = self.own.scratch() else { return Mine::Memory(self.own) };
        let (order, own) = (self.order.clone(), self.own.rows.clone());
        let mut spans = spans.into_iter();
        Mine::Scratch(Ahead::new(0, move || {
            let (span, mut rows) = (spans.next()?, Vec::new());
            if takers.all_take_all() {
                rows.resize(span.len(), 0);
                order.rows(span.start, &mut rows);
                rows.retain(|row| own.contains(row));
                rows.iter_mut().for_each(|row| *row -= own.start);
            } else {
                takers.own_rows(&span, &mut rows);
            }
            let mut part = Vec::new();
            Some(scratch.copy_sealed(&rows, &mut part).map(|()| part))
        }))
    }
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
        let Some(here) = self.here.take() else { return Ok(None) };
        let (read, passed) = (self.start(), here.plan.positions.end);
        let rows = self.bring(device, here);
        let stop = self.travel.comm.stop();
        let stopped = || stop.asked();
        let mut poll = || {
            if let Some(Arriving { way: Way::Among(parts, _), .. }) = &mut self.arriving {
                parts.poll();
            }
        };
        let visited = rows.and_then(|rows| {
            let visited = visit(device, &rows, &mut Pace::new(&mut poll, &stopped));
            self.before = Some(rows);
            visited
        });
        self.receive();
        visited.and(read)?;
        Ok(Some(passed))
    }

    /// Finds the rows of the next window, if there is one.
    fn plan(&mut self) -> Option<Rc<Plan>> {
        let positions = self.spans.next()?;
        let memory = self.memory.plans.pop().unwrap_or_default();
        Some(Rc::new(Plan::new(self.travel, (&self.takers, &self.form), positions, memory)))
    }

    /// Ranks tell each other how long their parts of the first window are, and in a grid of several
    /// rows their longest record.
    fn tell_first(&mut self) {
        let (travel, comm) = (self.travel, self.travel.comm);
        let Some(plan) = self.coming.as_ref().filter(|_| comm.size() > 1) else { return };
        let mut told: Vec<u64> = plan.share_words().into_iter().map(|words| words as u64).collect();
        if !self.takers.all_take_all() {
            let labels = &travel.own.labels;
            let most = (0..labels.rows()).map(|row| labels.row(row).len()).max();
            told.push(self.form.words_max(most.unwrap_or(0)) as u64);
        }
        let others = Others::new(self.form, plan.clone(), None);
        comm.carries(others.counts(told.clone(), self.row_here()));
        let all = comm.all_gather(&told);
        let each = all.chunks_exact(told.len());
        let row = self.row_here();
        let words = |told: &[u64]| row.map_or(0, |row| told[row] as usize);
        self.counts = each.clone().map(words).collect();
        self.longest = each.map(|told| told[told.len() - 1] as usize).max().unwrap_or(0);
    }

    /// The row of the grid that this rank stands in.
    fn row_here(&self) -> Option<usize> {
        self.takers.row_of(self.travel.comm.rank())
    }

    /// Starts the window that is coming.
    fn start(&mut self) -> Result<()> {
        let Some(plan) = self.coming.take() else { return Ok(()) };
        let (travel, form) = (self.travel, self.form);
        let (mine, read) = match self.mine.next() {
            Ok(mine) => (mine, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        self.coming = self.plan();
        if travel.comm.size() == 1 {
            // Nobody visits what couldn't be read.
            self.arriving = read.is_ok().then_some(Arriving { plan, way: Way::Alone(mine) });
            return read;
        }
        let zeros = vec![0.0; form.stride];
        let source = match (&self.mine, &read) {
            (_, Err(_)) => Source::Instead(&zeros, seal_of(&zeros)),
            (Mine::Memory(own), _) => Source::Memory(own),
            (Mine::Scratch(_), _) => Source::Read(&mine),
        };
        let (shares, none) = (plan.share_words(), || vec![0; self.takers.rows()]);
        let next = self.coming.as_ref().map_or_else(none, |next| next.share_words());
        let mut part = std::mem::take(&mut self.memory.sent);
        with_room(&mut part, shares.iter().sum());
        travel.gather(&form, (&plan, &next), source, &mut part);
        let counts = std::mem::take(&mut self.counts);
        let mut all = std::mem::take(&mut self.memory.received);
        with_room(&mut all, counts.iter().sum());
        travel.comm.carries(Others::new(form, plan.clone(), self.coming.clone()).parts());
        let parts = match self.takers.all_take_all() {
            true => travel.comm.start_all_gather_unsealed(part, &counts, all),
            false => {
                let rows = (0..travel.comm.size()).map(|rank| self.takers.row_of(rank));
                let (rows, given) = (rows.collect::<Vec<_>>(), plan.positions.len());
                let most = self.words_max(given, travel.comm.size() + self.takers.rows());
                let run = travel.runs.iter().map(Range::len).max().unwrap_or(0);
                let limits = (most, self.words_max(given.min(run), 1));
                let shares = (part, &shares[..], &rows[..]);
                travel.comm.start_shares_unsealed(shares, (&counts, all), limits)
            }
        };
        self.arriving = Some(Arriving { plan, way: Way::Among(parts, counts) });
        read
    }

    /// Words of so many rows in so many parts, at most.
    fn words_max(&self, rows: usize, parts: usize) -> usize {
        rows * (self.longest + head_words(1) - head_words(0)) + parts * head_words(0)
    }

    /// Waits for the window that arrives.
    fn receive(&mut self) {
        self.here = self.arriving.take().map(|Arriving { plan, way }| {
            let rows = match way {
                Way::Alone(mine) => Came::Alone(mine),
                Way::Among(parts, counts) => {
                    let (words, sent) = parts.wait_both();
                    self.memory.sent = sent;
                    let parts = Parts { words, counts };
                    self.counts = match self.row_here() {
                        Some(_) => parts.next_counts(self.travel.comm, &plan),
                        None => vec![0; parts.counts.len()],
                    };
                    Came::Among(parts)
                }
            };
            Here { plan, rows }
        });
    }

    /// Brings a window to the device, less what is left out.
    fn bring(&mut self, device: &mut D, here: Here) -> Result<D::Rows> {
        let (travel, form, places) = (self.travel, self.form, &mut self.memory.places);
        let Here { plan, rows } = here;
        let mut put = |numbers: &mut [f32], labels: &mut Labels| match &rows {
            Came::Alone(read) => {
                let source = match &self.mine {
                    Mine::Memory(own) => Source::Memory(own),
                    Mine::Scratch(_) => Source::Read(read),
                };
                travel.place(&form, &plan, source, (numbers, labels));
            }
            Came::Among(parts) => {
                parts.put_in_order((travel.comm, &form), &plan, (numbers, labels), places);
            }
        };
        let arrived = Arrived {
            first: plan.first,
            rows: plan.rows.len(),
            width: travel.own.width(),
            put: &mut put,
        };
        let brought = device.bring(arrived, self.before.take());
        if let Came::Among(parts) = rows {
            self.memory.received = parts.words;
        }
        self.memory.plans.extend(Rc::into_inner(plan));
        brought
    }
}

/// Makes `memory` so many words long; where it is too short, a little more room than that.
fn with_room(memory: &mut Vec<u32>, words: usize) {
    if memory.capacity() < words {
        *memory = Vec::with_capacity(words + words / SPARE_PART);
    }
    memory.resize(words, 0);
}

impl<D: Device> Drop for Windows<'_, D> {
    fn drop(&mut self) {
        self.travel.own.waited(self.mine.wait_seconds());
    }
}

impl Mine<'_> {
    /// Those of the next window, where they are read.
    fn next(&mut self) -> Result<Vec<f32>> {
        match self {
            Mine::Memory(_) => Ok(Vec::new()),
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
