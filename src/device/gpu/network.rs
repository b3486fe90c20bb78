//! The shared layers of a model on the device. Where frames are pooled in a way that has no kernels
//! the host takes all rows through them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use super::failure;
use super::frames::FrameLayers;
use super::layers::{Back, Layers, Scaling, Tape};
use super::node_sums::NodeSums;
use super::queue::{Memory, Queue};
use super::steps::Steps;
use super::waiting::{QUEUED, wait_alone};
use super::wave::{Segment, Wave};
use crate::device::host;
use crate::device::{FramesAgain, Leaves, Piece};
use crate::error::Result;
use crate::kernel::text::calls::Start;
use crate::kernel::text::layers::Place;
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::features::Features;
use crate::model::{Matrix, stride_of};
use crate::team::Ahead;

/// The model's weights.
pub struct Network<'a> {
    /// What takes rows where the device can't.
    host: host::Network<'a>,
    /// Where it can; what could not be had of it the first call tells that can.
    layers: Option<std::result::Result<SharedLayers, String>>,
}

/// The shared layers on the device.
pub(crate) struct SharedLayers {
    queue: Queue,
    /// Of a model of frames what takes them to a video's vector.
    frames: Option<RefCell<FrameLayers>>,
    /// The first parameters, which are the frame network's.
    frame_parameters: usize,
    /// What takes that vector, or a video's features.
    video: Layers,
    parameters: usize,
}

impl<'a> Network<'a> {
    /// Frames pass in tiles of so many of them; `tile` is None where the host is to take them.
    /// Weights lie there for these steps, too.
    pub(crate) fn new(
        queue: &Queue,
        model: &'a Annotator,
        tile: Option<usize>,
        steps: &mut Steps,
    ) -> Network<'a> {
        let mut new = |frames| {
            let weights = steps.weights(queue, &model.shared)?;
            SharedLayers::new(queue, (model, weights), frames)
        };
        let layers = match model.layers.pooling {
            Some(pooling) => pooling.on_device().zip(tile).map(|frames| new(Some(frames))),
            None => Some(new(None)),
        };
        Network { host: host::Network::new(model), layers }
    }

    /// What takes rows where the device can't.
    pub(crate) fn host(&self) -> &host::Network<'a> {
        &self.host
    }

    /// The shared layers, where the device takes rows through them.
    pub(crate) fn layers(&self) -> std::result::Result<Option<&SharedLayers>, String> {
        self.layers.as_ref().map(|layers| layers.as_ref().map_err(String::clone)).transpose()
    }
}

