//! Thread ranks whose messages a test looks at, counts or damages.

use std::ops::Range;
use std::sync::Arc;

use reelscale::comm::{Backend, Comm, Work, run_threads_through};
use reelscale::error::{Error, Result};

/// What a test does at every call of a rank.
pub trait Tap: Send + Sync {
    /// Before a call of rank `rank`.
    fn before(&self, _rank: usize, _size: usize) {}
    /// After a call of rank `rank`: what it was given, and whose is which part of that.
    fn after(&self, _rank: usize, _arrived: &mut [u8], _parts: &[(usize, Range<usize>)]) {}
}

struct Tapped {
    backend: Box<dyn Backend>,
    tap: Arc<dyn Tap>,
}

impl Tapped {
    fn call(&self) -> &dyn Backend {
        self.tap.before(self.backend.rank(), self.backend.size());
        &*self.backend
    }

    /// `counts[r]` bytes of each rank r have arrived.
    fn arrived(&self, all: &mut [u8], counts: &[usize]) {
        let mut at = 0;
        let parts = counts.iter().enumerate().map(|(rank, count)| {
            at += count;
            (rank, at - count..at)
        });
        let own = self.backend.rank();
        let parts: Vec<_> = parts.filter(|(rank, part)| *rank != own && !part.is_empty()).collect();
        self.tap.after(own, all, &parts);
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

    fn barrier(&self) {
        self.call().barrier();
    }

    fn broadcast(&self, root: usize, data: &mut [u8], work: Work) {
        self.call().broadcast(root, data, work);
        let counts: Vec<usize> =
            (0..self.size()).map(|rank| if rank == root { data.len() } else { 0 }).collect();
        self.arrived(data, &counts);
    }

    fn all_gather_v(&self, mine: &[u8], counts: &[usize], all: &mut [u8], work: Work) {
        self.call().all_gather_v(mine, counts, all, work);
        self.arrived(all, counts);
    }

    fn all_to_all_v(&self, send: &[u8], to: &[usize], received: &mut [u8], from: &[usize]) {
        self.call().all_to_all_v(send, to, received, from);
        self.arrived(received, from);
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
    let wrap = |backend| Box::new(Tapped { backend, tap: tap.clone() }) as Box<dyn Backend>;
    run_threads_through(size, 1 << 20, wrap, body)
}
