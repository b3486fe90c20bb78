//! A random permutation at many places at once (`rng::Permutation`, which is the definition).

use super::philox::blocks;
use super::vector::{Instructions, LANES, vectorised};
use crate::rng::Permutation;

/// Places that are worked on together, few enough for the first level of a processor's caches.
const AT_ONCE: usize = 512;

/// The items at the places from `first` on, one for each of `items`. All places lie within the
/// permutation.
pub fn items(
    instructions: Instructions,
    permutation: &Permutation,
    first: usize,
    items: &mut [usize],
) {
    let end = first.checked_add(items.len()).expect("a place is a number");
    assert!(end <= permutation.count(), "places up to {end} are outside the permutation");
    vectorised!(
        instructions,
        |permutation: &Permutation, first: usize, items: &mut [usize]| {
            walk(permutation, first, items);
        };
        permutation, first, items
    );
}

/// Takes each place along its cycle until it is an item. Those that aren't yet stay together, so
/// that sixteen lanes have work until the last few.
#[inline(always)]
fn walk(permutation: &Permutation, first: usize, items: &mut [usize]) {
    let (mut values, mut places) = ([0u64; AT_ONCE], [0u32; AT_ONCE]);
    for (piece, items) in items.chunks_mut(AT_ONCE).enumerate() {
        let mut left = items.len();
        for at in 0..left {
            values[at] = (first + piece * AT_ONCE + at) as u64;
            places[at] = at as u32;
        }
        while left > 0 {
            // The last sixteen may have values of before beyond them, which nobody asks for.
            for sixteen in values[..left.next_multiple_of(LANES)].as_chunks_mut::<LANES>().0 {
                rounds(permutation, sixteen);
            }
            let mut kept = 0;
            for at in 0..left {
                let (value, place) = (values[at], places[at]);
                items[place as usize] = value as usize;
                (values[kept], places[kept]) = (value, place);
                kept += usize::from(value >= permutation.count() as u64);
            }
            left = kept;
        }
    }
}

/// The Feistel rounds of sixteen values. Halves have at most 32 bits.
#[inline(always)]
fn rounds(permutation: &Permutation, values: &mut [u64; LANES]) {
    let half_bits = permutation.half_bits();
    let mask = ((1u64 << half_bits) - 1) as u32;
    let mut left = values.map(|value| (value >> half_bits) as u32);
    let mut right = values.map(|value| value as u32 & mask);
    for key in permutation.keys() {
        let mixed = blocks([right, [0; LANES], [0; LANES], [0; LANES]], [key, 0])[0];
        for lane in 0..LANES {
            let swapped = left[lane] ^ mixed[lane] & mask;
            (left[lane], right[lane]) = (right[lane], swapped);
        }
    }
    for lane in 0..LANES {
        values[lane] = u64::from(left[lane]) << half_bits | u64::from(right[lane]);
    }
}
