//! The whole model: what takes a video's features to the probabilities of all classes.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::experts::Experts;
use super::features::{Features, Frames};
use super::shared::{SharedLayers, Tape};
use super::spec::{Dummy, Layer, Normalize, Pooling, Standard};
use crate::example::FeaturePart;
use crate::kernel::matrix::Matrix;
use crate::kernel::normalise::normalise_l2;
use crate::kernel::pooling::{pool, unpool};
use crate::kernel::product::Workspace;
use crate::kernel::standardise::standardise;
use crate::names::Names;
use crate::team::Team;

/// Features are fewer than this, as in shards.
pub(crate) const FEATURES_END: usize = 1 << 24;
/// Most classes of a model.
pub(crate) const CLASSES_MAX: usize = 1 << 24;
/// Most outputs of a dense layer.
pub(crate) const UNITS_MAX: usize = 1 << 20;
/// Most class blocks that can be asked for.
pub(crate) const CLASS_BLOCKS_MAX: usize = 1 << 20;
/// Largest eps of the loss.
pub(crate) const EPSILON_MAX: f32 = 0.1;

/// What a model is, apart from its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Features of the videos it takes, in order.
    pub parts: Vec<FeaturePart>,
    pub class_count: usize,
    /// Of a video's features, or of each frame's.
    pub normalize: Normalize,
    /// What features are standardised by, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<Standard>,
    /// The frame network of frame-level input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Layer>,
    /// How frames are pooled; none for video-level input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    pub layers: Vec<Layer>,
    pub dummy: Dummy,
    /// eps of the loss.
    pub epsilon: f32,
    /// Number of class blocks asked for; the cut follows from it and the experts.
    pub class_blocks: usize,
}

impl Shape {
    /// Number of features D.
    pub fn features(&self) -> usize {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// Width d of the activations, where sizes are in range.
    pub fn outputs(&self) -> usize {
        self.widths().last().expect("the features are the first").1
    }

    /// Inputs and outputs of each layer, frame network first; before them the features as both.
    fn widths(&self) -> Vec<(usize, usize)> {
        let mut widths = vec![(self.features(), self.features())];
        for layer in self.frames.iter().chain(&self.layers) {
            let inputs = widths[widths.len() - 1].1;
            let outputs = match layer {
                Layer::Dense { units, .. } => *units,
                Layer::Gating | Layer::Residual => inputs,
            };
            widths.push((inputs, outputs));
        }
        widths
    }

    /// Weights and biases of the shared layers, filling not counted; none where they are beyond
    /// counting.
    #[doc(hidden)]
    pub fn shared_numbers(&self) -> Option<u64> {
        self.widths()[1..].iter().try_fold(0u64, |sum, (inputs, outputs)| {
            sum.checked_add((*inputs as u64 + 1).checked_mul(*outputs as u64)?)
        })
    }

    /// What of it no model can have, if anything: a field, what was found there and what was
    /// expected. Arithmetic relies on what passes here.
    #[doc(hidden)]
    pub fn fault(&self) -> Option<String> {
        let (parts, classes, blocks) = (&self.parts, self.class_count, self.class_blocks);
        let width = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.size));
        let empty = parts.is_empty() || parts.iter().any(|part| part.size == 0);
        if empty || width.is_none_or(|width| width >= FEATURES_END) {
            return Some("parts: found sizes that add up to nothing or too much".into());
        }
        if !(1..=CLASSES_MAX).contains(&classes) {
            return Some(format!("class_count: found {classes}, expected 1 to {CLASSES_MAX}"));
        }
        if blocks > CLASS_BLOCKS_MAX {
            return Some(format!("class_blocks: found {blocks}, expected 0 to {CLASS_BLOCKS_MAX}"));
        }
        // -0 would be another model with the same losses.
        if !(0.0..=EPSILON_MAX).contains(&self.epsilon) || self.epsilon.is_sign_negative() {
            let found = self.epsilon;
            return Some(format!("epsilon: found {found}, expected 0 to {EPSILON_MAX}"));
        }
        for (network, layers) in [("frames", &self.frames), ("layers", &self.layers)] {
            let units = layers.iter().filter_map(Layer::units);
            if let Some(units) = units.into_iter().find(|units| !(1..=UNITS_MAX).contains(units)) {
                return Some(format!("{network}: found {units} units, expected 1 to {UNITS_MAX}"));
            }
        }
        if !self.frames.is_empty() && self.pooling.is_none() {
            return Some("pooling: found none, expected one for the layers of frames".into());
        }
        match (&self.standard, self.normalize == Normalize::Standardise) {
            (Some(standard), true) => standard.fault(self.features()),
            (None, false) => None,
            (Some(_), false) => Some("standard: found one, expected none for normalize".into()),
            (None, true) => Some("standard: found none, expected one for normalize".into()),
        }
    }

    /// The shared layers on these features.
    #[doc(hidden)]
    pub fn shared_layers(&self) -> SharedLayers {
        SharedLayers::on_frames(self.features(), &self.frames, self.pooling, &self.layers)
    }
}