impl SharedLayers {
    /// Those of `model`, whose weights lie there; of a model of frames with the kernels that pool
    /// them, there and back, and how many frames pass at once.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn new(
        queue: &Queue,
        (model, weights): (&Annotator, Rc<Memory>),
        frames: Option<([&'static str; 2], usize)>,
    ) -> std::result::Result<SharedLayers, String> {
        let own = &model.layers;
        let scaling = Scaling::of(queue, model.shape.normalize, model.shape.standard.as_ref())?;
        let network = own.frame_network();
        let back = if network.is_empty() { Back::Nothing } else { Back::Slopes };
        let (frames, scaling) = match frames {
            Some((kernels, tile)) => {
                let places = (own.inputs, network);
                let layers = Layers::new(queue, places, scaling, weights.clone(), Back::Nothing);
                let frames = FrameLayers::new(queue, layers, kernels, tile);
                (Some(RefCell::new(frames)), Scaling::None)
            }
            None => (None, scaling),
        };
        let places = (own.pooled(), own.video_network());
        Ok(SharedLayers {
            queue: queue.clone(),
            frames,
            frame_parameters: network.last().map_or(0, |place| place.biases().end),
            video: Layers::new(queue, places, scaling, weights, back),
            parameters: model.shared.len(),
        })
    }

    /// What the video network takes of these rows.
    fn input(&self, features: Features) -> std::result::Result<Matrix, String> {
        match (features, &self.frames) {
            (Features::Videos(videos), None) => Ok(videos),
            (Features::Frames(frames), Some(layers)) => layers.borrow().pooled(&frames),
            _ => panic!("features of another kind than the model's"),
        }
    }

    fn forward(&self, input: &Matrix) -> std::result::Result<Tape, String> {
        self.video.forward(input.rows(), self.queue.upload(&input.data)?)
    }

    /// Activations of each piece of rows, `at_once` pieces after another.
    pub(super) fn activations(
        &self,
        at_once: usize,
        pieces: &mut dyn Iterator<Item = Result<(Features, Labels)>>,
        take: &mut dyn FnMut(Matrix, Labels) -> Result<()>,
    ) -> Result<()> {
        let (failed, width) = (failure(&self.queue), self.video.outputs());
        loop {
            let (mut input, mut turn) = (Matrix::default(), Vec::new());
            for piece in pieces.take(at_once) {
                let (features, labels) = piece?;
                turn.push((features.rows(), labels));
                append(&mut input, self.input(features).map_err(&failed)?);
            }
            if turn.is_empty() {
                return Ok(());
            }
            let tape = self.forward(&input).map_err(&failed)?;
            drop(input);
            let mut at = 0;
            for (rows, labels) in turn {
                let mut activations = Matrix::zeros(rows, width);
                let from = at * activations.stride();
                tape.output().read_into(from, &mut activations.data).map_err(&failed)?;
                take(activations, labels)?;
                at += rows;
            }
        }
    }

    /// Takes rows to their activations, and keeps what the way back needs. Row blocks are put
    /// together until they are `run` rows or more.
    pub(super) fn wave(
        &self,
        run: usize,
        pieces: &mut dyn Iterator<Item = Result<Piece>>,
    ) -> Result<Wave> {
        let (failed, mut segments, mut rows) = (failure(&self.queue), Vec::new(), Rows::default());
        for piece in pieces {
            let Piece { features, labels, last } = piece?;
            rows.append(&self.input(features).map_err(&failed)?, &labels, last);
            if last && rows.whole() >= run {
                segments.push(self.segment(&mut rows).map_err(&failed)?);
            }
        }
        if !rows.blocks.is_empty() {
            segments.push(self.segment(&mut rows).map_err(&failed)?);
        }
        Ok(Wave::of_segments(segments))
    }

    /// Takes whole row blocks, and leaves their memory.
    fn segment(&self, whole: &mut Rows) -> std::result::Result<Segment, String> {
        let tape = self.video.forward(whole.whole(), self.queue.upload(&whole.input)?)?;
        whole.input.clear();
        let labels = std::mem::take(&mut whole.labels);
        let (rows, pieces) = whole.blocks.drain(..).unzip();
        let (v, width) = (tape.output().clone(), self.video.outputs());
        Segment::new(&self.queue, v, width, (labels, rows), Some((tape, pieces)))
    }

    /// Gives the sums of the gradients over the segments' row blocks that are left along the tree.
    /// A piece of frames is read while the one before is worked on.
    pub(super) fn leaves(
        &self,
        segments: Vec<Segment>,
        frames: &dyn FramesAgain,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        if self.learning_frames().is_none() {
            return self.gradients(segments, &mut std::iter::empty(), leaves);
        }
        let counts = segments.iter().flat_map(|segment| &taken(segment).1).copied().enumerate();
        let pieces: Vec<_> =
            counts.flat_map(|(index, count)| (0..count).map(move |piece| (index, piece))).collect();
        let (mut pieces, mut read) = (pieces.into_iter(), frames.reader());
        std::thread::scope(|scope| {
            let next = move || pieces.next().map(|(index, piece)| read(index, piece));
            self.gradients(segments, &mut Ahead::of_scope(scope, 0, next), leaves)
        })
    }

    fn gradients(
        &self,
        segments: Vec<Segment>,
        frames: &mut FramesInOrder,
        leaves: &mut dyn Leaves,
    ) -> Result<()> {
        let failed = failure(&self.queue);
        let (first, count) = (leaves.next(), segments.iter().map(Segment::row_blocks).sum());
        let mut vectors = Vec::new();
        let mut sums = NodeSums::new(&self.queue, (first, count), self.parameters, &mut vectors);
        let stride = stride_of(self.video.outputs());
        // What each took goes back as soon as its leaves are made.
        for segment in segments {
            let most = segment.losses.blocks().map(|rows| rows.len()).max().unwrap_or(0);
            let room = self.video.room(most).map_err(&failed)?;
            let (tape, pieces) = taken(&segment);
            for (rows, pieces) in segment.losses.blocks().zip(pieces) {
                leaves.wanted()?;
                let gradient = sums.room().map_err(&failed)?;
                let from = rows.start * stride;
                let dv = Place { buffer: segment.slopes.buffer(), from };
                let to = (gradient, Start::Zero);
                let dx = self.video.backward(tape, &rows, dv, &room, to).map_err(&failed)?;
                let begun = self.frame_gradient(*pieces, dx, gradient, frames)?;
                let unwritten = match begun {
                    Start::Zero => self.frame_parameters * size_of::<f32>(),
                    _ => 0,
                };
                gradient
                    .clear_first(unwritten)
                    .and_then(|()| sums.add())
                    .and_then(|()| self.queue.mark())
                    .and_then(|()| wait_alone(&self.queue, QUEUED, &mut || Ok(false)))
                    .map_err(&failed)?;
            }
        }
        sums.give(leaves, &failed)
    }

    /// What takes frames to a video's vector, where it has parameters to learn.
    fn learning_frames(&self) -> Option<&RefCell<FrameLayers>> {
        self.frames.as_ref().filter(|_| self.frame_parameters > 0)
    }

    /// The gradient of the frame network over the next `pieces` of `frames`, those of a row block,
    /// given dL/d of what they were pooled to. Nothing is written, and sums begin with zero after
    /// it, where there is no frame.
    fn frame_gradient(
        &self,
        pieces: usize,
        mut slopes: Place,
        gradient: &Memory,
        frames: &mut FramesInOrder,
    ) -> Result<Start> {
        let mut start = Start::Zero;
        let Some(network) = self.learning_frames() else { return Ok(start) };
        let failed = failure(&self.queue);
        for _ in 0..pieces {
            let features = frames.next().expect("every piece of the wave")?;
            if let Features::Frames(frames) = &*features {
                let mut network = network.borrow_mut();
                start = network.backward(frames, slopes, gradient, start).map_err(&failed)?;
            }
            slopes.from += features.rows() * stride_of(self.video.inputs());
        }
        Ok(start)
    }
}

/// The pieces of a wave once more, row block after row block.
type FramesInOrder<'a> = dyn Iterator<Item = Result<Cow<'a, Features>>> + 'a;

/// The tape of a segment and how many pieces each of its row blocks has.
fn taken(segment: &Segment) -> &(Tape, Vec<usize>) {
    segment.tape.as_ref().expect("rows that the device took here")
}

/// Rows on their way to the device.
#[derive(Default)]
struct Rows {
    /// What the video network takes, [rows][stride of its inputs].
    input: Vec<f32>,
    /// None where nobody asks for them.
    labels: Labels,
    /// Rows and pieces of each whole row block.
    blocks: Vec<(usize, usize)>,
    /// The same of the one that isn't whole.
    open: (usize, usize),
}

impl Rows {
    /// A piece of a row block, the last one perhaps.
    fn append(&mut self, input: &Matrix, labels: &Labels, last: bool) {
        self.input.extend_from_slice(&input.data);
        self.labels.extend(labels);
        self.open = (self.open.0 + input.rows(), self.open.1 + 1);
        if last {
            self.blocks.push(std::mem::take(&mut self.open));
        }
    }

    /// Rows of whole row blocks.
    fn whole(&self) -> usize {
        self.blocks.iter().map(|block| block.0).sum()
    }
}

/// Appends rows to none, or to others as wide.
fn append(to: &mut Matrix, rows: Matrix) {
    match to.rows() {
        0 => *to = rows,
        _ => to.append(rows),
    }
}
