//! What commands that score rows with a model share: their rows, threads and memory.

use std::path::PathBuf;

use super::device::{self, DeviceArgs, RankDevice};
use crate::comm::{Comm, same_on_all};
use crate::cost::budget::room_for_scoring;
use crate::cost::device_memory::room_for_scoring_on_device;
use crate::device::Host;
use crate::error::{Exit, Result};
use crate::flow::home_rows::HomeRows;
use crate::flow::verify::verify;
use crate::inference::rows::open_rows;
use crate::launch;
use crate::model::annotator::Annotator;

/// How rows are scored; nothing that is computed depends on it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Scoring {
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
    #[command(flatten)]
    device: DeviceArgs,
}

impl Scoring {
    /// The rows that `data` names, with room for what scoring makes of them, and the
    /// device to do it with.
    ///
    /// # Errors
    /// Exit 3: the device that is named is missing or refused; exit 4: the rows are none that the
    /// model takes; exit 9: the memory doesn't suffice; common to all ranks.
    pub(crate) fn prepare(
        &self,
        comm: &Comm,
        annotator: &Annotator,
        data: &[String],
    ) -> Result<(HomeRows, RankDevice)> {
        let line = format!("--verify = {}\n", self.verify);
        same_on_all(comm, Exit::Launch, "arguments", &line)?;
        let (shape, threads) = (&annotator.shape, launch::threads(self.threads));
        let host = Ok(Host::detected(threads, shape.epsilon));
        let (mut device, line) = device::chosen(comm, self.device.told(), host, shape.epsilon)?;
        let rows = open_rows(comm, annotator, "--data", data)?;
        if self.verify {
            verify(comm, &[rows.dataset()])?;
        }
        let counts = annotator.experts.counts();
        let deal = |blocks: usize| comm.deal(blocks);
        let room =
            room_for_scoring(shape, &counts, threads, (rows.owned(), &deal), self.memory_gib);
        let mut room = comm.agree(room)?;
        if let Some(scratch) = &self.scratch {
            room.scratch.clone_from(scratch);
        }
        *rows.room.borrow_mut() = room;
        let planned = match &mut device {
            RankDevice::Host(_) => Ok(()),
            RankDevice::Gpu(gpu) => {
                let memory = (self.device.memory_gib(), gpu.queue().limit());
                let own = (rows.owned(), comm.rank());
                let room = room_for_scoring_on_device(shape, &counts, threads, own, memory);
                room.map(|room| gpu.keep_to(room))
            }
        };
        comm.agree(planned)?;
        comm.use_threads(threads);
        self.device.announce(&device, &line);
        Ok((rows, device))
    }
}
