//! Class blocks that visit, by their definition: a row at a time over all row blocks of a wave.

use std::rc::Rc;

use reelscale::internals::device::{Resting, Scores};
use reelscale::internals::kernel::mixture::definition as mixture;
use reelscale::internals::model::{LANES, Layout, stride_of};

use super::network::Wave;
use super::storage::{Buffer, Meter};

/// A class block that visits.
pub struct Visitor {
    pub layout: Layout,
    weights: Buffer<f32>,
    epsilon: f32,
}

impl Visitor {
    pub fn new(meter: &Rc<Meter>, layout: &Layout, weights: &[f32], epsilon: f32) -> Visitor {
        Visitor { layout: layout.clone(), weights: Buffer::up(meter, weights), epsilon }
    }

    /// Adds its part to dL/dv and the loss of a row block.
    pub fn visit(&self, wave: &mut Wave, block: usize) {
        let (layout, stride) = (&self.layout, stride_of(self.layout.width));
        let mut losses = vec![0.0; layout.groups.len() * LANES];
        for row in wave.blocks[block].0.clone() {
            let own = row * stride..(row + 1) * stride;
            let mut logits = mixture::logits(layout, &self.weights, &wave.outputs()[own.clone()]);
            let (labels, epsilon) = (wave.labels.row(row), self.epsilon);
            mixture::logit_gradients(layout, &mut logits, labels, 1.0, epsilon, &mut losses);
            let slopes = &mut wave.slopes[own];
            mixture::add_activation_gradient(layout, &self.weights, &logits, slopes);
        }
        wave.losses[block] += losses.iter().sum::<f64>();
    }

    /// Scores of rows that have come up.
    pub fn scores(&self, meter: &Rc<Meter>, resting: &Resting) -> Scores {
        let classes = self.layout.classes.len();
        let mut scores = vec![0.0; resting.rows.len() * classes];
        let up = Buffer::up(meter, resting.activations.run(resting.rows.clone()));
        let rows = up.chunks_exact(stride_of(self.layout.width)).zip(resting.rows.clone());
        let losses = rows.zip(scores.chunks_exact_mut(classes)).map(|((v, row), scores)| {
            let mut logits = mixture::logits(&self.layout, &self.weights, v);
            let labels = resting.labels.row(row);
            mixture::scores(&self.layout, &mut logits, labels, self.epsilon, scores, 0.0)
        });
        let losses = losses.collect();
        let scores = Buffer::of(meter, scores).down().to_vec();
        Scores { scores, losses }
    }
}
