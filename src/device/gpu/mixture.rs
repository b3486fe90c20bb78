//! What class blocks held on a device do with rows: give gradients, step, score.
//!
//! The panels and groups of all blocks lie end to end, so that a launch is over many of them: a
//! mini-batch is six launches, however many blocks there are. Where logits of all blocks at once
//! would take too much memory, a launch is over as many groups as fit.

use std::ops::Range;

use super::held::{Held, Span, Vector};
use super::queue::Memory;
use super::window::Window;
use crate::kernel::text::calls::{self, Form, Moments, Panels, Rates, Rows, Size, Start, Stepper};
use crate::kernel::text::sweeps::{self, Logits, Sweep};
use crate::model::{LANES, stride_of};

/// Whether sums begin with these rows or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sums {
    Begin,
    GoOn,
}

impl Held {
    /// One mini-batch past some blocks: losses before the step are added to the classes' sums, and
    /// weights, biases and what the solver keeps take a step with the gradient over `rows`. There
    /// may be no rows: a step with a gradient of zeros. All weights decay and no bias does.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn learn(
        &mut self,
        window: &Window,
        rows: Range<usize>,
        blocks: Range<usize>,
        (stepper, rates): (Stepper, Rates),
    ) -> Result<(), String> {
        self.prepare(rows.len())?;
        let [of_weights, of_biases] = self.moments(stepper);
        for span in self.spans(&blocks) {
            self.slopes(window, &rows, &span, 0)?;
            let size = self.gradient_size(&rows, &span);
            let (left, slopes) = (window.straight(rows.start), self.slopes_as_right(&span));
            let weights = self.panels_of(&span.panels, self.parameters.weights.buffer());
            let step = calls::gradient_step(size, left, slopes, weights, of_weights, rates);
            self.queue.launch(&step)?;
            self.bias_gradient(rows.len(), &span, &self.bias_gradient, Sums::Begin)?;
            self.step_biases(&span.panels, &self.bias_gradient, of_biases, rates)?;
        }
        Ok(())
    }

    /// A step of some blocks with a gradient. All weights decay and no bias does; biases' gradient
    /// counts `biases` times as much.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn step(
        &self,
        blocks: Range<usize>,
        gradient: &Vector,
        (stepper, rates): (Stepper, Rates),
        biases: f32,
    ) -> Result<(), String> {
        let [of_weights, of_biases] = self.moments(stepper);
        let (panels, panel) = (self.panels(&blocks), self.width * LANES);
        let count = panels.len() * panel;
        let (weights, slopes) = (self.parameters.weights.buffer(), gradient.weights.buffer());
        let place = (panels.start * panel, count, count);
        self.queue.launch(&calls::step(place, weights, slopes, of_weights, rates))?;
        let rates = Rates { scale: rates.scale * biases, ..rates };
        self.step_biases(&panels, &gradient.biases, of_biases, rates)
    }

    fn step_biases(
        &self,
        panels: &Range<usize>,
        gradient: &Memory,
        moments: Moments,
        rates: Rates,
    ) -> Result<(), String> {
        let place = (panels.start * LANES, panels.len() * LANES, 0);
        let biases = self.parameters.biases.buffer();
        self.queue.launch(&calls::step(place, biases, gradient.buffer(), moments, rates))
    }

    /// Adds a sum of some blocks' gradients to the one left of it.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn add(
        &self,
        blocks: Range<usize>,
        left: &Vector,
        right: &Vector,
    ) -> Result<(), String> {
        let (panels, panel) = (self.panels(&blocks), self.width * LANES);
        for (left, right, numbers) in
            [(&left.weights, &right.weights, panel), (&left.biases, &right.biases, LANES)]
        {
            let place = (panels.start * numbers, panels.len() * numbers);
            self.queue.launch(&calls::add(place, left.buffer(), right.buffer()))?;
        }
        Ok(())
    }

    /// Moves a mean of some blocks' parameters by `share` towards where they stand.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn average(
        &self,
        blocks: Range<usize>,
        share: f32,
        mean: &Vector,
    ) -> Result<(), String> {
        let (panels, panel) = (self.panels(&blocks), self.width * LANES);
        for (own, mean, numbers) in [
            (&self.parameters.weights, &mean.weights, panel),
            (&self.parameters.biases, &mean.biases, LANES),
        ] {
            let place = (panels.start * numbers, panels.len() * numbers);
            self.queue.launch(&calls::average(place, share, own.buffer(), mean.buffer()))?;
        }
        Ok(())
    }

    /// The gradient of some blocks summed over `rows`; the losses are added to a chain of the
    /// classes' sums.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn expert_gradient(
        &mut self,
        window: &Window,
        rows: Range<usize>,
        blocks: Range<usize>,
        gradient: &Vector,
        (sums, chain): (Sums, usize),
    ) -> Result<(), String> {
        self.prepare(rows.len())?;
        for span in self.spans(&blocks) {
            self.slopes(window, &rows, &span, chain)?;
            self.weight_gradient(window, &rows, &span, gradient, sums)?;
        }
        Ok(())
    }

    /// As `expert_gradient`, of a sum that begins here; the gradient with respect to activations is
    /// added to `dv` [rows][stride of d].
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn both_gradients(
        &mut self,
        window: &Window,
        rows: Range<usize>,
        blocks: Range<usize>,
        gradient: &Vector,
        dv: &Memory,
    ) -> Result<(), String> {
        self.prepare(rows.len())?;
        for span in self.spans(&blocks) {
            self.slopes(window, &rows, &span, 0)?;
            self.weight_gradient(window, &rows, &span, gradient, Sums::Begin)?;
            self.add_to_slopes(&rows, &span, false, (dv, 0))?;
        }
        Ok(())
    }

    /// The sum of squares of each panel of all blocks' gradient.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn panel_squares(&self, gradient: &Vector) -> Result<Vec<f64>, String> {
        let panels = self.panels(&(0..self.blocks()));
        let squares = self.queue.make(panels.len() * size_of::<f64>())?;
        let place = (panels.start, panels.len());
        let (numbers, from) = (self.width * LANES, gradient.weights.buffer());
        self.queue.launch(&sweeps::panel_squares(place, numbers, from, squares.buffer()))?;
        squares.read(0, panels.len())
    }

    /// Scales the weights' gradient of all blocks: gates' by the first, experts' by the second.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn scale(&self, gradient: &Vector, factors: [f32; 2]) -> Result<(), String> {
        let panels = self.panels(&(0..self.blocks()));
        let place = (panels.start, panels.len());
        let (numbers, learned) = (self.width * LANES, self.learned.buffer());
        let to = gradient.weights.buffer();
        self.queue.launch(&sweeps::scale_panels(place, numbers, learned, factors, to))
    }

    /// Logits and their gradients of a span's panels, and the losses added to a chain of its
    /// classes' sums.
    fn slopes(
        &self,
        window: &Window,
        rows: &Range<usize>,
        span: &Span,
        chain: usize,
    ) -> Result<(), String> {
        let logits = self.logits(window, rows, span, false)?;
        self.sweep(window, rows, span, logits, Sweep::Gradients)?;
        let (groups, losses) = (self.groups(span), self.scratch().losses.buffer());
        let sums = (self.class_losses.buffer(), self.losses_from(chain, span.groups.start));
        self.queue.launch(&sweeps::class_losses(rows.len(), groups, losses, sums))
    }

    /// Z of a span's panels, row by row or turned, which takes rows from a multiple of four on.
    pub(super) fn logits(
        &self,
        window: &Window,
        rows: &Range<usize>,
        span: &Span,
        turned: bool,
    ) -> Result<Logits, String> {
        assert!(rows.end <= window.rows(), "rows of the window");
        let columns = span.panels.len() * LANES;
        let size = Size { rows: rows.len(), depth: self.width, columns };
        let (form, left) = match (turned, rows.start.is_multiple_of(4)) {
            (true, _) => (Form::TurnedOut, window.turned(rows.start)),
            (false, true) => (Form::turned(size), window.turned(rows.start)),
            (false, false) => (Form::Straight, window.straight(rows.start)),
        };
        let row = if turned { rows.len().next_multiple_of(4) } else { columns };
        let right = self.panels_of(&span.panels, self.parameters.weights.buffer());
        let logits = self.scratch().logits.buffer();
        let out = Panels { buffer: logits, from: 0, row, panel: LANES };
        let start = Start::Bias(self.parameters.biases.buffer(), span.panels.start * LANES);
        self.queue.launch(&calls::product(form, size, left, right, out, start))?;
        Ok(match turned {
            true => Logits::Turned(logits, row),
            false => Logits::Straight(logits),
        })
    }

    pub(super) fn sweep(
        &self,
        window: &Window,
        rows: &Range<usize>,
        span: &Span,
        logits: Logits,
        what: Sweep,
    ) -> Result<(), String> {
        let (groups, place) = (self.groups(span), (rows.len(), rows.start));
        let losses = self.scratch().losses.buffer();
        let mut truth = window.truth();
        truth.weights = truth.weights.filter(|_| matches!(what, Sweep::Gradients));
        let sweep = sweeps::sweep(place, groups, self.epsilon, logits, truth, losses, what);
        self.queue.launch(&sweep)
    }

    /// The weights' and the biases' gradient of a span whose slopes lie row by row.
    fn weight_gradient(
        &self,
        window: &Window,
        rows: &Range<usize>,
        span: &Span,
        gradient: &Vector,
        sums: Sums,
    ) -> Result<(), String> {
        let size = self.gradient_size(rows, span);
        let (left, slopes) = (window.straight(rows.start), self.slopes_as_right(span));
        let out = self.panels_of(&span.panels, gradient.weights.buffer());
        let start = match sums {
            Sums::Begin => Start::Zero,
            Sums::GoOn => Start::Out,
        };
        self.queue.launch(&calls::product(Form::Gradient, size, left, slopes, out, start))?;
        self.bias_gradient(rows.len(), span, &gradient.biases, sums)
    }

    fn bias_gradient(
        &self,
        rows: usize,
        span: &Span,
        gradient: &Memory,
        sums: Sums,
    ) -> Result<(), String> {
        let panels = (span.panels.start, span.panels.len());
        let (slopes, learned) = (self.scratch().logits.buffer(), self.learned.buffer());
        let (to, add) = (gradient.buffer(), sums == Sums::GoOn);
        self.queue.launch(&sweeps::bias_gradient(rows, panels, slopes, learned, to, add))
    }

    /// dV += dZ W' of a span whose slopes lie row by row, or turned; dV begins at a number of `dv`.
    pub(super) fn add_to_slopes(
        &mut self,
        rows: &Range<usize>,
        span: &Span,
        turned: bool,
        (dv, first): (&Memory, usize),
    ) -> Result<(), String> {
        let (columns, stride) = (span.panels.len() * LANES, stride_of(self.width));
        let weights = self.panels_of(&span.panels, self.parameters.weights.buffer());
        let right = self.turned_weights()?;
        let from = (weights.buffer, weights.from);
        self.queue.launch(&calls::turn_panels((self.width, columns), from, right))?;
        let size = Size { rows: rows.len(), depth: columns, columns: stride };
        let (form, row) = match turned {
            true => (Form::turned(size), rows.len().next_multiple_of(4)),
            false => (Form::Straight, columns),
        };
        let left = Rows { buffer: self.scratch().logits.buffer(), from: 0, row };
        let right = Panels { buffer: right, from: 0, row: LANES, panel: columns * LANES };
        let out = Panels { buffer: dv.buffer(), from: first, row: stride, panel: LANES };
        self.queue.launch(&calls::product(form, size, left, right, out, Start::Out))
    }

    /// Of a product V' dZ.
    fn gradient_size(&self, rows: &Range<usize>, span: &Span) -> Size {
        Size { rows: self.width, depth: rows.len(), columns: span.panels.len() * LANES }
    }

    fn slopes_as_right(&self, span: &Span) -> Panels {
        let (columns, buffer) = (span.panels.len() * LANES, self.scratch().logits.buffer());
        Panels { buffer, from: 0, row: columns, panel: LANES }
    }
}
