//! What collectives take in a network of two numbers, by the algorithms that move them here
//! (docs/exchanges.md): Open MPI 4.1's non-blocking ones, and the chain of long broadcasts.
//!
//! Of P ranks, each with one link that gives and takes at the same time:
//!
//! ```text
//! barrier               log2 P rounds of a message (dissemination)
//! all-gather            one round of P - 1 messages: own part to all, theirs to here; a short one
//!                       among many ranks log2 P rounds, in which parts double
//! all-to-all            one round of a message for each part that isn't empty
//! broadcast             up to 128 KiB log2 P steps of the whole (a binomial tree), of which a rank
//!                       has the way from the root; longer ones: a segment after the other from
//!                       rank to rank, and the first comes after as many segments as there are
//!                       ranks between
//! ```

use std::str::FromStr;

use crate::comm::{Call, chain_segment, goes_in_rounds};
use crate::flow::experts_travel::AHEAD;

/// A network, as the links of its ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Of a rank, each way.
    pub bytes_per_second: f64,
    /// What a message costs beside its bytes.
    pub message_seconds: f64,
}

/// What a collective moves over the link of a rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Way {
    /// One after the other.
    pub messages: usize,
    /// In the direction that has more.
    pub bytes: usize,
    /// Messages that pass other links, one after the other, before the first one comes here, and
    /// the bytes of each.
    pub before: usize,
    pub before_bytes: usize,
}

impl Network {
    /// Seconds of messages of so many bytes in all.
    pub(crate) fn messages(&self, count: usize, bytes: usize) -> f64 {
        count as f64 * self.message_seconds + bytes as f64 / self.bytes_per_second
    }

    /// Seconds for which a rank's own link is taken.
    pub fn link_seconds(&self, way: &Way) -> f64 {
        self.messages(way.messages, way.bytes)
    }

    /// Seconds until the first message is at this rank's link.
    pub fn before_seconds(&self, way: &Way) -> f64 {
        self.messages(way.before, way.before * way.before_bytes)
    }
}

impl FromStr for Network {
    type Err = String;

    /// As `10GB/s,2us`, or `100Gb/s,2us`, of bits.
    fn from_str(text: &str) -> Result<Network, String> {
        let both = text.split_once(',').and_then(|(bytes, time)| {
            let (time, of_second) = in_units(time, &TIMES)?;
            let bytes_per_second = bytes_per_second(bytes).ok()?;
            Some(Network { bytes_per_second, message_seconds: time / of_second })
        });
        both.ok_or_else(|| format!("found {text:?}, expected as 10GB/s,2us or 100Gb/s,500ns"))
    }
}

/// Units of bytes a second, b of bits, and those of which a second has so many. No one ends as
/// another one does.
const RATES: [(&str, f64); 6] = [
    ("TB/s", 1e12),
    ("GB/s", 1e9),
    ("MB/s", 1e6),
    ("Tb/s", 1e12 / 8.0),
    ("Gb/s", 1e9 / 8.0),
    ("Mb/s", 1e6 / 8.0),
];
const TIMES: [(&str, f64); 3] = [("ns", 1e9), ("us", 1e6), ("ms", 1e3)];

/// A number in one of these units, as large as it is for some link there is, and the unit's own.
fn in_units(text: &str, units: &[(&str, f64)]) -> Option<(f64, f64)> {
    let number = |(unit, of): &(&str, f64)| {
        let number: f64 = text.trim().strip_suffix(unit)?.trim().parse().ok()?;
        (1e-6..=1e9).contains(&number).then_some((number, *of))
    };
    units.iter().find_map(number)
}

/// Bytes a second, as `1GB/s`.
///
/// # Errors
/// It isn't one.
pub(crate) fn bytes_per_second(text: &str) -> Result<f64, String> {
    let found = in_units(text, &RATES).map(|(number, of)| number * of);
    found.ok_or_else(|| format!("found {text:?}, expected as 1GB/s"))
}

/// Rounds in which what one rank has comes to `ranks` ranks where each round doubles those that
/// have it.
pub(super) fn doublings(ranks: usize) -> usize {
    ranks.next_power_of_two().ilog2() as usize
}

/// What `call` moves over the link of `rank`, one of `size`; `own` are the bytes that it gives: of
/// an all-gather its part, of a broadcast the whole.
pub fn way(call: &Call, own: usize, rank: usize, size: usize) -> Way {
    if size == 1 {
        return Way::default();
    }
    match call {
        Call::Barrier => Way { messages: doublings(size), ..Way::default() },
        Call::AllGather { counts } => {
            let others = counts.iter().sum::<usize>() - counts[rank];
            let bytes = others.max(own * (size - 1));
            let messages = match goes_in_rounds(counts) {
                Some(_) => doublings(size),
                None => size - 1,
            };
            Way { messages, bytes, ..Way::default() }
        }
        Call::AllToAll { to, from, .. } => {
            let others = |counts: &[usize]| {
                let parts = counts.iter().enumerate().filter(|(other, _)| *other != rank);
                let parts = parts.map(|(_, bytes)| *bytes).filter(|bytes| *bytes > 0);
                (parts.clone().count(), parts.sum::<usize>())
            };
            let (out, here) = (others(to), others(from));
            Way { messages: out.0.max(here.0), bytes: out.1.max(here.1), ..Way::default() }
        }
        Call::Broadcast { root } => {
            let place = (rank + size - root) % size;
            match chain_segment(own) {
                Some(segment) => Way {
                    messages: own.div_ceil(segment),
                    bytes: own,
                    before: place.saturating_sub(1),
                    before_bytes: segment,
                },
                // The way down a binomial tree has a step for each bit of the place.
                None => {
                    let steps = place.count_ones() as usize;
                    let messages = if place == 0 { doublings(size) } else { 1 };
                    let before = steps.saturating_sub(1);
                    Way { messages, bytes: messages * own, before, before_bytes: own }
                }
            }
        }
    }
}

