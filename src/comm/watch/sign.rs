//! What ranks ask and tell each other while they watch: messages of fixed lengths, sealed by a
//! digest with a token that only the ranks of this run have. Little-endian, as all ranks are.

use bytemuck::{Pod, Zeroable};
use sha2::{Digest, Sha256};

/// Known to the ranks of one run only. It never travels outside MPI.
pub(crate) type Token = [u8; 16];
/// Drawn for each question, so that an answer belongs to one.
pub(crate) type Nonce = [u8; 16];

pub(crate) const SEAL: usize = 32;
pub(crate) const QUESTION: usize = size_of::<Question>() + SEAL;
pub(crate) const ANSWER: usize = size_of::<Sign>() + SEAL;

/// Why a rank is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u32)]
pub(crate) enum Why {
    /// To know it, and what it is at.
    Greeting = 1,
    /// A rank waits, or gets on with nothing, and looks after all; of a rank below it that asks it
    /// to do so.
    Looking = 2,
    /// What it last knew of another rank.
    Recalling = 3,
    /// The run is over: be silent and leave.
    Ending = 4,
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Question {
    pub(crate) nonce: Nonce,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) why: u32,
    /// Of a recalling the other rank, of an ending the exit code.
    pub(crate) about: u32,
}

/// How long the call under way may take.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u32)]
pub(crate) enum Slow {
    /// As long as any work.
    No = 0,
    /// It is a sync or a rename: told, not ended.
    Sync = 1,
    /// It has said for how long it may be silent, which isn't over.
    Foretold = 2,
}

/// What a rank tells of itself. Times are in milliseconds and leave out pauses of its process.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Sign {
    pub(crate) rank: u32,
    pub(crate) pid: u32,
    /// Signs that it has given so far.
    pub(crate) beat: u64,
    /// Pieces of work done.
    pub(crate) progress: u64,
    /// Time since the last of them.
    pub(crate) still: u64,
    /// Time in the collective that it waits in, and one; 0 while it works.
    pub(crate) waiting: u64,
    /// Bytes that it gives and gets there.
    pub(crate) bytes: u64,
    /// How long the call under way has taken.
    pub(crate) call_time: u64,
    /// `Slow`.
    pub(crate) slow: u32,
    pub(crate) unused: u32,
    phase: [u8; 176],
    call: [u8; 160],
    place: [u8; 80],
}

/// Puts a text where there is room for a part of it: of a long one its end, where a path says most.
fn put(text: &str, room: &mut [u8]) {
    room.fill(0);
    let mut from = text.len().saturating_sub(room.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let part = &text.as_bytes()[from..];
    room[..part.len()].copy_from_slice(part);
}

fn text_of(room: &[u8]) -> String {
    let end = room.iter().position(|byte| *byte == 0).unwrap_or(room.len());
    // Control characters from another process don't reach the terminal.
    String::from_utf8_lossy(&room[..end]).replace(char::is_control, "?")
}

impl Sign {
    /// A sign without texts or times.
    pub(crate) fn of(rank: usize, pid: u32) -> Sign {
        Sign { rank: rank as u32, pid, ..Sign::zeroed() }
    }

    /// What it is at; what is too long loses its end, since events begin with their step.
    pub(crate) fn set_phase(&mut self, text: &str) {
        let end = (0..=text.len().min(self.phase.len())).rev();
        let end = end.into_iter().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        put(&text[..end], &mut self.phase);
    }

    /// `opening /data/a.h5`
    pub(crate) fn set_call(&mut self, text: &str) {
        put(text, &mut self.call);
    }

    /// Where it waits.
    pub(crate) fn set_place(&mut self, text: &str) {
        put(text, &mut self.place);
    }

    pub(crate) fn phase(&self) -> String {
        text_of(&self.phase)
    }

    pub(crate) fn call(&self) -> String {
        text_of(&self.call)
    }

    pub(crate) fn place(&self) -> String {
        text_of(&self.place)
    }

    pub(crate) fn waits(&self) -> bool {
        self.waiting > 0
    }
}

fn digest(token: &Token, nonce: &Nonce, body: &[u8]) -> [u8; SEAL] {
    let digest = Sha256::new().chain_update(token).chain_update(nonce);
    digest.chain_update((body.len() as u64).to_le_bytes()).chain_update(body).finalize().into()
}

/// A message with its seal behind it.
pub(crate) fn sealed<T: Pod>(token: &Token, nonce: &Nonce, message: &T) -> Vec<u8> {
    let body = bytemuck::bytes_of(message);
    let mut whole = body.to_vec();
    whole.extend(digest(token, nonce, body));
    whole
}

/// The message, if its seal is right.
pub(crate) fn opened<T: Pod>(token: &Token, nonce: &Nonce, whole: &[u8]) -> Option<T> {
    if whole.len() != size_of::<T>() + SEAL {
        return None;
    }
    let (body, seal) = whole.split_at(size_of::<T>());
    // All bytes are compared, so that time tells nothing.
    let expected = digest(token, nonce, body);
    let apart = expected.iter().zip(seal).fold(0, |sum, (a, b)| sum | (a ^ b));
    (apart == 0).then(|| bytemuck::pod_read_unaligned(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_token_is_believed() {
        let (token, nonce) = ([7; 16], [9; 16]);
        let question = Question { nonce, from: 1, to: 2, why: Why::Looking as u32, about: 0 };
        let whole = sealed(&token, &nonce, &question);
        assert_eq!(whole.len(), QUESTION);
        assert_eq!(opened(&token, &nonce, &whole), Some(question));
        assert_eq!(opened::<Question>(&[8; 16], &nonce, &whole), None);
        assert_eq!(opened::<Question>(&token, &[8; 16], &whole), None);
        assert_eq!(opened::<Sign>(&token, &nonce, &whole), None);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(opened::<Question>(&token, &nonce, &changed), None, "byte {at}");
        }
    }

    #[test]
    fn texts_are_cut_where_they_say_least() {
        let mut sign = Sign::of(3, 44);
        assert_eq!(ANSWER, 512);
        sign.set_phase(&format!("after step {}", "ä".repeat(200)));
        assert!(sign.phase().starts_with("after step ää"));
        let path = format!("reading /{}/z\n.h5", "é".repeat(200));
        sign.set_call(&path);
        assert!(sign.call().ends_with("é/z?.h5"), "{}", sign.call());
        sign.set_place("");
        assert_eq!((sign.place(), sign.waits()), (String::new(), false));
    }
}
