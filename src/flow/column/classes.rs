//! How a pass of a column's class blocks over all rows becomes steps of their classes' searches,
//! and what these are at whoever owns a block (docs/thousand-ranks.md, section 3.9).
//!
//! A search takes its steps by products over all numbers of its class, each one chain; so classes
//! are dealt to the ranks of the column whole:
//!
//! ```text
//! sums      all-to-all: of each node of its own slices a rank gives every rank that one's classes,
//!           the gradient and, beside it, the losses
//! points    all-gather: where each class's objective is wanted next
//! words     all-gather: each search's value, and whether it has converged
//! ```
//!
//! Once a pass, block after block; nothing of it is hidden behind work.

use std::io::Cursor;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::grid::ColumnLanes;
use super::exchange::add_nodes;
use super::named;
use crate::device::Nodes;
use crate::model::Layout;
use crate::packed;
use crate::partition::Owners;
use crate::tree::{Node, nodes_of};

/// The classes of a column's blocks, each of which has its home at one of the column's ranks.
pub struct Classes {
    rank: usize,
    /// The nodes of each rank's slices.
    held: Vec<Vec<Node>>,
    blocks: Vec<Homes>,
}

/// Where classes of a block, counted from its first, have their homes.
struct Homes {
    layout: Layout,
    /// The classes of each rank.
    runs: Vec<Range<usize>>,
    /// Numbers of each class.
    numbers: Vec<usize>,
}

/// What a search has come to: its value, and whether it has converged.
pub type Told = (f64, bool);

/// What all slices of a pass give a class: its losses, and its gradient in the order of its places.
pub type ClassSums = (f64, Vec<f32>);

impl Homes {
    fn new(layout: &Layout, ranks: usize) -> Homes {
        let classes = layout.classes.len();
        let start = |rank: usize| rank * classes / ranks;
        Homes {
            layout: layout.clone(),
            runs: (0..ranks).map(|rank| start(rank)..start(rank + 1)).collect(),
            numbers: (0..classes).map(|class| layout.places_of(class).0.len()).collect(),
        }
    }

    /// How many numbers the classes of each rank have.
    fn counts(&self) -> Vec<usize> {
        self.runs.iter().map(|run| self.numbers[run.clone()].iter().sum()).collect()
    }

    /// The numbers of some classes, class after class, of the block's.
    fn taken(&self, classes: Range<usize>, block: &[f32], to: &mut Vec<f32>) {
        for class in classes {
            to.extend(self.layout.places_of(class).0.into_iter().map(|place| block[place]));
        }
    }
}

impl Classes {
    /// Of these blocks, as the rank that `rows`, slices over the ranks of the column, is of.
    pub fn new(rows: &Owners, layouts: &[Layout]) -> Classes {
        Classes {
            rank: rows.rank(),
            held: rows.runs().into_iter().map(nodes_of).collect(),
            blocks: layouts.iter().map(|layout| Homes::new(layout, rows.ranks())).collect(),
        }
    }

    /// The classes of a block that have their home here.
    pub fn own(&self, block: usize) -> Range<usize> {
        self.blocks[block].runs[self.rank].clone()
    }

    /// The numbers of each class of a block that has its home here, of the block's `weights`.
    pub fn points(&self, block: usize, weights: &[f32]) -> Vec<Vec<f32>> {
        let point = |class: usize| {
            let mut point = Vec::with_capacity(self.blocks[block].numbers[class]);
            self.blocks[block].taken(class..class + 1, weights, &mut point);
            point
        };
        self.own(block).map(point).collect()
    }

    /// What all slices give to each class of a block that has its home here. `nodes` are those of
    /// the own slices; where a device has none to give they count as zeros. Collective in the
    /// column.
    pub fn sums(&self, lanes: &ColumnLanes, block: usize, nodes: Option<Nodes>) -> Vec<ClassSums> {
        let (comm, homes, rank) = (&lanes.sums, &self.blocks[block], self.rank);
        let zeros = || (vec![0.0; homes.layout.parameters()], vec![0.0; homes.layout.lanes()]);
        let own = self.held[rank].len();
        let nodes = nodes.unwrap_or_else(|| (0..own).map(|_| zeros()).collect());
        assert_eq!(nodes.len(), own, "sums of each node of the own slices");
        let most = self.held.iter().map(Vec::len).max().unwrap_or(0);
        let counts = homes.counts();
        let mut send = Vec::with_capacity(own * counts.iter().sum::<usize>());
        for run in &homes.runs {
            nodes.iter().for_each(|(gradient, _)| homes.taken(run.clone(), gradient, &mut send));
        }
        let times = |count: usize| move |nodes: &Vec<Node>| nodes.len() * count;
        let to: Vec<usize> = counts.iter().map(|count| own * count).collect();
        let from: Vec<usize> = self.held.iter().map(times(counts[rank])).collect();
        let longest = most * counts.iter().max().unwrap_or(&0);
        let what = named("gradients", &homes.layout);
        let gradients = comm.start_all_to_all_v(what, (&send, &to), &from, longest);
        drop(send);
        let mut send = Vec::new();
        for run in &homes.runs {
            nodes.iter().for_each(|(_, losses)| send.extend_from_slice(&losses[run.clone()]));
        }
        drop(nodes);
        let (classes, own_classes) = (|run: &Range<usize>| run.len(), homes.runs[rank].len());
        let to: Vec<usize> = homes.runs.iter().map(|run| own * run.len()).collect();
        let from: Vec<usize> = self.held.iter().map(times(own_classes)).collect();
        let longest = most * homes.runs.iter().map(classes).max().unwrap_or(0);
        let what = named("losses", &homes.layout);
        let losses = comm.start_all_to_all_v(what, (&send, &to), &from, longest);
        let (come, threads) = ((gradients.wait(), losses.wait()), comm.threads());
        let (mut gradient, mut losses) = (vec![0.0; counts[rank]], vec![0.0; own_classes]);
        add_nodes(threads, &self.held, &come.0, &mut gradient);
        add_nodes(threads, &self.held, &come.1, &mut losses);
        let mut rest = &gradient[..];
        let of_class = |(class, loss): (usize, f64)| {
            let (own, after) = rest.split_at(homes.numbers[class]);
            rest = after;
            (loss, own.to_vec())
        };
        homes.runs[rank].clone().zip(losses).map(of_class).collect()
    }

