//! Stage 2, the shared step (docs/method.md, section 4.3): mixtures frozen, every class block
//! visits every rank's rows; only the shared layers' gradient is summed over ranks, then the same
//! iRprop+ step (or Adam's, to compare with) is taken on every rank.

mod restore;

use std::borrow::Cow;
use std::ops::Range;

use serde_json::json;

use super::state::State;
use super::stints::SHARED_STEP;
use crate::comm::{Comm, OrderedSum};
use crate::cost::budget::Plan;
use crate::data::Dataset;
use crate::device::{Device, FrameReader, FramesAgain, Leaves, Piece};
use crate::error::Result;
use crate::flow::experts_travel::visit_blocks;
use crate::flow::home_rows::{HomeRows, read_rows};
use crate::job::SharedJob;
use crate::model::annotator::Annotator;
use crate::optim::SharedState;
use crate::stint::{Length, Stint};

/// How an error names the sum of the shared layers' gradient.
pub(crate) const SHARED_GRADIENT: &str = "gradient of the shared layers";

/// Where a shared step stands. The weights that it has reached are the model's.
pub(crate) struct SharedCourse<D: Device> {
    /// Iterations taken.
    iteration: usize,
    /// What it keeps may be the device's.
    solver: SharedState,
    steps: D::Steps,
}

impl<D: Device> SharedCourse<D> {
    /// Before the first iteration, at these weights.
    pub(crate) fn new(job: &SharedJob, weights: &[f32]) -> SharedCourse<D> {
        SharedCourse::at(0, job.solver.begin(weights, &job.offered()))
    }

    /// After so many iterations.
    fn at(iteration: usize, solver: SharedState) -> SharedCourse<D> {
        SharedCourse { iteration, solver, steps: D::Steps::default() }
    }
}

/// Iterations from where `course` stands to the last one.
///
/// # Errors
/// What reading rows gives; exit 75 when told to stop, with `model` and `course` between two
/// iterations.
pub(crate) fn run<D: Device>(
    state: &mut State<D>,
    model: &mut Annotator,
    course: &mut SharedCourse<D>,
) -> Result<()> {
    let (rows, iterations) =
        (state.setting.data.train.clone(), state.setting.job.shared.iterations);
    let visits = visits(&rows, state.setting.plan.wave) * model.experts.layouts.len() as u64;
    let stint = stint(state, visits, course.iteration);
    while course.iteration < iterations {
        let round = state.standing.round;
        let steps = &mut course.steps;
        let pass = Pass { state, rows: &rows, annotator: model, steps, stint: &stint };
        let place = format!("shared step, round {round}, iteration {}", course.iteration + 1);
        let (loss, gradient) = pass.evaluate(&place)?;
        let (found, offered) = ((loss, &gradient[..]), state.setting.job.shared.offered());
        let device = &mut state.device;
        let SharedCourse { solver, steps, .. } = course;
        let mut stepped =
            device.advance_shared(&mut model.shared, (solver, steps), found, &offered);
        course.iteration += 1;
        stint.reach(visits * course.iteration as u64);
        if course.iteration == iterations {
            // Others want the device's memory.
            let steps = std::mem::take(&mut course.steps);
            stepped = stepped.and_then(|()| device.settle_shared(&mut course.solver, &steps));
        }
        let iteration = course.iteration;
        let event =
            json!({ "step": "shared", "round": round, "iteration": iteration, "loss": loss });
        state.tell(event);
        state.boundary_after(stepped, model, course)?;
    }
    Ok(())
}

/// Waves of row blocks in which the rows of all ranks pass.
fn visits(rows: &HomeRows, wave: usize) -> u64 {
    let longest = rows.block_runs().iter().map(Range::len).max().unwrap_or(0);
    longest.div_ceil(wave) as u64
}

/// The iterations that are left, of so many visits each of a class block, as a user sees them.
fn stint<D: Device>(state: &State<D>, visits: u64, taken: usize) -> Stint {
    let (iterations, rows) =
        (state.setting.job.shared.iterations as u64, state.setting.data.train.rows() as u64);
    let length = Length {
        whole: iterations * visits,
        before: taken as u64 * visits,
        parts: (iterations, "iteration"),
        amount: (iterations * rows, "rows"),
    };
    Stint::begin(SHARED_STEP, &state.step_name(SHARED_STEP), length)
}

/// A full-batch pass over this rank's rows.
struct Pass<'a, 'b, D: Device> {
    state: &'a mut State<'b, D>,
    rows: &'a HomeRows,
    annotator: &'a Annotator,
    steps: &'a mut D::Steps,
    /// One more of it is done with each class block that has visited a wave.
    stint: &'a Stint,
}

