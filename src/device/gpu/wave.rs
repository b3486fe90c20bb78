//! Row blocks on their way through the model, end to end on the device; where the host takes rows
//! through the shared layers it does so there and back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::HOST_ROWS;
use super::cut::Extent;
use super::frozen::BlockLosses;
use super::held::{Held, Scratch, Tables};
use super::layers::Tape;
use super::queue::{Memory, Queue};
use super::waiting::wait;
use super::window::Window;
use crate::device::Pace;
use crate::device::host;
use crate::labels::Labels;
use crate::model::{Layout, stride_of};

/// A class block that visits. It comes to the device with the first visit.
pub struct Visitor {
    layout: Layout,
    weights: Arc<Vec<f32>>,
    epsilon: f32,
    logits_bytes: usize,
    /// The block on the device, and where its memory goes.
    held: RefCell<Option<(Held, Rooms)>>,
}

/// What visitors work in, one after the other.
#[derive(Default)]
pub(super) struct Workplace {
    scratch: Option<Scratch>,
    /// Of visitors that have left; the one that left first is first.
    rooms: Rooms,
}

type Rooms = Rc<RefCell<VecDeque<Held>>>;

/// Visitors that have memory: one comes while the device works on another one.
pub(crate) const ROOMS: usize = 2;

/// A wave.
#[derive(Default)]
pub struct Wave {
    /// Where the host takes rows through the shared layers.
    host: Option<host::Wave>,
    /// Of such rows none before the first visit, since pretraining has no visits.
    segments: Vec<Segment>,
    workplace: Workplace,
}

/// Some whole row blocks, end to end.
pub(super) struct Segment {
    /// v [rows][stride of d]
    activations: Rc<Memory>,
    width: usize,
    labels: Labels,
    /// As visitors take the rows: from the first visit on.
    window: Option<Window>,
    /// dL/dv [rows][stride of d]
    pub(super) slopes: Memory,
    pub(super) losses: BlockLosses,
    /// Where the device has taken the rows through the shared layers: what their way back needs,
    /// and how many pieces each row block came in.
    pub(super) tape: Option<(Tape, Vec<usize>)>,
}

impl Visitor {
    pub(crate) fn new(
        (epsilon, logits_bytes): (f32, usize),
        layout: &Layout,
        weights: Arc<Vec<f32>>,
    ) -> Visitor {
        Visitor { layout: layout.clone(), weights, epsilon, logits_bytes, held: RefCell::default() }
    }

    /// Width of the activations that it takes, and its number of classes.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.layout.width, self.layout.classes.len())
    }

    /// Has it work in this memory, which is given back.
    pub(super) fn work<R>(
        &self,
        queue: &Queue,
        place: &mut Workplace,
        with: impl FnOnce(&mut Held) -> Result<R, String>,
    ) -> Result<R, String> {
        let mut here = self.held.borrow_mut();
        let (held, _) = match &mut *here {
            Some(here) => here,
            none => none.insert((self.comes(queue, place)?, place.rooms.clone())),
        };
        held.exchange(&mut place.scratch);
        let outcome = with(held);
        held.exchange(&mut place.scratch);
        outcome
    }

    /// Has it come at once, to stay. What can't be had of it the first visit tells.
    pub(super) fn here(self, queue: &Queue) -> Visitor {
        let place = Workplace::default();
        if let Ok(held) = self.comes(queue, &place) {
            self.held.replace(Some((held, place.rooms)));
        }
        self
    }

    /// The block in memory of one that has left, to which its numbers go beside work on others.
    fn comes(&self, queue: &Queue, place: &Workplace) -> Result<Held, String> {
        let (extent, like) = (Extent::of(&self.layout), (self.layout.width, self.layout.dummy));
        let mut rooms = place.rooms.borrow_mut();
        let left = if rooms.len() < ROOMS { None } else { rooms.pop_front() };
        let mut held = match left {
            Some(room) if room.has_room(extent, like) => room,
            left => {
                let most = left.map_or(extent, |room| room.room.most(extent));
                Held::with_room(queue, most, like, (self.epsilon, 0, self.logits_bytes))?
            }
        };
        let Tables { shapes, learned } = held.renew(vec![self.layout.clone()]);
        held.shapes.write_beside(0, &shapes)?;
        held.learned.write_beside(0, &learned)?;
        held.write_beside(&held.parameters, 0, &self.weights)?;
        Ok(held)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Some((held, rooms)) = self.held.take() {
            rooms.borrow_mut().push_back(held);
        }
    }
}

impl Segment {
    /// Row blocks of so many rows each, with their labels.
    pub(super) fn new(
        queue: &Queue,
        activations: Rc<Memory>,
        width: usize,
        (labels, blocks): (Labels, Vec<usize>),
        tape: Option<(Tape, Vec<usize>)>,
    ) -> Result<Segment, String> {
        let mut bounds = vec![0];
        blocks.iter().for_each(|rows| bounds.push(bounds[bounds.len() - 1] + rows));
        let losses = BlockLosses::new(queue, bounds)?;
        let slopes = queue.zeros(losses.rows() * stride_of(width) * size_of::<f32>())?;
        Ok(Segment { activations, width, labels, window: None, slopes, losses, tape })
    }

