//! What a rank holds of class blocks that the ranks of its column have between them
//! (docs/thousand-ranks.md, section 3.13).

use super::device_classes::vectors_of_run;
use super::memory::ClassBlocks;
use crate::partition::Grid;
use crate::tree::nodes_of;

/// The column that a rank stands in.
pub(super) struct InColumn {
    /// Bytes of all its class blocks.
    pub(super) weights: usize,
    rows: usize,
    /// Nodes of the slices that are summed here, of those of all, and vectors that it takes to sum.
    own_nodes: usize,
    all_nodes: usize,
    vectors: usize,
}

impl InColumn {
    pub(super) fn of(grid: &Grid, rank: usize, large: &ClassBlocks) -> Option<InColumn> {
        let rows = grid.rows();
        if rows == 1 {
            return None;
        }
        let place = grid.place(rank);
        let runs = grid.slices().runs();
        let nodes = |row: usize| nodes_of(runs[row].clone()).len();
        Some(InColumn {
            weights: place.map_or(0, |place| large.bytes_in_column(place.column)),
            rows,
            own_nodes: place.map_or(0, |place| nodes(place.row)),
            all_nodes: (0..rows).map(nodes).sum(),
            vectors: place.map_or(0, |place| vectors_of_run(runs[place.row].clone()) + 1),
        })
    }

    /// Where classes search, `state` numbers beside each parameter: those of the classes at home
    /// here, and once more in whole blocks while a checkpoint is written, which travel one by one;
    /// sums of all blocks, and what goes and comes of one.
    pub(super) fn bytes_of_searches(&self, state: usize, block: usize) -> usize {
        let stretch = self.weights.div_ceil(self.rows);
        let (goes, comes) = (2 * self.own_nodes + 1, 3 * self.all_nodes);
        self.weights * (1 + self.vectors)
            + state * (2 * stretch + block)
            + goes * block
            + comes * block.div_ceil(self.rows)
    }

    /// What steps leave of each parameter, `state` numbers of them, in stretches, and once more in
    /// whole blocks while a checkpoint is written; two turns under way, and the sums of a third.
    /// Sums of several nodes lie side by side once more to be sent.
    pub(super) fn bytes(&self, state: usize, block: usize) -> usize {
        let stretch = self.weights.div_ceil(self.rows);
        let turn = (self.own_nodes + 2) * block + self.all_nodes * block.div_ceil(self.rows);
        let nodes = if self.own_nodes > 1 { self.own_nodes * block } else { 0 };
        self.weights + stretch + 2 * state * stretch + 2 * turn + nodes + self.vectors * block
    }
}
