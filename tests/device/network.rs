//! The shared layers by their definitions: a layer at a time over all rows of a wave.

use std::ops::Range;
use std::rc::Rc;

use reelscale::internals::device::{FrameReader, Piece};
use reelscale::internals::kernel::dense::definition as dense;
use reelscale::internals::kernel::dequantise::definition as dequantise;
use reelscale::internals::kernel::gating::definition as gating;
use reelscale::internals::kernel::normalise::definition as normalise;
use reelscale::internals::kernel::pooling::definition as pooling;
use reelscale::internals::kernel::residual::definition as residual;
use reelscale::internals::kernel::standardise::definition as standardise;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::annotator::Shape;
use reelscale::internals::model::features::{Features, Frames};
use reelscale::internals::model::shared::{LayerPlace, SharedLayers};
use reelscale::internals::model::spec::{Layer, Normalize};
use reelscale::internals::model::stride_of;
use reelscale::{Annotator, Result};

use super::storage::{Buffer, Meter};

/// The layers and their weights.
pub struct Network {
    shape: Shape,
    layers: SharedLayers,
    parameters: Buffer<f32>,
}

/// Rows of all row blocks, end to end.
pub struct Wave {
    /// The rows of each row block, and the pieces that they came in.
    pub blocks: Vec<(Range<usize>, usize)>,
    pub labels: Labels,
    /// The input [rows][stride], then each layer's output.
    values: Vec<Buffer<f32>>,
    /// Of each layer sigmoid(W x + b) or relu(W x + b), or nothing.
    gates: Vec<Buffer<f32>>,
    /// dL/dv [rows][stride of d].
    pub slopes: Buffer<f32>,
    pub losses: Buffer<f64>,
}

impl Wave {
    /// v of all rows.
    pub fn outputs(&self) -> &Buffer<f32> {
        self.values.last().expect("the input at least")
    }
}

/// y of one row, and what its way back needs besides.
fn forward(place: &LayerPlace, parameters: &[f32], x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let layer = place.of(parameters);
    match place.layer {
        Layer::Dense { activation, .. } => (dense::forward(layer, activation, x), Vec::new()),
        Layer::Gating => gating::forward(layer, x),
        Layer::Residual => residual::forward(layer, x),
    }
}

/// Adds one row to the gradient; dL/dx.
fn backward(
    place: &LayerPlace,
    parameters: &[f32],
    [x, y, gate, dy]: [&[f32]; 4],
    gradient: &mut [f32],
) -> Vec<f32> {
    let layer = place.of(parameters);
    let own = &mut gradient[place.start..place.biases().end];
    let (weights, biases) = own.split_at_mut(place.weights().len());
    match place.layer {
        Layer::Dense { activation, .. } => {
            dense::backward(layer, activation, [x, y, dy], weights, biases)
        }
        Layer::Gating => gating::backward(layer, [x, gate, dy], weights, biases),
        Layer::Residual => residual::backward(layer, [x, gate, dy], weights, biases),
    }
}

/// `numbers` filled up to whole sixteens.
fn filled(numbers: &[f32]) -> Vec<f32> {
    let mut row = numbers.to_vec();
    row.resize(stride_of(numbers.len()), 0.0);
    row
}

/// One frame on its way through the frame network: its numbers, then each layer's y; each gate.
type FrameTape = (Vec<Vec<f32>>, Vec<Vec<f32>>);

impl Network {
    pub fn new(meter: &Rc<Meter>, model: &Annotator) -> Network {
        let (shape, layers) = (model.shape.clone(), model.layers.clone());
        Network { shape, layers, parameters: Buffer::up(meter, &model.shared) }
    }

    /// Width d of the activations.
    pub fn outputs(&self) -> usize {
        self.layers.outputs()
    }

    fn video_network(&self) -> &[LayerPlace] {
        &self.layers.places[self.layers.frame_network().len()..]
    }

    fn scale(&self, row: &mut [f32]) {
        match (self.shape.normalize, &self.shape.standard) {
            (Normalize::None, _) => {}
            (Normalize::L2, _) => normalise::normalise_l2(row),
            (Normalize::Standardise, standard) => {
                let standard = standard.as_ref().expect("a standard to go by");
                let places = row.iter_mut().zip(standard.means.iter().zip(&standard.scales));
                places.for_each(|(x, (mean, scale))| *x = standardise::number(*x, *mean, *scale));
            }
        }
    }

    /// The frames of a row, each through the frame network.
    fn frames(&self, frames: &Frames, row: usize) -> Vec<FrameTape> {
        let (bytes, [scale, offset]) = frames.bytes(row);
        let frames = bytes.chunks_exact(self.layers.inputs).map(|bytes| {
            let numbers = bytes.iter().map(|byte| dequantise::number(*byte, scale, offset));
            let mut numbers = filled(&numbers.collect::<Vec<_>>());
            self.scale(&mut numbers[..self.layers.inputs]);
            let (mut values, mut gates) = (vec![numbers], Vec::new());
            for place in self.layers.frame_network() {
                let x = &values[values.len() - 1];
                let (y, gate) = forward(place, &self.parameters, x);
                values.push(y);
                gates.push(gate);
            }
            (values, gates)
        });
        frames.collect()
    }

