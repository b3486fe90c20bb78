//! What the bits of a standardised number are (docs/method.md, section 2.2).

/// The difference is rounded, and then the product.
pub fn number(x: f32, mean: f32, scale: f32) -> f32 {
    let distance = x - mean;
    distance * scale
}
