//! How the mixtures become few large products: classes of equally many experts side by side, so
//! that a softmax goes over one axis of a cube [rows, classes, gates].
//!
//! Up to 8 experts a class stands among those of exactly as many. Beyond, classes with up to an
//! eighth fewer experts join those that have the most; what they lack is filled with experts of
//! weight 0 whose gates are switched off. So even 1,024 different numbers of experts give no more
//! than some forty pieces, besides those that are cut for their size.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::spec::Dummy;

/// Classes that one softmax takes.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    /// Experts of each class, filling included, and gates.
    pub(super) experts: usize,
    pub(super) gates: usize,
    /// In rising order.
    pub(super) classes: Vec<usize>,
}

impl Piece {
    /// Which gates of each class don't exist, given its experts.
    pub(super) fn absent(&self, dummy: Dummy, experts: usize) -> Range<usize> {
        match self.gates {
            0 => 0..0,
            gates => dummy.gates(experts)..gates,
        }
    }
}

/// All classes in pieces of at most `bytes_max` bytes of weights, on `width` activations, fewest
/// experts first.
pub(super) fn pieces(counts: &[usize], dummy: Dummy, width: usize, bytes_max: u64) -> Vec<Piece> {
    let mut groups = BTreeMap::<usize, Vec<usize>>::new();
    let mut most_of: BTreeMap<usize, usize> = counts.iter().map(|count| (*count, 0)).collect();
    let mut most = usize::MAX;
    for (count, own) in most_of.iter_mut().rev() {
        if most == usize::MAX || 8 * count <= 7 * most {
            most = *count;
        }
        *own = most;
    }
    for (class, count) in counts.iter().enumerate() {
        groups.entry(most_of[count]).or_default().push(class);
    }
    let of_group = |(experts, classes): (usize, Vec<usize>)| {
        let gates = dummy.gates(experts);
        let each = ((gates + experts) * width * size_of::<f32>()) as u64;
        let chunk = (bytes_max / each).max(1) as usize;
        let piece = move |classes: &[usize]| Piece { experts, gates, classes: classes.to_vec() };
        classes.chunks(chunk).map(piece).collect::<Vec<_>>()
    };
    groups.into_iter().flat_map(of_group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_every_class_once_with_little_filling() {
        let counts: Vec<usize> = (0..5000).map(|class| 1 + class * 37 % 1024).collect();
        for dummy in [Dummy::Learned, Dummy::Zero, Dummy::None] {
            let all = pieces(&counts, dummy, 4, u64::MAX);
            assert!(all.len() <= 45, "{} pieces", all.len());
            let mut classes: Vec<usize> =
                all.iter().flat_map(|piece| piece.classes.clone()).collect();
            classes.sort_unstable();
            assert!(classes.into_iter().eq(0..counts.len()));
            for piece in &all {
                assert!(piece.classes.is_sorted());
                for class in &piece.classes {
                    let count = counts[*class];
                    assert!(count <= piece.experts && 8 * count > 7 * piece.experts, "{piece:?}");
                    let absent = piece.absent(dummy, count);
                    assert_eq!(absent.len(), piece.experts - count, "{piece:?}");
                }
            }
        }
    }

    #[test]
    fn large_pieces_are_cut() {
        // Two gates and one expert of 3 numbers: 36 bytes a class.
        let all = pieces(&[1; 5], Dummy::Learned, 3, 80);
        let classes: Vec<&[usize]> = all.iter().map(|piece| &piece.classes[..]).collect();
        assert_eq!(classes, [&[0, 1][..], &[2, 3], &[4]]);
        assert_eq!(pieces(&[3, 3], Dummy::None, 100, 1).len(), 2);
    }
}
