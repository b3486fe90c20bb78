//! AdaGrad (Duchi, Hazan and Singer 2011, diagonal form): w -= rate g / sqrt(sum of g^2).

use serde::{Deserialize, Serialize};

use super::{MiniBatch, Step, other_lengths, stretch};
use crate::kernel::adagrad::update;
use crate::kernel::coefficients::Coefficients;
use crate::kernel::text::calls::Stepper;
use crate::kernel::vector::Instructions;
use crate::packed;
use crate::team::Team;

/// Where the sums of squares begin, as in TensorFlow's AdaGrad, whose learning rates users know.
const INITIAL: f32 = 0.1;

/// Sums of squared gradients of one parameter vector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adagrad {
    #[serde(with = "packed")]
    squares: Vec<f32>,
}

impl MiniBatch for Adagrad {
    const STEPPER: Option<Stepper> = Some(Stepper::Adagrad);
    const NUMBERS: usize = 1;
    const LEARNING_RATE: f32 = 1.0;

    fn new(parameters: usize) -> Adagrad {
        Adagrad { squares: vec![INITIAL; parameters] }
    }

    fn fault(&self, parameters: usize) -> Option<String> {
        let fine = self.squares.iter().all(|square| *square >= INITIAL);
        other_lengths([&self.squares], parameters)
            .or_else(|| (!fine).then(|| format!("found a sum of squares below {INITIAL}")))
    }

    fn vectors(&mut self) -> Vec<&mut Vec<f32>> {
        vec![&mut self.squares]
    }

    fn step<S: Send>(
        &mut self,
        team: &mut Team<S>,
        instructions: Instructions,
        parameters: &mut [f32],
        gradient: &[f32],
        step: Step,
    ) {
        assert!(parameters.len() == gradient.len() && gradient.len() == self.squares.len());
        for (l2, range) in step.parts(parameters.len()) {
            let length = stretch(range.len(), team.threads());
            let weights = parameters[range.clone()].chunks_mut(length);
            let squares = self.squares[range.clone()].chunks_mut(length);
            let parts = weights.zip(gradient[range].chunks(length)).zip(squares);
            let work = |_: &mut S, ((w, g), squares): ((&mut [f32], &[f32]), &mut [f32])| {
                let (rate, scale) = (step.learning_rate, step.scale);
                update(instructions, w, g, squares, Coefficients { rate, scale, l2 });
            };
            team.for_each(parts, work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_with_the_squares() {
        let (mut w, mut adagrad) = ([1.0f32, 1.0], Adagrad::new(2));
        let step = Step { learning_rate: 0.5, scale: 1.0, l2: 2.0, decayed: 1 };
        adagrad.step(&mut Team::alone(&mut ()), Instructions::plain(), &mut w, &[3.0, 3.0], step);
        let (with_l2, without) = (1.0 - 0.5 * 5.0 / 25.1f32.sqrt(), 1.0 - 1.5 / 9.1f32.sqrt());
        assert!((w[0] - with_l2).abs() < 1e-6 && (w[1] - without).abs() < 1e-6, "{w:?}");
    }
}
