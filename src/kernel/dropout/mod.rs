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

/// Words of a mask of so many numbers: a bit each, the lowest first.
pub fn mask_words(numbers: usize) -> usize {
    numbers.div_ceil(BITS)
}

/// Which of the first `numbers` numbers `drop_out` doesn't leave out, as a mask; returns how many.
pub fn left(
    instructions: Instructions,
    numbers: usize,
    bound: u32,
    stream: &Stream,
    mask: &mut [u32],
) -> usize {
    assert!(bound <= 256 && mask.len() == mask_words(numbers), "a mask of so many numbers");
    let start = stream.start();
    vectorised!(
        instructions,
        |bound: u32, start: Start, mask: &mut [u32]| mask_by_blocks(bound, start, mask);
        bound, start, mask
    );
    if let (Some(last), ragged @ 1..) = (mask.last_mut(), numbers % BITS) {
        *last &= (1 << ragged) - 1;
    }
    mask.iter().map(|word| word.count_ones() as usize).sum()
}

/// Puts together what is left of `numbers` by `mask`, as they are, and behind that, as a mask, the
/// signs of the others. `to` is as long as that.
pub fn compress(instructions: Instructions, numbers: &[f32], mask: &[u32], to: &mut [u32]) {
    let words = mask_words(numbers.len());
    assert!(mask.len() == words && to.len() >= words, "a mask of these numbers, and room");
    vectorised!(
        instructions,
        |numbers: &[f32], mask: &[u32], to: &mut [u32]| compress_by_words(numbers, mask, to);
        numbers, mask, to
    );
}

/// What `drop_out` makes of numbers of which `from` is what `compress` made.
pub fn expand(
    instructions: Instructions,
    from: &[u32],
    mask: &[u32],
    bound: u32,
    numbers: &mut [f32],
) {
    let words = mask_words(numbers.len());
    assert!(mask.len() == words && from.len() >= words, "a mask of these numbers, and signs");
    assert!(bound <= 256, "a bound of bytes");
    let scale = scale(bound);
    vectorised!(
        instructions,
        |from: &[u32], mask: &[u32], scale: f32, numbers: &mut [f32]| {
            expand_by_words(from, mask, scale, numbers);
        };
        from, mask, scale, numbers
    );
}

/// Numbers that a word of a mask has a bit for.
const BITS: usize = u32::BITS as usize;
/// Numbers that sixteen blocks of the generator have a byte for.
const BYTES: usize = 4 * WORDS;

#[inline(always)]
fn mask_by_blocks(bound: u32, start: Start, mask: &mut [u32]) {
    for (at, piece) in mask.chunks_mut(BYTES / BITS).enumerate() {
        let mut flags = [0; BYTES];
        let words = words_at(start, at);
        for (flags, word) in flags.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *flags = word.to_le_bytes();
        }
        for flag in &mut flags {
            *flag = u8::from(u32::from(*flag) >= bound);
        }
        for (word, flags) in piece.iter_mut().zip(flags.as_chunks::<BITS>().0) {
            *word = packed(flags);
        }
    }
}

/// Flags of 0 or 1 as bits, the first one lowest.
#[inline(always)]
fn packed(flags: &[u8; BITS]) -> u32 {
    let mut word = 0;
    for (at, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
        // The product has flag i at bit 56 + i, and nothing is carried there.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word |= (bits as u32) << (8 * at);
    }
    word
}

#[inline(always)]
fn compress_by_words(numbers: &[f32], mask: &[u32], to: &mut [u32]) {
    let mut at = 0;
    for (numbers, mask) in numbers.chunks(BITS).zip(mask) {
        // Where less room is left than that, only the last numbers and their signs come.
        match to[at..].first_chunk_mut() {
            Some(room) => put_together(numbers, *mask, room),
            None => {
                let mut room = [0; BITS];
                put_together(numbers, *mask, &mut room);
                let rest = to.len() - at;
                to[at..].copy_from_slice(&room[..rest]);
            }
        }
        at += mask.count_ones() as usize;
    }
    let signs = to.len() - mask.len();
    for ((numbers, mask), signs) in numbers.chunks(BITS).zip(mask).zip(&mut to[signs..]) {
        let mut flags = [0; BITS];
        for (flag, number) in flags.iter_mut().zip(numbers) {
            *flag = (number.to_bits() >> 31) as u8;
        }
        *signs = packed(&flags) & !mask;
    }
}

/// Each of at most 32 numbers is put down; the next one takes its place where it is left out.
#[inline(always)]
fn put_together(numbers: &[f32], mut mask: u32, room: &mut [u32; BITS]) {
    let mut at = 0;
    for number in numbers {
        // Below 32 as it is, which the compiler can't see.
        room[at % BITS] = number.to_bits();
        at += (mask & 1) as usize;
        mask >>= 1;
    }
}

#[inline(always)]
fn expand_by_words(from: &[u32], mask: &[u32], scale: f32, numbers: &mut [f32]) {
    let (mut at, signs) = (0, &from[from.len() - mask.len()..]);
    for ((numbers, mask), signs) in numbers.chunks_mut(BITS).zip(mask).zip(signs) {
        let mut found = [0; BITS];
        for (eight, found) in mask.to_le_bytes().into_iter().zip(found.as_chunks_mut::<8>().0) {
            match from[at..].first_chunk() {
                Some(next) => spread(next, eight, found),
                None => {
                    let mut next = [0; 8];
                    next[..from.len() - at].copy_from_slice(&from[at..]);
                    spread(&next, eight, found);
                }
            }
            at += eight.count_ones() as usize;
        }
        for (lane, number) in found.iter_mut().enumerate() {
            let kept = (f32::from_bits(*number) * scale).to_bits();
            // All ones where it is left.
            let chosen = (mask >> lane & 1).wrapping_neg();
            *number = kept & chosen | (signs >> lane) << 31 & !chosen;
        }
        match numbers.first_chunk_mut() {
            Some(numbers) => *numbers = found.map(f32::from_bits),
            None => numbers.iter_mut().zip(found).for_each(|(x, bits)| *x = f32::from_bits(bits)),
        }
    }
}

/// Of each byte of a mask, how many of its bits are set before each one.
static BEFORE: [[u8; 8]; 256] = {
    let (mut all, mut byte) = ([[0; 8]; 256], 0);
    while byte < 256 {
        let mut bit = 1;
        while bit < 8 {
            all[byte][bit] = all[byte][bit - 1] + (byte >> (bit - 1) & 1) as u8;
            bit += 1;
        }
        byte += 1;
    }
    all
};

/// The next number at each of eight places that has one by `mask`; any at the others. By a table no
/// place has to wait for the one before it: twice as fast as counting along.
#[inline(always)]
fn spread(next: &[u32; 8], mask: u8, to: &mut [u32; 8]) {
    let before = &BEFORE[usize::from(mask)];
    for (to, before) in to.iter_mut().zip(before) {
        *to = next[usize::from(*before) % 8];
    }
}

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