    /// The points of all classes of a block, class after class, of those at home here. Collective
    /// in the column.
    pub fn gather(&self, lanes: &ColumnLanes, block: usize, own: Vec<Vec<f32>>) -> Vec<f32> {
        let homes = &self.blocks[block];
        let what = named("weights", &homes.layout);
        lanes.weights.start_all_gather_v(what, own.concat(), &homes.counts()).wait()
    }

    /// Puts what `gather` has given into the block's weights.
    pub fn put(&self, block: usize, points: &[f32], weights: &mut [f32]) {
        let Homes { layout, numbers, .. } = &self.blocks[block];
        let places = (0..numbers.len()).flat_map(|class| layout.places_of(class).0);
        places.zip(points).for_each(|(place, weight)| weights[place] = *weight);
    }

    /// What all searches of a block have come to, of those at home here. Collective in the column.
    pub fn tell(&self, lanes: &ColumnLanes, block: usize, own: &[Told]) -> Vec<Told> {
        let homes = &self.blocks[block];
        let words = own.iter().flat_map(|(value, ends)| [*value, f64::from(u8::from(*ends))]);
        let counts: Vec<usize> = homes.runs.iter().map(|run| 2 * run.len()).collect();
        let what = named("objectives", &homes.layout);
        let all = lanes.weights.start_all_gather_v(what, words.collect(), &counts).wait();
        all.chunks_exact(2).map(|word| (word[0], word[1] == 1.0)).collect()
    }

    /// The state of each class of each block that `owners`, over this column's ranks, give to this
    /// one: `own` are those of the classes at home here. Block after block; damage ends the run.
    /// Collective in the column.
    pub fn collect<S: Serialize + DeserializeOwned>(
        &self,
        lanes: &ColumnLanes,
        owners: &[Range<usize>],
        own: &[Vec<S>],
    ) -> Vec<Vec<S>> {
        let (comm, mut collected) = (&lanes.weights, Vec::new());
        for (owner, blocks) in owners.iter().enumerate() {
            for block in blocks.clone() {
                let mut parts = vec![Vec::new(); comm.size()];
                packed::put(&mut parts[owner], &own[block]).expect("memory");
                let come = comm.all_to_all(parts);
                if owner == self.rank {
                    collected.push(come.iter().flat_map(|bytes| taken::<S>(bytes)).collect());
                }
            }
        }
        collected
    }

    /// The state of the classes of each block that have their home here, of what the blocks'
    /// owners give, each its own. Block after block; damage ends the run. Collective in the
    /// column.
    pub fn restore<S: Serialize + DeserializeOwned>(
        &self,
        lanes: &ColumnLanes,
        owners: &[Range<usize>],
        own: Vec<Vec<S>>,
    ) -> Vec<Vec<S>> {
        let (comm, mut own) = (&lanes.weights, own.into_iter());
        let mut restored = Vec::new();
        for (owner, blocks) in owners.iter().enumerate() {
            for block in blocks.clone() {
                let mut parts = vec![Vec::new(); comm.size()];
                if owner == self.rank {
                    let states = own.next().expect("states of each own block");
                    for (part, run) in parts.iter_mut().zip(&self.blocks[block].runs) {
                        packed::put(part, &&states[run.clone()]).expect("memory");
                    }
                }
                restored.push(taken(&comm.all_to_all(parts)[owner]));
            }
        }
        restored
    }
}

fn taken<S: DeserializeOwned>(bytes: &[u8]) -> Vec<S> {
    packed::take(&mut Cursor::new(bytes)).expect("as it was put")
}
