//! Ranks agree: on the outcome of work, and whether they are about to compute the same. For that
//! each gives a text of it, and where those differ the rank and the first line that differs are
//! named.

use sha2::{Digest, Sha256};

use super::Comm;
use crate::error::{Error, Exit, Result};

/// Characters of a value that an error shows.
const SHOWN_MAX: usize = 160;

impl Comm {
    /// Makes an outcome common: if any rank has an error, every rank returns the error of the
    /// lowest such rank (a fault before a stop). To be called where all ranks get, with or without
    /// an error of their own. What a group agrees on all ranks have still to agree on.
    #[track_caller]
    pub fn agree<T>(&self, outcome: Result<T>) -> Result<T> {
        let outcome = self.unless_damaged(outcome);
        let code = outcome.as_ref().err().map_or(0, |error| error.exit as u8);
        let codes = self.all_gather(&[code]);
        let fault = |code: &u8| ![0, Exit::Stopped as u8].contains(code);
        let first = codes.iter().position(fault);
        let first = first.or_else(|| codes.iter().position(|code| *code != 0));
        let Some(first) = first else { return outcome };
        let text = outcome.err().map_or(String::new(), |error| error.text);
        let texts = self.all_gather_any(text.as_bytes());
        let text = String::from_utf8_lossy(&texts[first]).into_owned();
        let (exit, rank) = (Exit::from_code(codes[first]), Some(self.in_all(first)));
        Err(Error { exit, text, agreed: self.is_of_all(), rank })
    }
}

impl Comm {
    /// The lines of all ranks, in their order: texts without an end of line. Collective.
    #[track_caller]
    pub(crate) fn all_gather_lines(&self, own: &[String]) -> Vec<String> {
        let all = self.all_gather_any(own.join("\n").as_bytes());
        let texts = all.iter().map(|text| String::from_utf8_lossy(text));
        texts.flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>()).collect()
    }
}

/// Sees whether `text`, lines of `key = value` or of anything else, is the same on all ranks;
/// `what` it says is part of the error. Only digests travel, unless texts differ. Collective.
///
/// # Errors
/// `exit`, common to all ranks, naming the lowest rank that differs from the most, and the first
/// line that differs.
#[track_caller]
pub(crate) fn same_on_all(comm: &Comm, exit: Exit, what: &str, text: &str) -> Result<()> {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let digests = comm.all_gather(&digest);
    let digests: Vec<&[u8]> = digests.chunks_exact(digest.len()).collect();
    let odd = odd_ranks(&digests);
    let Some(first) = odd.first() else { return Ok(()) };
    // The texts may follow from a message that arrived damaged.
    comm.agree(Ok(()))?;
    let most = (0..comm.size()).find(|rank| !odd.contains(rank)).expect("the most agree");
    // Two texts, not all: a list of files may be long, and ranks many.
    let [found, expected] = [*first, most].map(|rank| text_of(comm, rank, text));
    let also = match odd.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    let difference = difference(&found, &expected, most);
    let text = format!("rank {first}{also}: {what}: {difference}");
    Err(Error { agreed: true, ..Error::new(exit, text) })
}

/// The ranks whose digest isn't that of the most; where as many have another, that of the lowest
/// rank counts.
pub(crate) fn odd_ranks<T: PartialEq>(digests: &[T]) -> Vec<usize> {
    // As a rule: what follows compares each with each.
    if digests.windows(2).all(|pair| pair[0] == pair[1]) {
        return Vec::new();
    }
    let alike = |digest: &T| digests.iter().filter(|other| *other == digest).count();
    // The first one of the largest count: `max_by_key` gives the last.
    let Some(most) = digests.iter().rev().max_by_key(|digest| alike(digest)) else {
        return Vec::new();
    };
    (0..digests.len()).filter(|rank| digests[*rank] != *most).collect()
}

