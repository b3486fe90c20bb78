//! What a rank needs of memory, planned before anything is computed (ARCHITECTURE.md, "Memory").
//!
//! Bytes of one rank, for each phase. With W the weights of its class blocks, B the largest class
//! block, S the shared layers, r threads, d and D the strides of activations and features, t the
//! numbers of a row's tape:
//!
//! ```text
//! pretrain     W (weights, two moments, gradient, best so far) + (7 + r + tree) S + B r
//!              + rows of two batches read ahead + batch x d (2 + r + tree)
//! expert step  W (new, kept from before, best epoch or best of classes, solver's state)
//!              + B r tree, or of L-BFGS with several slices W tree
//!              + window x d + records of two windows and of its own part, where ranks are several
//!              + activations at rest, or its part read ahead
//! shared step  W (now, kept) + (2 + blocks on their way) B + (9 + r + tree) S + rows read ahead
//!              + wave x (t + d)
//! scoring      W (now, kept, best epoch) + 3 B + rows x best lists + wave x scores of a block
//!              + activations at rest, or one file of them
//! ```
//!
//! Scoring happens within the steps too, while they hold what they learn with. The tree of a sum
//! over n leaves of a rank, or n slices, holds at most log2(n) + 1 partial sums. Activations that
//! don't fit go to a scratch file; waves take what is left. What libraries take comes on top:
//! MPI's buffers, and of HDF5 up to 4 MiB for each of at most 16 shards that a reader keeps open.
//!
//! Ranks may own runs of any length, or nothing. What all ranks do alike, because waves are
//! exchanges, follows from the rank that has least room.

use std::ops::Range;

use super::column::InColumn;
use super::grid::NETWORK;
use super::network;
use super::ranks::Ranks;
use crate::flow::home_rows::{FRAME_ROWS_AT_ONCE, ROWS_AT_ONCE};
use crate::flow::own_rows::SCORES_MAX;
use crate::kernel::matrix::stride_of;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::vector::LANES;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::model::features::{FRAMES_MAX, TILE_FRAMES};
use crate::partition::{Blocks, Columns};

const FLOAT: usize = size_of::<f32>();
/// Numbers of scores of a class block that are held at once under a limit: 4 MiB.
const SCORES_LIMITED: usize = 1 << 20;

/// What sizes depend on beside model and rows.
#[derive(Clone, Copy)]
pub(super) struct Conditions {
    pub(super) threads: usize,
    /// Frames of a row that pretraining draws; 0: all.
    pub(super) frames_drawn: usize,
    /// Groups of row blocks that give their rows to a mini-batch of pretraining, at most.
    pub(super) groups: usize,
    /// Whether there is a byte budget.
    pub(super) limited: bool,
    /// Rows of the longest row block.
    pub(super) row_block: usize,
}

/// Sizes that the formulas are made of.
pub(super) struct Sizes {
    pub(super) threads: usize,
    /// Whether there are several ranks.
    pub(super) several: bool,
    /// Weights of one rank's class blocks, in bytes: of the pretrained mixtures and the large ones.
    pub(super) small: usize,
    pub(super) large: usize,
    /// What the expert step holds of class blocks that the ranks of a column have between them.
    pub(super) apart: Option<InColumn>,
    /// The largest class block, in bytes, and its classes and columns of logits and losses.
    pub(super) block: usize,
    pub(super) classes: usize,
    columns: usize,
    /// Shared layers, in bytes.
    pub(super) shared: usize,
    /// Bytes of a row's activations, features and tape.
    pub(super) activations: usize,
    pub(super) features: usize,
    pub(super) tape: usize,
    /// Bytes of the frames that a row gives to a mini-batch; as `features` for videos.
    pub(super) sampled: usize,
    /// Bytes of the frames that pass the frame network at once.
    frame_tile: usize,
    /// Rows that are read at once.
    pub(super) piece: usize,
    /// Rows of all ranks, of a rank and of the longest row block.
    pub(super) all_rows: usize,
    pub(super) rows: usize,
    pub(super) row_block: usize,
    /// Rows of the groups that a rank runs in pretraining.
    pub(super) group_rows: usize,
    /// Blocks of one rank.
    pub(super) row_blocks: usize,
    pub(super) class_blocks: usize,
    /// Those on their way at once in the shared step.
    pub(super) ahead: usize,
    pub(super) validation_rows: usize,
    /// Classes whose figures this rank has: all on rank 0.
    pub(super) figures: usize,
    /// Numbers of scores of a class block that are held at once.
    pub(super) scores_max: usize,
}

/// Class blocks, and who owns which.
pub(super) struct ClassBlocks {
    layouts: Vec<Layout>,
    columns: Columns,
    /// Parameters of all of them.
    parameters: usize,
    /// Of the block that has most: parameters, classes, and columns of logits and losses.
    largest: [usize; 3],
}

impl ClassBlocks {
    pub(super) fn new(
        shape: &Shape,
        experts: &[usize],
        deal: &dyn Fn(&[Layout]) -> Columns,
    ) -> ClassBlocks {
        let layouts = layouts(experts, shape.dummy, shape.outputs(), shape.class_blocks);
        let of = |layout: &Layout| {
            let columns = layout.columns() + layout.groups.len() * LANES;
            [layout.parameters(), layout.classes.len(), columns]
        };
        let largest = layouts.iter().map(of).fold([0; 3], larger);
        let parameters = layouts.iter().map(Layout::parameters).sum();
        ClassBlocks { columns: deal(&layouts), layouts, parameters, largest }
    }

    fn classes(&self) -> usize {
        self.layouts.iter().map(|layout| layout.classes.len()).sum()
    }

