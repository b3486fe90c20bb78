//! Dropout of activations, the same wherever a row runs.

use crate::kernel::dropout::{bound, compress, drop_out, expand, left, mask_words};
use crate::kernel::vector::Instructions;
use crate::rng::{Purpose, Stream};

/// Dropout of activations (Srivastava et al. 2014): each is 0 with probability `share` and else
/// scaled so that its mean stays. The same for all classes and on all ranks: row r draws from
/// stream `first` + r.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    share: f32,
    seed: u64,
    first: u64,
}

impl Dropout {
    /// Dropout of this share of numbers, if any.
    pub fn of(share: f32, seed: u64, first: u64) -> Option<Dropout> {
        (share > 0.0).then_some(Dropout { share, seed, first })
    }

    /// Leaves out some of row `row`'s numbers, or of a gradient with respect to them.
    pub(crate) fn apply(self, row: usize, numbers: &mut [f32]) {
        let (bound, stream) = self.draw(row);
        drop_out(Instructions::detect(), numbers, bound, &stream);
    }

    /// Whether it takes fewer bytes to send what is left of numbers, and of each its sign.
    pub(crate) fn saves(self) -> bool {
        bound(self.share) > 256 / u32::BITS
    }

    /// Which of row `row`'s numbers, of which there are so many, are left: a bit each in `mask`.
    /// Returns how many those are.
    pub(crate) fn left(self, row: usize, numbers: usize, mask: &mut Vec<u32>) -> usize {
        let (bound, stream) = self.draw(row);
        mask.resize(mask_words(numbers), 0);
        left(Instructions::detect(), numbers, bound, &stream, mask)
    }

    /// Words of what `compress` makes of so many numbers, of which so many are left.
    pub(crate) fn compressed_words(numbers: usize, left: usize) -> usize {
        left + mask_words(numbers)
    }

    /// Words in which so many numbers travel after dropout of a share of them, about.
    pub(crate) fn expected_words(share: f32, numbers: usize) -> usize {
        let dropout = Dropout { share, seed: 0, first: 0 };
        let left = numbers - numbers * bound(share) as usize / 256;
        if dropout.saves() { Dropout::compressed_words(numbers, left) } else { numbers }
    }

    /// Those of `numbers` that are left by `mask`, and the signs of the others.
    pub(crate) fn compress(numbers: &[f32], mask: &[u32], to: &mut [u32]) {
        compress(Instructions::detect(), numbers, mask, to);
    }

    /// What `apply` makes of numbers of which `from` is what `compress` made.
    pub(crate) fn expand(self, from: &[u32], mask: &[u32], numbers: &mut [f32]) {
        expand(Instructions::detect(), from, mask, bound(self.share), numbers);
    }

    /// The stream that row `row` draws from.
    pub(crate) fn stream(self, row: usize) -> u64 {
        self.first + row as u64
    }

    /// What decides which of row `row`'s numbers are left out: those whose byte is below the bound,
    /// where the bytes are the stream's words, lowest first.
    pub fn draw(self, row: usize) -> (u32, Stream) {
        let stream = Stream::new(self.seed, Purpose::Dropout, self.stream(row));
        (bound(self.share), stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient of dropout is dropout of the gradient: the same numbers go, and means stay.
    #[test]
    fn a_row_loses_the_same_numbers_whenever_it_comes() {
        let dropout = Dropout { share: 0.25, seed: 3, first: 1000 };
        let (mut activations, mut gradient) = (vec![2.0; 40_000], vec![3.0; 40_000]);
        dropout.apply(7, &mut activations);
        dropout.apply(7, &mut gradient);
        let scale = 1.0 / 0.75;
        for (activation, gradient) in activations.iter().zip(&gradient) {
            let left_out = (*activation, *gradient) == (0.0, 0.0);
            assert!(left_out || (*activation, *gradient) == (2.0 * scale, 3.0 * scale));
        }
        let left_out = activations.iter().filter(|number| **number == 0.0).count();
        assert!((9_500..10_500).contains(&left_out), "{left_out} of 40,000");
        let mut other = vec![2.0; 40_000];
        dropout.apply(8, &mut other);
        assert_ne!(other, activations);
    }
}
