//! The shared layers on a device: weights, rows on their way through them, and the way back. Each
//! layer is a product and what stands around it.

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use super::queue::{Memory, Queue};
use crate::kernel::text::calls::{self, Buffer, Form, Panels, Rows, Size, Start};
use crate::kernel::text::layers::{self, Extent, Place};
use crate::model::shared::LayerPlace;
use crate::model::spec::{Layer, Normalize, Standard};
use crate::model::{LANES, stride_of};

/// Layers that rows pass, scaled before, with the weights of all shared layers.
pub(crate) struct Layers {
    queue: Queue,
    places: Vec<LayerPlace>,
    /// Width of what they take.
    inputs: usize,
    scaling: Scaling,
    weights: Rc<Memory>,
    /// What the way back gives besides the gradient of weights.
    back: Back,
    /// W' of each layer that dL/d of its input is wanted of, once there is a way back.
    turned: OnceCell<Vec<Memory>>,
}

/// What is done to rows before they pass layers.
pub(crate) enum Scaling {
    None,
    L2,
    /// By means and scales of columns.
    Standard([Memory; 2]),
}

/// What the way back through layers gives besides the gradient of their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    Nothing,
    /// dL/d of what they take.
    Slopes,
}

impl Scaling {
    /// As a model wants its features scaled.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn of(
        queue: &Queue,
        normalize: Normalize,
        standard: Option<&Standard>,
    ) -> Result<Scaling, String> {
        Ok(match normalize {
            Normalize::None => Scaling::None,
            Normalize::L2 => Scaling::L2,
            Normalize::Standardise => {
                let standard = standard.expect("a standard to go by");
                Scaling::Standard([queue.upload(&standard.means)?, queue.upload(&standard.scales)?])
            }
        })
    }
}

/// What rows leave for their way back.
pub(crate) struct Tape {
    /// The input [rows][stride], then each layer's output.
    values: Vec<Rc<Memory>>,
    /// Of a gating layer sigmoid(W x + b), of a residual block relu(W x + b), else nothing.
    gates: Vec<Option<Memory>>,
}

impl Tape {
    /// What the last layer made of the rows, [rows][stride].
    pub(crate) fn output(&self) -> &Rc<Memory> {
        &self.values[self.values.len() - 1]
    }
}

/// What the way back works in: [rows][stride of the widest layer], twice, one layer's slopes and
/// those of the one before.
pub(crate) struct Room(pub(crate) [Memory; 2]);

impl Layers {
    /// `places` on `inputs` numbers of each row; `weights` are those of all shared layers.
    pub(crate) fn new(
        queue: &Queue,
        (inputs, places): (usize, &[LayerPlace]),
        scaling: Scaling,
        weights: Rc<Memory>,
        back: Back,
    ) -> Layers {
        let (queue, places) = (queue.clone(), places.to_vec());
        Layers { queue, places, inputs, scaling, weights, back, turned: OnceCell::new() }
    }

    /// Width of what they take.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of what the last layer makes of them.
    pub(crate) fn outputs(&self) -> usize {
        self.places.last().map_or(self.inputs, |place| place.outputs)
    }

    fn make(&self, rows: usize, width: usize) -> Result<Memory, String> {
        self.queue.make(rows * stride_of(width) * size_of::<f32>())
    }

