//! Every vector kernel equals its definition bit for bit: on all instructions that this processor
//! has, on random shapes (0, 1, primes), on numbers that are denormal, -0 or huge, by teams of one
//! to seventeen threads.
//!
//! `REELSCALE_KERNELS=plain,avx2` chooses instructions, `REELSCALE_CASES=4` how many shapes.

mod draws;
mod elements;
mod functions;
mod layers;
mod mixture;
mod pooling;
mod product;
mod slices;

use reelscale::internals::kernel::vector::Instructions;

/// The instructions that are tried.
fn kernels() -> Vec<Instructions> {
    match std::env::var("REELSCALE_KERNELS") {
        Ok(names) => names.split(',').map(|name| Instructions::parse(name).unwrap()).collect(),
        Err(_) => Instructions::available(),
    }
}

/// How many shapes are drawn where `usual` are by default.
fn cases(usual: u64) -> u64 {
    let asked = std::env::var("REELSCALE_CASES").ok();
    asked.map_or(usual, |cases| cases.parse().expect("a number of cases"))
}

/// Demands equal bits, but for what a number that is none holds.
fn same(found: &[f32], expected: &[f32], what: &dyn Fn() -> String) {
    assert_eq!(found.len(), expected.len(), "{}", what());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let equal = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(equal, "{}: number {at}: {found:e}, defined as {expected:e}", what());
    }
}

/// As `same`, of sums of losses.
fn same_sums(found: &[f64], expected: &[f64], what: &dyn Fn() -> String) {
    let bits = |sums: &[f64]| sums.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected), "{}: {found:?}, defined as {expected:?}", what());
}