    /// Of each frame's output the number at `at`.
    fn element(frames: &[FrameTape], at: usize) -> Vec<f32> {
        frames.iter().map(|(values, _)| values[values.len() - 1][at]).collect()
    }

    /// What the video network takes: [rows][stride].
    pub fn input(&self, features: &Features) -> Vec<f32> {
        let width = self.layers.pooled();
        let row = |row: usize| match features {
            Features::Videos(videos) => {
                let mut numbers = videos.row(row).to_vec();
                self.scale(&mut numbers[..width]);
                numbers
            }
            Features::Frames(frames) => {
                let pooling = self.layers.pooling.expect("a model of frames");
                let frames = self.frames(frames, row);
                let pool = |at| pooling::pool(pooling, &Network::element(&frames, at));
                filled(&(0..width).map(pool).collect::<Vec<_>>())
            }
        };
        (0..features.rows()).flat_map(row).collect()
    }

    pub fn forward(
        &self,
        meter: &Rc<Meter>,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Wave> {
        let (mut input, mut labels, mut blocks) = (Vec::new(), Labels::new(), Vec::new());
        let (mut rows, mut first, mut count) = (0, 0, 0);
        for piece in pieces {
            let Piece { features, labels: own, last } = piece?;
            input.extend(self.input(&features));
            labels.extend(&own);
            (rows, count) = (rows + features.rows(), count + 1);
            if last {
                blocks.push((first..rows, count));
                (first, count) = (rows, 0);
            }
        }
        let (mut values, mut gates) = (vec![Buffer::up(meter, &input)], Vec::new());
        for place in self.video_network() {
            let (mut y, mut gate) = (Vec::new(), Vec::new());
            for x in values[values.len() - 1].chunks_exact(stride_of(place.inputs)) {
                let (own, more) = forward(place, &self.parameters, x);
                y.extend(own);
                gate.extend(more);
            }
            values.push(Buffer::of(meter, y));
            gates.push(Buffer::of(meter, gate));
        }
        let slopes = Buffer::zeros(meter, values[values.len() - 1].len());
        let losses = Buffer::zeros(meter, blocks.len());
        Ok(Wave { blocks, labels, values, gates, slopes, losses })
    }

    /// The gradient over the row block `block`, written to `leaf`, which may hold anything.
    pub fn backward(
        &self,
        wave: &Wave,
        block: usize,
        frames: &mut FrameReader,
        leaf: &mut [f32],
    ) -> Result<()> {
        leaf.fill(0.0);
        let (rows, pieces) = wave.blocks[block].clone();
        let mut pooled = Vec::new();
        for row in rows {
            let of = |numbers: &Buffer<f32>, width: usize| {
                let stride = stride_of(width);
                numbers.get(row * stride..(row + 1) * stride).unwrap_or_default().to_vec()
            };
            let mut dy = of(&wave.slopes, self.layers.outputs());
            for (index, place) in self.video_network().iter().enumerate().rev() {
                let x = of(&wave.values[index], place.inputs);
                let y = of(&wave.values[index + 1], place.outputs);
                let gate = of(&wave.gates[index], place.outputs);
                dy = backward(place, &self.parameters, [&x, &y, &gate, &dy], leaf);
            }
            pooled.push(dy);
        }
        if self.layers.frame_network().is_empty() {
            return Ok(());
        }
        let mut slopes = pooled.iter();
        for piece in 0..pieces {
            let features = frames(block, piece)?;
            let Features::Frames(frames) = &*features else { panic!("a model of frames") };
            for (row, slopes) in (0..frames.rows()).zip(slopes.by_ref()) {
                self.frame_gradient(&self.frames(frames, row), slopes, leaf);
            }
        }
        Ok(())
    }

    /// Adds the frames of a row to the gradient, given dL/d of what they were pooled to.
    fn frame_gradient(&self, frames: &[FrameTape], slopes: &[f32], leaf: &mut [f32]) {
        let pooling = self.layers.pooling.expect("a model of frames");
        let width = self.layers.pooled();
        let unpool = |at| pooling::unpool(pooling, &Network::element(frames, at), slopes[at]);
        let unpooled: Vec<Vec<f32>> = (0..width).map(unpool).collect();
        for (frame, (values, gates)) in frames.iter().enumerate() {
            let mut dy = filled(&unpooled.iter().map(|dy| dy[frame]).collect::<Vec<_>>());
            for (index, place) in self.layers.frame_network().iter().enumerate().rev() {
                let numbers = [&values[index][..], &values[index + 1], &gates[index], &dy];
                dy = backward(place, &self.parameters, numbers, leaf);
            }
        }
    }
}
