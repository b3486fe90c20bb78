//! The rows of a dataset at home: cut into row blocks once, read block by block by the rank that
//! owns them, and taken to activations there.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::own_rows::{OwnRows, Room};
use crate::comm::{Comm, OrderedSum, StopFlag};
use crate::data::{Dataset, Kind, Reader};
use crate::device::{Device, host_arithmetic};
use crate::error::{Error, Exit, Result};
use crate::labels::Labels;
use crate::model::Matrix;
use crate::model::annotator::Annotator;
use crate::model::features::{Features, Frames};
use crate::model::spec::{Normalize, Standard};
use crate::partition::{Blocks, OwnedBlocks, Owners};
use crate::stint::{Length, Stint};
use crate::team::Ahead;

/// Rows that a thread takes to activations at once: row blocks of large datasets are too long to
/// be read ahead whole.
pub(crate) const ROWS_AT_ONCE: usize = 480;
/// Rows of frames that are read at once.
pub(crate) const FRAME_ROWS_AT_ONCE: usize = 32;

/// A dataset cut into row blocks, of which this rank owns a run: what [`crate::open_rows`] gives.
pub struct HomeRows {
    dataset: Dataset,
    /// All rows, cut; never by the number of ranks.
    #[doc(hidden)]
    pub(crate) blocks: Blocks,
    /// Who owns which row block.
    owners: Owners,
    /// Where activations of these rows may lie.
    #[doc(hidden)]
    pub room: RefCell<Room>,
    wait_seconds: Cell<f64>,
    /// Set when the run is to stop.
    stop: StopFlag,
}

/// Features and labels of the rows of one block, read ahead.
pub(crate) type ReadRows = Result<(Features, Labels)>;
/// The same of one piece of rows after the other.
pub(crate) type RowsAhead = Ahead<'static, (Features, Labels), Error>;

impl HomeRows {
    /// Number of rows of all ranks.
    pub fn rows(&self) -> usize {
        self.blocks.items()
    }
}

#[doc(hidden)]
impl HomeRows {
    pub fn new(comm: &Comm, dataset: Dataset, row_blocks: usize) -> HomeRows {
        let blocks = Blocks::even(dataset.rows(), row_blocks);
        let (owners, room) = (comm.deal(blocks.len()), RefCell::new(Room::unlimited()));
        let (wait_seconds, stop) = (Cell::new(0.0), comm.stop().clone());
        HomeRows { dataset, blocks, owners, room, wait_seconds, stop }
    }

    /// The same rows, of which those too large for this way of scaling are errors
    /// (`Dataset::scaled_by`).
    pub(crate) fn scaled_by(self, normalize: Normalize, standard: Option<&Standard>) -> HomeRows {
        HomeRows { dataset: self.dataset.scaled_by(normalize, standard), ..self }
    }

    /// The same rows as `comm` deals them now.
    pub(crate) fn dealt_anew(&self, comm: &Comm) -> HomeRows {
        HomeRows {
            dataset: self.dataset.clone(),
            blocks: self.blocks.clone(),
            owners: comm.deal(self.blocks.len()),
            room: self.room.clone(),
            wait_seconds: self.wait_seconds.clone(),
            stop: self.stop.clone(),
        }
    }

