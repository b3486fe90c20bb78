//! The shared layers: features x to activations v, and the gradient back (docs/method.md, section
//! 2).
//!
//! Of frame-level input the first layers are a frame network, which every frame passes by itself;
//! its outputs are pooled (`pooling.rs`), and the other layers, the video network, take a video's
//! pooled vector. Video-level input passes the video network alone.
//!
//! All weights are one vector: for each layer panels of sixteen outputs `[panel][inputs][16]`, then
//! biases `[panel][16]`. Filling of the last panel is zero and gets no gradient.

pub mod reference;

use std::ops::Range;

use crate::kernel::dense::{self, Back, Gradient, Weights};
use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::transpose_panels;
use crate::kernel::product::Workspace;
use crate::kernel::vector::LANES;
use crate::kernel::{gating, residual};
use crate::model::spec::{Layer, Pooling};
use crate::team::Team;

/// One layer's sizes and where its weights lie.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPlace {
    pub layer: Layer,
    pub inputs: usize,
    pub outputs: usize,
    /// First parameter of the layer.
    pub start: usize,
}

impl LayerPlace {
    /// Panels of sixteen outputs.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// The layer's weights among all parameters.
    pub fn weights(&self) -> Range<usize> {
        self.start..self.start + self.panels() * self.inputs * LANES
    }

    /// The layer's biases among all parameters.
    pub fn biases(&self) -> Range<usize> {
        self.weights().end..self.weights().end + self.panels() * LANES
    }

    /// The layer's own part of all parameters.
    pub fn of<'a>(&self, parameters: &'a [f32]) -> Weights<'a> {
        let (weights, biases) = (&parameters[self.weights()], &parameters[self.biases()]);
        Weights { inputs: self.inputs, outputs: self.outputs, weights, biases }
    }

    /// The place of the weight from `input` to `output` among all parameters.
    pub fn weight_at(&self, input: usize, output: usize) -> usize {
        self.start + dense::place(self.inputs, input, output)
    }
}

/// The layers' sizes; their weights are held beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedLayers {
    pub inputs: usize,
    /// Frame network, then video network.
    pub places: Vec<LayerPlace>,
    /// Of frame-level input how frames are pooled.
    pub pooling: Option<Pooling>,
    /// The first so many of `places` are the frame network.
    frame_layers: usize,
}

/// What a forward pass leaves for the backward pass of the same rows.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// The input, then each layer's output.
    values: Vec<Matrix>,
    /// Of a gating layer sigmoid(W x + b), of a residual block relu(W x + b), else nothing.
    gates: Vec<Matrix>,
}

impl Tape {
    /// The activations v [rows][d].
    pub fn output(&self) -> &Matrix {
        self.values.last().expect("a tape begins with the input")
    }

    /// The same, taken out.
    pub fn into_output(mut self) -> Matrix {
        self.values.pop().expect("a tape begins with the input")
    }
}

impl SharedLayers {
    /// `layers` on `inputs` features of a video.
    pub fn new(inputs: usize, layers: &[Layer]) -> SharedLayers {
        SharedLayers::on_frames(inputs, &[], None, layers)
    }

    /// `frames` on `inputs` features of a frame, `pooling`, `layers` on what is pooled.
    pub fn on_frames(
        inputs: usize,
        frames: &[Layer],
        pooling: Option<Pooling>,
        layers: &[Layer],
    ) -> SharedLayers {
        assert!(pooling.is_some() || frames.is_empty(), "frames that nobody pools");
        let (mut width, mut start) = (inputs, 0);
        let places = frames
            .iter()
            .chain(layers)
            .map(|layer| {
                let outputs = match layer {
                    Layer::Dense { units, .. } => *units,
                    Layer::Gating | Layer::Residual => width,
                };
                let place = LayerPlace { layer: *layer, inputs: width, outputs, start };
                start = place.biases().end;
                width = outputs;
                place
            })
            .collect();
        SharedLayers { inputs, places, pooling, frame_layers: frames.len() }
    }

    /// The frame network, empty for video-level input.
    pub fn frame_network(&self) -> &[LayerPlace] {
        &self.places[..self.frame_layers]
    }

    /// The layers that a video's vector passes.
    pub(crate) fn video_network(&self) -> &[LayerPlace] {
        &self.places[self.frame_layers..]
    }

    /// Width of what the video network takes.
    pub fn pooled(&self) -> usize {
        self.frame_network().last().map_or(self.inputs, |place| place.outputs)
    }

    /// Numbers that a frame on its way through the frame network takes.
    pub fn frame_tape_width(&self) -> usize {
        tape_width(self.inputs, self.frame_network())
    }

    /// Width d of the activations.
    pub fn outputs(&self) -> usize {
        self.places.last().map_or(self.inputs, |place| place.outputs)
    }

    /// Number of weights and biases, filling included.
    pub fn parameters(&self) -> usize {
        self.places.last().map_or(0, |place| place.biases().end)
    }

