//! Random class blocks and rows: gradients, learning and scores beside the processor's.

use crate::cases::{numbers, size};
use crate::compared::Compared;
use crate::device::gpu::held::{Held, Solver};
use crate::device::gpu::launcher::{Launcher, download, release, upload};
use crate::device::gpu::mixture::Learning;
use crate::device::gpu::window::Window;
use crate::kernel::mixture::{
    Block, Kernel, Passing, expert_gradient, fresh_expert_gradient, transpose,
};
use crate::kernel::vector::Instructions;
use crate::labels::Labels;
use crate::learning::{draw, learn};
use crate::model::Matrix;
use crate::model::spec::Dummy;
use crate::model::{Layout, Role};
use crate::rng::Stream;
use crate::team::Team;

type Outcome = Result<(), String>;

/// Class blocks with weights and rows that pass them.
pub struct World {
    pub layouts: Vec<Layout>,
    pub parameters: Vec<Vec<f32>>,
    pub activations: Matrix,
    pub labels: Labels,
    pub weights: Vec<f32>,
    pub epsilon: f32,
}

impl World {
    /// Blocks of `classes` classes in all, from `first` on, of 1 to `experts` experts each.
    pub fn new(
        stream: &mut Stream,
        (first, classes, blocks): (usize, usize, usize),
        (experts, dummy, epsilon): (usize, Dummy, f32),
        (rows, width): (usize, usize),
        (size_of_weights, weighted): (f32, bool),
    ) -> World {
        let mut layouts = Vec::new();
        let ends: Vec<usize> = (0..=blocks).map(|block| classes * block / blocks).collect();
        for own in ends.windows(2).filter(|own| own[0] < own[1]) {
            let counts = (own[0]..own[1]).map(|_| 1 + stream.below(experts as u64) as usize);
            let counts: Vec<usize> = counts.collect();
            layouts.push(Layout::new(first + own[0]..first + own[1], counts, dummy, width));
        }
        let parameters = layouts.iter().map(|layout| {
            let mut parameters = layout.empty_parameters();
            for (_, role, panel, lane) in layout.real_columns() {
                for k in 0..width {
                    let weight = size_of_weights * (stream.uniform() - 0.5);
                    parameters[layout.weight_at(panel, lane, k)] = weight;
                }
                if matches!(role, Role::Expert(_)) {
                    parameters[layout.bias_at(panel, lane)] = stream.uniform() - 3.0;
                }
            }
            parameters
        });
        let parameters = parameters.collect();
        let mut activations = Matrix::zeros(rows, width);
        for row in 0..rows {
            activations.row_mut(row)[..width].copy_from_slice(&numbers(stream, width));
        }
        let mut labels = Labels::new();
        for _ in 0..rows {
            let most = stream.below(5);
            let mut own: Vec<u32> = (0..most)
                .map(|_| {
                    (first + stream.below(classes as u64 + 20) as usize).saturating_sub(10) as u32
                })
                .collect();
            own.sort_unstable();
            own.dedup();
            labels.push(&own);
        }
        let weight = |_| [1.0, 4.0, 1.0 / 0.3][stream.below(3) as usize];
        let weights = if weighted { (0..rows).map(weight).collect() } else { Vec::new() };
        World { layouts, parameters, activations, labels, weights, epsilon }
    }

    pub fn passing(&self) -> Passing<'_> {
        Passing { activations: &self.activations, labels: &self.labels, weights: &self.weights }
    }

    fn block(&self, index: usize) -> Block<'_> {
        Block { layout: &self.layouts[index], parameters: &self.parameters[index] }
    }

    pub fn held(
        &self,
        launcher: &mut dyn Launcher,
        solver: Option<Solver>,
        rows: usize,
        logits_bytes: usize,
    ) -> Result<Held, String> {
        let parameters = self.parameters.iter().map(Vec::as_slice);
        let blocks: Vec<(&Layout, &[f32])> = self.layouts.iter().zip(parameters).collect();
        Held::hold(launcher, &blocks, self.epsilon, solver, rows, logits_bytes)
    }

    pub fn window(&self, launcher: &mut dyn Launcher) -> Result<Window, String> {
        Window::bring(launcher, &self.activations, &self.labels, &self.weights)
    }
}

/// As many kernels as this machine has cores.
pub fn kernels(epsilon: f32) -> Vec<Kernel> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    (0..threads).map(|_| Kernel::new(Instructions::detect(), epsilon)).collect()
}

/// One random world: everything that a device does with it.
pub fn case(
    launcher: &mut dyn Launcher,
    stream: &mut Stream,
    index: u64,
    compared: &mut Compared,
) -> Outcome {
    let dummies = [Dummy::Learned, Dummy::Zero, Dummy::None];
    let dummy = dummies[(index % 3) as usize];
    let epsilon = [1e-5, 0.0][(index / 3 % 2) as usize];
    let classes = size(stream, &[1, 5, 16, 17, 31, 48, 70]);
    let blocks = size(stream, &[1, 2, 3]).min(classes);
    let experts = size(stream, &[1, 2, 4, 7]);
    let (rows, width) =
        (size(stream, &[1, 2, 13, 37, 64, 130, 150]), size(stream, &[1, 3, 16, 61, 100, 128, 200]));
    // The last makes logits of +-1e4.
    let weights = [0.5, 4.0, 2e4 / width as f32][stream.below(3) as usize];
    let weighted = stream.below(3) == 0;
    let first = size(stream, &[0, 16, 100]);
    let what = (experts, dummy, epsilon);
    let world =
        World::new(stream, (first, classes, blocks), what, (rows, width), (weights, weighted));
    let name = format!(
        "{classes} classes in {blocks}, {experts} experts, {dummy:?}, eps {epsilon}, {rows} x \
         {width}, weights {weights}, weighted {weighted}"
    );
    // All logits at once, or a group's.
    let bytes = [0, 1 << 20][stream.below(2) as usize];
    gradients(launcher, &world, bytes, &name, compared)?;
    scores(launcher, &world, bytes, &name, compared)?;
    for solver in [Solver::Adagrad, Solver::Adam] {
        let l2 = [0.0, 1e-4][stream.below(2) as usize];
        let batch = size(stream, &[1, 7, 32, 50]);
        let learning = Learning { learning_rate: 0.05, scale: 0.0, l2 };
        learn(launcher, &world, (solver, learning, batch, bytes), &name, compared)?;
        if world.weights.is_empty() {
            draw(launcher, &world, (solver, learning, batch, bytes), &name, compared)?;
        }
    }
    Ok(())
}

