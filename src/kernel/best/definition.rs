//! What a row's best classes are: the first of all its pairs in one order.

use std::cmp::Ordering;

/// The order of (score, class): the larger score first, of equal ones the lower class. Scores are
/// numbers. Classes differ, so no two pairs are equal, and whoever finds the first ones, block
/// after block in any order, finds the same.
pub(crate) fn order(one: (f32, u32), other: (f32, u32)) -> Ordering {
    other.0.partial_cmp(&one.0).expect("a score is a number").then(one.1.cmp(&other.1))
}

/// The `limit` best pairs of a row, best first; all where it has no more.
#[allow(dead_code, reason = "what lists and the device's kernel are compared with")]
pub(crate) fn best(limit: usize, mut pairs: Vec<(f32, u32)>) -> Vec<(f32, u32)> {
    pairs.sort_by(|one, other| order(*one, *other));
    pairs.truncate(limit);
    pairs
}
