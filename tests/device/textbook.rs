//! A second device: memory of its own, batch by batch as a GPU would, every number as its
//! `definition.rs` says. It can be lost at any call.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use reelscale::internals::device::Pace;
use reelscale::{Comm, Error, Exit, Result};

use super::storage::Meter;

/// The device.
pub struct Textbook {
    pub meter: Rc<Meter>,
    /// eps of the loss.
    pub epsilon: f32,
    /// The call from which on the device is lost.
    lost_at: usize,
    /// The call at which the run is told to stop.
    stops: Option<(usize, Arc<AtomicBool>)>,
    /// Floating-point operations a second that it takes its time for, where it is slow.
    rate: Option<f64>,
}

impl Textbook {
    pub fn new(epsilon: f32) -> Textbook {
        let (meter, lost_at) = (Rc::default(), usize::MAX);
        Textbook { meter, epsilon, lost_at, stops: None, rate: None }
    }

    /// Lost from the call of this number on.
    pub fn lost_at(self, lost_at: usize) -> Textbook {
        Textbook { lost_at, ..self }
    }

    /// Tells the run of `comm` to stop at the call of this number.
    pub fn stopping_at(self, call: usize, comm: &Comm) -> Textbook {
        Textbook { stops: Some((call, comm.stop_flag().clone())), ..self }
    }

    /// As slow as that: its class blocks take their time for so many operations a second.
    pub fn at_rate(self, rate: f64) -> Textbook {
        Textbook { rate: Some(rate), ..self }
    }

    /// Rests, and polls, until these weights have passed so many rows since it `began`.
    pub fn pause(&self, began: Instant, rows: usize, weights: usize, pace: &mut Pace) {
        let Some(rate) = self.rate else { return };
        let time = Duration::from_secs_f64(4.0 * (rows * weights) as f64 / rate);
        while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            sleep(left.min(Duration::from_millis(2)));
            pace.poll();
        }
    }

    /// Counts a call.
    pub fn call(&self) -> Result<()> {
        let calls = self.meter.calls.get() + 1;
        self.meter.calls.set(calls);
        if let Some((_, flag)) = self.stops.as_ref().filter(|stops| stops.0 == calls) {
            flag.store(true, Relaxed);
        }
        match calls > self.lost_at {
            true => Err(Error::new(Exit::Resources, "the tests' device is lost")),
            false => Ok(()),
        }
    }

    /// Does a piece of work, and polls after it.
    pub fn work(&self, pace: &mut Pace, work: impl FnOnce()) {
        work();
        pace.poll();
    }
}
