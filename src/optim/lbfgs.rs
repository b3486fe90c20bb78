//! L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.4) for one class's weights.
//!
//! Classes are independent, so each searches by itself while full-batch passes over all rows serve
//! all of them: a search takes value and gradient at its trial point and answers with the next one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{ByClass, FullBatch, Offered, finite, other_lengths};
use crate::kernel::vector::Instructions;
use crate::packed;
use crate::team::Team;

/// Pairs (s, y) that are kept.
const HISTORY: usize = 10;
/// Sufficient decrease (Armijo).
const DECREASE: f64 = 1e-4;
/// Halvings after which a search gives up.
const HALVINGS: u32 = 20;

/// The state of one search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lbfgs {
    /// The last accepted point with its value and gradient.
    #[serde(with = "packed")]
    point: Vec<f32>,
    value: f64,
    #[serde(with = "packed")]
    gradient: Vec<f32>,
    #[serde(with = "packed")]
    direction: Vec<f32>,
    step: f64,
    halvings: u32,
    /// Oldest first.
    pairs: VecDeque<CurvaturePair>,
    /// Relative fall of the value below which the search has converged.
    tolerance: f64,
    converged: bool,
}

/// What a step moved (s), how the gradient changed on it (y), and 1 / s'y.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct CurvaturePair {
    #[serde(with = "packed")]
    moved: Vec<f32>,
    #[serde(with = "packed")]
    change: Vec<f32>,
    rho: f64,
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn add(y: &mut [f32], a: f64, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = (f64::from(*y) + a * f64::from(*x)) as f32);
}

impl Lbfgs {
    /// A search that begins at `point`; its first trial is that point itself.
    fn new(point: Vec<f32>, tolerance: f64) -> Lbfgs {
        let zeros = vec![0.0; point.len()];
        Lbfgs {
            direction: zeros.clone(),
            gradient: zeros,
            point,
            value: f64::INFINITY,
            step: 0.0,
            halvings: 0,
            pairs: VecDeque::new(),
            tolerance,
            converged: false,
        }
    }

    /// The point whose value and gradient are wanted next.
    fn trial(&self) -> Vec<f32> {
        let mut trial = self.point.clone();
        add(&mut trial, self.step, &self.direction);
        trial
    }

    /// Takes the value and the gradient at `trial()`.
    fn take(&mut self, value: f64, gradient: &[f32]) {
        if self.converged {
            return;
        }
        let first = self.value == f64::INFINITY;
        let slope = dot(&self.gradient, &self.direction);
        // A value that is no number isn't enough either.
        let enough = value <= self.value + DECREASE * self.step * slope;
        if !first && !enough {
            self.halvings += 1;
            self.step *= 0.5;
            if self.halvings == HALVINGS {
                // Rounding hides any further decrease.
                (self.step, self.converged) = (0.0, true);
            }
            return;
        }
        let fall = (self.value - value) / value.abs().max(f64::MIN_POSITIVE);
        if !first {
            self.remember(gradient);
        }
        self.point = self.trial();
        self.value = value;
        self.gradient.copy_from_slice(gradient);
        self.direct();
        self.halvings = 0;
        let steepness = dot(&self.gradient, &self.gradient).sqrt();
        self.step = if self.pairs.is_empty() { 1.0 / steepness.max(1.0) } else { 1.0 };
        if steepness < 1e-9 || (!first && fall < self.tolerance) {
            (self.step, self.converged) = (0.0, true);
        }
    }

    /// Keeps the pair of the step just accepted, if its curvature is positive.
    fn remember(&mut self, gradient: &[f32]) {
        let moved: Vec<f32> =
            self.direction.iter().map(|p| (self.step * f64::from(*p)) as f32).collect();
        let change: Vec<f32> =
            gradient.iter().zip(&self.gradient).map(|(new, old)| new - old).collect();
        let curvature = dot(&moved, &change);
        if curvature > 1e-10 * dot(&change, &change).max(f64::MIN_POSITIVE) {
            if self.pairs.len() == HISTORY {
                self.pairs.pop_front();
            }
            self.pairs.push_back(CurvaturePair { moved, change, rho: 1.0 / curvature });
        }
    }

