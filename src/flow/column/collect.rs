//! What a column has between its ranks, put together where it is looked at: averages on all ranks,
//! chains of losses on all ranks, and each block's whole state at its owner, for a checkpoint, from
//! which it comes back the same way. Nothing here is hidden behind work.

use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::stretches::{Home, Stretch, Stretches, put, taken};
use crate::comm::odd_ranks;
use crate::error::{Error, Exit, Result};
use crate::flow::grid::ColumnLanes;
use crate::optim::MiniBatchState;
use crate::optim::average::Average;
use crate::packed;

/// What steps leave of a block beside its weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Whole {
    pub solver: MiniBatchState,
    pub average: Option<Average>,
}

impl Whole {
    /// Takes out what is kept of each parameter: the solver's vectors, then the average.
    fn take_vectors(&mut self) -> Vec<Vec<f32>> {
        let vectors = self.solver.vectors().into_iter().map(std::mem::take);
        let average = self
            .average
            .as_mut()
            .map(|average| Arc::unwrap_or_clone(std::mem::take(&mut average.weights)));
        vectors.collect::<Vec<_>>().into_iter().chain(average).collect()
    }

    fn put_vectors(&mut self, vectors: Vec<Vec<f32>>) {
        let mut vectors = vectors.into_iter();
        self.solver.vectors().into_iter().zip(&mut vectors).for_each(|(to, own)| *to = own);
        if let Some(average) = &mut self.average {
            average.weights = Arc::new(vectors.next().expect("an average"));
        }
    }

    /// What it counts beside all parameters, without what it keeps of each.
    fn scalars(&self) -> Vec<u8> {
        let mut without = self.clone();
        without.take_vectors();
        let mut bytes = Vec::new();
        packed::put(&mut bytes, &without).expect("memory");
        bytes
    }
}

impl Stretch {
    fn whole(&self) -> Whole {
        Whole { solver: self.solver.clone(), average: self.average.clone() }
    }
}

impl Home {
    /// So many vectors of the whole block, of what has come from each rank: part after part its
    /// stretch of each vector.
    fn assemble(&self, come: &mut [Taken], vectors: usize) -> Vec<Vec<f32>> {
        let mut whole = vec![vec![0.0; self.layout.parameters()]; vectors];
        for home in &self.parts {
            for (stretch, come) in home.stretches.iter().zip(&mut *come) {
                for vector in &mut whole {
                    put(&home.part, &self.layout, stretch, come.next(stretch.len()), vector);
                }
            }
        }
        whole
    }
}

/// Numbers that are taken off one after the other.
struct Taken<'a>(&'a [f32]);

impl<'a> Taken<'a> {
    fn next(&mut self, count: usize) -> &'a [f32] {
        let (part, rest) = self.0.split_at(count);
        self.0 = rest;
        part
    }
}

impl Stretches {
    /// Exchanges weights and averages, where there are any, and gives the weights of all blocks as
    /// they are now. Collective in the column.
    pub fn swap_averages(&mut self, lanes: &ColumnLanes) -> Vec<Vec<f32>> {
        for home in self.blocks.iter_mut().flat_map(|block| &mut block.parts) {
            home.own.swap();
        }
        self.weights(lanes)
    }

    /// The weights of all blocks. Collective in the column.
    pub fn weights(&self, lanes: &ColumnLanes) -> Vec<Vec<f32>> {
        let comm = &lanes.weights;
        let gathered = self.blocks.iter().map(|block| {
            let mine = block.parts.iter().flat_map(|home| home.own.weights.iter().copied());
            let of = |rank: usize| block.parts.iter().map(move |home| home.stretches[rank].len());
            let counts: Vec<usize> = (0..comm.size()).map(|rank| of(rank).sum()).collect();
            let what = format!("weights of the classes {:?}", block.layout.classes);
            let all = comm.start_all_gather_v(what, mine.collect(), &counts).wait();
            let mut rest = Taken(&all);
            let mut come: Vec<Taken> =
                counts.iter().map(|count| Taken(rest.next(*count))).collect();
            block.assemble(&mut come, 1).pop().expect("one vector")
        });
        gathered.collect()
    }

    /// Sets the weights of a block, the same on all ranks of the column, as steps go on from them.
    pub fn set_weights(&mut self, block: usize, weights: &[f32]) {
        let (rank, Home { layout, parts }) = (self.rows.rank(), &mut self.blocks[block]);
        for home in parts {
            home.own.weights = taken(&home.part, layout, &home.stretches[rank], weights);
        }
    }