    /// Blocks on their way at once past all rows, on so many ranks: the same on all of them.
    fn ahead(&self, rows: usize, ranks: usize) -> usize {
        let parameters = self.parameters / self.layouts.len().max(1);
        // Logits, and the gradient of the activations, of a rank's rows.
        let flop = 4.0 * parameters as f64 * (rows / ranks) as f64;
        network::ahead(parameters * FLOAT, flop, ranks, &NETWORK)
    }

    /// Bytes of the weights that a rank owns.
    fn bytes(&self, rank: usize) -> usize {
        bytes(&self.layouts[self.columns.owners.run(rank)])
    }

    /// Bytes of the weights that a column holds.
    pub(super) fn bytes_in_column(&self, column: usize) -> usize {
        bytes(&self.layouts[self.columns.of_column.run(column)])
    }
}

/// Of each number the larger one.
fn larger(one: [usize; 3], other: [usize; 3]) -> [usize; 3] {
    std::array::from_fn(|at| one[at].max(other[at]))
}

fn bytes(layouts: &[Layout]) -> usize {
    layouts.iter().map(Layout::parameters).sum::<usize>() * FLOAT
}

/// Partial sums that a rank holds of `leaves` leaves of an ordered sum.
pub(super) fn tree(leaves: usize) -> usize {
    leaves.max(1).ilog2() as usize + 1
}

impl Sizes {
    /// The sizes of the ranks `which`; `blocks` are the class blocks while pretraining and in the
    /// expert step.
    pub(super) fn of_ranks(
        conditions: Conditions,
        shape: &Shape,
        blocks: (&ClassBlocks, &ClassBlocks),
        ranks: &Ranks,
        which: Range<usize>,
    ) -> Vec<Sizes> {
        let rows = ranks.train.blocks;
        let groups = Blocks::even(rows.len(), conditions.groups);
        let owners = (ranks.deal_small)(groups.len());
        let of = |rank| {
            let group_rows = rows.run(groups.run(owners.run(rank))).len();
            Sizes::of(conditions, shape, blocks, ranks, (rank, group_rows))
        };
        which.map(of).collect()
    }

    fn of(
        conditions: Conditions,
        shape: &Shape,
        (small, large): (&ClassBlocks, &ClassBlocks),
        ranks: &Ranks,
        (rank, group_rows): (usize, usize),
    ) -> Sizes {
        let layers = shape.shared_layers();
        let [block, classes, columns] = larger(small.largest, large.largest);
        let rows = ranks.train;
        let frames = shape.pooling.is_some();
        let features = match frames {
            // As they were stored, of as many frames as a video may have.
            true => FRAMES_MAX * shape.features() * ranks.frame_number,
            false => stride_of(shape.features()) * FLOAT,
        };
        Sizes {
            threads: conditions.threads.max(1),
            several: rows.owners.ranks() > 1,
            small: small.bytes(rank),
            large: large.bytes(rank),
            apart: ranks.grid.and_then(|grid| InColumn::of(grid.0, rank, large)),
            block: block * FLOAT,
            classes,
            columns,
            shared: layers.parameters() * FLOAT,
            activations: stride_of(layers.outputs()) * FLOAT,
            features,
            sampled: match (frames, conditions.frames_drawn) {
                (true, count @ 1..) => count * shape.features() * ranks.frame_number,
                _ => features,
            },
            frame_tile: match frames {
                true => 2 * TILE_FRAMES * layers.frame_tape_width() * FLOAT,
                false => 0,
            },
            piece: if frames { FRAME_ROWS_AT_ONCE } else { usize::MAX },
            tape: layers.tape_width() * FLOAT,
            all_rows: rows.blocks.items(),
            rows: rows.items(rank),
            group_rows,
            row_block: conditions.row_block,
            row_blocks: rows.owners.run(rank).len(),
            class_blocks: [small, large]
                .map(|blocks| blocks.columns.owners.run(rank).len())
                .into_iter()
                .max()
                .unwrap_or(0),
            ahead: large.ahead(rows.blocks.items(), rows.owners.ranks()),
            validation_rows: ranks.validation.map_or(0, |rows| rows.items(rank)),
            figures: if rank == 0 { large.classes() } else { 0 },
            scores_max: if conditions.limited { SCORES_LIMITED } else { SCORES_MAX },
        }
    }

    /// Runs of `rows` rows in the making: being read (twice, as it lies and in strides), waiting,
    /// and on each thread with its tape.
    pub(super) fn read_ahead(&self, depth: usize, rows: usize) -> usize {
        rows * ((depth + 2) * self.features + self.threads * (self.tape + self.features))
    }

    /// Rows on their way to activations.
    pub(super) fn forward(&self) -> usize {
        self.read_ahead(self.threads, self.row_block.min(self.piece).min(ROWS_AT_ONCE))
    }

    /// Logits and losses of a tile and packed numbers, on each thread.
    pub(super) fn kernels(&self) -> usize {
        let tile = (self.columns * 240).max(65_536);
        self.threads * ((tile + 120 * 384) * FLOAT + self.frame_tile)
    }

    /// The largest class block.
    pub(super) fn block(&self) -> usize {
        self.block
    }

    /// A row of a batch on its way past all class blocks: read, and as activations twice, as they
    /// are put end to end.
    pub(super) fn batch_row(&self) -> usize {
        2 * self.features + 2 * self.activations
    }

    /// Scores of the rows of a tile, on each thread.
    pub(super) fn scores_of_tiles(&self) -> usize {
        self.threads * 256 * self.classes * FLOAT
    }
}
