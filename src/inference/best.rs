//! The best classes of rows: no loss, no metric, and no scores beyond those of a class block.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::parts::{Annotated, PartRows, Piece};
use crate::comm::Comm;
use crate::data::Dataset;
use crate::device::{AtRest, Device, Pace, Resting, Which};
use crate::error::{Error, Result};
use crate::flow::experts_travel::{AHEAD, visit_blocks};
use crate::flow::home_rows::{not_finite, odd_row};
use crate::flow::own_rows::OwnRows;
use crate::labels::Labels;
use crate::metrics::TopLists;
use crate::model::Matrix;
use crate::model::annotator::Annotator;
use crate::stint::{Length, Stint};

/// The `top` best classes of this rank's rows: class blocks travel, rows stay. Collective.
///
/// # Errors
/// What reading rows gives; exit 7 where scores are no numbers; exit 75 when told to stop; common
/// to all ranks.
pub(crate) fn best_of_own<D: Device>(
    comm: &Comm,
    annotator: &Annotator,
    own: &OwnRows,
    device: &mut D,
    top: usize,
) -> Result<TopLists> {
    let rows = own.labels.rows();
    let mut best = TopLists::new(rows, top);
    let (rest, mut outcome) = (device.rest(own), Ok(()));
    let blocks = Length::of(annotator.experts.layouts.len() as u64, "class blocks");
    let stint = Stint::begin("best classes", "best classes", blocks);
    visit_blocks(comm, &annotator.experts, AHEAD, |layout, weights, pace| {
        // A rank that has failed or stops goes on without rows: others wait for it.
        if outcome.is_ok() {
            outcome = comm.unless_stopped().and_then(|()| {
                let visitor = device.visitor(layout, weights.clone());
                let visitor = (&visitor, layout.classes.start);
                device.best(visitor, &rest, Which::Run(0, rows), &mut best.lists(), pace)
            });
        }
        stint.add(1);
    });
    drop(stint);
    let outcome = outcome.and_then(|()| device.give_best(&rest, &mut best.lists()));
    drop(rest);
    comm.agree(outcome)?;
    Ok(best)
}

/// Rows that pass all class blocks at once.
struct Batch {
    activations: Matrix,
    labels: Labels,
}

impl AtRest for Batch {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn run(&self, rows: Range<usize>) -> Result<Resting<'_>> {
        let (activations, labels) = (Cow::Borrowed(&self.activations), Cow::Borrowed(&self.labels));
        Ok(Resting { activations, labels, rows })
    }

    fn gathered(&self, rows: &[usize]) -> Result<Resting<'_>> {
        let mut activations = Matrix::zeros(rows.len(), self.activations.width());
        for (to, row) in rows.iter().enumerate() {
            activations.row_mut(to).copy_from_slice(self.activations.row(*row));
        }
        let labels = Cow::Owned(self.labels.of(rows.iter().copied()));
        Ok(Resting { activations: Cow::Owned(activations), labels, rows: 0..rows.len() })
    }
}

/// A device with a model all of whose class blocks are on this rank.
pub(crate) struct WholeModel<'a, D: Device> {
    annotator: &'a Annotator,
    network: D::Network<'a>,
    /// One for each class block, where the device has room for all of them at once.
    visitors: Vec<D::Visitor>,
    device: &'a mut D,
    dataset: &'a Dataset,
    top: usize,
}

impl<'a, D: Device> WholeModel<'a, D> {
    /// For rows of `dataset`, `top` classes of each.
    pub(crate) fn new(
        annotator: &'a Annotator,
        device: &'a mut D,
        dataset: &'a Dataset,
        top: usize,
    ) -> WholeModel<'a, D> {
        let network = device.network(annotator);
        let experts = &annotator.experts;
        let visitors = match device.may_stay(&experts.layouts) {
            true => {
                let blocks = experts.layouts.iter().zip(&experts.parameters);
                blocks.map(|(layout, weights)| device.visitor(layout, weights.clone())).collect()
            }
            false => Vec::new(),
        };
        WholeModel { annotator, network, visitors, device, dataset, top }
    }

    /// The best classes of the rows of some pieces, in their order.
    ///
    /// # Errors
    /// Exit 7: activations or scores are no numbers; exit 75 when told to stop; what the device
    /// gives.
    pub(crate) fn best(&mut self, pieces: Vec<Piece>, pace: &mut Pace) -> Result<Vec<Annotated>> {
        let mut places = Vec::with_capacity(pieces.len());
        let batch = self.activations(pieces, &mut places)?;
        let rows = batch.labels.rows();
        let mut best = TopLists::new(rows, self.top);
        let rest = self.device.rest(&batch);
        let mut lists = best.lists();
        let experts = &self.annotator.experts;
        for (block, layout) in experts.layouts.iter().enumerate() {
            pace.poll();
            if pace.stopped() {
                return Err(Error::stopped());
            }
            let come;
            let visitor = match self.visitors.get(block) {
                Some(stays) => stays,
                None => {
                    come = self.device.visitor(layout, experts.parameters[block].clone());
                    &come
                }
            };
            let visitor = (visitor, layout.classes.start);
            self.device.best(visitor, &rest, Which::Run(0, rows), &mut lists, pace)?;
        }
        self.device.give_best(&rest, &mut lists)?;
        drop(lists);
        Ok(annotated(places, &best))
    }

    /// Activations of all pieces, which leave their places.
    fn activations(&mut self, pieces: Vec<Piece>, places: &mut Vec<PartRows>) -> Result<Batch> {
        let WholeModel { annotator, network, device, dataset, .. } = self;
        let activations = Matrix::zeros(0, annotator.layers.outputs());
        let mut batch = Batch { activations, labels: Labels::new() };
        let mut firsts: VecDeque<usize> = pieces.iter().map(|piece| piece.of.rows.start).collect();
        let mut rows = pieces.into_iter().map(|Piece { of, features, labels }| {
            places.push(of);
            Ok((features, labels))
        });
        device.activations(network, &mut rows, &mut |activations, labels| {
            let first = firsts.pop_front().expect("a piece's activations");
            finite(dataset, first, &activations)?;
            batch.activations.append(activations);
            batch.labels.extend(&labels);
            Ok(())
        })?;
        Ok(batch)
    }
}

/// Sees that the activations of rows from `first` on are finite: scores that are made of infinite
/// ones may look as if nothing were wrong.
///
/// # Errors
/// Exit 7, naming the row.
pub(crate) fn finite(dataset: &Dataset, first: usize, activations: &Matrix) -> Result<()> {
    let Some(row) = odd_row(activations) else { return Ok(()) };
    let (shard, row) = dataset.place_of(first + row);
    Err(not_finite(format_args!("{}: row {row}", dataset.shards()[shard].path.display())))
}

/// Rows that lie end to end, each piece with its lists.
pub(crate) fn annotated(places: Vec<PartRows>, best: &TopLists) -> Vec<Annotated> {
    let mut at = 0;
    let with_lists = places.into_iter().map(|of| {
        let rows = at..at + of.ids.len();
        at = rows.end;
        Annotated { of, best: rows.flat_map(|row| best.row(row)).copied().collect() }
    });
    with_lists.collect()
}
