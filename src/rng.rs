//! Random numbers by (seed, purpose, index): no state is shared, so nothing depends on who draws
//! first (docs/method.md, section 8.2).
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
//! as 1, 2, 3", SC 2011): a stream is a key and a counter, and any position of it costs the same.

/// What numbers are drawn for. Each purpose has streams of its own under one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    SharedLayers = 1,
    Experts = 2,
    RowOrder = 3,
    ValidationSplit = 4,
    PlantedModel = 5,
    PlantedRows = 6,
    Dropout = 7,
    FrameSample = 8,
    PlantedFrames = 9,
    Negatives = 10,
}

/// Where a stream begins: what kernels make its words of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) key: [u32; 2],
    /// Of its first block; the first word counts blocks.
    pub(crate) counter: [u32; 4],
}

/// A stream of random numbers, told apart from all others by its seed, purpose and index.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    /// The two upper words name the stream (index), the two lower ones count blocks of four.
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream of (`seed`, `purpose`, `index`), at its beginning. At most 2^48 indices a
    /// purpose.
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Stream {
        assert!(index < 1 << 48, "stream index {index} is above 2^48");
        let key = [seed as u32, (seed >> 32) as u32];
        let counter = [0, purpose as u32 | ((index >> 32) as u32) << 16, index as u32, 0x5eed];
        Stream { key, counter, block: [0; 4], used: 4 }
    }

    /// Where it began, whatever has been drawn since.
    pub(crate) fn start(&self) -> Start {
        let [_, second, third, fourth] = self.counter;
        Start { key: self.key, counter: [0, second, third, fourth] }
    }

    /// Uniform over all 32-bit words.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].checked_add(1).expect("a stream holds 2^34 words");
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform over all 64-bit words.
    pub(crate) fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in [0, 1), a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform in [0, `bound`), by multiplication (bias below 2^-32 for any bound in use here).
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// About standard normal: the sum of twelve uniforms less six, never beyond +-6, which needs no
    /// transcendental function and so has the same bits on every processor.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    /// Shuffles `items` in place (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let low = u64::from(counter[0]) * 0xD251_1F53;
        let high = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (high >> 32) as u32 ^ counter[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ counter[3] ^ key[1],
            low as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// A random permutation of 0..n that any rank can ask at any place without holding it.
///
/// Six Feistel rounds over the smallest even number of bits that holds n; values outside 0..n walk
/// on along their cycle (at most 4 steps on average).
#[derive(Clone, Debug)]
pub struct Permutation {
    count: u64,
    half_bits: u32,
    keys: [u32; 6],
}

impl Permutation {
    pub fn new(seed: u64, purpose: Purpose, index: u64, count: usize) -> Permutation {
        let bits = (count.max(2) as u64 - 1).ilog2() + 1;
        let mut stream = Stream::new(seed, purpose, index);
        let keys = std::array::from_fn(|_| stream.next_u32());
        Permutation { count: count as u64, half_bits: bits.div_ceil(2), keys }
    }

    /// n.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bits of each half of a value that goes through the rounds; at most 32.
    pub(crate) fn half_bits(&self) -> u32 {
        self.half_bits
    }

    /// What each round is keyed by.
    pub(crate) fn keys(&self) -> [u32; 6] {
        self.keys
    }

    /// The item at `position`. Both are below `count`.
    pub fn at(&self, position: usize) -> usize {
        let mut value = position as u64;
        assert!(value < self.count, "position {position} is outside the permutation");
        loop {
            value = self.feistel(value);
            if value < self.count {
                return value as usize;
            }
        }
    }

    fn feistel(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            let mixed = philox([right as u32, (right >> 32) as u32, 0, 0], [key, 0]);
            let round = u64::from(mixed[0]) | u64::from(mixed[1]) << 32;
            (left, right) = (right, left ^ (round & mask));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
    }

    #[test]
    fn permutation_visits_everything_once() {
        for count in [1, 2, 3, 5, 64, 1000, 4097] {
            let permutation = Permutation::new(7, Purpose::RowOrder, 3, count);
            let mut seen = vec![false; count];
            (0..count).for_each(|position| seen[permutation.at(position)] = true);
            assert!(seen.iter().all(|seen| *seen), "count {count}");
        }
    }

    #[test]
    fn normal_has_unit_variance() {
        let mut stream = Stream::new(1, Purpose::PlantedRows, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(stream.normal())).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
