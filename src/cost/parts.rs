//! What annotating part by part takes on a rank: whether it has room for all class blocks, and else
//! how many parts pass them at once.

use super::budget::{limit_of, too_little};
use super::memory::{ClassBlocks, Conditions, Sizes};
use super::ranks::Ranks;
use crate::comm::SEAL;
use crate::error::Result;
use crate::flow::experts_travel::AHEAD;
use crate::flow::home_rows::{FRAME_ROWS_AT_ONCE, ROWS_AT_ONCE};
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::partition::{Blocks, OwnedBlocks, Owners};

/// Rows of video-level shards that pass all class blocks at once at least: a pass reads all
/// weights.
const BATCH_ROWS: usize = 1920;
/// Pieces of frame-level rows on each thread.
const FRAME_PIECES: usize = 4;
/// Bytes of an id in memory.
const ID: usize = 64;
/// Bytes of a pair of score and class.
const PAIR: usize = 8;

/// What is annotated.
#[derive(Clone, Copy)]
pub(crate) struct Annotating<'a> {
    pub(crate) shape: &'a Shape,
    /// Of each class.
    pub(crate) experts: &'a [usize],
    pub(crate) threads: usize,
    /// Classes of a video.
    pub(crate) top: usize,
    /// Rows of the longest part.
    pub(crate) part_rows: usize,
    /// Bytes of a number of frames, as they come from shards.
    pub(crate) frame_number: usize,
}

/// How a rank goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// All class blocks are on every rank, and so many pieces of rows pass them at once.
    Whole { pieces: usize },
    /// Class blocks travel past so many parts of each rank, whose activations lie in memory or in a
    /// file.
    Waves { parts: usize, in_memory: bool },
}

/// Pieces of rows that pass all class blocks at once on so many threads.
pub(crate) fn batch_pieces(shape: &Shape, threads: usize) -> usize {
    let threads = threads.max(1);
    match shape.pooling.is_some() {
        // Their frames are a hundred times as large, and take as much longer to come this far.
        true => FRAME_PIECES * threads,
        false => threads * BATCH_ROWS.div_ceil(ROWS_AT_ONCE * threads),
    }
}

fn piece_rows(shape: &Shape) -> usize {
    if shape.pooling.is_some() { FRAME_ROWS_AT_ONCE } else { ROWS_AT_ONCE }
}

/// The rows that a rank holds at once, as if they were all there are, for formulas that ask for
/// row blocks.
pub(crate) fn rows_at_once(annotating: &Annotating, way: Way, ranks: usize) -> (Blocks, Owners) {
    let shape = annotating.shape;
    let rows = match way {
        Way::Whole { pieces } => pieces * piece_rows(shape),
        Way::Waves { parts, .. } => parts * annotating.part_rows,
    };
    let pieces = rows.div_ceil(piece_rows(shape));
    let blocks = Blocks::even(rows * ranks, pieces.max(1) * ranks);
    let owners = Owners::even(blocks.len(), ranks, 0);
    (blocks, owners)
}

/// How ranks annotate that may take `memory_gib` GiB each (0: any), the same on all of them; `deal`
/// says who owns which of so many class blocks.
///
/// # Errors
/// Exit 9 where the byte budget can't be kept, with the least that can.
pub(crate) fn way_to_annotate(
    annotating: &Annotating,
    deal: &dyn Fn(usize) -> Owners,
    memory_gib: f64,
) -> Result<Way> {
    let limit = limit_of(memory_gib);
    let pieces = batch_pieces(annotating.shape, annotating.threads);
    let whole = Way::Whole { pieces };
    if bytes(annotating, whole, deal) <= limit {
        return Ok(whole);
    }
    let waves = |parts, in_memory| Way::Waves { parts, in_memory };
    let least = bytes(annotating, waves(1, false), deal);
    if least > limit {
        return Err(too_little("--memory-gib", memory_gib, least).hint("more ranks, fewer threads"));
    }
    let one = bytes(annotating, waves(1, true), deal);
    if one > limit {
        return Ok(waves(1, false));
    }
    let each = bytes(annotating, waves(2, true), deal) - one;
    // Pieces of rows aren't all of one length, so that this may be one too many.
    let about = 1 + (limit - one) / each.max(1);
    let parts =
        (1..=about).rev().find(|parts| bytes(annotating, waves(*parts, true), deal) <= limit);
    Ok(waves(parts.unwrap_or(1), true))
}

