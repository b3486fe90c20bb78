//! What a rank takes of its device's memory, planned before anything is computed: bytes of each
//! phase, part by part (`device_sizes.rs` has the sizes).
//!
//! Own class blocks lie there whole, with what their solver keeps, or come and go where they don't
//! fit (`device/gpu/cut.rs`). Logits take what is left, up to `LOGITS_BYTES` at once, but at least
//! those of one group of classes; then waves of the shared step, at least a row block, and rows at
//! rest while they are scored. Labels are counted as six a row; where rows have more a window is
//! larger than it was planned.

use super::budget::GIB;
use super::device_classes::HeldBytes;
use super::device_sizes::{OfAllRanks, Sizes};
use super::ranks::Ranks;
use crate::device::gpu::{Bounds, LOGITS_BYTES, VISIT_ROWS};
use crate::device::slices::vectors_of;
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
    pub(crate) fn bytes(&self) -> usize {
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
    /// Whether own class blocks come and go.
    pub streams: bool,
    pub phases: Vec<DevicePhase>,
}

/// How memory is divided while phases are weighed: bytes of logits, row blocks of a wave, bytes of
/// own class blocks.
#[derive(Clone, Copy)]
struct Division {
    logits: usize,
    wave: usize,
    blocks: usize,
}

/// A job, and sizes of a rank.
struct Needs<'a> {
    job: &'a Job,
    sizes: Sizes,
    validated: bool,
}

