//! What `reelscale doctor` says of ranks of one node: whether one may read another's memory, as
//! Open MPI copies messages between them. Containers often forbid it; then each message that it
//! tries to copy so is a line "Read -1, expected ..." and goes another way.

use std::io;

use xxhash_rust::xxh3::xxh3_64;

use crate::comm::{Comm, library};
use crate::{report, system};

/// Numbers that a rank leaves for another one to read.
const WORDS: usize = 4;

/// Why this rank can't read the memory of the next one of its node, or of itself where it is alone.
/// Collective.
pub(super) fn look(comm: &Comm) -> Option<String> {
    let marks: Box<[u64; WORDS]> = Box::new([comm.rank() as u64 + 1; WORDS]);
    let node = xxh3_64(report::host().as_bytes());
    let own = [node, std::process::id().into(), (&raw const *marks).expose_provenance() as u64];
    let all = comm.all_gather(&[own]);
    let after = (1..=comm.size()).map(|step| (comm.rank() + step) % comm.size());
    let next = after.into_iter().find(|rank| all[*rank][0] == node).expect("itself, at last");
    let outcome = read(all[next], [next as u64 + 1; WORDS]);
    // The marks stay until all have read them.
    comm.barrier();
    drop(marks);
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
        outcome => outcome.err().map(|error| plain(&error)),
    }
}

fn read([_, process, address]: [u64; 3], expected: [u64; WORDS]) -> io::Result<()> {
    let mut found = [0u64; WORDS];
    system::memory_of(process as u32, address, bytemuck::bytes_of_mut(&mut found))?;
    match found == expected {
        true => Ok(()),
        // Another name space of processes has one of that number.
        false => Err(io::Error::other("it is another process")),
    }
}

/// The error's words without its number.
fn plain(error: &io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_string()
}

/// What is wrong where ranks can't read each other's memory, of which MPI library it is known, and
/// the cure; nothing where the library doesn't try it.
pub(super) fn advice(why: &str) -> Option<String> {
    let library = library().unwrap_or_default();
    let is_set = |name: &str, off: &str| std::env::var(name).is_ok_and(|value| value == off);
    let (older, newer) = ("OMPI_MCA_btl_vader_single_copy_mechanism", "OMPI_MCA_smsc");
    if !library.contains("Open MPI") || is_set(older, "none") || is_set(newer, "^cma") {
        return None;
    }
    let five = library.contains("Open MPI v5") || library.contains("Open MPI v6");
    let option = if five { format!("{newer}=^cma") } else { format!("{older}=none") };
    Some(format!(
        "one rank may not read another's memory ({why}; Docker?), which Open MPI tries and tells \
         with many lines \"Read -1\"; hint: docker run --cap-add=SYS_PTRACE, or the environment \
         variable {option}"
    ))
}
