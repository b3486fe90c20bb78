//! How ranks keep to a byte budget: where activations rest, and how many rows pass at once, by what
//! each phase takes (`memory.rs`).

use std::ops::Range;

use super::memory::{ClassBlocks, Conditions, Sizes};
use super::phases::{Part, PhaseBytes, sum};
use super::ranks::Ranks;
use crate::error::{Error, Exit, Result};
use crate::flow::own_rows::Room;
use crate::job::Job;
use crate::model::annotator::Shape;
use crate::partition::{OwnedBlocks, Owners, groups};

pub(crate) const GIB: f64 = (1u64 << 30) as f64;
/// Bytes of a process beside what is planned: the program, MPI's buffers, HDF5's.
pub(crate) const BESIDE_THE_PLAN: u64 = 256 << 20;
/// What a wave takes at most where the job sets no limit.
const WAVE_BYTES: usize = 1 << 30;

/// What ranks keep in memory, and the bytes of the one of them that needs most.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whether activations of training and of validation rows lie in memory, not in a file.
    pub(crate) train_in_memory: bool,
    pub(crate) validation_in_memory: bool,
    /// Numbers of scores of a class block that are held at once.
    pub(crate) scores_max: usize,
    /// Row blocks of a wave of the shared step.
    pub(crate) wave: usize,
    /// Class blocks on their way at once past such a wave.
    pub(crate) ahead: usize,
    /// Bytes of the phase that takes most.
    pub peak: usize,
}

/// What a phase takes of the memory of a rank, part by part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) parts: Vec<Part>,
}

impl Phase {
    pub(crate) fn bytes(&self) -> usize {
        sum(&self.parts)
    }
}

/// Bytes that a rank may take; 0 GiB stands for any.
pub(super) fn limit_of(memory_gib: f64) -> usize {
    if memory_gib > 0.0 { (memory_gib * GIB) as usize } else { usize::MAX }
}

/// A budget that can't be kept.
pub(super) fn too_little(name: &str, found: f64, least: usize) -> Error {
    let least = (least as f64 / GIB * 1e6).ceil() / 1e6;
    let text = format!("{name}: found {found}, a rank of this job needs {least:.6} at least");
    Error::new(Exit::Resources, text)
}

/// Where activations and scores of `rows` may lie while a model with `experts` experts of each
/// class scores them, on ranks of `threads` threads and so much memory (0: any); `deal` says who
/// owns which of so many class blocks, and a number of frames has so many bytes.
///
/// # Errors
/// Exit 9 where the byte budget can't be kept, with the least that can.
pub(crate) fn room_for_scoring(
    shape: &Shape,
    experts: &[usize],
    threads: usize,
    (rows, deal, frame_number): (OwnedBlocks, &dyn Fn(usize) -> Owners, usize),
    memory_gib: f64,
) -> Result<Room> {
    let limit = limit_of(memory_gib);
    let (limited, row_block) = (limit < usize::MAX, rows.blocks.longest());
    let conditions = Conditions { threads, frames_drawn: 0, groups: 1, limited, row_block };
    let validation = Some(rows);
    let ranks = Ranks { train: rows, validation, deal, deal_small: deal, frame_number, grid: None };
    let blocks = ClassBlocks::new(shape, experts, &|layouts| ranks.columns(layouts));
    let all = 0..rows.owners.ranks();
    let sizes = Sizes::of_ranks(conditions, shape, (&blocks, &blocks), &ranks, all);
    let least = |sizes: &Sizes| sizes.large + sum(&sizes.scoring()) + sizes.labels();
    let most = sizes.iter().map(least).max().expect("a rank");
    if most > limit {
        return Err(too_little("--memory-gib", memory_gib, most).hint("more ranks, fewer threads"));
    }
    let fits = |sizes: &Sizes| limit - least(sizes) >= sizes.rows * sizes.activations;
    let bytes_max = if sizes.iter().all(fits) { usize::MAX } else { 0 };
    Ok(Room { bytes_max, scores_max: sizes[0].scores_max, ..Room::unlimited() })
}

