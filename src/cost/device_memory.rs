//! What a rank takes of its device's memory, planned before anything is computed: bytes of each
//! phase, part by part (`device_sizes.rs` has the sizes).
//!
//! Own class blocks lie there whole, with what their solver keeps. Logits take what is left, up to
//! `LOGITS_BYTES` at once, but at least those of one group of classes; then waves of the shared
//! step, at least a row block, and rows at rest while they are scored. Labels are counted as six a
//! row; where rows have more a window is larger than it was planned.

use super::budget::GIB;
use super::device_sizes::Sizes;
use super::memory::Ranks;
use crate::device::gpu::{Bounds, LOGITS_BYTES, VISIT_ROWS};
use crate::error::{Error, Exit, Result};
use crate::human;
use crate::job::Job;
use crate::model::annotator::Shape;
use crate::optim::Solver;
use crate::partition::OwnedBlocks;

/// What helps where a job doesn't fit.
const HINT: &str = "more ranks and devices, a smaller experts.window or pretrain.batch, or \
                    run.device = \"host\"";

/// What a phase takes on the device, part by part.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePhase {
    pub name: &'static str,
    pub parts: Vec<(&'static str, usize)>,
}

impl DevicePhase {
    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.1).sum()
    }
}

/// What a rank takes of its device's memory.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    /// How the device divides it.
    pub room: Bounds,
    /// Row blocks of a wave of the shared step for which it has room.
    pub wave: usize,
    pub phases: Vec<DevicePhase>,
}

/// A job, and sizes of a rank.
struct Needs<'a> {
    job: &'a Job,
    sizes: Sizes,
    validated: bool,
}

impl Needs<'_> {
    fn pretrain(&self, logits: usize) -> DevicePhase {
        let (sizes, own) = (&self.sizes, &self.sizes.own[0]);
        let (rows, (own_rows, groups)) = (sizes.pretrain_rows, sizes.pretrain_own);
        let slopes = |bytes: usize| if sizes.shared.any { bytes } else { 0 };
        let turned = own.turned(rows, sizes.width, logits);
        let mini_batch = sizes.in_order(rows) + sizes.as_it_came(rows, (false, false));
        let mut parts = vec![
            ("weights", own.parameters),
            ("the solver's state", 2 * own.parameters),
            ("gradient", own.parameters),
            ("tables", own.tables()),
            ("logits", own.logits(rows, logits)),
            ("turned weights", slopes(turned)),
            ("dL/dv", slopes(sizes.slopes(rows))),
        ];
        // On the way back the mini-batch has passed the class blocks.
        let wave = sizes.shared.network + sizes.wave(own_rows, groups);
        let way_back = sizes.way_back(own_rows) + sizes.drawn_frames(own_rows);
        let scores = sizes.forward().max(sizes.scores(sizes.scored_rows, logits));
        let scores = if self.validated { scores } else { 0 };
        parts.push(("mini-batch, or scoring", (wave + mini_batch.max(way_back)).max(scores)));
        DevicePhase { name: "pretraining", parts }
    }

    fn expert_step(&self, logits: usize) -> DevicePhase {
        let (job, sizes, own) = (&self.job.experts, &self.sizes, &self.sizes.own[1]);
        let rows = sizes.window_rows;
        let (state, gradient) = match job.solver {
            Solver::MiniBatch(solver) => (solver.numbers(), 0),
            Solver::FullBatch(_) => (0, 1),
        };
        let arriving = sizes.as_it_came(rows, (true, job.dropout > 0.0));
        let drawn = if job.negatives < 1.0 { sizes.drawn(sizes.batch_rows) } else { 0 };
        let watched = self.validated && job.watched();
        let scores = sizes.forward().max(sizes.scores(sizes.scored_rows, logits));
        let scores = if watched { scores } else { sizes.forward() };
        let parts = vec![
            ("weights", own.parameters),
            ("the solver's state", state * own.parameters),
            ("average", usize::from(job.averaging > 0.0) * own.parameters),
            ("gradient", gradient * own.parameters),
            ("tables", own.tables()),
            ("logits", own.logits(sizes.batch_rows, logits)),
            ("window", sizes.in_order(rows)),
            ("window as it came, rows that are drawn, or scoring", arriving.max(drawn).max(scores)),
        ];
        DevicePhase { name: "expert step", parts }
    }

    fn shared_step(&self, logits: usize, wave: usize) -> DevicePhase {
        let sizes = &self.sizes;
        let blocks = wave.min(sizes.row_blocks);
        let rows = sizes.rows_of(blocks);
        let visitor = sizes.visitor.parameters + sizes.visitor.tables();
        let way_back = sizes.way_back(sizes.row_block.min(rows));
        let at_once = rows.min(VISIT_ROWS);
        let parts = vec![
            ("shared layers", sizes.shared.network),
            ("wave", sizes.wave(rows, blocks) + sizes.visited(rows, blocks)),
            ("frames", sizes.frames()),
            ("logits of visits", sizes.visit(at_once, logits)),
            ("class block that visits, or the way back", visitor.max(way_back)),
        ];
        DevicePhase { name: "shared step", parts }
    }

    fn scoring(&self, logits: usize) -> DevicePhase {
        scoring(&self.sizes, logits)
    }

    /// All phases with waves of so many row blocks.
    fn phases(&self, logits: usize, wave: usize) -> Vec<DevicePhase> {
        let job = self.job;
        let rounds = job.rounds.count > 0;
        let mut phases = Vec::new();
        if job.pretrain.epochs > 0 {
            phases.push(self.pretrain(logits));
        }
        if rounds {
            phases.push(self.expert_step(logits));
        }
        if self.shared() {
            phases.push(self.shared_step(logits, wave));
        }
        if self.validated && (rounds || job.pretrain.epochs > 0) {
            phases.push(self.scoring(logits));
        }
        phases
    }

    fn shared(&self) -> bool {
        let job = self.job;
        job.rounds.count > 0 && job.shared.iterations > 0 && self.sizes.shared.any
    }

    /// What it comes to within so many bytes, with logits of at most so many; None: it doesn't.
    fn within(&self, limit: usize, logits: usize) -> Option<DevicePlan> {
        let least = peak(&self.phases(logits, 1));
        if least > limit {
            return None;
        }
        let most = self.sizes.row_blocks.max(1);
        // Waves grow evenly: the longest that fits lies between none and all of the row blocks.
        let (mut fits, mut over) = (1, most + 1);
        while self.shared() && over - fits > 1 {
            let wave = (fits + over) / 2;
            match peak(&self.phases(logits, wave)) <= limit {
                true => fits = wave,
                false => over = wave,
            }
        }
        let wave = if self.shared() && fits < most { fits } else { usize::MAX };
        let phases = self.phases(logits, wave);
        let others = phases.iter().filter(|phase| phase.name != "shared step");
        let others = others.map(DevicePhase::bytes).max().unwrap_or(0);
        let room = Bounds { logits_bytes: logits, rest_bytes: limit - others };
        Some(DevicePlan { room, wave, phases })
    }
}

