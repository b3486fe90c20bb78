//! Sizes that the plan of a device's memory is made of (`device_memory.rs`).

use std::ops::Range;

use super::device_classes::{ClassBytes, HeldBytes, vectors_of_run};
use super::ranks::Ranks;
use crate::device::gpu::cut::{Extent, bytes_of, cut, largest};
use crate::device::gpu::{HOST_ROWS, PASS_ROWS, ROOMS};
use crate::flow::home_rows::{FRAME_ROWS_AT_ONCE, ROWS_AT_ONCE};
use crate::job::Job;
use crate::kernel::matrix::stride_of;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::vector::LANES;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::model::features::FRAMES_MAX;
use crate::model::shared::LayerPlace;
use crate::model::spec::{Layer, Normalize};
use crate::optim::Solver;
use crate::partition::{Blocks, Columns, OwnedBlocks, Owners, groups};

pub(super) const FLOAT: usize = size_of::<f32>();
/// Of a panel's column of sixteen, for each row.
pub(super) const LANE_BYTES: usize = LANES * FLOAT;
/// Labels of a row, six of them, and where they begin.
const LABEL_BYTES: usize = 7 * size_of::<u32>();

/// The shared layers.
#[derive(Clone, Copy, Default)]
pub(super) struct SharedBytes {
    /// Whether there are any.
    pub(super) any: bool,
    /// Weights, and what features are standardised by.
    pub(super) network: usize,
    /// Weights turned for the way back.
    turned: usize,
    /// A gradient.
    pub(super) gradient: usize,
    /// Of a row on its way through those that take videos' vectors.
    tape: usize,
    widest: usize,
    /// Of models of frames.
    frames: Option<FrameBytes>,
}

/// The frame network and pooling.
#[derive(Clone, Copy)]
struct FrameBytes {
    /// Bytes of a frame as it comes, and whose it is.
    sent: usize,
    /// Of a frame on its way, there and back.
    frame: usize,
    /// Of what a row is pooled to, and what scales its bytes.
    pooled: usize,
    /// Of which feature is scaled by what.
    runs: usize,
}

/// Numbers that a row, or a frame, leaves in these layers for its way back.
fn tape_of(places: &[LayerPlace]) -> usize {
    let gated = |place: &LayerPlace| match place.layer {
        Layer::Dense { .. } => stride_of(place.outputs),
        Layer::Gating | Layer::Residual => 2 * stride_of(place.outputs),
    };
    places.iter().map(gated).sum()
}

fn widest(places: &[LayerPlace]) -> usize {
    let widths = places.iter().map(|place| place.inputs.max(place.outputs));
    stride_of(widths.max().unwrap_or(0))
}

impl SharedBytes {
    fn new(shape: &Shape, frame_number: usize) -> SharedBytes {
        let layers = shape.shared_layers();
        let (places, video, network) =
            (&layers.places, layers.video_network(), layers.frame_network());
        // The first layer that takes features needs no way back through its product.
        let turned = places.iter().skip(1);
        let turned = turned.map(|place| stride_of(place.outputs) * stride_of(place.inputs));
        let standard = match shape.normalize {
            Normalize::Standardise => 2 * shape.features(),
            _ => 0,
        };
        let (features, pooled) = (stride_of(shape.features()), stride_of(layers.pooled()));
        let frames = shape.pooling.map(|_| FrameBytes {
            sent: shape.features() * frame_number + size_of::<i32>(),
            frame: (features + tape_of(network) + pooled + 2 * widest(network)) * FLOAT,
            pooled: pooled * FLOAT + 2 * shape.parts.len() * FLOAT + size_of::<i32>(),
            runs: shape.features() * size_of::<i32>(),
        });
        SharedBytes {
            any: !places.is_empty(),
            network: (layers.parameters() + standard) * FLOAT,
            turned: turned.sum::<usize>() * FLOAT,
            gradient: layers.parameters() * FLOAT,
            tape: (pooled + tape_of(video)) * FLOAT,
            widest: widest(video),
            frames,
        }
    }

