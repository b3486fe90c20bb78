//! Class blocks that learn by mini-batches, beside the processor's.

use std::ops::Range;

use crate::compared::Compared;
use crate::device::Negatives;
use crate::device::drawn::Drawn;
use crate::device::gpu::held::Held;
use crate::device::gpu::queue::Queue;
use crate::kernel::mixture::{Block, Kernel, Passing, fresh_expert_gradient};
use crate::kernel::text::calls::{Rates, Stepper};
use crate::kernel::vector::Instructions;
use crate::mixtures::{World, kernels, window};
use crate::optim::adagrad::Adagrad;
use crate::optim::adam::Adam;
use crate::optim::{MiniBatch, Step};
use crate::team::Team;

type Outcome = Result<(), String>;

/// What steps are taken with; a mini-batch's sum counts 1 / its rows.
#[derive(Clone, Copy, Debug)]
pub struct Learning {
    pub learning_rate: f32,
    pub l2: f32,
}

/// Steps that blocks on a device have taken.
#[derive(Clone, Copy)]
struct Stepping {
    stepper: Stepper,
    learning: Learning,
    /// Adam's 0.9^t and 0.999^t, as running products.
    powers: [f64; 2],
}

impl Stepping {
    fn begin(stepper: Stepper, learning: Learning) -> Stepping {
        Stepping { stepper, learning, powers: [1.0; 2] }
    }

    /// The next step, for a mini-batch of so many rows, drawn or not.
    fn next(&mut self, rows: usize) -> (Stepper, Rates) {
        let Learning { learning_rate, l2 } = self.learning;
        let mut rate = learning_rate;
        if self.stepper == Stepper::Adam {
            let [one, two] = self.powers;
            let [one, two] = [one * f64::from(0.9f32), two * f64::from(0.999f32)];
            rate = (f64::from(rate) * ((1.0 - two).sqrt() / (1.0 - one))) as f32;
            self.powers = [one, two];
        }
        (self.stepper, Rates { rate, scale: 1.0 / rows as f32, l2 })
    }
}

/// Blocks before their first step.
fn held(queue: &Queue, world: &World, stepper: Stepper, bytes: usize) -> Result<Held, String> {
    let (first, count) = match stepper {
        Stepper::Adagrad => (0.1, 1),
        Stepper::Adam => (0.0, 2),
    };
    let held = world.held(queue, count, bytes)?;
    for (block, layout) in world.layouts.iter().enumerate() {
        for vector in held.vectors() {
            held.write(vector, block, &vec![first; layout.parameters()])?;
        }
    }
    Ok(held)
}

/// Mini-batches through all rows: all blocks at once, and halfway on from what was read back.
pub fn learn(
    queue: &Queue,
    world: &World,
    (stepper, learning, batch, bytes): (Stepper, Learning, usize, usize),
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let batches: Vec<Range<usize>> =
        (0..rows).step_by(batch).map(|from| from..(from + batch).min(rows)).collect();
    let mut blocks = held(queue, world, stepper, bytes)?;
    let window = world.window(queue)?;
    let mut stepping = Stepping::begin(stepper, learning);
    let mut losses = Vec::new();
    for (index, rows) in batches.iter().enumerate() {
        if index == batches.len() / 2 {
            let all = (0..blocks.blocks()).map(|block| blocks.losses(block));
            losses = all.collect::<Result<Vec<_>, _>>()?;
            blocks = moved(queue, world, blocks, bytes)?;
        }
        let all = 0..blocks.blocks();
        blocks.learn(&window, rows.clone(), all, stepping.next(rows.len()))?;
    }
    let case = format!("{name}, {stepper:?}, l2 {}, batches of {batch}", learning.l2);
    let team = &mut kernels(world.epsilon);
    for index in 0..world.layouts.len() {
        let half = (batches.len() / 2, &losses[index][..]);
        let rows = batches.iter().map(|rows| (rows.clone(), rows.len(), world.passing()));
        let host = host_learns(team, world, index, (stepper, learning), rows, half);
        let found = blocks.read(blocks.parameters(), index)?;
        compared.floats(&format!("learned, {stepper:?}"), &case, &host.0, &found);
        compared.doubles("losses while learning", &case, &host.1, &losses[index]);
    }
    Ok(())
}

