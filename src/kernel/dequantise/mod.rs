//! Numbers as they come from a shard: bytes to floats, in vector code.

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
