//! A column of ranks that have the same class blocks: what stands there between the gradient of a
//! mini-batch and the step (docs/thousand-ranks.md, sections 3.7 and 3.8).
//!
//! A turn is a block at a mini-batch. Each rank gives the gradient over its own slices, part by
//! part; the part's sums go to the homes of its stretches, are added along the tree and stepped by,
//! and the weights come back, while the next turn's gradient is made:
//!
//! ```text
//! turn t - 2   give ... sums ... step ... weights ... put
//! turn t - 1                give ......... sums ... step ... weights ...
//! turn t                                            begin, give ...
//! ```
//!
//! Who stops, and where: a turn begins once all ranks' votes on the turn two before are known, and
//! no turn takes its step before the votes on those before it are. So a vote that ranks learn of at
//! other moments is acted on by all at the same turn.

mod classes;
mod collect;
mod exchange;
mod stretches;

use std::collections::VecDeque;

pub use self::classes::{ClassSums, Classes, Told};
pub use self::collect::Whole;
use self::exchange::{Kind, Sums, Weights, start_sums, start_weights};
use self::stretches::Home;
pub use self::stretches::Stretches;
use super::grid::ColumnLanes;
use crate::device::{Between, Pace, Part, Put, Slices, Turn, Vote};
use crate::model::Layout;

/// What something of a block is called where it travels and comes damaged.
pub(crate) fn named(what: &str, layout: &Layout) -> String {
    format!("{what} of the classes {:?}", layout.classes)
}

/// What this rank's blocks step with.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    pub learning_rate: f32,
    /// Penalty on the weights of gates and experts.
    pub l2: f32,
}

/// Turns of a column's blocks as this rank takes part in them. Between windows there is none, so
/// that nothing is under way.
pub struct Column<'a> {
    lanes: &'a ColumnLanes,
    stretches: &'a mut Stretches,
    steps: Steps,
    /// Turns that were given and aren't through, the earliest first.
    under_way: VecDeque<UnderWay<'a>>,
    /// The first of these on which not all ranks have voted to go on: it takes no step, nor does
    /// any after it.
    ends_at: Option<usize>,
}

/// A turn that was given.
struct UnderWay<'a> {
    turn: Turn,
    parts: Vec<State<'a>>,
}

/// Where a part is.
enum State<'a> {
    Sums(Sums<'a>),
    Weights(Weights<'a>),
    Here(Vec<f32>),
    /// It took no step.
    Dropped,
}

impl<'a> Column<'a> {
    /// Before the first turn of a window.
    pub fn new(lanes: &'a ColumnLanes, stretches: &'a mut Stretches, steps: Steps) -> Column<'a> {
        Column { lanes, stretches, steps, under_way: VecDeque::new(), ends_at: None }
    }

    /// Goes on with what has come: sums strictly in the order of turns and parts, weights in any.
    /// Waits for all of the first `needed` turns.
    fn go_on(&mut self, needed: usize) {
        self.step_in_order(needed);
        let stepped = self.ends_at.unwrap_or(self.under_way.len());
        for (index, under_way) in self.under_way.iter_mut().enumerate().take(stepped) {
            let Stretches { blocks, free, .. } = &mut *self.stretches;
            let home = &blocks[under_way.turn.block];
            for (state, part) in under_way.parts.iter_mut().zip(&home.parts) {
                let State::Weights(weights) = state else { continue };
                if index < needed || weights.poll() {
                    let State::Weights(weights) = std::mem::replace(state, State::Dropped) else {
                        unreachable!("it was one")
                    };
                    let what = named("weights", &home.layout);
                    *state = State::Here(weights.wait(self.lanes, &what, &part.stretches, free));
                }
            }
        }
    }

    /// Steps by the sums that have come, and starts the way of the weights, in the order of turns
    /// and parts. Waits for those of the first `needed` turns.
    fn step_in_order(&mut self, needed: usize) {
        let Stretches { blocks, held, free, .. } = &mut *self.stretches;
        for (index, under_way) in self.under_way.iter_mut().enumerate() {
            if self.ends_at.is_some_and(|at| at <= index) {
                return;
            }
            let UnderWay { turn, parts } = under_way;
            let Home { layout, parts: homes } = &mut blocks[turn.block];
            for (part, (state, home)) in parts.iter_mut().zip(homes.iter_mut()).enumerate() {
                let State::Sums(sums) = state else { continue };
                if index >= needed && !sums.poll() {
                    return;
                }
                let State::Sums(sums) = std::mem::replace(state, State::Dropped) else {
                    unreachable!("it was one")
                };
                let come = sums.wait(self.lanes, free);
                if part == 0 && !come.all_go_on() {
                    self.ends_at = Some(index);
                    return;
                }
                let what = named("gradients", layout);
                let (comm, own) = (&self.lanes.sums, &mut home.own);
                let gradient = come.sum(comm, &what, held, own.weights.len(), free);
                own.step(comm.threads(), &gradient, turn.rows, self.steps);
                free.take_back(Kind::Stretch, gradient);
                let mut mine = free.room(Kind::Stretch, own.weights.len());
                mine.copy_from_slice(&own.weights);
                let weights = start_weights(self.lanes, mine, &home.stretches, free);
                *state = State::Weights(weights);
            }
            // Its other parts are still to be given.
            if parts.len() < homes.len() {
                return;
            }
        }
    }

    /// Puts the weights of the first `count` turns, which are all here.
    fn put_first(&mut self, count: usize, put: &mut Put) {
        for UnderWay { turn, parts } in self.under_way.drain(..count) {
            for (part, state) in parts.into_iter().enumerate() {
                let State::Here(numbers) = state else { unreachable!("all parts have come") };
                put(turn.block, part, &numbers);
                self.stretches.free.take_back(Kind::Part, numbers);
            }
        }
        self.ends_at = self.ends_at.map(|at| at - count);
    }
}

