//! AdaGrad (Duchi, Hazan and Singer 2011, diagonal form): w -= rate g / sqrt(sum of g^2).

use serde::{Deserialize, Serialize};

use crate::model::vector::Instructions;
use crate::packed;
use crate::vectorised;

/// Where the sums of squares begin, as in TensorFlow's AdaGrad, whose learning rates users know.
const INITIAL: f32 = 0.1;

/// Sums of squared gradients of one parameter vector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adagrad {
    #[serde(with = "packed")]
    squares: Vec<f32>,
}

impl Adagrad {
    pub fn new(parameters: usize) -> Adagrad {
        Adagrad { squares: vec![INITIAL; parameters] }
    }

    /// One step along `scale` times `gradient`, plus `l2` times the parameter for the first
    /// `decayed` parameters.
    pub fn step(
        &mut self,
        instructions: Instructions,
        parameters: &mut [f32],
        gradient: &[f32],
        learning_rate: f32,
        scale: f32,
        (l2, decayed): (f32, usize),
    ) {
        assert!(parameters.len() == gradient.len() && gradient.len() == self.squares.len());
        for (l2, range) in [(l2, 0..decayed), (0.0, decayed..parameters.len())] {
            let (w, g) = (&mut parameters[range.clone()], &gradient[range.clone()]);
            let squares = &mut self.squares[range];
            vectorised!(
                instructions,
                |w: &mut [f32], g: &[f32], squares: &mut [f32], c: [f32; 3]| {
                    update(w, g, squares, c)
                };
                w, g, squares, [learning_rate, scale, l2]
            );
        }
    }
}

#[inline(always)]
fn update(w: &mut [f32], g: &[f32], squares: &mut [f32], [rate, scale, l2]: [f32; 3]) {
    for ((w, g), squares) in w.iter_mut().zip(g).zip(squares) {
        let g = l2.mul_add(*w, g * scale);
        *squares = g.mul_add(g, *squares);
        *w -= rate * g / squares.sqrt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_with_the_squares() {
        let (mut w, mut adagrad) = ([1.0f32, 1.0], Adagrad::new(2));
        adagrad.step(Instructions::Plain, &mut w, &[3.0, 3.0], 0.5, 1.0, (2.0, 1));
        let (with_l2, without) = (1.0 - 0.5 * 5.0 / 25.1f32.sqrt(), 1.0 - 1.5 / 9.1f32.sqrt());
        assert!((w[0] - with_l2).abs() < 1e-6 && (w[1] - without).abs() < 1e-6, "{w:?}");
    }
}
