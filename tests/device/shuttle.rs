//! Many class blocks that come and go beside work: the same bits whenever copies take place, and
//! the copies hidden behind the work or the work behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reelscale::Host;
use reelscale::internals::device::gpu::Gpu;
use reelscale::internals::device::gpu::launcher::Launcher;
use reelscale::internals::device::gpu::queue::Queue;
use reelscale::internals::device::{
    Arrived, ClassBlock, Device, Learn, MiniBatches, Negatives, Pace,
};
use reelscale::internals::labels::Labels;
use reelscale::internals::model::experts::layouts;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::model::{initial, stride_of};
use reelscale::internals::optim::MiniBatchSolver;
use reelscale::internals::rng::{Purpose, Stream};

use super::deferred::When::{AtLast, AtOnce};
use super::deferred::{Deferred, Fault};
use super::gpu::{Watched, missing};
use super::resting::Resting;

const CLASSES: usize = 190;
const BLOCKS: usize = 12;
const WIDTH: usize = 11;
const ROWS: usize = 60;
const BATCH: usize = 16;
const EPSILON: f32 = 1e-5;
/// Bytes of a piece that copies go in.
const PIECE: usize = 1024;

/// Class blocks of 1 to 3 experts a class.
fn blocks() -> Vec<ClassBlock<MiniBatches>> {
    let counts: Vec<usize> = (0..CLASSES).map(|class| 1 + class % 3 * class % 2).collect();
    let block = |layout| ClassBlock {
        weights: Arc::new(initial::experts(&layout, CLASSES, 3, 1)),
        state: MiniBatches::new(&layout, MiniBatchSolver::Adam, 0.9, 1),
        layout,
    };
    let blocks: Vec<_> =
        layouts(&counts, Dummy::Learned, WIDTH, BLOCKS).into_iter().map(block).collect();
    assert_eq!(blocks.len(), BLOCKS);
    blocks
}

/// Bytes of all of them on a device, with all that they keep.
fn bytes() -> usize {
    let parameters = blocks().iter().map(|block| block.layout.parameters()).sum::<usize>();
    // Weights, what Adam keeps, and an average; tables take about a tenth of one of them.
    parameters * 4 * size_of::<f32>() + parameters
}

/// Some rows of two labels each, from a position of the epoch on.
fn rows<D: Device>(device: &mut D, first: usize, before: Option<D::Rows>) -> D::Rows {
    let (stride, mut labels) = (stride_of(WIDTH), Labels::new());
    let mut stream = Stream::new(1, Purpose::PlantedRows, first as u64);
    let numbers: Vec<f32> = (0..ROWS * stride)
        .map(|at| if at % stride < WIDTH { stream.uniform() - 0.5 } else { 0.0 })
        .collect();
    let row = |row: u32| [row * 7 % 90, 90 + row * 11 % 100];
    (0..ROWS as u32).for_each(|at| labels.push(&row(at)));
    let put = &mut |to: &mut [f32], to_labels: &mut Labels| {
        to.copy_from_slice(&numbers);
        to_labels.clone_from(&labels);
    };
    let arrived = Arrived { first, rows: ROWS, width: WIDTH, put };
    device.bring(arrived, before).unwrap()
}

/// Windows past all blocks, of which one stops several times, with looks at blocks in between: all
/// that was ever seen, as bits.
fn learned<D: Device>(mut device: D, share: f32) -> Vec<u64> {
    let mut own = device.hold(blocks()).unwrap();
    let (mut seen, mut before) = (Vec::new(), None);
    let negatives = Negatives { share, seed: 5, first: 0, class_count: CLASSES };
    let negatives = (share < 1.0).then_some(negatives);
    let how = Learn { batch: BATCH, slices: 1, learning_rate: 0.05, l2: 1e-3, negatives };
    let mut look = |device: &D, own: &D::Blocks<MiniBatches>, index: usize| {
        let weights = device.weights(own, index).unwrap();
        let again = device.weights(own, index).unwrap();
        assert!(Arc::ptr_eq(&weights, &again), "the same weights");
        seen.extend(weights.iter().map(|weight| u64::from(weight.to_bits())));
        let read = &mut |block: &ClassBlock<MiniBatches>| {
            assert_eq!(block.weights, weights);
            let average = block.state.average.as_ref().unwrap();
            seen.extend(average.weights.iter().map(|weight| u64::from(weight.to_bits())));
        };
        device.read(own, index, read).unwrap();
    };
    for window in 0..4 {
        let rows = rows(&mut device, window * ROWS, before.take());
        // Later and later stops in the second one, until none comes.
        let stops = if window == 1 { vec![3, 9, 27, 81] } else { Vec::new() };
        for stop in stops.into_iter().chain([usize::MAX]) {
            let (polled, mut poll) = (AtomicUsize::new(0), || ());
            let stopped = || polled.fetch_add(1, Relaxed) >= stop;
            let pace = &mut Pace::new(&mut poll, &stopped);
            device.learn(&mut own, &rows, &how, pace).unwrap();
        }
        look(&device, &own, window);
        if window == 2 {
            device.swap_averages(&mut own).unwrap();
            look(&device, &own, BLOCKS - 1);
            look(&device, &own, 3);
            device.swap_averages(&mut own).unwrap();
            device.change(&mut own, 4, &mut |weights| weights[0] = 0.25).unwrap();
        }
        before = Some(rows);
    }
    let losses = device.class_losses(&own).unwrap();
    device.end_epoch(&mut own, 0.0).unwrap();
    (0..BLOCKS).for_each(|index| look(&device, &own, index));
    seen.extend(losses.concat().iter().map(|loss| loss.to_bits()));
    seen
}

