//! What has happened, in order: the last points for whoever reads a failure, a digest of all of
//! them for whoever sees whether a seed replays.

use std::collections::VecDeque;
use std::fmt;

use super::world::Place;

/// Points that a failure shows.
const SHOWN: usize = 50;

/// One point.
#[derive(Clone, Debug)]
pub struct Step {
    pub what: &'static str,
    pub place: Option<Place>,
    pub detail: String,
}

impl Step {
    pub fn new(what: &'static str, place: Option<Place>) -> Step {
        Step { what, place, detail: String::new() }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.what, self.detail)?;
        self.place.map_or(Ok(()), |place| write!(f, "  {}:{}", place.file(), place.line()))
    }
}

/// What has happened.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    digest: u64,
    last: VecDeque<(u64, usize, Step)>,
    points: u64,
    /// Whether each is told at once.
    aloud: bool,
}

impl Trace {
    pub fn new(aloud: bool) -> Trace {
        Trace { aloud, ..Trace::default() }
    }

    pub fn note(&mut self, rank: usize, step: Step) {
        self.points += 1;
        self.digest_of(&rank.to_le_bytes());
        self.digest_of(step.what.as_bytes());
        self.digest_of(step.detail.as_bytes());
        if let Some(place) = step.place {
            self.digest_of(&u64::from(place.line()).to_le_bytes());
        }
        if self.aloud {
            println!("{:6}  rank {rank}  {step}", self.points);
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back((self.points, rank, step));
    }

    pub fn note_event(&mut self, what: &dyn fmt::Debug) {
        let step = Step { what: "!", place: None, detail: format!("{what:?}") };
        self.note(usize::MAX, step);
    }

    /// FNV-1a, 64 bits.
    fn digest_of(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// A digest of all points.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The last points, a line each.
    pub fn tail(&self) -> String {
        let line = |(number, rank, step): &(u64, usize, Step)| match *rank {
            usize::MAX => format!("{number:6}  {step}\n"),
            rank => format!("{number:6}  rank {rank}  {step}\n"),
        };
        self.last.iter().map(line).collect()
    }
}
