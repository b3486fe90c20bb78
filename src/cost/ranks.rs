//! Ranks that need not be there, as plans see them.

use crate::model::{self, Layout};
use crate::partition::{Columns, Grid, OwnedBlocks, Owners};

/// Who owns what, on ranks that need not be there.
#[derive(Clone, Copy)]
pub(crate) struct Ranks<'a> {
    /// Rows in row blocks.
    pub(crate) train: OwnedBlocks<'a>,
    pub(crate) validation: Option<OwnedBlocks<'a>>,
    /// Who owns which of so many things that are dealt.
    pub(crate) deal: &'a dyn Fn(usize) -> Owners,
    /// The same in pretraining, which may run on some of the ranks.
    pub(crate) deal_small: &'a dyn Fn(usize) -> Owners,
    /// Bytes of a number of frames, as they come from shards.
    pub(crate) frame_number: usize,
    /// The grid that holds class blocks, and what its ranks take; None: they are dealt.
    pub(crate) grid: Option<(&'a Grid, &'a [usize])>,
}

impl Ranks<'_> {
    /// Who holds and owns which class blocks.
    pub(super) fn columns(&self, layouts: &[Layout]) -> Columns {
        match self.grid {
            Some((grid, shares)) => grid.deal(&model::parameters(layouts), shares),
            None => alone((self.deal)(layouts.len())),
        }
    }

    /// The same in pretraining.
    pub(super) fn small_columns(&self, layouts: &[Layout]) -> Columns {
        alone((self.deal_small)(layouts.len()))
    }
}

/// Each owner has what it owns alone.
fn alone(owners: Owners) -> Columns {
    Columns { of_column: owners.clone(), owners }
}
