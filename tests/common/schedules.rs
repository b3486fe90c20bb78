//! Random schedules of exchanges: what all ranks start, in which group, is drawn from a seed that
//! all have; when a rank polls, waits for or drops what it has open it draws for itself.

use reelscale::internals::comm::Exchange;
use reelscale::{Comm, Result};

/// Exchanges of a schedule, and how many are open at most.
const EXCHANGES: u64 = 60;
const OPEN_MAX: usize = 7;

/// A number that looks like any other (the end of SplitMix64).
fn mix(number: u64) -> u64 {
    let once = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let twice = (once ^ once >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    twice ^ twice >> 31
}

/// Draws from a seed.
pub struct Draws(u64);

impl Draws {
    pub fn new(seed: u64, whose: u64) -> Draws {
        Draws(mix(seed ^ whose.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 = mix(self.0.wrapping_add(0x9e37_79b9_7f4a_7c15));
        (self.0 % end as u64) as usize
    }
}

/// A group that this rank is in, and the numbers of its ranks among all.
struct Group {
    comm: Comm,
    members: Vec<u64>,
}

/// What rank `from` of all sends rank `to` in an exchange, number by number.
fn value(exchange: u64, from: u64, to: u64, at: usize) -> u32 {
    mix(exchange << 40 ^ from << 32 ^ to << 24 ^ at as u64) as u32
}

fn values(exchange: u64, from: u64, to: u64, count: usize) -> Vec<u32> {
    (0..count).map(|at| value(exchange, from, to, at)).collect()
}

/// How many numbers rank `from` sends rank `to`: none, a few, or many.
fn length(seed: u64, exchange: u64, from: u64, to: u64) -> usize {
    let mut draws = Draws::new(seed ^ 77, exchange << 20 ^ from << 10 ^ to);
    let most = [1, 2, 9, 300, 60_000][draws.below(5)];
    draws.below(most)
}

/// An exchange that is open, and what it is to bring.
struct Open<'a> {
    exchange: Exchange<'a, u32>,
    expected: Vec<u32>,
}

/// Everyone's number: no rank may have that of another.
const EVERYONE: u64 = 0xff;

fn start(group: &Group, seed: u64, exchange: u64, kind: usize) -> Open<'_> {
    let Group { comm, members } = group;
    let own = members[comm.rank()];
    let numbers_of =
        |from: u64, to: u64| values(exchange, from, to, length(seed, exchange, from, to));
    match kind {
        0 => {
            let root = Draws::new(seed, exchange).below(comm.size());
            let sent = numbers_of(members[root], EVERYONE);
            let data = if comm.rank() == root { sent.clone() } else { vec![0; sent.len()] };
            let what = format!("broadcast {exchange}");
            Open { exchange: comm.start_broadcast(what, root, data), expected: sent }
        }
        1 => {
            let all: Vec<Vec<u32>> =
                members.iter().map(|from| numbers_of(*from, EVERYONE)).collect();
            let counts: Vec<usize> = all.iter().map(Vec::len).collect();
            let mine = all[comm.rank()].clone();
            let exchange = comm.start_all_gather_v("numbers", mine, &counts);
            Open { exchange, expected: all.concat() }
        }
        _ => {
            let out: Vec<Vec<u32>> = members.iter().map(|to| numbers_of(own, *to)).collect();
            let into: Vec<Vec<u32>> = members.iter().map(|from| numbers_of(*from, own)).collect();
            let [to, from] = [&out, &into].map(|parts| parts.iter().map(Vec::len).collect());
            let (to, from): (Vec<usize>, Vec<usize>) = (to, from);
            let pairs = members.iter().flat_map(|from| members.iter().map(move |to| (from, to)));
            let lengths = pairs.map(|(from, to)| length(seed, exchange, *from, *to));
            let longest = lengths.max().unwrap_or(0);
            let send = out.concat();
            let exchange = comm.start_all_to_all_v("numbers", (&send, &to), &from, longest);
            Open { exchange, expected: into.concat() }
        }
    }
}

/// Runs the schedule of a seed on this rank. Nothing is left open in the end, unless `leaves` says
/// that it is to be.
///
/// # Errors
/// What ranks agree on; that isn't any.
pub fn run(comm: &Comm, seed: u64, leaves: bool) -> Result<()> {
    let rank = comm.rank() as u64;
    let (mut common, mut own) = (Draws::new(seed, 0), Draws::new(seed, rank + 1));
    // Rows and columns of a grid, in the reverse order, and everyone alone.
    let width = 1 + common.below(3) as u64;
    let of = [rank / width, rank % width, rank];
    let mut groups = vec![comm.split(0, rank)];
    groups.extend(of.map(|color| comm.split(color, u64::MAX - rank)));
    let groups: Vec<Group> = groups
        .into_iter()
        .map(|comm| {
            let members = comm.all_gather(&[rank]);
            assert_eq!(members[comm.rank()], rank);
            Group { comm, members }
        })
        .collect();
    assert_eq!(groups[0].members, (0..comm.size() as u64).collect::<Vec<_>>());
    assert_eq!((groups[3].comm.size(), groups[3].comm.rank()), (1, 0));
    assert!(groups[1].members.iter().rev().all(|other| other / width == rank / width));
    let mut open: Vec<Open> = Vec::new();
    for exchange in 0..EXCHANGES {
        let group = &groups[common.below(groups.len())];
        open.push(start(group, seed, exchange, common.below(3)));
        match common.below(12) {
            // Others that are waited for at once, between those that are open.
            0 => comm.barrier(),
            1 => group.comm.agree(Ok(()))?,
            2 => assert_eq!(comm.max(rank), comm.size() as u64 - 1),
            _ => {}
        }
        while open.len() > OPEN_MAX || own.below(2) == 0 && !open.is_empty() {
            go_on(&mut open, &mut own, exchange);
        }
    }
    while !leaves && !open.is_empty() {
        go_on(&mut open, &mut own, EXCHANGES);
    }
    comm.agree(Ok(()))
}

/// Polls, waits for or drops one of those that are open.
fn go_on(open: &mut Vec<Open>, own: &mut Draws, exchange: u64) {
    let at = own.below(open.len());
    match own.below(6) {
        0 => drop(open.swap_remove(at)),
        1..=3 => {
            let Open { exchange: one, expected } = open.swap_remove(at);
            assert!(one.wait() == expected, "before exchange {exchange}");
        }
        _ => {
            let done = open[at].exchange.poll();
            assert!(!done || open[at].exchange.poll(), "what is complete stays so");
        }
    }
}
