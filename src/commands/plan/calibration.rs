//! What a core of this machine does in a second while all of its cores are at work, measured.
//!
//! Whatever disturbs a machine, another program beside it or a neighbour in the same processor,
//! comes and goes within seconds and disturbs all kernels alike. So all kernels take turns, round
//! after round: the best round of each says what it does undisturbed, and all rounds together how
//! much longer than that they take in the mean. A rate is the first over the second. Cores that are
//! unlike count in the mean of each round.

use std::hint::black_box;
use std::time::Instant;

use super::rates::Measured;
use crate::comm::Comm;
use crate::commands::bench::mixture::{SomeRows, at_once, best, rates_of_core};
use crate::device::host::Instructions;
use crate::model::LANES;
use crate::model::experts::{Experts, layouts};
use crate::model::spec::Dummy;
use crate::report::median;
use crate::system;

/// Experts a class and activations of which cores are measured.
const EXPERTS: [usize; 4] = [1, 4, 16, 64];
const WIDTHS: [usize; 3] = [256, 1024, 2048];
/// Columns of the class blocks of a measurement, about, its rows, and runs of each kernel.
const COLUMNS: usize = 2048;
const ROWS: usize = 1024;
const ROUNDS: usize = 6;
/// Bytes that a core copies: more than its share of caches.
const COPIED: usize = 16 << 20;

pub(super) struct Calibration {
    pub(super) measured: Vec<Measured>,
    pub(super) copy_bytes_per_second: f64,
    /// How much longer than its best a round took in the mean: 1 on a machine that is left alone.
    pub(super) disturbed: f64,
}

/// Class blocks, and rows to pass them, on which both stages are measured.
struct Subject {
    experts: usize,
    width: usize,
    blocks: Experts,
    rows: SomeRows,
}

/// Measures them: a minute, 150 MiB, and about 50 MiB for each core.
pub(super) fn measure() -> Calibration {
    let shapes = WIDTHS.iter().flat_map(|width| EXPERTS.map(|experts| (experts, *width)));
    let subjects: Vec<Subject> =
        shapes.map(|(experts, width)| Subject::new(experts, width)).collect();
    // Of each subject stage 1, then stage 2: what a core did in each round.
    let mut found = vec![Vec::new(); 2 * subjects.len()];
    let mut copies = Vec::new();
    let cores = system::whole_cores();
    for _ in 0..ROUNDS {
        for (of_subject, subject) in found.chunks_mut(2).zip(&subjects) {
            for (rates, stage) in of_subject.iter_mut().zip([1, 2]) {
                rates.push(harmonic_mean(&at_once(cores, || subject.rate(stage))));
            }
            crate::progress::tick();
        }
        copies.extend(at_once(cores, copy_rate));
    }
    let disturbed = disturbance(&found);
    let rates: Vec<f64> = found.iter().map(|rates| best(rates) / disturbed).collect();
    let of_subject = |(subject, rates): (&Subject, &[f64])| Measured {
        experts: subject.experts,
        width: subject.width,
        stage_1: rates[0],
        stage_2: rates[1],
    };
    let measured = subjects.iter().zip(rates.chunks(2)).map(of_subject).collect();
    Calibration { measured, copy_bytes_per_second: median(&mut copies), disturbed }
}

impl Subject {
    fn new(experts: usize, width: usize) -> Subject {
        // Whole groups of classes in one block, in which no lane is left empty.
        let classes = (COLUMNS / (2 * experts + 1)).next_multiple_of(LANES);
        let cut = layouts(&vec![experts; classes], Dummy::Learned, width, 1);
        let owners = Comm::serial().deal(cut.len());
        let blocks = Experts::new(cut, owners, 7, 0);
        let rows = SomeRows::of(&blocks, ROWS);
        Subject { experts, width, blocks, rows }
    }

    /// Flop a second of this thread in the gradient of a stage.
    fn rate(&self, stage: u8) -> f64 {
        let began = Instant::now();
        let kernel = Instructions::parse("auto").expect("a name of ours");
        let clock = || began.elapsed().as_secs_f64();
        rates_of_core(kernel, stage, (&self.blocks, &self.rows), 1, &clock)[0]
    }
}

/// Bytes a second that this thread copies, into memory that it has had before.
fn copy_rate() -> f64 {
    let (from, mut to) = (vec![1_u8; COPIED], vec![2_u8; COPIED]);
    let began = Instant::now();
    to.copy_from_slice(black_box(&from));
    black_box(&mut to);
    from.len() as f64 / began.elapsed().as_secs_f64()
}

/// What each core did in the mean where all had as much to do.
fn harmonic_mean(rates: &[f64]) -> f64 {
    rates.len() as f64 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>()
}

/// How much longer than the best of its kernel a round took, in the mean over all of all kernels.
fn disturbance(found: &[Vec<f64>]) -> f64 {
    let longer = found.iter().flat_map(|rates| {
        let best = best(rates);
        rates.iter().map(move |rate| best / rate)
    });
    longer.sum::<f64>() / found.iter().map(Vec::len).sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_machine_takes_longer_in_the_mean() {
        assert_eq!(harmonic_mean(&[2.0, 6.0]), 3.0);
        assert_eq!(disturbance(&[vec![5.0, 5.0], vec![2.0, 2.0]]), 1.0);
        // One round of four took twice its kernel's best time.
        assert_eq!(disturbance(&[vec![4.0, 2.0], vec![3.0, 3.0]]), 1.25);
    }
}
