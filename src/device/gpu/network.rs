//! The shared layers of a model: on the device for rows of videos, on the host for rows of frames.

use super::failure;
use super::layers::{Layers, Tape};
use super::queue::Queue;
use super::wave::{Segment, Wave};
use crate::device::host;
use crate::device::{Leaves, Piece};
use crate::error::Result;
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::{Matrix, stride_of};

/// The model's weights.
pub struct Network<'a> {
    /// What takes frames.
    host: host::Network<'a>,
    /// Where the model takes videos; what could not be had of it the first call tells that can.
    layers: Option<std::result::Result<Layers, String>>,
}

impl<'a> Network<'a> {
    pub(crate) fn new(queue: &Queue, model: &'a Annotator) -> Network<'a> {
        let layers = model.layers.pooling.is_none().then(|| {
            let places = (model.layers.inputs, &model.layers.places[..]);
            let scaling = (model.shape.normalize, model.shape.standard.as_ref());
            Layers::new(queue, places, scaling, &model.shared)
        });
        Network { host: host::Network::new(model), layers }
    }

    /// What takes frames.
    pub(crate) fn host(&self) -> &host::Network<'a> {
        &self.host
    }

    /// What takes videos, if the model does.
    pub(crate) fn layers(&self) -> std::result::Result<Option<&Layers>, String> {
        self.layers.as_ref().map(|layers| layers.as_ref().map_err(String::clone)).transpose()
    }
}

/// The numbers of videos.
fn videos(features: Features) -> Matrix {
    match features {
        Features::Videos(videos) => videos,
        Features::Frames(_) => panic!("a model of videos"),
    }
}

impl Layers {
    /// Activations of each piece of rows, `at_once` pieces after another.
    pub(super) fn activations(
        &self,
        queue: &Queue,
        at_once: usize,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()> {
        let (failed, stride) = (failure(queue), stride_of(self.outputs()));
        loop {
            let (mut input, mut turn) = (Matrix::default(), Vec::new());
            for piece in pieces.take(at_once) {
                let (features, labels) = piece?;
                let features = videos(features);
                turn.push((features.rows(), labels));
                append(&mut input, features);
            }
            if turn.is_empty() {
                return Ok(());
            }
            let tape = self.forward(input.rows(), &input.data).map_err(&failed)?;
            drop(input);
            let mut at = 0;
            for (rows, labels) in turn {
                let mut activations = Matrix::zeros(rows, self.outputs());
                tape.output().read_into(at * stride, &mut activations.data).map_err(&failed)?;
                take(activations, labels)?;
                at += rows;
            }
        }
    }

    /// Takes rows to their activations, and keeps what the way back needs. Row blocks are put
    /// together until they are `run` rows or more.
    pub(super) fn wave(
        &self,
        queue: &Queue,
        run: usize,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Wave> {
        let (failed, mut segments) = (failure(queue), Vec::new());
        let (mut open, mut whole) = (Rows::default(), Rows::default());
        for piece in pieces {
            let Piece { features, labels, last } = piece?;
            open.append(videos(features), &labels);
            if last {
                let Rows { features, labels, .. } = std::mem::take(&mut open);
                whole.blocks.push(features.rows());
                whole.append(features, &labels);
                if whole.features.rows() >= run {
                    let own = std::mem::take(&mut whole);
                    segments.push(self.segment(queue, own).map_err(&failed)?);
                }
            }
        }
        if !whole.blocks.is_empty() {
            segments.push(self.segment(queue, whole).map_err(&failed)?);
        }
        Ok(Wave::of_segments(segments))
    }

    fn segment(&self, queue: &Queue, own: Rows) -> std::result::Result<Segment, String> {
        let Rows { features, labels, blocks } = own;
        let tape = self.forward(features.rows(), &features.data)?;
        let rows = (labels, blocks);
        Segment::new(queue, tape.output().clone(), self.outputs(), rows, Some(tape))
    }

    /// Gives the gradient over each row block of a segment, in order.
    pub(super) fn leaves(
        &self,
        queue: &Queue,
        segment: &Segment,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        let failed = failure(queue);
        let most = segment.losses.blocks().map(|rows| rows.len()).max().unwrap_or(0);
        let room = self.room(most).map_err(&failed)?;
        let tape: &Tape = segment.tape.as_ref().expect("rows that the device took here");
        for rows in segment.losses.blocks() {
            let mut leaf = leaves.room()?;
            self.backward(tape, &rows, &segment.slopes, &room, &mut leaf).map_err(&failed)?;
            leaves.add(leaf);
        }
        Ok(())
    }
}

/// Rows on their way to the device.
#[derive(Default)]
struct Rows {
    features: Matrix,
    labels: Labels,
    /// Rows of each whole row block.
    blocks: Vec<usize>,
}

impl Rows {
    fn append(&mut self, features: Matrix, labels: &Labels) {
        append(&mut self.features, features);
        self.labels.extend(labels);
    }
}

/// Appends rows to none, or to others as wide.
fn append(to: &mut Matrix, rows: Matrix) {
    match to.rows() {
        0 => *to = rows,
        _ => to.append(rows),
    }
}