impl<'a> Needs<'a> {
    fn new(job: &'a Job, of_all: &OfAllRanks, ranks: (&Ranks, usize)) -> Needs<'a> {
        let validated = ranks.0.validation.is_some();
        Needs { job, sizes: Sizes::new(job, of_all, ranks), validated }
    }

    /// Numbers for each parameter of own class blocks in pretraining (0), of its solver, gradient
    /// and average, and in the expert step (1).
    fn numbers(&self, step: usize) -> [usize; 3] {
        let job = &self.job.experts;
        match (step, job.solver) {
            (0, _) => [2, 1, 0],
            // What steps leave lies on the host.
            (_, Solver::MiniBatch(_)) if self.sizes.sums_apart.is_some() => {
                [0, self.sizes.sums_apart.unwrap_or(0), 0]
            }
            (_, Solver::MiniBatch(solver)) => {
                // With one slice the gradient is a step at once.
                let sums = if job.row_slices > 1 { vectors_of(job.row_slices) } else { 0 };
                [solver.numbers(), sums, usize::from(job.averaging > 0.0)]
            }
            (_, Solver::FullBatch(_)) => [0, 1, 0],
        }
    }

    /// Own class blocks as they lie, and what they take.
    fn held(&self, step: usize, room: usize) -> Option<(HeldBytes, Vec<(&'static str, usize)>)> {
        let [state, gradient, average] = self.numbers(step);
        let held = self.sizes.held(step, 1 + state + gradient + average, room)?;
        let numbers = held.parameters();
        let chains = match (step, self.job.experts.solver) {
            (1, Solver::MiniBatch(_)) => self.job.experts.row_slices,
            _ => 1,
        };
        let parts = vec![
            ("weights", numbers),
            ("the solver's state", state * numbers),
            ("average", average * numbers),
            ("gradient", gradient * numbers),
            ("tables", held.tables(chains)),
        ];
        Some((held, parts))
    }

    fn pretrain(&self, Division { logits, blocks, .. }: Division) -> Option<DevicePhase> {
        let (own, mut parts) = self.held(0, blocks)?;
        let sizes = &self.sizes;
        let (rows, (own_rows, groups)) = (sizes.pretrain_rows, sizes.pretrain_own.clone());
        let slopes = |bytes: usize| if sizes.shared.any { bytes } else { 0 };
        let turned = own.most(|part| part.turned(rows, sizes.width, logits));
        let mini_batch = sizes.in_order(rows) + sizes.arrived(rows, false) + sizes.places(rows);
        parts.extend([
            ("logits", own.most(|part| part.logits(rows, logits))),
            ("turned weights", slopes(turned)),
            ("dL/dv", slopes(own.sums * sizes.slopes(rows))),
        ]);
        // On the way back the mini-batch has passed the class blocks.
        let wave = sizes.shared.network + sizes.wave(own_rows, groups.len());
        let way_back = sizes.way_back(own_rows, groups) + sizes.drawn_frames(own_rows);
        let scores = sizes.forward().max(sizes.scores(sizes.scored_rows, logits));
        let scores = if self.validated { scores } else { 0 };
        parts.push(("mini-batch, or scoring", (wave + mini_batch.max(way_back)).max(scores)));
        Some(DevicePhase { name: "pretraining", parts })
    }

    fn expert_step(&self, Division { logits, blocks, .. }: Division) -> Option<DevicePhase> {
        let (own, mut parts) = self.held(1, blocks)?;
        let (job, sizes) = (&self.job.experts, &self.sizes);
        let rows = sizes.window_rows;
        let places = sizes.places(rows);
        let drawn = if job.negatives < 1.0 { sizes.drawn(sizes.batch_rows) } else { 0 };
        let within = self.validated && job.validates_within();
        let scores = sizes.forward().max(sizes.scores(sizes.scored_rows, logits));
        let scores = if within { scores } else { sizes.forward() };
        parts.extend([
            ("logits", own.most(|part| part.logits(sizes.batch_rows, logits))),
            ("window", sizes.in_order(rows)),
            // The next one arrives in the same place while this one is worked on.
            ("window as it came", sizes.arrived(rows, true)),
            ("where its rows are, rows that are drawn, or scoring", places.max(drawn).max(scores)),
        ]);
        Some(DevicePhase { name: "expert step", parts })
    }

    fn shared_step(&self, Division { logits, wave, .. }: Division) -> DevicePhase {
        let sizes = &self.sizes;
        let blocks = wave.min(sizes.row_blocks.len());
        let rows = sizes.rows_of(blocks);
        let way_back = sizes.row_blocks.clone().step_by(blocks.max(1)).map(|from| {
            let own = from..(from + blocks).min(sizes.row_blocks.end);
            sizes.way_back(sizes.row_block.min(rows), own)
        });
        let way_back = way_back.max().unwrap_or(0);
        let at_once = rows.min(VISIT_ROWS);
        let gradient = sizes.shared.gradient;
        let solver = self.job.shared.solver.numbers_on_devices() * gradient;
        let parts = vec![
            ("shared layers", sizes.shared.network),
            ("the shared layers' solver", solver),
            ("wave", sizes.wave(rows, blocks) + sizes.visited(rows, blocks)),
            ("frames", sizes.frames()),
            ("logits of visits", sizes.visit(at_once, logits)),
            (
                "class blocks that visit, the way back, or a step",
                sizes.visitors().max(way_back).max(gradient),
            ),
        ];
        DevicePhase { name: "shared step", parts }
    }

    /// All phases; None: the largest own class block doesn't fit.
    fn phases(&self, division: Division) -> Option<Vec<DevicePhase>> {
        let job = self.job;
        let rounds = job.rounds.count > 0;
        let mut phases = Vec::new();
        if job.pretrain.epochs > 0 {
            phases.push(self.pretrain(division)?);
        }
        if rounds {
            phases.push(self.expert_step(division)?);
        }
        if self.shared() {
            phases.push(self.shared_step(division));
        }
        if self.validated && (rounds || job.pretrain.epochs > 0) {
            phases.push(scoring(&self.sizes, division.logits));
        }
        Some(phases)
    }

    fn shared(&self) -> bool {
        let job = self.job;
        job.rounds.count > 0 && job.shared.iterations > 0 && self.sizes.shared.any
    }

    /// What phases take beside own class blocks, at most.
    fn beside_blocks(&self, logits: usize) -> usize {
        let beside = [0, 1].map(|step| {
            let division = Division { logits, wave: 1, blocks: usize::MAX };
            let phase =
                if step == 0 { self.pretrain(division) } else { self.expert_step(division) };
            let own = self.held(step, usize::MAX).map(|(_, parts)| parts);
            let own = own.into_iter().flatten().map(|part| part.1).sum::<usize>();
            phase.map_or(0, |phase| phase.bytes()) - own
        });
        beside[0].max(beside[1])
    }

    /// The least that works, as far as class blocks are concerned.
    fn least(&self) -> Vec<DevicePhase> {
        let largest = [0, 1]
            .map(|step| self.sizes.largest(step, 1 + self.numbers(step).iter().sum::<usize>()));
        let blocks = largest[0].max(largest[1]);
        self.phases(Division { logits: 0, wave: 1, blocks }).expect("room for the largest")
    }

    /// What it comes to within so many bytes, with logits of at most so many, where class blocks
    /// may come and go or not; None: it doesn't.
    fn within(&self, limit: usize, logits: usize, come: bool) -> Option<DevicePlan> {
        let blocks = match come {
            true => limit.checked_sub(self.beside_blocks(logits))?,
            false => usize::MAX,
        };
        let with = |wave| self.phases(Division { logits, wave, blocks });
        if peak(&with(1)?) > limit {
            return None;
        }
        let most = self.sizes.row_blocks.len().max(1);
        // Waves grow evenly: the longest that fits lies between none and all of the row blocks.
        let (mut fits, mut over) = (1, most + 1);
        while self.shared() && over - fits > 1 {
            let wave = (fits + over) / 2;
            match peak(&with(wave)?) <= limit {
                true => fits = wave,
                false => over = wave,
            }
        }
        let wave = if self.shared() && fits < most { fits } else { usize::MAX };
        let phases = with(wave)?;
        let others = phases.iter().filter(|phase| phase.name != "shared step");
        let others = others.map(DevicePhase::bytes).max().unwrap_or(0);
        let room =
            Bounds { logits_bytes: logits, blocks_bytes: blocks, rest_bytes: limit - others };
        Some(DevicePlan { room, wave, streams: come, phases })
    }

    /// What it comes to within so many bytes: with all class blocks there, if that can be; else
    /// they come and go, with fair logits. None: it can't keep to that.
    fn fitting(&self, limit: usize) -> Option<DevicePlan> {
        let whole = logits_tried().find_map(|logits| self.within(limit, logits, false));
        let fair = || logits_tried().filter(|logits| *logits <= LOGITS_BYTES / 16);
        whole.or_else(|| fair().find_map(|logits| self.within(limit, logits, true)))
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
/// rows of a rank, a number of whose frames has so many bytes, on so many threads.
///
/// # Errors
/// Exit 9 where it doesn't suffice, with the least that does.
pub(crate) fn room_for_scoring_on_device(
    shape: &Shape,
    experts: &[usize],
    threads: usize,
    rows: (OwnedBlocks, usize, usize),
    (told, limit): (f64, usize),
) -> Result<Bounds> {
    let sizes = Sizes::of_scoring(shape, experts, threads, rows);
    let fitting = logits_tried().find_map(|logits_bytes| {
        let rest_bytes = limit.checked_sub(scoring(&sizes, logits_bytes).bytes())?;
        Some(Bounds { logits_bytes, blocks_bytes: 0, rest_bytes })
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
        let needs = Needs::new(job, &OfAllRanks::new(job, shape, experts, ranks.0), ranks);
        needs.fitting(limit).ok_or_else(|| {
            let told = (job.run.device_memory_gib, limit);
            too_little("run.device_memory_gib", told, &needs.least()).hint(HINT)
        })
    }

    /// Whether the devices of the first so many of `ranks` suffice, of each of which `limit` bytes
    /// may be taken.
    pub(crate) fn all_fit(
        job: &Job,
        shape: &Shape,
        experts: &[usize],
        (ranks, count): (&Ranks, usize),
        limit: usize,
    ) -> bool {
        let of_all = OfAllRanks::new(job, shape, experts, ranks);
        let fits = |rank| Needs::new(job, &of_all, (ranks, rank)).fitting(limit).is_some();
        (0..count).all(fits)
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
    let (found, needed) = match told > 0.0 {
        true => (format!("found {told}"), format!("{gib:.6}")),
        false => {
            let free = human::bytes(limit as u64);
            let needed = human::bytes(phase.bytes() as u64);
            (format!("this rank's share of what is free is {free}"), needed)
        }
    };
    let mut parts: Vec<_> = phase.parts.iter().filter(|part| part.1 > 0).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.1));
    let parts = parts.iter().map(|(name, bytes)| format!("{name} {}", human::bytes(*bytes as u64)));
    let parts = parts.collect::<Vec<_>>().join(", ");
    let text = format!(
        "{name}: {found}, this needs {needed} at least on a rank's device ({}: {parts})",
        phase.name
    );
    Error::new(Exit::Resources, text)
}
