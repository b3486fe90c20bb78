//! What rounds of questions say of a run: whether ranks are lost or hang, or whether there is
//! something to warn of. It knows signs and times, and neither sockets nor clocks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ask::Reply;
use super::shared::Times;
use super::sign::{Sign, Slow};

/// Bytes a second that the network of a host moves at least, all of its ranks together.
const SLOWEST: u64 = 500_000;
/// A hang of all ranks for which nobody waits ends the run after so many times the patience, and
/// not before `HANG_MIN`: a file system may come back.
const HANG_TIMES: u32 = 10;
const HANG_MIN: Duration = Duration::from_secs(600);
/// A launcher that sees a process gone has ended the others by then.
const GONE_MIN: Duration = Duration::from_secs(3);
/// A warning that stays true is repeated after this.
const AGAIN: Duration = Duration::from_secs(600);

/// What is known of a rank after a round.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RankState {
    Lives(Box<Sign>),
    /// No sign for so long, and what became of the last question.
    Silent(Duration, Reply),
    /// It couldn't be asked.
    Unknown,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Nothing,
    Warn(Finding),
    End(Finding),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    /// Ranks without a sign of life.
    Lost(Vec<usize>),
    /// Ranks that live and get on with nothing while others wait.
    Hang(Vec<usize>),
    /// All wait, and nothing arrives.
    Standstill,
    /// Nobody waits, and all ranks hang.
    AllHang,
    /// Ranks that sync or rename a file, while others wait.
    Slow(Vec<usize>),
}

impl Finding {
    /// The rank that is at fault, or the first one of all.
    pub(crate) fn first(&self) -> usize {
        match self {
            Finding::Lost(ranks) | Finding::Hang(ranks) | Finding::Slow(ranks) => ranks[0],
            Finding::Standstill | Finding::AllHang => 0,
        }
    }
}

/// What is remembered from round to round.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Since when a rank gives no sign, by the own clock.
    silent_since: BTreeMap<usize, Duration>,
    /// Ranks that seemed to hang in the round before.
    suspects: Vec<usize>,
    /// When each kind of warning was told last.
    warned: BTreeMap<&'static str, Duration>,
}

impl Judge {
    /// Forgets what was held against ranks: nobody waits for them any more.
    pub(crate) fn forget(&mut self) {
        self.silent_since.clear();
        self.suspects.clear();
    }

    /// Whether a rank gave no sign when it was last asked.
    pub(crate) fn misses(&self, rank: usize) -> bool {
        self.silent_since.contains_key(&rank)
    }

    /// What a reply, at `now` of the own clock, says of a rank.
    pub(crate) fn heard(&mut self, rank: usize, reply: Reply, now: Duration) -> RankState {
        match reply {
            Reply::Sign(sign) => {
                self.silent_since.remove(&rank);
                RankState::Lives(sign)
            }
            Reply::Unasked => RankState::Unknown,
            reply => {
                let since = *self.silent_since.entry(rank).or_insert(now);
                RankState::Silent(now - since, reply)
            }
        }
    }

    /// `states` are those of all ranks, `hosts` numbers of the hosts that they are on.
    pub(crate) fn judge(
        &mut self,
        states: &[RankState],
        hosts: &[usize],
        times: &Times,
        now: Duration,
    ) -> Verdict {
        let lost = lost(states, times);
        if !lost.is_empty() {
            return Verdict::End(Finding::Lost(lost));
        }
        let patience = times.patience.as_millis() as u64;
        let signs: Vec<(usize, &Sign)> = signs(states).collect();
        let stuck = |sign: &Sign| !sign.waits() && sign.still >= patience;
        let of = |wanted: &dyn Fn(&Sign) -> bool| -> Vec<usize> {
            signs.iter().filter(|(_, sign)| wanted(sign)).map(|(rank, _)| *rank).collect()
        };
        let suspects = of(&|sign| stuck(sign) && sign.slow == Slow::No as u32);
        let before = std::mem::replace(&mut self.suspects, suspects);
        let waited = signs.iter().any(|(_, sign)| sign.waiting > patience);
        let hang: Vec<usize> =
            before.into_iter().filter(|rank| self.suspects.contains(rank)).collect();
        if waited && !hang.is_empty() {
            return Verdict::End(Finding::Hang(hang));
        }
        let slow = of(&|sign| stuck(sign) && sign.slow == Slow::Sync as u32);
        if waited && !slow.is_empty() {
            return self.warn("slow", Finding::Slow(slow), now);
        }
        let Some(longest_alike) = all_alive(states) else { return Verdict::Nothing };
        if signs.iter().all(|(_, sign)| sign.waits()) {
            return self.standstill(&signs, hosts, times, now);
        }
        if hang.len() == longest_alike {
            let still = signs.iter().map(|(_, sign)| sign.still).min().unwrap_or(0);
            let limit = (HANG_TIMES * times.patience).max(HANG_MIN);
            return match Duration::from_millis(still) >= limit {
                true => Verdict::End(Finding::AllHang),
                false => self.warn("hang", Finding::AllHang, now),
            };
        }
        Verdict::Nothing
    }

