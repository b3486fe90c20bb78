//! Which program this is, and whether all ranks run the same: a node that still has another build
//! would compute something else.

use std::fs::File;
use std::io;

use sha2::{Digest, Sha256};

use crate::comm::{Comm, odd_ranks, same_on_all};
use crate::error::{Error, Exit, Result};
use crate::human::hex;
use crate::system;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, or "unknown".
pub(crate) const COMMIT: &str = env!("REELSCALE_COMMIT");
const HINT: &str = "the same build of reelscale on all nodes";
/// Digits of a digest that a line shows.
const SHOWN: usize = 16;

/// What ranks tell of the file that they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Executable {
    /// `x86_64`, filled up with zeros.
    architecture: [u8; 16],
    /// SHA-256; zeros where it can't be read.
    digest: [u8; 32],
}

impl Executable {
    /// What runs here, also where the file has been replaced since.
    fn own() -> Executable {
        let mut architecture = [0; 16];
        let name = std::env::consts::ARCH.as_bytes();
        architecture[..name.len()].copy_from_slice(name);
        let read = || {
            let mut digest = Sha256::new();
            io::copy(&mut File::open(system::own_program()?)?, &mut digest)?;
            Ok::<_, io::Error>(digest.finalize().into())
        };
        Executable { architecture, digest: read().unwrap_or_default() }
    }

    fn shown(&self) -> String {
        format!("SHA-256 {}...", &hex(&self.digest)[..SHOWN])
    }
}

/// Sees whether all ranks run the same program: version and commit, and the very same file among
/// those of one architecture. Collective.
///
/// # Errors
/// Exit 3, common to all ranks, naming the rank and what differs.
pub(crate) fn same(comm: &Comm) -> Result<()> {
    if comm.size() == 1 {
        return Ok(());
    }
    let identity = format!("version = {VERSION}\ncommit = {COMMIT}\n");
    same_on_all(comm, Exit::Launch, "program", &identity).map_err(|error| error.hint(HINT))?;
    match difference(&comm.all_gather(&[Executable::own()])) {
        None => Ok(()),
        Some(text) => Err(Error { agreed: true, ..Error::new(Exit::Launch, text).hint(HINT) }),
    }
}

/// The first rank whose file isn't that of the most of its architecture.
fn difference(ranks: &[Executable]) -> Option<String> {
    let known = |rank: &usize| ranks[*rank].digest != [0; 32];
    let differing = |architecture: [u8; 16]| {
        let alike = |rank: &usize| ranks[*rank].architecture == architecture;
        let group: Vec<usize> = (0..ranks.len()).filter(alike).filter(known).collect();
        let digests: Vec<[u8; 32]> = group.iter().map(|rank| ranks[*rank].digest).collect();
        let odd = odd_ranks(&digests);
        let most = (0..group.len()).find(|at| !odd.contains(at))?;
        Some((group[*odd.first()?], group[most]))
    };
    let (odd, most) = ranks.iter().find_map(|rank| differing(rank.architecture))?;
    let [found, expected] = [odd, most].map(|rank| ranks[rank].shown());
    Some(format!("rank {odd}: program: executable: found {found}, rank {most} has {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_compared_among_ranks_of_one_architecture() {
        let of = |architecture: u8, digest: u8| Executable {
            architecture: [architecture; 16],
            digest: [digest; 32],
        };
        let text = |ranks: &[Executable]| difference(ranks).unwrap_or_default();
        assert_eq!(text(&[of(1, 1), of(2, 2), of(1, 1), of(2, 2)]), "");
        assert_eq!(text(&[of(1, 1), of(1, 0), of(1, 1)]), "", "one that can't be read");
        let found = text(&[of(1, 1), of(2, 2), of(1, 1), of(2, 3), of(2, 3)]);
        assert!(found.starts_with("rank 1: program: executable: found SHA-256 0202"), "{found}");
        assert!(found.ends_with("rank 3 has SHA-256 0303030303030303..."), "{found}");
        assert_eq!(Executable::own().digest, Executable::own().digest);
        assert_ne!(Executable::own().digest, [0; 32]);
    }
}
