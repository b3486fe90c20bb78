//! The mixtures of all classes, cut into class blocks, with the weights of a run of them.

use std::ops::Range;
use std::sync::Arc;

use super::layout::Layout;
use super::mixture::Block;
use super::spec::Dummy;
use super::vector::LANES;
use super::{initial, layout};
use crate::partition::Blocks;

/// From so many classes on, blocks are cut between groups of sixteen, which wastes no lanes; fewer
/// classes are cut into eight blocks or less, so that small models divide over ranks too.
const MANY_CLASSES: usize = 128;

/// Where the number of class blocks is left open: at most so many ...
const BLOCKS_MAX: usize = 64;
/// ... and none narrower, since a narrow block's products pass over the activations for little.
const COLUMNS_MIN: usize = 256;

/// What all mixtures are, and the weights of the class blocks in `own`.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// Layout of every class block, in order.
    pub layouts: Vec<Layout>,
    /// The blocks whose weights are here.
    pub own: Range<usize>,
    /// Their weights, `parameters[i]` those of block `own.start + i`. Copies of a model share them
    /// until one of them learns (`Arc::make_mut`), so that a best model kept costs nothing more.
    pub parameters: Vec<Arc<Vec<f32>>>,
}

/// Cuts classes of the given numbers of experts into about `class_blocks` blocks of equal cost
/// (2 E_k + 1) d; 0 chooses: blocks of `COLUMNS_MIN` columns or more, `BLOCKS_MAX` at most. The cut
/// depends on the model only.
pub fn layouts(experts: &[usize], dummy: Dummy, width: usize, class_blocks: usize) -> Vec<Layout> {
    let costs: Vec<usize> = experts.iter().map(|count| (2 * count + 1) * width).collect();
    let unit = if experts.len() < MANY_CLASSES { experts.len().div_ceil(8).max(1) } else { LANES };
    let columns: usize = experts.iter().map(|count| 2 * count + 1).sum();
    let wide = (columns / COLUMNS_MIN).clamp(1, BLOCKS_MAX);
    let chosen = if experts.len() < MANY_CLASSES { BLOCKS_MAX } else { wide };
    let blocks = if class_blocks == 0 { chosen } else { class_blocks };
    let blocks = Blocks::by_cost(&costs, blocks, unit);
    (0..blocks.len())
        .map(|block| blocks.block(block))
        .map(|classes| Layout::new(classes.clone(), experts[classes].to_vec(), dummy, width))
        .collect()
}

impl Experts {
    /// Newly initialised weights of the blocks in `own`, drawn for `generation` (0 for pretraining,
    /// r for round r).
    pub fn new(layouts: Vec<Layout>, own: Range<usize>, seed: u64, generation: u64) -> Experts {
        let columns = columns(&layouts);
        let parameters = layouts[own.clone()]
            .iter()
            .map(|layout| Arc::new(initial::experts(layout, columns, seed, generation)))
            .collect();
        Experts { layouts, own, parameters }
    }

    /// Number of classes K.
    pub fn classes(&self) -> usize {
        self.layouts.last().map_or(0, |layout: &layout::Layout| layout.classes.end)
    }

    /// Width d of the activations.
    pub fn width(&self) -> usize {
        self.layouts.first().map_or(0, |layout| layout.width)
    }

    /// Number of experts of each class.
    pub fn counts(&self) -> Vec<usize> {
        self.layouts.iter().flat_map(|layout| layout.experts.iter().copied()).collect()
    }

    /// The class block `block`, which must be one of `own`.
    pub fn block(&self, block: usize) -> Block<'_> {
        let parameters = &self.parameters[block - self.own.start];
        Block { layout: &self.layouts[block], parameters }
    }

    /// Bytes of weights held here.
    pub fn bytes(&self) -> usize {
        self.parameters.iter().map(|block| size_of_val(block.as_slice())).sum()
    }
}

/// Number of real columns (gates and experts) of all classes: the fan-out of their initial values.
fn columns(layouts: &[Layout]) -> usize {
    layouts.iter().map(|layout| layout.real_columns().len()).sum()
}