    /// Takes some rows, [rows][stride], to what the layers make of them.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn forward(&self, rows: usize, input: Memory) -> Result<Tape, String> {
        let extent = Extent { rows, width: self.inputs };
        match &self.scaling {
            Scaling::None => {}
            Scaling::L2 => self.queue.launch(&layers::normalise(extent, input.buffer()))?,
            Scaling::Standard([means, scales]) => {
                let standard = [means.buffer(), scales.buffer()];
                self.queue.launch(&layers::standardise(extent, standard, input.buffer()))?;
            }
        }
        let mut tape = Tape { values: vec![Rc::new(input)], gates: Vec::new() };
        for place in &self.places {
            let (y, gate) = self.layer(place, rows, tape.output())?;
            tape.values.push(Rc::new(y));
            tape.gates.push(gate);
        }
        Ok(tape)
    }

    /// y of some rows, and what the way back needs besides.
    fn layer(
        &self,
        place: &LayerPlace,
        rows: usize,
        x: &Memory,
    ) -> Result<(Memory, Option<Memory>), String> {
        let (extent, z) = (Extent { rows, width: place.outputs }, self.make(rows, place.outputs)?);
        let size = Size { rows, depth: place.inputs, columns: extent.stride() };
        let left = Rows { buffer: x.buffer(), from: 0, row: stride_of(place.inputs) };
        let out = Panels { buffer: z.buffer(), from: 0, row: extent.stride(), panel: LANES };
        let start = Start::Bias(self.weights.buffer(), place.biases().start);
        let right = self.panels_of(place, self.weights.buffer());
        self.queue.launch(&calls::product(Form::Straight, size, left, right, out, start))?;
        let around = match place.layer {
            Layer::Dense { activation, .. } => {
                self.queue.launch(&layers::activate(extent, activation, z.buffer()))?;
                return Ok((z, None));
            }
            Layer::Gating => layers::gating,
            Layer::Residual => layers::residual,
        };
        let y = self.make(rows, place.outputs)?;
        self.queue.launch(&around(extent, x.buffer(), z.buffer(), y.buffer()))?;
        Ok((y, Some(z)))
    }

    /// What the way back of at most so many rows at once works in.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn room(&self, rows: usize) -> Result<Room, String> {
        let widest = self.places.iter().map(|place| place.inputs.max(place.outputs)).max();
        let widest = widest.unwrap_or(0);
        Ok(Room([self.make(rows, widest)?, self.make(rows, widest)?]))
    }

    /// The gradient of the layers over some rows of the tape, written or added to the place of
    /// theirs in `gradient`, given dL/d of what they made of the first of the rows and those after
    /// it, which is used up. Returns dL/d of what they took, as far as `Back` says.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn backward(
        &self,
        tape: &Tape,
        rows: &Range<usize>,
        slopes: Place,
        room: &Room,
        (gradient, start): (&Memory, Start),
    ) -> Result<Place, String> {
        let mut dy = slopes;
        for (index, place) in self.places.iter().enumerate().rev() {
            let dx = &room.0[index % 2];
            self.slopes(tape, index, rows, dy, dx)?;
            self.gradient(place, &tape.values[index], rows, dy, (gradient, start))?;
            if index >= self.lowest() {
                self.through_product(index, rows.len(), dy, dx)?;
            }
            dy = Place { buffer: dx.buffer(), from: 0 };
        }
        Ok(dy)
    }

    /// The first layer that dL/d of its input is wanted of.
    fn lowest(&self) -> usize {
        match self.back {
            Back::Nothing => 1,
            Back::Slopes => 0,
        }
    }

    /// Of dL/dy of a layer dL/d(W x + b), in place, and to `dx` what passes by the product.
    fn slopes(
        &self,
        tape: &Tape,
        index: usize,
        rows: &Range<usize>,
        dy: Place,
        dx: &Memory,
    ) -> Result<(), String> {
        let place = &self.places[index];
        let extent = Extent { rows: rows.len(), width: place.outputs };
        let from = rows.start * extent.stride();
        let gate = || tape.gates[index].as_ref().expect("a gate").buffer();
        self.queue.launch(&match place.layer {
            Layer::Dense { activation, .. } => {
                let y = Place { buffer: tape.values[index + 1].buffer(), from };
                layers::activation_slopes(extent, activation, y, dy)
            }
            Layer::Gating => {
                let both = ([tape.values[index].buffer(), gate()], from);
                layers::gating_slopes(extent, both, dy, dx.buffer())
            }
            Layer::Residual => {
                let added = Place { buffer: gate(), from };
                layers::residual_slopes(extent, added, dy, dx.buffer())
            }
        })
    }

    /// dW (+)= X' dZ and db (+)= column sums of dZ, of some rows of the layer's input.
    fn gradient(
        &self,
        place: &LayerPlace,
        x: &Memory,
        rows: &Range<usize>,
        dz: Place,
        (to, start): (&Memory, Start),
    ) -> Result<(), String> {
        let extent = Extent { rows: rows.len(), width: place.outputs };
        let columns = extent.stride();
        let size = Size { rows: place.inputs, depth: rows.len(), columns };
        let row = stride_of(place.inputs);
        let left = Rows { buffer: x.buffer(), from: rows.start * row, row };
        let right = Panels { buffer: dz.buffer, from: dz.from, row: columns, panel: LANES };
        let out = self.panels_of(place, to.buffer());
        self.queue.launch(&calls::product(Form::Gradient, size, left, right, out, start))?;
        let sums = Place { buffer: to.buffer(), from: place.biases().start };
        self.queue.launch(&layers::column_sums(extent, dz, sums, start))
    }

    /// dX = dZ W', added to what passes by the product, if anything does.
    fn through_product(
        &self,
        index: usize,
        rows: usize,
        dz: Place,
        dx: &Memory,
    ) -> Result<(), String> {
        let place = &self.places[index];
        let (columns, stride) = (stride_of(place.outputs), stride_of(place.inputs));
        let size = Size { rows, depth: columns, columns: stride };
        let left = Rows { buffer: dz.buffer, from: dz.from, row: columns };
        let turned = self.turned()?[index - self.lowest()].buffer();
        let right = Panels { buffer: turned, from: 0, row: LANES, panel: columns * LANES };
        let out = Panels { buffer: dx.buffer(), from: 0, row: stride, panel: LANES };
        let start = match place.layer {
            Layer::Dense { .. } => Start::Zero,
            Layer::Gating | Layer::Residual => Start::Out,
        };
        self.queue.launch(&calls::product(Form::Straight, size, left, right, out, start))
    }

    /// W' of each layer from the lowest on.
    fn turned(&self) -> Result<&[Memory], String> {
        if self.turned.get().is_none() {
            let turned = self.places.iter().skip(self.lowest()).map(|place| {
                let columns = stride_of(place.outputs);
                let numbers = columns * stride_of(place.inputs);
                let to = self.queue.make(numbers * size_of::<f32>())?;
                let from = (self.weights.buffer(), place.weights().start);
                let size = (place.inputs, columns);
                self.queue.launch(&calls::turn_panels(size, from, to.buffer()))?;
                Ok(to)
            });
            let turned = turned.collect::<Result<Vec<_>, String>>()?;
            return Ok(self.turned.get_or_init(|| turned));
        }
        Ok(self.turned.get().expect("just seen"))
    }

    /// A layer's weights, or something laid out as they are.
    fn panels_of(&self, place: &LayerPlace, buffer: Buffer) -> Panels {
        Panels { buffer, from: place.start, row: LANES, panel: place.inputs * LANES }
    }
}
