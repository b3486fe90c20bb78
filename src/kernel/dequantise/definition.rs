//! What the bits of a byte's number are (docs/method.md, section 2.1).

/// The product is rounded, and then the sum: they aren't fused, so that any reader of a shard finds
/// the same number.
pub fn number(byte: u8, scale: f32, offset: f32) -> f32 {
    let product = f32::from(byte) * scale;
    product + offset
}