/// Bytes of the rank that has most.
pub(super) fn bytes(annotating: &Annotating, way: Way, deal: &dyn Fn(usize) -> Owners) -> usize {
    let Annotating { shape, experts, threads, top, part_rows, frame_number } = *annotating;
    let layouts = layouts(experts, shape.dummy, shape.outputs(), shape.class_blocks);
    let ranks = deal(layouts.len()).ranks();
    let (blocks, owners) = rows_at_once(annotating, way, ranks);
    let rows = OwnedBlocks { blocks: &blocks, owners: &owners };
    let ranks_of =
        Ranks { train: rows, validation: None, deal, deal_small: deal, frame_number, grid: None };
    let class_blocks = ClassBlocks::new(shape, experts, &|layouts| ranks_of.columns(layouts));
    let row_block = blocks.longest();
    let conditions = Conditions { threads, frames_drawn: 0, groups: 1, limited: true, row_block };
    let blocks = (&class_blocks, &class_blocks);
    let sizes = Sizes::of_ranks(conditions, shape, blocks, &ranks_of, 0..ranks);
    let own = sizes.iter().map(|sizes| sizes.large).max().unwrap_or(0);
    let (at_once, sizes) = (sizes[0].rows, &sizes[0]);
    let video = top * PAIR + ID;
    // What the writer gathers of a part, HDF5 in memory and once more on its way, Parquet less, and
    // what waits for it.
    let written =
        2 * part_rows * video + 2 * batch_pieces(shape, threads) * piece_rows(shape) * video;
    let passing = sizes.kernels() + sizes.forward() + sizes.scores_of_tiles() + written;
    let of_rows = 2 * video + 32 + SEAL;
    match way {
        Way::Whole { .. } => {
            let model: usize = layouts.iter().map(|layout| layout.parameters() * 4).sum();
            let gathered = model + own + (AHEAD + 1) * sizes.block();
            gathered + at_once * (of_rows + sizes.batch_row()) + passing
        }
        Way::Waves { in_memory, .. } => {
            let rows = of_rows + usize::from(in_memory) * sizes.activations;
            own + (AHEAD + 2) * sizes.block() + at_once * rows + passing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::budget::GIB;
    use crate::example::FeaturePart;
    use crate::model::spec::{Dummy, Normalize};

    fn shape() -> Shape {
        Shape {
            parts: vec![FeaturePart { name: "rgb".into(), size: 1024 }],
            class_count: 4000,
            normalize: Normalize::L2,
            standard: None,
            frames: Vec::new(),
            pooling: None,
            layers: Vec::new(),
            dummy: Dummy::Learned,
            epsilon: 1e-5,
            class_blocks: 0,
        }
    }

    #[test]
    fn less_memory_is_waves_and_then_a_file() {
        let (shape, experts) = (&shape(), &[16; 4000][..]);
        let (threads, top, part_rows, frame_number) = (2, 20, 8192, 1);
        let annotating = Annotating { shape, experts, threads, top, part_rows, frame_number };
        let deal = |blocks: usize| Owners::even(blocks, 16, 0);
        let way = |gib| way_to_annotate(&annotating, &deal, gib);
        let bytes = |way| bytes(&annotating, way, &deal);
        let whole = Way::Whole { pieces: 4 };
        assert_eq!(way(0.0).unwrap(), whole);
        assert_eq!(way(bytes(whole) as f64 / GIB).unwrap(), whole);
        let waves = |parts, in_memory| Way::Waves { parts, in_memory };
        let mut before = usize::MAX;
        for gib in [0.55, 0.4, 0.3] {
            let Way::Waves { parts, in_memory: true } = way(gib).unwrap() else { panic!("{gib}") };
            assert!(parts < before && parts > 1, "{gib}: {parts}");
            let limit = limit_of(gib);
            assert!(bytes(waves(parts, true)) <= limit && bytes(waves(parts + 2, true)) > limit);
            before = parts;
        }
        let (file, memory) = (bytes(waves(1, false)), bytes(waves(1, true)));
        assert_eq!(way((file + memory) as f64 / 2.0 / GIB).unwrap(), waves(1, false));
        assert_eq!(way((file - 1) as f64 / GIB).unwrap_err().exit as u8, 9);
    }
}