/// What one rank needs for a job.
struct Needs {
    sizes: Sizes,
    /// All phases but the shared step.
    phases: Vec<PhaseBytes>,
    /// What the shared step takes beside its wave, if there is one.
    before_wave: Option<Vec<Part>>,
    /// Rows that are read ahead from the file of activations, where they lie in one.
    ahead: usize,
}

impl Needs {
    /// Those of the ranks `which`.
    fn of_ranks(
        job: &Job,
        shape: &Shape,
        experts: &[usize],
        ranks: &Ranks,
        which: Range<usize>,
    ) -> Vec<Needs> {
        let conditions = Conditions {
            threads: job.run.threads,
            frames_drawn: job.pretrain.frames,
            groups: groups(job.pretrain.batch, job.pretrain.groups),
            limited: limit_of(job.run.memory_gib) < usize::MAX,
            row_block: ranks.train.blocks.longest(),
        };
        let small = vec![job.pretrain.experts; shape.class_count];
        let small = ClassBlocks::new(shape, &small, &|layouts| ranks.small_columns(layouts));
        let large = ClassBlocks::new(shape, experts, &|layouts| ranks.columns(layouts));
        let sizes = Sizes::of_ranks(conditions, shape, (&small, &large), ranks, which);
        let needs = |sizes| Needs::new(job, sizes, ranks.validation.is_some());
        sizes.into_iter().map(needs).collect()
    }

    fn new(job: &Job, sizes: Sizes, validated: bool) -> Needs {
        let (phases, before_wave) = sizes.phases(job, validated);
        Needs { ahead: sizes.own_part(job), sizes, phases, before_wave }
    }

    /// Bytes of activations that rest meanwhile.
    fn at_rest(&self, phase: &PhaseBytes, (train, validation): (bool, bool)) -> usize {
        let sizes = &self.sizes;
        let train = match (phase.train, train) {
            (true, true) => sizes.rows,
            (true, false) => self.ahead,
            (false, _) => 0,
        };
        let validation = usize::from(phase.validation && validation);
        (train + validation * sizes.validation_rows) * sizes.activations
    }

    /// Bytes of all phases but the shared step.
    fn without_waves(&self, train_in_memory: bool, validation_in_memory: bool) -> usize {
        let in_memory = (train_in_memory, validation_in_memory);
        let bytes =
            self.phases.iter().map(|phase| sum(&phase.parts) + self.at_rest(phase, in_memory));
        bytes.max().unwrap_or(0)
    }

    /// Every phase of a plan, part by part.
    fn parts(&self, plan: &Plan) -> Vec<Phase> {
        let in_memory = (plan.train_in_memory, plan.validation_in_memory);
        let phases = self.phases.iter().map(|phase| {
            let rest = ("activations at rest", self.at_rest(phase, in_memory));
            Phase { name: phase.name, parts: [&phase.parts[..], &[rest]].concat() }
        });
        let wave = self.before_wave.iter().map(|before| {
            let blocks = plan.wave.min(self.sizes.row_blocks.max(1));
            let wave = ("rows of a wave", blocks * self.row_block());
            Phase { name: "shared step", parts: [&before[..], &[wave]].concat() }
        });
        phases.chain(wave).collect()
    }

    /// Bytes of a row block in a wave.
    fn row_block(&self) -> usize {
        self.sizes.row_block * (self.sizes.tape + self.sizes.activations)
    }

    /// Bytes of the shared step in waves of so many row blocks.
    fn in_waves(&self, wave: usize) -> usize {
        let blocks = wave.min(self.sizes.row_blocks.max(1));
        self.before_wave.as_ref().map_or(0, |before| sum(before) + blocks * self.row_block())
    }

    /// Row blocks of a wave for which there is room.
    fn wave_max(&self, limit: usize) -> usize {
        let left = match limit {
            usize::MAX => WAVE_BYTES,
            limit => limit - self.before_wave.as_ref().map_or(0, |before| sum(before)).min(limit),
        };
        let blocks = left / self.row_block().max(1);
        // What holds all of its row blocks can take part in waves of any length.
        if blocks >= self.sizes.row_blocks { usize::MAX } else { blocks }
    }
}

