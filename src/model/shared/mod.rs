//! The shared layers: features x to activations v, and the gradient back (docs/method.md, section
//! 2).
//!
//! Of frame-level input the first layers are a frame network, which every frame passes by itself;
//! its outputs are pooled (`pooling.rs`), and the other layers, the video network, take a video's
//! pooled vector. Video-level input passes the video network alone.
//!
//! All weights are one vector: for each layer panels of sixteen outputs [panel][inputs][16], then
//! biases [panel][16]. Filling of the last panel is zero and gets no gradient.

pub mod reference;

use std::ops::Range;

use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::transpose_panels;
use crate::kernel::product::{Left, Output, Panels, Size, Workspace};
use crate::kernel::vector::{Instructions, LANES, load, sigmoid, store, tanh};
use crate::model::spec::{Activation, Layer, Pooling};
use crate::vectorised;

/// One layer's sizes and where its weights lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub layer: Layer,
    pub inputs: usize,
    pub outputs: usize,
    /// First parameter of the layer.
    pub start: usize,
}

impl Place {
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

    /// The place of the weight from `input` to `output` among all parameters.
    pub fn weight_at(&self, input: usize, output: usize) -> usize {
        self.start + (output / LANES * self.inputs + input) * LANES + output % LANES
    }
}

/// The layers' sizes; their weights are held beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedLayers {
    pub inputs: usize,
    /// Frame network, then video network.
    pub places: Vec<Place>,
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
    /// Of a gating layer sigmoid(W x + b), of a residual block relu(W x + b), else empty.
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
                let place = Place { layer: *layer, inputs: width, outputs, start };
                start = place.biases().end;
                width = outputs;
                place
            })
            .collect();
        SharedLayers { inputs, places, pooling, frame_layers: frames.len() }
    }

    /// The frame network, empty for video-level input.
    pub fn frame_network(&self) -> &[Place] {
        &self.places[..self.frame_layers]
    }

    fn video_network(&self) -> &[Place] {
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
        let odd = |place: &Place| {
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
    pub fn forward(&self, gemm: &mut Workspace, parameters: &[f32], features: Matrix) -> Tape {
        forward(self.video_network(), gemm, parameters, features)
    }

    /// What frames are before they are pooled, and what the way back needs.
    pub fn forward_frames(&self, gemm: &mut Workspace, parameters: &[f32], frames: Matrix) -> Tape {
        forward(self.frame_network(), gemm, parameters, frames)
    }

    /// Writes the gradient of all parameters, given dL/dv of the tape's rows: that of the frame
    /// network is 0 until `backward_frames` adds to it. Uses up the tape. `transposed` is what
    /// `transpose` makes of the parameters. Returns the gradient of what was pooled; it is whole
    /// only where there is a frame network to take it.
    pub fn backward(
        &self,
        gemm: &mut Workspace,
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
        backward(self.video_network(), gemm, turned, tape, dv, self.frame_layers > 0, gradient)
    }

    /// Adds the gradient of the frame network, given dL/d of each frame's output. There is at least
    /// one frame.
    pub fn backward_frames(
        &self,
        gemm: &mut Workspace,
        transposed: &[Vec<f32>],
        tape: Tape,
        dy: Matrix,
        gradient: &mut [f32],
    ) {
        backward(self.frame_network(), gemm, transposed, tape, dy, false, gradient);
    }
}

fn tape_width(inputs: usize, places: &[Place]) -> usize {
    let gated = |place: &Place| 1 + usize::from(!matches!(place.layer, Layer::Dense { .. }));
    inputs + places.iter().map(|place| gated(place) * place.outputs).sum::<usize>()
}

fn forward(places: &[Place], gemm: &mut Workspace, parameters: &[f32], features: Matrix) -> Tape {
    let mut tape = Tape { values: vec![features], gates: Vec::new() };
    for place in places {
        let x = tape.output();
        let mut y = Matrix::zeros(x.rows(), place.outputs);
        let (stride, biases) = (y.stride(), &parameters[place.biases()]);
        y.data.chunks_exact_mut(stride).for_each(|row| row.copy_from_slice(biases));
        gemm.accumulate(
            Size { rows: x.rows(), depth: place.inputs, panels: place.panels() },
            Left { data: &x.data, row: x.stride(), column: 1 },
            Panels { data: &parameters[place.weights()], row: LANES, panel: place.inputs * LANES },
            &mut Output { data: &mut y.data, row: stride, panel: LANES },
        );
        let mut gate = Matrix::default();
        match place.layer {
            Layer::Dense { activation, .. } => activate(gemm.instructions(), activation, &mut y),
            Layer::Gating => {
                activate(gemm.instructions(), Activation::Sigmoid, &mut y);
                gate = y.clone();
                y.data.iter_mut().zip(&x.data).for_each(|(y, x)| *y *= x);
            }
            Layer::Residual => {
                activate(gemm.instructions(), Activation::Relu, &mut y);
                gate = y.clone();
                y.data.iter_mut().zip(&x.data).for_each(|(y, x)| *y += x);
            }
        }
        tape.values.push(y);
        tape.gates.push(gate);
    }
    tape
}

/// Adds the gradient of the parameters of `places` and returns that of their input, if `whole`.
fn backward(
    places: &[Place],
    gemm: &mut Workspace,
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
        let mut dx = Matrix::zeros(x.rows(), place.inputs);
        match place.layer {
            Layer::Dense { activation, .. } => through_activation(activation, &y, &mut dy),
            Layer::Gating => through_gate(x, &gate, &mut dy, &mut dx),
            Layer::Residual => {
                dx.data.copy_from_slice(&dy.data);
                through_activation(Activation::Relu, &gate, &mut dy);
            }
        }
        let (weights, biases) =
            gradient[place.start..place.biases().end].split_at_mut(place.weights().len());
        let size = Size { rows: place.inputs, depth: x.rows(), panels: place.panels() };
        let turned = Left { data: &x.data, row: 1, column: x.stride() };
        let slopes = Panels { data: &dy.data, row: dy.stride(), panel: LANES };
        let mut sums = Output { data: weights, row: LANES, panel: place.inputs * LANES };
        gemm.accumulate(size, turned, slopes, &mut sums);
        for row in 0..dy.rows() {
            biases.iter_mut().zip(dy.row(row)).for_each(|(sum, dy)| *sum += dy);
        }
        if index > 0 || whole {
            let columns = place.panels() * LANES;
            let (row, panels) = (dx.stride(), place.inputs.div_ceil(LANES));
            gemm.accumulate(
                Size { rows: x.rows(), depth: columns, panels },
                Left { data: &dy.data, row: dy.stride(), column: 1 },
                Panels { data: &transposed[index], row: LANES, panel: columns * LANES },
                &mut Output { data: &mut dx.data, row, panel: LANES },
            );
        }
        dy = dx;
    }
    dy
}

