//! The state of a class block that several ranks have at once, each of which sums some slices of
//! its rows. What it learns with lies elsewhere, so that no device can step it by mistake.

use std::io;

use serde::{Deserialize, Serialize};

use super::Slices;
use super::class_block::Solving;
use crate::model::Layout;
use crate::packed;
use crate::tree::nodes_of;

/// The state of such a block, besides its weights.
#[derive(Serialize, Deserialize)]
pub struct Apart {
    /// `[own slices][groups][16]` losses of the epoch under way, before each mini-batch's step.
    #[serde(with = "packed")]
    pub losses: Vec<f64>,
    /// `[groups][16]`, those of all slices in the epoch before.
    #[serde(with = "packed")]
    pub last_losses: Vec<f64>,
    /// Rows of the epoch that it has learned from.
    pub rows: usize,
    pub converged: bool,
    /// Vectors that it takes to sum the own slices.
    vectors: usize,
}

impl Apart {
    /// Before the first mini-batch, where some of the slices are summed here.
    pub fn new(layout: &Layout, slices: &Slices) -> Apart {
        let own = &slices.own;
        assert!(!own.is_empty(), "slices of a rank that has the block");
        let most = own.clone().map(|slice| nodes_of(own.start..slice).len() + 1).max();
        Apart {
            losses: vec![0.0; own.len() * layout.lanes()],
            last_losses: vec![f64::INFINITY; layout.lanes()],
            rows: 0,
            converged: false,
            vectors: most.unwrap_or(1),
        }
    }

    /// Whether the block is to learn from the mini-batch that ends before row `end` of the epoch.
    pub(crate) fn wants(&self, end: usize) -> bool {
        !self.converged && self.rows < end
    }

    /// As `MiniBatches::end_epoch`, by the losses of all slices, `[groups][16]`.
    pub fn end_epoch(&mut self, losses: &[f64], tolerance: f64) {
        self.rows = 0;
        if self.converged {
            return;
        }
        let settled = |(now, before): (&f64, &f64)| before - now <= tolerance * now;
        self.converged = tolerance > 0.0 && losses.iter().zip(&self.last_losses).all(settled);
        if !self.converged {
            self.last_losses.copy_from_slice(losses);
            self.losses.fill(0.0);
        }
    }
}

impl Solving for Apart {
    const GRADIENT_LASTS: bool = true;

    fn put(&self, to: &mut dyn io::Write) -> io::Result<()> {
        packed::put(to, self)
    }

    fn sums(&mut self) -> Option<&mut Vec<f64>> {
        Some(&mut self.losses)
    }

    fn chains(&self) -> usize {
        self.losses.len() / self.last_losses.len()
    }

    fn gradients(&self) -> usize {
        self.vectors
    }
}
