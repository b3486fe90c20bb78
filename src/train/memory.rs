//! What a rank needs of memory, planned before anything is computed (ARCHITECTURE.md, "Memory").
//!
//! Bytes of the rank that has most, for each phase. With W the weights of its class blocks, B the
//! largest class block, S the shared layers, r threads, d and D the strides of activations and
//! features, t the numbers of a row's tape:
//!
//! ```text
//! pretrain     W (weights, two moments, gradient, best so far) + (7 + r + tree) S + B r
//!              + rows of two batches read ahead + batch x d (2 + r + tree)
//! expert step  W (new, kept from before, best epoch with patience, solver's state) + B r
//!              + windows x d (3 and its own part) + activations at rest, or one file of them
//! shared step  W (now, kept) + 3 B + (9 + r + tree) S + rows read ahead + wave x (t + d)
//! scoring      W (now, kept, best epoch) + 2 B + rows x (best lists + scores of a block)
//!              + activations at rest, or one file of them
//! ```
//!
//! The tree of an ordered sum over n leaves of a rank holds at most log2(n) + 1 partial sums.
//! Activations that don't fit go to a scratch file; waves take what is left.

use super::pretrain::GROUPS_MAX;
use crate::error::{Error, Exit, Result};
use crate::flow::home_rows::HomeRows;
use crate::flow::scoring::TOP;
use crate::job::Job;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::model::layout::Layout;
use crate::model::matrix::stride_of;
use crate::optim::Solver;
use crate::partition::owned;

const FLOAT: usize = size_of::<f32>();
const GIB: f64 = (1u64 << 30) as f64;
/// What a wave takes at most where the job sets no limit.
const WAVE_BYTES: usize = 1 << 30;
/// Copies of a class's numbers that an L-BFGS search keeps: point, gradient, direction, places and
/// ten pairs.
const LBFGS_COPIES: usize = 25;

/// The plan of the rank that needs most.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Bytes that a rank may take; `usize::MAX` without a limit.
    pub limit: usize,
    /// Bytes of activations at rest that may lie in memory.
    pub activations_max: usize,
    /// Row blocks of a wave of the shared step.
    pub wave: usize,
    /// Bytes of the phase that takes most.
    pub peak: usize,
    /// Whether activations go to a scratch file.
    pub scratch: bool,
}

/// Sizes that the formulas are made of.
struct Sizes {
    threads: usize,
    /// Weights of one rank's class blocks, in bytes: of the pretrained mixtures and the large ones.
    small: usize,
    large: usize,
    /// The largest class block, in bytes, and its classes and columns.
    block: usize,
    classes: usize,
    columns: usize,
    /// Shared layers, in bytes.
    shared: usize,
    /// Bytes of a row's activations, features and tape.
    activations: usize,
    features: usize,
    tape: usize,
    /// Rows of a rank and of one row block.
    rows: usize,
    row_block: usize,
    row_blocks: usize,
    class_blocks: usize,
    validation_rows: usize,
}

/// Most bytes of parameters on any of `size` ranks.
fn most_owned(layouts: &[Layout], size: usize) -> usize {
    let bytes = |rank| -> usize {
        layouts[owned(layouts.len(), size, rank)].iter().map(|layout| layout.parameters()).sum()
    };
    (0..size).map(bytes).max().unwrap_or(0) * FLOAT
}

fn most_rows(rows: &HomeRows) -> usize {
    rows.row_runs().iter().map(|run| run.len()).max().unwrap_or(0)
}

/// Partial sums that a rank holds of `leaves` leaves of an ordered sum.
fn tree(leaves: usize) -> usize {
    leaves.max(1).ilog2() as usize + 1
}

impl Sizes {
    fn of(job: &Job, shape: &Shape, size: usize, rows: &HomeRows, other: usize) -> Sizes {
        let layers = shape.shared_layers();
        let blocks = |experts| {
            let counts = vec![experts; shape.class_count];
            layouts(&counts, shape.dummy, layers.outputs(), shape.class_blocks)
        };
        let (small, large) = (blocks(job.pretrain.experts), blocks(job.experts.count));
        let all = || small.iter().chain(&large);
        let most = |of: &dyn Fn(&Layout) -> usize| all().map(of).max().unwrap_or(0);
        let row_block = (0..rows.blocks.len()).map(|block| rows.blocks.block(block).len()).max();
        Sizes {
            threads: job.run.threads.max(1),
            small: most_owned(&small, size),
            large: most_owned(&large, size),
            block: most(&Layout::parameters) * FLOAT,
            classes: most(&|layout| layout.classes.len()),
            columns: most(&Layout::columns),
            shared: layers.parameters() * FLOAT,
            activations: stride_of(layers.outputs()) * FLOAT,
            features: stride_of(shape.features()) * FLOAT,
            tape: layers.tape_width() * FLOAT,
            rows: most_rows(rows),
            row_block: row_block.unwrap_or(0),
            row_blocks: rows.blocks.len().div_ceil(size),
            class_blocks: small.len().max(large.len()).div_ceil(size),
            validation_rows: other,
        }
    }

    /// Row blocks in the making: being read (twice, as it lies and in strides), waiting, and on
    /// each thread with its tape.
    fn read_ahead(&self, depth: usize) -> usize {
        self.row_block * ((depth + 2) * self.features + self.threads * (self.tape + self.features))
    }

