//! Rows' best classes are found on the device, wherever rows and lists lie, with the bits of the
//! host's.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use reelscale::internals::device::gpu::Gpu;
use reelscale::internals::device::gpu::queue::Queue;
use reelscale::internals::device::{AtRest, Device, Pace, Resting, Which};
use reelscale::internals::labels::Labels;
use reelscale::internals::metrics::TopLists;
use reelscale::internals::model::experts::layouts;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::model::{Layout, Matrix};
use reelscale::{Exit, Host, Result};

use super::gpu::{Watched, missing};

const ROWS: usize = 300;
const WIDTH: usize = 64;
const CLASSES: usize = 150;
const EPSILON: f32 = 1e-5;

/// Rows in memory.
struct InMemory(Matrix, Labels);

impl AtRest for InMemory {
    fn labels(&self) -> &Labels {
        &self.1
    }

    fn run(&self, rows: Range<usize>) -> Result<Resting<'_>> {
        let (activations, labels) = (Cow::Borrowed(&self.0), Cow::Borrowed(&self.1));
        Ok(Resting { activations, labels, rows })
    }

    fn gathered(&self, rows: &[usize]) -> Result<Resting<'_>> {
        let numbers: Vec<f32> = rows.iter().flat_map(|row| self.0.row(*row).to_vec()).collect();
        let activations = Cow::Owned(Matrix::from_rows(&numbers, self.0.stride()));
        let labels = Cow::Owned(labels(rows.iter().copied()));
        Ok(Resting { activations, labels, rows: 0..rows.len() })
    }
}

fn labels(rows: impl Iterator<Item = usize>) -> Labels {
    let mut labels = Labels::new();
    rows.for_each(|row| labels.push(&[(row % 40) as u32]));
    labels
}

fn count(which: Which) -> usize {
    match which {
        Which::Run(from, to) => to - from,
        Which::Single(rows) => rows.len(),
    }
}

fn rows() -> InMemory {
    // The rows repeat themselves, and so do their scores.
    let number = |at: usize| ((at % (7 * WIDTH) * 37) % 101) as f32 / 40.0 - 1.0;
    let numbers: Vec<f32> = (0..ROWS * WIDTH).map(number).collect();
    InMemory(Matrix::from_rows(&numbers, WIDTH), labels(0..ROWS))
}

/// Class blocks, the last first, many of whose classes are alike.
fn blocks() -> Vec<(Layout, Arc<Vec<f32>>)> {
    let counts: Vec<usize> = (0..CLASSES).map(|class| 1 + class % 3).collect();
    let all = layouts(&counts, Dummy::Learned, WIDTH, 8);
    let block = |layout: Layout| {
        let mut weights = layout.empty_parameters();
        for class in 0..layout.classes.len() {
            for (at, place) in layout.places_of(class).0.into_iter().enumerate() {
                weights[place] = ((at + class % 9 * 31) * 29 % 53) as f32 / 90.0 - 0.3;
            }
        }
        (layout, Arc::new(weights))
    };
    let mut blocks: Vec<_> = all.into_iter().map(block).collect();
    blocks.reverse();
    assert!(blocks.len() > 2);
    blocks
}

/// The lists of some rows once all blocks have visited.
fn found<D: Device>(
    device: &mut D,
    blocks: &[(Layout, Arc<Vec<f32>>)],
    (which, top): (Which, usize),
) -> Result<TopLists> {
    let rows = rows();
    let mut best = TopLists::new(count(which), top);
    let (mut poll, rest) = (|| (), device.rest(&rows));
    let mut pace = Pace::new(&mut poll, &|| false);
    for (layout, weights) in blocks {
        let visitor = device.visitor(layout, weights.clone());
        let visitor = (&visitor, layout.classes.start);
        device.best(visitor, &rest, which, &mut best.lists(), &mut pace)?;
    }
    device.give_best(&rest, &mut best.lists())?;
    Ok(best)
}

/// The same on a device of so many bytes; its launches, and whether it has found any by itself.
fn on_device(
    blocks: &[(Layout, Arc<Vec<f32>>)],
    asked: (Which, usize),
    limit: usize,
) -> (Result<TopLists>, usize, bool) {
    let launcher = Watched::new();
    let (launches, kernels) = (launcher.launches.clone(), launcher.kernels.clone());
    let queue = Queue::new(Box::new(launcher), limit);
    let mut gpu = Gpu::new(Host::detected(1, EPSILON), queue, EPSILON).in_runs_of(70);
    let found = found(&mut gpu, blocks, asked);
    assert_eq!(gpu.queue().held().0, 0, "all memory was given back");
    (found, launches.get(), kernels.lock().unwrap().contains("best"))
}

#[test]
fn the_best_are_the_hosts_wherever_rows_and_lists_lie() {
    if missing() {
        return;
    }
    let blocks = blocks();
    let some: Vec<usize> = (0..ROWS).rev().step_by(3).collect();
    let asks = [Which::Run(0, ROWS), Which::Run(37, 251), Which::Single(&some), Which::Run(9, 9)];
    for (top, itself) in [(1, true), (20, true), (128, true), (129, false)] {
        for which in asks {
            let itself = itself && count(which) > 0;
            let host = &mut Host::detected(1, EPSILON);
            let expected = found(host, &blocks, (which, top)).unwrap();
            let (device, _, by_itself) = on_device(&blocks, (which, top), 16 << 20);
            assert!(device.unwrap() == expected, "{top} of {} rows", count(which));
            assert_eq!(by_itself, itself, "{top} of {} rows", count(which));
        }
    }
    // There is room for rows and lists, for lists alone, and for neither.
    let places = [(7, 16 << 20), (7, 300 << 10), (120, 400 << 10)].map(|(top, limit)| {
        let asked = (Which::Run(0, ROWS), top);
        let expected = found(&mut Host::detected(1, EPSILON), &blocks, asked).unwrap();
        let (device, launches, by_itself) = on_device(&blocks, asked, limit);
        assert!(device.unwrap() == expected, "{top} on {limit} bytes");
        (launches, by_itself)
    });
    assert!(places[0].1 && places[1].1 && !places[2].1, "{places:?}");
    assert!(places[0].0 < places[1].0, "launches where rows stay and where not: {places:?}");
}

#[test]
fn scores_that_are_no_numbers_are_told_as_by_the_host() {
    if missing() {
        return;
    }
    let mut blocks = blocks();
    for odd in [1, 2] {
        Arc::make_mut(&mut blocks[odd].1).fill(f32::NAN);
        let asked = (Which::Run(0, ROWS), 20);
        let host = found(&mut Host::detected(1, EPSILON), &blocks, asked).unwrap_err();
        let (device, _, by_itself) = on_device(&blocks, asked, 16 << 20);
        let device = device.unwrap_err();
        assert_eq!((device.exit, host.exit), (Exit::Numeric, Exit::Numeric));
        assert_eq!((device.text, by_itself), (host.text, true));
    }
}