    pub(crate) fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// How the rows are cut, and who owns which.
    pub(crate) fn owned(&self) -> OwnedBlocks<'_> {
        OwnedBlocks { blocks: &self.blocks, owners: &self.owners }
    }

    /// The row blocks that this rank owns.
    pub(crate) fn own(&self) -> Range<usize> {
        self.owners.own()
    }

    /// The rows that this rank owns.
    pub(crate) fn own_rows(&self) -> Range<usize> {
        self.blocks.run(self.own())
    }

    /// The row blocks of each rank.
    pub(crate) fn block_runs(&self) -> Vec<Range<usize>> {
        self.owners.runs()
    }

    /// The rows of each rank.
    pub(crate) fn row_runs(&self) -> Vec<Range<usize>> {
        self.block_runs().into_iter().map(|run| self.blocks.run(run)).collect()
    }

    /// Number of rows of all ranks that have each class.
    ///
    /// # Errors
    /// What reading labels gives, common to all ranks.
    pub(crate) fn positives(&self, comm: &Comm) -> Result<Vec<u64>> {
        let mut labels = Labels::new();
        comm.agree(self.dataset.reader().labels(self.own_rows(), &mut labels))?;
        let mut positives = vec![0; self.dataset.class_count()];
        labels.classes().iter().for_each(|class| positives[*class as usize] += 1);
        comm.sum(&mut positives);
        Ok(positives)
    }

    /// Mean and spread of each feature over the rows of all ranks, frame by frame where rows have
    /// frames. Collective.
    ///
    /// # Errors
    /// What reading rows gives; exit 75 when told to stop; common to all ranks.
    pub fn standard(&self, comm: &Comm) -> Result<Standard> {
        let width = self.dataset.width();
        // [sums][sums of squares][count] of each row block.
        let mut total =
            OrderedSum::new(comm, "moments of features", self.block_runs(), 2 * width + 1);
        let mut rows = self.read_ahead(4);
        let mut read = || -> Result<()> {
            for block in self.own() {
                let mut sums = total.room();
                sums.fill(0.0);
                for piece in rows.by_ref().take(self.pieces(block).len()) {
                    comm.unless_stopped()?;
                    add_moments(&piece?.0, &mut sums);
                }
                total.add(sums);
            }
            Ok(())
        };
        comm.agree(read())?;
        self.waited(rows.wait_seconds());
        let total = total.finish(comm);
        let (sums, rest) = total.split_at(width);
        comm.agree(Ok(Standard::from_sums(rest[width], sums, &rest[..width])))
    }

    /// Seconds that this rank has waited for rows so far.
    pub(crate) fn wait_seconds(&self) -> f64 {
        self.wait_seconds.get()
    }

    /// Adds seconds of waiting for these rows.
    pub(crate) fn waited(&self, seconds: f64) {
        self.wait_seconds.set(self.wait_seconds.get() + seconds);
    }

    /// Rows of this rank that a full-batch pass reads at once: whole row blocks of videos, few rows
    /// of frames, each a hundred times as large.
    pub(crate) fn pieces(&self, block: usize) -> Vec<Range<usize>> {
        let rows_max = match self.dataset.kind() {
            Kind::Video => usize::MAX,
            Kind::Frames => FRAME_ROWS_AT_ONCE,
        };
        cut(self.blocks.block(block), rows_max).collect()
    }

    /// The pieces of each of this rank's blocks in order, while a thread reads the next ones.
    pub(crate) fn read_ahead(&self, depth: usize) -> RowsAhead {
        self.read_runs_ahead(depth, self.own_pieces().collect())
    }

    fn own_pieces(&self) -> impl Iterator<Item = Range<usize>> {
        self.own().flat_map(|block| self.pieces(block))
    }

    fn read_runs_ahead(&self, depth: usize, runs: Vec<Range<usize>>) -> RowsAhead {
        let (mut runs, mut reader) = (runs.into_iter(), self.dataset.reader());
        Ahead::new(depth, move || runs.next().map(|run| read_rows(&mut reader, run)))
    }

    /// The activations and labels of this rank's rows. Not collective: other ranks don't know of
    /// an error.
    ///
    /// # Errors
    /// What reading rows gives, and keeping their activations; exit 7 where those aren't finite;
    /// exit 75 when told to stop.
    pub(crate) fn activations<D: Device>(
        &self,
        annotator: &Annotator,
        device: &mut D,
    ) -> Result<OwnRows> {
        let mut own =
            OwnRows::new(self.own_rows(), annotator.layers.outputs(), &self.room.borrow())?;
        let runs = self.own_pieces().flat_map(|piece| cut(piece, ROWS_AT_ONCE)).collect();
        let mut rows = self.read_runs_ahead(device.at_once(), runs);
        let network = device.network(annotator);
        let mut pieces = rows.by_ref().map(|piece| match self.stop.asked() {
            true => Err(Error::stopped()),
            false => piece,
        });
        let amount = (self.rows() as u64, "rows");
        let length = Length { amount, ..Length::of(own.rows.len() as u64, "rows") };
        let stint = Stint::begin("activations", "activations", length);
        device.activations(&network, &mut pieces, &mut |activations, labels| {
            self.check(own.rows.start + own.labels.rows(), &activations)?;
            own.push(&activations, &labels)?;
            stint.reach(own.labels.rows() as u64);
            Ok(())
        })?;
        self.waited(rows.wait_seconds());
        Ok(own)
    }
}

