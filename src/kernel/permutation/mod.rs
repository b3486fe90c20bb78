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
    items.iter_mut().zip(first..).for_each(|(item, place)| *item = place);
    vectorised!(
        instructions,
        |permutation: &Permutation, items: &mut [usize]| walk(permutation, items, rounds);
        permutation, items
    );
}

/// The places of these items, in their stead.
pub fn places(instructions: Instructions, permutation: &Permutation, items: &mut [usize]) {
    let count = permutation.count();
    assert!(items.iter().all(|item| *item < count), "items outside the permutation of {count}");
    vectorised!(
        instructions,
        |permutation: &Permutation, items: &mut [usize]| walk(permutation, items, rounds_back);
        permutation, items
    );
}

/// Takes each value along its cycle, or back along it, until it is within the permutation. Those
/// that aren't yet stay together, so that sixteen lanes have work until the last few.
#[inline(always)]
fn walk(
    permutation: &Permutation,
    items: &mut [usize],
    step: impl Fn(&Permutation, &mut [u64; LANES]),
) {
    let (mut values, mut places) = ([0u64; AT_ONCE], [0u32; AT_ONCE]);
    for items in items.chunks_mut(AT_ONCE) {
        let mut left = items.len();
        for at in 0..left {
            values[at] = items[at] as u64;
            places[at] = at as u32;
        }
        while left > 0 {
            // The last sixteen may have values of before beyond them, which nobody asks for.
            for sixteen in values[..left.next_multiple_of(LANES)].as_chunks_mut::<LANES>().0 {
                step(permutation, sixteen);
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

/// The Feistel rounds of sixteen values backwards.
#[inline(always)]
fn rounds_back(permutation: &Permutation, values: &mut [u64; LANES]) {
    let half_bits = permutation.half_bits();
    let mask = ((1u64 << half_bits) - 1) as u32;
    let mut left = values.map(|value| (value >> half_bits) as u32);
    let mut right = values.map(|value| value as u32 & mask);
    for key in permutation.keys().into_iter().rev() {
        let mixed = blocks([left, [0; LANES], [0; LANES], [0; LANES]], [key, 0])[0];
        for lane in 0..LANES {
            let swapped = right[lane] ^ mixed[lane] & mask;
            (left[lane], right[lane]) = (swapped, left[lane]);
        }
    }
    for lane in 0..LANES {
        values[lane] = u64::from(left[lane]) << half_bits | u64::from(right[lane]);
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
