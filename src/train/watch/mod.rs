//! Watching a run: its heartbeat, and whether what ranks hold alike is alike.

mod heartbeat;
mod replicas;

pub(crate) use heartbeat::Heartbeat;
pub(crate) use replicas::{BlockDigest, differing, differing_blocks, digest, word_of};
