//! Who owns what: row blocks and class blocks, cut once from the data and the model, never from the
//! number of ranks, and then dealt to ranks as contiguous runs (ARCHITECTURE.md, "Same bits"). The
//! run that a rank has stands in one table, `Owners`, which goes with what was cut: with rows, with
//! mixtures. `Comm::deal` makes it, and `Grid::deal` where ranks are a grid; nothing else computes
//! an owner.

mod grid;

use std::ops::Range;

pub use self::grid::{Columns, Grid, Place};

/// Rows of a mini-batch that a group should have at least: fewer make the products inefficient.
const GROUP_SHARE: usize = 32;
/// Rows of a row block, and their number at least and at most, where the number follows from the
/// rows.
const ROW_BLOCK: usize = 1024;
const ROW_BLOCKS_MIN: usize = 256;
const ROW_BLOCKS_MAX: usize = 1 << 20;
/// What a block costs where all cost the same: so much that a cost for a share, a whole number,
/// tells shares of thousands apart.
const COST: usize = 1 << 24;

/// Into how many row blocks so many training rows are cut where a job asks for `asked`; 0: blocks
/// of 1,024 rows, as far as bounds allow, so that a thousand ranks have some.
pub(crate) fn row_blocks(asked: usize, rows: usize) -> usize {
    match asked {
        0 => (rows / ROW_BLOCK).clamp(ROW_BLOCKS_MIN, ROW_BLOCKS_MAX),
        asked => asked,
    }
}

/// Groups of row blocks that give their rows to a mini-batch of pretraining of `batch` rows, at
/// most so many; more ranks it can't use.
pub(crate) fn groups(batch: usize, most: usize) -> usize {
    (batch / GROUP_SHARE).clamp(1, most)
}

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
    pub(crate) fn by_cost(costs: &[usize], blocks: usize, unit: usize) -> Blocks {
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
    pub(crate) fn items(&self) -> usize {
        self.starts[self.len()]
    }

    /// Items of the longest block.
    pub(crate) fn longest(&self) -> usize {
        (0..self.len()).map(|block| self.block(block).len()).max().unwrap_or(0)
    }

    /// The items of one block.
    pub(crate) fn block(&self, block: usize) -> Range<usize> {
        self.starts[block]..self.starts[block + 1]
    }

    /// The items of a run of blocks.
    pub fn run(&self, blocks: Range<usize>) -> Range<usize> {
        self.starts[blocks.start]..self.starts[blocks.end]
    }
}

/// Which rank owns which blocks: a contiguous run each, of any length, perhaps none. All ranks hold
/// the same table, each with its own place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// Rank r owns the blocks `starts[r]..starts[r + 1]`.
    starts: Vec<usize>,
    rank: usize,
}

impl Owners {
    /// Runs whose lengths differ by at most one, as `rank` of `size` holds them.
    pub fn even(blocks: usize, size: usize, rank: usize) -> Owners {
        Owners::in_shares(blocks, &vec![1; size], rank)
    }

    /// Runs as long as the ranks' shares say, one of which isn't 0, as `rank` holds them: the run
    /// that is longest for its share is as short as can be.
    pub fn in_shares(blocks: usize, shares: &[usize], rank: usize) -> Owners {
        let total: usize = shares.iter().sum();
        assert!(rank < shares.len() && total > 0, "rank {rank} of {shares:?}");
        if shares.iter().any(|share| *share != shares[0]) {
            return Owners { starts: grid::least_largest(&vec![COST; blocks], shares), rank };
        }
        let ends = shares.iter().scan(0, |sum, share| {
            *sum += share;
            Some(*sum * blocks / total)
        });
        Owners { starts: std::iter::once(0).chain(ends).collect(), rank }
    }