impl Between for Column<'_> {
    fn slices(&self) -> Slices {
        self.stretches.slices.clone()
    }

    fn parts(&self, block: usize) -> Vec<Part> {
        self.stretches.parts(block).cloned().collect()
    }

    fn room(&mut self, block: usize, part: usize) -> Vec<f32> {
        self.stretches.room(block, part)
    }

    /// Waits until the turn may begin: until the one two before it is through, and that before it,
    /// too, if it is of the same block. Their weights go to `put`, part by part. False: the ranks
    /// of the column stop, and no turn begins.
    fn begin(&mut self, turn: &Turn, put: &mut Put, pace: &mut Pace) -> bool {
        let may_go_on = self.under_way.back().is_some_and(|last| last.turn.block != turn.block);
        let needed = self.under_way.len() - usize::from(may_go_on);
        self.go_on(needed);
        pace.poll();
        if self.ends_at.is_some_and(|at| at < needed) {
            return false;
        }
        self.put_first(needed, put);
        true
    }

    /// Takes the nodes of the own slices, in order, of a part of a turn, and starts its way. Parts
    /// come in order; the first carries this rank's vote.
    fn give(&mut self, turn: &Turn, part: usize, nodes: Vec<Vec<f32>>, vote: Vote) {
        if part == 0 {
            self.under_way.push_back(UnderWay { turn: turn.clone(), parts: Vec::new() });
        }
        let under_way = self.under_way.back_mut().expect("a turn begins with its first part");
        assert!(under_way.turn == *turn && under_way.parts.len() == part, "parts in order");
        let Stretches { blocks, held, free, .. } = &mut *self.stretches;
        let cut = (&blocks[turn.block].parts[part].stretches[..], &held[..]);
        under_way.parts.push(State::Sums(start_sums(self.lanes, nodes, cut, vote, free)));
    }

    /// Goes on with what has come, waiting for nobody.
    fn tend(&mut self) {
        self.go_on(0);
    }

    /// Waits for all turns under way, whose weights go to `put`, and leaves nothing under way.
    /// Gives those that took no step, on all ranks of the column alike.
    fn end(&mut self, put: &mut Put, pace: &mut Pace) -> Vec<Turn> {
        self.go_on(self.under_way.len());
        pace.poll();
        let stepped = self.ends_at.take().unwrap_or(self.under_way.len());
        self.put_first(stepped, put);
        // They are complete everywhere without this rank, and nobody looks at what they bring.
        self.under_way.drain(..).map(|under_way| under_way.turn).collect()
    }
}
