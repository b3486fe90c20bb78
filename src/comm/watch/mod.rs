//! Ranks watch over each other, over TCP and from threads that don't talk MPI (docs/watching.md):
//! MPI doesn't tell of a rank that is stopped, hangs or is lost with its node.

mod answer;
mod ask;
mod judge;
mod look;
mod own;
mod peers;
mod shared;
mod sign;
mod tell;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Comm, ending};
use crate::system;
use answer::Answerer;
use ask::{Asker, Reply};
use judge::Judge;
use look::Looker;
use own::OwnRank;
use peers::{Peer, addresses_of, kill_stopped, listening};
use shared::Shared;
use sign::{Token, Why};

/// What ranks get to find each other when they start.
const FIND_LIMIT: Duration = Duration::from_secs(10);
const FIND_ONCE: Duration = Duration::from_secs(1);

/// What the program does beside watching; nothing in it may wait for anybody.
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    /// Called four times a second.
    pub(crate) each_tick: fn(),
    /// Records that the run ends because of this rank, in these words. It may hang with its disk.
    pub(crate) record: fn(usize, &str),
    /// Whether a later start can go on with what ends.
    pub(crate) goes_on: fn() -> bool,
}

/// The watch of one rank, as long as its process lives.
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

impl Watch {
    /// Begins to watch. None, on all ranks, where one
    /// can't reach another by TCP, which is told. Collective.
    pub(crate) fn start(comm: &Comm, patience: Duration, beside: Beside) -> Option<Watch> {
        if comm.size() == 1 {
            return None;
        }
        let mut token: Token = [0; 16];
        if comm.is_root() {
            // The system always has so few.
            let _ = system::random(&mut token);
        }
        comm.broadcast(0, &mut token);
        let (listener, port) = listening().map_or((None, 0), |(fd, port)| (Some(fd), port));
        let peers = comm.all_gather(&[Peer::own(port)]);
        let addresses = addresses_of(&peers, comm.rank());
        let asker = Asker::new(token, comm.rank(), addresses);
        let own = OwnRank::new(comm.rank(), comm.activity().clone());
        let shared = Arc::new(Shared::new(own, comm.rank(), peers));
        shared.set_patience(patience);
        let known = shared.clone();
        ending::before_leaving(move || kill_stopped(&known.peers, known.rank));
        let each_tick = beside.each_tick;
        let answerer = Answerer { shared: shared.clone(), token, listener, each_tick };
        let answers = ending::quiet_thread("watch-answers", move || answerer.run()).is_ok();
        let unreached = if answers { unreached(&asker, &shared) } else { Some(comm.rank()) };
        let found = comm.all_gather(&[unreached.map_or(0, |rank| rank as u32 + 1)]);
        if let Some(from) = found.iter().position(|rank| *rank > 0) {
            if comm.is_root() {
                let to = found[from] as usize - 1;
                let [here, there] = [from, to].map(|rank| shared.peers[rank].host());
                log::warn!(
                    "rank {from} (host {here}) can't reach rank {to} (host {there}) by TCP: only \
                     train is watched, by signs in RUN/ranks; hint: REELSCALE_WATCH_INTERFACES, \
                     REELSCALE_WATCH_PORTS (docs/watching.md)"
                );
            }
            return None;
        }
        let mut places: Vec<[u8; 16]> = shared.peers.iter().map(|peer| peer.place).collect();
        places.sort_unstable();
        places.dedup();
        let host = |peer: &Peer| places.binary_search(&peer.place).expect("one of them");
        let hosts = shared.peers.iter().map(host).collect();
        let judge = Judge::default();
        let looker = Looker { shared: shared.clone(), asker, hosts, judge, beside };
        if let Err(error) = ending::quiet_thread("watch-looks", move || looker.run()) {
            log::warn!("this rank doesn't watch others: {error}");
        }
        Some(Watch { shared })
    }

    /// How long ranks may be silent, or hang; zero: for ever.
    pub(crate) fn set_patience(&self, patience: Duration) {
        self.shared.set_patience(patience);
    }
}

/// A rank that can't be reached, if there is one: rank 0 asks all, the others their neighbour.
fn unreached(asker: &Asker, shared: &Shared) -> Option<usize> {
    let (rank, size) = (shared.rank, shared.size());
    let mut left: Vec<usize> = match rank {
        0 => (1..size).collect(),
        _ => vec![(rank + 1) % size],
    };
    let started = Instant::now();
    while !left.is_empty() {
        let replies = asker.ask(&left, Why::Greeting, 0, FIND_ONCE);
        for reply in &replies {
            if let Reply::Sign(sign) = reply {
                // Should it be lost at once, this is what it was at.
                shared.keep(sign);
            }
        }
        let mut replies = replies.iter();
        left.retain(|_| !matches!(replies.next(), Some(Reply::Sign(_))));
        let none = left.first().is_some_and(|rank| !asker.knows(*rank));
        if none || started.elapsed() > FIND_LIMIT {
            break;
        }
        if !left.is_empty() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    left.first().copied()
}
