//! The rows of a dataset at home: cut into row blocks once, read block by block by the rank that
//! owns them, and taken to activations there.

use std::ops::Range;

use super::rows_travel::OwnRows;
use crate::comm::Comm;
use crate::data::{Dataset, Reader, ShardInfo, find};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::model::annotator::Annotator;
use crate::model::matrix::Matrix;
use crate::model::mixture::Kernel;
use crate::parallel::work_off;
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

/// A dataset cut into row blocks, of which this rank owns a run.
pub struct HomeRows {
    dataset: Dataset,
    /// All rows, cut; never by the number of ranks.
    pub blocks: Blocks,
    /// The row blocks that this rank owns.
    pub own: Range<usize>,
    size: usize,
}

impl HomeRows {
    pub fn new(comm: &Comm, dataset: Dataset, row_blocks: usize) -> HomeRows {
        let blocks = Blocks::even(dataset.rows(), row_blocks);
        let own = owned(blocks.len(), comm.size(), comm.rank());
        HomeRows { dataset, blocks, own, size: comm.size() }
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

    /// Features and labels of the rows of one block.
    pub fn read(&self, reader: &mut Reader, block: usize) -> Result<(Matrix, Labels)> {
        read_rows(reader, self.dataset.width(), self.blocks.block(block))
    }

    /// The activations and labels of this rank's rows.
    pub fn activations(&self, annotator: &Annotator, kernels: &mut [Kernel]) -> Result<OwnRows> {
        let mut activations = Matrix::zeros(self.own_rows().len(), annotator.layers.outputs());
        let mut labels = Labels::new();
        let mut reader = self.dataset.reader();
        let stride = activations.stride();
        let mut rest = &mut activations.data[..];
        let blocks: Vec<usize> = self.own.clone().collect();
        for turn in blocks.chunks(2 * kernels.len()) {
            let mut items = Vec::new();
            for block in turn {
                let (features, block_labels) = self.read(&mut reader, *block)?;
                labels.extend(&block_labels);
                let (here, after) = rest.split_at_mut(features.rows() * stride);
                rest = after;
                items.push((features, here));
            }
            work_off(
                kernels,
                items,
                |kernel, (features, here)| {
                    let tape = annotator.forward(kernel.gemm(), features);
                    here.copy_from_slice(&tape.output().data);
                },
                &mut || (),
            );
        }
        Ok(OwnRows { rows: self.own_rows(), activations, labels })
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