    /// Rows of frames, so many a row, while they pass the frame network in tiles, there or back.
    fn frames(&self, rows: usize, each: usize) -> usize {
        let Some(bytes) = &self.frames else { return 0 };
        let tile = (rows * each).min(HOST_ROWS.max(each));
        rows * (each * bytes.sent + bytes.pooled) + tile * bytes.frame + bytes.runs + FLOAT
    }
}

/// All sizes of one rank.
pub(super) struct Sizes {
    pub(super) width: usize,
    stride: usize,
    threads: usize,
    /// Frames of a row that pretraining draws; 0: all.
    frames_drawn: usize,
    /// Own class blocks while pretraining and in the expert step.
    own: [Vec<Layout>; 2],
    /// Vectors that it takes to sum slices of blocks that ranks of a column have between them.
    pub(super) sums_apart: Option<usize>,
    /// The largest class block of any rank, and how many have memory at once where they visit.
    pub(super) visitor: ClassBytes,
    visitors: usize,
    pub(super) shared: SharedBytes,
    /// The first own class block of pretraining.
    first_block: usize,
    /// Rows of a mini-batch of pretraining, of all ranks and of this one, which come in groups.
    pub(super) pretrain_rows: usize,
    pub(super) pretrain_own: (usize, Range<usize>),
    pub(super) window_rows: usize,
    pub(super) batch_rows: usize,
    /// This rank's rows, the longest row block, and the rank's row blocks.
    rows: usize,
    pub(super) row_block: usize,
    pub(super) row_blocks: Range<usize>,
    /// This rank's validation rows that are scored at once.
    pub(super) scored_rows: usize,
}

/// What the sizes of all ranks have in common.
pub(super) struct OfAllRanks {
    width: usize,
    /// All class blocks while pretraining and in the expert step, and who has which.
    blocks: [Vec<Layout>; 2],
    columns: [Columns; 2],
    /// The largest class block.
    visitor: ClassBytes,
    shared: SharedBytes,
    groups: Groups,
    group_owners: Owners,
    row_block: usize,
}

impl OfAllRanks {
    pub(super) fn new(job: &Job, shape: &Shape, experts: &[usize], ranks: &Ranks) -> OfAllRanks {
        let width = shape.outputs();
        let layouts = |experts: &[usize]| layouts(experts, shape.dummy, width, shape.class_blocks);
        let blocks = [layouts(&vec![job.pretrain.experts; shape.class_count]), layouts(experts)];
        let groups = Groups::new(job, ranks.train.blocks);
        OfAllRanks {
            width,
            columns: [ranks.small_columns(&blocks[0]), ranks.columns(&blocks[1])],
            visitor: ClassBytes::most(&blocks.concat()),
            blocks,
            shared: SharedBytes::new(shape, ranks.frame_number),
            group_owners: (ranks.deal_small)(groups.shares.len()),
            groups,
            row_block: ranks.train.blocks.longest(),
        }
    }
}

