//! What a column has between its ranks, put together where it is looked at: averages on all ranks,
//! chains of losses on all ranks, and each block's whole state at its owner, for a checkpoint, from
//! which it comes back the same way. Nothing here is hidden behind work.

use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::named;
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
    /// How many numbers of the block each rank of the column steps.
    fn counts(&self) -> Vec<usize> {
        let ranks = self.parts.first().map_or(0, |home| home.stretches.len());
        let of = |rank: usize| self.parts.iter().map(move |home| home.stretches[rank].len());
        (0..ranks).map(|rank| of(rank).sum()).collect()
    }

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

/// Each block of a column, with the rank that owns it.
fn each(owners: &[Range<usize>]) -> impl Iterator<Item = (usize, usize)> {
    let owners = owners.iter().enumerate();
    owners.flat_map(|(owner, blocks)| blocks.clone().map(move |index| (owner, index)))
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
    /// Exchanges weights and averages, where there are any, and gives the weights of each block as
    /// they are now to `put`, one after the other. Collective in the column.
    pub fn swap_averages(&mut self, lanes: &ColumnLanes, put: &mut dyn FnMut(usize, Vec<f32>)) {
        for home in self.blocks.iter_mut().flat_map(|block| &mut block.parts) {
            home.own.swap();
        }
        for index in 0..self.blocks.len() {
            put(index, self.weights_of(lanes, index));
        }
    }

    /// The weights of all blocks. Collective in the column.
    pub fn weights(&self, lanes: &ColumnLanes) -> Vec<Vec<f32>> {
        (0..self.blocks.len()).map(|index| self.weights_of(lanes, index)).collect()
    }

    fn weights_of(&self, lanes: &ColumnLanes, index: usize) -> Vec<f32> {
        let (comm, block) = (&lanes.weights, &self.blocks[index]);
        let counts = block.counts();
        let mut mine = Vec::with_capacity(counts[comm.rank()]);
        block.parts.iter().for_each(|home| mine.extend_from_slice(&home.own.weights));
        let all = comm.start_all_gather_v(named("weights", &block.layout), mine, &counts).wait();
        let mut rest = Taken(&all);
        let mut come: Vec<Taken> = counts.iter().map(|count| Taken(rest.next(*count))).collect();
        block.assemble(&mut come, 1).pop().expect("one vector")
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
    /// together of what its ranks have, block after block. Collective in the column.
    ///
    /// # Errors
    /// Exit 7 where what ranks count of a block differs: the memory or processor of one has a
    /// fault.
    pub fn collect(&self, lanes: &ColumnLanes, owners: &[Range<usize>]) -> Result<Vec<Whole>> {
        let comm = &lanes.weights;
        let same = self.same_counts(lanes);
        let mut own = Vec::new();
        for (owner, index) in each(owners) {
            let block = &self.blocks[index];
            let mut whole = block.parts[0].own.whole();
            let vectors = whole.take_vectors().len();
            let counts = block.counts().iter().map(|count| vectors * count).collect::<Vec<_>>();
            let mut mine = Vec::with_capacity(counts[comm.rank()]);
            for home in &block.parts {
                let vectors = home.own.whole().take_vectors();
                vectors.iter().for_each(|vector| mine.extend_from_slice(vector));
            }
            let mut to = vec![0; comm.size()];
            to[owner] = mine.len();
            let from = if owner == comm.rank() { counts.clone() } else { vec![0; comm.size()] };
            let longest = counts.into_iter().max().unwrap_or(0);
            let what = named("states", &block.layout);
            let come = comm.start_all_to_all_v(what, (&mine, &to), &from, longest).wait();
            if owner == comm.rank() {
                let mut rest = Taken(&come);
                let mut come: Vec<Taken> =
                    from.iter().map(|count| Taken(rest.next(*count))).collect();
                whole.put_vectors(block.assemble(&mut come, vectors));
                own.push(whole);
            }
        }
        same.map(|()| own)
    }

    /// Takes the state of all blocks from their owners, each of which gives its own, block after
    /// block. Collective in the column.
    pub fn restore(&mut self, lanes: &ColumnLanes, owners: &[Range<usize>], own: Vec<Whole>) {
        let comm = &lanes.weights;
        let scalars: Vec<Vec<u8>> = own.iter().map(Whole::scalars).collect();
        let scalars = comm.all_gather_any(&scalars.concat());
        let mut scalars: Vec<_> = scalars.into_iter().map(Cursor::new).collect();
        let mut own = own.into_iter();
        for (owner, index) in each(owners) {
            let block = &mut self.blocks[index];
            let scalars: Whole = packed::take(&mut scalars[owner]).expect("as its owner put it");
            let vectors = scalars.clone().take_vectors().len();
            let counts = block.counts().iter().map(|count| vectors * count).collect::<Vec<_>>();
            let (mut mine, mut to) = (Vec::new(), vec![0; comm.size()]);
            if owner == comm.rank() {
                let vectors = own.next().expect("a state of each own block").take_vectors();
                mine.reserve_exact(counts.iter().sum());
                for rank in 0..comm.size() {
                    for home in &block.parts {
                        let of = |vector: &Vec<f32>| {
                            taken(&home.part, &block.layout, &home.stretches[rank], vector)
                        };
                        vectors.iter().for_each(|vector| mine.extend(of(vector)));
                    }
                }
                to.clone_from(&counts);
            }
            let mut from = vec![0; comm.size()];
            from[owner] = counts[comm.rank()];
            let longest = counts.into_iter().max().unwrap_or(0);
            let what = named("states", &block.layout);
            let come = comm.start_all_to_all_v(what, (&mine, &to), &from, longest).wait();
            let mut numbers = Taken(&come);
            for home in &mut block.parts {
                let Stretch { weights, solver, average, .. } = &mut home.own;
                let mut whole = scalars.clone();
                let next = |_| numbers.next(weights.len()).to_vec();
                whole.put_vectors((0..vectors).map(next).collect());
                Whole { solver: *solver, average: *average } = whole;
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
