//! iRprop+ (Igel and Huesken 2003): steps by the signs of full-batch gradients (docs/method.md,
//! section 4.3).
//!
//! ```text
//!   g g' > 0 :  D = min(1.2 D, D_max);  dw = -sign(g) D;  w += dw;  g' = g
//!   g g' < 0 :  D = max(0.5 D, D_min);  if E > E' then w -= dw_previous;  g' = 0
//!   else     :  dw = -sign(g) D;        w += dw;          g' = g
//! ```

use serde::{Deserialize, Serialize};

use super::{FullBatch, Offered, finite, other_lengths};
use crate::kernel::irprop::{Bounds, Memory, Signs, update};
use crate::kernel::vector::Instructions;
use crate::packed;
use crate::team::Team;

/// Bounds of the steps D.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Steps {
    pub(crate) initial: f32,
    pub(crate) min: f32,
    pub(crate) max: f32,
}

impl Default for Steps {
    /// Those of a job that gives none.
    fn default() -> Steps {
        Steps { initial: 1e-4, min: 1e-9, max: 0.1 }
    }
}

/// The state of one parameter vector. Equal gradients and losses give equal steps on every rank.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Irprop {
    steps: Steps,
    /// D of each weight.
    #[serde(with = "packed")]
    sizes: Vec<f32>,
    /// g' of each weight.
    #[serde(with = "packed")]
    gradients: Vec<f32>,
    /// The last dw of each weight, 0 where it was left in place.
    #[serde(with = "packed")]
    moves: Vec<f32>,
    /// E', the loss before the last step.
    loss: f64,
}

impl Irprop {
    fn new(parameters: usize, steps: Steps) -> Irprop {
        Irprop {
            steps,
            sizes: vec![steps.initial; parameters],
            gradients: vec![0.0; parameters],
            moves: vec![0.0; parameters],
            loss: f64::INFINITY,
        }
    }

    /// One step, given the gradient and the loss over all rows at `parameters`.
    fn step(&mut self, parameters: &mut [f32], gradient: &[f32], loss: f64) {
        let Signs { bounds, rose } = self.signs(loss);
        let Irprop { sizes, gradients, moves, .. } = self;
        update(parameters, gradient, Memory { sizes, gradients, moves }, bounds, rose);
    }

    /// What a step at this loss is taken with; it is the loss before from then on.
    fn signs(&mut self, loss: f64) -> Signs {
        let bounds = Bounds { min: self.steps.min, max: self.steps.max };
        let rose = loss > self.loss;
        self.loss = loss;
        Signs { bounds, rose }
    }
}

impl FullBatch for Irprop {
    const SIGNS: Option<fn(&mut Irprop, f64) -> Signs> = Some(Irprop::signs);
    const NUMBERS: usize = 3;

    fn kept(&mut self) -> Vec<&mut Vec<f32>> {
        vec![&mut self.sizes, &mut self.gradients, &mut self.moves]
    }

    fn begin(point: &[f32], offered: &Offered) -> Irprop {
        Irprop::new(point.len(), offered.steps)
    }

    fn fault(&self, numbers: usize, offered: &Offered) -> Option<String> {
        let fine = self.steps == offered.steps
            && self.sizes.iter().all(|size| size.is_finite() && *size >= 0.0)
            && finite(&self.gradients)
            && finite(&self.moves)
            && self.loss > f64::NEG_INFINITY;
        other_lengths([&self.sizes, &self.gradients, &self.moves], numbers)
            .or_else(|| (!fine).then(|| "found steps, gradients or a loss out of range".into()))
    }

    fn advance<S: Send>(
        &mut self,
        _: &mut Team<S>,
        _: Instructions,
        point: &mut [f32],
        (value, gradient): (f64, &[f32]),
        _: &Offered,
    ) {
        self.step(point, gradient, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: Steps = Steps { initial: 0.1, min: 1e-6, max: 1.0 };

    #[test]
    fn each_case_of_the_table_moves_as_written() {
        let (mut w, mut irprop) = ([0.0f32], Irprop::new(1, STEPS));
        irprop.step(&mut w, &[2.0], 5.0);
        assert_eq!(w, [-0.1], "else: one initial step down the gradient");
        irprop.step(&mut w, &[1.0], 4.0);
        assert_eq!(w, [-0.1 - 0.1 * 1.2], "same sign: the step grows");
        let before = w;
        irprop.step(&mut w, &[-1.0], 4.5);
        assert_eq!(w, [before[0] + 0.1 * 1.2], "the sign turned and the loss rose: taken back");
        irprop.step(&mut w, &[-1.0], 4.0);
        let half = before[0] + 0.1 * 1.2 + 0.06;
        assert!((w[0] - half).abs() < 1e-7, "then a step of half the size: {w:?} {half}");
        let before = w;
        irprop.step(&mut w, &[1.0], 3.0);
        assert_eq!(w, before, "the sign turned without a rise: left where it is");
    }

    #[test]
    fn it_finds_the_minimum_of_a_bent_bowl() {
        let loss = |w: &[f32]| f64::from(w[0] * w[0] + 50.0 * (w[1] - w[0]) * (w[1] - w[0]));
        let (mut w, mut irprop) = ([3.0f32, -2.0], Irprop::new(2, STEPS));
        for _ in 0..400 {
            let slope = 100.0 * (w[1] - w[0]);
            let value = loss(&w);
            let gradient = [2.0 * w[0] - slope, slope];
            irprop.step(&mut w, &gradient, value);
        }
        assert!(loss(&w) < 1e-6, "{w:?}");
    }
}