impl Sizes {
    pub(super) fn new(job: &Job, of_all: &OfAllRanks, (ranks, rank): (&Ranks, usize)) -> Sizes {
        let OfAllRanks { width, blocks: all, columns, groups, .. } = of_all;
        let (width, [of_small, of_large]) = (*width, columns);
        let apart = ranks.grid.and_then(|(grid, _)| {
            let place = grid.place(rank).filter(|_| grid.rows() > 1)?;
            let held = of_large.of_column.run(place.column);
            let vectors = vectors_of_run(grid.slices().run(place.row)) + 1;
            Some((all[1][held].to_vec(), vectors))
        });
        let small = of_small.owners.run(rank);
        let large = || all[1][of_large.owners.run(rank)].to_vec();
        let train = ranks.train;
        let window_rows = job.experts.window_rows().min(train.blocks.items());
        let own_groups = of_all.group_owners.run(rank);
        let validation = ranks.validation.map_or(0, |rows| rows.items(rank));
        Sizes {
            width,
            stride: stride_of(width),
            threads: job.run.threads.max(1),
            frames_drawn: job.pretrain.frames,
            sums_apart: apart.as_ref().map(|(_, vectors)| *vectors),
            own: [all[0][small.clone()].to_vec(), apart.map_or_else(large, |(held, _)| held)],
            visitor: of_all.visitor,
            visitors: ROOMS.min(all[0].len().max(all[1].len())),
            shared: of_all.shared,
            pretrain_rows: groups.shares.iter().sum(),
            first_block: small.start,
            pretrain_own: (groups.shares[own_groups.clone()].iter().sum(), own_groups),
            window_rows,
            batch_rows: match job.experts.solver {
                Solver::MiniBatch(_) => job.experts.batch.min(window_rows),
                Solver::FullBatch(_) => PASS_ROWS.min(window_rows),
            },
            row_block: of_all.row_block,
            rows: train.items(rank),
            row_blocks: train.owners.run(rank),
            scored_rows: validation.min(HOST_ROWS),
        }
    }

    /// Where a model with so many experts of each class scores the rows of a rank, on so many
    /// threads: nothing is learned.
    pub(super) fn of_scoring(
        shape: &Shape,
        experts: &[usize],
        threads: usize,
        (rows, rank, frame_number): (OwnedBlocks, usize, usize),
    ) -> Sizes {
        let width = shape.outputs();
        let layouts = layouts(experts, shape.dummy, width, shape.class_blocks);
        Sizes {
            width,
            stride: stride_of(width),
            threads,
            frames_drawn: 0,
            own: Default::default(),
            sums_apart: None,
            visitor: ClassBytes::most(&layouts),
            visitors: ROOMS.min(layouts.len()),
            shared: SharedBytes::new(shape, frame_number),
            pretrain_rows: 0,
            first_block: 0,
            pretrain_own: (0, 0..0),
            window_rows: 0,
            batch_rows: 0,
            row_block: rows.blocks.longest(),
            rows: rows.items(rank),
            row_blocks: rows.owners.run(rank),
            scored_rows: rows.items(rank).min(HOST_ROWS),
        }
    }

    /// Own class blocks of pretraining (0) or the expert step (1), with so many numbers for each
    /// parameter, as they lie in so many bytes; None: the largest doesn't fit.
    pub(super) fn held(&self, step: usize, numbers: usize, room: usize) -> Option<HeldBytes> {
        let layouts = &self.own[step];
        let cut = cut(&self.extents(step), bytes_of(self.width, numbers), room)?;
        Some(HeldBytes::of([self.first_block, 0][step], layouts, &cut))
    }

    fn extents(&self, step: usize) -> Vec<Extent> {
        self.own[step].iter().map(Extent::of).collect()
    }

    /// Bytes that have room for any of them.
    pub(super) fn largest(&self, step: usize, numbers: usize) -> usize {
        bytes_of(self.width, numbers)(largest(&self.extents(step)))
    }

    /// Activations row by row and turned, and labels.
    pub(super) fn in_order(&self, rows: usize) -> usize {
        self.turned(rows) + rows * self.stride * FLOAT
    }

    /// The same without those row by row.
    fn turned(&self, rows: usize) -> usize {
        self.width * rows.next_multiple_of(4) * FLOAT + rows * LABEL_BYTES + FLOAT
    }

    /// Numbers of rows as they came, which may be sealed.
    pub(super) fn arrived(&self, rows: usize, sealed: bool) -> usize {
        rows * (self.stride + usize::from(sealed)) * FLOAT
    }

    /// Where each of them begins.
    pub(super) fn places(&self, rows: usize) -> usize {
        rows * size_of::<i64>()
    }

    /// Rows that are drawn of a mini-batch, and what they count.
    pub(super) fn drawn(&self, rows: usize) -> usize {
        self.in_order(rows) + rows * (size_of::<i64>() + FLOAT)
    }

