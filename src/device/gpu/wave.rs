//! Row blocks on their way through the model: on the device for visits, on the host where that
//! takes them through the shared layers.

use std::cell::RefCell;
use std::rc::Rc;

use super::frozen::BlockLosses;
use super::held::{Held, Scratch};
use super::queue::{Memory, Queue};
use super::window::Window;
use super::{LOGITS_BYTES, ROWS, wait};
use crate::device::Pace;
use crate::device::host;
use crate::labels::Labels;
use crate::model::{Layout, stride_of};

/// A class block that visits. What could not be had of it the first visit tells.
pub struct Visitor(Result<RefCell<Held>, String>);

/// A wave.
pub struct Wave {
    host: host::Wave,
    /// None before the first visit.
    segments: Option<Vec<Segment>>,
    /// What visitors work in, one after the other.
    scratch: Option<Scratch>,
}

/// Some whole row blocks, end to end.
struct Segment {
    window: Window,
    /// dL/dv [rows][stride of d].
    slopes: Memory,
    losses: BlockLosses,
}

impl Visitor {
    pub(crate) fn new(queue: &Queue, layout: &Layout, epsilon: f32, weights: &[f32]) -> Visitor {
        let held = Held::new(queue, vec![layout.clone()], epsilon, 0, LOGITS_BYTES);
        let held = held.and_then(|held| held.write(held.parameters(), 0, weights).map(|()| held));
        Visitor(held.map(RefCell::new))
    }

    /// Width of the activations that it takes, and its number of classes.
    pub(super) fn sizes(&self) -> Result<(usize, usize), String> {
        let held = self.0.as_ref().map_err(String::clone)?.borrow();
        Ok((held.width, held.layouts[0].classes.len()))
    }

    /// Has it work in this memory, which is given back.
    pub(super) fn work<R>(
        &self,
        scratch: &mut Option<Scratch>,
        with: impl FnOnce(&mut Held) -> Result<R, String>,
    ) -> Result<R, String> {
        let held = &mut *self.0.as_ref().map_err(String::clone)?.borrow_mut();
        held.exchange(scratch);
        let outcome = with(held);
        held.exchange(scratch);
        outcome
    }
}

impl Segment {
    /// Row blocks of so many rows each, whose activations lie end to end.
    fn new(
        queue: &Queue,
        activations: &[f32],
        width: usize,
        (labels, blocks): (Labels, Vec<usize>),
    ) -> Result<Segment, String> {
        let activations = Rc::new(queue.upload(activations)?);
        let window = Window::of(queue, (activations, width), &labels, &[])?;
        let slopes = queue.zeros(labels.rows() * stride_of(width) * size_of::<f32>())?;
        let ends = blocks.iter().scan(0, |end, rows| {
            *end += rows;
            Some(*end)
        });
        let losses = BlockLosses::new(queue, [0].into_iter().chain(ends).collect())?;
        Ok(Segment { window, slopes, losses })
    }

    fn visit(&mut self, queue: &Queue, held: &mut Held, pace: &mut Pace) -> Result<(), String> {
        self.losses.begin(queue, held.lanes())?;
        let rows = self.window.rows();
        for from in (0..rows).step_by(ROWS) {
            if pace.stopped() {
                return Ok(());
            }
            let own = from..(from + ROWS).min(rows);
            held.visit(&self.window, own, &self.losses, &self.slopes)?;
            queue.mark()?;
            wait(queue, pace, 1)?;
        }
        self.losses.end(queue, held.lanes())
    }
}

impl Wave {
    /// One that the host has taken through the shared layers.
    pub(crate) fn of_host(host: host::Wave) -> Wave {
        Wave { host, segments: None, scratch: None }
    }

    pub(crate) fn host(&self) -> &host::Wave {
        &self.host
    }

    /// No class block has visited it: dL/dv is the host's.
    pub(crate) fn host_mut(&mut self) -> &mut host::Wave {
        assert!(self.segments.is_none(), "dL/dv comes from elsewhere or from visits");
        &mut self.host
    }

    /// Adds the visitor's part to dL/dv and to the losses.
    pub(crate) fn visit(
        &mut self,
        queue: &Queue,
        visitor: &Visitor,
        pace: &mut Pace,
    ) -> Result<(), String> {
        if self.segments.is_none() {
            self.segments = Some(segments(queue, &self.host)?);
        }
        let segments = self.segments.iter_mut().flatten();
        visitor.work(&mut self.scratch, |held| {
            for segment in segments {
                segment.visit(queue, held, pace)?;
            }
            // A copy up waits for all launches before it, and moves no messages meanwhile.
            queue.mark()?;
            wait(queue, pace, 0)
        })
    }

    /// The loss of each row block.
    pub(crate) fn losses(&self) -> Result<Vec<f64>, String> {
        let Some(segments) = &self.segments else { return Ok(self.host.losses()) };
        let losses = segments.iter().map(|segment| segment.losses.read());
        Ok(losses.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The host's part, with dL/dv.
    pub(crate) fn into_host(mut self) -> Result<host::Wave, String> {
        if let Some(segments) = &self.segments {
            let mut slopes = Vec::new();
            for segment in segments {
                let numbers = segment.window.rows() * segment.window.stride();
                slopes.extend(segment.slopes.read::<f32>(0, numbers)?);
            }
            self.host.give_slopes(&slopes);
        }
        Ok(self.host)
    }
}

/// The row blocks of a wave of the host, put together until there are rows enough for a visit.
fn segments(queue: &Queue, host: &host::Wave) -> Result<Vec<Segment>, String> {
    let (mut segments, mut numbers) = (Vec::new(), Vec::new());
    let (mut labels, mut blocks) = (Labels::new(), Vec::new());
    let mut rows = host.rows().peekable();
    while let Some((activations, own)) = rows.next() {
        numbers.extend_from_slice(&activations.data);
        labels.extend(own);
        blocks.push(activations.rows());
        if labels.rows() >= ROWS || rows.peek().is_none() {
            let whole = (std::mem::take(&mut labels), std::mem::take(&mut blocks));
            segments.push(Segment::new(queue, &numbers, activations.width(), whole)?);
            numbers.clear();
        }
    }
    Ok(segments)
}
