//! Class blocks that learn by mini-batches, beside the processor's.

use std::ops::Range;

use crate::compared::Compared;
use crate::device::Negatives;
use crate::device::drawn::Drawn;
use crate::device::gpu::held::{Held, Solver};
use crate::device::gpu::launcher::Launcher;
use crate::device::gpu::mixture::Learning;
use crate::device::gpu::window::Window;
use crate::kernel::mixture::{Block, Kernel, Passing, fresh_expert_gradient};
use crate::kernel::vector::Instructions;
use crate::mixtures::{World, kernels};
use crate::model::Layout;
use crate::optim::adagrad::Adagrad;
use crate::optim::adam::Adam;
use crate::optim::{MiniBatch, Step};
use crate::team::Team;

type Outcome = Result<(), String>;

/// Mini-batches through all rows: all blocks at once, and halfway on from what was read back.
pub fn learn(
    launcher: &mut dyn Launcher,
    world: &World,
    (solver, learning, batch, bytes): (Solver, Learning, usize, usize),
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let batches: Vec<Range<usize>> =
        (0..rows).step_by(batch).map(|from| from..(from + batch).min(rows)).collect();
    let mut held = world.held(launcher, Some(solver), batch.min(rows), bytes)?;
    let window = world.window(launcher)?;
    let mut losses = Vec::new();
    for (index, rows) in batches.iter().enumerate() {
        if index == batches.len() / 2 {
            losses = held.class_losses(launcher)?;
            held = moved(launcher, world, held, (solver, batch, bytes))?;
        }
        let learning = Learning { scale: 1.0 / rows.len() as f32, ..learning };
        let blocks = held.blocks();
        held.learn(launcher, &window, rows.clone(), 0..blocks, learning)?;
    }
    let case = format!("{name}, {solver:?}, l2 {}, batches of {batch}", learning.l2);
    let found = held.parameters(launcher)?;
    let (whole, team) = (window, &mut kernels(world.epsilon));
    for index in 0..world.layouts.len() {
        let half = (batches.len() / 2, &losses[index][..]);
        let rows = batches.iter().map(|rows| (rows.clone(), rows.len(), world.passing()));
        let host = host_learns(team, world, index, (solver, learning), rows, half);
        let what = format!("learned, {solver:?}");
        compared.floats(&what, &case, &host.0, &found[index]);
        compared.doubles("losses while learning", &case, &host.1, &losses[index]);
    }
    held.free(launcher);
    whole.free(launcher);
    Ok(())
}

/// The same blocks held anew, from what can be read back.
fn moved(
    launcher: &mut dyn Launcher,
    world: &World,
    held: Held,
    (solver, batch, bytes): (Solver, usize, usize),
) -> Result<Held, String> {
    let (parameters, state) = (held.parameters(launcher)?, held.state(launcher)?);
    let rows = batch.min(world.activations.rows());
    let blocks: Vec<(&Layout, &[f32])> =
        world.layouts.iter().zip(parameters.iter().map(Vec::as_slice)).collect();
    let mut anew = Held::hold(launcher, &blocks, world.epsilon, Some(solver), rows, bytes)?;
    for block in 0..held.blocks() {
        let moments: Vec<&[f32]> = state.iter().map(|all| &all[block][..]).collect();
        anew.restore(launcher, block, &moments, held.powers(block))?;
    }
    held.free(launcher);
    Ok(anew)
}

/// What a block comes to on the processor, and its losses of the first so many mini-batches; the
/// rows of each, how many it counts, and what passes.
fn host_learns<'a>(
    kernels: &mut [Kernel],
    world: &World,
    index: usize,
    (solver, learning): (Solver, Learning),
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
        match solver {
            Solver::Adagrad => adagrad.step(team, instructions, &mut parameters, &gradient, step),
            Solver::Adam => adam.step(team, instructions, &mut parameters, &gradient, step),
        }
    }
    (parameters, losses)
}

/// Negative subsampling: each block learns from rows of its own.
pub fn draw(
    launcher: &mut dyn Launcher,
    world: &World,
    (solver, learning, batch, bytes): (Solver, Learning, usize, usize),
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let negatives = Negatives { share: 0.3, seed: 5, first: 1000, class_count: 500 };
    let batches = (0..rows).step_by(batch).map(|from| from..(from + batch).min(rows));
    let mut held = world.held(launcher, Some(solver), batch.min(rows), bytes)?;
    let mut team = kernels(world.epsilon);
    let mut hosts = Vec::new();
    for index in 0..world.layouts.len() {
        let drawn: Vec<(usize, Drawn)> = batches
            .clone()
            .map(|rows| {
                let (mut drawn, count) = (Drawn::new(world.activations.width()), rows.len());
                drawn.draw(negatives, &world.layouts[index], world.passing(), rows, 0);
                (count, drawn)
            })
            .collect();
        for (count, drawn) in &drawn {
            let Passing { activations, labels, weights } = drawn.passing();
            let window = Window::bring(launcher, activations, labels, weights)?;
            let learning = Learning { scale: 1.0 / *count as f32, ..learning };
            let own = 0..drawn.rows();
            held.learn(launcher, &window, own, index..index + 1, learning)?;
            window.free(launcher);
        }
        let rows = drawn.iter().map(|(count, drawn)| (0..drawn.rows(), *count, drawn.passing()));
        let none = vec![0.0; world.layouts[index].groups.len() * 16];
        hosts.push(host_learns(&mut team, world, index, (solver, learning), rows, (0, &none)).0);
    }
    let found = held.parameters(launcher)?;
    for (host, found) in hosts.iter().zip(&found) {
        compared.floats("learned from drawn rows", name, host, found);
    }
    held.free(launcher);
    Ok(())
}
