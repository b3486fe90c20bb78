//! Adam (Kingma and Ba 2015, algorithm 1, with the step size of its section 2).

use serde::{Deserialize, Serialize};

use super::{FullBatch, MiniBatch, Offered, Step, finite, other_lengths, stretch};
use crate::kernel::adam::{BETA_1, BETA_2, Moments, update};
use crate::kernel::coefficients::Coefficients;
use crate::kernel::text::calls::Stepper;
use crate::kernel::vector::Instructions;
use crate::packed;
use crate::team::Team;

/// First and second moments of one parameter vector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adam {
    #[serde(with = "packed")]
    first: Vec<f32>,
    #[serde(with = "packed")]
    second: Vec<f32>,
    /// 1 - BETA^t, as running products: no library power function decides the bits.
    beta_1_power: f64,
    beta_2_power: f64,
}

impl MiniBatch for Adam {
    const STEPPER: Option<Stepper> = Some(Stepper::Adam);
    const NUMBERS: usize = 2;
    const LEARNING_RATE: f32 = 0.01;

    fn new(parameters: usize) -> Adam {
        let zeros = vec![0.0; parameters];
        Adam { first: zeros.clone(), second: zeros, beta_1_power: 1.0, beta_2_power: 1.0 }
    }

    fn fault(&self, parameters: usize) -> Option<String> {
        let power = |power: f64| (0.0..=1.0).contains(&power);
        // A second moment may have overflown; it isn't negative, nor NaN.
        let fine = finite(&self.first)
            && self.second.iter().all(|moment| *moment >= 0.0)
            && power(self.beta_1_power)
            && power(self.beta_2_power);
        other_lengths([&self.first, &self.second], parameters)
            .or_else(|| (!fine).then(|| "found moments or powers out of range".into()))
    }

    fn vectors(&mut self) -> Vec<&mut Vec<f32>> {
        vec![&mut self.first, &mut self.second]
    }

    fn rate(&mut self, learning_rate: f32) -> f32 {
        self.beta_1_power *= f64::from(BETA_1);
        self.beta_2_power *= f64::from(BETA_2);
        let correction = (1.0 - self.beta_2_power).sqrt() / (1.0 - self.beta_1_power);
        (f64::from(learning_rate) * correction) as f32
    }

    fn step<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        parameters: &mut [f32],
        gradient: &[f32],
        step: Step,
    ) {
        let rate = self.rate(step.learning_rate);
        assert!(parameters.len() == gradient.len() && gradient.len() == self.first.len());
        for (l2, range) in step.parts(parameters.len()) {
            let length = stretch(range.len(), team.threads());
            let weights = parameters[range.clone()].chunks_mut(length);
            let first = self.first[range.clone()].chunks_mut(length);
            let second = self.second[range.clone()].chunks_mut(length);
            let parts = weights.zip(gradient[range].chunks(length)).zip(first.zip(second));
            let work = |_: &mut S, ((w, g), (first, second)): (Given, (&mut [f32], &mut [f32]))| {
                let coefficients = Coefficients { rate, scale: step.scale, l2 };
                update(instructions, w, g, Moments { first, second }, coefficients);
            };
            team.for_each(parts, work);
        }
    }
}

/// On the shared layers, to compare with iRprop+: steps by the gradient alone.
impl FullBatch for Adam {
    const NUMBERS: usize = 2;

    fn begin(point: &[f32], _: &Offered) -> Adam {
        MiniBatch::new(point.len())
    }

    fn fault(&self, numbers: usize, _: &Offered) -> Option<String> {
        MiniBatch::fault(self, numbers)
    }

    fn advance<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        point: &mut [f32],
        (_, gradient): (f64, &[f32]),
        offered: &Offered,
    ) {
        let learning_rate = offered.learning_rate;
        let step = Step { learning_rate, scale: 1.0, l2: 0.0, decayed: 0 };
        self.step(team, instructions, point, gradient, step);
    }
}

/// A stretch of weights and of their gradient.
type Given<'a> = (&'a mut [f32], &'a [f32]);

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the algorithm as printed, in float64.
    #[test]
    fn three_steps_follow_the_paper() {
        let (mut w, mut m, mut v) = (1.0f64, 0.0, 0.0);
        let mut found = [1.0f32];
        let mut adam = Adam::new(1);
        for (t, g) in [(1, 0.5f64), (2, -0.25), (3, 2.0)] {
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let rate = 0.01 * (1.0 - 0.999f64.powi(t)).sqrt() / (1.0 - 0.9f64.powi(t));
            w -= rate * m / (v.sqrt() + 1e-8);
            let step = Step { learning_rate: 0.01, scale: 0.5, l2: 0.0, decayed: 1 };
            adam.step(
                &mut Team::alone(&mut ()),
                Instructions::plain(),
                &mut found,
                &[2.0 * g as f32],
                step,
            );
        }
        assert!((f64::from(found[0]) - w).abs() < 1e-6, "{} {w}", found[0]);
    }
}