    /// Numbers that a tape of the video network holds for each row: what a wave of rows costs in
    /// memory.
    pub fn tape_width(&self) -> usize {
        tape_width(self.pooled(), self.video_network())
    }

    /// The first layer whose weights and biases aren't all finite.
    pub fn odd_layer(&self, parameters: &[f32]) -> Option<usize> {
        let odd = |place: &LayerPlace| {
            !parameters[place.start..place.biases().end].iter().all(|w| w.is_finite())
        };
        self.places.iter().position(odd)
    }

    /// Weights turned for the backward pass, a layer each.
    pub fn transpose(&self, parameters: &[f32]) -> Vec<Vec<f32>> {
        self.places
            .iter()
            .map(|place| {
                transpose_panels(&parameters[place.weights()], place.inputs, place.panels())
            })
            .collect()
    }

    /// v of the rows whose features, or pooled frames, are `features`, and what the way back needs.
    pub fn forward<S: AsMut<Workspace> + Send>(
        &self,
        team: &mut Team<S>,
        parameters: &[f32],
        features: Matrix,
    ) -> Tape {
        forward(self.video_network(), team, parameters, features)
    }

    /// What frames are before they are pooled, and what the way back needs.
    pub fn forward_frames<S: AsMut<Workspace> + Send>(
        &self,
        team: &mut Team<S>,
        parameters: &[f32],
        frames: Matrix,
    ) -> Tape {
        forward(self.frame_network(), team, parameters, frames)
    }

    /// Writes the gradient of all parameters, given dL/dv of the tape's rows: that of the frame
    /// network is 0 until `backward_frames` adds to it. Uses up the tape. `transposed` is what
    /// `transpose` makes of the parameters. Returns the gradient of what was pooled; it is whole
    /// only where there is a frame network to take it.
    pub fn backward<S: AsMut<Workspace> + Send>(
        &self,
        team: &mut Team<S>,
        transposed: &[Vec<f32>],
        tape: Tape,
        dv: Matrix,
        gradient: &mut [f32],
    ) -> Matrix {
        gradient.fill(0.0);
        if dv.rows() == 0 {
            return Matrix::zeros(0, self.pooled());
        }
        let turned = &transposed[self.frame_layers..];
        backward(self.video_network(), team, turned, tape, dv, self.frame_layers > 0, gradient)
    }

    /// Adds the gradient of the frame network, given dL/d of each frame's output. There is at least
    /// one frame.
    pub fn backward_frames<S: AsMut<Workspace> + Send>(
        &self,
        team: &mut Team<S>,
        transposed: &[Vec<f32>],
        tape: Tape,
        dy: Matrix,
        gradient: &mut [f32],
    ) {
        backward(self.frame_network(), team, transposed, tape, dy, false, gradient);
    }
}

fn tape_width(inputs: usize, places: &[LayerPlace]) -> usize {
    let gated = |place: &LayerPlace| 1 + usize::from(!matches!(place.layer, Layer::Dense { .. }));
    inputs + places.iter().map(|place| gated(place) * place.outputs).sum::<usize>()
}

fn forward<S: AsMut<Workspace> + Send>(
    places: &[LayerPlace],
    team: &mut Team<S>,
    parameters: &[f32],
    features: Matrix,
) -> Tape {
    let mut tape = Tape { values: vec![features], gates: Vec::new() };
    for place in places {
        let (layer, x) = (place.of(parameters), tape.output());
        let (y, gate) = match place.layer {
            Layer::Dense { activation, .. } => {
                (dense::forward(team, layer, activation, x), Matrix::default())
            }
            Layer::Gating => gating::forward(team, layer, x),
            Layer::Residual => residual::forward(team, layer, x),
        };
        tape.values.push(y);
        tape.gates.push(gate);
    }
    tape
}

/// Adds the gradient of the parameters of `places` and returns that of their input, if `whole`.
fn backward<S: AsMut<Workspace> + Send>(
    places: &[LayerPlace],
    team: &mut Team<S>,
    transposed: &[Vec<f32>],
    mut tape: Tape,
    dv: Matrix,
    whole: bool,
    gradient: &mut [f32],
) -> Matrix {
    let mut dy = dv;
    for (index, place) in places.iter().enumerate().rev() {
        let (y, gate) = (tape.values.pop(), tape.gates.pop());
        let (y, gate) = (y.expect("an output a layer"), gate.expect("a gate a layer"));
        let x = tape.output();
        let own = &mut gradient[place.start..place.biases().end];
        let (weights, biases) = own.split_at_mut(place.weights().len());
        let transposed = (index > 0 || whole).then_some(&transposed[index][..]);
        let back = Back { gradient: Gradient { weights, biases }, transposed };
        dy = match place.layer {
            Layer::Dense { activation, .. } => dense::backward(team, activation, x, &y, dy, back),
            Layer::Gating => gating::backward(team, x, &gate, dy, back),
            Layer::Residual => residual::backward(team, x, &gate, dy, back),
        };
    }
    dy
}
