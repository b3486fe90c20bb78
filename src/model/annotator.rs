//! The whole model: what takes a video's features to the probabilities of all classes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::experts::Experts;
use super::features::{Features, Frames};
use super::gemm::Workspace;
use super::matrix::Matrix;
use super::pooling::{pool, unpool};
use super::shared::{SharedLayers, Tape};
use super::spec::{Dummy, Layer, Normalize, Pooling, Standard};
use crate::example::FeaturePart;

/// What a model is, apart from its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

    /// The shared layers on these features.
    pub fn shared_layers(&self) -> SharedLayers {
        SharedLayers::on_frames(self.features(), &self.frames, self.pooling, &self.layers)
    }
}

/// A model on one rank: the shared layers whole, the mixtures of its own class blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotator {
    pub shape: Shape,
    pub layers: SharedLayers,
    /// Weights of the shared layers, the same on every rank.
    pub shared: Vec<f32>,
    pub experts: Experts,
}

impl Annotator {
    /// Takes the features of some rows to activations.
    pub fn forward(&self, gemm: &mut Workspace, features: Features) -> Tape {
        let input = self.input(gemm, features);
        self.layers.forward(gemm, &self.shared, input)
    }

    /// What the video network takes: features [rows][D] scaled as the model wants them, or pooled
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
    /// once more, which is cheaper than keeping what they were in it.
    pub fn frame_gradient(
        &self,
        gemm: &mut Workspace,
        transposed: &[Vec<f32>],
        frames: &Frames,
        dv: &Matrix,
        from: usize,
        gradient: &mut [f32],
    ) {
        let pooling = self.layers.pooling.expect("a model of frames");
        for rows in frames.tiles() {
            let counts = frames.counts(&rows);
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            let tape = self.frame_tape(gemm, frames, &rows);
            let slopes = dv.run(from + rows.start..from + rows.end);
            let dy = unpool(gemm.instructions(), pooling, tape.output(), &counts, slopes);
            self.layers.backward_frames(gemm, transposed, tape, dy, gradient);
        }
    }

    fn frame_tape(&self, gemm: &mut Workspace, frames: &Frames, rows: &Range<usize>) -> Tape {
        let numbers = frames.numbers(gemm.instructions(), rows);
        let numbers = self.scaled(gemm, numbers);
        self.layers.forward_frames(gemm, &self.shared, numbers)
    }

    fn scaled(&self, gemm: &Workspace, mut values: Matrix) -> Matrix {
        match (self.shape.normalize, &self.shape.standard) {
            (Normalize::L2, _) => values.normalise_l2(gemm.instructions()),
            (Normalize::Standardise, Some(standard)) => {
                values.standardise(&standard.means, &standard.scales);
            }
            (Normalize::Standardise, None) => panic!("a standard to go by"),
            (Normalize::None, _) => {}
        }
        values
    }
}
