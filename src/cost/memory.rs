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

use super::column::InColumn;
use super::grid::NETWORK;
use super::network;
use super::ranks::Ranks;
use crate::comm::SEAL;
use crate::device::Dropout;
use crate::device::slices::vectors_of;
use crate::flow::experts_travel::AHEAD;
use crate::flow::home_rows::{FRAME_ROWS_AT_ONCE, ROWS_AT_ONCE};
use crate::flow::own_rows::SCORES_MAX;
use crate::inference::scores::{TOP, wave_rows};
use crate::job::Job;
use crate::kernel::matrix::stride_of;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::vector::LANES;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::model::features::{FRAMES_MAX, TILE_FRAMES};
use crate::optim::Solver;
use crate::partition::{Blocks, Columns, groups};

const FLOAT: usize = size_of::<f32>();
/// Numbers of scores of a class block that are held at once under a limit: 4 MiB.
const SCORES_LIMITED: usize = 1 << 20;
/// Bytes of a record beside its numbers: its seal, what its part says of it, and some labels.
const ROW_RECORD: usize = SEAL + 8 + 16;
/// Bytes by which a row is planned in three windows, and found in one.
const ROW_PLANS: usize = 3 * (8 + 4) + 12;

/// What a phase takes beside activations at rest, and whose activations rest meanwhile.
pub(super) struct PhaseBytes {
    pub(super) bytes: usize,
    pub(super) train: bool,
    pub(super) validation: bool,
}

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
}

/// Sizes that the formulas are made of.
pub(super) struct Sizes {
    threads: usize,
    /// Whether there are several ranks.
    several: bool,
    /// Weights of one rank's class blocks, in bytes: of the pretrained mixtures and the large ones.
    small: usize,
    pub(super) large: usize,
    /// What the expert step holds of class blocks that the ranks of a column have between them.
    apart: Option<InColumn>,
    /// The largest class block, in bytes, and its classes and columns of logits and losses.
    block: usize,
    classes: usize,
    columns: usize,
    /// Shared layers, in bytes.
    shared: usize,
    /// Bytes of a row's activations, features and tape.
    pub(super) activations: usize,
    features: usize,
    pub(super) tape: usize,
    /// Bytes of the frames that a row gives to a mini-batch; as `features` for videos.
    sampled: usize,
    /// Bytes of the frames that pass the frame network at once.
    frame_tile: usize,
    /// Rows that are read at once.
    piece: usize,
    /// Rows of all ranks, of a rank and of the longest row block.
    all_rows: usize,
    pub(super) rows: usize,
    pub(super) row_block: usize,
    /// Rows of the groups that a rank runs in pretraining.
    group_rows: usize,
    /// Blocks of one rank.
    pub(super) row_blocks: usize,
    class_blocks: usize,
    /// Those on their way at once in the shared step.
    pub(super) ahead: usize,
    pub(super) validation_rows: usize,
    /// Numbers of scores of a class block that are held at once.
    pub(super) scores_max: usize,
}

/// Class blocks, and who owns which.
pub(super) struct ClassBlocks {
    layouts: Vec<Layout>,
    columns: Columns,
}

impl ClassBlocks {
    pub(super) fn new(
        shape: &Shape,
        experts: &[usize],
        deal: &dyn Fn(&[Layout]) -> Columns,
    ) -> ClassBlocks {
        let layouts = layouts(experts, shape.dummy, shape.outputs(), shape.class_blocks);
        ClassBlocks { columns: deal(&layouts), layouts }
    }