fn gpu(launcher: Box<dyn Launcher>, room: usize) -> Gpu {
    let queue = Queue::in_pieces_of(PIECE, launcher, usize::MAX);
    Gpu::new(Host::detected(1, EPSILON), queue, EPSILON).with_class_blocks_in(room)
}

/// With memory for one, two or three runs of some blocks, and with some that stay.
#[test]
fn many_class_blocks_come_and_go_and_learn_the_same() {
    if missing() {
        return;
    }
    for share in [1.0, 0.6] {
        let expected = learned(Host::detected(1, EPSILON), share);
        let found = learned(gpu(Box::new(Watched::new()), usize::MAX), share);
        assert!(found == expected, "all are there");
        // A block has about a twelfth of all.
        for room in [0.13, 0.2, 0.3, 0.6, 0.9].map(|part| (bytes() as f64 * part) as usize) {
            let found = learned(gpu(Box::new(Watched::new()), room), share);
            assert!(found == expected, "{room} bytes, negatives {share}");
            for when in [[AtLast; 2], [AtOnce; 2], [AtLast, AtOnce], [AtOnce, AtLast]] {
                let launcher = Box::new(Deferred::new(when, Fault::Nothing));
                let found = learned(gpu(launcher, room), share);
                assert!(found == expected, "{room} bytes, {when:?}, negatives {share}");
            }
        }
    }
}

/// Seconds of windows past all blocks, of which a share fits, after the first one, where a launch
/// and a byte that is copied take so long.
fn seconds(share: f64, launch: Duration, byte: Duration) -> f64 {
    let room = (bytes() as f64 * share) as usize;
    let mut device = gpu(Box::new(Resting::new(launch, byte)), room);
    let mut own = device.hold(blocks()).unwrap();
    let how = Learn { batch: BATCH, slices: 1, learning_rate: 0.05, l2: 1e-3, negatives: None };
    let (mut before, mut poll, mut start) = (None, || (), Instant::now());
    for window in 0..5 {
        let rows = rows(&mut device, window * ROWS, before.take());
        let pace = &mut Pace::new(&mut poll, &|| false);
        device.learn(&mut own, &rows, &how, pace).unwrap();
        before = Some(rows);
        if window == 0 {
            start = Instant::now();
        }
    }
    start.elapsed().as_secs_f64()
}

/// Of the smaller of copies and work how much goes on beside the other where there is memory for
/// three runs; where there is for one they take turns.
#[test]
fn copies_are_hidden_behind_work_and_work_behind_copies() {
    let hidden = |share, launch: u64, byte: u64| {
        let (launch, byte) = (Duration::from_micros(launch), Duration::from_nanos(byte));
        let work = seconds(share, launch, Duration::ZERO);
        let copies = seconds(share, Duration::ZERO, byte);
        let both = seconds(share, launch, byte);
        let hidden = (work + copies - both) / work.min(copies);
        println!(
            "{share} fits: work {work:.3} s, copies {copies:.3} s, both {both:.3} s: {hidden:.3}"
        );
        hidden
    };
    // Others may have the processor when it is wanted.
    let best = |share, launch, byte, enough: f64| {
        (0..5).any(|_| (enough..1.1).contains(&hidden(share, launch, byte)))
    };
    assert!(best(0.33, 400, 300, 0.9), "copies aren't hidden behind work");
    // Of twelve runs those three that a window begins and ends with may be worked on when nothing
    // is left to be copied: that is a quarter of the work.
    assert!(best(0.33, 200, 600, 0.65), "work isn't hidden behind copies");
    assert!((0..5).any(|_| hidden(0.13, 400, 300) < 0.3), "with one slot they must take turns");
}
