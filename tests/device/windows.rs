//! Windows of rows bring every rank what ten lines say they bring, to the bit: whoever holds the
//! rows, however windows are cut, whatever is left out, in memory or from a scratch file. One
//! flipped bit of a part names its sender.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use reelscale::internals::cost::traffic::{Moved, Share, windows_travel, windows_travel_in_grid};
use reelscale::internals::device::Dropout;
use reelscale::internals::flow::own_rows::{OwnRows, Room};
use reelscale::internals::flow::windows::{Order, Travel};
use reelscale::internals::kernel::dropout::definition;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::{Matrix, stride_of};
use reelscale::internals::partition::{Blocks, Grid, Owners};
use reelscale::internals::rng::{Permutation, Purpose, Stream};
use reelscale::{Comm, Error, Exit, Result};

use super::common::tapped::{Tap, run_tapped};
use super::textbook::Textbook;

/// Labels of all classes.
const CLASSES: u64 = 1000;

/// Rows that travel.
#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    width: usize,
    shares: Vec<usize>,
    /// Rows and columns of the grid, and slices of a mini-batch.
    grid: (usize, usize, usize),
    batch: usize,
    window: usize,
    /// Windows that have passed before.
    passed: usize,
    share: f32,
    shuffled: bool,
    scratch: bool,
    threads: usize,
    labels_max: u64,
}

/// What a rank was brought: the first position, if there is one, numbers as bits, and labels.
type Window = (Option<usize>, Vec<u32>, Labels);

/// A row's numbers, among them zeros of both signs, numbers below normal ones, and large ones.
fn numbers(row: usize, width: usize) -> Vec<f32> {
    let mut stream = Stream::new(11, Purpose::PlantedRows, row as u64);
    let number = |stream: &mut Stream| match stream.below(8) {
        0 => -0.0,
        1 => 0.0,
        2 => f32::from_bits(stream.below(1 << 23) as u32 | (stream.below(2) as u32) << 31),
        3 => 3e38 * (stream.uniform() - 0.5),
        _ => stream.uniform() - 0.5,
    };
    (0..width).map(|_| number(&mut stream)).collect()
}

