//! `reelscale read-shards`: what this program does when it is started again to read shards without
//! proof, which may crash it or keep it for ever (`data::prove`).

use std::io;

use crate::data::prove;
use crate::error::{Error, Result};

/// From now on shards without proof are read in full by this program, started again. For its
/// `main` alone: another program wouldn't know what it is to do.
pub fn read_shards_by_this_program() {
    prove::start_with(&["--comm", "serial", "read-shards"]);
}

pub(crate) fn run() -> Result<()> {
    prove::serve(io::stdin().lock(), io::stdout())
        .map_err(|error| Error::storage(format!("read-shards: {error}")))
}
