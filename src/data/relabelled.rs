//! The classes of a dataset under other numbers: those of a model that knows them by name.

use crate::labels::Labels;

/// What the classes of shards are called elsewhere.
#[derive(Debug)]
pub(crate) struct Relabelled {
    /// For each class of the shards its number there; None: there is no such class.
    pub(crate) classes: Vec<Option<u32>>,
    /// Number of classes there.
    pub(crate) class_count: usize,
}

impl Relabelled {
    /// Appends the labels of all rows of `found`; those that have no class there are left out.
    pub(super) fn add(&self, found: &Labels, to: &mut Labels) {
        for row in 0..found.rows() {
            let classes = found.row(row).iter();
            let mut own: Vec<u32> =
                classes.filter_map(|class| self.classes[*class as usize]).collect();
            own.sort_unstable();
            to.push(&own);
        }
    }
}
