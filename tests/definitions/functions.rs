//! exp, log, sigmoid and tanh: vector code is compiled from their definition, whose bits are held
//! to literals.

use reelscale::internals::kernel::functions::definition::{exp, log, sigmoid, tanh};
use reelscale::internals::kernel::functions::{sigmoid_all, tanh_all};

use super::draws::Draws;
use super::{cases, kernels, same};

#[test]
fn vector_code_is_the_definition() {
    for case in 0..cases(60) {
        let mut draws = Draws::new(case);
        let size = draws.one_of(&[1.0, 30.0, 1e4, 1e38]);
        let count = draws.far(1000);
        let mut numbers = draws.numbers(count, size);
        numbers.extend([f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 88.0, -87.0, -87.00001]);
        let expected = [sigmoid, tanh].map(|f| numbers.iter().map(|x| f(*x)).collect::<Vec<_>>());
        for kernel in kernels() {
            let mut found = [numbers.clone(), numbers.clone()];
            sigmoid_all(kernel, &mut found[0]);
            tanh_all(kernel, &mut found[1]);
            for (found, expected) in found.iter().zip(&expected) {
                same(found, expected, &|| format!("case {case} on {kernel:?}"));
            }
        }
    }
}

/// What mixes the bits of all results, in order (64-bit FNV-1a, a number at a time).
fn digest(results: impl Iterator<Item = f32>) -> u64 {
    results.fold(0xcbf2_9ce4_8422_2325, |digest: u64, result| {
        (digest ^ u64::from(result.to_bits())).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A change of any of their operations shows here.
#[test]
fn the_definition_has_its_literal_bits() {
    let grid = |from: i32, to: i32, step: f32| (from..to).map(move |at| at as f32 * step);
    let positive = || (0x0080_0000..0x7f80_0000u32).step_by(65_521).map(f32::from_bits);
    let found = [
        digest(grid(-100_000, 100_000, 1e-3).map(exp)),
        digest(positive().map(log)),
        digest(grid(-100_000, 100_000, 3e-4).map(sigmoid)),
        digest(grid(-100_000, 100_000, 1e-4).map(tanh)),
    ];
    assert_eq!(
        found.map(|digest| format!("{digest:016x}")),
        ["2b945ac34894b9ba", "ea6e29f5c7ae3949", "5787f7c51914f2af", "42d9d84efe22be1d"]
    );
}
