//! Random words of one stream, sixteen blocks of the generator at once (Philox4x32-10, `rng.rs`).

use super::vector::{Instructions, LANES, vectorised};
use crate::rng::{Start, Stream};

/// Words of sixteen blocks: four of each.
pub(crate) const WORDS: usize = 4 * LANES;

/// Sixteen words, one of each block.
type Words = [u32; LANES];

/// The first words of `stream`, whatever of it has been drawn.
pub fn fill(instructions: Instructions, stream: &Stream, words: &mut [u32]) {
    let start = stream.start();
    vectorised!(
        instructions,
        |start: Start, words: &mut [u32]| fill_by_blocks(start, words);
        start, words
    );
}

#[inline(always)]
fn fill_by_blocks(start: Start, words: &mut [u32]) {
    for (at, words) in words.chunks_mut(WORDS).enumerate() {
        words.copy_from_slice(&words_at(start, at)[..words.len()]);
    }
}

/// Words `WORDS` `at` to `WORDS` (`at` + 1) of a stream.
#[inline(always)]
pub(crate) fn words_at(start: Start, at: usize) -> [u32; WORDS] {
    let Start { counter: [_, second, third, fourth], key } = start;
    let first = std::array::from_fn(|lane| (at * LANES + lane) as u32);
    let blocks = blocks([first, [second; LANES], [third; LANES], [fourth; LANES]], key);
    let mut words = [0; WORDS];
    for lane in 0..LANES {
        for (word, of_blocks) in blocks.iter().enumerate() {
            words[4 * lane + word] = of_blocks[lane];
        }
    }
    words
}

/// The blocks of sixteen counters under one key: `rng::philox` of each.
#[inline(always)]
pub(crate) fn blocks(mut counters: [Words; 4], mut key: [u32; 2]) -> [Words; 4] {
    for _ in 0..10 {
        let [mut first, mut second, mut third, mut fourth] = [[0; LANES]; 4];
        for lane in 0..LANES {
            let low = u64::from(counters[0][lane]) * 0xD251_1F53;
            let high = u64::from(counters[2][lane]) * 0xCD9E_8D57;
            first[lane] = (high >> 32) as u32 ^ counters[1][lane] ^ key[0];
            second[lane] = high as u32;
            third[lane] = (low >> 32) as u32 ^ counters[3][lane] ^ key[1];
            fourth[lane] = low as u32;
        }
        counters = [first, second, third, fourth];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counters
}
