//! A moving average of weights over the steps of an optimizer (Polyak and Juditsky 1992; with the
//! exponential weights that deep learning gives it).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{finite, other_lengths, stretch};
use crate::kernel::average::update;
use crate::kernel::vector::Instructions;
use crate::packed;
use crate::team::Team;

/// The average of one parameter vector: a plain mean of the first 1 / (1 - decay) steps, an
/// exponential one from then on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Average {
    #[serde(with = "packed")]
    pub weights: Arc<Vec<f32>>,
    decay: f32,
    steps: u64,
}

impl Average {
    /// `decay` is what stays of the average at a step, from 0 to below 1.
    pub fn new(parameters: usize, decay: f32) -> Average {
        Average { weights: Arc::new(vec![0.0; parameters]), decay, steps: 0 }
    }

    /// What of a state that was read back no steps on so many parameters can have led to.
    pub(crate) fn fault(&self, parameters: usize, decay: f32) -> Option<String> {
        // Steps are counted on; nobody takes so many.
        let fine = finite(&self.weights) && self.decay == decay && self.steps < u64::MAX / 2;
        other_lengths([&self.weights], parameters)
            .or_else(|| (!fine).then(|| "found an average of another kind".into()))
    }

    /// Counts a step, and gives the share of the way to the weights that the average goes after it.
    pub(crate) fn share(&mut self) -> f32 {
        self.steps += 1;
        f32::max(1.0 - self.decay, 1.0 / self.steps as f32)
    }

    /// Takes in the weights after a step, shared by as many threads as `team` has members.
    pub fn step<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        weights: &[f32],
    ) {
        let share = self.share();
        let average = Arc::make_mut(&mut self.weights).as_mut_slice();
        assert_eq!(average.len(), weights.len());
        let length = stretch(weights.len(), team.threads());
        let parts = average.chunks_mut(length).zip(weights.chunks(length));
        let work = |_: &mut S, (average, weights): (&mut [f32], &[f32])| {
            update(instructions, average, weights, share);
        };
        team.for_each(parts, work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_mean_first_and_forgets_later() {
        let mut average = Average::new(1, 0.75);
        let steps = [8.0, 4.0, 0.0, 4.0, 8.0];
        let found = steps.map(|weight| {
            average.step(&mut Team::alone(&mut ()), Instructions::plain(), &[weight]);
            average.weights[0]
        });
        assert_eq!(found, [8.0, 6.0, 4.0, 4.0, 5.0]);
    }
}
