//! What `reelscale bench` measures on a device: its whole step, as training asks for it.

use std::sync::Arc;

use super::{EPSILON, Measuring};
use crate::device::gpu::queue::{Memory, Queue};
use crate::device::{Arrived, ClassBlock, Device, Learn, MiniBatches, Pace, Piece};
use crate::error::{Error, Exit, Result};
use crate::example::FeaturePart;
use crate::kernel::text::calls::{self, Form, Launch, Panels, Rows, Size, Start};
use crate::kernel::vector::LANES;
use crate::labels::Labels;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::Experts;
use crate::model::features::Features;
use crate::model::spec::{Dummy, Normalize};
use crate::model::{Layout, Matrix};
use crate::optim::MiniBatchSolver;

/// Rows of a piece that passes the shared layers.
const PIECE_ROWS: usize = 1024;

/// Median seconds of a mini-batch of the expert step, and its loss: the rows come to the device,
/// every class block takes a step of AdaGrad, and the losses come down. The learning rate is 0, so
/// that each run has the same numbers.
pub(super) fn expert_step<D: Device>(
    measuring: &Measuring,
    device: &mut D,
    experts: &Experts,
    (activations, labels): (&Matrix, &Labels),
) -> Result<(f64, f64)> {
    let own = experts.own_layouts().iter().zip(&experts.parameters);
    let block = |(layout, weights): (&Layout, &Arc<Vec<f32>>)| ClassBlock {
        layout: layout.clone(),
        weights: weights.clone(),
        state: MiniBatches::new(layout, MiniBatchSolver::Adagrad, 0.0, 1),
    };
    let mut blocks = device.hold(own.map(block).collect())?;
    let rows = labels.rows();
    let how = Learn { batch: rows, slices: 1, learning_rate: 0.0, l2: 0.0, negatives: None };
    let (mut before, mut loss) = (None, 0.0);
    let seconds = measuring.seconds_of(|| {
        let put = &mut |to: &mut [f32], to_labels: &mut Labels| {
            to.copy_from_slice(&activations.data);
            *to_labels = labels.clone();
        };
        let arrived = Arrived { first: 0, rows, width: activations.width(), put };
        let here = device.bring(arrived, before.take())?;
        device.learn(&mut blocks, &here, &how, &mut Pace::new(&mut || (), &|| false))?;
        loss = device.class_losses(&blocks)?.iter().flatten().sum();
        before = Some(here);
        device.end_epoch(&mut blocks, 0.0)
    })?;
    Ok((seconds, loss))
}

/// Median seconds of the class blocks' part in an evaluation of the shared step, and its loss: the
/// rows pass all class blocks, and losses come down. There are no shared layers.
pub(super) fn shared_step<D: Device>(
    measuring: &Measuring,
    device: &mut D,
    experts: Experts,
    (activations, labels): (&Matrix, &Labels),
) -> Result<(f64, f64)> {
    let model = without_layers(experts, activations.width(), ("bench", Normalize::None));
    let network = device.network(&model);
    let mut loss = 0.0;
    let seconds = measuring.seconds_of(|| {
        let mut pieces = pieces(activations, labels);
        let mut wave = device.forward(&network, &mut pieces)?;
        for index in model.experts.own() {
            let layout = &model.experts.layouts[index];
            let visitor = device.visitor(layout, model.experts.parameters[index].clone());
            device.visit(&visitor, &mut wave, &mut Pace::new(&mut || (), &|| false))?;
        }
        loss = device.losses(&wave)?.iter().sum();
        Ok(())
    })?;
    Ok((seconds, loss))
}

/// A model whose activations are its features, of this name and scaled so.
pub(super) fn without_layers(
    experts: Experts,
    width: usize,
    (name, normalize): (&str, Normalize),
) -> Annotator {
    let class_count = experts.layouts.last().map_or(0, |layout| layout.classes.end);
    let shape = Shape {
        parts: vec![FeaturePart { name: name.into(), size: width }],
        class_count,
        normalize,
        standard: None,
        frames: Vec::new(),
        pooling: None,
        layers: Vec::new(),
        dummy: Dummy::Learned,
        epsilon: EPSILON,
        class_blocks: 0,
    };
    Annotator { layers: shape.shared_layers(), shape, shared: Vec::new(), experts, names: None }
}

/// All rows as one row block, in pieces.
fn pieces<'a>(
    activations: &'a Matrix,
    labels: &'a Labels,
) -> impl Iterator<Item = Result<Piece>> + 'a {
    let rows = labels.rows();
    (0..rows).step_by(PIECE_ROWS).map(move |from| {
        let run = from..(from + PIECE_ROWS).min(rows);
        let mut features = Matrix::zeros(run.len(), activations.width());
        features.data.copy_from_slice(activations.run(run.clone()));
        let (features, own) = (Features::Videos(features), labels.of(run.clone()));
        Ok(Piece { features, labels: own, last: run.end == rows })
    })
}

/// A product of this form on a device, whose factors lie there.
pub(super) struct OnDevice {
    queue: Queue,
    launch: Launch,
    /// The factors and what they make.
    _memory: [Memory; 3],
}

impl OnDevice {
    pub(super) fn new(
        queue: &Queue,
        form: Form,
        (rows, depth, columns): (usize, usize, usize),
        (a, b): (&[f32], &[f32]),
    ) -> Result<OnDevice> {
        // Turned, each k begins at a multiple of four.
        let row = if form == Form::Straight { depth } else { rows.next_multiple_of(4) };
        let mut left = a.to_vec();
        left.resize(row * if form == Form::Straight { rows } else { depth }, 0.25);
        let (b_row, b_panel) = match form {
            Form::Gradient => (columns, LANES),
            _ => (LANES, depth * LANES),
        };
        let (a, b) = (queue.upload(&left).map_err(lost)?, queue.upload(b).map_err(lost)?);
        let c = queue.zeros(rows * columns * size_of::<f32>()).map_err(lost)?;
        let launch = calls::product(
            form,
            Size { rows, depth, columns },
            Rows { buffer: a.buffer(), from: 0, row },
            Panels { buffer: b.buffer(), from: 0, row: b_row, panel: b_panel },
            Panels { buffer: c.buffer(), from: 0, row: columns, panel: LANES },
            Start::Zero,
        );
        Ok(OnDevice { queue: queue.clone(), launch, _memory: [a, b, c] })
    }

    /// Multiplies, and waits.
    pub(super) fn run(&self) -> Result<()> {
        self.queue.launch(&self.launch).and_then(|()| self.queue.finish()).map_err(lost)
    }
}

fn lost(text: String) -> Error {
    Error::new(Exit::Resources, text)
}
