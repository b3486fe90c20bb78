//! Random numbers of a schedule: streams that don't shift each other, so that one more draw in one
//! of them leaves all others as they are.

/// What is drawn. Each has a stream of its own.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    Plan = 1,
    Turns = 2,
    Clocks = 3,
    Messages = 4,
    Losses = 5,
    Damage = 6,
}

/// The numbers of one purpose of one seed.
#[derive(Clone, Debug)]
pub struct Draws(u64);

/// One step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// OOPSLA 2014).
fn mixed(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

impl Draws {
    /// Part `part` of the stream: a session, say.
    pub fn new(seed: u64, purpose: Purpose, part: u64) -> Draws {
        Draws(mixed(mixed(mixed(seed) ^ purpose as u64) ^ part))
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// One of 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.word()) * n as u128) >> 64) as usize
    }

    /// Whether it happens, `times` of `of`.
    pub fn happens(&mut self, times: usize, of: usize) -> bool {
        self.below(of) < times
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// One of the choices, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(T, usize)]) -> T {
        let mut at = self.below(choices.iter().map(|choice| choice.1).sum());
        for (choice, weight) in choices {
            if at < *weight {
                return *choice;
            }
            at -= weight;
        }
        unreachable!("below the sum of all weights")
    }
}
