//! What commands that score rows with a model share: their rows, threads and memory.

use std::path::PathBuf;

use super::device::{self, DeviceArgs, Given, RankDevice};
use crate::comm::{Comm, same_on_all};
use crate::cost::budget::room_for_scoring;
use crate::cost::device_memory::room_for_scoring_on_device;
use crate::cost::parts::{Annotating, Way, rows_at_once, way_to_annotate};
use crate::data::Dataset;
use crate::device::Host;
use crate::device::gpu::Gpu;
use crate::error::{Exit, Result};
use crate::flow::home_rows::HomeRows;
use crate::flow::own_rows::Room;
use crate::flow::verify::verify;
use crate::inference::rows::{open_dataset, open_rows};
use crate::launch;
use crate::model::annotator::Annotator;
use crate::partition::{OwnedBlocks, Owners};

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

/// What is needed to score rows part by part.
pub(crate) struct ForParts {
    pub(crate) dataset: Dataset,
    pub(crate) device: RankDevice,
    pub(crate) way: Way,
    /// Where activations may lie that don't fit.
    pub(crate) room: Room,
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
        let (given, threads) = self.device(comm, annotator)?;
        let shape = &annotator.shape;
        let rows = open_rows(comm, annotator, "--data", data)?;
        if self.verify {
            verify(comm, &[rows.dataset()])?;
        }
        let counts = annotator.experts.counts();
        let deal = |blocks: usize| comm.deal(blocks);
        let frame_number = rows.dataset().frame_form().size();
        let scored = (rows.owned(), &deal as &dyn Fn(usize) -> Owners, frame_number);
        let room = room_for_scoring(shape, &counts, threads, scored, self.memory_gib);
        let mut room = comm.agree(room)?;
        if let Some(scratch) = &self.scratch {
            room.scratch.clone_from(scratch);
        }
        *rows.room.borrow_mut() = room;
        let own = (rows.owned(), comm.rank(), frame_number);
        let device = self.keep_to_memory(comm, given, annotator, (threads, own))?;
        comm.use_threads(threads);
        Ok((rows, device))
    }

    /// The same for rows that go part by part, `top` classes of each, in parts of `part_rows`.
    ///
    /// # Errors
    /// As `prepare`.
    pub(crate) fn prepare_parts(
        &self,
        comm: &Comm,
        annotator: &Annotator,
        data: &[String],
        (top, part_rows): (usize, usize),
    ) -> Result<ForParts> {
        let (given, threads) = self.device(comm, annotator)?;
        let (shape, counts) = (&annotator.shape, annotator.experts.counts());
        let dataset = open_dataset(comm, annotator, "--data", data)?;
        if self.verify {
            verify(comm, &[&dataset])?;
        }
        let longest = dataset.shards().iter().map(|shard| shard.rows).max().unwrap_or(0);
        let part_rows = part_rows.min(longest);
        let (experts, frame_number) = (&counts[..], dataset.frame_form().size());
        let annotating = Annotating { shape, experts, threads, top, part_rows, frame_number };
        let deal = |blocks: usize| comm.deal(blocks);
        let way = comm.agree(way_to_annotate(&annotating, &deal, self.memory_gib))?;
        // Ranks of fewer threads have more room, but all go the same way.
        let way = common(comm, way);
        let (blocks, owners) = rows_at_once(&annotating, way, comm.size());
        let rows = OwnedBlocks { blocks: &blocks, owners: &owners };
        let own = (rows, comm.rank(), frame_number);
        let device = self.keep_to_memory(comm, given, annotator, (threads, own))?;
        comm.use_threads(threads);
        let mut room = Room::unlimited();
        if let Some(scratch) = &self.scratch {
            room.scratch.clone_from(scratch);
        }
        Ok(ForParts { dataset, device, way, room })
    }

    /// The device of this rank, and its threads. Collective.
    fn device(&self, comm: &Comm, annotator: &Annotator) -> Result<(Given, usize)> {
        let line = format!("--verify = {}\n", self.verify);
        same_on_all(comm, Exit::Launch, "arguments", &line)?;
        let (shape, threads) = (&annotator.shape, launch::threads(self.threads));
        let host = Ok(Host::detected(threads, shape.epsilon));
        Ok((device::chosen(comm, self.device.told(), host, shape.epsilon)?, threads))
    }

    /// The device of this rank, its memory divided, which it says. Collective.
    fn keep_to_memory(
        &self,
        comm: &Comm,
        given: Given,
        annotator: &Annotator,
        (threads, own): (usize, (OwnedBlocks, usize, usize)),
    ) -> Result<RankDevice> {
        let counts = annotator.experts.counts();
        let room = |gpu: &Gpu| {
            let memory = (self.device.memory_gib(), gpu.queue().limit());
            room_for_scoring_on_device(&annotator.shape, &counts, threads, own, memory)
        };
        let mut given = given.where_it_fits(comm, |gpu| room(gpu).map(drop));
        let divided = match &mut given.device {
            RankDevice::Host(_) => Ok(()),
            RankDevice::Gpu(gpu) => room(gpu).map(|room| gpu.keep_to(room)),
        };
        comm.agree(divided)?;
        self.device.announce(&given);
        Ok(given.device)
    }
}

/// What all ranks can do: waves where one has to, and the fewest parts.
fn common(comm: &Comm, way: Way) -> Way {
    let words = match way {
        Way::Whole { .. } => [0, u64::MAX, 1],
        Way::Waves { parts, in_memory } => [1, parts as u64, u64::from(in_memory)],
    };
    let all = comm.all_gather(&[words]);
    if all.iter().all(|words| words[0] == 0) {
        return way;
    }
    let parts = all.iter().map(|words| words[1]).min().expect("a rank") as usize;
    Way::Waves { parts, in_memory: all.iter().all(|words| words[2] == 1) }
}
