//! Where ranks meet: collectives, each as loose as MPI allows, and the news that a run is to stop.
//!
//! A rank starts a collective and leaves it as soon as it has what it needs, which may be long
//! before others have come to it, or doesn't wait for it at all; so several are open at once. Ranks
//! that bring different calls to one of them, or the same call from different places of the
//! program, are found at once.

use std::collections::{BTreeMap, VecDeque};

use super::draws::Draws;
use super::state::Standing;
use super::world::Place;

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

/// A rank of a group of ranks; group 0 is all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seat {
    pub group: usize,
    pub rank: usize,
    /// Its number among all ranks.
    pub of_all: usize,
}

/// What a rank has started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticket {
    pub seat: Seat,
    number: u64,
}

/// The collectives of a group.
struct Group {
    slots: VecDeque<Slot>,
    /// Number of the oldest that is open.
    oldest: u64,
    /// Number of the next one of each rank.
    next: Vec<u64>,
}

impl Group {
    fn new(size: usize) -> Group {
        Group { slots: VecDeque::new(), oldest: 0, next: vec![0; size] }
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.slots[(number - self.oldest) as usize]
    }

    /// The place of collective `number`.
    fn name(&self, number: u64) -> String {
        let slot = self.slot(number);
        let size = self.next.len();
        let missing: Vec<usize> = (0..size).filter(|r| slot.brought[*r].is_none()).collect();
        let place = format!("{}:{}", slot.place.file(), slot.place.line());
        format!("collective {number} {:?} of {place} without ranks {missing:?}", slot.call)
    }
}

pub struct Meeting {
    groups: Vec<Group>,
    /// Groups that were split from others: the number of the split, its group and first member.
    made: BTreeMap<(usize, u64, usize), usize>,
    news: Vec<News>,
    draws: Draws,
    /// Collectives of each rank.
    pub calls: Vec<u64>,
    /// Whether ranks have come to training, beyond opening data.
    pub trained: bool,
}

impl Meeting {
    pub fn new(size: usize, draws: Draws) -> Meeting {
        let (groups, made) = (vec![Group::new(size)], BTreeMap::new());
        Meeting { groups, made, news: Vec::new(), draws, calls: vec![0; size], trained: false }
    }

    /// The group of these members of group `of`, at its split `number`.
    pub fn group(&mut self, of: usize, number: u64, members: &[usize]) -> usize {
        let new = self.groups.len();
        let made = *self.made.entry((of, number, members[0])).or_insert(new);
        if made == new {
            self.groups.push(Group::new(members.len()));
        }
        made
    }

    fn slot(&self, ticket: Ticket) -> &Slot {
        self.groups[ticket.seat.group].slot(ticket.number)
    }

    /// The place of a collective.
    pub fn name(&self, ticket: Ticket) -> String {
        self.groups[ticket.seat.group].name(ticket.number)
    }

    /// A rank comes to the next collective of its group.
    ///
    /// # Errors
    /// What of it isn't what others have come to.
    pub fn come(
        &mut self,
        seat: Seat,
        (call, place): (Call, Place),
        brought: Brought,
    ) -> Result<Ticket, String> {
        let Seat { group, rank, of_all } = seat;
        let group = &mut self.groups[group];
        let number = group.next[rank];
        group.next[rank] += 1;
        self.calls[of_all] += 1;
        self.trained |= place.file().ends_with("train/boundary.rs");
        if number == group.oldest + group.slots.len() as u64 {
            let loose = self.draws.happens(2, 3);
            let brought = group.next.iter().map(|_| None).collect();
            group.slots.push_back(Slot { call, place, first: rank, brought, left: 0, loose });
        } else {
            let slot = group.slot(number);
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
        let at = (number - group.oldest) as usize;
        group.slots[at].brought[rank] = Some(brought);
        Ok(Ticket { seat, number })
    }

    /// Whether a rank has what it needs of a collective.
    pub fn is_met(&self, ticket: Ticket) -> bool {
        let slot = self.slot(ticket);
        let there = |rank: usize| slot.brought[rank].is_some();
        let mut all = 0..slot.brought.len();
        if !slot.loose {
            return all.all(there);
        }
        match &slot.call {
            Call::Barrier => all.all(there),
            Call::Broadcast { root, .. } => there(*root),
            Call::AllGather { counts } => all.all(|rank| counts[rank] == 0 || there(rank)),
            Call::AllToAll => {
                let from = &slot.brought[ticket.seat.rank].as_ref().expect("it has come").from;
                all.all(|other| from[other] == 0 || there(other))
            }
        }
    }

    /// The bytes that `from` has brought; none where nobody waits for any.
    pub fn bytes(&self, ticket: Ticket, from: usize) -> &[u8] {
        self.slot(ticket).brought[from].as_ref().map_or(&[], |brought| &brought.bytes)
    }

    /// The bytes that `from` has brought for this rank to an all-to-all.
    pub fn bytes_for(&self, ticket: Ticket, from: usize) -> &[u8] {
        let to = ticket.seat.rank;
        let Some(brought) = &self.slot(ticket).brought[from] else { return &[] };
        let start: usize = brought.to[..to].iter().sum();
        &brought.bytes[start..start + brought.to[to]]
    }

    /// A rank leaves a collective, or has dropped it.
    pub fn part(&mut self, ticket: Ticket) {
        let group = &mut self.groups[ticket.seat.group];
        let at = (ticket.number - group.oldest) as usize;
        group.slots[at].left += 1;
        while group.slots.front().is_some_and(|slot| slot.left == group.next.len()) {
            group.slots.pop_front();
            group.oldest += 1;
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
        if let Some(group) = self.groups.iter().find(|group| !group.slots.is_empty()) {
            return Err(format!("not all ranks came to {}", group.name(group.oldest)));
        }
        match self.news.iter().find(|news| !news.taken) {
            None => Ok(()),
            Some(news) => {
                Err(format!("rank {} never took in the news of rank {}", news.to, news.from))
            }
        }
    }
}
