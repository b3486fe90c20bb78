//! Whether shards are what they were written as, in full, before anything is computed of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::comm::Comm;
use crate::data::{Dataset, ShardInfo, ShardReader};
use crate::error::{Error, Result};
use crate::human::{self, counted};

/// Reads every row of every shard once, each rank its share of the files. Collective.
///
/// # Errors
/// Exit 4, all shards that aren't whole; exit 75 when told to stop; common to all ranks.
pub(crate) fn verify(comm: &Comm, datasets: &[&Dataset]) -> Result<()> {
    let started = Instant::now();
    let shards = datasets.iter().flat_map(|dataset| dataset.shards());
    let shards: BTreeMap<&Path, &ShardInfo> =
        shards.map(|shard| (shard.path.as_path(), shard)).collect();
    let shards: Vec<&ShardInfo> = shards.into_values().collect();
    let mut errors = Vec::new();
    let mut bytes = [0];
    for shard in &shards[comm.deal(shards.len()).own()] {
        if let Err(stopped) = comm.unless_stopped() {
            errors = vec![stopped];
            break;
        }
        bytes[0] += std::fs::metadata(&shard.path).map_or(0, |data| data.len());
        let checked = ShardReader::open(shard).and_then(|mut reader| reader.check_in_full());
        errors.extend(checked.err());
    }
    comm.agree(Error::all(errors))?;
    comm.sum(&mut bytes);
    let (count, bytes) = (counted(shards.len() as u64, "shard"), human::bytes(bytes[0]));
    let seconds = started.elapsed().as_secs_f64();
    log::info!("{count} of {bytes} checked in full in {seconds:.1} s");
    Ok(())
}
