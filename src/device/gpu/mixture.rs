//! What class blocks held on a device do with rows: learn, give gradients, score.
//!
//! The panels and groups of all blocks lie end to end, so that a launch is over all of them: a
//! mini-batch is six launches, however many blocks there are. Where logits of all blocks at once
//! would take too much memory, a launch is over as many groups as fit.

use std::ops::Range;

use super::held::Held;
use super::launcher::Launcher;
use super::window::Window;
use crate::kernel::text::calls::{self, Buffer, Form, Moments, Panels, Rates, Rows, Size, Start};
use crate::kernel::text::sweeps::{self, Sweep};
use crate::model::LANES;

/// What a step is taken with: `Step` of optim, but that all weights decay and no bias does.
#[derive(Clone, Copy, Debug)]
pub struct Learning {
    pub learning_rate: f32,
    /// What the gradient is multiplied by: 1 / rows of the mini-batch, drawn or not.
    pub scale: f32,
    pub l2: f32,
}

impl Held {
    /// One mini-batch past some blocks that have taken equally many steps: losses before the step
    /// are added to the classes' sums, and weights, biases and optimizer state take a step with the
    /// mean gradient. There may be no rows: a step with a gradient of zeros.
    ///
    /// # Errors
    /// The device is lost.
    pub fn learn(
        &mut self,
        launcher: &mut dyn Launcher,
        window: &Window,
        rows: Range<usize>,
        blocks: Range<usize>,
        learning: Learning,
    ) -> Result<(), String> {
        let (of_weights, of_biases) = self.moments.expect("blocks that are to learn");
        let mut rate = learning.learning_rate;
        if let Moments::Adam(..) = of_weights {
            let powers = &mut self.beta_powers[blocks.clone()];
            assert!(powers.windows(2).all(|two| two[0] == two[1]), "blocks at other steps");
            for [one, two] in powers.iter_mut() {
                (*one, *two) = (*one * f64::from(0.9f32), *two * f64::from(0.999f32));
            }
            if let Some([one, two]) = powers.first() {
                rate = (f64::from(rate) * ((1.0 - two).sqrt() / (1.0 - one))) as f32;
            }
        }
        for span in self.spans(blocks) {
            self.slopes(launcher, window, rows.clone(), &span, false)?;
            let size =
                Size { rows: self.width, depth: rows.len(), columns: span.panels.len() * LANES };
            let (left, slopes) = (window.straight(rows.start), self.slopes_as_right(&span));
            let rates = Rates { rate, scale: learning.scale, l2: learning.l2 };
            let weights = self.panels_of(&span, self.weights);
            launcher
                .launch(&calls::gradient_step(size, left, slopes, weights, of_weights, rates))?;
            self.add_biases(launcher, rows.len(), &span, self.bias_gradient, false)?;
            let place = (span.panels.start * LANES, span.panels.len() * LANES, 0);
            let (biases, gradient) = (self.biases, self.bias_gradient);
            launcher.launch(&calls::step(place, biases, gradient, of_biases, rates))?;
        }
        Ok(())
    }

    /// The gradient summed over `rows`, of weights [panel][d][16] and of biases [panel][16], added
    /// to what the buffers hold or, where `fresh`, written.
    ///
    /// # Errors
    /// The device is lost.
    pub fn expert_gradient(
        &mut self,
        launcher: &mut dyn Launcher,
        window: &Window,
        rows: Range<usize>,
        (weights, biases): (Buffer, Buffer),
        fresh: bool,
    ) -> Result<(), String> {
        for span in self.spans(0..self.blocks()) {
            self.slopes(launcher, window, rows.clone(), &span, false)?;
            let size =
                Size { rows: self.width, depth: rows.len(), columns: span.panels.len() * LANES };
            let (left, slopes) = (window.straight(rows.start), self.slopes_as_right(&span));
            let out = self.panels_of(&span, weights);
            let start = if fresh { Start::Zero } else { Start::Out };
            let product = calls::product(Form::Gradient, size, left, slopes, out, start);
            launcher.launch(&product)?;
            self.add_biases(launcher, rows.len(), &span, biases, !fresh)?;
        }
        Ok(())
    }

    /// Adds the gradient with respect to the activations of `rows` to `dv` [rows][stride of d], and
    /// the losses to the classes' sums.
    ///
    /// # Errors
    /// The device is lost.
    pub fn activation_gradient(
        &mut self,
        launcher: &mut dyn Launcher,
        window: &Window,
        rows: Range<usize>,
        dv: Buffer,
    ) -> Result<(), String> {
        let turned = rows.start.is_multiple_of(4);
        for span in self.spans(0..self.blocks()) {
            self.slopes(launcher, window, rows.clone(), &span, turned)?;
            let columns = span.panels.len() * LANES;
            let weights = self.panels_of(&span, self.weights);
            let right = self.turned_weights(launcher)?;
            let from = (weights.buffer, weights.from);
            launcher.launch(&calls::turn_panels((self.width, columns), from, right))?;
            let size = Size { rows: rows.len(), depth: columns, columns: window.stride };
            let (form, row) = match turned {
                true => (Form::turned(size), rows.len().next_multiple_of(4)),
                false => (Form::Straight, columns),
            };
            let left = Rows { buffer: self.logits, from: 0, row };
            let right = Panels { buffer: right, from: 0, row: LANES, panel: columns * LANES };
            let out = Panels { buffer: dv, from: 0, row: window.stride, panel: LANES };
            let product = calls::product(form, size, left, right, out, Start::Out);
            launcher.launch(&product)?;
        }
        Ok(())
    }

    /// p of `rows` and all classes into `scores` [rows][classes of all blocks]; each row's loss is
    /// added to `row_losses` [rows] in float64, block after block. The blocks' classes are
    /// consecutive.
    ///
    /// # Errors
    /// The device is lost.
    pub fn scores(
        &mut self,
        launcher: &mut dyn Launcher,
        window: &Window,
        rows: Range<usize>,
        scores: Buffer,
        row_losses: Buffer,
    ) -> Result<(), String> {
        let class_from = self.layouts[0].classes.start;
        let row = self.layouts[self.layouts.len() - 1].classes.end - class_from;
        for span in self.spans(0..self.blocks()) {
            let logits = self.logits(launcher, window, rows.clone(), &span, false)?;
            let what = Sweep::Scores { scores, row, class_from };
            self.sweep(launcher, window, rows.clone(), &span, logits, what)?;
            let groups = span.groups.len();
            launcher.launch(&sweeps::row_losses(rows.len(), groups, self.losses, row_losses))?;
        }
        Ok(())
    }
}
