//! What a rank needs of memory, planned before anything is computed (ARCHITECTURE.md, "Memory").
//!
//! Bytes of the rank that has most, for each phase. With W the weights of its class blocks, B the
//! largest class block, S the shared layers, r threads, d and D the strides of activations and
//! features, t the numbers of a row's tape:
//!
//! ```text
//! pretrain     W (weights, two moments, gradient, best so far) + (7 + r + tree) S + B r
//!              + rows of two batches read ahead + batch x d (2 + r + tree)
//! expert step  W (new, kept from before, best epoch or best of classes, solver's state) + B r
//!              + windows x d (2 and its own part) + activations at rest, or its part read ahead
//! shared step  W (now, kept) + 3 B + (9 + r + tree) S + rows read ahead + wave x (t + d)
//! scoring      W (now, kept, best epoch) + 2 B + rows x best lists + wave x scores of a block
//!              + activations at rest, or one file of them
//! ```
//!
//! Scoring happens within the steps too, while they hold what they learn with. The tree of an
//! ordered sum over n leaves of a rank holds at most log2(n) + 1 partial sums. Activations that
//! don't fit go to a scratch file; waves take what is left. What libraries take comes on top:
//! MPI's buffers, and of HDF5 up to 4 MiB for each of at most 16 shards that a reader keeps open.

use std::ops::Range;

use crate::comm::SEAL;
use crate::error::{Error, Exit, Result};
use crate::flow::home_rows::{FRAME_ROWS_AT_ONCE, HomeRows, ROWS_AT_ONCE};
use crate::flow::own_rows::{Room, SCORES_MAX};
use crate::inference::scores::{TOP, wave_rows};
use crate::job::Job;
use crate::kernel::matrix::stride_of;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::vector::LANES;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::model::features::{FRAMES_MAX, TILE_FRAMES};
use crate::optim::Solver;
use crate::partition::{GROUPS_MAX, Owners};

const FLOAT: usize = size_of::<f32>();
const GIB: f64 = (1u64 << 30) as f64;
/// What a wave takes at most where the job sets no limit.
const WAVE_BYTES: usize = 1 << 30;
/// Numbers of scores of a class block that are held at once under a limit: 4 MiB.
const SCORES_LIMITED: usize = 1 << 20;

/// The plan of the rank that needs most.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whether activations of training and of validation rows lie in memory, not in a file.
    pub train_in_memory: bool,
    pub validation_in_memory: bool,
    /// Numbers of scores of a class block that are held at once.
    pub scores_max: usize,
    /// Row blocks of a wave of the shared step.
    pub wave: usize,
    /// Bytes of the phase that takes most.
    pub peak: usize,
}

/// What a phase takes beside activations at rest, and whose activations rest meanwhile.
struct Phase {
    bytes: usize,
    train: bool,
    validation: bool,
}

/// What sizes depend on beside model and rows.
struct Setting {
    threads: usize,
    /// Frames of a row that pretraining draws; 0: all.
    frames_drawn: usize,
    /// Whether there is a byte budget.
    limited: bool,
}

/// Sizes that the formulas are made of.
struct Sizes {
    threads: usize,
    /// Weights of one rank's class blocks, in bytes: of the pretrained mixtures and the large ones.
    small: usize,
    large: usize,
    /// The largest class block, in bytes, and its classes and columns of logits and losses.
    block: usize,
    classes: usize,
    columns: usize,
    /// Shared layers, in bytes.
    shared: usize,
    /// Bytes of a row's activations, features and tape.
    activations: usize,
    features: usize,
    tape: usize,
    /// Bytes of the frames that a row gives to a mini-batch; as `features` for videos.
    sampled: usize,
    /// Bytes of the frames that pass the frame network at once.
    frame_tile: usize,
    /// Rows that are read at once.
    piece: usize,
    /// Rows of all ranks, of a rank and of one row block.
    all_rows: usize,
    rows: usize,
    row_block: usize,
    row_blocks: usize,
    class_blocks: usize,
    validation_rows: usize,
    /// Numbers of scores of a class block that are held at once.
    scores_max: usize,
}