fn labels(row: usize, most: u64) -> Vec<u32> {
    let mut stream = Stream::new(12, Purpose::PlantedRows, row as u64);
    let count = stream.below(most + 1);
    let mut labels: Vec<u32> = (0..count).map(|_| stream.below(CLASSES) as u32).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

impl Case {
    fn random(stream: &mut Stream) -> Case {
        let mut below = |bound: u64| stream.below(bound) as usize;
        let mut shares: Vec<usize> = (0..1 + below(5)).map(|_| below(4)).collect();
        shares[0] += usize::from(shares.iter().all(|share| *share == 0));
        let rows = 1 + below(shares.len() as u64);
        let grid = match below(3) {
            0 => (1, shares.len(), 1),
            1 => (rows, shares.len() / rows, rows + below(5)),
            _ => (rows, 1 + below((shares.len() / rows) as u64), rows + below(5)),
        };
        let batch = 1 + below(60);
        Case {
            grid,
            batch,
            rows: 1 + below(400),
            width: 1 + below(100),
            shares,
            window: batch * (1 + below(5)),
            passed: below(2),
            share: [0.0, 0.01, 0.05, 0.5, 0.97][below(5)],
            shuffled: below(3) > 0,
            scratch: below(4) == 0,
            threads: 1 + below(3),
            labels_max: [0, 3, 200][below(3)],
        }
    }

    fn dropout(&self) -> Option<Dropout> {
        Dropout::of(self.share, 5, 1 << 33)
    }

    fn permutation(&self) -> Permutation {
        Permutation::new(9, Purpose::RowOrder, 3, self.rows)
    }

    fn grid(&self, rank: usize) -> Grid {
        let (rows, columns, slices) = self.grid;
        Grid::new((rows, columns), slices, self.shares.len(), rank)
    }

    /// The positions of the window from `first` on that a rank takes: its slices of each
    /// mini-batch, or in the natural order a part of its slices of all rows.
    fn positions(&self, first: usize, rank: usize) -> Vec<usize> {
        let (rows, columns, slices) = self.grid;
        if rank >= rows * columns {
            return Vec::new();
        }
        let end = (first + self.window).min(self.rows);
        let row = rank % rows;
        let ends = [row, row + 1].map(|row| row * slices / rows);
        let run = |count: usize| ends.map(|slice| slice * count / slices);
        if rows > 1 && !self.shuffled {
            let [from, to] = run(self.rows);
            let windows = self.rows.div_ceil(self.window);
            let at = |number: usize| from + number * (to - from) / windows;
            return (at(first / self.window)..at(first / self.window + 1)).collect();
        }
        let batches = (first..end).step_by(self.batch);
        let batches = batches.flat_map(|from| {
            let [begin, end] = run(self.batch.min(end - from));
            from + begin..from + end
        });
        batches.collect()
    }

    /// The model: at each position of each window that a rank takes the row of the order, each
    /// number by definition.
    fn expected(&self, rank: usize) -> Vec<Window> {
        let from = (self.passed * self.window).min(self.rows);
        let windows = (from..self.rows).step_by(self.window).map(|first| {
            let (mut bits, mut all) = (Vec::new(), Labels::new());
            let positions = self.positions(first, rank);
            let first_taken = positions.first().copied();
            for position in positions {
                let row = if self.shuffled { self.permutation().at(position) } else { position };
                let mut own = numbers(row, self.width);
                own.resize(stride_of(self.width), 0.0);
                if let Some((bound, mut stream)) = self.dropout().map(|dropout| dropout.draw(row)) {
                    let bytes =
                        (0..own.len().div_ceil(4)).flat_map(|_| stream.next_u32().to_le_bytes());
                    own.iter_mut().zip(bytes).for_each(|(x, byte)| {
                        *x = definition::number(*x, byte, bound);
                    });
                }
                bits.extend(own.iter().map(|number| number.to_bits()));
                all.push(&labels(row, self.labels_max));
            }
            (first_taken, bits, all)
        });
        windows.collect()
    }

    fn runs(&self) -> Vec<Range<usize>> {
        let blocks = Blocks::even(self.rows, 64);
        let owners = Owners::in_shares(blocks.len(), &self.shares, 0);
        owners.runs().into_iter().map(|run| blocks.run(run)).collect()
    }

    /// Rows, numbers that travel of them, and labels.
    fn sizes(&self, rows: impl Iterator<Item = usize>) -> [usize; 3] {
        let stride = stride_of(self.width);
        let sent = |row: usize| match self.dropout().map(|dropout| dropout.draw(row)) {
            Some((bound, mut stream)) if bound > 8 => {
                let bytes = (0..stride / 4).flat_map(|_| stream.next_u32().to_le_bytes());
                bytes.filter(|byte| u32::from(*byte) >= bound).count() + stride.div_ceil(32)
            }
            _ => stride,
        };
        rows.fold([0; 3], |[rows, numbers, count], row| {
            [rows + 1, numbers + sent(row), count + labels(row, self.labels_max).len()]
        })
    }

    /// What a rank moves.
    fn moved(&self, rank: usize) -> Moved {
        let from = (self.passed * self.window).min(self.rows);
        let windows: Vec<usize> = (from..self.rows).step_by(self.window).collect();
        let ((rows, columns, _), ranks) = (self.grid, self.shares.len());
        if windows.is_empty() || ranks == 1 {
            return Moved::default();
        }
        let taken = |rank: usize| {
            let positions = windows.iter().flat_map(|first| self.positions(*first, rank));
            let row = |at: usize| if self.shuffled { self.permutation().at(at) } else { at };
            positions.map(row).collect::<Vec<_>>()
        };
        let own = self.runs()[rank].clone();
        // Each row of the grid takes rows that no other one takes.
        let given = (0..rows).flat_map(taken).filter(|row| own.contains(row));
        let given = self.sizes(given.collect::<Vec<_>>().into_iter());
        if (rows, columns) == (1, ranks) {
            let all = self.sizes(taken(0).into_iter());
            let share = |at: usize| Share { own: given[at], all: all[at] };
            return windows_travel((share(0), share(1), share(2)), windows.len(), ranks);
        }
        let taken = (rank < rows * columns).then(|| self.sizes(taken(rank).into_iter()));
        windows_travel_in_grid((given, taken), windows.len(), ranks, rows)
    }

    /// What this rank is brought, until ranks agree that something is wrong, and what it moves.
    fn found(&self, comm: &Comm) -> (Vec<Window>, Moved, Result<()>) {
        let found = RefCell::new(Vec::new());
        let outcome = self.pass(comm, &found);
        let (traffic, words) = (comm.traffic(), found.borrow().len() as u64 + 1);
        // Less the word that ranks agree by after each window.
        let [sent, received] = [5, 5 * (comm.size() as u64 - 1)];
        let moved = Moved {
            sent: (traffic.bytes_sent - words * sent) as usize,
            received: (traffic.bytes_received - words * received) as usize,
            calls: (traffic.messages - words) as usize,
        };
        (found.into_inner(), moved, outcome)
    }

    fn pass(&self, comm: &Comm, found: &RefCell<Vec<Window>>) -> Result<()> {
        let runs = self.runs();
        let rows = runs[comm.rank()].clone();
        let bytes_max = if self.scratch { 0 } else { usize::MAX };
        let room = Room { bytes_max, ..Room::unlimited() };
        let mut own = OwnRows::new(rows.clone(), self.width, &room)?;
        let (mut matrix, mut of_rows) = (Matrix::zeros(rows.len(), self.width), Labels::new());
        for (at, row) in rows.enumerate() {
            matrix.row_mut(at)[..self.width].copy_from_slice(&numbers(row, self.width));
            of_rows.push(&labels(row, self.labels_max));
        }
        own.push(&matrix, &of_rows)?;
        let order =
            if self.shuffled { Order::Shuffled(self.permutation()) } else { Order::Natural };
        comm.use_threads(self.threads);
        let (own, runs, grid, batch) = (&own, &runs[..], &self.grid(comm.rank()), self.batch);
        let (window, dropout) = (self.window, self.dropout());
        let travel = Travel { comm, own, runs, order, grid, batch, window, dropout };
        let mut device = Textbook::new(1e-5);
        let from = (self.passed * self.window).min(self.rows);
        let mut windows = travel.windows(from)?;
        loop {
            let passed = windows.pass(&mut device, |_, rows, pace| {
                let bits = rows.activations.iter().map(|number| number.to_bits()).collect();
                let first = Some(rows.first).filter(|_| rows.labels.rows() > 0);
                found.borrow_mut().push((first, bits, rows.labels.clone()));
                pace.poll();
                Ok(())
            });
            if comm.agree(passed)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Nothing is done to messages.
struct Untouched;

impl Tap for Untouched {}

#[test]
fn every_rank_is_brought_what_ten_lines_say() {
    let mut stream = Stream::new(13, Purpose::PlantedRows, 0);
    for _ in 0..600 {
        let case = Case::random(&mut stream);
        let found = run_tapped(case.shares.len(), Arc::new(Untouched), |comm| {
            let (found, moved, outcome) = case.found(comm);
            outcome.map(|()| (found, moved))
        });
        for (rank, (found, moved)) in found.unwrap().into_iter().enumerate() {
            assert!(found == case.expected(rank), "rank {rank}: {case:?}");
            assert_eq!(moved, case.moved(rank), "rank {rank}: {case:?}");
        }
    }
}

/// Bits that no release has changed.
#[test]
fn rows_with_dropout_come_to_their_literal() {
    let case = Case {
        rows: 300,
        width: 75,
        shares: vec![2, 0, 1],
        grid: (1, 3, 1),
        batch: 50,
        window: 100,
        passed: 0,
        share: 0.5,
        shuffled: true,
        scratch: false,
        threads: 2,
        labels_max: 3,
    };
    let found = run_tapped(3, Arc::new(Untouched), |comm| Ok(case.found(comm))).unwrap();
    for (windows, _, outcome) in found {
        outcome.unwrap();
        let bits: Vec<u32> = windows.into_iter().flat_map(|window| window.1).collect();
        assert_eq!(crc32c::crc32c(bytemuck::cast_slice(&bits)), LITERAL);
    }
}

const LITERAL: u32 = 3_354_130_827;

/// Flips one bit of what rank 1 is given of one call.
struct Flip {
    call: usize,
    bit: usize,
    calls: AtomicUsize,
    hit: AtomicUsize,
}

impl Tap for Flip {
    fn after(&self, rank: usize, arrived: &mut [u8], parts: &[(usize, Range<usize>)]) {
        if rank != 1 || self.calls.fetch_add(1, SeqCst) != self.call {
            return;
        }
        let Some((_, part)) = parts.first() else { return };
        if let Some(byte) = arrived[part.clone()].get_mut(self.bit / 8) {
            *byte ^= 1 << (self.bit % 8);
            self.hit.store(1, SeqCst);
        }
    }
}

/// Every bit of two parts: what says how long things are, numbers, signs, labels, seals.
#[test]
fn a_flipped_bit_of_a_part_names_its_sender_and_zeros_stand_in() {
    let case = Case {
        rows: 14,
        width: 16,
        shares: vec![1, 1],
        grid: (1, 2, 1),
        batch: 8,
        window: 8,
        passed: 0,
        share: 0.5,
        shuffled: true,
        scratch: false,
        threads: 1,
        labels_max: 3,
    };
    let expected = case.expected(0);
    let (mut of_rows, mut of_lengths) = (0, 0);
    // The first call tells lengths; then come a window, an agreement's word, a window.
    for call in [1, 2] {
        for bit in 0.. {
            let (calls, hit) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let flip = Arc::new(Flip { call, bit, calls, hit });
            let brought = run_tapped(2, flip.clone(), |comm| Ok(case.found(comm)));
            if flip.hit.load(SeqCst) == 0 {
                assert!(bit > 64, "all of a part");
                break;
            }
            let what = format!("call {call}, bit {bit}");
            let error = |text: &str| {
                let start = "rank 0: ";
                assert!(text.starts_with(start), "{what}: {text}");
                let damaged = ": arrived damaged on rank 1: found crc32c ";
                assert!(text.contains(damaged), "{what}: {text}");
            };
            match brought {
                // Without lengths there is no going on.
                Err(Error { exit, text, .. }) => {
                    assert_eq!(exit, Exit::Peer, "{what}");
                    error(&text);
                    of_lengths += 1;
                }
                Ok(ranks) => {
                    let mut zeros = 0;
                    for (windows, _, outcome) in ranks {
                        let found = outcome.expect_err(&what);
                        assert_eq!(found.exit, Exit::Peer, "{what}");
                        error(&found.text);
                        for (found, expected) in windows.iter().zip(&expected) {
                            let rows = found.1.chunks(16).zip(expected.1.chunks(16)).enumerate();
                            for (row, _) in rows.filter(|(_, (found, expected))| found != expected)
                            {
                                assert!(found.1[16 * row..][..16].iter().all(|bits| *bits == 0));
                                let counts = [found, expected].map(|own| own.2.row(row).len());
                                assert_eq!(counts[0], counts[1], "{what}");
                                zeros += 1;
                            }
                        }
                    }
                    assert_eq!(zeros, 1, "{what}");
                    of_rows += 1;
                }
            }
        }
    }
    assert!(of_rows > 1000 && of_lengths > 200, "{of_rows} of rows, {of_lengths} of lengths");
}
