//! A backend whose other ranks are stand-ins. What they would send is made when a collective
//! starts, outside this rank's clock, and is there when a network would have brought it: nobody
//! sleeps, a wait moves the clock (`team::replay`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::pool::Pool;
use crate::comm::{Backend, Buffers, Call, Cargo, Made, Pending, SEAL};
use crate::cost::network::{Network, way};
use crate::team::replay;

/// What a rank's groups share: its link, its clock, what others send.
struct Link {
    network: Network,
    pool: Rc<Pool>,
    /// When what is under way has come.
    free_at: Cell<f64>,
    waited: Cell<f64>,
    /// The labels of each rank's rows whose lengths have been told.
    announced: RefCell<VecDeque<Vec<Vec<u32>>>>,
    /// What travels next.
    next: RefCell<Next>,
}

/// A `Cargo` that is kept.
#[derive(Default)]
enum Next {
    #[default]
    Alike,
    Numbers(usize),
    Made(Rc<Made>),
    /// Rows of each rank.
    Labels(Vec<usize>),
    Announced,
}

/// One rank of many.
pub(super) struct StandIns {
    rank: usize,
    size: usize,
    link: Rc<Link>,
}

/// A collective that has started.
struct UnderWay {
    link: Rc<Link>,
    buffers: Buffers,
    arrives: f64,
}

impl StandIns {
    /// Rank `rank` of `size` in a network, on a thread that replays; rows and labels of others are
    /// those of `pool`.
    pub(super) fn new((rank, size): (usize, usize), network: Network, pool: Rc<Pool>) -> StandIns {
        let (free_at, waited) = (Cell::new(0.0), Cell::new(0.0));
        let (announced, next) = (RefCell::default(), RefCell::default());
        StandIns {
            rank,
            size,
            link: Rc::new(Link { network, pool, free_at, waited, announced, next }),
        }
    }

    /// Seconds for which this rank has waited, as they grow.
    pub(super) fn waited(&self) -> impl Fn() -> f64 + use<> {
        let link = self.link.clone();
        move || link.waited.get()
    }

    /// What others bring to a call, beside what this rank brings.
    fn make(&self, call: &Call, next: Next, Buffers { send, receive }: &mut Buffers) {
        let (send, receive) = (send.bytes(), receive.bytes_mut());
        match call {
            Call::Barrier => {}
            Call::Broadcast { root } if *root == self.rank => {}
            Call::Broadcast { .. } => {
                // Others are as this rank's own, which lie there.
                if let Next::Numbers(seal_bytes) = next {
                    self.link.pool.weights(receive, seal_bytes);
                }
            }
            Call::AllGather { counts } => self.gather(counts, next, send, receive),
            Call::AllToAll { at: places, from, .. } => {
                let (mut at, own) = (0, places[self.rank]);
                for (rank, count) in from.iter().enumerate() {
                    let part = &mut receive[at..at + count];
                    match &next {
                        _ if rank == self.rank => part.copy_from_slice(&send[own..own + count]),
                        Next::Numbers(seal_bytes) => sealed_zeros(part, *seal_bytes),
                        Next::Made(make) => make(rank, &*self.link.pool, part),
                        _ => panic!("an all-to-all says what travels"),
                    }
                    at += count;
                }
            }
        }
    }

    fn gather(&self, counts: &[usize], next: Next, send: &[u8], receive: &mut [u8]) {
        let (pool, link) = (&self.link.pool, &self.link);
        let labels = match next {
            Next::Labels(rows) => {
                let own = (self.rank, send);
                let labels: Vec<Vec<u32>> =
                    rows.iter().map(|rows| pool.label_words(*rows)).collect();
                let heads = labels.iter().map(|words| head(words)).enumerate();
                for (place, (rank, head)) in receive.chunks_exact_mut(own.1.len()).zip(heads) {
                    place.copy_from_slice(if rank == own.0 { own.1 } else { &head });
                }
                link.announced.borrow_mut().push_back(labels);
                return;
            }
            Next::Announced => link.announced.borrow_mut().pop_front(),
            _ => None,
        };
        let mut at = 0;
        for (rank, count) in counts.iter().enumerate() {
            let part = &mut receive[at..at + count];
            at += count;
            match (&labels, &next) {
                _ if rank == self.rank => part.copy_from_slice(send),
                (Some(labels), _) => part.copy_from_slice(bytemuck::cast_slice(&labels[rank])),
                (None, Next::Made(make)) => make(rank, &**pool, part),
                (None, Next::Numbers(seal_bytes)) => sealed_zeros(part, *seal_bytes),
                _ => part.copy_from_slice(send),
            }
        }
    }
}

/// How long a rank's labels are and their seal, and the seal of that.
fn head(words: &[u32]) -> Vec<u8> {
    let seal = crc32c::crc32c(bytemuck::cast_slice(words));
    let mut bytes = bytemuck::cast_slice(&[words.len() as u64, u64::from(seal)]).to_vec();
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// Zeros and their seal, unless there is nothing.
fn sealed_zeros(part: &mut [u8], seal_bytes: usize) {
    part.fill(0);
    seal(part, seal_bytes);
}

/// Seals a part, unless it is empty: its last bytes are the seal's.
pub(super) fn seal(part: &mut [u8], seal_bytes: usize) {
    if let Some(length) = part.len().checked_sub(seal_bytes) {
        let seal = crc32c::crc32c(&part[..length]);
        part[length..length + SEAL].copy_from_slice(&seal.to_le_bytes());
    }
}

impl Pending for UnderWay {
    fn poll(&mut self) -> bool {
        replay::now() >= self.arrives
    }

    fn wait(self: Box<Self>) -> Buffers {
        let waited = self.arrives - replay::now();
        if waited > 0.0 {
            self.link.waited.set(self.link.waited.get() + waited);
            replay::pass_until(self.arrives);
        }
        self.buffers
    }
}

impl Backend for StandIns {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn count_max(&self) -> usize {
        i32::MAX as usize
    }

    fn carries(&self, cargo: Cargo) {
        let next = match cargo {
            Cargo::Numbers { seal_bytes } => Next::Numbers(seal_bytes),
            Cargo::Made(make) => Next::Made(make),
            Cargo::Labels { numbers, stride } => {
                Next::Labels(numbers.iter().map(|count| count / stride).collect())
            }
            Cargo::Announced => Next::Announced,
        };
        self.link.next.replace(next);
    }

    fn start(&self, call: Call, mut buffers: Buffers) -> Box<dyn Pending> {
        let arrives = replay::outside(|| {
            let own = match call {
                Call::Broadcast { .. } => buffers.receive.bytes().len(),
                _ => buffers.send.bytes().len(),
            };
            let way = way(&call, own, self.rank, self.size);
            self.make(&call, self.link.next.take(), &mut buffers);
            let (link, network) = (&self.link, &self.link.network);
            let begins = link.free_at.get().max(replay::now() + network.before_seconds(&way));
            link.free_at.set(begins + network.link_seconds(&way));
            link.free_at.get()
        });
        Box::new(UnderWay { link: self.link.clone(), buffers, arrives })
    }

    /// All members do what this rank does, so they are all ranks.
    fn group(&self, members: &[usize]) -> Rc<dyn Backend> {
        let rank = members.iter().position(|rank| *rank == self.rank).expect("a member");
        Rc::new(StandIns { rank, size: members.len(), link: self.link.clone() })
    }

    fn kind(&self) -> &'static str {
        "one rank and stand-ins"
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