    /// Where all wait, a slow network may still be at it: it gets the time for the bytes of the
    /// host that has most, and that of a cut twice, since MPI's own sockets wait as long again.
    fn standstill(
        &mut self,
        signs: &[(usize, &Sign)],
        hosts: &[usize],
        times: &Times,
        now: Duration,
    ) -> Verdict {
        let shortest = signs.iter().map(|(_, sign)| sign.waiting).min().unwrap_or(0);
        let shortest = Duration::from_millis(shortest);
        let mut bytes: BTreeMap<usize, u64> = BTreeMap::new();
        for (rank, sign) in signs {
            let sum = bytes.entry(hosts[*rank]).or_default();
            *sum = sum.saturating_add(sign.bytes);
        }
        let most = bytes.values().max().copied().unwrap_or(0);
        let limit = 2 * times.patience + Duration::from_secs(most / SLOWEST);
        if shortest >= limit {
            return Verdict::End(Finding::Standstill);
        }
        match shortest >= times.patience {
            true => self.warn("standstill", Finding::Standstill, now),
            false => Verdict::Nothing,
        }
    }

    fn warn(&mut self, kind: &'static str, finding: Finding, now: Duration) -> Verdict {
        let due = self.warned.get(kind).is_none_or(|last| now >= *last + AGAIN);
        if !due {
            return Verdict::Nothing;
        }
        self.warned.insert(kind, now);
        Verdict::Warn(finding)
    }
}

fn signs(states: &[RankState]) -> impl Iterator<Item = (usize, &Sign)> {
    states.iter().enumerate().filter_map(|(rank, state)| match state {
        RankState::Lives(sign) => Some((rank, &**sign)),
        _ => None,
    })
}

/// Number of ranks, if all are known to live.
fn all_alive(states: &[RankState]) -> Option<usize> {
    (signs(states).count() == states.len()).then_some(states.len())
}