impl Plan {
    /// What `job` takes on those ranks among all `ranks` whose numbers are `which`, in the same way
    /// on all of them; `experts` are those of each class in the expert step.
    ///
    /// # Errors
    /// Exit 9 where the byte budget can't be kept, with the least that can.
    pub(crate) fn new(
        job: &Job,
        shape: &Shape,
        experts: &[usize],
        ranks: &Ranks,
        which: Range<usize>,
    ) -> Result<Plan> {
        let limit = limit_of(job.run.memory_gib);
        let needs = Needs::of_ranks(job, shape, experts, ranks, which);
        let most = |of: &dyn Fn(&Needs) -> usize| needs.iter().map(of).max().expect("a rank");
        let without_waves =
            |train, validation| most(&|needs| needs.without_waves(train, validation));
        let least = without_waves(false, false).max(most(&|needs| needs.in_waves(1)));
        if least > limit {
            return Err(too_little("run.memory_gib", job.run.memory_gib, least)
                .hint("more ranks, a smaller experts.window or pretrain.batch, fewer threads"));
        }
        // Every class block passes the validation rows, but only windows the others: if one of
        // them has to lie in a file, the others.
        let orders = [(true, true), (false, true), (true, false), (false, false)];
        let fits = |(train, other): &(bool, bool)| without_waves(*train, *other) <= limit;
        let (train_in_memory, validation_in_memory) =
            orders.into_iter().find(fits).expect("nothing at rest fits");
        let longest = most(&|needs| needs.sizes.row_blocks).max(1);
        let wave = needs.iter().map(|needs| needs.wave_max(limit)).min().expect("a rank");
        let wave = wave.clamp(1, longest);
        let peak = without_waves(train_in_memory, validation_in_memory)
            .max(most(&|needs| needs.in_waves(wave)));
        let scores_max = needs[0].sizes.scores_max;
        let ahead = needs[0].sizes.ahead;
        Ok(Plan { train_in_memory, validation_in_memory, scores_max, wave, ahead, peak })
    }

    /// Every phase of this plan on the rank of `which` that takes most in it, part by part.
    pub(crate) fn phases(
        &self,
        job: &Job,
        shape: &Shape,
        experts: &[usize],
        ranks: &Ranks,
        which: Range<usize>,
    ) -> Vec<Phase> {
        let needs = Needs::of_ranks(job, shape, experts, ranks, which);
        let all = needs.iter().map(|needs| needs.parts(self));
        let larger = |a: Phase, b: Phase| if b.bytes() > a.bytes() { b } else { a };
        let most = |some: Vec<Phase>, others: Vec<Phase>| {
            some.into_iter().zip(others).map(|(one, other)| larger(one, other)).collect()
        };
        all.reduce(most).unwrap_or_default()
    }