    /// All slices' chains of losses of each block, `[slices][lanes]`, of those of the own slices.
    /// Collective in the column.
    pub fn all_chains(&self, lanes: &ColumnLanes, own: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let comm = &lanes.weights;
        let slices: Vec<usize> = self.rows.runs().iter().map(Range::len).collect();
        let per_slice = own.iter().map(|chains| chains.len() / self.slices.own.len());
        let lanes: Vec<usize> = per_slice.collect();
        let counts: Vec<usize> =
            slices.iter().map(|slices| slices * lanes.iter().sum::<usize>()).collect();
        let all = comm.start_all_gather_v("losses", own.concat(), &counts).wait();
        let mut whole = vec![Vec::new(); own.len()];
        let mut at = 0;
        for slices in slices {
            for (chains, lanes) in whole.iter_mut().zip(&lanes) {
                chains.extend_from_slice(&all[at..at + slices * lanes]);
                at += slices * lanes;
            }
        }
        whole
    }

    /// The state of each block that `owners`, over this column's ranks, give to this one, put
    /// together of what its ranks have. Collective in the column.
    ///
    /// # Errors
    /// Exit 7 where what ranks count of a block differs: the memory or processor of one has a
    /// fault.
    pub fn collect(&self, lanes: &ColumnLanes, owners: &[Range<usize>]) -> Result<Vec<Whole>> {
        let comm = &lanes.weights;
        let same = self.same_counts(lanes);
        let parts = owners.iter().map(|blocks| {
            let stretches = self.blocks[blocks.clone()].iter().flat_map(|block| &block.parts);
            stretches.flat_map(|home| home.own.whole().take_vectors().concat()).collect()
        });
        let come: Vec<Vec<f32>> = comm.all_to_all(parts.collect());
        let mut come: Vec<Taken> = come.iter().map(|numbers| Taken(numbers)).collect();
        let own = self.blocks[owners[comm.rank()].clone()].iter().map(|block| {
            let mut whole = block.parts[0].own.whole();
            let vectors = whole.take_vectors().len();
            whole.put_vectors(block.assemble(&mut come, vectors));
            whole
        });
        let own = own.collect();
        same.map(|()| own)
    }

    /// Takes the state of all blocks from their owners, each of which gives its own. Collective in
    /// the column.
    pub fn restore(&mut self, lanes: &ColumnLanes, owners: &[Range<usize>], own: Vec<Whole>) {
        let comm = &lanes.weights;
        let scalars: Vec<Vec<u8>> = own.iter().map(Whole::scalars).collect();
        let scalars = comm.all_gather_any(&scalars.concat());
        let mut parts = vec![Vec::new(); comm.size()];
        for (block, mut whole) in self.blocks[owners[comm.rank()].clone()].iter().zip(own) {
            let vectors = whole.take_vectors();
            for home in &block.parts {
                for (part, stretch) in parts.iter_mut().zip(&home.stretches) {
                    for vector in &vectors {
                        part.extend(taken(&home.part, &block.layout, stretch, vector));
                    }
                }
            }
        }
        let come: Vec<Vec<f32>> = comm.all_to_all(parts);
        for ((blocks, numbers), scalars) in owners.iter().zip(&come).zip(scalars) {
            let (mut numbers, mut from) = (Taken(numbers), Cursor::new(scalars));
            for block in &mut self.blocks[blocks.clone()] {
                let scalars: Whole = packed::take(&mut from).expect("as its owner put it");
                for home in &mut block.parts {
                    let Stretch { weights, solver, average, .. } = &mut home.own;
                    let mut whole = scalars.clone();
                    let count = whole.take_vectors().len();
                    whole.put_vectors(
                        (0..count).map(|_| numbers.next(weights.len()).to_vec()).collect(),
                    );
                    Whole { solver: *solver, average: *average } = whole;
                }
            }
        }
    }

    /// Sees that what steps count of each block is the same for all parts, on all ranks.
    fn same_counts(&self, lanes: &ColumnLanes) -> Result<()> {
        let comm = &lanes.weights;
        let counts = self.blocks.iter().flat_map(|block| {
            block.parts.iter().map(|home| crc32c::crc32c(&home.own.whole().scalars()))
        });
        let own: Vec<u32> = counts.collect();
        let all = comm.all_gather(&own);
        let of_ranks: Vec<&[u32]> = all.chunks(own.len().max(1)).collect();
        let odd = odd_ranks(&of_ranks);
        let mut at = 0;
        let alike = self.blocks.iter().all(|block| {
            let own = &own[at..at + block.parts.len()];
            at += own.len();
            own.iter().all(|count| *count == own[0])
        });
        if odd.is_empty() && alike {
            return Ok(());
        }
        let rank = odd.first().map_or(comm.rank(), |rank| *rank);
        let text = format!("rank {}: counts of steps differ from others", comm.in_all(rank));
        Err(Error::new(Exit::Numeric, text).hint(
            "the memory or processor of one has a fault; the same command goes on from the last \
             checkpoint",
        ))
    }
}