impl<D: Device> Pass<'_, '_, D> {
    /// The mean loss over all rows of all ranks and its gradient with respect to the shared layers.
    ///
    /// # Errors
    /// What reading rows and the device gives; exit 75 when told to stop; exit 7 where the loss is
    /// no number; common to all ranks.
    fn evaluate(self, place: &str) -> Result<(f64, Vec<f32>)> {
        let Pass { state, rows, annotator, steps, stint } = self;
        let (comm, device, runs) = (state.setting.comm, &mut state.device, rows.block_runs());
        let longest = runs.iter().map(Range::len).max().expect("a run for each rank");
        let length = annotator.layers.parameters();
        let mut gradient = OrderedSum::new(comm, SHARED_GRADIENT, runs.clone(), length);
        let mut loss = OrderedSum::new(comm, "loss", runs, 1);
        let mut ahead = rows.read_ahead(4 * device.at_once());
        let (network, mut odd) = (device.network_of_steps(annotator, steps), None);
        // All ranks take as many waves as the one that has most blocks.
        let Plan { wave, ahead: blocks_ahead, .. } = state.setting.plan;
        for from in (0..longest).step_by(wave) {
            let first = rows.own().start + from;
            let blocks = first..first + rows.own().len().saturating_sub(from).min(wave);
            let pieces: Vec<Vec<Range<usize>>> =
                blocks.clone().map(|block| rows.pieces(block)).collect();
            let lasts = pieces.iter().flat_map(|own| (1..=own.len()).map(|at| at == own.len()));
            let mut read = lasts.map(|last| {
                comm.unless_stopped()?;
                let (features, labels) = ahead.next().expect("every piece is read ahead")?;
                Ok(Piece { features, labels, last })
            });
            let mut wave = comm.agree(device.forward(&network, &mut read))?;
            let mut visited = Ok(());
            visit_blocks(comm, &annotator.experts, blocks_ahead, |layout, weights, pace| {
                if visited.is_ok() && !comm.stop_asked() {
                    let visitor = device.visitor(layout, weights.clone());
                    visited = device.visit(&visitor, &mut wave, pace);
                    stint.add(1);
                }
            });
            let passed = visited.and_then(|()| device.losses(&wave)).and_then(|losses| {
                for (block, own) in blocks.zip(losses) {
                    loss.add(vec![own]);
                    odd = odd.take().or((!own.is_finite()).then(|| format!("row block {block}")));
                }
                let frames = FramesOf { dataset: rows.dataset(), pieces: &pieces };
                let leaves = &mut GradientLeaves { comm, sum: &mut gradient };
                device.backward(&network, wave, &frames, leaves)
            });
            comm.agree(passed.and_then(|()| comm.unless_stopped()))?;
        }
        rows.waited(ahead.wait_seconds());
        let scale = 1.0 / rows.rows() as f64;
        let mut gradient = gradient.finish(comm);
        gradient.iter_mut().for_each(|slope| *slope *= scale as f32);
        let loss = loss.finish(comm)[0] * scale;
        state.check(place, annotator, loss, odd)?;
        Ok((loss, gradient))
    }
}

/// The rows of a wave, whose frames each thread reads once more by a reader of its own.
struct FramesOf<'a> {
    dataset: &'a Dataset,
    /// Of each row block.
    pieces: &'a [Vec<Range<usize>>],
}

impl FramesAgain for FramesOf<'_> {
    fn reader(&self) -> FrameReader<'_> {
        let (mut reader, pieces) = (self.dataset.reader(), self.pieces);
        Box::new(move |block, piece| {
            let (features, _) = read_rows(&mut reader, pieces[block][piece].clone())?;
            Ok(Cow::Owned(features))
        })
    }
}

/// The row blocks' gradients as leaves of the ordered sum.
struct GradientLeaves<'a> {
    comm: &'a Comm,
    sum: &'a mut OrderedSum<f32>,
}

impl Leaves for GradientLeaves<'_> {
    fn room(&mut self) -> Result<Vec<f32>> {
        self.wanted()?;
        Ok(self.sum.room())
    }

    fn wanted(&self) -> Result<()> {
        self.comm.unless_stopped()
    }

    fn next(&self) -> usize {
        self.sum.next()
    }

    fn add_sum(&mut self, leaves: usize, sum: Vec<f32>) {
        self.sum.add_sum(leaves, sum);
    }
}
