//! What is frozen travels: rows (activations and labels) pass every rank, whose class blocks stay
//! at home and learn.
//!
//! Expert step. Rows come in windows: every rank gives those it holds to all, and puts the window
//! in the order that all agree on. No gradient crosses ranks.
//!
//! A window is one exchange. Each rank's part says how long its next one is, so nothing else has
//! to travel before that (`record.rs`). Of what dropout leaves out nothing travels but signs. While
//! a window is put in order and worked on the next one is on its way; it starts once ranks have
//! agreed on the one before it, since what is small would stand behind it in the network.

mod arrive;
mod others;
mod plan;
mod record;

use std::ops::Range;
use std::rc::Rc;

use self::arrive::{Parts, Place, Source};
use self::others::Others;
use self::plan::Plan;
use self::record::Form;
use super::own_rows::{OwnRows, seal_of};
use crate::comm::{Comm, Exchange};
use crate::device::{Arrived, Device, Dropout, Pace, host_arithmetic};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::model::stride_of;
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
    /// Rows of a window.
    pub window: usize,
    /// What is left out of each row, if anything.
    pub dropout: Option<Dropout>,
}

/// This rank's rows of one window after the other.
enum Mine<'a> {
    Memory(&'a OwnRows),
    /// Read from the scratch file while the window before is worked on.
    Scratch(Ahead<Vec<f32>, Error>),
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
        let (mine, spans) = (self.mine(spans.clone()), spans.into_iter());
        let (coming, arriving, here, before) = (None, None, None, None);
        let (counts, memory) = (Vec::new(), Memory::default());
        let mut windows = Windows {
            travel: self,
            form,
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

    fn mine(&self, spans: Vec<Range<usize>>) -> Mine<'_> {
        let Some(scratch) = self.own.scratch() else { return Mine::Memory(self.own) };
        let (order, own) = (self.order.clone(), self.own.rows.clone());
        let mut spans = spans.into_iter();
        Mine::Scratch(Ahead::new(0, move || {
            let span = spans.next()?;
            let mut rows = vec![0; span.len()];
            order.rows(span.start, &mut rows);
            rows.retain(|row| own.contains(row));
            rows.iter_mut().for_each(|row| *row -= own.start);
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
        Some(Rc::new(Plan::new(self.travel, &self.form, positions, memory)))
    }

    /// Ranks tell each other how long their parts of the first window are.
    fn tell_first(&mut self) {
        let (comm, Some(plan)) = (self.travel.comm, &self.coming) else { return };
        if comm.size() > 1 {
            comm.carries(Others::new(self.form, plan.clone(), None).counts());
            let counts = comm.all_gather(&[plan.own_words() as u64]);
            self.counts = counts.into_iter().map(|count| count as usize).collect();
        }
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
        let next = self.coming.as_ref().map_or(0, |next| next.own_words());
        let mut part = std::mem::take(&mut self.memory.sent);
        with_room(&mut part, plan.own_words());
        travel.gather(&form, (&plan, next), source, &mut part);
        let counts = std::mem::take(&mut self.counts);
        let mut all = std::mem::take(&mut self.memory.received);
        with_room(&mut all, counts.iter().sum());
        travel.comm.carries(Others::new(form, plan.clone(), self.coming.clone()).parts());
        let parts = travel.comm.start_all_gather_unsealed(part, &counts, all);
        self.arriving = Some(Arriving { plan, way: Way::Among(parts, counts) });
        read
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
                    self.counts = parts.next_counts(self.travel.comm, &plan);
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
            first: plan.positions.start,
            rows: plan.positions.len(),
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