/// The text of rank `rank`, on all ranks.
fn text_of(comm: &Comm, rank: usize, own: &str) -> String {
    let mut length = [own.len() as u64];
    comm.broadcast(rank, &mut length);
    let mut bytes = vec![0; length[0] as usize];
    if comm.rank() == rank {
        bytes.copy_from_slice(own.as_bytes());
    }
    comm.broadcast(rank, &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `experts.count: found 4, rank 0 has 2`
fn difference(found: &str, expected: &str, other: usize) -> String {
    let (mut found, mut expected) = (found.lines(), expected.lines());
    let (found, expected) = loop {
        match (found.next(), expected.next()) {
            (found, expected) if found != expected || found.is_none() => break (found, expected),
            _ => {}
        }
    };
    let (found, expected) = (found.unwrap_or("nothing"), expected.unwrap_or("nothing"));
    let (key, found, expected) = match (found.split_once(" = "), expected.split_once(" = ")) {
        (Some((key, found)), Some((same, expected))) if key == same => {
            (format!("{key}: "), found, expected)
        }
        _ => (String::new(), found, expected),
    };
    let alike = found.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count();
    let [found, expected] = [found, expected].map(|value| shown(value, alike));
    format!("{key}found {found}, rank {other} has {expected}")
}

/// What of a long value an error shows: from a little before the character `from` on.
fn shown(value: &str, from: usize) -> String {
    if value.chars().count() <= SHOWN_MAX {
        return value.to_string();
    }
    let skipped = from.saturating_sub(SHOWN_MAX / 4);
    let part: String = value.chars().skip(skipped).take(SHOWN_MAX).collect();
    let before = if skipped > 0 { "..." } else { "" };
    let after = if skipped + SHOWN_MAX < value.chars().count() { "..." } else { "" };
    format!("{before}{part}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::{run_threads, run_threads_limited};

    fn error_of(size: usize, text: impl Fn(usize) -> String + Sync) -> String {
        let found = run_threads_limited(size, 64, |comm| {
            let outcome = same_on_all(comm, Exit::Launch, "job", &text(comm.rank()));
            let error = outcome.expect_err("texts that differ");
            assert!(error.agreed && error.exit == Exit::Launch);
            Ok(error.text)
        });
        let found = found.unwrap();
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
        found[0].clone()
    }

    #[test]
    fn what_is_the_same_is_agreed_in_one_call() {
        let outcome = run_threads(3, |comm| {
            same_on_all(comm, Exit::Launch, "job", "a = 1\nb = 2\n")?;
            Ok(comm.traffic().messages)
        });
        assert_eq!(outcome.unwrap(), [1, 1, 1]);
        same_on_all(&Comm::serial(), Exit::Launch, "job", "").unwrap();
    }

    #[test]
    fn the_rank_and_the_first_line_that_differ_are_named() {
        let job = |count: usize| format!("seed = 1\nexperts.count = {count}\nz = {count}\n");
        let of = |odd: &'static [usize]| move |rank| job(if odd.contains(&rank) { 4 } else { 2 });
        assert_eq!(error_of(2, of(&[1])), "rank 1: job: experts.count: found 4, rank 0 has 2");
        assert_eq!(error_of(3, of(&[0])), "rank 0: job: experts.count: found 4, rank 1 has 2");
        assert_eq!(
            error_of(5, of(&[2, 4])),
            "rank 2 (and 1 more): job: experts.count: found 4, rank 0 has 2"
        );
        let files = |rank| if rank == 2 { "a.h5 9\nc.h5 9" } else { "a.h5 9\nb.h5 7\nc.h5 9" };
        assert_eq!(
            error_of(4, |rank| files(rank).into()),
            "rank 2: job: found c.h5 9, rank 0 has b.h5 7"
        );
        let shorter = |rank| if rank == 1 { "a" } else { "a\nb" };
        assert_eq!(
            error_of(3, |rank| shorter(rank).into()),
            "rank 1: job: found nothing, rank 0 has b"
        );
    }

    #[test]
    fn long_values_are_shown_where_they_differ() {
        let value = |rank: usize| format!("key = {}{rank}{}", "x".repeat(500), "y".repeat(500));
        let text = error_of(2, value);
        assert!(text.contains("xx1yy") && text.contains("xx0yy"), "{text}");
        assert!(text.len() < 400, "{text}");
    }
}