#[doc(hidden)]
impl HomeRows {
    /// Sees whether activations of rows from `first` on are finite: scores that are made of
    /// infinite ones may look as if nothing were wrong.
    fn check(&self, first: usize, activations: &Matrix) -> Result<()> {
        let Some(row) = odd_row(activations).map(|row| first + row) else { return Ok(()) };
        let block = self.own().find(|block| self.blocks.block(*block).contains(&row));
        let block = block.expect("an own row lies in an own block");
        Err(not_finite(format_args!("row {row}, row block {block}")))
    }
}

/// The first row that isn't finite.
pub(crate) fn odd_row(activations: &Matrix) -> Option<usize> {
    if host_arithmetic::all_finite(&activations.data) {
        return None;
    }
    let odd = |row: &usize| activations.row(*row).iter().any(|number| !number.is_finite());
    (0..activations.rows()).find(odd)
}

/// The error that the activations of `what` aren't finite.
pub(crate) fn not_finite(what: impl std::fmt::Display) -> Error {
    let text = format!("{what}: activations: found NaN or infinity");
    Error::new(Exit::Numeric, text).hint("a smaller learning rate, or features scaled")
}

/// `rows` in runs of at most `rows_max`.
pub(crate) fn cut(rows: Range<usize>, rows_max: usize) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(rows_max).map(move |from| from..end.min(from.saturating_add(rows_max)))
}

/// Adds what rows give to [sums][sums of squares][count] of their features.
fn add_moments(features: &Features, sums: &mut [f64]) {
    let numbers = host_arithmetic::features_as_numbers(features);
    let (width, rows) = (numbers.width(), numbers.rows());
    let (sums, rest) = sums.split_at_mut(width);
    let (squares, count) = rest.split_at_mut(width);
    for row in 0..rows {
        let places = sums.iter_mut().zip(squares.iter_mut());
        for ((sum, square), x) in places.zip(numbers.row(row)) {
            let x = f64::from(*x);
            *sum += x;
            *square += x * x;
        }
    }
    count[0] += rows as f64;
}

/// No rows of `dataset`, for rows to be appended.
pub(crate) fn no_rows(dataset: &Dataset) -> Features {
    match dataset.kind() {
        Kind::Video => Features::Videos(Matrix::zeros(0, dataset.width())),
        Kind::Frames => Features::Frames(Frames::of(dataset.frame_form().clone())),
    }
}

/// Features and labels of some rows.
pub fn read_rows(reader: &mut Reader, rows: Range<usize>) -> ReadRows {
    let (mut found, mut labels) = (no_rows(reader.dataset()), Labels::new());
    match &mut found {
        Features::Videos(videos) => {
            let mut features = vec![0.0; rows.len() * videos.width()];
            reader.read(rows, &mut features, &mut labels)?;
            *videos = Matrix::from_rows(&features, videos.width());
        }
        Features::Frames(frames) => reader.read_frames(rows, frames, &mut labels)?,
    }
    Ok((found, labels))
}