/// y = f(z), in place. Filling beyond the width is set to zero.
fn activate(instructions: Instructions, activation: Activation, y: &mut Matrix) {
    let apply = |f: fn(Instructions, &mut [f32]), y: &mut Matrix| f(instructions, &mut y.data);
    match activation {
        Activation::Identity => {}
        Activation::Relu => y.data.iter_mut().for_each(|y| *y = if *y > 0.0 { *y } else { 0.0 }),
        Activation::Relu6 => y.data.iter_mut().for_each(|y| {
            *y = if *y > 6.0 {
                6.0
            } else if *y > 0.0 {
                *y
            } else {
                0.0
            }
        }),
        Activation::Sigmoid => apply(sigmoids, y),
        Activation::Tanh => apply(tanhs, y),
    }
    let width = y.width();
    if activation == Activation::Sigmoid && width < y.stride() {
        (0..y.rows()).for_each(|row| y.row_mut(row)[width..].fill(0.0));
    }
}

fn sigmoids(instructions: Instructions, y: &mut [f32]) {
    vectorised!(instructions, |y: &mut [f32]| in_lanes(y, sigmoid); y);
}

fn tanhs(instructions: Instructions, y: &mut [f32]) {
    vectorised!(instructions, |y: &mut [f32]| in_lanes(y, tanh); y);
}

#[inline(always)]
fn in_lanes(y: &mut [f32], f: impl Fn(f32) -> f32) {
    for at in (0..y.len()).step_by(LANES) {
        let mut lanes = load(y, at);
        for lane in 0..LANES {
            lanes[lane] = f(lanes[lane]);
        }
        store(y, at, lanes);
    }
}

/// dz = dy f'(z), f' from y = f(z).
fn through_activation(activation: Activation, y: &Matrix, dy: &mut Matrix) {
    let slope = |y: f32| match activation {
        Activation::Identity => 1.0,
        Activation::Relu => f32::from(y > 0.0),
        Activation::Relu6 => f32::from(y > 0.0 && y < 6.0),
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Tanh => 1.0 - y * y,
    };
    dy.data.iter_mut().zip(&y.data).for_each(|(dy, y)| *dy *= slope(*y));
}

/// y = x s, s = sigmoid(z): dx = dy s (the part that doesn't pass W), and dy becomes dz = dy x s (1
/// - s).
fn through_gate(x: &Matrix, gate: &Matrix, dy: &mut Matrix, dx: &mut Matrix) {
    let inputs = x.data.iter().zip(&gate.data);
    for ((dy, dx), (x, s)) in dy.data.iter_mut().zip(&mut dx.data).zip(inputs) {
        *dx = *dy * s;
        *dy = *dy * x * (s * (1.0 - s));
    }
}