    /// Number of ranks.
    pub(crate) fn ranks(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rank whose table this is.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Number of blocks of all ranks.
    pub(crate) fn blocks(&self) -> usize {
        self.starts[self.ranks()]
    }

    /// The blocks that `rank` owns.
    pub fn run(&self, rank: usize) -> Range<usize> {
        self.starts[rank]..self.starts[rank + 1]
    }

    /// The blocks of each rank.
    pub fn runs(&self) -> Vec<Range<usize>> {
        (0..self.ranks()).map(|rank| self.run(rank)).collect()
    }

    /// The blocks that this rank owns.
    pub fn own(&self) -> Range<usize> {
        self.run(self.rank)
    }

    /// The same among the first so many ranks, of which this is one and which own all blocks.
    pub(crate) fn of_first(&self, ranks: usize) -> Owners {
        assert!(self.rank < ranks && self.starts[ranks] == self.blocks(), "{ranks} of {self:?}");
        Owners { starts: self.starts[..=ranks].to_vec(), rank: self.rank }
    }

    /// The rank that owns `block`.
    pub(crate) fn owner(&self, block: usize) -> usize {
        assert!(block < self.blocks(), "block {block} of {}", self.blocks());
        // Behind ranks without blocks, which begin where the next one does.
        self.starts.partition_point(|start| *start <= block) - 1
    }
}

/// Items cut into blocks, and who owns which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnedBlocks<'a> {
    pub(crate) blocks: &'a Blocks,
    pub(crate) owners: &'a Owners,
}

impl OwnedBlocks<'_> {
    /// Number of items that `rank` owns.
    pub(crate) fn items(&self, rank: usize) -> usize {
        self.blocks.run(self.owners.run(rank)).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_the_owner_whose_run_holds_it() {
        let even = (1..40).flat_map(|blocks| (1..50).map(move |size| (blocks, size)));
        let even = even.map(|(blocks, size)| Owners::even(blocks, size, 0));
        let shares = [vec![0, 3, 0, 0, 2, 0], vec![7], vec![0, 0, 1], vec![5, 0, 1, 30]];
        let others = [0, 1, 5, 36, 100].into_iter().flat_map(|blocks| {
            shares.iter().map(move |shares| Owners::in_shares(blocks, shares, 0))
        });
        for owners in even.chain(others) {
            assert_eq!(owners.runs().iter().map(Range::len).sum::<usize>(), owners.blocks());
            for block in 0..owners.blocks() {
                assert!(owners.run(owners.owner(block)).contains(&block), "{owners:?}: {block}");
            }
        }
    }

    /// Whole blocks are dealt so that nobody takes longer than can't be helped.
    #[test]
    fn uneven_shares_are_dealt_by_the_run_that_takes_longest() {
        let lengths = |blocks, shares: &[usize]| -> Vec<usize> {
            Owners::in_shares(blocks, shares, 0).runs().iter().map(Range::len).collect()
        };
        let cases: [(usize, &[usize], &[usize]); 5] = [
            (22, &[62, 62, 250, 1000], &[1, 1, 4, 16]),
            (7, &[62, 62, 250, 1000], &[0, 0, 1, 6]),
            (7, &[1000, 100, 10, 1], &[7, 0, 0, 0]),
            (256, &[1000, 999], &[128, 128]),
            (1 << 20, &[3, 0, 1], &[3 << 18, 0, 1 << 18]),
        ];
        for (blocks, shares, expected) in cases {
            assert_eq!(lengths(blocks, shares), expected, "{blocks} in {shares:?}");
        }
    }

    #[test]
    fn row_blocks_follow_from_rows_where_a_job_leaves_them_open() {
        let cases = [(0, 256), (1, 256), (262_143, 256), (263_168, 257), (3_888_919, 3797)];
        for (rows, blocks) in cases {
            assert_eq!(row_blocks(0, rows), blocks, "{rows}");
            assert_eq!(row_blocks(7, rows), 7);
        }
        assert_eq!([500_000_000, 1 << 40].map(|rows| row_blocks(0, rows)), [488_281, 1 << 20]);
        assert_eq!(
            [(1024, 64), (1024, 7), (31, 64), (1 << 20, 4096)].map(|(b, m)| groups(b, m)),
            [32, 7, 1, 4096]
        );
    }

    #[test]
    fn even_runs_differ_by_at_most_one() {
        for (blocks, size) in [(0, 1), (3, 5), (7, 7), (256, 48)] {
            let lengths = Owners::even(blocks, size, 0).runs();
            let (least, most) = (blocks / size, blocks.div_ceil(size));
            assert!(lengths.iter().all(|run| (least..=most).contains(&run.len())), "{lengths:?}");
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
}