    /// Whether any activations go to a scratch file.
    pub(crate) fn scratch(&self) -> bool {
        !(self.train_in_memory && self.validation_in_memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::FeaturePart;
    use crate::model::features::FRAMES_MAX;
    use crate::model::spec::{Dummy, Layer, Normalize, Pooling};
    use crate::partition::Blocks;

    /// Of a job on rows that are nowhere: all ranks' plan, or that of one.
    fn plan(shares: &[usize], which: Range<usize>, memory_gib: f64) -> Result<Plan> {
        with_phases(shares, which, memory_gib, None).map(|found| found.0)
    }

    /// With its phases, of frames whose numbers have so many bytes.
    fn with_phases(
        shares: &[usize],
        which: Range<usize>,
        memory_gib: f64,
        frame_number: Option<usize>,
    ) -> Result<(Plan, Vec<Phase>)> {
        let text = format!(
            "[data]\ntrain = [\"none\"]\nvalidation = [\"none\"]\n[experts]\ncount = 4\n[run]\n\
             threads = 2\nmemory_gib = {memory_gib:?}\n"
        );
        let job = Job::parse(&text, "job", &[]).unwrap();
        let shape = Shape {
            parts: vec![FeaturePart { name: "rgb".into(), size: 1024 }],
            class_count: 3862,
            normalize: Normalize::L2,
            standard: None,
            frames: Vec::new(),
            pooling: frame_number.map(|_| Pooling::Average),
            layers: vec![Layer::Gating],
            dummy: Dummy::Learned,
            epsilon: 1e-5,
            class_blocks: 0,
        };
        let deal = |blocks: usize| Owners::in_shares(blocks, shares, 0);
        let (train, other) = (Blocks::even(5_000_000, 8192), Blocks::even(50_000, 256));
        let (of_train, of_other) = (deal(train.len()), deal(other.len()));
        let ranks = Ranks {
            train: OwnedBlocks { blocks: &train, owners: &of_train },
            validation: Some(OwnedBlocks { blocks: &other, owners: &of_other }),
            deal: &deal,
            deal_small: &deal,
            frame_number: frame_number.unwrap_or(1),
            grid: None,
        };
        let experts = [4; 3862];
        let plan = Plan::new(&job, &shape, &experts, &ranks, which.clone())?;
        let phases = plan.phases(&job, &shape, &experts, &ranks, which);
        Ok((plan, phases))
    }

    /// Frames of floats are planned with their bytes wherever they are read.
    #[test]
    fn frames_are_counted_as_they_are_stored() {
        let of = |number| with_phases(&[1], 0..1, 0.0, Some(number)).unwrap().1;
        let (bytes, halves, floats) = (of(1), of(2), of(4));
        for name in ["pretraining", "shared step"] {
            let bytes_of = |phases: &[Phase]| {
                phases.iter().find(|phase| phase.name == name).expect("a phase").bytes()
            };
            let [bytes, halves, floats] = [&bytes, &halves, &floats].map(|all| bytes_of(all));
            // All frames of a row at least.
            let more = halves - bytes;
            assert!(more >= FRAMES_MAX * 1024, "{name}: {bytes} {halves}");
            assert_eq!(floats - halves, 2 * more, "{name}");
        }
    }

    #[test]
    fn a_plan_is_that_of_the_rank_with_most() {
        for shares in [&[1][..], &[1, 1, 1], &[3, 0, 1, 5], &[0, 0, 2]] {
            let all = plan(shares, 0..shares.len(), 0.0).unwrap();
            let each = |rank| plan(shares, rank..rank + 1, 0.0).unwrap();
            let peaks: Vec<usize> = (0..shares.len()).map(|rank| each(rank).peak).collect();
            assert_eq!(Some(&all.peak), peaks.iter().max(), "{shares:?}: {peaks:?}");
            for (share, peak) in shares.iter().zip(&peaks) {
                let mut more = shares.iter().zip(&peaks).filter(|other| other.0 > share);
                assert!(more.all(|(_, other)| other > peak), "{shares:?}: {peaks:?}");
            }
        }
    }

    /// The parts of the phase that takes most are the peak.
    #[test]
    fn the_peak_is_that_of_a_phase() {
        for memory_gib in [0.0, 3.0] {
            let (found, phases) = with_phases(&[1, 1, 1], 0..3, memory_gib, None).unwrap();
            assert_eq!(phases.iter().map(Phase::bytes).max(), Some(found.peak), "{phases:?}");
        }
    }

    /// What all ranks do alike has room on each: the least that works for all is the most of what
    /// each needs.
    #[test]
    fn a_budget_holds_on_every_rank() {
        let shares = [3, 0, 1, 5];
        let free = plan(&shares, 0..4, 0.0).unwrap();
        assert!(free.train_in_memory && free.validation_in_memory && !free.scratch());
        let tight = plan(&shares, 0..4, 3.0).unwrap();
        assert!(tight.peak <= 3 << 30 && tight.scratch() && tight.peak < free.peak, "{tight:?}");
        for rank in 0..4 {
            let own = plan(&shares, rank..rank + 1, 3.0).unwrap();
            assert!(own.peak <= 3 << 30 && own.train_in_memory >= tight.train_in_memory);
        }
        let error = plan(&shares, 0..4, 0.01).unwrap_err();
        let busiest = plan(&shares, 3..4, 0.01).unwrap_err();
        assert_eq!((error.exit, error.text), (Exit::Resources, busiest.text));
    }

    /// Thousands of ranks, most of which own one class block or none, are planned without data.
    #[test]
    fn ranks_that_are_not_there_are_planned() {
        let [few, many] = [16, 4096].map(|ranks| plan(&vec![1; ranks], 0..ranks, 0.0).unwrap());
        assert!(many.peak < few.peak && many.wave <= 2, "{few:?} {many:?}");
    }
}