    pub(super) fn row_blocks(&self) -> usize {
        self.losses.blocks().count()
    }

    /// Numbers of v, and of dL/dv.
    fn numbers(&self) -> usize {
        self.losses.rows() * stride_of(self.width)
    }

    /// One visitor passes, so many rows at once.
    fn visit(
        &mut self,
        queue: &Queue,
        run: usize,
        held: &mut Held,
        pace: &mut Pace,
    ) -> Result<(), String> {
        if self.window.is_none() {
            let activations = (self.activations.clone(), self.width);
            self.window = Some(Window::of(queue, activations, &self.labels, &[])?);
        }
        let window = self.window.as_ref().expect("just made");
        self.losses.begin(queue, held.lanes())?;
        for from in (0..window.rows()).step_by(run) {
            if pace.stopped() {
                return Ok(());
            }
            let own = from..(from + run).min(window.rows());
            held.visit(window, own, &self.losses, &self.slopes)?;
            queue.mark()?;
            wait(queue, pace, 1)?;
        }
        self.losses.end(queue, held.lanes())
    }
}

impl Wave {
    /// Rows that the host has taken through the shared layers.
    pub(super) fn of_host(host: host::Wave) -> Wave {
        Wave { host: Some(host), ..Wave::default() }
    }

    /// Rows that the device has.
    pub(super) fn of_segments(segments: Vec<Segment>) -> Wave {
        Wave { segments, ..Wave::default() }
    }

    /// Appends v of all rows.
    pub(super) fn outputs(&self, to: &mut Vec<f32>) -> Result<(), String> {
        if let Some(host) = &self.host {
            host.outputs(to);
            return Ok(());
        }
        for segment in &self.segments {
            let at = to.len();
            to.resize(at + segment.numbers(), 0.0);
            segment.activations.read_into(0, &mut to[at..])?;
        }
        Ok(())
    }

    /// Sets dL/dv of all rows, which nobody has visited.
    pub(super) fn give_slopes(&mut self, slopes: &[f32]) -> Result<(), String> {
        if let Some(host) = &mut self.host {
            assert!(self.segments.is_empty(), "dL/dv comes from elsewhere or from visits");
            host.give_slopes(slopes);
            return Ok(());
        }
        let mut rest = slopes;
        for segment in &self.segments {
            let (own, after) = rest.split_at(segment.numbers());
            segment.slopes.write(0, own)?;
            rest = after;
        }
        assert!(rest.is_empty(), "slopes of other rows");
        Ok(())
    }

    /// Adds the visitor's part to dL/dv and to the losses, `run` rows at once.
    pub(super) fn visit(
        &mut self,
        queue: &Queue,
        run: usize,
        visitor: &Visitor,
        pace: &mut Pace,
    ) -> Result<(), String> {
        if let Some(host) = self.host.as_ref().filter(|_| self.segments.is_empty()) {
            self.segments = brought(queue, run.min(HOST_ROWS), host)?;
        }
        let segments = &mut self.segments;
        visitor.work(queue, &mut self.workplace, |held| {
            segments.iter_mut().try_for_each(|segment| segment.visit(queue, run, held, pace))
        })
    }

    /// The loss of each row block.
    pub(super) fn losses(&self) -> Result<Vec<f64>, String> {
        if let Some(host) = self.host.as_ref().filter(|_| self.segments.is_empty()) {
            return Ok(host.losses());
        }
        let losses = self.segments.iter().map(|segment| segment.losses.read());
        Ok(losses.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// What the host or the device takes back through the shared layers. dL/dv is with it.
    pub(super) fn into_parts(self) -> Result<(Option<host::Wave>, Vec<Segment>), String> {
        let Wave { mut host, segments, .. } = self;
        if let Some(host) = host.as_mut().filter(|_| !segments.is_empty()) {
            let mut slopes = Vec::new();
            for segment in &segments {
                slopes.extend(segment.slopes.read::<f32>(0, segment.numbers())?);
            }
            host.give_slopes(&slopes);
        }
        Ok((host, segments))
    }
}

/// The row blocks of a wave of the host, put together until they are `run` rows or more.
fn brought(queue: &Queue, run: usize, host: &host::Wave) -> Result<Vec<Segment>, String> {
    let (mut segments, mut numbers) = (Vec::new(), Vec::new());
    let (mut labels, mut blocks) = (Labels::new(), Vec::new());
    let mut rows = host.rows().peekable();
    while let Some((activations, own)) = rows.next() {
        numbers.extend_from_slice(&activations.data);
        labels.extend(own);
        blocks.push(activations.rows());
        if labels.rows() >= run || rows.peek().is_none() {
            let whole = (std::mem::take(&mut labels), std::mem::take(&mut blocks));
            let v = Rc::new(queue.upload(&numbers)?);
            segments.push(Segment::new(queue, v, activations.width(), whole, None)?);
            numbers.clear();
        }
    }
    Ok(segments)
}
