//! Windows of rows in the memory of those before: once two have passed, nothing large is asked for.

#[path = "common/allocations.rs"]
mod allocations;

use std::rc::Rc;

use reelscale::internals::comm::{Backend, Buffers, Call, Comm, Pending, StopFlag};
use reelscale::internals::device::{Dropout, Host};
use reelscale::internals::flow::own_rows::{OwnRows, Room};
use reelscale::internals::flow::windows::{Order, Travel};
use reelscale::internals::labels::Labels;
use reelscale::internals::model::Matrix;
use reelscale::internals::partition::Grid;
use reelscale::internals::rng::{Permutation, Purpose};

const ROWS: usize = 20_000;
const WIDTH: usize = 64;
const WINDOW: usize = 4000;
/// Bytes of a piece of memory that a window may ask for.
const PIECE_MAX: usize = 1 << 16;

/// Rank 0 of two, of which the other one has no rows.
struct First;

/// What is complete as soon as it is started.
struct Done(Buffers);

impl Pending for Done {
    fn poll(&mut self) -> bool {
        true
    }

    fn wait(self: Box<Self>) -> Buffers {
        self.0
    }
}

impl Backend for First {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        2
    }

    fn count_max(&self) -> usize {
        i32::MAX as usize
    }

    fn start(&self, call: Call, mut buffers: Buffers) -> Box<dyn Pending> {
        let Call::AllGather { counts } = call else { panic!("only windows travel") };
        let (own, other) = buffers.receive.bytes_mut().split_at_mut(counts[0]);
        own.copy_from_slice(buffers.send.bytes());
        // Two words are what its parts have, and how long that is.
        other.fill(0);
        other[0] = 2;
        let (said, seal) = other.split_at_mut(other.len() - 4);
        seal.copy_from_slice(&crc32c::crc32c(said).to_le_bytes());
        Box::new(Done(buffers))
    }

    fn group(&self, _members: &[usize]) -> Rc<dyn Backend> {
        panic!("nobody splits ranks")
    }

    fn kind(&self) -> &'static str {
        "one rank of two"
    }

    fn abort(&self, code: i32) -> ! {
        panic!("aborted with {code}")
    }
}

fn check(comm: &Comm, dropout: Option<Dropout>) {
    let mut own = OwnRows::new(0..ROWS, WIDTH, &Room::unlimited()).unwrap();
    let mut labels = Labels::new();
    (0..ROWS as u32).for_each(|row| labels.push(&[row % 7, 10 + row % 90]));
    own.push(&Matrix::zeros(ROWS, WIDTH), &labels).unwrap();
    // The first rank has all rows.
    let runs = &[0..ROWS, ROWS..ROWS][..comm.size()];
    let order = Order::Shuffled(Permutation::new(1, Purpose::RowOrder, 0, ROWS));
    let grid = &Grid::new((1, comm.size()), 1, comm.size(), 0);
    let (own, window) = (&own, WINDOW);
    let travel = Travel { comm, own, runs, order, grid, batch: window, window, dropout };
    let device = &mut Host::detected(1, 1e-5);
    let mut windows = travel.windows(0).unwrap();
    let mut pieces = Vec::new();
    loop {
        let pass = || windows.pass(device, |_, _, _| Ok(())).unwrap();
        let (passed, largest) = allocations::largest(pass);
        if passed.is_none() {
            break;
        }
        pieces.push(largest);
    }
    assert_eq!(pieces.len(), ROWS / WINDOW);
    assert!(pieces[0] >= 4 * WIDTH * WINDOW, "the first window makes room: {pieces:?}");
    assert!(pieces[1..].iter().all(|largest| *largest <= PIECE_MAX), "{pieces:?}");
}

#[test]
fn the_second_window_of_an_epoch_asks_for_nothing_large() {
    for share in [0.0, 0.5] {
        let dropout = || Dropout::of(share, 1, 0);
        check(&Comm::serial(), dropout());
        check(&Comm::with_stop(Box::new(First), StopFlag::default()), dropout());
    }
}
