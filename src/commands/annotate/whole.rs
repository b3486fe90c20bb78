//! Parts by ranks each of which holds the whole model: rows are read ahead, pass all class blocks
//! batch by batch, and are written by a thread, while parts are dealt to whoever gets free.

use std::time::{Duration, Instant};

use super::journal::Sum;
use super::writer::{Place, Writer};
use crate::comm::Comm;
use crate::cost::parts::Way;
use crate::data::Dataset;
use crate::device::{Device, Pace};
use crate::error::{Error, Exit, Result};
use crate::flow::dealing::{Dealing, Standing};
use crate::flow::own_rows::Room;
use crate::human;
use crate::inference::best::WholeModel;
use crate::inference::parts::{Annotated, Part, PartsAhead, Piece};
use crate::model::annotator::Annotator;
use crate::progress::{Awaiting, tick};
use crate::stint::{Length, Stint};

/// How long a rank waits for rows before it looks after messages.
const WAIT: Duration = Duration::from_millis(2);
/// Seconds of its work that a rank wants to have at hand.
const AHEAD_SECONDS: f64 = 1.0;

/// What there is to do.
pub(super) struct Work<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) parts: &'a [Part],
    /// Those of them that are left.
    pub(super) to_do: Vec<usize>,
    pub(super) place: Place,
    pub(super) way: Way,
    /// Where activations of waves may lie.
    pub(super) room: Room,
    /// How long a rank waits for rows that it reads, in seconds; 0: for ever.
    pub(super) patience: f64,
}

impl Work<'_> {
    /// What is left as a user sees it: the rows of all ranks.
    pub(super) fn stint(&self) -> Stint {
        let rows = self.to_do.iter().map(|part| self.parts[*part].rows.len() as u64).sum();
        Stint::begin("annotating", "annotating", Length::of(rows, "rows"))
    }

    pub(super) fn writer(&self, pieces: usize) -> Writer {
        Writer::new(self.place.clone(), 2 * pieces)
    }

    pub(super) fn ahead(&self, depth: usize) -> PartsAhead {
        PartsAhead::new(self.dataset, self.parts.to_vec(), depth)
    }

    /// The next rows, which are to come; calls `meanwhile` while they don't.
    ///
    /// # Errors
    /// What reading gives; exit 8: nothing comes; exit 75: `meanwhile` says that the run stops.
    pub(super) fn next_piece(
        &self,
        ahead: &mut PartsAhead,
        mut meanwhile: impl FnMut(&mut PartsAhead) -> Result<()>,
    ) -> Result<Piece> {
        if let Some(piece) = ahead.within(Duration::ZERO) {
            return piece;
        }
        let (_awaiting, began) = (Awaiting::begin(), Instant::now());
        loop {
            if let Some(piece) = ahead.within(WAIT) {
                return piece;
            }
            meanwhile(ahead)?;
            // Roll calls go on meanwhile, so nobody else sees that this rank hangs.
            if self.patience > 0.0 && began.elapsed().as_secs_f64() > self.patience {
                let text = format!("no rows came in {} s: reading shards hangs", self.patience);
                return Err(Error::new(Exit::Peer, text).hint("--stall-seconds waits longer"));
            }
        }
    }
}

/// What a rank looks after while it computes: messages, rows to be read, parts that are written.
struct Desk<'a> {
    comm: &'a Comm,
    work: &'a Work<'a>,
    dealing: Dealing<'a>,
    writer: Writer,
    own: Standing,
    /// Why it goes no further.
    failed: Option<Error>,
    began: Instant,
    stint: Stint,
}

