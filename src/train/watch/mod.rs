//! Watching a run: its heartbeat, and whether what ranks hold alike is alike.

mod heartbeat;
mod replicas;

pub use heartbeat::Heartbeat;
pub use replicas::{differing, digest};
