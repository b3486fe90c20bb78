//! Numbers as they come from a shard: bytes to floats, and whether floats are numbers at all, in
//! vector code.

use super::vector::{Instructions, LANES};
use crate::vectorised;

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

/// Whether no value is infinite or NaN.
pub fn all_finite(instructions: Instructions, values: &[f32]) -> bool {
    let mut finite = true;
    vectorised!(
        instructions,
        |values: &[f32], finite: &mut bool| *finite = exponents_below_all_ones(values);
        values, &mut finite
    );
    finite
}

/// The largest of all bits without their sign tells: infinity and NaN have an exponent of ones.
#[inline(always)]
fn exponents_below_all_ones(values: &[f32]) -> bool {
    let mut largest = [0u32; LANES];
    let (lanes, rest) = values.as_chunks::<LANES>();
    for sixteen in lanes {
        for lane in 0..LANES {
            largest[lane] = largest[lane].max(sixteen[lane].to_bits() & 0x7fff_ffff);
        }
    }
    let rest = rest.iter().map(|value| value.to_bits() & 0x7fff_ffff);
    largest.into_iter().chain(rest).max().expect("sixteen lanes") < f32::INFINITY.to_bits()
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
                assert!(all_finite(instructions, &values));
                for at in 0..length {
                    for wrong in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        let right = std::mem::replace(&mut values[at], wrong);
                        assert!(!all_finite(instructions, &values), "{wrong} at {at} of {length}");
                        values[at] = right;
                    }
                    let largest = [f32::MAX, -f32::MAX, -0.0, f32::MIN_POSITIVE / 2.0];
                    values[at] = largest[at % 4];
                    assert!(all_finite(instructions, &values), "{} at {at}", values[at]);
                }
            }
        }
    }
}
