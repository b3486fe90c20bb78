//! The steps that are measured: which rank has most to do, and what all of it is.

use std::ops::Range;

use crate::cost::grid::Machine;
use crate::cost::{self, flops};
use crate::flow::home_rows::FRAME_ROWS_AT_ONCE;
use crate::job::Job;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::model::{Layout, parameters, stride_of};
use crate::partition::{Blocks, Columns, Grid, groups, row_blocks};
use crate::train::{Data, learner_count, shape_of};

/// A step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Step {
    Pretrain,
    Experts,
    Shared,
}

/// Rows of a row block in a sample of the shared step: so many make tiles of the kernels for each
/// of a team's sixteen threads, and fewer than so few say nothing.
const SAMPLE_MOST: usize = 16 * 240;
const SAMPLE_LEAST: usize = 24;
/// What a core does in a second, about.
const CORE_FLOP_PER_SECOND: f64 = 80e9;

impl Step {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Pretrain => "pretrain",
            Step::Experts => "experts",
            Step::Shared => "shared",
        }
    }

    /// What a piece of a sample is, and what a step's figures are of.
    pub(crate) fn pieces(self) -> [&'static str; 2] {
        match self {
            Step::Pretrain => ["mini-batch", "epoch"],
            Step::Experts => ["window", "epoch"],
            Step::Shared => ["iteration", "iteration"],
        }
    }

    /// Pieces before a sample: two windows have memory of their own.
    pub(crate) fn skipped(self) -> usize {
        if self == Step::Experts { 2 } else { 1 }
    }

    /// The gradient in whose rate a core is measured: of weights, or of activations.
    pub(crate) fn stage(self) -> u8 {
        if self == Step::Shared { 2 } else { 1 }
    }
}

/// A job on so many ranks.
pub(crate) struct Whole {
    pub(crate) job: Job,
    pub(crate) shape: Shape,
    pub(crate) ranks: usize,
    /// Of the expert step.
    pub(crate) grid: Grid,
    /// Which columns have which class blocks there.
    pub(crate) columns: Columns,
    /// Those of them that pretrain.
    pub(crate) learners: usize,
    /// Class blocks while pretraining, and later.
    pub(crate) small: Vec<Layout>,
    pub(crate) large: Vec<Layout>,
}

impl Whole {
    pub(crate) fn new(job: &Job, data: &Data, grid: Grid) -> Whole {
        let shape = shape_of(job, data);
        let cut =
            |counts: &[usize]| layouts(counts, shape.dummy, shape.outputs(), shape.class_blocks);
        let small = cut(&vec![job.pretrain.experts; shape.class_count]);
        let large = cut(&data.experts);
        let ranks = grid.ranks();
        let columns = grid.deal(&parameters(&large), &vec![1; ranks]);
        let rows = job.plan.rows;
        let row_blocks = row_blocks(job.run.row_blocks, rows).min(rows);
        let machine = Machine::host(job.run.threads);
        let of = (ranks, &machine);
        let learners = learner_count(job, &shape, (rows, row_blocks), of, &|_| true);
        Whole { job: job.clone(), shape, ranks, grid, columns, learners, small, large }
    }

    fn blocks(&self, step: Step) -> &[Layout] {
        if step == Step::Pretrain { &self.small } else { &self.large }
    }

    /// The class blocks that a rank has.
    pub(crate) fn own(&self, step: Step, rank: usize) -> &[Layout] {
        let blocks = self.blocks(step);
        if step == Step::Experts {
            let place = self.grid.place(rank);
            return &blocks[place.map_or(0..0, |at| self.columns.of_column.run(at.column))];
        }
        &blocks[self.run(step, blocks.len(), rank)]
    }

    /// The blocks of so many that a rank has; in pretraining some ranks may wait.
    pub(crate) fn run(&self, step: Step, blocks: usize, rank: usize) -> Range<usize> {
        let ranks = if step == Step::Pretrain { self.learners } else { self.ranks };
        if rank < ranks { cost::owners(blocks, ranks).run(rank) } else { blocks..blocks }
    }

    /// Slices of a mini-batch that a rank takes in the expert step.
    pub(crate) fn slices(&self, rank: usize) -> usize {
        self.grid.place(rank).map_or(0, |place| self.grid.slices().run(place.row).len())
    }

    /// Class blocks to measure a core with: those of this rank, or where it has none any.
    pub(crate) fn some(&self, step: Step, rank: usize) -> &[Layout] {
        let own = self.own(step, rank);
        if own.is_empty() { self.blocks(step) } else { own }
    }

    /// Number of row blocks of all ranks.
    pub(crate) fn all_row_blocks(&self) -> usize {
        let rows = self.job.plan.rows;
        row_blocks(self.job.run.row_blocks, rows).min(rows)
    }

    /// Row blocks of a rank.
    pub(crate) fn row_blocks(&self, rank: usize) -> Range<usize> {
        cost::owners(self.all_row_blocks(), self.ranks).run(rank)
    }

    /// Share of the groups of a mini-batch of pretraining that a rank runs.
    pub(crate) fn share_of_groups(&self, rank: usize) -> f64 {
        let count = groups(self.job.pretrain.batch, self.job.pretrain.groups);
        let groups = Blocks::even(self.all_row_blocks(), count).len();
        self.run(Step::Pretrain, groups, rank).len() as f64 / groups as f64
    }

