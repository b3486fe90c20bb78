//! A column of ranks in one process, each a thread: what lies `Between` their gradients and steps,
//! as plain as can be.

use std::ops::{AddAssign, Range};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Condvar, Mutex, MutexGuard};

use reelscale::internals::device::{Between, Pace, Part, Put, Slices, Turn, Vote};
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::model::experts::layouts;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::model::{LANES, Layout, initial};
use reelscale::internals::optim::{MiniBatchSolver, MiniBatchState, Step};
use reelscale::internals::team::Team;
use reelscale::internals::tree::{Partials, nodes_of};

pub const CLASSES: usize = 40;
pub const WIDTH: usize = 11;
pub const RATE: f32 = 0.05;
pub const L2: f32 = 1e-3;

/// Class blocks of 1 to 3 experts a class.
pub fn own_layouts() -> Vec<Layout> {
    let counts: Vec<usize> = (0..CLASSES).map(|class| 1 + class % 3).collect();
    layouts(&counts, Dummy::Learned, WIDTH, 3)
}

/// A part of a block at home: the state of each rank's stretch of it.
struct Home {
    part: Part,
    stretches: Vec<(Range<usize>, MiniBatchState)>,
}

/// A turn, as ranks give it.
struct Given {
    turn: Turn,
    /// [parts][ranks]
    nodes: Vec<Vec<Option<Vec<Vec<f32>>>>>,
    votes: Vec<Option<Vote>>,
    /// Of each part, after the step.
    weights: Vec<Vec<f32>>,
}

/// All that a column has between its ranks.
pub struct Column {
    slices: Vec<Slices>,
    layouts: Vec<Layout>,
    homes: Vec<Vec<Home>>,
    weights: Vec<Vec<f32>>,
    given: Vec<Given>,
    /// Turns whose step was taken, and the first one that takes none.
    pub stepped: usize,
    pub ends_at: Option<usize>,
    /// Whether a rank has failed; where all wait for each other between windows.
    pub failed: bool,
    pub barrier: Arc<Barrier>,
}

/// A rank of it, in a window.
pub struct Rank<'a> {
    pub column: &'a (Mutex<Column>, Condvar),
    pub rank: usize,
    /// Turns of this window that it has given, and whose weights it has taken.
    pub given: usize,
    pub taken: usize,
    /// Told to stop when this turn begins.
    pub stops_at: usize,
    pub stop: &'a AtomicBool,
}

impl Column {
    pub fn new(slices: Vec<Slices>, parts: usize) -> Column {
        let layouts = own_layouts();
        let home = |layout: &Layout, part: Part| {
            let units = part.numbers(layout) / LANES;
            let start = |rank: usize| rank * units / slices.len() * LANES;
            let stretch = |rank| {
                let run = start(rank)..start(rank + 1);
                let state = MiniBatchSolver::Adam.begin(run.len());
                (run, state)
            };
            Home { stretches: (0..slices.len()).map(stretch).collect(), part }
        };
        let homes =
            |layout| Part::all(layout, parts).into_iter().map(|part| home(layout, part)).collect();
        let homes = layouts.iter().map(homes).collect();
        let weights = layouts.iter().map(|layout| initial::experts(layout, CLASSES, 3, 1));
        let weights = weights.collect();
        let (given, barrier) = (Vec::new(), Arc::new(Barrier::new(slices.len())));
        let (stepped, ends_at, failed) = (0, None, false);
        Column { slices, homes, weights, layouts, given, stepped, ends_at, failed, barrier }
    }

    /// Before another window.
    pub fn begin_again(&mut self) {
        (self.given, self.stepped, self.ends_at) = (Vec::new(), 0, None);
    }

