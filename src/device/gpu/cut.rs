//! Which of a rank's own class blocks stay on a device, and which come and go in turns.

use std::ops::Range;

use crate::kernel::text::sweeps::GROUP_WORDS;
use crate::model::{LANES, Layout};

/// Of the room for class blocks, what those that come and go have at least, if there are any: small
/// launches leave a device idle.
const SHARE: usize = 4;

/// Bytes of a class block on a device that holds so many numbers for each of its parameters: those,
/// shapes of groups and sums of their losses, of panels what they learn and a gradient of biases.
pub(crate) fn block_bytes(layout: &Layout, numbers: usize) -> usize {
    let parameters = layout.parameters() * size_of::<f32>();
    let group = GROUP_WORDS * size_of::<i32>() + LANES * size_of::<f64>();
    let panel = size_of::<i32>() + LANES * size_of::<f32>();
    numbers * parameters + layout.groups.len() * group + layout.panels * panel
}

/// Consecutive class blocks as a device has them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cut {
    /// The first ones, which stay.
    pub(crate) stay: Range<usize>,
    /// The others in runs, of which one at a time is there.
    pub(crate) come: Vec<Range<usize>>,
}

/// Cuts blocks of so many bytes each to a room; None: the largest doesn't fit.
pub(crate) fn cut(blocks: &[usize], room: usize) -> Option<Cut> {
    if blocks.iter().sum::<usize>() <= room {
        return Some(Cut { stay: 0..blocks.len(), come: Vec::new() });
    }
    let largest = *blocks.iter().max().expect("some take something");
    let slot = largest.max(room / SHARE);
    let mut left = room.checked_sub(slot)?;
    let stays = |bytes: &&usize| match left.checked_sub(**bytes) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let stay = 0..blocks.iter().take_while(stays).count();
    let (mut come, mut from, mut bytes) = (Vec::new(), stay.end, 0);
    for (block, own) in blocks.iter().enumerate().skip(stay.end) {
        if bytes + own > slot {
            come.push(from..block);
            (from, bytes) = (block, 0);
        }
        bytes += own;
    }
    come.push(from..blocks.len());
    Some(Cut { stay, come })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stay_while_they_fit_beside_those_that_come() {
        let whole = |room| cut(&[4, 3, 5], room);
        assert_eq!(whole(12), Some(Cut { stay: 0..3, come: Vec::new() }));
        assert_eq!(whole(11), Some(Cut { stay: 0..1, come: vec![1..2, 2..3] }));
        assert_eq!(whole(5), Some(Cut { stay: 0..0, come: vec![0..1, 1..2, 2..3] }));
        assert_eq!(whole(4), None);
        assert_eq!(cut(&[], 0), Some(Cut { stay: 0..0, come: Vec::new() }));
        let many = cut(&[1; 100], 40).unwrap();
        assert_eq!((many.stay, many.come.len()), (0..30, 7));
    }

    /// Each block once, in order, and never more than the room.
    #[test]
    fn no_cut_takes_more_than_its_room() {
        for (count, room) in [(7, 20), (30, 33), (30, 100), (3, 9), (50, 49)] {
            let blocks: Vec<usize> = (0..count).map(|block| 1 + block * 7 % 9).collect();
            let Cut { stay, come } = cut(&blocks, room).unwrap();
            let bytes = |run: &Range<usize>| blocks[run.clone()].iter().sum::<usize>();
            let most = come.iter().map(bytes).max().unwrap_or(0);
            assert!(bytes(&stay) + most <= room, "{count} blocks in {room}");
            let all: Vec<usize> = stay.chain(come.into_iter().flatten()).collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
