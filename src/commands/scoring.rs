//! What commands that score rows with a model share: their rows, threads and memory.

use std::path::PathBuf;

use crate::comm::{Comm, same_on_all};
use crate::cost::memory::room_for_scoring;
use crate::data::{Kind, ReadBefore};
use crate::device::Host;
use crate::error::{Error, Exit, Result};
use crate::example::FeaturePart;
use crate::flow::home_rows::HomeRows;
use crate::flow::shards::{open, see, warn_of_unproven};
use crate::flow::verify::verify;
use crate::launch;
use crate::model::annotator::Annotator;

/// How rows are scored; nothing that is computed depends on it.
#[derive(Clone, Debug, clap::Args)]
pub struct Scoring {
    /// Threads of a rank; 0: the cores it may run on.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Memory that a rank may take, in GiB: activations that don't fit go to a scratch file; 0: no
    /// limit.
    #[arg(long, default_value_t = 0.0)]
    memory_gib: f64,
    /// Folder on a disk of the node for that file; default: the system's own.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Reads all shards in full before anything is computed, and checks every byte.
    #[arg(long)]
    verify: bool,
}

/// Blocks that rows are cut into for scoring; nothing that is computed depends on it.
const ROW_BLOCKS: usize = 256;

/// The rows that `data` names, if the model takes them.
///
/// # Errors
/// Exit 4, common to all ranks.
fn rows_for(comm: &Comm, annotator: &Annotator, data: &[String]) -> Result<HomeRows> {
    let dataset = open(comm, "--data", data, &ReadBefore::default())?;
    warn_of_unproven(comm, &[&dataset]);
    let shape = &annotator.shape;
    let (found, expected) = (dataset.parts(), &shape.parts[..]);
    let of_frames = (dataset.kind() == Kind::Frames, shape.pooling.is_some());
    let same = found == expected && dataset.class_count() == shape.class_count;
    let fits = if same && of_frames.0 == of_frames.1 {
        Ok(())
    } else {
        let describe = |parts: &[FeaturePart], of_frames, classes| {
            let parts: Vec<_> =
                parts.iter().map(|part| format!("{}:{}", part.name, part.size)).collect();
            let kind = if of_frames { "frames of " } else { "" };
            format!("{kind}{} and {classes} classes", parts.join(","))
        };
        Err(Error::input(format!(
            "{}: found {}, expected {} as the model has",
            dataset.shards()[0].path.display(),
            describe(found, of_frames.0, dataset.class_count()),
            describe(expected, of_frames.1, shape.class_count)
        )))
    };
    comm.agree(fits)?;
    let dataset = dataset.scaled_by(shape.normalize, shape.standard.as_ref());
    let rows = HomeRows::new(comm, dataset, ROW_BLOCKS);
    see(comm, rows.dataset(), &rows.own_rows())?;
    Ok(rows)
}

impl Scoring {
    /// The rows that `data` names, with room for what scoring makes of them, and the
    /// processor to do it with.
    ///
    /// # Errors
    /// Exit 4: the rows are none that the model takes; exit 9: the memory doesn't suffice; common
    /// to all ranks.
    pub fn prepare(
        &self,
        comm: &Comm,
        annotator: &Annotator,
        data: &[String],
    ) -> Result<(HomeRows, Host)> {
        let line = format!("--verify = {}\n", self.verify);
        same_on_all(comm, Exit::Launch, "arguments", &line)?;
        let rows = rows_for(comm, annotator, data)?;
        if self.verify {
            verify(comm, &[rows.dataset()])?;
        }
        let (shape, threads) = (&annotator.shape, launch::threads(self.threads));
        let counts = annotator.experts.counts();
        let place = (comm.size(), threads);
        let room = room_for_scoring(shape, &counts, place, &rows, self.memory_gib);
        let mut room = comm.agree(room)?;
        if let Some(scratch) = &self.scratch {
            room.scratch.clone_from(scratch);
        }
        *rows.room.borrow_mut() = room;
        comm.use_threads(threads);
        Ok((rows, Host::detected(threads, shape.epsilon)))
    }
}