    /// The two-loop recursion: direction = -H gradient.
    fn direct(&mut self) {
        let mut q = self.gradient.clone();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for CurvaturePair { moved: s, change: y, rho } in self.pairs.iter().rev() {
            let alpha = rho * dot(s, &q);
            add(&mut q, -alpha, y);
            alphas.push(alpha);
        }
        if let Some(CurvaturePair { change: y, rho, .. }) = self.pairs.back() {
            let scale = 1.0 / (rho * dot(y, y));
            q.iter_mut().for_each(|q| *q = (f64::from(*q) * scale) as f32);
        }
        for (CurvaturePair { moved: s, change: y, rho }, alpha) in
            self.pairs.iter().zip(alphas.into_iter().rev())
        {
            let beta = rho * dot(y, &q);
            add(&mut q, alpha - beta, s);
        }
        q.iter_mut().for_each(|q| *q = -*q);
        self.direction = q;
    }
}

impl FullBatch for Lbfgs {
    /// Point, gradient, direction, places and ten pairs.
    const NUMBERS: usize = 5 + 2 * HISTORY;

    /// Places are made anew; the first evaluation has none before it to make a pair with.
    fn saved(evaluations: usize) -> usize {
        3 + 2 * evaluations.saturating_sub(1).min(HISTORY)
    }

    fn begin(point: &[f32], offered: &Offered) -> Lbfgs {
        Lbfgs::new(point.to_vec(), offered.tolerance)
    }

    fn fault(&self, numbers: usize, offered: &Offered) -> Option<String> {
        let vectors = [&self.point, &self.gradient, &self.direction];
        let pairs = self.pairs.iter().flat_map(|pair| [&pair.moved, &pair.change]);
        let wrong = other_lengths(vectors.map(Vec::as_slice), numbers)
            .or_else(|| pairs.into_iter().find_map(|one| other_lengths([one], numbers)));
        // A search that has converged needs no numbers for a next trial: those may be anything.
        let searching = vectors.iter().all(|vector| finite(vector))
            && self.pairs.iter().all(|pair| pair.rho.is_finite());
        let fine = finite(&self.point)
            && (self.converged || searching && self.halvings < HALVINGS)
            && (0.0..=1.0).contains(&self.step)
            && self.value > f64::NEG_INFINITY
            && self.pairs.len() <= HISTORY
            && self.tolerance == offered.tolerance;
        wrong.or_else(|| (!fine).then(|| "found a search out of range".into()))
    }

    fn advance<S: Send>(
        &mut self,
        _: &mut Team<S>,
        _: Instructions,
        point: &mut [f32],
        (value, gradient): (f64, &[f32]),
        _: &Offered,
    ) {
        self.take(value, gradient);
        point.copy_from_slice(&self.trial());
    }
}

/// Once converged the last accepted point is also the trial point.
impl ByClass for Lbfgs {
    fn converged(&self) -> bool {
        self.converged
    }

    fn value(&self) -> f64 {
        self.value
    }

    fn accepted(&self) -> &[f32] {
        &self.point
    }

    fn end_at(&mut self, point: Vec<f32>) {
        (self.point, self.step, self.converged) = (point, 0.0, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_descends_the_banana_of_rosenbrock() {
        let mut search = Lbfgs::new(vec![-1.2, 1.0], 0.0);
        let mut evaluations = 0;
        while !search.converged() && evaluations < 200 {
            let w: Vec<f64> = search.trial().iter().map(|w| f64::from(*w)).collect();
            let (a, b) = (1.0 - w[0], w[1] - w[0] * w[0]);
            let gradient = [(-2.0 * a - 400.0 * w[0] * b) as f32, (200.0 * b) as f32];
            search.take(a * a + 100.0 * b * b, &gradient);
            evaluations += 1;
        }
        assert!(search.value() < 1e-8, "{} after {evaluations}", search.value());
    }
}
