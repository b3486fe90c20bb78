//! Where ranks meet: collectives, each as loose as MPI allows, and the news that a run is to stop.
//!
//! A rank leaves a collective as soon as it has what it needs, which may be long before others have
//! come to it; so several are open at once. Ranks that bring different calls to one of them, or the
//! same call from different places of the program, are found at once.

use std::collections::VecDeque;

use super::draws::Draws;
use super::world::{Place, Standing};

/// Longest time that news travel, in points.
const TRAVEL_MAX: usize = 300;

/// What a collective is, as far as all ranks must say the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    Barrier,
    Broadcast { root: usize, bytes: usize },
    AllGather { counts: Vec<usize> },
    AllToAll,
}

/// What a rank brings.
#[derive(Debug, Default)]
pub struct Brought {
    pub bytes: Vec<u8>,
    /// Of an all-to-all: bytes for each rank, and from each.
    pub to: Vec<usize>,
    pub from: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    call: Call,
    place: Place,
    first: usize,
    brought: Vec<Option<Brought>>,
    left: usize,
    /// Whether ranks leave as soon as they can.
    loose: bool,
}

/// A message that says that the run is to stop.
#[derive(Debug)]
struct News {
    from: usize,
    to: usize,
    arrives: u64,
    taken: bool,
}

pub struct Meeting {
    slots: VecDeque<Slot>,
    /// Number of the oldest that is open.
    oldest: u64,
    /// Number of the next one of each rank.
    next: Vec<u64>,
    news: Vec<News>,
    draws: Draws,
    /// Collectives of each rank.
    pub calls: Vec<u64>,
    /// Whether ranks have come to training, beyond opening data.
    pub trained: bool,
}

impl Meeting {
    pub fn new(size: usize, draws: Draws) -> Meeting {
        let (next, calls) = (vec![0; size], vec![0; size]);
        Meeting {
            slots: VecDeque::new(),
            oldest: 0,
            next,
            news: Vec::new(),
            draws,
            calls,
            trained: false,
        }
    }

    fn size(&self) -> usize {
        self.next.len()
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.slots[(number - self.oldest) as usize]
    }

    /// The place of collective `number`.
    pub fn name(&self, number: u64) -> String {
        let slot = self.slot(number);
        let missing: Vec<usize> = (0..self.size()).filter(|r| slot.brought[*r].is_none()).collect();
        let place = format!("{}:{}", slot.place.file(), slot.place.line());
        format!("collective {number} {:?} of {place} without ranks {missing:?}", slot.call)
    }

    /// Rank `rank` comes to its next collective; returns its number.
    ///
    /// # Errors
    /// What of it isn't what others have come to.
    pub fn come(
        &mut self,
        rank: usize,
        (call, place): (Call, Place),
        brought: Brought,
    ) -> Result<u64, String> {
        let number = self.next[rank];
        self.next[rank] += 1;
        self.calls[rank] += 1;
        self.trained |= place.file().ends_with("train/state.rs");
        let size = self.size();
        if number == self.oldest + self.slots.len() as u64 {
            let loose = self.draws.happens(2, 3);
            let brought = (0..size).map(|_| None).collect();
            self.slots.push_back(Slot { call, place, first: rank, brought, left: 0, loose });
        } else {
            let slot = self.slot(number);
            if slot.call != call || slot.place != place {
                return Err(format!(
                    "rank {rank} calls {call:?} at {}:{} where rank {} calls {:?} at {}:{}",
                    place.file(),
                    place.line(),
                    slot.first,
                    slot.call,
                    slot.place.file(),
                    slot.place.line()
                ));
            }
            for (other, theirs) in slot.brought.iter().enumerate() {
                let Some(theirs) = theirs else { continue };
                let pair = |a: &Brought, a_rank: usize, b: &Brought, b_rank: usize| {
                    a.to.is_empty() || a.to[b_rank] == b.from[a_rank]
                };
                if !pair(theirs, other, &brought, rank) || !pair(&brought, rank, theirs, other) {
                    return Err(format!("ranks {rank} and {other} expect other lengths"));
                }
            }
        }
        let at = (number - self.oldest) as usize;
        self.slots[at].brought[rank] = Some(brought);
        Ok(number)
    }

