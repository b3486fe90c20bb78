//! The thread that answers: it looks at its own rank four times a second and tells whoever asks
//! with the run's token how that rank is. It waits for nothing but questions.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};

use super::shared::{Shared, TICK};
use super::sign::{QUESTION, Question, Token, Why, opened, sealed};
use crate::comm::ending;
use crate::system;

/// Connections at once; more wait in the system.
const OPEN_MAX: usize = 64;
/// What a question may take to arrive: strangers who connect and say nothing have no longer.
const QUESTION_LIMIT: Duration = Duration::from_secs(2);
/// What a rank that is told of the end gets for being ended by its launcher.
const LEAVES_AFTER: Duration = Duration::from_millis(2500);

struct Guest {
    socket: OwnedFd,
    came: Instant,
    got: Vec<u8>,
}

pub(crate) struct Answerer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) token: Token,
    /// None where ranks can't reach each other.
    pub(crate) listener: Option<OwnedFd>,
    /// Called four times a second.
    pub(crate) each_tick: fn(),
}

impl Answerer {
    /// Answers for ever.
    pub(crate) fn run(self) {
        let mut guests: Vec<Guest> = Vec::new();
        let (mut ticked, mut exhausted) = (Instant::now(), false);
        loop {
            let left = TICK.saturating_sub(ticked.elapsed());
            let ready = self.wait(&guests, exhausted, left);
            if ticked.elapsed() >= TICK {
                (ticked, exhausted) = (Instant::now(), false);
                self.shared.look_at_own();
                (self.each_tick)();
            }
            let before = std::mem::take(&mut guests);
            for (mut guest, ready) in before.into_iter().zip(ready) {
                let stays = guest.came.elapsed() < QUESTION_LIMIT;
                if stays && (!ready || self.listen_to(&mut guest)) {
                    guests.push(guest);
                }
            }
            exhausted |= self.let_in(&mut guests).is_err();
        }
    }

    /// Waits for guests or their words; tells which of them have said something.
    fn wait(&self, guests: &[Guest], exhausted: bool, time: Duration) -> Vec<bool> {
        let mut fds: Vec<PollFd> =
            guests.iter().map(|guest| PollFd::new(&guest.socket, PollFlags::IN)).collect();
        // While there are no more file handles the door would never be quiet.
        let open = self.listener.as_ref().filter(|_| !exhausted && guests.len() < OPEN_MAX);
        fds.extend(open.map(|listener| PollFd::new(listener, PollFlags::IN)));
        let _ = poll(&mut fds, Some(&time.try_into().expect("a tick")));
        fds[..guests.len()].iter().map(|fd| !fd.revents().is_empty()).collect()
    }

    /// Lets in who waits at the door.
    ///
    /// # Errors
    /// There is no file handle for a guest.
    fn let_in(&self, guests: &mut Vec<Guest>) -> Result<(), Errno> {
        let Some(listener) = &self.listener else { return Ok(()) };
        while guests.len() < OPEN_MAX {
            match system::accept(listener) {
                Ok(socket) => guests.push(Guest { socket, came: Instant::now(), got: Vec::new() }),
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    return Err(error);
                }
                // Nobody, or one who has gone again.
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Takes in what a guest says; false once there is nothing more to say.
    fn listen_to(&self, guest: &mut Guest) -> bool {
        let mut piece = [0; QUESTION];
        match read(&guest.socket, &mut piece[..QUESTION - guest.got.len()]) {
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Ok(0) | Err(_) => return false,
            Ok(count) => guest.got.extend(&piece[..count]),
        }
        if guest.got.len() < QUESTION {
            return true;
        }
        // The nonce comes first; no text is looked at before the seal.
        let nonce = guest.got[..size_of_val(&[0u8; 16])].try_into().expect("sixteen bytes");
        let question = opened::<Question>(&self.token, &nonce, &guest.got);
        if let Some(question) = question.filter(|question| question.to == self.shared.rank as u32) {
            self.answer(guest, &question);
        }
        false
    }

    fn answer(&self, guest: &Guest, question: &Question) {
        let mut sign = self.shared.sign();
        if question.why == Why::Looking as u32 {
            self.shared.was_looked_at(question.from as usize);
        }
        if question.why == Why::Recalling as u32 {
            // Nothing known: this rank's own sign, which is of another rank than was asked for.
            sign = self.shared.last_of(question.about as usize).unwrap_or(sign);
        }
        // A new connection has room for all of it; who asks may be gone.
        let _ = write(&guest.socket, &sealed(&self.token, &question.nonce, &sign));
        if question.why == Why::Ending as u32 {
            ending::leave_within(LEAVES_AFTER, question.about as i32);
        }
    }
}
