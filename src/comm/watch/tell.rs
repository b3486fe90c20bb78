//! The one line that says what watching has found.

use super::ask::Reply;
use super::judge::{Finding, RankState};
use super::shared::Shared;
use super::sign::Sign;
use crate::tell;

/// Ranks that a line shows one by one.
const SHOWN_MAX: usize = 8;

pub(crate) fn error(line: &str) {
    tell::line(&format!("reelscale: {line}"));
}

pub(crate) fn warning(line: &str) {
    tell::line(&format!("WARN  {line}"));
}

/// `rank 3 (host a, pid 12, after {...}, opening /data/b.h5)`
fn named(rank: usize, sign: Option<&Sign>, shared: &Shared) -> String {
    let peer = &shared.peers[rank];
    let mut text = format!("rank {rank} (host {}, pid {}", peer.host(), peer.pid);
    match sign {
        Some(sign) => {
            text += &format!(", {}", sign.phase());
            if !sign.call().is_empty() {
                text += &format!(", {}", sign.call());
            }
        }
        None => text += ", its phase isn't known",
    }
    text + ")"
}

/// Some ranks, of which a sign says what they are at.
fn list(ranks: &[usize], states: &[RankState], shared: &Shared) -> String {
    let tell = |rank: &usize| match &states[*rank] {
        RankState::Lives(sign) => named(*rank, Some(sign), shared),
        _ => named(*rank, shared.last_of(*rank).as_ref(), shared),
    };
    let mut shown: Vec<String> = ranks.iter().take(SHOWN_MAX).map(tell).collect();
    if ranks.len() > SHOWN_MAX {
        shown.push(format!("{} more", ranks.len() - SHOWN_MAX));
    }
    shown.join(", ")
}

/// The rank that has waited longest, `; rank 2 has waited 61 s (PHASE)`.
fn waiting(states: &[RankState]) -> String {
    let longest = states.iter().enumerate().filter_map(|(rank, state)| match state {
        RankState::Lives(sign) => Some((sign.waiting, rank, sign)),
        _ => None,
    });
    match longest.max_by_key(|(waited, rank, _)| (*waited, usize::MAX - rank)) {
        Some((waited, rank, sign)) if waited > 0 => {
            format!("; rank {rank} has waited {} s ({})", waited / 1000, sign.phase())
        }
        _ => String::new(),
    }
}

pub(crate) fn line_of(
    finding: &Finding,
    states: &[RankState],
    shared: &Shared,
    goes_on: bool,
) -> String {
    let all: Vec<usize> = (0..states.len()).collect();
    let still = |ranks: &[usize]| {
        let times = ranks.iter().filter_map(|rank| match &states[*rank] {
            RankState::Lives(sign) => Some(sign.still.max(sign.waiting) / 1000),
            _ => None,
        });
        times.max().unwrap_or(0)
    };
    let goes_on = match goes_on {
        true => "; hint: the same command goes on from the last checkpoint",
        false => "",
    };
    match finding {
        Finding::Lost(ranks) => {
            let why = match &states[ranks[0]] {
                RankState::Silent(time, Reply::Refused) => {
                    format!("{} s, its process is gone", time.as_secs())
                }
                RankState::Silent(time, Reply::Unreached) => {
                    format!("{} s, its host can't be reached", time.as_secs())
                }
                RankState::Silent(time, _) => format!("{} s", time.as_secs()),
                _ => "long".into(),
            };
            let (ranks, waited) = (list(ranks, states, shared), waiting(states));
            format!("no sign of life of {ranks} for {why}{waited}{goes_on}")
        }
        Finding::Hang(ranks) => format!(
            "no progress of {} for {} s{}{goes_on}; a file system that is slow wants a longer \
             stall_seconds",
            list(ranks, states, shared),
            still(ranks),
            waiting(states)
        ),
        Finding::Standstill => {
            let place = states.iter().find_map(|state| match state {
                RankState::Lives(sign) => Some(sign.place()),
                _ => None,
            });
            format!(
                "all ranks wait and nothing arrives, for {} s at {}: {}; hint: the network that \
                 MPI uses",
                still(&all),
                place.unwrap_or_default(),
                list(&all, states, shared)
            )
        }
        Finding::AllHang => format!(
            "no rank gets on, for {} s: {}; hint: the file system",
            still(&all),
            list(&all, states, shared)
        ),
        Finding::Slow(ranks) => format!(
            "a disk takes its time, {} s so far: {}; others wait",
            still(ranks),
            list(ranks, states, shared)
        ),
    }
}