    /// dL/dv of so many rows.
    pub(super) fn slopes(&self, rows: usize) -> usize {
        rows * self.stride * FLOAT
    }

    /// Rows that pass the shared layers at once.
    fn piece(&self) -> usize {
        let most = match self.shared.frames {
            Some(_) => FRAME_ROWS_AT_ONCE,
            None => ROWS_AT_ONCE,
        };
        self.row_block.min(most)
    }

    /// Rows on their way to activations that rest or travel.
    pub(super) fn forward(&self) -> usize {
        let piece = self.piece();
        self.shared.network
            + self.threads * piece * self.shared.tape
            + self.shared.frames(piece, FRAMES_MAX)
    }

    /// A piece of frames on its way, there or back.
    pub(super) fn frames(&self) -> usize {
        self.shared.frames(self.piece(), FRAMES_MAX)
    }

    /// The same of so many rows of pretraining, which may draw some of their frames.
    pub(super) fn drawn_frames(&self, rows: usize) -> usize {
        let each = if self.frames_drawn > 0 { self.frames_drawn } else { FRAMES_MAX };
        self.shared.frames(rows, each)
    }

    /// Rows of so many row blocks.
    pub(super) fn rows_of(&self, blocks: usize) -> usize {
        (blocks * self.row_block).min(self.rows)
    }

    /// Rows of so many row blocks, or groups, on their way: tapes, dL/dv, losses.
    pub(super) fn wave(&self, rows: usize, blocks: usize) -> usize {
        let losses = size_of::<f64>() + size_of::<i32>();
        let ends = rows.div_ceil(HOST_ROWS) * size_of::<i32>();
        rows * self.shared.tape + self.slopes(rows) + blocks * losses + ends
    }

    /// What visits of those rows take besides: turned rows, labels, sums of losses.
    pub(super) fn visited(&self, rows: usize, blocks: usize) -> usize {
        // Each segment has its rows filled up to four.
        let filling = 4 * rows.div_ceil(HOST_ROWS) * (self.width + 1) * FLOAT;
        self.turned(rows) + filling + blocks * self.visitor.groups * LANES * size_of::<f64>()
    }

    /// What `leaves`, row blocks or groups, of so many rows each work in on their way back. Their
    /// gradients are added along the tree.
    pub(super) fn way_back(&self, rows: usize, leaves: Range<usize>) -> usize {
        let gradients = vectors_of_run(leaves) * self.shared.gradient;
        2 * rows * self.shared.widest * FLOAT + gradients + self.shared.turned
    }

    /// Class blocks that visit: one comes while another one works.
    pub(super) fn visitors(&self) -> usize {
        self.visitors * (self.visitor.parameters + self.visitor.tables())
    }

    /// What class blocks that visit work in, so many rows at once.
    pub(super) fn visit(&self, rows: usize, logits_bytes: usize) -> usize {
        let block = &self.visitor;
        block.logits(rows, logits_bytes) + block.turned(rows, self.width, logits_bytes)
    }

    /// Class blocks that score so many rows at once, those rows and their scores.
    pub(super) fn scores(&self, rows: usize, logits_bytes: usize) -> usize {
        let block = &self.visitor;
        self.visitors()
            + block.logits(rows, logits_bytes)
            + self.in_order(rows)
            + rows * (size_of::<i64>() + block.classes * FLOAT + size_of::<f64>())
    }
}

/// The groups of row blocks that give their shares to a mini-batch of pretraining.
struct Groups {
    /// The largest of each.
    shares: Vec<usize>,
}

impl Groups {
    fn new(job: &Job, rows: &Blocks) -> Groups {
        let groups = Blocks::even(rows.len(), groups(job.pretrain.batch, job.pretrain.groups));
        let steps = rows.items().div_ceil(job.pretrain.batch.max(1)).max(1);
        let share = |group| rows.run(groups.block(group)).len().div_ceil(steps);
        Groups { shares: (0..groups.len()).map(share).collect() }
    }
}
