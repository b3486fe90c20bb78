//! What the bits of a stored number are (docs/method.md, section 2.1).

/// The product is rounded, and then the sum: they aren't fused, so that any reader of a shard finds
/// the same number.
pub fn number(byte: u8, scale: f32, offset: f32) -> f32 {
    let product = f32::from(byte) * scale;
    product + offset
}

/// The number that a 16-bit float is, exactly. Its exponent and mantissa, moved to the place of
/// those of a 32-bit float, are that number times 2^-112, also where it is below the normal ones.
pub fn half(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * POWER;
    let infinite = u32::from(bits & 0x7c00 == 0x7c00) * 0x7f80_0000;
    f32::from_bits(magnitude.to_bits() | infinite | (bits & 0x8000) << 16)
}

/// 2^112.
const POWER: f32 = f32::from_bits((127 + 112) << 23);