/// Most bytes of parameters on any of `size` ranks.
fn most_owned(layouts: &[Layout], size: usize) -> usize {
    let runs = Owners::even(layouts.len(), size, 0).runs().into_iter();
    let parameters =
        |run: Range<usize>| -> usize { layouts[run].iter().map(Layout::parameters).sum() };
    runs.map(parameters).max().unwrap_or(0) * FLOAT
}

fn most_rows(rows: &HomeRows) -> usize {
    rows.row_runs().iter().map(|run| run.len()).max().unwrap_or(0)
}

/// Partial sums that a rank holds of `leaves` leaves of an ordered sum.
fn tree(leaves: usize) -> usize {
    leaves.max(1).ilog2() as usize + 1
}

impl Sizes {
    /// `small`, `large`: experts of each class while pretraining and in the expert step; `other`:
    /// validation rows.
    fn of(
        setting: Setting,
        shape: &Shape,
        (small, large): (&[usize], &[usize]),
        size: usize,
        rows: &HomeRows,
        other: usize,
    ) -> Sizes {
        let layers = shape.shared_layers();
        let blocks =
            |counts: &[usize]| layouts(counts, shape.dummy, layers.outputs(), shape.class_blocks);
        let (small, large) = (blocks(small), blocks(large));
        let all = || small.iter().chain(&large);
        let most = |of: &dyn Fn(&Layout) -> usize| all().map(of).max().unwrap_or(0);
        let row_block = (0..rows.blocks.len()).map(|block| rows.blocks.block(block).len()).max();
        let frames = shape.pooling.is_some();
        let features = match frames {
            // Bytes, of as many frames as a video may have.
            true => FRAMES_MAX * shape.features(),
            false => stride_of(shape.features()) * FLOAT,
        };
        Sizes {
            threads: setting.threads.max(1),
            small: most_owned(&small, size),
            large: most_owned(&large, size),
            block: most(&Layout::parameters) * FLOAT,
            classes: most(&|layout| layout.classes.len()),
            columns: most(&|layout| layout.columns() + layout.groups.len() * LANES),
            shared: layers.parameters() * FLOAT,
            activations: stride_of(layers.outputs()) * FLOAT,
            features,
            sampled: match (frames, setting.frames_drawn) {
                (true, count @ 1..) => count * shape.features(),
                _ => features,
            },
            frame_tile: match frames {
                true => 2 * TILE_FRAMES * layers.frame_tape_width() * FLOAT,
                false => 0,
            },
            piece: if frames { FRAME_ROWS_AT_ONCE } else { usize::MAX },
            tape: layers.tape_width() * FLOAT,
            all_rows: rows.rows(),
            rows: most_rows(rows),
            row_block: row_block.unwrap_or(0),
            row_blocks: rows.block_runs().iter().map(|run| run.len()).max().unwrap_or(0),
            class_blocks: Owners::even(small.len().max(large.len()), size, 0).longest(),
            validation_rows: other,
            scores_max: if setting.limited { SCORES_LIMITED } else { SCORES_MAX },
        }
    }

    /// Runs of `rows` rows in the making: being read (twice, as it lies and in strides), waiting,
    /// and on each thread with its tape.
    fn read_ahead(&self, depth: usize, rows: usize) -> usize {
        rows * ((depth + 2) * self.features + self.threads * (self.tape + self.features))
    }

    /// Rows on their way to activations.
    fn forward(&self) -> usize {
        self.read_ahead(self.threads, self.row_block.min(self.piece).min(ROWS_AT_ONCE))
    }

    /// Logits and losses of a tile and packed numbers, on each thread.
    fn kernels(&self) -> usize {
        let tile = (self.columns * 240).max(65_536);
        self.threads * ((tile + 120 * 384) * FLOAT + self.frame_tile)
    }

    /// What pretraining learns with, while rows pass and while it is validated.
    fn pretrained(&self) -> usize {
        5 * self.small + (7 + tree(GROUPS_MAX)) * self.shared
    }

    fn pretrain(&self, job: &Job) -> usize {
        let batch = job.pretrain.batch.min(self.all_rows);
        let own = batch.min(self.rows);
        let sums = self.threads + tree(self.class_blocks) + 2;
        self.pretrained()
            + self.kernels()
            + self.threads * (self.shared + self.block)
            + own * (3 * self.sampled + self.tape + self.activations)
            + batch * self.activations * sums
            + self.rows.min(8 * batch) * self.sampled
    }

