//! What frozen class blocks on a device do with rows that they visit: add to dL/dv and to losses of
//! row blocks, and score.

use std::ops::Range;

use super::held::Held;
use super::queue::{Memory, Queue};
use super::window::Window;
use crate::kernel::text::sweeps::{self, Runs, Sweep};
use crate::model::stride_of;

/// The losses of row blocks whose rows lie end to end.
pub(crate) struct BlockLosses {
    /// First row of each row block, and the end.
    bounds: Vec<usize>,
    device_bounds: Memory,
    /// [row blocks] in float64.
    losses: Memory,
    /// Of the block that visits [row blocks][lanes], in float64.
    sums: Option<Memory>,
}

impl BlockLosses {
    /// Losses of 0 of row blocks that begin at these rows; the last is the end.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn new(queue: &Queue, bounds: Vec<usize>) -> Result<BlockLosses, String> {
        let words = bounds.iter().map(|row| i32::try_from(*row).expect("rows below 2^31"));
        let device_bounds = queue.upload(&words.collect::<Vec<_>>())?;
        let losses = queue.zeros((bounds.len() - 1) * size_of::<f64>())?;
        Ok(BlockLosses { bounds, device_bounds, losses, sums: None })
    }

    /// The rows of each row block.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        self.bounds.windows(2).map(|ends| ends[0]..ends[1])
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.bounds[self.bounds.len() - 1]
    }

    /// The sums of a block of so many lanes begin.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn begin(&mut self, queue: &Queue, lanes: usize) -> Result<(), String> {
        let bytes = (self.bounds.len() - 1) * lanes * size_of::<f64>();
        match self.sums.take().filter(|sums| sums.fits(bytes)) {
            Some(sums) => {
                sums.clear()?;
                self.sums = Some(sums);
            }
            None => self.sums = Some(queue.zeros(bytes)?),
        }
        Ok(())
    }

    /// The sums of a block of so many lanes are whole: they are added up.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn end(&self, queue: &Queue, lanes: usize) -> Result<(), String> {
        let (blocks, sums) = (self.bounds.len() - 1, self.sums().buffer());
        queue.launch(&sweeps::add_losses(blocks, lanes, sums, self.losses.buffer()))
    }

    /// The loss of each row block.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(crate) fn read(&self) -> Result<Vec<f64>, String> {
        self.losses.read(0, self.bounds.len() - 1)
    }

    fn sums(&self) -> &Memory {
        self.sums.as_ref().expect("begun")
    }

    /// Row blocks that have some of these rows.
    fn runs(&self, rows: &Range<usize>) -> Runs {
        let first = self.bounds.partition_point(|row| *row <= rows.start) - 1;
        let end = self.bounds.partition_point(|row| *row < rows.end);
        Runs { bounds: self.device_bounds.buffer(), first, count: end - first }
    }
}

impl Held {
    /// Adds the gradient with respect to the activations of `rows` to `dv` [rows of the
    /// window][stride of d], and the losses to the sums of their row blocks.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn visit(
        &mut self,
        window: &Window,
        rows: Range<usize>,
        losses: &BlockLosses,
        dv: &Memory,
    ) -> Result<(), String> {
        if rows.is_empty() {
            return Ok(());
        }
        self.prepare(rows.len())?;
        let (turned, lanes) = (rows.start.is_multiple_of(4), self.lanes());
        let (runs, sums) = (losses.runs(&rows), (losses.sums().buffer(), lanes));
        let from = rows.start * stride_of(self.width);
        for span in self.spans(&(0..self.blocks())) {
            let logits = self.logits(window, &rows, &span, turned)?;
            self.sweep(window, &rows, &span, logits, Sweep::Gradients)?;
            let (own, found) = (self.groups(&span), self.scratch().losses.buffer());
            let place = (rows.len(), rows.start);
            self.queue.launch(&sweeps::block_losses(place, own, found, runs, sums))?;
            self.add_to_slopes(&rows, &span, turned, (dv, from))?;
        }
        Ok(())
    }

    /// p of `rows` and all classes into `scores` [rows][classes of all blocks]; each row's loss is
    /// added to `row_losses` [rows] in float64, block after block, where they are wanted. The
    /// blocks' classes are consecutive.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn scores(
        &mut self,
        window: &Window,
        rows: Range<usize>,
        scores: &Memory,
        row_losses: Option<&Memory>,
    ) -> Result<(), String> {
        self.prepare(rows.len())?;
        let class_from = self.layouts[0].classes.start;
        let row = self.layouts[self.layouts.len() - 1].classes.end - class_from;
        for span in self.spans(&(0..self.blocks())) {
            let logits = self.logits(window, &rows, &span, false)?;
            let what = Sweep::Scores { scores: scores.buffer(), row, class_from };
            self.sweep(window, &rows, &span, logits, what)?;
            if let Some(sums) = row_losses {
                let (groups, losses) = (span.groups.len(), self.scratch().losses.buffer());
                let sums = sums.buffer();
                self.queue.launch(&sweeps::row_losses(rows.len(), groups, losses, sums))?;
            }
        }
        Ok(())
    }
}
