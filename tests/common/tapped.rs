//! Thread ranks whose messages a test looks at, counts or damages.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use reelscale::internals::comm::{Backend, Buffers, Call, Pending, run_threads_through};
use reelscale::{Comm, Error, Result};

/// What a test does at every call of a rank.
pub trait Tap: Send + Sync {
    /// Before a call of rank `rank`.
    fn before(&self, _rank: usize, _size: usize) {}
    /// Whether a poll of rank `rank` sees what has come; it needn't.
    fn sees(&self, _rank: usize) -> bool {
        true
    }
    /// After a call of rank `rank`: what it was given, and whose is which part of that.
    fn after(&self, _rank: usize, _arrived: &mut [u8], _parts: &[(usize, Range<usize>)]) {}
}

struct Tapped {
    backend: Rc<dyn Backend>,
    tap: Arc<dyn Tap>,
}

impl Tapped {
    fn call(&self) -> &dyn Backend {
        self.tap.before(self.backend.rank(), self.backend.size());
        &*self.backend
    }
}

/// A call that is under way.
struct TappedPending {
    pending: Box<dyn Pending>,
    /// Bytes that arrive of each rank.
    counts: Vec<usize>,
    tap: Arc<dyn Tap>,
    own: usize,
}

impl Pending for TappedPending {
    fn poll(&mut self) -> bool {
        self.pending.poll() && self.tap.sees(self.own)
    }

    fn wait(self: Box<Self>) -> Buffers {
        let mut buffers = self.pending.wait();
        let mut at = 0;
        let parts = self.counts.iter().enumerate().map(|(rank, count)| {
            at += count;
            (rank, at - count..at)
        });
        let parts: Vec<_> =
            parts.filter(|(rank, part)| *rank != self.own && !part.is_empty()).collect();
        self.tap.after(self.own, buffers.receive.bytes_mut(), &parts);
        buffers
    }
}

impl Backend for Tapped {
    fn rank(&self) -> usize {
        self.backend.rank()
    }

    fn size(&self) -> usize {
        self.backend.size()
    }

    fn count_max(&self) -> usize {
        self.backend.count_max()
    }

    fn start(&self, call: Call, buffers: Buffers) -> Box<dyn Pending> {
        let all = buffers.receive.bytes().len();
        let counts = match &call {
            Call::Barrier => Vec::new(),
            Call::Broadcast { root } => {
                (0..self.size()).map(|rank| if rank == *root { all } else { 0 }).collect()
            }
            Call::AllGather { counts } => counts.clone(),
            Call::AllToAll { from, .. } => from.clone(),
        };
        let pending = self.call().start(call, buffers);
        Box::new(TappedPending { pending, counts, tap: self.tap.clone(), own: self.rank() })
    }

    fn group(&self, members: &[usize]) -> Rc<dyn Backend> {
        Rc::new(Tapped { backend: self.backend.group(members), tap: self.tap.clone() })
    }

    fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    fn abort(&self, code: i32) -> ! {
        self.backend.abort(code)
    }

    fn fail(&self, error: Error) -> ! {
        self.backend.fail(error)
    }
}

/// Runs `body` on `size` ranks, whose calls all pass `tap`.
pub fn run_tapped<T: Send>(
    size: usize,
    tap: Arc<dyn Tap>,
    body: impl Fn(&Comm) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let wrap = |backend: Box<dyn Backend>| {
        Box::new(Tapped { backend: backend.into(), tap: tap.clone() }) as Box<dyn Backend>
    };
    run_threads_through(size, 1 << 20, wrap, body)
}
