//! What several ranks hold for themselves and what must be the same on all of them: the shared
//! layers, and in a column of the grid its class blocks.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::comm::{crc32c_by, odd_ranks};

/// A digest of what must be the same on all ranks, by so many threads.
pub(crate) fn digest(threads: usize, numbers: &[f32]) -> u32 {
    crc32c_by(threads, bytemuck::cast_slice(numbers))
}

/// The digest of a class block that several ranks have, and its classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockDigest {
    first: u32,
    end: u32,
    digest: u32,
}

impl BlockDigest {
    pub(crate) fn of(classes: &Range<usize>, digest: u32) -> BlockDigest {
        BlockDigest { first: classes.start as u32, end: classes.end as u32, digest }
    }
}

/// A word for all blocks that a rank has of others, 0 for none.
pub(crate) fn word_of(blocks: &[BlockDigest]) -> u32 {
    crc32c::crc32c(bytemuck::cast_slice(blocks))
}

/// What is wrong between ranks of a column, of which number `first` is the first, where they differ
/// in a class block: in the first such one, of those that each of them has.
pub(crate) fn differing_blocks(column: &[Vec<BlockDigest>], first: usize) -> Option<String> {
    column[0].iter().enumerate().find_map(|(index, block)| {
        let digests = column.iter().map(|blocks| Some(blocks.get(index)?.digest));
        let what = format!("weights of the classes {}..{}", block.first, block.end);
        differing(&digests.collect::<Vec<_>>(), &what, first)
    })
}

/// What is wrong where digests of `what`, of ranks from number `first` on, differ: the ranks that
/// differ from most of them, or where no digest is that of more than half of the ranks, all of
/// them: nothing tells who is right. A rank that has no digest holds none of now, and isn't
/// compared.
pub(crate) fn differing(digests: &[Option<u32>], what: &str, first: usize) -> Option<String> {
    let all: Vec<usize> = (0..digests.len()).filter(|rank| digests[*rank].is_some()).collect();
    let given: Vec<u32> = digests.iter().copied().flatten().collect();
    let odd: Vec<usize> = odd_ranks(&given).into_iter().map(|index| all[index]).collect();
    let names = |ranks: &[usize]| {
        let ranks: Vec<String> = ranks.iter().map(|rank| (first + rank).to_string()).collect();
        let name = if ranks.len() == 1 { "rank" } else { "ranks" };
        format!("{name} {}", ranks.join(", "))
    };
    match odd.len() {
        0 => None,
        count if 2 * count < all.len() => {
            Some(format!("{}: {what} differ from those of the other ranks", names(&odd)))
        }
        _ => {
            let text = "differ from each other, which are wrong can't be told,";
            Some(format!("{}: {what} {text}", names(&all)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_that_differs_is_found() {
        let same = digest(1, &[1.0, 2.0]);
        let other = digest(1, &[1.0, 2.0000002]);
        assert_ne!(same, other);
        let differing = |digests: &[Option<u32>]| differing(digests, "shared layers", 0);
        assert_eq!(differing(&[Some(same); 5]), None);
        assert_eq!(differing(&[Some(same)]), None);
        // Ranks that hold none are neither odd nor many.
        assert_eq!(differing(&[Some(same), None, Some(same), None]), None);
        let few = differing(&[None, None, Some(same), Some(same), Some(other), None]);
        assert!(few.expect("they differ").starts_with("rank 4: shared layers differ from those"));
        let blocks =
            |second| vec![BlockDigest::of(&(4..9), same), BlockDigest::of(&(9..12), second)];
        assert_eq!(differing_blocks(&[blocks(same), blocks(same)], 6), None);
        let column = differing_blocks(&[blocks(same), blocks(other), blocks(same)], 6);
        let expected = "rank 7: weights of the classes 9..12 differ from those of the other ranks";
        assert_eq!(column.as_deref(), Some(expected));
        let line = |digests: &[u32]| {
            let digests: Vec<Option<u32>> = digests.iter().copied().map(Some).collect();
            differing(&digests).expect("they differ")
        };
        assert!(line(&[other, same, same]).starts_with("rank 0: shared layers differ from those"));
        assert!(line(&[same, same, other, same]).starts_with("rank 2: shared"));
        assert!(line(&[same, other, same, 7, same]).starts_with("ranks 1, 3: shared"));
        for digests in [&[same, other][..], &[same, other, 7], &[same, same, other, other]] {
            assert!(line(digests).contains("which are wrong can't be told"));
            assert!(line(digests).starts_with("ranks 0, 1"));
        }
    }
}