/// The same blocks held anew, from what can be read back.
fn moved(queue: &Queue, world: &World, held: Held, bytes: usize) -> Result<Held, String> {
    let anew = world.held(queue, held.vectors().len(), bytes)?;
    for block in 0..held.blocks() {
        anew.write(anew.parameters(), block, &held.read(held.parameters(), block)?)?;
        for (to, from) in anew.vectors().iter().zip(held.vectors()) {
            anew.write(to, block, &held.read(from, block)?)?;
        }
    }
    Ok(anew)
}

/// What a block comes to on the processor, and its losses of the first so many mini-batches; the
/// rows of each, how many it counts, and what passes.
fn host_learns<'a>(
    kernels: &mut [Kernel],
    world: &World,
    index: usize,
    (stepper, learning): (Stepper, Learning),
    batches: impl Iterator<Item = (Range<usize>, usize, Passing<'a>)>,
    (half, like): (usize, &[f64]),
) -> (Vec<f32>, Vec<f64>) {
    let (layout, team) = (&world.layouts[index], &mut Team::new(kernels));
    let mut parameters = world.parameters[index].clone();
    let (mut gradient, mut sums) = (vec![0.0; parameters.len()], vec![0.0; like.len()]);
    let mut losses = sums.clone();
    let (mut adagrad, mut adam) = (Adagrad::new(parameters.len()), Adam::new(parameters.len()));
    for (turn, (rows, count, passing)) in batches.enumerate() {
        if turn == half {
            losses.clone_from(&sums);
        }
        let step = Step {
            learning_rate: learning.learning_rate,
            scale: 1.0 / count as f32,
            l2: learning.l2,
            decayed: layout.biases(),
        };
        let block = Block { layout, parameters: &parameters };
        match rows.is_empty() {
            true => gradient.fill(0.0),
            false => {
                fresh_expert_gradient(team, block, passing, rows, &mut gradient, &mut sums);
            }
        }
        let instructions = Instructions::detect();
        match stepper {
            Stepper::Adagrad => adagrad.step(team, instructions, &mut parameters, &gradient, step),
            Stepper::Adam => adam.step(team, instructions, &mut parameters, &gradient, step),
        }
    }
    (parameters, losses)
}

/// Negative subsampling: each block learns from rows of its own.
pub fn draw(
    queue: &Queue,
    world: &World,
    (stepper, learning, batch, bytes): (Stepper, Learning, usize, usize),
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let negatives = Negatives { share: 0.3, seed: 5, first: 1000, class_count: 500 };
    let batches = (0..rows).step_by(batch).map(|from| from..(from + batch).min(rows));
    let mut blocks = held(queue, world, stepper, bytes)?;
    let mut team = kernels(world.epsilon);
    for index in 0..world.layouts.len() {
        let drawn: Vec<(usize, Drawn)> = batches
            .clone()
            .map(|rows| {
                let (mut drawn, count) = (Drawn::new(world.activations.width()), rows.len());
                let rows = std::slice::from_ref(&rows);
                drawn.draw(negatives, &world.layouts[index], world.passing(), rows, 0);
                (count, drawn)
            })
            .collect();
        let mut stepping = Stepping::begin(stepper, learning);
        for (count, drawn) in &drawn {
            let own = window(queue, drawn.passing())?;
            let step = stepping.next(*count);
            blocks.learn(&own, 0..drawn.rows(), index..index + 1, step)?;
        }
        let rows = drawn.iter().map(|(count, drawn)| (0..drawn.rows(), *count, drawn.passing()));
        let none = vec![0.0; world.layouts[index].groups.len() * 16];
        let host = host_learns(&mut team, world, index, (stepper, learning), rows, (0, &none)).0;
        let found = blocks.read(blocks.parameters(), index)?;
        compared.floats("learned from drawn rows", name, &host, &found);
    }
    Ok(())
}
