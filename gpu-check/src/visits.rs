//! Class blocks that visit rows, block after block, beside the processor's.

use crate::compared::Compared;
use crate::device::gpu::frozen::BlockLosses;
use crate::device::gpu::queue::Queue;
use crate::kernel::mixture::{activation_gradient, transpose};
use crate::mixtures::{World, kernels};
use crate::rng::Stream;
use crate::shared_layers::bounds;
use crate::team::Team;

type Outcome = Result<(), String>;

/// dL/dv and losses of row blocks, some of them empty, which runs of rows don't heed.
pub fn visits(
    queue: &Queue,
    stream: &mut Stream,
    world: &World,
    bytes: usize,
    name: &str,
    compared: &mut Compared,
) -> Outcome {
    let (rows, stride) = (world.activations.rows(), world.activations.stride());
    let bounds = bounds(stream, rows);
    let mut dv = vec![0.0f32; rows * stride];
    for row in 0..rows {
        dv[row * stride..][..world.activations.width()].fill(-0.0);
    }
    let (window, device) = (world.window(queue)?, queue.upload(&dv)?);
    let mut losses = BlockLosses::new(queue, bounds.clone())?;
    let mut host_losses = vec![0.0; bounds.len() - 1];
    let (kernel, mut scratch) = (&mut kernels(world.epsilon)[0], None);
    // Runs that don't begin at a multiple of four go another way.
    let run = [rows, 1, 7, 16, 64][stream.below(5) as usize];
    for index in 0..world.layouts.len() {
        let mut held = world.visitor(queue, index, bytes)?;
        held.exchange(&mut scratch);
        losses.begin(queue, held.lanes())?;
        for from in (0..rows).step_by(run) {
            held.visit(&window, from..(from + run).min(rows), &losses, &device)?;
        }
        losses.end(queue, held.lanes())?;
        held.exchange(&mut scratch);
        let (block, passing) = (world.block(index), world.passing());
        let turned = transpose(block);
        for (ends, loss) in bounds.windows(2).zip(&mut host_losses) {
            let own = ends[0]..ends[1];
            let mut sums = vec![0.0; block.layout.groups.len() * 16];
            let dv = &mut dv[own.start * stride..own.end * stride];
            let team = &mut Team::alone(&mut *kernel);
            activation_gradient(team, block, &turned, passing, own, dv, &mut sums);
            *loss += sums.iter().sum::<f64>();
        }
    }
    compared.floats("activation gradient", name, &dv, &device.read(0, dv.len())?);
    compared.doubles("losses of row blocks", name, &host_losses, &losses.read()?);
    Ok(())
}
