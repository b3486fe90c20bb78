//! What the bits of adding two partial sums are: one element (ARCHITECTURE.md, "Same bits").

/// Adds the right sum to the left one.
pub fn add(left: &mut f32, right: f32) {
    *left += right;
}
