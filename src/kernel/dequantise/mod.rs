//! Numbers as they come from a shard: bytes, or floats of 16 or 32 bits, to floats, in vector code.

pub mod definition;

use crate::kernel::vector::{Instructions, vectorised};

/// `values` become byte x scale + offset of `bytes`, rounded after the product and after the sum,
/// so that any reader of the shard finds the same numbers.
pub fn from_bytes(
    instructions: Instructions,
    bytes: &[u8],
    values: &mut [f32],
    scale_offset: [f32; 2],
) {
    assert_eq!(bytes.len(), values.len(), "a byte for each value");
    vectorised!(
        instructions,
        |bytes: &[u8], values: &mut [f32], scale_offset: [f32; 2]| {
            scaled(bytes, values, scale_offset)
        };
        bytes, values, scale_offset
    );
}

#[inline(always)]
fn scaled(bytes: &[u8], values: &mut [f32], [scale, offset]: [f32; 2]) {
    for (value, byte) in values.iter_mut().zip(bytes) {
        *value = f32::from(*byte) * scale + offset;
    }
}

/// `values` become the 16-bit floats of `bytes`, little-endian.
pub fn from_halves(instructions: Instructions, bytes: &[u8], values: &mut [f32]) {
    assert_eq!(bytes.len(), 2 * values.len(), "two bytes for each value");
    vectorised!(
        instructions,
        |bytes: &[u8], values: &mut [f32]| widened(bytes, values);
        bytes, values
    );
}

#[inline(always)]
fn widened(bytes: &[u8], values: &mut [f32]) {
    for (value, pair) in values.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = definition::half(u16::from_le_bytes([pair[0], pair[1]]));
    }
}

/// `values` become the 32-bit floats of `bytes`, little-endian.
pub fn from_floats(bytes: &[u8], values: &mut [f32]) {
    assert_eq!(bytes.len(), 4 * values.len(), "four bytes for each value");
    for (value, four) in values.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vector_code_does_what_single_operations_do() {
        for instructions in Instructions::available() {
            for length in [0, 1, 15, 16, 17, 256, 1021] {
                let bytes: Vec<u8> = (0..length).map(|at| (at * 37 % 256) as u8).collect();
                let (scale, offset) = (4.0 / 255.0, -1.992_187_5);
                let mut values = vec![0.0; length];
                from_bytes(instructions, &bytes, &mut values, [scale, offset]);
                let expected = bytes.iter().map(|byte| f32::from(*byte) * scale + offset);
                assert!(values.iter().copied().eq(expected), "{instructions:?}, {length}");
            }
        }
    }
}
