//! The rows of a dataset at home: cut into row blocks once, read block by block by the rank that
//! owns them, and taken to activations there.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::own_rows::{OwnRows, Room};
use crate::comm::Comm;
use crate::data::{Dataset, Reader, ShardInfo, find};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::matrix::Matrix;
use crate::model::mixture::Kernel;
use crate::parallel::{Ahead, work_off};
use crate::partition::{Blocks, owned};

/// Opens the shards that `patterns` name; files are divided over ranks, and all errors are common.
pub fn open(comm: &Comm, patterns: &[String]) -> Result<Dataset> {
    let paths = comm.agree(find(patterns))?;
    let mine = owned(paths.len(), comm.size(), comm.rank());
    let (mut infos, mut errors) = (Vec::new(), Vec::new());
    for path in &paths[mine] {
        match ShardInfo::read(path) {
            Ok(info) => infos.push(info),
            Err(error) => errors.push(error),
        }
    }
    comm.agree(Error::all(errors))?;
    let text = serde_json::to_vec(&infos).expect("shard descriptions are plain data");
    let all = comm.all_gather_any(&text).into_iter().flat_map(|text| {
        let infos: Vec<ShardInfo> = serde_json::from_slice(&text).expect("as they were written");
        infos
    });
    comm.agree(Dataset::new(all.collect()))
}

/// Rows that a thread takes to activations at once: row blocks of large datasets are too long to
/// be read ahead whole.
pub const ROWS_AT_ONCE: usize = 480;

/// A dataset cut into row blocks, of which this rank owns a run.
pub struct HomeRows {
    dataset: Dataset,
    /// All rows, cut; never by the number of ranks.
    pub blocks: Blocks,
    /// The row blocks that this rank owns.
    pub own: Range<usize>,
    size: usize,
    /// Where activations of these rows may lie.
    pub room: RefCell<Room>,
    wait_seconds: Cell<f64>,
}

/// Features and labels of the rows of one block, read ahead.
pub type ReadRows = Result<(Matrix, Labels)>;

impl HomeRows {
    pub fn new(comm: &Comm, dataset: Dataset, row_blocks: usize) -> HomeRows {
        let blocks = Blocks::even(dataset.rows(), row_blocks);
        let own = owned(blocks.len(), comm.size(), comm.rank());
        let (size, room) = (comm.size(), Room::unlimited());
        HomeRows {
            dataset,
            blocks,
            own,
            size,
            room: RefCell::new(room),
            wait_seconds: Cell::new(0.0),
        }
    }

    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Number of rows of all ranks.
    pub fn rows(&self) -> usize {
        self.blocks.items()
    }

    /// The rows that this rank owns.
    pub fn own_rows(&self) -> Range<usize> {
        self.blocks.run(self.own.clone())
    }

    /// The row blocks of each rank.
    pub fn block_runs(&self) -> Vec<Range<usize>> {
        (0..self.size).map(|rank| owned(self.blocks.len(), self.size, rank)).collect()
    }

    /// The rows of each rank.
    pub fn row_runs(&self) -> Vec<Range<usize>> {
        self.block_runs().into_iter().map(|run| self.blocks.run(run)).collect()
    }

    /// Number of rows of all ranks that have each class.
    ///
    /// # Errors
    /// What reading labels gives, common to all ranks.
    pub fn positives(&self, comm: &Comm) -> Result<Vec<u64>> {
        let mut labels = Labels::new();
        comm.agree(self.dataset.reader().labels(self.own_rows(), &mut labels))?;
        let mut positives = vec![0; self.dataset.class_count()];
        labels.classes().iter().for_each(|class| positives[*class as usize] += 1);
        comm.sum(&mut positives);
        Ok(positives)
    }

    /// Seconds that this rank has waited for rows so far.
    pub fn wait_seconds(&self) -> f64 {
        self.wait_seconds.get()
    }

    /// Adds seconds of waiting for these rows.
    pub fn waited(&self, seconds: f64) {
        self.wait_seconds.set(self.wait_seconds.get() + seconds);
    }

    /// The rows of each of this rank's blocks in order, while a thread reads the next ones.
    pub fn read_ahead(&self, depth: usize) -> Ahead<ReadRows> {
        self.read_runs_ahead(depth, usize::MAX)
    }

    /// As `read_ahead`, no more than `rows_max` rows of a block at once.
    fn read_runs_ahead(&self, depth: usize, rows_max: usize) -> Ahead<ReadRows> {
        let (dataset, mut reader) = (self.dataset.clone(), self.dataset.reader());
        let blocks: Vec<Range<usize>> =
            self.own.clone().map(|block| self.blocks.block(block)).collect();
        let mut runs = blocks.into_iter().flat_map(move |block| {
            let end = block.end;
            block.step_by(rows_max).map(move |from| from..end.min(from.saturating_add(rows_max)))
        });
        Ahead::new(depth, move || {
            runs.next().map(|run| read_rows(&mut reader, dataset.width(), run))
        })
    }

    /// The activations and labels of this rank's rows.
    ///
    /// # Errors
    /// What reading rows gives, and keeping their activations.
    pub fn activations(&self, annotator: &Annotator, kernels: &mut [Kernel]) -> Result<OwnRows> {
        let mut own =
            OwnRows::new(self.own_rows(), annotator.layers.outputs(), &self.room.borrow())?;
        let mut rows = self.read_runs_ahead(kernels.len(), ROWS_AT_ONCE);
        loop {
            let turn = rows.by_ref().take(kernels.len()).collect::<Result<Vec<_>>>()?;
            if turn.is_empty() {
                break;
            }
            let mut places: Vec<(Matrix, Labels, Option<Matrix>)> =
                turn.into_iter().map(|(features, labels)| (features, labels, None)).collect();
            work_off(
                kernels,
                places.iter_mut().collect(),
                |kernel, (features, _, place)| {
                    let features = std::mem::take(features);
                    *place = Some(annotator.forward(kernel.gemm(), features).into_output());
                },
                &mut || (),
            );
            for (_, labels, activations) in places {
                own.push(&activations.expect("every item was done"), &labels)?;
            }
        }
        self.waited(rows.wait_seconds());
        Ok(own)
    }
}

/// Features [rows][D] and labels of some rows.
pub fn read_rows(
    reader: &mut Reader,
    width: usize,
    rows: Range<usize>,
) -> Result<(Matrix, Labels)> {
    let mut features = vec![0.0; rows.len() * width];
    let mut labels = Labels::new();
    reader.read(rows, &mut features, &mut labels)?;
    Ok((Matrix::from_rows(&features, width), labels))
}