/// A model on one rank: the shared layers whole, the mixtures of its own class blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotator {
    pub shape: Shape,
    #[doc(hidden)]
    pub layers: SharedLayers,
    /// Weights of the shared layers, the same on every rank.
    #[doc(hidden)]
    pub shared: Vec<f32>,
    #[doc(hidden)]
    pub experts: Experts,
    /// Of its classes, where they are known: nothing that is computed depends on them.
    #[doc(hidden)]
    pub names: Option<Arc<Names>>,
}

#[doc(hidden)]
impl Annotator {
    /// Takes the features of some rows to activations.
    pub fn forward(&self, gemm: &mut Workspace, features: Features) -> Tape {
        let input = self.input(gemm, features);
        self.layers.forward(&mut Team::alone(gemm), &self.shared, input)
    }

    /// What the video network takes: features `[rows][D]` scaled as the model wants them, or pooled
    /// frames. Frames pass in tiles of whole videos, so that little of them is in memory as f32.
    pub fn input(&self, gemm: &mut Workspace, features: Features) -> Matrix {
        match features {
            Features::Videos(videos) => self.scaled(gemm, videos),
            Features::Frames(frames) => {
                let pooling = self.layers.pooling.expect("a model of frames");
                let mut pooled = Matrix::zeros(frames.rows(), self.layers.pooled());
                for rows in frames.tiles() {
                    let tape = self.frame_tape(gemm, &frames, &rows);
                    let counts = frames.counts(&rows);
                    let instructions = gemm.instructions();
                    pool(instructions, pooling, tape.output(), &counts, pooled.run_mut(rows));
                }
                pooled
            }
        }
    }

    /// Adds the gradient of the frame network to `gradient`, given dL/d of what the rows of
    /// `frames` were pooled to, which `dv` has from row `from` on. Frames pass the frame network
    /// once more, which is cheaper than keeping what they were in it: a tile for each member of the
    /// team, whose gradients then go one after another.
    pub fn frame_gradient<S: AsMut<Workspace> + Send>(
        &self,
        team: &mut Team<S>,
        transposed: &[Vec<f32>],
        frames: &Frames,
        dv: &Matrix,
        from: usize,
        gradient: &mut [f32],
    ) {
        let pooling = self.layers.pooling.expect("a model of frames");
        let tiles = frames.tiles_of(frames.tile_for(team.threads()));
        let tiles: Vec<Range<usize>> =
            tiles.filter(|rows| !frames.within(rows).is_empty()).collect();
        for turn in tiles.chunks(team.threads()) {
            let made = team.map(turn, |member, rows| {
                let gemm = member.as_mut();
                let tape = self.frame_tape(gemm, frames, rows);
                let slopes = dv.run(from + rows.start..from + rows.end);
                let counts = frames.counts(rows);
                let dy = unpool(gemm.instructions(), pooling, tape.output(), &counts, slopes);
                (tape, dy)
            });
            for (tape, dy) in made {
                self.layers.backward_frames(team, transposed, tape, dy, gradient);
            }
        }
    }

    fn frame_tape(&self, gemm: &mut Workspace, frames: &Frames, rows: &Range<usize>) -> Tape {
        let numbers = frames.numbers(gemm.instructions(), rows);
        let numbers = self.scaled(gemm, numbers);
        self.layers.forward_frames(&mut Team::alone(gemm), &self.shared, numbers)
    }

    fn scaled(&self, gemm: &Workspace, mut values: Matrix) -> Matrix {
        match (self.shape.normalize, &self.shape.standard) {
            (Normalize::L2, _) => normalise_l2(gemm.instructions(), &mut values),
            (Normalize::Standardise, Some(standard)) => {
                standardise(&mut values, &standard.means, &standard.scales);
            }
            (Normalize::Standardise, None) => panic!("a standard to go by"),
            (Normalize::None, _) => {}
        }
        values
    }
}
