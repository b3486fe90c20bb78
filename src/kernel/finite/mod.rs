//! Whether numbers are numbers at all, and how large they are, in vector code.

pub mod definition;

use super::vector::{Instructions, LANES, vectorised};

/// Whether all values are numbers, and not infinite.
pub fn all_finite(instructions: Instructions, values: &[f32]) -> bool {
    all_below(instructions, values, f32::INFINITY)
}

/// Whether all values are below `bound`, which is above 0, whatever their sign. NaN never is, and
/// infinity isn't below itself.
pub fn all_below(instructions: Instructions, values: &[f32], bound: f32) -> bool {
    let mut below = true;
    vectorised!(
        instructions,
        |values: &[f32], bound: f32, below: &mut bool| *below = largest_below(values, bound);
        values, bound, &mut below
    );
    below
}

/// The largest of all bits without their sign tells: they rise with the number, and NaN's are
/// beyond those of infinity.
#[inline(always)]
fn largest_below(values: &[f32], bound: f32) -> bool {
    let mut largest = [0u32; LANES];
    let (lanes, rest) = values.as_chunks::<LANES>();
    for sixteen in lanes {
        for lane in 0..LANES {
            largest[lane] = largest[lane].max(sixteen[lane].to_bits() & 0x7fff_ffff);
        }
    }
    let rest = rest.iter().map(|value| value.to_bits() & 0x7fff_ffff);
    largest.into_iter().chain(rest).max().expect("sixteen lanes") < bound.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_found_wherever_it_stands() {
        for instructions in Instructions::available() {
            for length in [0, 1, 15, 16, 17, 256, 1021] {
                let mut values: Vec<f32> =
                    (0..length).map(|at| (at * 37 % 256) as f32 / 64.0 - 2.0).collect();
                let all_finite = |values: &[f32]| all_finite(instructions, values);
                assert!(all_finite(&values));
                assert!(all_below(instructions, &values, 2.1) || length == 0);
                let largest = values.iter().fold(f32::MIN_POSITIVE, |a, b| a.max(b.abs()));
                assert!(length == 0 || !all_below(instructions, &values, largest));
                for at in 0..length {
                    for wrong in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        let right = std::mem::replace(&mut values[at], wrong);
                        assert!(!all_finite(&values), "{wrong} at {at} of {length}");
                        values[at] = right;
                    }
                    let largest = [f32::MAX, -f32::MAX, -0.0, f32::MIN_POSITIVE / 2.0];
                    values[at] = largest[at % 4];
                    assert!(all_finite(&values), "{} at {at}", values[at]);
                }
            }
        }
    }
}