impl Desk<'_> {
    /// Moves on what is under way, and has the parts read that have fallen to this rank. `idle`: it
    /// has nothing else to do and waits for others.
    fn tend(&mut self, ahead: &mut PartsAhead, idle: bool) {
        let stopped = self.comm.unless_stopped();
        match self.writer.finished() {
            Ok(finished) => self.own.finished = finished as u64,
            Err(error) => self.fail(error),
        }
        if let Err(error) = stopped {
            self.fail(error);
        }
        self.own.leaves = self.failed.is_some();
        let parts = match idle {
            true => self.dealing.wait(self.own),
            false => self.dealing.poll(self.own),
        };
        parts.into_iter().for_each(|part| ahead.want(self.work.to_do[part]));
        self.stint.reach(self.dealing.rows());
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// The next rows that pass the class blocks together: as many as there are at hand, at most
    /// `pieces` pieces.
    fn batch(&mut self, ahead: &mut PartsAhead, pieces: usize) -> Result<Vec<Piece>> {
        let mut batch = Vec::with_capacity(pieces);
        while batch.len() < pieces && !ahead.is_empty() {
            let work = self.work;
            batch.push(work.next_piece(ahead, |ahead| {
                self.tend(ahead, false);
                self.failed.clone().map_or(Ok(()), Err)
            })?);
        }
        Ok(batch)
    }

    /// Gives annotated rows to the writer.
    fn write(&mut self, ahead: &mut PartsAhead, rows: Vec<Annotated>) {
        for rows in rows {
            self.own.rows += rows.of.ids.len() as u64;
            let mut rows = Some(rows);
            while let Some(some) = rows.take() {
                rows = self.writer.give(some);
                if rows.is_some() {
                    self.tend(ahead, false);
                }
            }
        }
        let rate = self.own.rows as f64 / self.began.elapsed().as_secs_f64();
        self.own.wanted = self.own.wanted.max((AHEAD_SECONDS * rate) as u64);
        tick();
    }
}

/// Annotates the parts that are left, `pieces` pieces of rows at once. The parts of this rank come
/// back with their sums.
///
/// # Errors
/// What reading, computing and writing give; exit 75 when told to stop. Of this rank alone: where
/// another has failed this one has none.
pub(super) fn by_whole_models<D: Device>(
    comm: &Comm,
    work: &Work,
    annotator: &Annotator,
    pieces: usize,
    device: &mut D,
) -> Result<Vec<(usize, Sum)>> {
    let rows = work.to_do.iter().map(|part| work.parts[*part].rows.len() as u64).collect();
    let mut ahead = work.ahead(pieces);
    let mut model = WholeModel::new(annotator, device, work.dataset, work.place.top);
    let wanted = 2 * (pieces * ahead.rows_max()) as u64;
    let mut desk = Desk {
        comm,
        work,
        dealing: Dealing::new(comm, rows),
        writer: work.writer(pieces),
        own: Standing { wanted, ..Standing::default() },
        failed: None,
        began: Instant::now(),
        stint: work.stint(),
    };
    let stop = comm.stop();
    while !desk.dealing.over() {
        if ahead.is_empty() || desk.failed.is_some() {
            let waits_for_writer = desk.failed.is_none() && !desk.writer.is_idle();
            if waits_for_writer && let Err(error) = desk.writer.wait() {
                desk.fail(error);
            }
            desk.tend(&mut ahead, !waits_for_writer);
            continue;
        }
        let annotated = desk.batch(&mut ahead, pieces).and_then(|batch| {
            let mut poll = || desk.tend(&mut ahead, false);
            model.best(batch, &mut Pace::new(&mut poll, &|| stop.asked()))
        });
        match annotated {
            Ok(rows) => desk.write(&mut ahead, rows),
            Err(error) => desk.fail(error),
        }
    }
    if let Some(error) = desk.failed.take() {
        return Err(error);
    }
    if comm.is_root() {
        let (rows, seconds) = (desk.dealing.rows() as f64, desk.began.elapsed().as_secs_f64());
        let [count, rate] = [rows, rows / seconds].map(human::count);
        let waited = ahead.wait_seconds();
        log::info!(
            "{count} rows in {seconds:.1} s, {rate} rows/s; rank 0 waited {waited:.1} s for rows"
        );
    }
    Ok(desk.writer.into_finished())
}
