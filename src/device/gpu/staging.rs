//! Pieces of pinned memory of the host that copies go through, a few for each lane and way. A piece
//! serves again once the device has come to the end of the copies through it.

use super::lanes::Lanes;
use super::launcher::{Lane, Launcher, Stage};

/// Bytes of a piece: enough for a bus to be as fast as it can.
pub(crate) const PIECE_BYTES: usize = 4 << 20;

/// Pieces of a lane and way: the device copies one while the host fills or empties the other.
const PIECES: usize = 2;

/// What begins within a piece does so at a multiple of so many bytes.
const ALIGNED: usize = 64;

/// The pieces of all lanes.
pub(super) struct Staging {
    /// Bytes of a piece.
    piece: usize,
    up: [Ring; 3],
    down: [Ring; 3],
}

/// Pieces that are made when first wanted, of which one after the other serves.
#[derive(Default)]
struct Ring {
    pieces: Vec<Piece>,
    /// The one that serves next, or is filled.
    next: usize,
}

struct Piece {
    stage: Stage,
    /// Bytes that are filled.
    filled: usize,
    /// The lane's place after the last copy through it.
    until: u64,
    /// Somebody has what comes down through it.
    taken: bool,
}

impl Staging {
    pub(super) fn new(piece: usize) -> Staging {
        Staging { piece, up: Default::default(), down: Default::default() }
    }

    /// Copies as many bytes as a piece has room for to where the device reads them: gives that
    /// place and their number, which is 0 where no piece is free and nobody is to wait for one.
    /// The copy to the device is to be told (`sent`).
    pub(super) fn fill(
        &mut self,
        (launcher, lanes): (&mut dyn Launcher, &mut Lanes),
        lane: Lane,
        bytes: &[u8],
        waits: bool,
    ) -> Result<Option<(Stage, usize, usize)>, String> {
        let ring = &mut self.up[lane as usize];
        let piece = ring.piece(launcher, self.piece)?;
        if piece.filled == 0 {
            match waits {
                true => lanes.wait(launcher, (lane, piece.until))?,
                false if !lanes.passed(launcher, (lane, piece.until))? => return Ok(None),
                false => {}
            }
        }
        let (stage, from) = (piece.stage, piece.filled);
        let count = bytes.len().min(self.piece - from);
        launcher.staged(stage, from..from + count).copy_from_slice(&bytes[..count]);
        piece.filled = (from + count).next_multiple_of(ALIGNED).min(self.piece);
        Ok(Some((stage, from, count)))
    }

    /// The copy of what was filled last has come to the lane at this place. Whether the piece is
    /// full; then a mark is wanted there.
    pub(super) fn sent(&mut self, lane: Lane, place: u64) -> bool {
        let ring = &mut self.up[lane as usize];
        let piece = &mut ring.pieces[ring.next];
        piece.until = place;
        let full = piece.filled == self.piece;
        if full {
            piece.filled = 0;
            ring.next = (ring.next + 1) % PIECES;
        }
        full
    }

    /// A piece for what comes down, which is taken, and the most bytes of it; none where all are
    /// taken, or the device still copies to the next one and nobody is to wait.
    pub(super) fn take(
        &mut self,
        (launcher, lanes): (&mut dyn Launcher, &mut Lanes),
        lane: Lane,
        waits: bool,
    ) -> Result<Option<(usize, Stage, usize)>, String> {
        let ring = &mut self.down[lane as usize];
        let piece = ring.piece(launcher, self.piece)?;
        if piece.taken {
            return Ok(None);
        }
        match waits {
            true => lanes.wait(launcher, (lane, piece.until))?,
            false if !lanes.passed(launcher, (lane, piece.until))? => return Ok(None),
            false => {}
        }
        piece.taken = true;
        let stage = piece.stage;
        let index = ring.next;
        ring.next = (index + 1) % PIECES;
        Ok(Some((index, stage, self.piece)))
    }

    /// What comes down through a taken piece comes to the lane at this place.
    pub(super) fn fetched(&mut self, (lane, index): (Lane, usize), place: u64) {
        self.down[lane as usize].pieces[index].until = place;
    }

    /// A taken piece, and the place of its copy.
    pub(super) fn taken(&self, (lane, index): (Lane, usize)) -> (Stage, u64) {
        let piece = &self.down[lane as usize].pieces[index];
        (piece.stage, piece.until)
    }

    /// Nobody wants what comes down through a piece any more.
    pub(super) fn leave(&mut self, (lane, index): (Lane, usize)) {
        self.down[lane as usize].pieces[index].taken = false;
    }

    /// Gives all memory back. No copy is under way.
    pub(super) fn give_back(&mut self, launcher: &mut dyn Launcher) {
        for ring in self.up.iter_mut().chain(&mut self.down) {
            let pieces = std::mem::take(ring).pieces;
            pieces.into_iter().for_each(|piece| launcher.unstage(piece.stage));
        }
    }
}

impl Ring {
    /// The piece that serves next.
    fn piece(&mut self, launcher: &mut dyn Launcher, bytes: usize) -> Result<&mut Piece, String> {
        if self.next == self.pieces.len() {
            let stage = launcher.stage(bytes)?;
            self.pieces.push(Piece { stage, filled: 0, until: 0, taken: false });
        }
        Ok(&mut self.pieces[self.next])
    }
}
