//! A column of ranks with the same class blocks: weights, optimizer states and averages are, to the
//! bit, those of one rank that adds all slices along the tree and steps whole blocks; votes end all
//! ranks at the same turn; lost ranks and damage are found; what travels is what cost/ says.

mod common;
#[path = "common/columns.rs"]
mod model;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::reelscale;
use common::tapped::{Tap, run_tapped};
use model::{
    CASE, CLASSES, Case, Device, STEPS, WIDTH, alone, check, initial_weights, learned, on_rank,
    swapped,
};
use reelscale::internals::comm::{Traffic, run_threads};
use reelscale::internals::cost::traffic::{Moved, turn};
use reelscale::internals::device::{
    Apart, Arrived, Batch, ClassBlock, Device as ComputesWith, Learn, MiniBatches, Negatives, Pace,
    Solving, Vote,
};
use reelscale::internals::flow::column::{Column, Steps, Whole};
use reelscale::internals::flow::grid::Lanes;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::{Layout, stride_of};
use reelscale::internals::optim::MiniBatchSolver;
use reelscale::internals::packed;
use reelscale::internals::partition::{Grid, Owners};
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::{Error, Exit, Host};

#[test]
fn a_column_steps_as_one_rank_does() {
    let mut cases = Vec::new();
    for (ranks, slices) in [(2, 2), (2, 4), (3, 3), (3, 4), (4, 12), (3, 12), (4, 64), (7, 9)] {
        for (blocks, parts) in [(1, 1), (1, 4), (2, 2), (4, 1)] {
            cases.push(Case { ranks, slices, blocks, parts, ..CASE });
        }
    }
    for (solver, averaging) in [
        (MiniBatchSolver::Adagrad, 0.0),
        (MiniBatchSolver::Adagrad, 0.99),
        (MiniBatchSolver::Adam, 0.0),
    ] {
        cases.push(Case { solver, averaging, ranks: 3, ..CASE });
    }
    for case in cases {
        let found = run_threads(case.ranks, |comm| on_rank(case, comm, |_, _| Ok(Vote::GoOn), 0));
        let found = found.unwrap();
        assert!(found.iter().all(|rank| rank.2.is_empty()), "{case:?}");
        for (rank, found) in found.iter().enumerate() {
            check("all turns", case, rank, found, &case.turns());
        }
    }
}

#[test]
fn columns_of_processes_step_as_one_rank_does() {
    if common::without_mpi() {
        return;
    }
    let program = PathBuf::from(env!("CARGO_BIN_EXE_reelscale"));
    let example = program.with_file_name("examples").join("columns");
    for ranks in [2, 3, 4] {
        reelscale("").program(example.clone()).ranks(ranks).within(120).stdout();
    }
}

/// Polls that don't see each exchange that has come, so that any of several is through first.
struct Blinks(AtomicUsize);

impl Tap for Blinks {
    fn sees(&self, _: usize) -> bool {
        self.0.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0
    }
}

/// Whoever votes, on whichever turn: all ranks leave at the same one, at most two after it began
/// take no step, and those took none on any rank.
#[test]
fn a_vote_ends_all_ranks_at_the_same_turn() {
    for (blocks, ranks) in [(1, 2), (2, 3), (3, 2)] {
        let case = Case { blocks, ranks, ..CASE };
        let turns = case.turns();
        for against in [Vote::Stops, Vote::Failed] {
            for voter in 0..ranks {
                for at in 0..turns.len() {
                    let vote = |rank, turn| {
                        let stops = rank == voter && turn >= at;
                        Ok(if stops { against } else { Vote::GoOn })
                    };
                    let seed = (at + 100 * voter) as u64;
                    let found = run_tapped(ranks, Arc::new(Blinks(at.into())), |comm| {
                        on_rank(case, comm, vote, seed)
                    });
                    let found = found.unwrap();
                    let left = found[0].2.clone();
                    assert!(found.iter().all(|rank| rank.2 == left), "{case:?}");
                    let next = at + left.len();
                    assert!((1..=2).contains(&left.len()) && next <= turns.len());
                    assert_eq!(left, turns[at..next], "{case:?}: from the vote on");
                    for (rank, found) in found.iter().enumerate() {
                        check("a vote", case, rank, found, &turns[..at]);
                    }
                }
            }
        }
    }
}

