//! What may stand between gradient and step changes nothing, on either device, and a stop there
//! leaves nothing half done.

use std::sync::Arc;

use reelscale::internals::device::{
    Arrived, Between, ClassBlock, Device, Learn, MiniBatches, Negatives, Pace, Turn,
};
use reelscale::internals::labels::Labels;
use reelscale::internals::model::experts::layouts;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::model::{initial, stride_of};
use reelscale::internals::optim::MiniBatchSolver;
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::{Host, Result};

use super::gpu;
use super::textbook::Textbook;

const CLASSES: usize = 40;
const WIDTH: usize = 11;
const ROWS: usize = 100;
const BATCH: usize = 32;
const EPSILON: f32 = 1e-5;

/// Gives back what it is given, and says when to stop.
struct PassOn {
    given: Vec<(Turn, Vec<f32>)>,
    turns: Vec<Turn>,
    /// The turn of all that stops.
    stops_at: usize,
}

impl Between for PassOn {
    fn give(&mut self, turn: &Turn, gradient: Vec<f32>, _: bool) -> Result<()> {
        self.given.push((turn.clone(), gradient));
        assert!(self.given.len() <= 2, "two turns are under way");
        Ok(())
    }

    fn summed(&mut self, turn: &Turn, pace: &mut Pace) -> Result<Option<Vec<f32>>> {
        pace.poll();
        let (given, gradient) = self.given.remove(0);
        assert_eq!(given, *turn, "turns come back in order");
        self.turns.push(given);
        Ok((self.turns.len() <= self.stops_at).then_some(gradient))
    }
}

/// Class blocks of 1 to 3 experts a class.
fn blocks() -> Vec<ClassBlock<MiniBatches>> {
    let counts: Vec<usize> = (0..CLASSES).map(|class| 1 + class % 3).collect();
    let block = |layout| ClassBlock {
        weights: Arc::new(initial::experts(&layout, CLASSES, 3, 1)),
        state: MiniBatches::new(&layout, MiniBatchSolver::Adam, 0.9, 1),
        layout,
    };
    layouts(&counts, Dummy::Learned, WIDTH, 3).into_iter().map(block).collect()
}

/// Some rows of two labels each.
fn rows<D: Device>(device: &mut D) -> D::Rows {
    let (stride, mut labels) = (stride_of(WIDTH), Labels::new());
    let mut stream = Stream::new(1, Purpose::PlantedRows, 0);
    let numbers: Vec<f32> = (0..ROWS * stride)
        .map(|at| if at % stride < WIDTH { stream.uniform() - 0.5 } else { 0.0 })
        .collect();
    (0..ROWS as u32).for_each(|row| labels.push(&[row % 19, 20 + row % 17]));
    let put = &mut |to: &mut [f32], to_labels: &mut Labels| {
        to.copy_from_slice(&numbers);
        to_labels.clone_from(&labels);
    };
    let arrived = Arrived { first: 0, rows: ROWS, width: WIDTH, put };
    device.bring(arrived, None).unwrap()
}

/// Weights and losses of each block, as bits.
type Learned = Vec<(Vec<u32>, Vec<u64>)>;

/// After the window, of which the first part has something between.
fn learned<D: Device>(mut device: D, mut between: Option<&mut PassOn>) -> Learned {
    let rows = rows(&mut device);
    let mut own = device.hold(blocks()).unwrap();
    let negatives = Negatives { share: 0.7, seed: 5, first: 0, class_count: CLASSES };
    let how = Learn {
        batch: BATCH,
        slices: 1,
        learning_rate: 0.05,
        l2: 1e-3,
        negatives: Some(negatives),
    };
    let mut poll = || ();
    let pace = &mut Pace::new(&mut poll, &|| false);
    if let Some(between) = &mut between {
        device.learn(&mut own, &rows, &how, Some(*between), pace).unwrap();
    }
    device.learn(&mut own, &rows, &how, None, pace).unwrap();
    let losses = device.class_losses(&own).unwrap();
    let found = losses.iter().enumerate().map(|(index, losses)| {
        let weights = device.weights(&own, index).unwrap();
        let weights = weights.iter().map(|weight| weight.to_bits()).collect();
        (weights, losses.iter().map(|loss| loss.to_bits()).collect())
    });
    found.collect()
}

#[test]
fn what_stands_between_gradient_and_step_is_given_every_turn_and_changes_no_bit() {
    let expected = learned(Host::detected(1, EPSILON), None);
    let count = expected.len();
    assert!(count > 1, "some blocks");
    let (batches, no_gpu) = (ROWS.div_ceil(BATCH), gpu::missing());
    for stops_at in (0..=batches * count).chain([usize::MAX]) {
        let gpu = |between: &mut PassOn| learned(gpu::device(EPSILON), Some(between));
        let mut on: Vec<&dyn Fn(&mut PassOn) -> Learned> = vec![
            &|between| learned(Host::detected(1, EPSILON), Some(between)),
            &|between| learned(Host::detected(3, EPSILON), Some(between)),
            &|between| learned(Textbook::new(EPSILON), Some(between)),
        ];
        if !no_gpu {
            on.push(&gpu);
        }
        for (index, learned) in on.into_iter().enumerate() {
            let mut between = PassOn { given: Vec::new(), turns: Vec::new(), stops_at };
            assert!(learned(&mut between) == expected, "device {index}, a stop at turn {stops_at}");
            assert!(between.given.is_empty(), "nothing is left under way");
            let turn = |at: usize| {
                let from = at / count * BATCH;
                Turn { block: at % count, rows: from..(from + BATCH).min(ROWS) }
            };
            assert!(between.turns.iter().cloned().eq((0..between.turns.len()).map(turn)));
            assert!(between.turns.len() >= stops_at.min(batches * count));
        }
    }
}
