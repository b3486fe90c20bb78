//! What is below a bound.

/// Whether the number's size is below `bound`, which is above 0; infinity isn't below itself, and
/// what is no number is below nothing.
pub fn below(x: f32, bound: f32) -> bool {
    x.abs() < bound
}