/// What a column had between its ranks goes on in a column of others, at the same bits.
#[test]
fn states_go_on_in_other_columns() {
    let case = Case { slices: 12, ..CASE };
    let turns = case.turns();
    let (first, rest) = turns.split_at(5);
    for (before, after) in [(2, 3), (4, 2), (3, 5)] {
        let mut weights: Vec<Vec<f32>> = Vec::new();
        let mut states: Vec<Whole> = Vec::new();
        for (ranks, turns) in [(before, first), (after, rest)] {
            let begun = (weights.clone(), states.clone());
            let case = Case { ranks, ..case };
            let found = run_threads(ranks, |comm| {
                let grid = Grid::new((ranks, 1), case.slices, ranks, comm.rank());
                let lanes = Lanes::new(comm, &grid);
                let mut device = Device::new(case);
                if !begun.0.is_empty() {
                    device.weights.clone_from(&begun.0);
                }
                let mut stretches = device.stretches(case, grid.slices());
                if !begun.1.is_empty() {
                    let owners = Owners::even(device.layouts.len(), ranks, comm.rank());
                    let own = begun.1[owners.own()].to_vec();
                    stretches.restore(lanes.column().unwrap(), &owners.runs(), own);
                }
                device.take(
                    (&lanes, &mut stretches),
                    turns,
                    |_| Ok(Vote::GoOn),
                    comm.rank() as u64,
                )?;
                device.learned((&lanes, &stretches), ranks)
            });
            let found = found.unwrap();
            weights.clone_from(&found[0].0);
            states = found.into_iter().flat_map(|rank| rank.1).collect();
        }
        let found = weights.iter().zip(&states).map(|(weights, whole)| learned(weights, whole));
        assert!(found.eq(alone(case, &turns)), "{before} ranks, then {after}");
    }
}

/// Averages come to all ranks and go back, and losses of all slices are those of their order.
#[test]
fn averages_and_chains_of_losses_are_gathered() {
    let case = Case { ranks: 3, slices: 4, ..CASE };
    let found = run_threads(case.ranks, |comm| {
        let grid = Grid::new((case.ranks, 1), case.slices, case.ranks, comm.rank());
        let lanes = Lanes::new(comm, &grid);
        let mut device = Device::new(case);
        let mut stretches = device.stretches(case, grid.slices());
        device.take(
            (&lanes, &mut stretches),
            &case.turns(),
            |_| Ok(Vote::GoOn),
            comm.rank() as u64,
        )?;
        let column = lanes.column().unwrap();
        let [averages, back] = [(); 2].map(|()| swapped(column, &mut stretches));
        assert!(back == device.weights, "swapped twice");
        let lanes_of: Vec<usize> =
            device.layouts.iter().map(|layout| 16 * layout.groups.len()).collect();
        let own = stretches.slices().own.clone();
        let chains = |slices: Range<usize>, lanes: usize| -> Vec<f64> {
            slices
                .flat_map(|slice| (0..lanes).map(move |lane| (slice * 100 + lane) as f64))
                .collect()
        };
        let of_own: Vec<Vec<f64>> =
            lanes_of.iter().map(|lanes| chains(own.clone(), *lanes)).collect();
        // What is set goes on everywhere.
        let set = device.stretches(case, grid.slices()).weights(column);
        set.iter().enumerate().for_each(|(block, set)| stretches.set_weights(block, set));
        assert!(stretches.weights(column) == set && set == device.weights);
        for (all, lanes) in stretches.all_chains(column, &of_own).iter().zip(&lanes_of) {
            assert_eq!(*all, chains(0..case.slices, *lanes));
        }
        Ok(averages)
    });
    let found = found.unwrap();
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    let expected = alone(case, &case.turns());
    for (average, (_, whole)) in found[0].iter().zip(expected) {
        let whole: Whole = packed::take(&mut &whole[..]).unwrap();
        assert_eq!(**average, **whole.average.unwrap().weights);
    }
}

#[test]
fn a_lost_rank_ends_the_others_wherever_it_is_lost() {
    let case = Case { ranks: 3, ..CASE };
    for at in 0..case.turns().len() {
        let lost = |rank, turn| match (rank, turn) {
            (1, turn) if turn == at => Err(Error::new(Exit::Peer, "lost")),
            _ => Ok(Vote::GoOn),
        };
        let error = run_threads(case.ranks, |comm| on_rank(case, comm, lost, 0)).unwrap_err();
        assert!(error.text.contains("lost"), "{}", error.text);
    }
}

