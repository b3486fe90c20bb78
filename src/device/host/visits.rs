//! Class blocks that visit rows of the host: a row block, or a run of rows, for each thread.

use std::sync::Arc;

use super::network::{BlockRows, Wave};
use crate::device::{AtRest, Pace, Resting, Scores, Which};
use crate::error::Result;
use crate::kernel::mixture::{Block, Kernel, Passing, transpose_into};
use crate::model::{LANES, Layout};
use crate::team::Team;

/// Rows that a thread scores at once.
const ROWS: usize = 128;

/// A class block that visits.
pub struct Visitor {
    layout: Layout,
    weights: Arc<Vec<f32>>,
}

impl Visitor {
    pub(crate) fn new(layout: &Layout, weights: Arc<Vec<f32>>) -> Visitor {
        Visitor { layout: layout.clone(), weights }
    }

    fn block(&self) -> Block<'_> {
        Block { layout: &self.layout, parameters: &self.weights }
    }

    pub(crate) fn visit(&self, mut team: Team<Kernel>, wave: &mut Wave, pace: &mut Pace) {
        let (block, turned) = (self.block(), &mut wave.turned);
        transpose_into(block, turned);
        let work = |kernel: &mut Kernel, rows: &mut BlockRows| {
            let mut losses = vec![0.0; block.layout.groups.len() * LANES];
            let labels = std::mem::take(&mut rows.labels);
            let (activations, slopes) = rows.sides();
            let passing = Passing { activations, labels: &labels, weights: &[] };
            let all = 0..labels.rows();
            kernel.activation_gradient(block, turned, passing, all, &mut slopes.data, &mut losses);
            rows.labels = labels;
            rows.loss += losses.iter().sum::<f64>();
        };
        team.polling(pace.poll).for_each(&mut wave.blocks, work);
    }

    pub(crate) fn scores(
        &self,
        mut team: Team<Kernel>,
        rest: &dyn AtRest,
        which: Which,
        pace: &mut Pace,
    ) -> Result<Scores> {
        let (block, classes) = (self.block(), self.layout.classes.len());
        let (mut scores, mut losses) = (vec![0.0; which.rows() * classes], vec![0.0; which.rows()]);
        let items = scores.chunks_mut(ROWS * classes).zip(losses.chunks_mut(ROWS)).enumerate();
        let work =
            |kernel: &mut Kernel, (index, (scores, losses)): (usize, (&mut [f32], &mut [f64]))| {
                let (from, to) = (index * ROWS, index * ROWS + losses.len());
                let Resting { activations, labels, rows } = match which {
                    Which::Run(first, _) => rest.run(first + from..first + to)?,
                    Which::Single(rows) => rest.gathered(&rows[from..to])?,
                };
                let passing = Passing { activations: &activations, labels: &labels, weights: &[] };
                kernel.scores(block, passing, rows, scores, losses);
                Ok(())
            };
        let outcomes = team.polling(pace.poll).map(items, work);
        outcomes.into_iter().collect::<Result<()>>()?;
        Ok(Scores { scores, losses })
    }
}
