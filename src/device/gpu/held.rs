//! Class blocks held on a device: where everything of them lies, the launches that learning and
//! scoring are made of, and how they are read back.

use std::ops::Range;

use super::launcher::{Launcher, download, release, upload};
use super::window::Window;
use crate::kernel::text::calls::{self, Buffer, Form, Moments, Panels, Size, Start};
use crate::kernel::text::sweeps::{self, GROUP_WORDS, Groups, Logits, Sweep};
use crate::model::LANES;
use crate::model::Layout;
use crate::model::spec::Dummy;

/// What class blocks learn with on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Solver {
    Adagrad,
    Adam,
}

/// Groups whose logits are worked on at once.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) groups: Range<usize>,
    pub(super) panels: Range<usize>,
}

/// Class blocks on a device, all of one width and dummy.
pub struct Held {
    pub(super) layouts: Vec<Layout>,
    pub(super) width: usize,
    pub(super) dummy: i32,
    pub(super) epsilon: f32,
    /// First panel of each group, and the end.
    firsts: Vec<usize>,
    /// First group of each block, and the end.
    group_firsts: Vec<usize>,
    /// Panels whose logits there is room for.
    panels_max: usize,
    /// Rows of a mini-batch at most.
    pub(super) rows: usize,
    pub(super) shapes: Buffer,
    /// 1 for each panel of experts, whose biases are learned.
    pub(super) learned: Buffer,
    /// [panel][width][16]
    pub(super) weights: Buffer,
    /// [panel][16]
    pub(super) biases: Buffer,
    /// Of weights, of biases.
    pub(super) moments: Option<(Moments, Moments)>,
    /// Adam's 0.9^t and 0.999^t of each block, as running products.
    pub(super) beta_powers: Vec<[f64; 2]>,
    pub(super) bias_gradient: Buffer,
    /// [groups][16] in float64.
    pub(super) class_losses: Buffer,
    pub(super) logits: Buffer,
    pub(super) losses: Buffer,
    /// W' of a span in panels, where activations' gradients were asked for.
    pub(super) turned_weights: Option<Buffer>,
}

impl Held {
    /// Takes class blocks in, of one width and dummy, for mini-batches of at most so many rows
    /// whose logits take at most `logits_bytes` (or those of one group).
    ///
    /// # Errors
    /// The device is full or lost.
    pub fn hold(
        launcher: &mut dyn Launcher,
        blocks: &[(&Layout, &[f32])],
        epsilon: f32,
        solver: Option<Solver>,
        rows: usize,
        logits_bytes: usize,
    ) -> Result<Held, String> {
        let layouts: Vec<Layout> = blocks.iter().map(|block| block.0.clone()).collect();
        let (width, dummy) = (layouts[0].width, layouts[0].dummy);
        assert!(layouts.iter().all(|one| one.width == width && one.dummy == dummy), "like blocks");
        let (mut shapes, mut learned) = (Vec::<i32>::new(), Vec::<i32>::new());
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for (layout, parameters) in blocks {
            let before = learned.len();
            for (index, group) in layout.groups.iter().enumerate() {
                let class = layout.classes.start + index * LANES;
                let live = LANES.min(layout.classes.end - class);
                let words = [before + group.first_panel, group.gates, group.experts, class, live];
                shapes.extend(words.map(|word| word as i32));
                learned.extend(std::iter::repeat_n(0, group.gates));
                learned.extend(std::iter::repeat_n(1, group.experts));
            }
            let (own_weights, own_biases) = parameters.split_at(layout.biases());
            weights.extend_from_slice(own_weights);
            biases.extend_from_slice(own_biases);
        }
        let words = shapes.chunks(GROUP_WORDS).map(|words| words[0] as usize);
        let firsts: Vec<usize> = words.chain([learned.len()]).collect();
        let largest = firsts.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
        let fits = logits_bytes / (rows * LANES * 4).max(1);
        let panels_max = fits.clamp(largest, learned.len().max(largest));
        let groups_max = panels_max.min(firsts.len() - 1);
        let mut group_firsts = vec![0];
        for layout in &layouts {
            group_firsts.push(group_firsts[group_firsts.len() - 1] + layout.groups.len());
        }
        let moments = match solver {
            None => None,
            Some(solver) => {
                let weights = moments(launcher, solver, weights.len())?;
                Some((weights, moments(launcher, solver, biases.len())?))
            }
        };
        Ok(Held {
            width,
            dummy: match dummy {
                Dummy::Learned => 0,
                Dummy::Zero => 1,
                Dummy::None => 2,
            },
            epsilon,
            rows,
            learned: upload(launcher, &learned)?,
            weights: upload(launcher, &weights)?,
            biases: upload(launcher, &biases)?,
            moments,
            beta_powers: vec![[1.0; 2]; layouts.len()],
            bias_gradient: launcher.make(biases.len() * 4)?,
            class_losses: upload(launcher, &vec![0.0f64; shapes.len() / GROUP_WORDS * LANES])?,
            logits: launcher.make(rows.next_multiple_of(4) * panels_max * LANES * 4)?,
            losses: launcher.make(rows * groups_max * LANES * 4)?,
            turned_weights: None,
            shapes: upload(launcher, &shapes)?,
            layouts,
            firsts,
            group_firsts,
            panels_max,
        })
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.layouts.len()
    }