/// Rows on their way to activations, and then past the class blocks.
fn scoring(sizes: &Sizes, logits: usize) -> DevicePhase {
    let bytes = sizes.forward().max(sizes.scores(sizes.scored_rows, logits));
    DevicePhase { name: "scoring", parts: vec![("way to activations, or scores", bytes)] }
}

/// Bytes of logits that are tried, from those that gain nothing by more to those of one group.
fn logits_tried() -> impl Iterator<Item = usize> {
    let halves = (0..=LOGITS_BYTES.ilog2()).map(|halved| LOGITS_BYTES >> halved);
    halves.chain([0])
}

/// How a device of which a rank may take `limit` bytes, and was told to take so many GiB (0: what
/// is free), divides its memory while a model with `experts` experts of each class scores the
/// rank's rows on so many threads.
///
/// # Errors
/// Exit 9 where it doesn't suffice, with the least that does.
pub(crate) fn room_for_scoring_on_device(
    shape: &Shape,
    experts: &[usize],
    threads: usize,
    rows: (OwnedBlocks, usize),
    (told, limit): (f64, usize),
) -> Result<Bounds> {
    let sizes = Sizes::of_scoring(shape, experts, threads, rows);
    let fitting = logits_tried().find_map(|logits_bytes| {
        let rest_bytes = limit.checked_sub(scoring(&sizes, logits_bytes).bytes())?;
        Some(Bounds { logits_bytes, rest_bytes })
    });
    fitting.ok_or_else(|| {
        too_little("--device-memory-gib", (told, limit), &[scoring(&sizes, 0)])
            .hint("fewer threads, or --device host")
    })
}

fn most(phases: &[DevicePhase]) -> Option<&DevicePhase> {
    phases.iter().max_by_key(|phase| phase.bytes())
}

fn peak(phases: &[DevicePhase]) -> usize {
    most(phases).map_or(0, DevicePhase::bytes)
}

impl DevicePlan {
    /// What `job` takes on the device of a rank of `ranks`, which may take `limit` bytes of it;
    /// `experts` are those of each class in the expert step.
    ///
    /// # Errors
    /// Exit 9 where it can't keep to that, with the least that can.
    pub(crate) fn new(
        job: &Job,
        shape: &Shape,
        experts: &[usize],
        ranks: (&Ranks, usize),
        limit: usize,
    ) -> Result<DevicePlan> {
        let sizes = Sizes::new(job, shape, experts, ranks);
        let needs = Needs { job, sizes, validated: ranks.0.validation.is_some() };
        let fitting = logits_tried().find_map(|logits| needs.within(limit, logits));
        fitting.ok_or_else(|| {
            let told = (job.run.device_memory_gib, limit);
            too_little("run.device_memory_gib", told, &needs.phases(0, 1)).hint(HINT)
        })
    }

    /// Bytes of the phase that takes most, without rows at rest, which take what is left.
    pub fn peak(&self) -> usize {
        peak(&self.phases)
    }
}

/// A device that doesn't suffice, of which a rank is told to take so many GiB; 0: what is free.
fn too_little(name: &str, (told, limit): (f64, usize), least: &[DevicePhase]) -> Error {
    let phase = most(least).expect("a phase that takes something");
    let gib = (phase.bytes() as f64 / GIB * 1e6).ceil() / 1e6;
    let found = match told > 0.0 {
        true => format!("found {told}"),
        false => format!("this rank's share of what is free is {}", human::bytes(limit as u64)),
    };
    let mut parts: Vec<_> = phase.parts.iter().filter(|part| part.1 > 0).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.1));
    let parts = parts.iter().map(|(name, bytes)| format!("{name} {}", human::bytes(*bytes as u64)));
    let parts = parts.collect::<Vec<_>>().join(", ");
    let text = format!(
        "{name}: {found}, this needs {gib:.6} at least on a rank's device ({}: {parts})",
        phase.name
    );
    Error::new(Exit::Resources, text)
}
