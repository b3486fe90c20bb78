//! Scores of this rank's rows, of which the device keeps what it has room for.

use std::cell::{OnceCell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use super::best::Lists;
use super::failure;
use super::held::Held;
use super::queue::Queue;
use super::waiting::wait;
use super::wave::{Visitor, Workplace};
use super::window::{Source, Window};
use crate::device::{AtRest, Pace, Resting, Scores, Which, no_numbers};
use crate::error::Result;
use crate::metrics::TopList;
use crate::model::stride_of;

/// Rows at rest.
pub struct Rest<'a> {
    rows: &'a dyn AtRest,
    /// So many of them are scored at once.
    run: usize,
    /// Bytes that they may take, with their lists.
    bytes_max: usize,
    /// The rows' best classes, if the device has room for them; unknown before the first are asked
    /// for.
    lists: OnceCell<Option<RefCell<Lists>>>,
    /// All of them on the device, if that has room for them; unknown before the first scores.
    kept: OnceCell<Option<Window>>,
    workplace: RefCell<Workplace>,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(rows: &'a dyn AtRest, (run, bytes_max): (usize, usize)) -> Rest<'a> {
        let (lists, kept, workplace) = (OnceCell::new(), OnceCell::new(), RefCell::default());
        Rest { rows, run, bytes_max, lists, kept, workplace }
    }

    /// Scores and losses of some rows, so many at once.
    pub(crate) fn scores(
        &self,
        queue: &Queue,
        visitor: &Visitor,
        which: Which,
        pace: &mut Pace,
    ) -> Result<Scores> {
        let failed = failure(queue);
        queue.alive().map_err(&failed)?;
        let (width, classes) = visitor.sizes();
        let rows = which.rows();
        let mut found = Scores { scores: vec![0.0; rows * classes], losses: vec![0.0; rows] };
        if rows == 0 {
            return Ok(found);
        }
        self.runs(queue, width, which, pace, |run, (window, own), pace| {
            let (scores, losses) =
                (&mut found.scores[run.start * classes..run.end * classes], &mut found.losses[run]);
            let score = |held: &mut Held| score(queue, held, (window, own), (scores, losses), pace);
            visitor.work(queue, &mut self.workplace.borrow_mut(), score)
        })?;
        Ok(found)
    }

    /// Offers scores of some rows to lists of `limit` pairs that stay here; false: there is no room
    /// for them.
    pub(crate) fn best(
        &self,
        queue: &Queue,
        (visitor, first_class): (&Visitor, usize),
        (which, limit): (Which, usize),
        pace: &mut Pace,
    ) -> Result<bool> {
        let failed = failure(queue);
        queue.alive().map_err(&failed)?;
        let (width, classes) = visitor.sizes();
        let rows = which.rows();
        if rows == 0 {
            return Ok(true);
        }
        let Some(lists) = self.lists(queue, rows, limit)? else { return Ok(false) };
        lists.borrow_mut().begin(first_class..first_class + classes);
        let bytes = self.run.min(rows) * classes * size_of::<f32>();
        let scores = queue.make(bytes).map_err(&failed)?;
        self.runs(queue, width, which, pace, |run, (window, own), pace| {
            visitor.work(queue, &mut self.workplace.borrow_mut(), |held| {
                held.scores(window, own, &scores, None)?;
                lists.borrow().offer(queue, run, &scores)
            })?;
            queue.mark()?;
            wait(queue, pace, 1)
        })?;
        Ok(true)
    }

    /// Offers the pairs of lists that stayed here to the rows' lists, in the rows' order.
    pub(crate) fn give_best(&self, queue: &Queue, lists: &mut [TopList]) -> Result<()> {
        let failed = failure(queue);
        queue.alive().map_err(&failed)?;
        let Some(Some(own)) = self.lists.get() else { return Ok(()) };
        let mut rows = lists.iter_mut();
        let odd = own.borrow().give(|pairs| {
            rows.next().expect("a list for each row").offer_pairs(pairs);
        });
        odd.map_err(failed)?.map_or(Ok(()), |class| Err(no_numbers(class)))
    }

    /// The lists, where they take no more than half of what is left of the device's memory.
    fn lists(&self, queue: &Queue, rows: usize, limit: usize) -> Result<Option<&RefCell<Lists>>> {
        if let Some(lists) = self.lists.get() {
            return Ok(lists.as_ref());
        }
        let room = self.bytes_max.min(queue.left() / 2);
        let lists = match Lists::bytes(rows, limit).is_some_and(|bytes| bytes <= room) {
            true => Some(Lists::new(queue, rows, limit).map_err(failure(queue))?),
            false => None,
        };
        Ok(self.lists.get_or_init(|| lists.map(RefCell::new)).as_ref())
    }

    /// Calls `pass` with some rows run by run, where they lie on the device.
    fn runs<'p>(
        &self,
        queue: &Queue,
        width: usize,
        which: Which,
        pace: &mut Pace<'p>,
        mut pass: impl FnMut(
            Range<usize>,
            (&Window, Range<usize>),
            &mut Pace<'p>,
        ) -> std::result::Result<(), String>,
    ) -> Result<()> {
        let (failed, rows) = (failure(queue), which.rows());
        let kept = self.kept(queue, width, pace)?;
        for from in (0..rows).step_by(self.run) {
            let run = from..(from + self.run).min(rows);
            let brought;
            let (window, own) = match (kept, which) {
                (Some(all), Which::Run(first, _)) => (all, first + run.start..first + run.end),
                (kept, which) => {
                    brought = self.bring(queue, kept, width, which, &run)?;
                    (&brought, 0..run.len())
                }
            };
            pass(run, (window, own), pace).map_err(&failed)?;
        }
        Ok(())
    }

    /// All rows on the device, where they take no more than half of what is left of its memory.
    fn kept(&self, queue: &Queue, width: usize, pace: &mut Pace) -> Result<Option<&Window>> {
        if let Some(kept) = self.kept.get() {
            return Ok(kept.as_ref());
        }
        let failed = failure(queue);
        let (labels, stride) = (self.rows.labels(), stride_of(width));
        let rows = labels.rows();
        let numbers = rows * (stride + width) + rows + labels.positives();
        let lists = self.lists.get().and_then(Option::as_ref).map_or(0, |own| own.borrow().held());
        let room = (self.bytes_max - lists).min(queue.left() / 2);
        let kept = if numbers * size_of::<f32>() <= room {
            let memory = queue.make(rows * stride * size_of::<f32>()).map_err(&failed)?;
            for from in (0..rows).step_by(self.run) {
                if pace.stopped() {
                    return Ok(None);
                }
                let Resting { activations, rows, .. } =
                    self.rows.run(from..(from + self.run).min(rows))?;
                memory.write(from * stride, activations.run(rows)).map_err(&failed)?;
                pace.poll();
            }
            Some(Window::of(queue, (Rc::new(memory), width), labels, &[]).map_err(&failed)?)
        } else {
            None
        };
        Ok(self.kept.get_or_init(|| kept).as_ref())
    }

    /// Some of the rows that are asked for, in a window of their own.
    fn bring(
        &self,
        queue: &Queue,
        kept: Option<&Window>,
        width: usize,
        which: Which,
        run: &Range<usize>,
    ) -> Result<Window> {
        let failed = failure(queue);
        if let (Some(all), Which::Single(rows)) = (kept, which) {
            let rows = &rows[run.clone()];
            let labels = self.rows.labels().of(rows.iter().copied());
            let places: Vec<i64> = rows.iter().map(|row| (row * stride_of(width)) as i64).collect();
            let numbers = all.activations();
            let source = Source { numbers, places: &places, width };
            return Window::new(queue, source, &labels, &[]).map_err(failed);
        }
        let Resting { activations, labels, rows } = match which {
            Which::Run(first, _) => self.rows.run(first + run.start..first + run.end)?,
            Which::Single(rows) => self.rows.gathered(&rows[run.clone()])?,
        };
        let own = labels.of(rows.clone());
        let numbers = queue.upload(activations.run(rows)).map_err(&failed)?;
        Window::of(queue, (Rc::new(numbers), width), &own, &[]).map_err(failed)
    }
}

/// Scores and losses of some rows of a window, which come down.
fn score(
    queue: &Queue,
    held: &mut Held,
    (window, rows): (&Window, Range<usize>),
    (scores, losses): (&mut [f32], &mut [f64]),
    pace: &mut Pace,
) -> std::result::Result<(), String> {
    let device_scores = queue.make(size_of_val(scores))?;
    let device_losses = queue.zeros(size_of_val(losses))?;
    held.scores(window, rows, &device_scores, Some(&device_losses))?;
    queue.mark()?;
    wait(queue, pace, 0)?;
    device_scores.read_into(0, scores)?;
    device_losses.read_into(0, losses)
}
