//! The checksum that HDF5 keeps behind each chunk of a dataset with the Fletcher-32 filter (format
//! specification, IV.A.2.l), several times as fast as HDF5 computes it.
//!
//! HDF5 takes bytes as 16-bit words, high byte first, and adds words and sums of words modulo
//! 65535. Swapping the bytes of a word is a multiplication by 256 there, so words are added as
//! they lie in memory and both sums multiplied in the end. No sum of words that aren't all zero is
//! ever 0: it is 65535.

/// Sums at once, each of every sixteenth word.
const LANES: usize = 16;
/// Words of a lane before its sums are taken in: 65535 * 256 * 257 / 2 is below 2^32.
const WORDS: usize = 256;
const MODULUS: u64 = 65535;

/// The checksum of `bytes`.
pub(crate) fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut sum, mut sums) = (0u64, 0u64);
    for block in bytes.chunks(2 * LANES * WORDS) {
        let rows = block.chunks_exact(2 * LANES);
        let rest = rows.remainder();
        let (mut lane, mut lane_sums) = ([0u32; LANES], [0u32; LANES]);
        let count = rows.len();
        for row in rows {
            for (at, word) in row.chunks_exact(2).enumerate() {
                lane[at] += u32::from(u16::from_le_bytes([word[0], word[1]]));
                lane_sums[at] += lane[at];
            }
        }
        // Word k of n counts n - k times among the sums of sums.
        let own: u64 = lane.iter().map(|lane| u64::from(*lane)).sum();
        let own_sums: u64 = lane_sums.iter().map(|lane| u64::from(*lane)).sum();
        let behind: u64 = (0..).zip(lane).map(|(at, lane)| at * u64::from(lane)).sum();
        sums += (count * LANES) as u64 * sum + LANES as u64 * own_sums - behind;
        sum += own;
        for word in rest.chunks(2) {
            // A last byte alone is a high one.
            sum += u64::from(u16::from_le_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
            sums += sum;
        }
        (sum, sums) = (reduced(sum), reduced(sums));
    }
    let swapped = |sum: u64| reduced(256 * sum) as u32;
    swapped(sums) << 16 | swapped(sum)
}

/// What is left of a sum, 65535 rather than 0 where it isn't 0 itself.
fn reduced(sum: u64) -> u64 {
    if sum == 0 { 0 } else { (sum - 1) % MODULUS + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    /// As HDF5 1.10.8 has it (src/H5checksum.c).
    fn definition(bytes: &[u8]) -> u32 {
        let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
        let (mut sum, mut sums) = (0u32, 0u32);
        let words = bytes.chunks_exact(2);
        let rest = words.remainder();
        for block in words.collect::<Vec<_>>().chunks(360) {
            for word in block {
                sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
                sums += sum;
            }
            (sum, sums) = (fold(sum), fold(sums));
        }
        if let [last] = rest {
            sum += u32::from(*last) << 8;
            sums += sum;
            (sum, sums) = (fold(sum), fold(sums));
        }
        fold(sums) << 16 | fold(sum)
    }

    #[test]
    fn the_checksum_is_the_one_of_hdf5() {
        let mut draws = Stream::new(1, Purpose::PlantedRows, 0);
        let mut bytes: Vec<u8> = (0..40_000).map(|_| draws.below(256) as u8).collect();
        let lengths = (0..100).chain([719, 720, 721, 8191, 8192, 8193, 16_384, 39_999, 40_000]);
        for length in lengths.clone() {
            assert_eq!(fletcher32(&bytes[..length]), definition(&bytes[..length]), "{length}");
        }
        for value in [0, 1, 255] {
            bytes.fill(value);
            for length in lengths.clone() {
                assert_eq!(fletcher32(&bytes[..length]), definition(&bytes[..length]), "{value}");
            }
        }
    }
}
