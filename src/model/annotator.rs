//! The whole model: what takes a video's features to the probabilities of all classes.

use serde::{Deserialize, Serialize};

use super::experts::Experts;
use super::gemm::Workspace;
use super::matrix::Matrix;
use super::shared::{SharedLayers, Tape};
use super::spec::{Dummy, Layer, Normalize};
use crate::example::FeaturePart;

/// What a model is, apart from its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Features of the videos it takes, in order.
    pub parts: Vec<FeaturePart>,
    pub class_count: usize,
    pub normalize: Normalize,
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
        SharedLayers::new(self.features(), &self.layers)
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
    /// The same without any weights of experts: what stays of a model whose experts are replaced
    /// or handed on.
    pub fn hollow(&self) -> Annotator {
        let own = self.experts.own.start..self.experts.own.start;
        let experts =
            Experts { layouts: self.experts.layouts.clone(), own, parameters: Vec::new() };
        let (shape, layers) = (self.shape.clone(), self.layers.clone());
        Annotator { shape, layers, shared: self.shared.clone(), experts }
    }

    /// Scales the features [rows][D] as the model wants them and takes them to activations.
    pub fn forward(&self, gemm: &mut Workspace, mut features: Matrix) -> Tape {
        if self.shape.normalize == Normalize::L2 {
            features.normalise_l2(gemm.instructions());
        }
        self.layers.forward(gemm, &self.shared, features)
    }
}
