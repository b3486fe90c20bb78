//! The turns of a grid of ranks, for `reelscale bench overlap`: every column's class blocks take
//! turns through the exchanges of a real step, while the gradient's arithmetic rests.

use std::time::{Duration, Instant};

use super::rest_if;
use crate::comm::Comm;
use crate::device::{Between, Pace, Turn, Vote};
use crate::error::{Error, Exit, Result};
use crate::flow::column::{Column, Steps, Stretches};
use crate::flow::grid::Lanes;
use crate::model::Layout;
use crate::optim::MiniBatchSolver;
use crate::partition::Grid;
use crate::tree::nodes_of;

/// Class blocks of a column, which take turns: the exchange of one goes on behind the work on the
/// other.
const BLOCKS: usize = 2;
const STEPS: Steps = Steps { learning_rate: 0.1, l2: 0.0 };

/// R and C of `RxC`.
///
/// # Errors
/// What was found instead.
pub(super) fn shape_of(text: &str) -> std::result::Result<(usize, usize), String> {
    let both = text.split_once('x').and_then(|(rows, columns)| {
        let number = |text: &str| text.parse().ok().filter(|count| *count > 0);
        Some((number(rows)?, number(columns)?))
    });
    both.ok_or_else(|| format!("found {text:?}, expected rows x columns of ranks, as 4x4"))
}

/// This rank in its column.
pub(super) struct Turns<'a> {
    lanes: Lanes<'a>,
    stretches: Stretches,
}

impl<'a> Turns<'a> {
    /// Of blocks of so many bytes, in as many slices as the grid has rows. Collective.
    ///
    /// # Errors
    /// Exit 2: there are fewer ranks.
    pub(super) fn new(
        comm: &'a Comm,
        (rows, columns): (usize, usize),
        layout: &Layout,
    ) -> Result<Turns<'a>> {
        let ranks = comm.size();
        if rows < 2 || rows.saturating_mul(columns) > ranks {
            let text =
                format!("--grid: found {rows}x{columns}, expected 2 rows or more of {ranks} ranks");
            return Err(Error::new(Exit::Usage, text));
        }
        let grid = Grid::new((rows, columns), rows, ranks, comm.rank());
        let lanes = Lanes::new(comm, &grid);
        let weights = layout.empty_parameters();
        let blocks = vec![(layout, &weights[..]); if grid.own().is_some() { BLOCKS } else { 0 }];
        let how = (MiniBatchSolver::Adagrad, 0.0);
        Ok(Turns { lanes, stretches: Stretches::new(grid.slices().clone(), &blocks, how, 1) })
    }

    /// Seconds of so many turns.
    pub(super) fn pass(
        &mut self,
        comm: &Comm,
        (turns, polls): (usize, usize),
        time: Duration,
    ) -> Result<f64> {
        comm.barrier();
        let began = Instant::now();
        if let Some(lanes) = self.lanes.column() {
            let column = &mut Column::new(lanes, &mut self.stretches, STEPS);
            let (mut poll, nodes) = (|| (), nodes_of(column.slices().own).len());
            let pace = &mut Pace::new(&mut poll, &|| false);
            for turn in 0..turns {
                let turn = Turn { block: turn % BLOCKS, batch: turn / BLOCKS, rows: 1, end: 0 };
                column.begin(&turn, &mut |_, _, _| (), pace);
                rest_if(time, polls, &mut || column.tend());
                let parts = column.parts(turn.block).len();
                for part in 0..parts {
                    let sums = (0..nodes).map(|_| column.room(turn.block, part)).collect();
                    column.give(&turn, part, sums, Vote::GoOn);
                }
            }
            column.end(&mut |_, _, _| (), pace);
        }
        comm.agree(Ok(()))?;
        Ok(began.elapsed().as_secs_f64())
    }
}
