//! The mixtures of all classes, cut into class blocks, with the weights of a run of them.

use std::ops::Range;
use std::sync::Arc;

use super::initial;
use super::spec::Dummy;
use crate::kernel::mixture::Block;
use crate::kernel::mixture::layout::Layout;
use crate::kernel::vector::LANES;
use crate::partition::{Blocks, Owners};

/// From so many classes on, blocks are cut between groups of sixteen, which wastes no lanes; fewer
/// classes are cut into eight blocks or less, so that small models divide over ranks too.
const MANY_CLASSES: usize = 128;

/// Where the number of class blocks is left open: at most so many ...
const BLOCKS_MAX: usize = 256;
/// ... and none narrower, since a narrow block's products pass over the activations for little.
const COLUMNS_MIN: usize = 256;

/// Most experts of a class.
pub(crate) const EXPERTS_MAX: usize = 1024;

/// What all mixtures are, who owns which class blocks, and the weights of this rank's own ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// Layout of every class block, in order.
    pub layouts: Vec<Layout>,
    /// Who owns which block.
    pub owners: Owners,
    /// Weights of the own blocks, `parameters[i]` those of block `own().start + i`. Copies of a
    /// model share them until one of them learns (`Arc::make_mut`), so that a best model kept
    /// costs nothing more.
    pub parameters: Vec<Arc<Vec<f32>>>,
}

/// How many experts the classes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// All the same.
    Uniform { count: usize },
    /// E_k = clamp(ceil(positives_k / c), 1, E_max): one expert for every c positives (the rule of
    /// US 11,295,171 B2 wasn't to be had; this one is ours: docs/method.md, section 3.3).
    Adaptive { positives_per_expert: u64, max: usize },
}

impl Rule {
    /// E_k of every class, given its positives among the training rows.
    pub fn counts(self, positives: &[u64]) -> Vec<usize> {
        let count = |positives: &u64| match self {
            Rule::Uniform { count } => count,
            Rule::Adaptive { positives_per_expert, max } => {
                positives.div_ceil(positives_per_expert).clamp(1, max as u64) as usize
            }
        };
        positives.iter().map(count).collect()
    }
}

/// What each class costs in a block: its share of the columns of its group of sixteen, all of
/// which have the panels that the largest of them needs.
fn costs(experts: &[usize], width: usize) -> Vec<usize> {
    let groups = experts.chunks(LANES);
    groups
        .flat_map(|group| {
            let most = group.iter().max().expect("no group is empty");
            std::iter::repeat_n((2 * most + 1) * width, group.len())
        })
        .collect()
}

/// Cuts classes of the given numbers of experts into about `class_blocks` blocks of equal cost
/// (2 E + 1) d, E the largest E_k of a class's group; 0 chooses: blocks of `COLUMNS_MIN` columns or
/// more, `BLOCKS_MAX` at most. The cut depends on the model only.
pub fn layouts(experts: &[usize], dummy: Dummy, width: usize, class_blocks: usize) -> Vec<Layout> {
    let costs = costs(experts, width);
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
    /// Newly initialised weights of the own blocks, drawn for `generation` (0 for pretraining, r
    /// for round r).
    pub fn new(layouts: Vec<Layout>, owners: Owners, seed: u64, generation: u64) -> Experts {
        assert_eq!(layouts.len(), owners.blocks(), "class blocks and those that have owners");
        let columns = columns(&layouts);
        let parameters = layouts[owners.own()]
            .iter()
            .map(|layout| Arc::new(initial::experts(layout, columns, seed, generation)))
            .collect();
        Experts { layouts, owners, parameters }
    }

    /// The blocks whose weights are here.
    pub fn own(&self) -> Range<usize> {
        self.owners.own()
    }

    /// Their layouts.
    pub fn own_layouts(&self) -> &[Layout] {
        &self.layouts[self.own()]
    }

    /// Gives all experts of a class the bias that `biases` holds for it, one for each class.
    pub fn set_biases(&mut self, biases: &[f32]) {
        let layouts = &self.layouts[self.owners.own()];
        for (layout, parameters) in layouts.iter().zip(&mut self.parameters) {
            let parameters = Arc::make_mut(parameters);
            for class in 0..layout.classes.len() {
                let (places, weights) = layout.places_of(class);
                let bias = biases[layout.classes.start + class];
                places[weights..].iter().for_each(|place| parameters[*place] = bias);
            }
        }
    }

    /// Number of classes K.
    pub fn classes(&self) -> usize {
        self.layouts.last().map_or(0, |layout: &Layout| layout.classes.end)
    }

    /// Width d of the activations.
    pub fn width(&self) -> usize {
        self.layouts.first().map_or(0, |layout| layout.width)
    }

    /// Number of experts of each class.
    pub fn counts(&self) -> Vec<usize> {
        self.layouts.iter().flat_map(|layout| layout.experts.iter().copied()).collect()
    }

    /// The class block `block`, which must be an own one.
    pub fn block(&self, block: usize) -> Block<'_> {
        let parameters = &self.parameters[block - self.own().start];
        Block { layout: &self.layouts[block], parameters }
    }

    /// The first class whose weights here aren't all finite.
    pub fn odd_class(&self) -> Option<usize> {
        let odd = |block: &usize| !self.block(*block).parameters.iter().all(|w| w.is_finite());
        let Block { layout, parameters } = self.block(self.own().find(odd)?);
        let class = (0..layout.classes.len()).find(|class| {
            layout.places_of(*class).0.iter().any(|place| !parameters[*place].is_finite())
        });
        Some(layout.classes.start + class.unwrap_or(0))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adaptive_classes_get_an_expert_for_so_many_positives() {
        let rule = Rule::Adaptive { positives_per_expert: 10, max: 4 };
        assert_eq!(rule.counts(&[0, 1, 10, 11, 39, 41, 9_000]), [1, 1, 1, 2, 4, 4, 4]);
        assert_eq!(Rule::Uniform { count: 3 }.counts(&[0, 5]), [3, 3]);
    }

    #[test]
    fn a_class_with_a_number_that_is_none_is_found() {
        let layouts = layouts(&[2; 40], Dummy::Learned, 8, 2);
        let owners = Owners::even(layouts.len(), 1, 0);
        let mut experts = Experts::new(layouts, owners, 1, 1);
        assert_eq!(experts.odd_class(), None);
        let place = experts.layouts[1].places_of(3).0[5];
        Arc::make_mut(&mut experts.parameters[1])[place] = f32::NAN;
        assert_eq!(experts.odd_class(), Some(experts.layouts[1].classes.start + 3));
    }

    /// Ragged classes, frequent ones first as YouTube-8M lists them: a block exceeds the mean cost
    /// by no more than the largest group of sixteen.
    #[test]
    fn blocks_of_ragged_classes_cost_about_the_same() {
        let positives: Vec<u64> = (0..3862).map(|class| 100_000 / (1 + class)).collect();
        let rule = Rule::Adaptive { positives_per_expert: 100, max: 64 };
        let layouts = layouts(&rule.counts(&positives), Dummy::Learned, 8, 64);
        let columns: Vec<usize> = layouts.iter().map(Layout::columns).collect();
        let mean = columns.iter().sum::<usize>() as f64 / columns.len() as f64;
        let most = *columns.iter().max().unwrap() as f64;
        assert!(layouts.len() > 8 && most < 16.0 * 129.0 + mean, "{columns:?}");
    }
}
