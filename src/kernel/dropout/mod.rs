//! Dropout of numbers by random bytes (docs/method.md, section 2.6).

pub mod definition;

use super::philox::{WORDS, words_at};
use super::vector::{Instructions, vectorised};
use crate::rng::{Start, Stream};

/// Numbers whose random byte is below this, of 256, are left out, for dropout of `share` of them.
pub fn bound(share: f32) -> u32 {
    (share * 256.0).round() as u32
}

/// What numbers that aren't left out are multiplied by. `bound` is below 256.
pub(crate) fn scale(bound: u32) -> f32 {
    256.0 / (256 - bound) as f32
}

/// Multiplies each of `numbers` by 0 where its random byte is below `bound`, which is at most 256,
/// else by 256 / (256 - `bound`). The bytes are those of the stream's first words, lowest first.
pub fn drop_out(instructions: Instructions, numbers: &mut [f32], bound: u32, stream: &Stream) {
    assert!(bound <= 256, "a bound of bytes");
    let (scale, start) = (scale(bound), stream.start());
    vectorised!(
        instructions,
        |numbers: &mut [f32], bound: u32, scale: f32, start: Start| {
            drop_out_by_blocks(numbers, bound, scale, start);
        };
        numbers, bound, scale, start
    );
}

/// Numbers that sixteen blocks of the generator have a byte for.
const BYTES: usize = 4 * WORDS;

#[inline(always)]
fn drop_out_by_blocks(numbers: &mut [f32], bound: u32, scale: f32, start: Start) {
    let (pieces, rest) = numbers.as_chunks_mut::<BYTES>();
    let count = pieces.len();
    for (at, piece) in pieces.iter_mut().enumerate() {
        drop_out_piece(piece, bound, scale, words_at(start, at));
    }
    if !rest.is_empty() {
        let mut piece = [0.0; BYTES];
        piece[..rest.len()].copy_from_slice(rest);
        drop_out_piece(&mut piece, bound, scale, words_at(start, count));
        rest.copy_from_slice(&piece[..rest.len()]);
    }
}

#[inline(always)]
fn drop_out_piece(numbers: &mut [f32; BYTES], bound: u32, scale: f32, words: [u32; WORDS]) {
    let mut bytes = [0; BYTES];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    for (number, byte) in numbers.iter_mut().zip(bytes) {
        *number *= if u32::from(byte) < bound { 0.0 } else { scale };
    }
}