/// Ranks that are lost: if one is by its limit, those that have long been on the way there, too,
/// since what takes one takes its neighbours.
fn lost(states: &[RankState], times: &Times) -> Vec<usize> {
    let share = |state: &RankState| match state {
        RankState::Silent(time, reply) => {
            let limit = match reply {
                Reply::Refused => (2 * times.beat).max(GONE_MIN),
                Reply::Unreached => times.patience / 2,
                _ => times.patience,
            };
            time.as_secs_f64() / limit.as_secs_f64()
        }
        _ => 0.0,
    };
    let shares: Vec<f64> = states.iter().map(share).collect();
    if shares.iter().all(|share| *share < 1.0) {
        return Vec::new();
    }
    (0..states.len()).filter(|rank| shares[*rank] >= 0.5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        patience: Duration::from_secs(60),
        beat: Duration::from_secs(5),
        answer: Duration::from_secs(2),
    };

    fn sign(waiting: u64, still: u64, slow: Slow, bytes: u64) -> RankState {
        let mut sign = Sign::of(0, 1);
        (sign.waiting, sign.still, sign.slow) = (waiting * 1000, still * 1000, slow as u32);
        sign.bytes = bytes;
        RankState::Lives(Box::new(sign))
    }

    fn waits(seconds: u64) -> RankState {
        sign(seconds, seconds, Slow::No, 0)
    }

    fn still(seconds: u64) -> RankState {
        sign(0, seconds, Slow::No, 0)
    }

    fn twice(states: &[RankState]) -> Verdict {
        let (mut judge, hosts) = (Judge::default(), vec![0; states.len()]);
        judge.judge(states, &hosts, &TIMES, Duration::from_secs(100));
        judge.judge(states, &hosts, &TIMES, Duration::from_secs(800))
    }

    #[test]
    fn silence_ends_a_run_by_what_became_of_the_question() {
        let mut judge = Judge::default();
        let seconds = Duration::from_secs;
        let mut lost_after = |reply: Reply| {
            judge.forget();
            (0..200).map(seconds).find(|at| {
                let states = [waits(9), judge.heard(1, reply.clone(), *at), waits(9)];
                judge.judge(&states, &[0; 3], &TIMES, *at) != Verdict::Nothing
            })
        };
        assert_eq!(lost_after(Reply::Unanswered), Some(seconds(60)));
        assert_eq!(lost_after(Reply::Unreached), Some(seconds(30)));
        assert_eq!(lost_after(Reply::Refused), Some(seconds(10)));
        assert_eq!(lost_after(Reply::Unasked), None);
        let sign = Reply::Sign(Box::new(Sign::of(1, 1)));
        judge.heard(1, Reply::Unanswered, seconds(0));
        judge.heard(1, sign, seconds(50));
        let state = judge.heard(1, Reply::Unanswered, seconds(70));
        assert_eq!(state, RankState::Silent(seconds(0), Reply::Unanswered), "a sign counts anew");
    }

    #[test]
    fn those_that_go_together_are_named_together() {
        let silent = |seconds| RankState::Silent(Duration::from_secs(seconds), Reply::Unanswered);
        let states = [silent(58), silent(60), waits(61), silent(5)];
        let expected = Verdict::End(Finding::Lost(vec![0, 1]));
        assert_eq!(Judge::default().judge(&states, &[0; 4], &TIMES, Duration::ZERO), expected);
    }

    #[test]
    fn who_neither_waits_nor_works_hangs() {
        let expected = Verdict::End(Finding::Hang(vec![1]));
        assert_eq!(twice(&[waits(61), still(61), still(3)]), expected);
        assert_eq!(twice(&[waits(59), still(61)]), Verdict::Nothing, "nobody waits so long");
        assert_eq!(twice(&[waits(61), still(59)]), Verdict::Nothing, "it has just worked");
        let states = [waits(61), still(61)];
        let mut judge = Judge::default();
        assert_eq!(judge.judge(&states, &[0; 2], &TIMES, Duration::ZERO), Verdict::Nothing);
        let foretold = sign(0, 400, Slow::Foretold, 0);
        assert_eq!(twice(&[waits(390), foretold]), Verdict::Nothing);
        // A sync is told, and hides nobody who hangs.
        let sync = || sign(0, 400, Slow::Sync, 0);
        assert_eq!(twice(&[waits(390), sync()]), Verdict::Warn(Finding::Slow(vec![1])));
        assert_eq!(twice(&[waits(390), sync(), still(70)]), Verdict::End(Finding::Hang(vec![2])));
    }

    #[test]
    fn a_slow_network_gets_the_time_for_its_bytes() {
        let big = |seconds| sign(seconds, seconds, Slow::No, 100_000_000);
        assert_eq!(twice(&[waits(59), waits(300)]), Verdict::Nothing);
        assert_eq!(twice(&[waits(61), waits(61)]), Verdict::Warn(Finding::Standstill));
        assert_eq!(twice(&[waits(121), waits(130)]), Verdict::End(Finding::Standstill));
        // Two ranks of one host: 400 s for 200 MB.
        assert_eq!(twice(&[big(510), big(510)]), Verdict::Warn(Finding::Standstill));
        assert_eq!(twice(&[big(521), big(521)]), Verdict::End(Finding::Standstill));
    }

    #[test]
    fn a_hang_of_all_is_told_and_ends_late() {
        assert_eq!(twice(&[still(61), still(70)]), Verdict::Warn(Finding::AllHang));
        assert_eq!(twice(&[still(601), still(700)]), Verdict::End(Finding::AllHang));
        assert_eq!(twice(&[still(601), still(1)]), Verdict::Nothing);
        let (mut judge, states) = (Judge::default(), [still(70), still(70)]);
        let warned: Vec<u64> = (0..1300)
            .filter(|at| {
                let at = Duration::from_secs(*at);
                judge.judge(&states, &[0; 2], &TIMES, at) == Verdict::Warn(Finding::AllHang)
            })
            .collect();
        assert_eq!(warned, [1, 601, 1201]);
    }
}