    /// What the expert step learns with: weights, their average, the solver's state, the best
    /// epoch.
    fn learned(&self, job: &Job) -> usize {
        let state = job.experts.solver.numbers();
        let average = usize::from(job.experts.averaging > 0.0);
        (1 + average + state + usize::from(job.experts.watched())) * self.large
    }

    /// Rows of a window of the expert step.
    fn window(&self, job: &Job) -> usize {
        let batches = (job.experts.window / job.experts.batch).max(1);
        (batches * job.experts.batch).min(self.all_rows)
    }

    /// Rows of a window that one rank holds: its share, or where rows pass as they lie all of them.
    fn own_part(&self, job: &Job) -> usize {
        match job.experts.solver {
            Solver::FullBatch(_) => self.window(job).min(self.rows),
            Solver::MiniBatch(_) => (self.window(job) * self.rows).div_ceil(self.all_rows.max(1)),
        }
    }

    fn expert_step(&self, job: &Job, kept: usize) -> usize {
        let copies = match job.experts.solver {
            Solver::FullBatch(_) => 0,
            Solver::MiniBatch(_) => self.threads,
        };
        let learning = self.learned(job) + copies * self.block;
        let drawn = match job.experts.negatives < 1.0 {
            true => self.threads * job.experts.batch.min(self.all_rows) * self.activations,
            false => 0,
        };
        let windows = drawn + (2 * self.window(job) + self.own_part(job)) * self.activations;
        kept + self.kernels() + (learning + windows).max(self.large + self.forward())
    }

    /// Without the wave.
    fn shared_step(&self) -> usize {
        let shared = self.threads + 9 + tree(self.row_blocks);
        2 * self.large
            + 3 * self.block
            + self.kernels()
            + shared * self.shared
            + self.read_ahead(8 * self.threads, self.row_block.min(self.piece))
    }

    /// Beside the model.
    fn scoring(&self) -> usize {
        let wave = wave_rows(self.scores_max, self.classes, self.threads).min(self.validation_rows);
        let scores = self.classes * FLOAT + size_of::<f64>();
        let lists = TOP * (size_of::<(f32, u32)>() + 48);
        let passing = 2 * self.block + wave * scores + self.validation_rows * lists;
        self.kernels() + passing.max(self.forward())
    }

    /// Labels of rows, and seals of their activations.
    fn labels(&self) -> usize {
        (self.rows + self.validation_rows) * (32 + SEAL)
    }

    /// All phases but the shared step, and what that takes beside its wave, if there is one.
    fn phases(&self, job: &Job, validation: bool) -> (Vec<Phase>, Option<usize>) {
        let rounds = job.rounds.count > 0;
        let kept = self.small.max(if job.rounds.count > 1 { self.large } else { 0 });
        let labels = self.labels();
        let mut phases = Vec::new();
        let mut phase = |on: bool, bytes: usize, train: bool, validation: bool| {
            if on {
                phases.push(Phase { bytes: bytes + labels, train, validation });
            }
        };
        let pretrain = job.pretrain.epochs > 0;
        let watched = validation && job.experts.watched();
        phase(pretrain, self.pretrain(job), false, false);
        phase(pretrain && validation, self.pretrained() + self.scoring(), false, true);
        phase(rounds, self.expert_step(job, kept), true, false);
        phase(rounds && watched, kept + self.learned(job) + self.scoring(), true, true);
        phase(rounds && validation, kept + self.large + self.scoring(), false, true);
        let shared = rounds && job.shared.iterations > 0 && self.shared > 0;
        (phases, shared.then(|| self.shared_step() + labels))
    }
}

/// Bytes that a rank may take; 0 GiB stands for any.
fn limit_of(memory_gib: f64) -> usize {
    if memory_gib > 0.0 { (memory_gib * GIB) as usize } else { usize::MAX }
}

/// A budget that can't be kept.
fn too_little(name: &str, found: f64, least: usize) -> Error {
    let least = (least as f64 / GIB * 1e6).ceil() / 1e6;
    let text = format!("{name}: found {found}, a rank of this job needs {least:.6} at least");
    Error::new(Exit::Resources, text)
}

