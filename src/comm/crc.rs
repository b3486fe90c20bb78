//! crc32c of what is long, by all threads: of pieces, whose sums are joined.

use crate::team::Team;

/// Bytes that one thread proves before others have begun.
const ALONE: usize = 1 << 17;
/// Bytes that a thread takes at once, at most.
const PIECE: usize = 1 << 20;
/// The polynomial of crc32c, its highest power in the lowest bit, as in all that follows.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// 1, and the x^8 of one byte.
const ONE: u32 = 1 << 31;
const BYTE: u32 = 1 << 23;

/// crc32c of `bytes`, by so many threads.
pub(crate) fn crc32c_by(threads: usize, bytes: &[u8]) -> u32 {
    crc32c_of_each(threads, &[bytes])[0]
}

/// crc32c of each of `parts`, by so many threads together, also where there are few parts.
pub(crate) fn crc32c_of_each(threads: usize, parts: &[&[u8]]) -> Vec<u32> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    if threads == 1 || bytes <= ALONE {
        return parts.iter().map(|part| crc32c::crc32c(part)).collect();
    }
    let longest = parts.iter().map(|part| part.len()).max().unwrap_or(0);
    let count = threads.div_ceil(parts.len()).max(longest.div_ceil(PIECE));
    let piece = longest.div_ceil(count);
    let pieces: Vec<&[u8]> = parts.iter().flat_map(|part| part.chunks(piece)).collect();
    let sums = Team::new(&mut vec![(); threads]).map(pieces, |_, piece| crc32c::crc32c(piece));
    let (mut sums, mut after) = (sums.into_iter(), (0, ONE));
    let mut joined = |sum: u32, piece: &[u8]| {
        // Most pieces are as long as each other.
        if after.0 != piece.len() {
            after = (piece.len(), power(piece.len()));
        }
        product(sum, after.1) ^ sums.next().expect("a sum of each piece")
    };
    parts.iter().map(|part| part.chunks(piece).fold(0, &mut joined)).collect()
}

/// What the crc32c of bytes is multiplied by for so many bytes behind them: x^(8 n) modulo the
/// polynomial. crc(a b) = crc(a) x^(8 |b|) + crc(b), as zlib's `crc32_combine` has it.
fn power(mut bytes: usize) -> u32 {
    let (mut power, mut square) = (ONE, BYTE);
    while bytes > 0 {
        if bytes & 1 == 1 {
            power = product(power, square);
        }
        square = product(square, square);
        bytes >>= 1;
    }
    power
}

/// The product modulo the polynomial, of bits.
fn product(left: u32, mut right: u32) -> u32 {
    let mut product = 0;
    for bit in (0..u32::BITS).rev() {
        product ^= right & (left >> bit & 1).wrapping_neg();
        right = right >> 1 ^ POLYNOMIAL & (right & 1).wrapping_neg();
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_give_the_same_sums() {
        let bytes: Vec<u8> = (0..3 * PIECE + 5).map(|at| (at * at % 251) as u8).collect();
        for length in [0, 1, ALONE, ALONE + 1, PIECE, PIECE + 1, bytes.len()] {
            let (bytes, expected) = (&bytes[..length], crc32c::crc32c(&bytes[..length]));
            assert_eq!([1, 2, 5, 16].map(|threads| crc32c_by(threads, bytes)), [expected; 4]);
            for cut in [0, length / 3, length] {
                let (left, right) = bytes.split_at(cut);
                let parts = [left, right, &[][..], left];
                let expected = parts.map(crc32c::crc32c);
                for threads in [1, 2, 5, 16] {
                    assert_eq!(crc32c_of_each(threads, &parts), expected, "{length} at {cut}");
                }
            }
        }
        assert!(crc32c_of_each(3, &[]).is_empty());
    }

    #[test]
    fn joined_as_the_crate_joins() {
        for (left, right, length) in [(0, 7, 1), (u32::MAX, 0, 3), (0x1234_5678, 9, 1 << 33)] {
            let expected = crc32c::crc32c_combine(left, right, length);
            assert_eq!(product(left, power(length)) ^ right, expected, "{length}");
        }
    }
}
