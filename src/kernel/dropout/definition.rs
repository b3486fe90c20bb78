//! What the bits of dropout are (docs/method.md, section 2.6).

/// A number and its random byte. One that is left out is multiplied by +0, so it keeps its sign.
pub fn number(x: f32, byte: u8, bound: u32) -> f32 {
    let scale = 256.0 / (256 - bound) as f32;
    x * if u32::from(byte) < bound { 0.0 } else { scale }
}