    /// Takes steps in turn order as far as all ranks have given, and gone on.
    fn go_on(&mut self) {
        while self.ends_at.is_none() && self.stepped < self.given.len() {
            let Column { slices, layouts, homes, weights, .. } = self;
            let Given { turn, nodes, votes, weights: given } = &mut self.given[self.stepped];
            if votes.iter().any(Option::is_none) {
                return;
            }
            if votes.iter().any(|vote| *vote != Some(Vote::GoOn)) {
                self.ends_at = Some(self.stepped);
                return;
            }
            if nodes.iter().flatten().any(Option::is_none) {
                return;
            }
            let (layout, weights) = (&layouts[turn.block], &mut weights[turn.block]);
            for (home, nodes) in homes[turn.block].iter_mut().zip(nodes) {
                let mut sums = Partials::default();
                for (slices, nodes) in slices.iter().zip(nodes) {
                    let held = nodes_of(slices.own.clone());
                    let nodes = nodes.take().expect("all have given");
                    assert_eq!(nodes.len(), held.len(), "the nodes of the rank's slices");
                    for (node, numbers) in held.into_iter().zip(nodes) {
                        sums.push(node, numbers, plus);
                    }
                }
                let gradient = sums.total(plus).unwrap();
                let mut own = Vec::new();
                home.part.take(layout, weights, &mut own);
                for (run, state) in &mut home.stretches {
                    let decayed = home.part.panels.len() * layout.width * LANES;
                    let decayed = decayed.clamp(run.start, run.end) - run.start;
                    let scale = 1.0 / turn.rows as f32;
                    let step = Step { learning_rate: RATE, scale, l2: L2, decayed };
                    let (member, plain) = (&mut (), Instructions::plain());
                    let team = &mut Team::alone(member);
                    state.step(team, plain, &mut own[run.clone()], &gradient[run.clone()], step);
                }
                home.part.put(layout, &own, weights);
                given.push(own);
            }
            self.stepped += 1;
        }
    }
}

pub fn plus<T: AddAssign>(mut left: Vec<T>, right: Vec<T>) -> Vec<T> {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
    left
}

impl Rank<'_> {
    pub fn column(&self) -> MutexGuard<'_, Column> {
        self.column.0.lock().unwrap()
    }

    /// Waits until the first `needed` turns are through, and takes their weights.
    fn wait(&mut self, needed: usize, put: &mut Put) {
        let mut column = self.column();
        while column.stepped < needed && column.ends_at.is_none() {
            column = self.column.1.wait(column).unwrap();
        }
        let through = needed.min(column.stepped);
        let mut weights = Vec::new();
        for Given { turn, weights: own, .. } in &column.given[self.taken.min(through)..through] {
            own.iter().enumerate().for_each(|(part, own)| {
                weights.push((turn.block, part, own.clone()));
            });
        }
        drop(column);
        self.taken = self.taken.max(through);
        weights.into_iter().for_each(|(block, part, own)| put(block, part, &own));
    }
}

impl Between for Rank<'_> {
    fn slices(&self) -> Slices {
        self.column().slices[self.rank].clone()
    }

    fn parts(&self, block: usize) -> Vec<Part> {
        self.column().homes[block].iter().map(|home| home.part.clone()).collect()
    }

    fn room(&mut self, block: usize, part: usize) -> Vec<f32> {
        let column = self.column();
        vec![f32::NAN; column.homes[block][part].part.numbers(&column.layouts[block])]
    }

    fn begin(&mut self, turn: &Turn, put: &mut Put, pace: &mut Pace) -> bool {
        pace.poll();
        let same = {
            let column = self.column();
            self.given > 0 && column.given[self.given - 1].turn.block == turn.block
        };
        let needed = if same { self.given } else { self.given.saturating_sub(1) };
        self.wait(needed, put);
        if self.given == self.stops_at {
            self.stop.store(true, Relaxed);
        }
        self.column().ends_at.is_none_or(|at| at >= needed)
    }

    fn give(&mut self, turn: &Turn, part: usize, nodes: Vec<Vec<f32>>, vote: Vote) {
        let (own, ranks) = (self.given - usize::from(part > 0), self.column().slices.len());
        let mut column = self.column();
        if column.given.len() == own {
            let parts = column.homes[turn.block].len();
            let nodes = (0..parts).map(|_| vec![None; ranks]).collect();
            let votes = vec![None; ranks];
            column.given.push(Given { turn: turn.clone(), nodes, votes, weights: Vec::new() });
        }
        let given = &mut column.given[own];
        assert_eq!(given.turn, *turn, "the same turns on all ranks");
        assert!(given.nodes[part][self.rank].replace(nodes).is_none(), "a part is given once");
        if part == 0 {
            given.votes[self.rank] = Some(vote);
        }
        column.go_on();
        drop(column);
        self.column.1.notify_all();
        self.given += usize::from(part == 0);
    }

    fn tend(&mut self) {}

    fn end(&mut self, put: &mut Put, _: &mut Pace) -> Vec<Turn> {
        self.wait(self.given, put);
        let column = self.column();
        let stepped = column.ends_at.unwrap_or(self.given);
        column.given[stepped..self.given].iter().map(|given| given.turn.clone()).collect()
    }
}