    /// The rank that has most to do, the first of them.
    pub(crate) fn fullest(&self, step: Step) -> usize {
        let work = |rank: usize| match step {
            Step::Experts => {
                let parameters: usize = self.own(step, rank).iter().map(Layout::parameters).sum();
                (parameters * self.slices(rank)) as f64
            }
            Step::Shared => self.row_blocks(rank).len() as f64,
            Step::Pretrain => {
                let blocks = self.flop_of_blocks(step, self.own(step, rank), 1);
                blocks + self.share_of_groups(rank) * self.flop_of_layers(step, 1)
            }
        };
        let work: Vec<f64> = (0..self.ranks).map(work).collect();
        let most = work.iter().copied().fold(0.0, f64::max);
        work.iter().position(|own| *own == most).expect("the most is one of them")
    }

    pub(crate) fn flop_of_blocks(&self, step: Step, blocks: &[Layout], rows: usize) -> f64 {
        let (width, columns) = (self.shape.outputs(), columns(blocks.iter()));
        match step {
            Step::Pretrain if self.shape.shared_layers().parameters() > 0 => {
                flops::logits_and_both(rows, width, columns)
            }
            _ => flops::logits_and_gradient(rows, width, columns),
        }
    }

    /// Frames of a row that a step takes; 0 where rows have none.
    pub(crate) fn frames(&self, step: Step) -> usize {
        match (self.job.plan.frames, self.job.pretrain.frames, step) {
            (0, ..) => 0,
            (_, drawn @ 1.., Step::Pretrain) => drawn,
            (all, ..) => all,
        }
    }

    /// Of the shared layers, which frames pass each by itself.
    pub(crate) fn flop_of_layers(&self, step: Step, rows: usize) -> f64 {
        let (layers, frames) = (self.shape.shared_layers(), self.frames(step));
        let weights = layers.places.iter().enumerate().map(|(index, place)| {
            let of_frames = index < layers.frame_network().len();
            let times = if of_frames { frames } else { 1 };
            times * place.inputs * place.outputs
        });
        match step {
            Step::Experts => 0.0,
            _ => flops::forward_and_back(rows, weights.sum()),
        }
    }

    /// Floating-point operations of a step's epoch or iteration on all ranks.
    pub(crate) fn flop(&self, step: Step) -> f64 {
        let rows = self.job.plan.rows;
        let blocks = self.flop_of_blocks(step, self.blocks(step), rows);
        // A class block learns from some of the rows without its labels.
        let learned = if step == Step::Experts { self.job.experts.negatives } else { 1.0 };
        f64::from(learned) * blocks + self.flop_of_layers(step, rows)
    }

    /// The sample of a pass of the shared step, of about so many seconds: at most one wave of a
    /// rank's row blocks, and of each block some rows.
    pub(crate) fn sample(&self, rank: usize, seconds: f64, threads: usize, wave: usize) -> Waves {
        let (all, own) = (self.all_row_blocks(), self.row_blocks(rank));
        let longest = self.job.plan.rows.div_ceil(all);
        let waiting = own.len().clamp(1, wave);
        let row = self.flop_of_blocks(Step::Shared, &self.large, 1)
            + self.flop_of_layers(Step::Shared, 1);
        // Two iterations, of which the second one counts.
        let fit = seconds * CORE_FLOP_PER_SECOND / (2.0 * row * waiting as f64);
        let fit = (fit as usize).clamp(SAMPLE_LEAST, SAMPLE_MOST) / 12 * 12;
        // Of frames each thread has to get a piece; all are equally long.
        let pieces = match self.job.plan.frames {
            0 => 0,
            _ => threads.div_ceil(waiting) * FRAME_ROWS_AT_ONCE,
        };
        let rows = fit.max(pieces).min(longest);
        let row_blocks = if waiting < own.len() { waiting * self.ranks } else { all };
        let layers = self.shape.shared_layers();
        let numbers = layers.tape_width() + stride_of(layers.outputs());
        Waves {
            row_blocks,
            rows: if rows == longest && row_blocks == all {
                self.job.plan.rows
            } else {
                rows * row_blocks
            },
            stretch: longest as f64 / rows as f64,
            times: own.len().max(1) as f64 / waiting as f64,
            bytes: waiting * (longest - rows) * numbers * size_of::<f32>(),
        }
    }
}

/// A sample of a pass of the shared step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waves {
    /// Row blocks and rows of all ranks that pass.
    pub(crate) row_blocks: usize,
    pub(crate) rows: usize,
    /// How many times as many rows a row block has, and a rank waves.
    pub(crate) stretch: f64,
    pub(crate) times: f64,
    /// Of the rows of a wave that are left out.
    pub(crate) bytes: usize,
}

/// What a measure goes without.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Missing {
    /// Bytes of rows that others stand for.
    pub(crate) bytes: usize,
    /// Of the shared step.
    pub(crate) waves: Option<Waves>,
}

/// Columns of these blocks' logits, as `cost::flops` counts them.
pub(crate) fn columns<'a>(layouts: impl Iterator<Item = &'a Layout>) -> usize {
    let experts = layouts.flat_map(|layout| &layout.experts);
    experts.map(|count| flops::columns(1, *count)).sum()
}
