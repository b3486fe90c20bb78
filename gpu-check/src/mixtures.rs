//! Random class blocks and rows: gradients, learning and scores beside the processor's.

use crate::best::of_world;
use crate::cases::size;
use crate::compared::Compared;
use crate::device::gpu::check::numbers;
use crate::device::gpu::held::Held;
use crate::device::gpu::mixture::Sums;
use crate::device::gpu::queue::Queue;
use crate::device::gpu::window::{Source, Window};
use crate::kernel::mixture::{Block, Kernel, Passing, expert_gradient, fresh_expert_gradient};
use crate::kernel::text::calls::Stepper;
use crate::kernel::vector::Instructions;
use crate::labels::Labels;
use crate::learning::{Learning, draw, learn};
use crate::model::Matrix;
use crate::model::spec::Dummy;
use crate::model::{Layout, Role};
use crate::rng::Stream;
use crate::team::Team;
use crate::visits::visits;

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

    pub fn block(&self, index: usize) -> Block<'_> {
        Block { layout: &self.layouts[index], parameters: &self.parameters[index] }
    }

    /// One block on a device, as it visits.
    pub fn visitor(
        &self,
        queue: &Queue,
        index: usize,
        logits_bytes: usize,
    ) -> Result<Held, String> {
        let layouts = vec![self.layouts[index].clone()];
        let held = Held::new(queue, layouts, self.epsilon, 0, logits_bytes)?;
        held.write(held.parameters(), 0, &self.parameters[index])?;
        Ok(held)
    }

    /// All blocks on a device, with `vectors` beside their parameters.
    pub fn held(&self, queue: &Queue, vectors: usize, logits_bytes: usize) -> Result<Held, String> {
        let (layouts, epsilon) = (self.layouts.clone(), self.epsilon);
        let held = Held::new(queue, layouts, epsilon, vectors, logits_bytes)?;
        for (block, parameters) in self.parameters.iter().enumerate() {
            held.write(held.parameters(), block, parameters)?;
        }
        Ok(held)
    }

    pub fn window(&self, queue: &Queue) -> Result<Window, String> {
        window(queue, self.passing())
    }
}

/// Rows that pass, on a device.
pub fn window(queue: &Queue, passing: Passing) -> Result<Window, String> {
    let Passing { activations, labels, weights } = passing;
    let stride = activations.stride();
    let rows = labels.rows();
    let numbers = queue.upload(&activations.data)?;
    let places: Vec<i64> = (0..rows).map(|row| (row * stride) as i64).collect();
    let width = activations.width();
    let source = Source { numbers: &numbers, places: &places, width };
    Window::new(queue, source, labels, weights)
}

/// As many kernels as this machine has cores.
pub fn kernels(epsilon: f32) -> Vec<Kernel> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    (0..threads).map(|_| Kernel::new(Instructions::detect(), epsilon)).collect()
}

/// One random world: everything that a device does with it.
pub fn case(queue: &Queue, stream: &mut Stream, index: u64, compared: &mut Compared) -> Outcome {
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
    gradients(queue, &world, bytes, &name, compared)?;
    visits(queue, stream, &world, bytes, &name, compared)?;
    scores(queue, &world, bytes, &name, compared)?;
    of_world(queue, stream, &world, bytes, &name, compared)?;
    for solver in [Stepper::Adagrad, Stepper::Adam] {
        let l2 = [0.0, 1e-4][stream.below(2) as usize];
        let batch = size(stream, &[1, 7, 32, 50]);
        let learning = Learning { learning_rate: 0.05, l2 };
        learn(queue, &world, (solver, learning, batch, bytes), &name, compared)?;
        if world.weights.is_empty() {
            draw(queue, &world, (solver, learning, batch, bytes), &name, compared)?;
        }
    }
    Ok(())
}

/// Gradients of weights and of activations, over two runs of rows, the second added to the first.
fn gradients(
    queue: &Queue,
    world: &World,
    bytes: usize,
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let runs = [0..rows / 3, rows / 3..rows];
    let mut held = world.held(queue, 0, bytes)?;
    let window = world.window(queue)?;
    let gradient = held.zeros()?;
    let blocks = held.blocks();
    for run in runs.clone() {
        let sums = if run.start == 0 && !run.is_empty() { Sums::Begin } else { Sums::GoOn };
        held.expert_gradient(&window, run, 0..blocks, &gradient, (sums, 0))?;
    }
    let all = 0..blocks;
    let device = all.clone().map(|block| held.read(&gradient, block));
    let device: Vec<Vec<f32>> = device.collect::<Result<_, _>>()?;
    let losses = all.clone().map(|block| held.losses(block));
    let losses: Vec<Vec<f64>> = losses.collect::<Result<_, _>>()?;
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
    Ok(())
}

fn scores(
    queue: &Queue,
    world: &World,
    bytes: usize,
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let rows = world.activations.rows();
    let classes: usize = world.layouts.iter().map(|layout| layout.classes.len()).sum();
    let mut held = world.held(queue, 0, bytes)?;
    let window = world.window(queue)?;
    let scores = queue.make(4 * rows * classes)?;
    let losses = queue.zeros(8 * rows)?;
    held.scores(&window, 0..rows, &scores, Some(&losses))?;
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
    compared.floats("scores", name, &host, &scores.read(0, host.len())?);
    compared.doubles("row losses", name, &host_losses, &losses.read(0, rows)?);
    Ok(())
}
