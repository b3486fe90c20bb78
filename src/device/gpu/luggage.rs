//! What class blocks that come and go have on the host, in memory that is kept while the device has
//! it, and the copies of it there and back: a piece at a time, beside work.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::fetch::Fetch;
use super::held::{Tables, Vector};
use super::part::Part;
use super::queue::Memory;
use crate::device::Solving;
use crate::device::host::Complete;

/// Of one block. What doesn't travel is empty.
#[derive(Default)]
pub(super) struct Luggage {
    pub(super) weights: Arc<Vec<f32>>,
    /// What the solver keeps, and then an average.
    pub(super) vectors: Vec<Vec<f32>>,
    /// Of a pass or a mini-batch.
    pub(super) gradient: Vec<f32>,
    /// [chains][groups][16]
    pub(super) losses: Vec<f64>,
    /// Slices of a pass that are complete, which don't travel.
    pub(super) complete: Complete,
}

/// Some of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Which {
    Weights,
    Vector(usize),
    Gradient,
    /// A chain of them.
    Losses(usize),
}

/// What is copied.
enum Cargo {
    /// Of a block, what of it, and of numbers for each parameter the weights' or the biases'.
    Numbers {
        block: usize,
        which: Which,
        biases: bool,
    },
    Shapes,
    Learned,
}

/// One copy after another between the host and the memory of a part.
pub(super) struct Trip {
    cargoes: VecDeque<Cargo>,
    /// Bytes of the first that are under way or done.
    begun: usize,
    /// What is fetched: of which block what, and which of its bytes.
    fetches: VecDeque<(Fetch, (usize, Which), Range<usize>)>,
    /// What goes up besides blocks' numbers.
    tables: Tables,
}

impl Luggage {
    /// The bytes of some of it.
    fn bytes(&self, which: Which) -> &[u8] {
        match which {
            Which::Weights => bytemuck::cast_slice(&self.weights),
            Which::Vector(index) => bytemuck::cast_slice(&self.vectors[index]),
            Which::Gradient => bytemuck::cast_slice(&self.gradient),
            Which::Losses(_) => bytemuck::cast_slice(&self.losses),
        }
    }

    fn bytes_mut(&mut self, which: Which) -> &mut [u8] {
        match which {
            Which::Weights => {
                let weights = Arc::get_mut(&mut self.weights).expect("weights of its own");
                bytemuck::cast_slice_mut(weights)
            }
            Which::Vector(index) => bytemuck::cast_slice_mut(&mut self.vectors[index]),
            Which::Gradient => bytemuck::cast_slice_mut(&mut self.gradient),
            Which::Losses(_) => bytemuck::cast_slice_mut(&mut self.losses),
        }
    }
}

impl Trip {
    /// Of some of each block.
    pub(super) fn new(numbers: impl Iterator<Item = (usize, Which)>, tables: Tables) -> Trip {
        let mut cargoes = VecDeque::new();
        if !tables.shapes.is_empty() {
            cargoes.extend([Cargo::Shapes, Cargo::Learned]);
        }
        for (block, which) in numbers {
            cargoes.push_back(Cargo::Numbers { block, which, biases: false });
            if !matches!(which, Which::Losses(_)) {
                cargoes.push_back(Cargo::Numbers { block, which, biases: true });
            }
        }
        Trip { cargoes, begun: 0, fetches: VecDeque::new(), tables }
    }

    /// Whether all of it has been done: of what goes up, begun.
    pub(super) fn over(&self) -> bool {
        self.cargoes.is_empty() && self.fetches.is_empty()
    }

    /// Copies to the device what can be copied now without waiting, a piece at most. Whether that
    /// was anything.
    ///
    /// # Errors
    /// The device is lost.
    pub(super) fn up<S: Solving>(&mut self, part: &Part<S>) -> Result<bool, String> {
        let Some(first) = self.cargoes.front() else { return Ok(false) };
        let (bytes, memory, at) = match first {
            Cargo::Shapes => (bytemuck::cast_slice(&self.tables.shapes), &part.held().shapes, 0),
            Cargo::Learned => (bytemuck::cast_slice(&self.tables.learned), &part.held().learned, 0),
            Cargo::Numbers { block, which, biases } => {
                let (memory, at, own) = place(part, (*block, *which), *biases);
                (&part.luggage[*block].bytes(*which)[own], memory, at)
            }
        };
        let left = &bytes[self.begun..];
        let done = match left {
            [] => 0,
            left => memory.write_some(at + self.begun, left)?,
        };
        self.began(done, left.len());
        Ok(done > 0)
    }

    /// The same from the device.
    ///
    /// # Errors
    /// The device is lost, or work before has failed.
    pub(super) fn down<S: Solving>(&mut self, part: &mut Part<S>) -> Result<bool, String> {
        let mut some = false;
        if let Some((fetch, ..)) = self.fetches.front()
            && fetch.come()?
        {
            let (fetch, (block, which), own) = self.fetches.pop_front().expect("just seen");
            fetch.wait(&mut part.luggage[block].bytes_mut(which)[own])?;
            some = true;
        }
        let Some(Cargo::Numbers { block, which, biases }) = self.cargoes.front() else {
            return Ok(some);
        };
        let what = (*block, *which);
        let (memory, at, own) = place(part, what, *biases);
        let left = own.len() - self.begun;
        let fetch = match left {
            0 => None,
            left => memory.fetch_some(at + self.begun, left)?,
        };
        let done = fetch.as_ref().map_or(0, Fetch::bytes);
        if let Some(fetch) = fetch {
            let from = own.start + self.begun;
            self.fetches.push_back((fetch, what, from..from + done));
        }
        self.began(done, left);
        Ok(some || done > 0)
    }

    /// More of the first, of which so much was left.
    fn began(&mut self, done: usize, left: usize) {
        self.begun += done;
        if done == left {
            self.cargoes.pop_front();
            self.begun = 0;
        }
    }
}

/// Where some of a block lies on the device, from which byte on, and which bytes of the host's.
fn place<S: Solving>(
    part: &Part<S>,
    (block, which): (usize, Which),
    biases: bool,
) -> (&Memory, usize, Range<usize>) {
    let (held, bytes) = (part.held(), part.luggage[block].bytes(which).len());
    let vector: &Vector = match which {
        Which::Weights => held.parameters(),
        Which::Vector(index) => &held.vectors()[index],
        Which::Gradient => part.gradients.first().expect("room for a gradient"),
        Which::Losses(chain) => {
            let (from, count) = held.losses_place(chain, block);
            let own = chain * count..(chain + 1) * count;
            let [from, start, end] = [from, own.start, own.end].map(|at| at * size_of::<f64>());
            return (&held.class_losses, from, start..end);
        }
    };
    let middle = held.layouts[block].biases() * size_of::<f32>();
    let [weights_from, biases_from] = held.places(block).map(|at| at * size_of::<f32>());
    match biases {
        false => (&vector.weights, weights_from, 0..middle),
        true => (&vector.biases, biases_from, middle..bytes),
    }
}
