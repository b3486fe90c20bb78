//! Class blocks that visit rows of the host: a row block for each thread, or for all threads
//! together where few are left; scores of a run of rows for each thread.

use std::sync::Arc;

use super::network::{BlockRows, Wave};
use crate::device::{AtRest, Pace, Resting, Scores, Which, no_numbers};
use crate::error::Result;
use crate::kernel::mixture::{Block, Kernel, Passing, activation_gradient, transpose_into};
use crate::metrics::TopList;
use crate::model::{LANES, Layout};
use crate::team::Team;

/// Rows that a thread scores at once.
const ROWS: usize = 128;
/// Rows at most whose best classes a thread finds at once: a tile's, which passes over all weights
/// of a block.
const BEST_ROWS: usize = 240;

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
        transpose_into(&mut team, block, turned);
        let work = |team: &mut Team<Kernel>, rows: &mut BlockRows| {
            let mut losses = vec![0.0; block.layout.groups.len() * LANES];
            let labels = std::mem::take(&mut rows.labels);
            let (activations, slopes) = rows.sides();
            let passing = Passing { activations, labels: &labels, weights: &[] };
            let all = 0..labels.rows();
            let dv = &mut slopes.data;
            activation_gradient(team, block, turned, passing, all, dv, &mut losses);
            rows.labels = labels;
            rows.loss += losses.iter().sum::<f64>();
        };
        team.polling(pace.poll).together(wave.blocks.iter_mut().collect(), work);
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

    /// Each row's scores go to its list on the thread that makes them, while they are in its cache.
    pub(crate) fn best(
        &self,
        mut team: Team<Kernel>,
        rest: &dyn AtRest,
        which: Which,
        lists: &mut [TopList],
        pace: &mut Pace,
    ) -> Result<()> {
        let (block, classes) = (self.block(), self.layout.classes.clone());
        // As many items for each thread, so that none is idle.
        let items = lists.len().div_ceil(BEST_ROWS).next_multiple_of(team.threads());
        let height = lists.len().div_ceil(items.max(1)).next_multiple_of(12).max(12);
        let items = lists.chunks_mut(height).enumerate();
        let work = |kernel: &mut Kernel, (index, lists): (usize, &mut [TopList])| {
            let (from, to) = (index * height, index * height + lists.len());
            let Resting { activations, rows, .. } = match which {
                Which::Run(first, _) => rest.run(first + from..first + to)?,
                Which::Single(rows) => rest.gathered(&rows[from..to])?,
            };
            let mut scores = vec![0.0; lists.len() * classes.len()];
            kernel.probabilities(block, &activations, rows, &mut scores);
            let rows = lists.iter_mut().zip(scores.chunks(classes.len()));
            let numbers =
                rows.fold(true, |all, (list, scores)| all & list.offer(classes.start, scores));
            if numbers { Ok(()) } else { Err(no_numbers(classes.start)) }
        };
        let outcomes = team.polling(pace.poll).map(items, work);
        outcomes.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::device::{Device, Host};
    use crate::labels::Labels;
    use crate::metrics::TopLists;
    use crate::model::Matrix;
    use crate::model::experts::layouts;
    use crate::model::spec::Dummy;

    struct InMemory(Matrix, Labels);

    impl AtRest for InMemory {
        fn labels(&self) -> &Labels {
            &self.1
        }

        fn run(&self, rows: std::ops::Range<usize>) -> Result<Resting<'_>> {
            let (activations, labels) = (Cow::Borrowed(&self.0), Cow::Borrowed(&self.1));
            Ok(Resting { activations, labels, rows })
        }

        fn gathered(&self, rows: &[usize]) -> Result<Resting<'_>> {
            let numbers: Vec<f32> = rows.iter().flat_map(|row| self.0.row(*row).to_vec()).collect();
            let activations = Cow::Owned(Matrix::from_rows(&numbers, self.0.stride()));
            let labels = Cow::Owned(self.1.of(rows.iter().copied()));
            Ok(Resting { activations, labels, rows: 0..rows.len() })
        }
    }

    /// The lists have the bits of those that scores make, whose losses look at labels.
    #[test]
    fn the_best_are_the_best_of_all_scores() {
        for (dummy, epsilon) in [(Dummy::Learned, 1e-5), (Dummy::Zero, 0.0), (Dummy::None, 0.0)] {
            let counts: Vec<usize> = (0..150).map(|class| 1 + class % 3).collect();
            let layouts = layouts(&counts, dummy, 32, 0);
            let numbers: Vec<f32> = (0..700 * 32).map(|at| ((at * 37) % 101) as f32).collect();
            let mut labels = Labels::new();
            (0..700).for_each(|row| labels.push(&[row % 40, 100 + row % 40]));
            let rows = InMemory(Matrix::from_rows(&numbers, 32), labels);
            for (threads, which) in [(1, 3..700), (3, 3..700), (3, 0..5), (2, 9..9)] {
                let count = which.len();
                let which = Which::Run(which.start, which.end);
                let mut host = Host::detected(threads, epsilon);
                let [mut found, mut expected] = [TopLists::new(count, 7), TopLists::new(count, 7)];
                for layout in &layouts {
                    let (first, mut weights) = (layout.classes.start, layout.empty_parameters());
                    for class in 0..layout.classes.len() {
                        let places = layout.places_of(class).0.into_iter();
                        places.for_each(|at| weights[at] = (at * 29 % 53) as f32 / 900.0 - 0.03);
                    }
                    let visitor = host.visitor(layout, Arc::new(weights));
                    let (mut poll, rest) = (|| (), host.rest(&rows));
                    let mut pace = Pace::new(&mut poll, &|| false);
                    let lists = &mut found.lists()[..];
                    host.best((&visitor, first), &rest, which, lists, &mut pace).unwrap();
                    let scores = host.scores(&visitor, &rest, which, &mut pace).unwrap().scores;
                    for (row, scores) in scores.chunks(layout.classes.len()).enumerate() {
                        assert!(expected.offer(row, first, scores));
                    }
                }
                assert_eq!(found, expected, "{dummy:?}, {threads} threads");
            }
        }
    }
}