/// Gradients of weights and of activations, over two runs of rows, the second added to the first.
fn gradients(
    launcher: &mut dyn Launcher,
    world: &World,
    bytes: usize,
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let runs = [0..rows / 3, rows / 3..rows];
    let mut held = world.held(launcher, None, rows, bytes)?;
    let window = world.window(launcher)?;
    let panels: usize = world.layouts.iter().map(|layout| layout.panels).sum();
    let numbers = panels * 16 * world.layouts[0].width;
    let weights = upload(launcher, &vec![0f32; numbers])?;
    let biases = upload(launcher, &vec![0f32; panels * 16])?;
    for run in runs.clone() {
        let fresh = run.start == 0 && !run.is_empty();
        held.expert_gradient(launcher, &window, run, (weights, biases), fresh)?;
    }
    let device = held.by_block(launcher, weights, biases)?;
    let losses = held.class_losses(launcher)?;
    let mut kernels = kernels(world.epsilon);
    for index in 0..world.layouts.len() {
        let layout = &world.layouts[index];
        let mut gradient = vec![0.0; layout.parameters()];
        let mut sums = vec![0.0; layout.groups.len() * 16];
        for run in runs.clone().into_iter().filter(|run| !run.is_empty()) {
            let (block, passing) = (world.block(index), world.passing());
            match run.start == 0 {
                true => fresh_expert_gradient(
                    &mut Team::new(&mut kernels),
                    block,
                    passing,
                    run,
                    &mut gradient,
                    &mut sums,
                ),
                false => expert_gradient(
                    &mut Team::new(&mut kernels),
                    block,
                    passing,
                    run,
                    &mut gradient,
                    &mut sums,
                ),
            }
        }
        compared.floats("expert gradient", name, &gradient, &device[index]);
        compared.doubles("class losses", name, &sums, &losses[index]);
    }

    let stride = world.activations.stride();
    let mut dv = vec![0.0f32; rows * stride];
    for row in 0..rows {
        dv[row * stride..][..world.activations.width()].fill(-0.0);
    }
    let device = upload(launcher, &dv)?;
    held.activation_gradient(launcher, &window, 0..rows, device)?;
    // Rows that don't begin at a multiple of four go another way.
    let rest = rows.min(1)..rows;
    let mut dv_rest = vec![0.0f32; rest.len() * stride];
    let device_rest = upload(launcher, &dv_rest)?;
    held.activation_gradient(launcher, &window, rest.clone(), device_rest)?;
    for index in 0..world.layouts.len() {
        let (block, passing) = (world.block(index), world.passing());
        let mut sums = vec![0.0; block.layout.groups.len() * 16];
        let turned = transpose(block);
        kernels[0].activation_gradient(block, &turned, passing, 0..rows, &mut dv, &mut sums);
        let (rows, dv) = (rest.clone(), &mut dv_rest);
        kernels[0].activation_gradient(block, &turned, passing, rows, dv, &mut sums);
    }
    let found: Vec<f32> = download(launcher, device, dv.len())?;
    compared.floats("activation gradient", name, &dv, &found);
    let found: Vec<f32> = download(launcher, device_rest, dv_rest.len())?;
    compared.floats("activation gradient", name, &dv_rest, &found);
    release(launcher, &[weights, biases, device, device_rest]);
    held.free(launcher);
    window.free(launcher);
    Ok(())
}

fn scores(
    launcher: &mut dyn Launcher,
    world: &World,
    bytes: usize,
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let classes: usize = world.layouts.iter().map(|layout| layout.classes.len()).sum();
    let mut held = world.held(launcher, None, rows, bytes)?;
    let window = world.window(launcher)?;
    let scores = launcher.make(4 * rows * classes)?;
    let losses = upload(launcher, &vec![0f64; rows])?;
    held.scores(launcher, &window, 0..rows, scores, losses)?;
    let (mut host, mut host_losses) = (vec![0.0; rows * classes], vec![0.0; rows]);
    let mut kernel = Kernel::new(Instructions::detect(), world.epsilon);
    let mut first = 0;
    for index in 0..world.layouts.len() {
        let own = world.layouts[index].classes.len();
        let mut part = vec![0.0; rows * own];
        kernel.scores(world.block(index), world.passing(), 0..rows, &mut part, &mut host_losses);
        for row in 0..rows {
            host[row * classes + first..][..own].copy_from_slice(&part[row * own..][..own]);
        }
        first += own;
    }
    compared.floats("scores", name, &host, &download(launcher, scores, host.len())?);
    compared.doubles("row losses", name, &host_losses, &download(launcher, losses, rows)?);
    release(launcher, &[scores, losses]);
    held.free(launcher);
    window.free(launcher);
    Ok(())
}