    /// Logits of a tile and packed numbers, on each thread.
    fn kernels(&self) -> usize {
        let tile = (self.columns * 240).max(65_536);
        self.threads * (tile + 120 * 384) * FLOAT
    }

    fn pretrain(&self, job: &Job) -> usize {
        if job.pretrain.epochs == 0 {
            return 0;
        }
        let batch = job.pretrain.batch.min(self.rows * 2);
        let own = batch.min(self.rows);
        let sums = self.threads + tree(self.class_blocks) + 2;
        let shared = self.threads + 7 + tree(GROUPS_MAX);
        5 * self.small
            + self.kernels()
            + shared * self.shared
            + self.threads * self.block
            + own * (3 * self.features + self.tape + self.activations)
            + batch * self.activations * sums
            + self.rows.min(8 * batch) * self.features
    }

    /// Without activations at rest.
    fn expert_step(&self, job: &Job, kept: usize) -> usize {
        let (state, copies) = match job.experts.solver {
            Solver::Adam => (2, self.threads),
            Solver::Adagrad => (1, self.threads),
            Solver::Lbfgs => (LBFGS_COPIES, 0),
        };
        let window = job.experts.window.min(2 * self.rows);
        let best = usize::from(job.experts.patience > 0);
        let learning = (1 + state + best) * self.large + copies * self.block;
        let windows = 3 * window + window.min(self.rows);
        kept + self.kernels()
            + learning.max(self.large + self.read_ahead(self.threads))
            + windows * self.activations
    }

    /// Without the wave.
    fn shared_step(&self, job: &Job) -> usize {
        if job.shared.iterations == 0 || self.shared == 0 {
            return 0;
        }
        let shared = self.threads + 9 + tree(self.row_blocks);
        2 * self.large
            + 3 * self.block
            + self.kernels()
            + shared * self.shared
            + self.read_ahead(8 * self.threads)
    }

    /// Without activations at rest.
    fn scoring(&self, kept: usize) -> usize {
        let scores = self.classes * FLOAT + 2 * size_of::<f64>();
        let lists = TOP * (size_of::<(f32, u32)>() + 48);
        kept + self.large
            + 2 * self.block
            + self.kernels()
            + self.validation_rows * (scores + lists)
            + self.read_ahead(self.threads)
    }

    fn labels(&self) -> usize {
        (self.rows + self.validation_rows) * 32
    }
}

impl Plan {
    /// What `job` takes on the largest of `size` ranks.
    ///
    /// # Errors
    /// Exit 9 where the byte budget can't be kept, with the least that can.
    pub fn new(
        job: &Job,
        shape: &Shape,
        size: usize,
        train: &HomeRows,
        validation: Option<&HomeRows>,
    ) -> Result<Plan> {
        let sizes = Sizes::of(job, shape, size, train, validation.map_or(0, most_rows));
        let limit = match job.run.memory_gib {
            given if given > 0.0 => (given * GIB) as usize,
            _ => usize::MAX,
        };
        let rounds = job.rounds.count > 0;
        let kept = sizes.small.max(if job.rounds.count > 1 { sizes.large } else { 0 });
        let phase = |on: bool, bytes: usize| if on { bytes + sizes.labels() } else { 0 };
        let resting = [
            (phase(rounds, sizes.expert_step(job, kept)), usize::from(rounds) * sizes.rows),
            (phase(validation.is_some(), sizes.scoring(kept)), sizes.validation_rows),
        ];
        let pretrain = phase(true, sizes.pretrain(job));
        let shared = phase(rounds, sizes.shared_step(job));
        let block = sizes.row_block * (sizes.tape + sizes.activations);
        let needs_wave = rounds && job.shared.iterations > 0 && sizes.shared > 0;
        let wave_min = if needs_wave { shared + block } else { 0 };
        let least = resting.iter().map(|rest| rest.0).chain([pretrain, wave_min]).max();
        let least = least.expect("four phases");
        if least > limit {
            let text = format!(
                "run.memory_gib: found {}, a rank of this job needs {:.3} at least",
                job.run.memory_gib,
                (least as f64 / GIB * 1e3).ceil() / 1e3
            );
            return Err(Error::new(Exit::Resources, text)
                .hint("more ranks, a smaller experts.window or pretrain.batch, fewer threads"));
        }
        let room = |rest: &(usize, usize)| limit - rest.0;
        let activations_max = resting.iter().map(room).min().expect("two phases");
        let bytes = |rest: &(usize, usize)| rest.1 * sizes.activations;
        let scratch = resting.iter().any(|rest| bytes(rest) > activations_max);
        let for_wave = (limit - shared.min(limit)).min(match limit {
            usize::MAX => WAVE_BYTES,
            limit => limit,
        });
        let wave = (for_wave / block.max(1)).clamp(1, sizes.row_blocks.max(1));
        let in_memory = |rest: &(usize, usize)| match bytes(rest) {
            bytes if bytes > activations_max => rest.0,
            bytes => rest.0 + bytes,
        };
        let waves = if needs_wave { shared + wave * block } else { 0 };
        let peak = resting.iter().map(in_memory).chain([pretrain, waves]).max();
        let peak = peak.expect("four phases");
        Ok(Plan { limit, activations_max, wave, peak, scratch })
    }
}
