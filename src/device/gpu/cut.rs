//! Which of a rank's own class blocks stay on a device, and which come and go in turns.

use std::ops::Range;

use crate::kernel::text::sweeps::GROUP_WORDS;
use crate::model::{LANES, Layout};

/// Of the room for class blocks, what those that come and go have at least, if there are any: small
/// launches leave a device idle.
const SHARE: usize = 4;

/// Slots for them, where there is room: one run comes and one goes while a third is worked on; with
/// two the one goes before the other comes, with one nothing goes on beside work.
const SLOTS: [usize; 3] = [3, 2, 1];

/// What class blocks of one width have of what takes memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) panels: usize,
    pub(crate) groups: usize,
}

impl Extent {
    pub(crate) fn of(layout: &Layout) -> Extent {
        Extent { panels: layout.panels, groups: layout.groups.len() }
    }

    fn and(self, other: Extent) -> Extent {
        Extent { panels: self.panels + other.panels, groups: self.groups + other.groups }
    }

    /// The most of each.
    pub(super) fn most(self, other: Extent) -> Extent {
        let Extent { panels, groups } = other;
        Extent { panels: self.panels.max(panels), groups: self.groups.max(groups) }
    }

    pub(crate) fn within(self, other: Extent) -> bool {
        self.most(other) == other
    }
}

/// Bytes of class blocks `width` wide on a device that holds so many numbers for each of their
/// parameters: those, shapes of groups and sums of their losses, of panels what they learn and a
/// gradient of biases.
pub(crate) fn bytes_of(width: usize, numbers: usize) -> impl Fn(Extent) -> usize + Copy {
    move |Extent { panels, groups }| {
        let group = GROUP_WORDS * size_of::<i32>() + LANES * size_of::<f64>();
        let panel = size_of::<i32>() + LANES * size_of::<f32>();
        let parameters = (width + 1) * LANES * size_of::<f32>();
        panels * (numbers * parameters + panel) + groups * group
    }
}

/// Consecutive class blocks as a device has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cut {
    /// The first ones, which stay.
    pub(crate) stay: Range<usize>,
    /// The others in runs that come and go.
    pub(crate) come: Vec<Range<usize>>,
    /// So many runs are there at once, in memory for the most of each.
    pub(crate) slots: usize,
    pub(crate) slot: Extent,
}

/// Cuts blocks, of which so many take so many bytes, to a room; None: the largest doesn't fit.
pub(crate) fn cut(blocks: &[Extent], bytes: impl Fn(Extent) -> usize, room: usize) -> Option<Cut> {
    let all = blocks.iter().copied().fold(Extent::default(), Extent::and);
    if bytes(all) <= room {
        return Some(Cut { stay: 0..blocks.len(), ..Cut::default() });
    }
    // Every slot has room for any block.
    let mut slot = largest(blocks);
    let slots = SLOTS.into_iter().find(|slots| slots * bytes(slot) <= room)?;
    let most = bytes(slot).max(room / SHARE / slots);
    let mut left = room - slots * most;
    let stays = |block: &&Extent| match left.checked_sub(bytes(**block)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let stay = 0..blocks.iter().take_while(stays).count();
    let (mut come, mut from, mut run) = (Vec::new(), stay.end, Extent::default());
    for (index, block) in blocks.iter().enumerate().skip(stay.end) {
        if from < index && bytes(slot.most(run.and(*block))) > most {
            come.push(from..index);
            (from, run) = (index, Extent::default());
        }
        run = run.and(*block);
        slot = slot.most(run);
    }
    come.push(from..blocks.len());
    Some(Cut { stay, come, slots, slot })
}

/// The most that any block has of each.
pub(crate) fn largest(blocks: &[Extent]) -> Extent {
    blocks.iter().copied().fold(Extent::default(), Extent::most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(panels: &[usize]) -> Vec<Extent> {
        panels.iter().map(|panels| Extent { panels: *panels, groups: 1 }).collect()
    }

    fn panels(extent: Extent) -> usize {
        extent.panels
    }

    #[test]
    fn blocks_stay_while_they_fit_beside_those_that_come() {
        let whole = |room| {
            let cut = cut(&of(&[4, 3, 5]), panels, room)?;
            Some((cut.stay, cut.come, cut.slots))
        };
        assert_eq!(whole(12), Some((0..3, Vec::new(), 0)));
        assert_eq!(whole(11), Some((0..0, vec![0..1, 1..2, 2..3], 2)));
        assert_eq!(cut(&of(&[1, 1, 1, 1]), panels, 3).unwrap().slots, 3);
        assert_eq!(whole(9), Some((0..1, vec![1..2, 2..3], 1)));
        assert_eq!(whole(5), Some((0..0, vec![0..1, 1..2, 2..3], 1)));
        assert_eq!(whole(4), None);
        assert_eq!(cut(&[], panels, 0), Some(Cut::default()));
        let many = cut(&of(&[1; 100]), panels, 40).unwrap();
        assert_eq!((many.stay, many.come.len(), many.slots), (0..31, 23, 3));
    }

    /// Each block once, in order, and never more than the room.
    #[test]
    fn no_cut_takes_more_than_its_room() {
        for (count, room) in [(7, 20), (30, 33), (30, 100), (3, 9), (50, 49), (40, 150)] {
            let block = |at: usize| Extent { panels: 1 + at * 7 % 5, groups: at * 5 % 4 };
            let blocks: Vec<Extent> = (0..count).map(block).collect();
            let bytes = |of: Extent| of.panels + of.groups;
            let Cut { stay, come, slots, slot } = cut(&blocks, bytes, room).unwrap();
            let sum = |run: Range<usize>| {
                blocks[run].iter().copied().fold(Extent::default(), Extent::and)
            };
            assert!(come.iter().all(|run| sum(run.clone()).within(slot)));
            assert!(bytes(sum(stay.clone())) + slots * bytes(slot) <= room, "{count} in {room}");
            let all: Vec<usize> = stay.chain(come.into_iter().flatten()).collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