    /// Cuts the groups of some blocks into spans whose logits fit.
    pub(super) fn spans(&self, blocks: Range<usize>) -> Vec<Span> {
        let (mut from, end) = (self.group_firsts[blocks.start], self.group_firsts[blocks.end]);
        let mut spans = Vec::new();
        while from < end {
            let ends = &self.firsts[from + 1..=end];
            let first = self.firsts[from];
            let fits = ends.iter().take_while(|end| **end - first <= self.panels_max).count();
            let to = from + fits;
            spans.push(Span { groups: from..to, panels: first..self.firsts[to] });
            from = to;
        }
        spans
    }

    /// Logits and their gradients of a span's panels, and the losses added to its classes' sums.
    pub(super) fn slopes(
        &self,
        launcher: &mut dyn Launcher,
        window: &Window,
        rows: Range<usize>,
        span: &Span,
        turned: bool,
    ) -> Result<(), String> {
        let logits = self.logits(launcher, window, rows.clone(), span, turned)?;
        self.sweep(launcher, window, rows.clone(), span, logits, Sweep::Gradients)?;
        let groups = self.groups(span);
        launcher.launch(&sweeps::class_losses(rows.len(), groups, self.losses, self.class_losses))
    }

    /// Z of a span's panels, row by row or turned, which takes rows from a multiple of four on.
    pub(super) fn logits(
        &self,
        launcher: &mut dyn Launcher,
        window: &Window,
        rows: Range<usize>,
        span: &Span,
        turned: bool,
    ) -> Result<Logits, String> {
        assert!(rows.len() <= self.rows && rows.end <= window.rows(), "a larger mini-batch");
        let columns = span.panels.len() * LANES;
        let size = Size { rows: rows.len(), depth: self.width, columns };
        let (form, left) = match (turned, rows.start.is_multiple_of(4)) {
            (true, _) => (Form::TurnedOut, window.turned(rows.start)),
            (false, true) => (Form::turned(size), window.turned(rows.start)),
            (false, false) => (Form::Straight, window.straight(rows.start)),
        };
        let row = if turned { rows.len().next_multiple_of(4) } else { columns };
        let right = self.panels_of(span, self.weights);
        let out = Panels { buffer: self.logits, from: 0, row, panel: LANES };
        let start = Start::Bias(self.biases, span.panels.start * LANES);
        launcher.launch(&calls::product(form, size, left, right, out, start))?;
        Ok(match turned {
            true => Logits::Turned(self.logits, row),
            false => Logits::Straight(self.logits),
        })
    }

    pub(super) fn sweep(
        &self,
        launcher: &mut dyn Launcher,
        window: &Window,
        rows: Range<usize>,
        span: &Span,
        logits: Logits,
        what: Sweep,
    ) -> Result<(), String> {
        let (groups, place) = (self.groups(span), (rows.len(), rows.start));
        let losses = self.losses;
        let mut truth = window.truth;
        truth.weights = truth.weights.filter(|_| matches!(what, Sweep::Gradients));
        launcher.launch(&sweeps::sweep(place, groups, self.epsilon, logits, truth, losses, what))
    }

    pub(super) fn add_biases(
        &self,
        launcher: &mut dyn Launcher,
        rows: usize,
        span: &Span,
        gradient: Buffer,
        add: bool,
    ) -> Result<(), String> {
        let panels = (span.panels.start, span.panels.len());
        let (slopes, learned) = (self.logits, self.learned);
        launcher.launch(&sweeps::bias_gradient(rows, panels, slopes, learned, gradient, add))
    }

    /// Room for W' of the largest span.
    pub(super) fn turned_weights(&mut self, launcher: &mut dyn Launcher) -> Result<Buffer, String> {
        if self.turned_weights.is_none() {
            let numbers = self.panels_max * LANES * self.width.next_multiple_of(LANES);
            self.turned_weights = Some(launcher.make(numbers * 4)?);
        }
        Ok(self.turned_weights.expect("just made"))
    }

    pub(super) fn groups(&self, span: &Span) -> Groups {
        Groups {
            shapes: self.shapes,
            first: span.groups.start,
            count: span.groups.len(),
            panels: span.panels.len(),
            dummy: self.dummy,
        }
    }

    /// A span's panels of something laid out as the weights.
    pub(super) fn panels_of(&self, span: &Span, buffer: Buffer) -> Panels {
        let panel = self.width * LANES;
        Panels { buffer, from: span.panels.start * panel, row: LANES, panel }
    }

    pub(super) fn slopes_as_right(&self, span: &Span) -> Panels {
        let columns = span.panels.len() * LANES;
        Panels { buffer: self.logits, from: 0, row: columns, panel: LANES }
    }

