//! Where ranks that are threads meet: what each brings to an exchange lies there until all have
//! taken it.

use std::collections::{HashMap, VecDeque};
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::backend::Call;
use crate::error::{Error, Exit};

/// What every rank has brought: its call and what it sends.
pub(crate) type Brought = Vec<(Call, Arc<Vec<u8>>)>;

/// What a rank unwinds with when another one has failed. It says nothing: the other has the
/// message.
pub(crate) struct PeerFailed;

/// One exchange of a group.
#[derive(Default)]
struct Slot {
    brought: Vec<Option<(Call, Arc<Vec<u8>>)>>,
    /// Ranks that are through with it, or have dropped it.
    left: usize,
}

/// The exchanges of a group of ranks, oldest first.
#[derive(Default)]
struct Group {
    size: usize,
    slots: VecDeque<Slot>,
    /// Number of the first of them.
    oldest: u64,
    /// Number of the next one of each rank.
    next: Vec<u64>,
}

impl Group {
    fn new(size: usize) -> Group {
        Group { size, next: vec![0; size], ..Group::default() }
    }

    fn slot(&mut self, number: u64) -> &mut Slot {
        &mut self.slots[(number - self.oldest) as usize]
    }
}

#[derive(Default)]
struct State {
    groups: Vec<Group>,
    /// Groups that were split from others: the number of the split, its group and first member.
    made: HashMap<(usize, u64, usize), usize>,
    /// The first failure; nobody waits any longer once it is there.
    failure: Option<Error>,
}

/// The meeting place of all ranks of a run, group 0, and of the groups that they are split into.
pub(crate) struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

/// A rank of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) group: usize,
    pub(crate) rank: usize,
}

impl Meeting {
    pub(crate) fn new(size: usize) -> Meeting {
        let state = State { groups: vec![Group::new(size)], ..State::default() };
        Meeting { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The run fails; the first error counts.
    pub(crate) fn fail(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    /// Brings what this rank sends to its next exchange, whose number comes back.
    pub(crate) fn come(&self, seat: Seat, call: &Call, send: Vec<u8>) -> u64 {
        let mut state = self.lock();
        let group = &mut state.groups[seat.group];
        let number = group.next[seat.rank];
        group.next[seat.rank] += 1;
        if number == group.oldest + group.slots.len() as u64 {
            let brought = vec![None; group.size];
            group.slots.push_back(Slot { brought, left: 0 });
        }
        let slot = group.slot(number);
        let other = slot.brought.iter().flatten().find(|other| !go_together(call, &other.0));
        if let Some((other, _)) = other {
            let text =
                format!("rank {} starts {call:?} where another one started {other:?}", seat.rank);
            drop(state);
            self.fail(Error::new(Exit::Bug, text));
            resume_unwind(Box::new(PeerFailed));
        }
        slot.brought[seat.rank] = Some((call.clone(), Arc::new(send)));
        if slot.brought.iter().all(Option::is_some) {
            self.changed.notify_all();
        }
        number
    }

    /// What all have brought, once they have; this rank is through with it then. Waits for that
    /// where `wait` says so.
    pub(crate) fn look(&self, seat: Seat, number: u64, wait: bool) -> Option<Brought> {
        let mut state = self.lock();
        loop {
            let slot = state.groups[seat.group].slot(number);
            if slot.brought.iter().all(Option::is_some) {
                let brought = slot.brought.iter().flatten().cloned().collect();
                leave(&mut state, seat, number);
                return Some(brought);
            }
            if state.failure.is_some() {
                drop(state);
                resume_unwind(Box::new(PeerFailed));
            }
            if !wait {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// This rank doesn't want what an exchange brings; what it has brought itself stays.
    pub(crate) fn leave(&self, seat: Seat, number: u64) {
        leave(&mut self.lock(), seat, number);
    }

    /// The group of these members of a group, at its split `number`.
    pub(crate) fn group(&self, parent: usize, number: u64, members: &[usize]) -> usize {
        let mut state = self.lock();
        let new = state.groups.len();
        let made = *state.made.entry((parent, number, members[0])).or_insert(new);
        if made == new {
            state.groups.push(Group::new(members.len()));
        }
        made
    }
}

fn leave(state: &mut State, seat: Seat, number: u64) {
    let group = &mut state.groups[seat.group];
    group.slot(number).left += 1;
    while group.slots.front().is_some_and(|slot| slot.left == group.size) {
        group.slots.pop_front();
        group.oldest += 1;
    }
}

/// Whether two ranks may start these calls as one.
fn go_together(one: &Call, other: &Call) -> bool {
    match (one, other) {
        // Each pair of ranks has lengths of its own, which are compared when they are taken.
        (Call::AllToAll { .. }, Call::AllToAll { .. }) => true,
        (one, other) => one == other,
    }
}