    /// Blocks on their way at once past all rows, on so many ranks: the same on all of them.
    fn ahead(&self, rows: usize, ranks: usize) -> usize {
        let all: usize = self.layouts.iter().map(Layout::parameters).sum();
        let parameters = all / self.layouts.len().max(1);
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

fn bytes(layouts: &[Layout]) -> usize {
    layouts.iter().map(Layout::parameters).sum::<usize>() * FLOAT
}

/// Partial sums that a rank holds of `leaves` leaves of an ordered sum.
fn tree(leaves: usize) -> usize {
    leaves.max(1).ilog2() as usize + 1
}

impl Sizes {
    /// The sizes of `rank`; `small` and `large` are the class blocks while pretraining and in the
    /// expert step.
    pub(super) fn of(
        conditions: Conditions,
        shape: &Shape,
        (small, large): (&ClassBlocks, &ClassBlocks),
        ranks: &Ranks,
        rank: usize,
    ) -> Sizes {
        let layers = shape.shared_layers();
        let all = || small.layouts.iter().chain(&large.layouts);
        let most = |of: &dyn Fn(&Layout) -> usize| all().map(of).max().unwrap_or(0);
        let rows = ranks.train;
        let row_block = (0..rows.blocks.len()).map(|block| rows.blocks.block(block).len()).max();
        let groups = Blocks::even(rows.blocks.len(), conditions.groups);
        let own_groups = (ranks.deal_small)(groups.len()).run(rank);
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
            block: most(&Layout::parameters) * FLOAT,
            classes: most(&|layout| layout.classes.len()),
            columns: most(&|layout| layout.columns() + layout.groups.len() * LANES),
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
            group_rows: rows.blocks.run(groups.run(own_groups)).len(),
            row_block: row_block.unwrap_or(0),
            row_blocks: rows.owners.run(rank).len(),
            class_blocks: [small, large]
                .map(|blocks| blocks.columns.owners.run(rank).len())
                .into_iter()
                .max()
                .unwrap_or(0),
            ahead: large.ahead(rows.blocks.items(), rows.owners.ranks()),
            validation_rows: ranks.validation.map_or(0, |rows| rows.items(rank)),
            scores_max: if conditions.limited { SCORES_LIMITED } else { SCORES_MAX },
        }
    }

    /// Runs of `rows` rows in the making: being read (twice, as it lies and in strides), waiting,
    /// and on each thread with its tape.
    fn read_ahead(&self, depth: usize, rows: usize) -> usize {
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

    /// What pretraining learns with, while rows pass and while it is validated.
    fn pretrained(&self, job: &Job) -> usize {
        let groups = groups(job.pretrain.batch, job.pretrain.groups);
        5 * self.small + (7 + tree(groups)) * self.shared
    }

    fn pretrain(&self, job: &Job) -> usize {
        let batch = job.pretrain.batch.min(self.all_rows);
        let own = batch.min(self.group_rows);
        let sums = self.threads + tree(self.class_blocks) + 2;
        self.pretrained(job)
            + self.kernels()
            + self.threads * (self.shared + self.block)
            + own * (3 * self.sampled + self.tape + self.activations)
            + batch * self.activations * sums
            + self.group_rows.min(8 * batch) * self.sampled
    }

    /// What the expert step learns with: weights, their average, the solver's state, the best
    /// epoch.
    fn learned(&self, job: &Job) -> usize {
        let state = job.experts.solver.numbers();
        let average = usize::from(job.experts.averaging > 0.0);
        if let Some(column) = &self.apart {
            let learned = match job.experts.solver {
                Solver::FullBatch(_) => column.bytes_of_searches(state, self.block),
                Solver::MiniBatch(_) => column.bytes(state + average, self.block),
            };
            let stopping = usize::from(job.experts.class_patience > 0) * column.weights;
            let best = usize::from(job.experts.patience > 0) * self.large;
            return learned + stopping + best;
        }
        (1 + average + state + usize::from(job.experts.watched())) * self.large
    }

    /// Rows of a window of the expert step.
    fn window(&self, job: &Job) -> usize {
        let batches = (job.experts.window / job.experts.batch).max(1);
        (batches * job.experts.batch).min(self.all_rows)
    }

    /// Rows of a window that one rank holds: its share, or where rows pass as they lie all of them.
    pub(super) fn own_part(&self, job: &Job) -> usize {
        match job.experts.solver {
            Solver::FullBatch(_) => self.window(job).min(self.rows),
            Solver::MiniBatch(_) => (self.window(job) * self.rows).div_ceil(self.all_rows.max(1)),
        }
    }

    /// A window in order, and where ranks are several one that has come and one that comes, as
    /// records, with its own part of that; and what windows are planned with.
    fn windows(&self, job: &Job) -> usize {
        let (window, own) = (self.window(job), self.own_part(job));
        let here = window * (self.activations + ROW_PLANS);
        match self.several {
            false => here + own * self.activations,
            true => {
                let numbers =
                    Dropout::expected_words(job.experts.dropout, self.activations / FLOAT);
                here + (2 * window + own) * (numbers * FLOAT + ROW_RECORD)
            }
        }
    }

    fn expert_step(&self, job: &Job, kept: usize) -> usize {
        let sums = vectors_of(job.experts.row_slices);
        let sums = match job.experts.solver {
            // They are counted among what it learns with.
            _ if self.apart.is_some() => 0,
            Solver::FullBatch(_) if sums == 1 => 0,
            Solver::FullBatch(_) => sums * self.large,
            Solver::MiniBatch(_) => self.threads * sums * self.block,
        };
        let learning = self.learned(job) + sums;
        let drawn = match job.experts.negatives < 1.0 {
            true => self.threads * job.experts.batch.min(self.all_rows) * self.activations,
            false => 0,
        };
        let windows = drawn + self.windows(job);
        kept + self.kernels() + (learning + windows).max(self.large + self.forward())
    }

    /// Without the wave.
    fn shared_step(&self) -> usize {
        let shared = self.threads + 9 + tree(self.row_blocks);
        2 * self.large
            + (self.ahead + 2) * self.block
            + self.kernels()
            + shared * self.shared
            + self.read_ahead(8 * self.threads, self.row_block.min(self.piece))
    }

    /// Beside the model.
    pub(super) fn scoring(&self) -> usize {
        let wave = wave_rows(self.scores_max, self.classes, self.threads).min(self.validation_rows);
        let scores = self.classes * FLOAT + size_of::<f64>();
        let lists = TOP * (size_of::<(f32, u32)>() + 48);
        let passing = (AHEAD + 1) * self.block + wave * scores + self.validation_rows * lists;
        self.kernels() + passing.max(self.forward())
    }

    /// Labels of rows, and seals of their activations.
    pub(super) fn labels(&self) -> usize {
        (self.rows + self.validation_rows) * (32 + SEAL)
    }

    /// All phases but the shared step, and what that takes beside its wave, if there is one.
    pub(super) fn phases(&self, job: &Job, validation: bool) -> (Vec<PhaseBytes>, Option<usize>) {
        let rounds = job.rounds.count > 0;
        let kept = self.small.max(if job.rounds.count > 1 { self.large } else { 0 });
        let labels = self.labels();
        let mut phases = Vec::new();
        let mut phase = |on: bool, bytes: usize, train: bool, validation: bool| {
            if on {
                phases.push(PhaseBytes { bytes: bytes + labels, train, validation });
            }
        };
        let pretrain = job.pretrain.epochs > 0;
        let watched = validation && job.experts.watched();
        phase(pretrain, self.pretrain(job), false, false);
        phase(pretrain && validation, self.pretrained(job) + self.scoring(), false, true);
        phase(rounds, self.expert_step(job, kept), true, false);
        phase(rounds && watched, kept + self.learned(job) + self.scoring(), true, true);
        phase(rounds && validation, kept + self.large + self.scoring(), false, true);
        let shared = rounds && job.shared.iterations > 0 && self.shared > 0;
        (phases, shared.then(|| self.shared_step() + labels))
    }
}