/// Flips a bit of the `at`-th message that rank 1 takes in, of those that are as long as parts.
struct Flips {
    at: usize,
    seen: AtomicUsize,
}

impl Tap for Flips {
    fn after(&self, rank: usize, arrived: &mut [u8], parts: &[(usize, Range<usize>)]) {
        let Some((_, part)) = parts.first().filter(|_| rank == 1 && arrived.len() > 300) else {
            return;
        };
        if self.seen.fetch_add(1, Relaxed) == self.at {
            arrived[part.start + part.len() / 2] ^= 4;
        }
    }
}

/// In sums and in weights alike: it is found, names who sent it, and nothing goes on from it.
#[test]
fn damage_is_found_before_a_boundary() {
    let case = CASE;
    let mut found = [0, 0];
    for at in 0..4 * case.turns().len() {
        let tap = Arc::new(Flips { at, seen: 0.into() });
        let outcome = run_tapped(case.ranks, tap.clone(), |comm| {
            on_rank(case, comm, |_, _| Ok(Vote::GoOn), 0)
        });
        let text = outcome.expect_err("a damaged message").text;
        assert!(
            text.starts_with("rank 0: ") && text.contains("arrived damaged on rank 1"),
            "{text}"
        );
        let which = ["gradients of the classes", "weights of the classes"];
        let which = which.iter().position(|what| text.contains(what)).expect(&text);
        found[which] += 1;
    }
    assert!(found.iter().all(|count| *count > 5), "{found:?}");
}

/// On 2 to 64 ranks, aligned slices and others, whole blocks and parts.
#[test]
fn what_travels_is_what_cost_says() {
    for (ranks, slices) in [(2, 2), (3, 4), (4, 12), (5, 5), (8, 64), (16, 16), (63, 64), (64, 64)]
    {
        for parts in [1, 3] {
            let case = Case { ranks, slices, parts, blocks: 2, ..CASE };
            let found = run_threads(ranks, |comm| {
                let grid = Grid::new((ranks, 1), slices, ranks, comm.rank());
                let lanes = Lanes::new(comm, &grid);
                let mut device = Device::new(case);
                let mut stretches = device.stretches(case, grid.slices());
                let before = comm.traffic();
                device.take((&lanes, &mut stretches), &case.turns(), |_| Ok(Vote::GoOn), 0)?;
                let of = |traffic: Traffic| {
                    [traffic.bytes_sent, traffic.bytes_received, traffic.messages]
                };
                let (before, after) = (of(before), of(comm.traffic()));
                let [sent, received, calls] =
                    std::array::from_fn(|index| (after[index] - before[index]) as usize);
                let numbers = |block: usize| -> Vec<usize> {
                    let layout = &device.layouts[block];
                    stretches.parts(block).map(|part| part.numbers(layout)).collect()
                };
                let turns = case.turns();
                let cost = turns.iter().map(|one| turn(&numbers(one.block), grid.slices()));
                Ok((Moved { sent, received, calls }, cost.sum::<Moved>()))
            });
            for (rank, (found, expected)) in found.unwrap().into_iter().enumerate() {
                assert_eq!(found, expected, "rank {rank}, {case:?}");
            }
        }
    }
}

/// Rows of the windows that devices learn from.
const WINDOWS: [Range<usize>; 2] = [0..64, 64..100];

/// Rows at these positions, of two labels each.
fn rows_at<D: ComputesWith>(device: &mut D, positions: &[usize]) -> D::Rows {
    let put = &mut |to: &mut [f32], labels: &mut Labels| {
        for (to, position) in to.chunks_mut(stride_of(WIDTH)).zip(positions) {
            let mut stream = Stream::new(5, Purpose::PlantedRows, *position as u64);
            to.fill(0.0);
            to[..WIDTH].fill_with(|| stream.uniform() - 0.5);
            labels.push(&[*position as u32 % 31, 31 + *position as u32 % 37]);
        }
    };
    let first = positions.first().map_or(0, |first| *first);
    let arrived = Arrived { first, rows: positions.len(), width: WIDTH, put };
    device.bring(arrived, None).unwrap()
}