/// Where activations and scores of `rows` may lie while a model with `experts` experts of each
/// class scores them, on each of `size` ranks of `threads` threads and so much memory (0: any).
///
/// # Errors
/// Exit 9 where the byte budget can't be kept, with the least that can.
pub fn room_for_scoring(
    shape: &Shape,
    experts: &[usize],
    (size, threads): (usize, usize),
    rows: &HomeRows,
    memory_gib: f64,
) -> Result<Room> {
    let limit = limit_of(memory_gib);
    let setting = Setting { threads, frames_drawn: 0, limited: limit < usize::MAX };
    let own = most_rows(rows);
    let sizes = Sizes::of(setting, shape, (experts, experts), size, rows, own);
    let least = sizes.large + sizes.scoring() + sizes.labels();
    if least > limit {
        return Err(too_little("--memory-gib", memory_gib, least).hint("more ranks, fewer threads"));
    }
    let in_memory = limit - least >= own * sizes.activations;
    let bytes_max = if in_memory { usize::MAX } else { 0 };
    Ok(Room { bytes_max, scores_max: sizes.scores_max, ..Room::unlimited() })
}

impl Plan {
    /// What `job` takes on the largest of `size` ranks; `experts` are those of each class in the
    /// expert step.
    ///
    /// # Errors
    /// Exit 9 where the byte budget can't be kept, with the least that can.
    pub fn new(
        job: &Job,
        shape: &Shape,
        experts: &[usize],
        size: usize,
        train: &HomeRows,
        validation: Option<&HomeRows>,
    ) -> Result<Plan> {
        let limit = limit_of(job.run.memory_gib);
        let setting = Setting {
            threads: job.run.threads,
            frames_drawn: job.pretrain.frames,
            limited: limit < usize::MAX,
        };
        let small = vec![job.pretrain.experts; shape.class_count];
        let other = validation.map_or(0, most_rows);
        let sizes = Sizes::of(setting, shape, (&small, experts), size, train, other);
        let block = sizes.row_block * (sizes.tape + sizes.activations);
        let (phases, before_wave) = sizes.phases(job, validation.is_some());
        let most = |train_in_memory: bool, validation_in_memory: bool| {
            let at_rest = |phase: &Phase| match (phase.train, train_in_memory) {
                (true, true) => sizes.rows,
                // What is read ahead from the file.
                (true, false) => sizes.own_part(job),
                (false, _) => 0,
            };
            let validation = |phase: &Phase| {
                usize::from(phase.validation && validation_in_memory) * sizes.validation_rows
            };
            let rows = |phase: &Phase| at_rest(phase) + validation(phase);
            let bytes = phases.iter().map(|phase| phase.bytes + rows(phase) * sizes.activations);
            bytes.max().unwrap_or(0)
        };
        let least = most(false, false).max(before_wave.map_or(0, |bytes| bytes + block));
        if least > limit {
            return Err(too_little("run.memory_gib", job.run.memory_gib, least)
                .hint("more ranks, a smaller experts.window or pretrain.batch, fewer threads"));
        }
        // Every class block passes the validation rows, but only windows the others: if one of
        // them has to lie in a file, the others.
        let orders = [(true, true), (false, true), (true, false), (false, false)];
        let fitting = orders.into_iter().find(|(train, other)| most(*train, *other) <= limit);
        let (train_in_memory, validation_in_memory) = fitting.expect("nothing at rest fits");
        let left = match limit {
            usize::MAX => WAVE_BYTES,
            limit => limit - before_wave.unwrap_or(0).min(limit),
        };
        let wave = (left / block.max(1)).clamp(1, sizes.row_blocks.max(1));
        let waves = before_wave.map_or(0, |bytes| bytes + wave * block);
        let peak = most(train_in_memory, validation_in_memory).max(waves);
        let scores_max = sizes.scores_max;
        Ok(Plan { train_in_memory, validation_in_memory, scores_max, wave, peak })
    }

    /// Whether any activations go to a scratch file.
    pub fn scratch(&self) -> bool {
        !(self.train_in_memory && self.validation_in_memory)
    }
}
