//! Faults that are planted in the program's dealings with its world, to see that they are found.

use super::meeting::Call;
use super::world::Place;

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Plant {
    #[default]
    Nothing,
    /// The call of the disk at this place (file, line, column) that makes something last does
    /// nothing.
    Sync(String),
    /// A rank that is told to stop leaves at a boundary by itself.
    LeavesAlone,
    /// A rank whose outcome is an error doesn't wait for what others say.
    AgreesAlone,
    /// Each rank decides by itself whether a checkpoint is due.
    OwnDue,
    /// The last rank leaves barriers out.
    NoBarrier,
    /// Nobody is told that the run is to stop.
    NoNews,
    /// Everybody is told twice.
    NewsTwice,
    /// What was told isn't taken in at the end.
    NewsLeft,
    /// A flag to stop isn't seen at boundaries.
    StopUnseen,
    /// In the copy of a column's class block that its last rank has, a bit is the other way round.
    CopyDiffers,
    /// A bit of weights on their way to the last rank of a column is, or of sums.
    WeightsDamaged,
    SumsDamaged,
    /// Each rank of a column sees its own vote alone.
    VotesAlone,
    /// The last rank of a column sees no vote to stop.
    VoteIgnored,
    /// A checkpoint has nothing of what the first rank of a column knows of a block's past.
    StatesForgotten,
}

/// Collectives whose bytes a planted fault changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Site {
    /// Where ranks agree to go on, to save or to stop.
    Boundary,
    /// Sums of a part of a block's gradient, and the words beside them: votes and seals.
    Sums,
    Votes,
    /// Weights of a part, of which the first stretch has so many bytes, and their seals.
    Weights(usize),
    Seals,
    /// What a column's ranks learn with, at the owner of a block; of the first rank so many bytes.
    States(usize),
}

/// Bytes of flags and two digests at a boundary, of a code, and of the crc32c behind each.
const BOUNDARY: usize = 12;
const CODE: usize = 1;
const SEAL: usize = 4;

/// Whether every rank brings so many bytes to an all-gather, and their seal.
fn gathers(call: &Call, bytes: usize) -> bool {
    let sealed = bytes + SEAL;
    matches!(call, Call::AllGather { counts } if counts.iter().all(|count| *count == sealed))
}

/// Whether it is the first one of `Comm::agree`.
pub fn is_agreement(call: &Call) -> bool {
    gathers(call, CODE)
}

impl Site {
    /// Where in the program a collective of so many ranks is.
    pub fn of(call: &Call, place: Place, size: usize) -> Option<Site> {
        if place.file().ends_with("train/boundary.rs") {
            return gathers(call, BOUNDARY).then_some(Site::Boundary);
        }
        if !place.file().ends_with("flow/column/exchange.rs") {
            return None;
        }
        match call {
            Call::AllToAll => Some(Site::Sums),
            // Weights are of whole panels, 64 bytes.
            Call::AllGather { .. } if gathers(call, 4 * (1 + size)) => Some(Site::Votes),
            Call::AllGather { .. } if gathers(call, 4) => Some(Site::Seals),
            Call::AllGather { counts } => Some(Site::Weights(counts[0])),
            _ => None,
        }
    }

    /// The same of an all-to-all in which so much comes from each rank.
    pub fn of_states(place: Place, from: &[usize]) -> Option<Site> {
        let collects = place.file().ends_with("flow/column/collect.rs");
        (collects && from.iter().all(|bytes| *bytes > SEAL)).then(|| Site::States(from[0]))
    }
}

/// What a planted fault makes of what has come to rank `own` of a group of `size` ranks. `first`
/// are the bytes of the first stretch of the weights that seals are of.
pub fn change(
    plant: &Plant,
    site: Site,
    (own, size): (usize, usize),
    first: usize,
    all: &mut [u8],
) {
    let last = own + 1 == size;
    let flip = |all: &mut [u8]| all.iter_mut().take(1).for_each(|byte| *byte ^= 1);
    match (plant, site) {
        (Plant::OwnDue, Site::Boundary) if own > 0 => words(all, size, |rank, word| {
            word[0] |= if rank == 0 { 2 } else { 0 };
        }),
        (Plant::StopUnseen, Site::Boundary) => words(all, size, |_, word| word[0] &= !1),
        (Plant::CopyDiffers | Plant::WeightsDamaged, Site::Weights(1..)) if last => flip(all),
        (Plant::SumsDamaged, Site::Sums) if last => flip(all),
        (Plant::CopyDiffers, Site::Seals) if last && first > 0 => words(all, size, |rank, word| {
            // Of numbers as long, all seals differ alike by that bit.
            let mut bit = vec![0; if rank == 0 { first } else { 0 }];
            let before = crc32c::crc32c(&bit);
            flip(&mut bit);
            let differs = (before ^ crc32c::crc32c(&bit)).to_le_bytes();
            word.iter_mut().zip(differs).for_each(|(byte, differs)| *byte ^= differs);
        }),
        (Plant::VotesAlone, Site::Votes) => words(all, size, |rank, word| {
            word[0] = if rank == own { word[0] } else { 0 };
        }),
        (Plant::StatesForgotten, Site::States(bytes)) => {
            words(&mut all[..bytes], 1, |_, numbers| {
                numbers.fill(0);
            })
        }
        (Plant::VoteIgnored, Site::Votes) if last => words(all, size, |_, word| word[0] = 0),
        _ => {}
    }
}

/// Changes what each of `size` ranks has told, under a seal that is right again.
fn words(all: &mut [u8], size: usize, mut change: impl FnMut(usize, &mut [u8])) {
    let each = all.len() / size;
    for (rank, part) in all.chunks_mut(each).enumerate() {
        let (word, seal) = part.split_at_mut(each - SEAL);
        change(rank, word);
        seal.copy_from_slice(&crc32c::crc32c(word).to_le_bytes());
    }
}
