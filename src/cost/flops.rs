//! Floating-point operations of matrix products, in which a multiplication and an addition count
//! one each. What isn't a product (sweeps, pooling, solvers) isn't counted.

/// A product rows x depth times depth x columns.
pub(crate) fn product(rows: usize, depth: usize, columns: usize) -> f64 {
    2.0 * (rows * depth * columns) as f64
}

/// Columns of the logits of K classes of E experts and a learned dummy state each: E + 1 gates and
/// E experts (docs/method.md, section 3.1). What fills up groups of sixteen isn't counted.
pub(crate) fn columns(classes: usize, experts: usize) -> usize {
    classes * (2 * experts + 1)
}

/// `rows` rows of d activations past so many columns: their logits, and one gradient, either that
/// of the weights (expert step) or that of the activations (shared step): 4 d for each column.
pub(crate) fn logits_and_gradient(rows: usize, activations: usize, columns: usize) -> f64 {
    2.0 * product(rows, activations, columns)
}

/// `rows` rows past so many columns in pretraining: their logits, and both gradients.
pub(crate) fn logits_and_both(rows: usize, activations: usize, columns: usize) -> f64 {
    3.0 * product(rows, activations, columns)
}

/// `rows` rows forward through layers of so many weights, and back: the gradients of the weights
/// and of what came in.
pub(crate) fn forward_and_back(rows: usize, weights: usize) -> f64 {
    3.0 * product(rows, weights, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// YouTube-8M's 3,862 classes of 2 experts on 1,024 activations: 79 million a row.
    #[test]
    fn a_row_past_all_mixtures() {
        let flop = logits_and_gradient(1, 1024, columns(3862, 2));
        assert_eq!(flop, 4.0 * 1024.0 * 3862.0 * 5.0);
        assert_eq!(logits_and_gradient(10, 1024, columns(3862, 2)), 10.0 * flop);
        assert_eq!(product(3, 5, 7), 210.0);
    }
}