fn how(case: Case) -> Learn {
    let Steps { learning_rate, l2 } = STEPS;
    let negatives = Some(Negatives { share: 0.6, seed: 3, first: 0, class_count: CLASSES });
    Learn { batch: 16, slices: case.slices, learning_rate, l2, negatives }
}

fn held_by<D: ComputesWith, S: Solving>(
    device: &mut D,
    case: Case,
    state: impl Fn(&Layout) -> S,
) -> D::Blocks<S> {
    let block = |layout: Layout| ClassBlock {
        weights: Arc::new(initial_weights(&layout)),
        state: state(&layout),
        layout,
    };
    device.hold(case.layouts().into_iter().map(block).collect()).unwrap()
}

/// What one rank learns with all slices, and each block's chains of losses.
fn learned_alone(case: Case) -> Vec<(model::LearnedBlock, Vec<f64>)> {
    let device = &mut Host::detected(1, 1e-5);
    let state =
        |layout: &Layout| MiniBatches::new(layout, case.solver, case.averaging, case.slices);
    let mut held = held_by(device, case, state);
    let mut poll = || ();
    let pace = &mut Pace::new(&mut poll, &|| false);
    for window in WINDOWS {
        let rows = rows_at(device, &window.collect::<Vec<_>>());
        device.learn(&mut held, &rows, &how(case), pace).unwrap();
    }
    let mut found = Vec::new();
    for index in 0..case.layouts().len() {
        let look = &mut |block: &ClassBlock<MiniBatches>| {
            let MiniBatches { solver, average, losses, .. } = &block.state;
            let whole = Whole { solver: solver.clone(), average: average.clone() };
            found.push((learned(&block.weights, &whole), losses.clone()));
        };
        device.read(&held, index, look).unwrap();
    }
    found
}

/// Real devices, and rows of their own slices only: weights, states and losses of one rank with all
/// slices, which steps whole blocks.
#[test]
fn devices_learn_through_a_column_what_one_learns() {
    for (ranks, slices, blocks, parts) in [(2, 2, 2, 1), (3, 4, 3, 2), (2, 12, 1, 4), (5, 12, 2, 1)]
    {
        let case = Case { ranks, slices, blocks, parts, ..CASE };
        let expected = learned_alone(case);
        let found = run_threads(ranks, |comm| {
            let grid = Grid::new((ranks, 1), slices, ranks, comm.rank());
            let lanes = Lanes::new(comm, &grid);
            let lanes = lanes.column().expect("a column");
            let mut stretches = Device::new(case).stretches(case, grid.slices());
            let own = stretches.slices().clone();
            let device = &mut Host::detected(1 + comm.rank() % 2, 1e-5);
            let mut held = held_by(device, case, |layout| Apart::new(layout, &own));
            let mut poll = || ();
            let pace = &mut Pace::new(&mut poll, &|| false);
            for window in WINDOWS {
                let batches = Batch::of_window(&window, how(case).batch, &own);
                let positions = batches.iter().flat_map(|one| one.first..one.first + one.rows());
                let rows = rows_at(device, &positions.collect::<Vec<_>>());
                let between = &mut Column::new(lanes, &mut stretches, STEPS);
                device.learn_apart(&mut held, (&rows, &batches), &how(case), between, pace)?;
            }
            let (mut weights, mut chains) = (Vec::new(), Vec::new());
            for index in 0..expected.len() {
                let look = &mut |block: &ClassBlock<Apart>| {
                    weights.push(block.weights.to_vec());
                    chains.push(block.state.losses.clone());
                };
                device.read(&held, index, look)?;
            }
            let chains = stretches.all_chains(lanes, &chains);
            let owners = Owners::even(expected.len(), ranks, comm.rank());
            let whole = stretches.collect(lanes, &owners.runs())?;
            for (block, (state, losses)) in expected.iter().enumerate() {
                let bits: Vec<u32> = weights[block].iter().map(|weight| weight.to_bits()).collect();
                assert!(bits == state.0, "weights of block {block}, {case:?}");
                assert_eq!(chains[block], *losses, "block {block}, {case:?}");
                if owners.own().contains(&block) {
                    let whole = &whole[block - owners.own().start];
                    assert!(learned(&weights[block], whole) == *state, "{block}, {case:?}");
                }
            }
            Ok(())
        });
        found.unwrap();
    }
}