/// What a rank of sixteen threads computes in a second, where ranks have to find the same number
/// whatever they are.
const FLOP_PER_SECOND: f64 = 1.6e12;
/// Blocks on their way at once, at most.
const AHEAD_MAX: usize = 16;

/// Class blocks that are on their way at once past `ranks` ranks while a block of `bytes` bytes is
/// worked on with `flop` operations on a rank: as many as are worked on until the last rank of the
/// chain has the first segment of one, and two.
pub fn ahead(bytes: usize, flop: f64, ranks: usize, network: &Network) -> usize {
    let way = way(&Call::Broadcast { root: 0 }, bytes, ranks - 1, ranks);
    let blocks = network.before_seconds(&way) * FLOP_PER_SECOND / flop.max(1.0);
    AHEAD.saturating_add(blocks as usize).min(AHEAD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Network = Network { bytes_per_second: 10e9, message_seconds: 2e-6 };

    #[test]
    fn a_network_is_two_numbers() {
        assert_eq!("10GB/s,2us".parse(), Ok(NETWORK));
        assert_eq!("80Gb/s,2000ns".parse(), Ok(NETWORK));
        assert_eq!("10000 MB/s, 0.002ms".parse(), Ok(NETWORK));
        assert_eq!(bytes_per_second("200MB/s"), Ok(2e8));
        for text in ["", "GB/s", "1GB", "1", "0MB/s", "nanGB/s"] {
            assert!(bytes_per_second(text).is_err(), "{text}");
        }
        for text in ["", "10GB/s", "10,2", "0GB/s,2us", "10GB/s,-1us", "infGB/s,2us", "10g/s,2us"] {
            assert!(text.parse::<Network>().unwrap_err().contains("expected"), "{text}");
        }
    }

    /// A window of 8,192 rows of 4,100 bytes on 1,024 ranks: 1,023 messages, and 33.6 MB.
    #[test]
    fn a_window_takes_its_messages_and_its_bytes() {
        let counts = vec![8 * 4100; 1024];
        let way = way(&Call::AllGather { counts }, 8 * 4100, 5, 1024);
        assert_eq!(way, Way { messages: 1023, bytes: 1023 * 32_800, before: 0, before_bytes: 0 });
        let seconds = NETWORK.link_seconds(&way);
        assert!((seconds - (2.046e-3 + 3.35544e-3)).abs() < 1e-6, "{seconds}");
    }

    /// A word of 12 bytes takes ten rounds among 1,024 ranks, and 63 messages among 64.
    #[test]
    fn a_short_gathering_among_many_ranks_goes_in_rounds() {
        let of = |bytes: usize, ranks: usize| {
            way(&Call::AllGather { counts: vec![bytes; ranks] }, bytes, 3, ranks)
        };
        assert_eq!(of(12, 1024), Way { messages: 10, bytes: 12 * 1023, ..Way::default() });
        assert_eq!(of(12, 64).messages, 63);
        assert_eq!((of(64, 1024).messages, of(65, 1024).messages), (10, 1023));
    }

    /// The last of 1,024 ranks has a block of 1 MiB after 1,022 segments and its own sixteen.
    #[test]
    fn a_long_broadcast_fills_its_chain() {
        let way = way(&Call::Broadcast { root: 3 }, 1 << 20, 2, 1024);
        assert_eq!(way, Way { messages: 16, bytes: 1 << 20, before: 1022, before_bytes: 1 << 16 });
        let before = NETWORK.before_seconds(&way);
        assert!((before - 1022.0 * (2e-6 + 6.5536e-6)).abs() < 1e-9, "{before}");
    }

    /// YouTube-8M at E = 2 has 75 blocks of 1 MiB; 3,800 rows of a rank of 1,024 are 4 GFLOP each.
    #[test]
    fn a_long_chain_has_more_blocks_on_their_way() {
        let blocks = |flop, ranks| ahead(1 << 20, flop, ranks, &NETWORK);
        assert_eq!([1, 2, 16, 64].map(|ranks| blocks(60e9, ranks)), [2; 4]);
        assert_eq!(blocks(4e9, 1024), 5);
        assert_eq!(blocks(0.0, 1024), 16, "ranks without rows");
    }

    #[test]
    fn short_ones_double_in_each_round() {
        assert_eq!(way(&Call::Barrier, 0, 0, 5).messages, 3);
        let root = way(&Call::Broadcast { root: 0 }, 100, 0, 8);
        assert_eq!((root.messages, root.bytes, root.before), (3, 300, 0));
        let last = way(&Call::Broadcast { root: 0 }, 100, 7, 8);
        assert_eq!((last.messages, last.bytes, last.before), (1, 100, 2));
        assert_eq!(way(&Call::Broadcast { root: 0 }, 100, 0, 1), Way::default());
    }

    #[test]
    fn empty_parts_are_no_messages() {
        let (to, at, from) = (vec![9, 0, 4, 0], vec![0, 9, 9, 13], vec![9, 8, 0, 8]);
        let call = Call::AllToAll { to, at, from };
        assert_eq!(way(&call, 0, 0, 4), Way { messages: 2, bytes: 16, ..Way::default() });
    }
}
