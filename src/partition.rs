//! Who owns what: row blocks and class blocks, cut once from the data and the model, never from the
//! number of ranks, and then dealt to ranks as contiguous runs (ARCHITECTURE.md, "Same bits").

use std::ops::Range;

/// Groups of row blocks at most that give their rows to a mini-batch of pretraining, and so ranks
/// that it can use.
pub const GROUPS_MAX: usize = 64;

/// Items 0..n cut into contiguous blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Block b is `starts[b]..starts[b + 1]`.
    starts: Vec<usize>,
}

impl Blocks {
    /// Cuts `items` into `blocks` runs whose lengths differ by at most one; fewer blocks where
    /// there are fewer items, so that no block is empty.
    pub fn even(items: usize, blocks: usize) -> Blocks {
        let blocks = blocks.clamp(1, items.max(1));
        Blocks { starts: (0..=blocks).map(|block| block * items / blocks).collect() }
    }

    /// Cuts items of the given costs into at most `blocks` runs of about equal cost, at multiples
    /// of `unit` items only. No block is empty.
    pub fn by_cost(costs: &[usize], blocks: usize, unit: usize) -> Blocks {
        let units: Vec<usize> = costs.chunks(unit).map(|unit| unit.iter().sum()).collect();
        let total: usize = units.iter().sum();
        let blocks = blocks.clamp(1, units.len().max(1));
        let mut starts = vec![0];
        let mut so_far = 0;
        for (index, cost) in units.iter().enumerate() {
            so_far += cost;
            let open = starts.len();
            let left = units.len() - index - 1;
            let due = so_far * blocks >= total * open || left == blocks - open;
            if open < blocks && due && left > 0 {
                starts.push((index + 1) * unit);
            }
        }
        starts.push(costs.len());
        Blocks { starts }
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.items() == 0
    }

    /// Number of items in all blocks.
    pub fn items(&self) -> usize {
        self.starts[self.len()]
    }

    /// The items of one block.
    pub fn block(&self, block: usize) -> Range<usize> {
        self.starts[block]..self.starts[block + 1]
    }

    /// The items of a run of blocks.
    pub fn run(&self, blocks: Range<usize>) -> Range<usize> {
        self.starts[blocks.start]..self.starts[blocks.end]
    }

    /// The block that holds `item`.
    pub fn of_item(&self, item: usize) -> usize {
        self.starts.partition_point(|start| *start <= item) - 1
    }

    /// The items that `rank` of `size` owns: those of its run of blocks.
    pub fn owned(&self, size: usize, rank: usize) -> Range<usize> {
        self.run(owned(self.len(), size, rank))
    }
}

/// The run of blocks that `rank` of `size` owns: even, contiguous, perhaps empty.
pub fn owned(blocks: usize, size: usize, rank: usize) -> Range<usize> {
    rank * blocks / size..(rank + 1) * blocks / size
}

/// The run of blocks of each of `size` ranks.
pub fn runs(blocks: usize, size: usize) -> Vec<Range<usize>> {
    (0..size).map(|rank| owned(blocks, size, rank)).collect()
}

/// The rank of `size` that owns `block`.
pub fn owner(block: usize, blocks: usize, size: usize) -> usize {
    ((block + 1) * size - 1) / blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_the_owner_whose_run_holds_it() {
        for blocks in 1..40 {
            for size in 1..50 {
                for block in 0..blocks {
                    assert!(owned(blocks, size, owner(block, blocks, size)).contains(&block));
                }
            }
        }
    }

    #[test]
    fn blocks_by_cost_are_balanced_and_whole() {
        let costs: Vec<usize> = (0..3862).map(|class| 1 + 2 * (class % 5)).collect();
        let blocks = Blocks::by_cost(&costs, 64, 16);
        assert_eq!((blocks.len(), blocks.items()), (64, 3862));
        let sums: Vec<usize> =
            (0..64).map(|block| costs[blocks.block(block)].iter().sum()).collect();
        assert!(sums.iter().all(|sum| *sum > 0 && *sum < 500), "{sums:?}");
        for (count, blocks) in [(1, 9), (3, 8), (14, 7), (100, 8)] {
            let cut = Blocks::by_cost(&vec![5; count], blocks, 2);
            assert_eq!(cut.items(), count);
            assert!((0..cut.len()).all(|block| !cut.block(block).is_empty()), "{cut:?}");
        }
    }

    #[test]
    fn items_find_their_block() {
        let blocks = Blocks::even(10, 4);
        for item in 0..10 {
            assert!(blocks.block(blocks.of_item(item)).contains(&item));
        }
    }
}
