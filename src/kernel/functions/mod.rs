//! exp, log, sigmoid and tanh, whose bits no mathematical library decides.

pub mod definition;

pub(crate) use self::definition::{exp, log, sigmoid, smaller_sigmoid, tanh};
use super::vector::{Instructions, LANES, vectorised};

/// Every number becomes its sigmoid.
pub fn sigmoid_all(instructions: Instructions, numbers: &mut [f32]) {
    vectorised!(instructions, |numbers: &mut [f32]| each(numbers, sigmoid); numbers);
}

/// Every number becomes its hyperbolic tangent.
pub fn tanh_all(instructions: Instructions, numbers: &mut [f32]) {
    vectorised!(instructions, |numbers: &mut [f32]| each(numbers, tanh); numbers);
}

#[inline(always)]
fn each(numbers: &mut [f32], f: impl Fn(f32) -> f32) {
    let (lanes, rest) = numbers.as_chunks_mut::<LANES>();
    for lanes in lanes {
        let mut numbers = *lanes;
        for lane in 0..LANES {
            numbers[lane] = f(numbers[lane]);
        }
        *lanes = numbers;
    }
    rest.iter_mut().for_each(|number| *number = f(*number));
}