    /// Each block's parameters as they stand, in the order of its layout.
    ///
    /// # Errors
    /// The device is lost.
    pub fn parameters(&self, launcher: &mut dyn Launcher) -> Result<Vec<Vec<f32>>, String> {
        self.by_block(launcher, self.weights, self.biases)
    }

    /// Puts a block where an optimizer stood: its squares, or its first and second moments in the
    /// order of its layout, and Adam's powers.
    ///
    /// # Errors
    /// The device is lost.
    pub fn restore(
        &mut self,
        launcher: &mut dyn Launcher,
        block: usize,
        moments: &[&[f32]],
        powers: [f64; 2],
    ) -> Result<(), String> {
        let layout = &self.layouts[block];
        let panel = self.firsts[self.group_firsts[block]];
        let (of_weights, of_biases) = self.moments.expect("blocks that are to learn");
        let places = [buffers(of_weights), buffers(of_biases)];
        assert!(places.iter().all(|all| all.len() == moments.len()), "another solver's state");
        for (index, numbers) in moments.iter().enumerate() {
            let (weights, biases) = numbers.split_at(layout.biases());
            let at = panel * LANES * size_of::<f32>();
            let write = bytemuck::cast_slice(weights);
            launcher.write(places[0][index], at * self.width, write)?;
            launcher.write(places[1][index], at, bytemuck::cast_slice(biases))?;
        }
        self.beta_powers[block] = powers;
        Ok(())
    }

    /// Adam's powers of a block.
    pub fn powers(&self, block: usize) -> [f64; 2] {
        self.beta_powers[block]
    }

    /// What optimizers keep of each block: squares, or first and then second moments.
    ///
    /// # Errors
    /// The device is lost.
    pub fn state(&self, launcher: &mut dyn Launcher) -> Result<Vec<Vec<Vec<f32>>>, String> {
        let Some((of_weights, of_biases)) = self.moments else { return Ok(Vec::new()) };
        let pairs = buffers(of_weights).into_iter().zip(buffers(of_biases));
        pairs.map(|(weights, biases)| self.by_block(launcher, weights, biases)).collect()
    }

    /// Each block's part of something laid out as weights and as biases.
    ///
    /// # Errors
    /// The device is lost.
    pub fn by_block(
        &self,
        launcher: &mut dyn Launcher,
        weights: Buffer,
        biases: Buffer,
    ) -> Result<Vec<Vec<f32>>, String> {
        let panels: usize = self.layouts.iter().map(|layout| layout.panels).sum();
        let weights: Vec<f32> = download(launcher, weights, panels * self.width * LANES)?;
        let biases: Vec<f32> = download(launcher, biases, panels * LANES)?;
        let mut first = 0;
        let blocks = self.layouts.iter().map(|layout| {
            let own = first * LANES..(first + layout.panels) * LANES;
            first += layout.panels;
            let mut block = weights[own.start * self.width..own.end * self.width].to_vec();
            block.extend_from_slice(&biases[own]);
            block
        });
        Ok(blocks.collect())
    }

    /// Losses of each block's classes, [groups][16], since they were held.
    ///
    /// # Errors
    /// The device is lost.
    pub fn class_losses(&self, launcher: &mut dyn Launcher) -> Result<Vec<Vec<f64>>, String> {
        let groups: usize = self.layouts.iter().map(|layout| layout.groups.len()).sum();
        let mut all: Vec<f64> = download(launcher, self.class_losses, groups * LANES)?;
        let counts = self.layouts.iter().map(|layout| layout.groups.len() * LANES);
        Ok(counts.map(|count| all.drain(..count).collect()).collect())
    }

    /// Gives its memory back.
    pub fn free(self, launcher: &mut dyn Launcher) {
        let own = [self.shapes, self.learned, self.weights, self.biases, self.bias_gradient];
        release(launcher, &own);
        release(launcher, &[self.class_losses, self.logits, self.losses]);
        release(launcher, self.turned_weights.as_slice());
        for moments in self.moments.into_iter().flat_map(|both| [both.0, both.1]) {
            release(launcher, &buffers(moments));
        }
    }
}

/// What an optimizer keeps, one buffer or two.
fn buffers(moments: Moments) -> Vec<Buffer> {
    match moments {
        Moments::Adagrad(squares) => vec![squares],
        Moments::Adam(first, second) => vec![first, second],
    }
}

/// Where AdaGrad's sums of squares and Adam's moments begin.
fn moments(
    launcher: &mut dyn Launcher,
    solver: Solver,
    parameters: usize,
) -> Result<Moments, String> {
    Ok(match solver {
        Solver::Adagrad => Moments::Adagrad(upload(launcher, &vec![0.1f32; parameters])?),
        Solver::Adam => {
            let zeros = vec![0.0f32; parameters];
            Moments::Adam(upload(launcher, &zeros)?, upload(launcher, &zeros)?)
        }
    })
}