    /// Whether a rank has what it needs of a collective.
    pub fn is_met(&self, number: u64, rank: usize) -> bool {
        let slot = self.slot(number);
        let there = |rank: usize| slot.brought[rank].is_some();
        let mut all = 0..self.size();
        if !slot.loose {
            return all.all(there);
        }
        match &slot.call {
            Call::Barrier => all.all(there),
            Call::Broadcast { root, .. } => there(*root),
            Call::AllGather { counts } => all.all(|rank| counts[rank] == 0 || there(rank)),
            Call::AllToAll => {
                let from = &slot.brought[rank].as_ref().expect("it has come").from;
                all.all(|other| from[other] == 0 || there(other))
            }
        }
    }

    /// The bytes that `from` has brought; none where nobody waits for any.
    pub fn bytes(&self, number: u64, from: usize) -> &[u8] {
        self.slot(number).brought[from].as_ref().map_or(&[], |brought| &brought.bytes)
    }

    /// The bytes that `from` has brought for `to` to an all-to-all.
    pub fn bytes_for(&self, number: u64, from: usize, to: usize) -> &[u8] {
        let Some(brought) = &self.slot(number).brought[from] else { return &[] };
        let start: usize = brought.to[..to].iter().sum();
        &brought.bytes[start..start + brought.to[to]]
    }

    /// A rank leaves a collective.
    pub fn part(&mut self, number: u64) {
        let at = (number - self.oldest) as usize;
        self.slots[at].left += 1;
        while self.slots.front().is_some_and(|slot| slot.left == self.size()) {
            self.slots.pop_front();
            self.oldest += 1;
        }
    }

    /// Sends news to `to`.
    pub fn tell(&mut self, from: usize, to: usize, now: u64) {
        let travel = match self.draws.happens(1, 2) {
            true => self.draws.below(6),
            false => self.draws.below(TRAVEL_MAX),
        };
        self.news.push(News { from, to, arrives: now + travel as u64, taken: false });
    }

    /// Whether news from anybody have arrived that haven't been taken in.
    pub fn is_told(&self, to: usize, now: u64) -> bool {
        self.news.iter().any(|news| news.to == to && !news.taken && news.arrives <= now)
    }

    pub fn has_news(&self, from: usize, to: usize, now: u64) -> bool {
        self.find(from, to).is_some_and(|at| self.news[at].arrives <= now)
    }

    fn find(&self, from: usize, to: usize) -> Option<usize> {
        self.news.iter().position(|news| (news.from, news.to, news.taken) == (from, to, false))
    }

    /// Takes in the news that have arrived.
    pub fn take_news(&mut self, from: usize, to: usize) {
        let at = self.find(from, to).expect("it has arrived");
        self.news[at].taken = true;
    }

    /// Where all that could go on waits for news, what is on its way arrives.
    pub fn hurry(&mut self, standings: &[Standing], now: u64) {
        for (rank, standing) in standings.iter().enumerate() {
            if let Standing::News(from) = standing
                && let Some(at) = self.find(*from, rank)
            {
                self.news[at].arrives = self.news[at].arrives.min(now);
            }
        }
    }

    /// What is left once all ranks have gone.
    ///
    /// # Errors
    /// There is something.
    pub fn end(&self) -> Result<(), String> {
        if !self.slots.is_empty() {
            return Err(format!("not all ranks came to {}", self.name(self.oldest)));
        }
        match self.news.iter().find(|news| !news.taken) {
            None => Ok(()),
            Some(news) => {
                Err(format!("rank {} never took in the news of rank {}", news.to, news.from))
            }
        }
    }
}
