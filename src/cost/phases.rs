//! What each phase of a job takes of a rank's memory, part by part: the formulas of `memory.rs`.

use super::memory::{Sizes, tree};
use crate::comm::SEAL;
use crate::device::Dropout;
use crate::device::slices::vectors_of;
use crate::flow::experts_travel::AHEAD;
use crate::inference::scores::{TOP, wave_rows};
use crate::job::Job;
use crate::metrics::ClassFigures;
use crate::optim::Solver;
use crate::partition::groups;

const FLOAT: usize = size_of::<f32>();
/// Bytes of a record beside its numbers: its seal, what its part says of it, and some labels.
const ROW_RECORD: usize = SEAL + 8 + 16;
/// Bytes by which a row is planned in three windows, and found in one.
const ROW_PLANS: usize = 3 * (8 + 4) + 12;

/// Bytes of what a class comes to: as figures, and twice in the text of them.
const CLASS_FIGURES: usize = size_of::<ClassFigures>() + 2 * 160;

/// What is held, in words, and its bytes.
pub(crate) type Part = (&'static str, usize);

pub(super) fn sum(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.1).sum()
}

/// What a phase takes beside activations at rest, and whose activations rest meanwhile.
pub(super) struct PhaseBytes {
    pub(super) name: &'static str,
    pub(super) parts: Vec<Part>,
    pub(super) train: bool,
    pub(super) validation: bool,
}

impl Sizes {
    /// What pretraining learns with, while rows pass and while it is validated.
    fn pretrained(&self, job: &Job) -> [Part; 2] {
        let groups = groups(job.pretrain.batch, job.pretrain.groups);
        [
            ("mixtures and their optimizer", 5 * self.small),
            ("shared layers and their optimizer", (7 + tree(groups)) * self.shared),
        ]
    }

    fn pretrain(&self, job: &Job) -> Vec<Part> {
        let batch = job.pretrain.batch.min(self.all_rows);
        let own = batch.min(self.group_rows);
        let sums = self.threads + tree(self.class_blocks) + 2;
        let rows = own * (3 * self.sampled + self.tape + self.activations);
        let [mixtures, shared] = self.pretrained(job);
        vec![
            mixtures,
            shared,
            ("work space of kernels", self.kernels()),
            ("gradients of threads", self.threads * (self.shared + self.block)),
            ("mini-batches", rows + batch * self.activations * sums),
            ("rows read ahead", self.group_rows.min(8 * batch) * self.sampled),
        ]
    }

    /// What the expert step learns with: weights, their average, the solver's state, the best
    /// epoch.
    fn learned(&self, job: &Job) -> usize {
        let state = job.experts.solver.numbers();
        let average = usize::from(job.experts.averaging > 0.0);
        if let Some(column) = &self.apart {
            let learned = match job.experts.solver {
                Solver::FullBatch(_) => column.bytes_of_searches(state, self.block),
                Solver::MiniBatch(_) => column.bytes(state + average, self.block),
            };
            let stopping = usize::from(job.experts.class_patience > 0) * column.weights;
            let best = usize::from(job.experts.patience > 0) * self.large;
            return learned + stopping + best;
        }
        (1 + average + state + usize::from(job.experts.watched())) * self.large
    }

    /// Rows of a window of the expert step.
    fn window(&self, job: &Job) -> usize {
        let batches = (job.experts.window / job.experts.batch).max(1);
        (batches * job.experts.batch).min(self.all_rows)
    }

    /// Rows of a window that one rank holds: its share, or where rows pass as they lie all of them.
    pub(super) fn own_part(&self, job: &Job) -> usize {
        match job.experts.solver {
            Solver::FullBatch(_) => self.window(job).min(self.rows),
            Solver::MiniBatch(_) => (self.window(job) * self.rows).div_ceil(self.all_rows.max(1)),
        }
    }

    /// A window in order, and where ranks are several one that has come and one that comes, as
    /// records, with its own part of that; and what windows are planned with.
    fn windows(&self, job: &Job) -> usize {
        let (window, own) = (self.window(job), self.own_part(job));
        let here = window * (self.activations + ROW_PLANS);
        match self.several {
            false => here + own * self.activations,
            true => {
                let numbers =
                    Dropout::expected_words(job.experts.dropout, self.activations / FLOAT);
                here + (2 * window + own) * (numbers * FLOAT + ROW_RECORD)
            }
        }
    }

    fn expert_step(&self, job: &Job, kept: usize) -> Vec<Part> {
        let sums = vectors_of(job.experts.row_slices);
        let sums = match job.experts.solver {
            // They are counted among what it learns with.
            _ if self.apart.is_some() => 0,
            Solver::FullBatch(_) if sums == 1 => 0,
            Solver::FullBatch(_) => sums * self.large,
            Solver::MiniBatch(_) => self.threads * sums * self.block,
        };
        let drawn = match job.experts.negatives < 1.0 {
            true => self.threads * job.experts.batch.min(self.all_rows) * self.activations,
            false => 0,
        };
        let learning = vec![
            ("mixtures and their optimizer", self.learned(job)),
            ("sums of slices", sums),
            ("windows of rows", drawn + self.windows(job)),
        ];
        // Before it begins, activations are made.
        let before = vec![("mixtures", self.large), ("rows read ahead", self.forward())];
        let more = if sum(&learning) >= sum(&before) { learning } else { before };
        let always = vec![("mixtures before", kept), ("work space of kernels", self.kernels())];
        [always, more].concat()
    }

    /// Without the wave.
    fn shared_step(&self) -> Vec<Part> {
        let shared = self.threads + 9 + tree(self.row_blocks);
        let ahead = self.read_ahead(8 * self.threads, self.row_block.min(self.piece));
        vec![
            ("mixtures, now and before", 2 * self.large),
            ("class blocks on their way", (self.ahead + 2) * self.block),
            ("work space of kernels", self.kernels()),
            ("shared layers, their gradients and optimizer", shared * self.shared),
            ("rows read ahead", ahead),
        ]
    }

    /// Beside the model.
    pub(super) fn scoring(&self) -> Vec<Part> {
        let wave = wave_rows(self.scores_max, self.classes, self.threads).min(self.validation_rows);
        let scores = self.classes * FLOAT + size_of::<f64>();
        let lists = TOP * (size_of::<(f32, u32)>() + 48);
        let passing = vec![
            ("class blocks on their way", (AHEAD + 1) * self.block),
            ("scores", wave * scores + self.validation_rows * lists),
        ];
        let reading = vec![("rows read ahead", self.forward())];
        let more = if sum(&passing) >= sum(&reading) { passing } else { reading };
        [vec![("work space of kernels", self.kernels())], more].concat()
    }

    /// The same where classes are measured one by one, too.
    fn scoring_by_class(&self) -> Vec<Part> {
        [self.scoring(), vec![("figures of classes", self.figures * CLASS_FIGURES)]].concat()
    }

    /// Labels of rows, and seals of their activations.
    pub(super) fn labels(&self) -> usize {
        (self.rows + self.validation_rows) * (32 + SEAL)
    }

    /// All phases but the shared step, and what that takes beside its wave, if there is one.
    pub(super) fn phases(
        &self,
        job: &Job,
        validation: bool,
    ) -> (Vec<PhaseBytes>, Option<Vec<Part>>) {
        let rounds = job.rounds.count > 0;
        let kept = self.small.max(if job.rounds.count > 1 { self.large } else { 0 });
        let labels = ("labels", self.labels());
        let mut phases = Vec::new();
        let mut phase = |on: bool, name, held: &[Part], more: Vec<Part>, (train, validation)| {
            if on {
                let parts = [held, &more, &[labels]].concat();
                phases.push(PhaseBytes { name, parts, train, validation });
            }
        };
        let pretrain = job.pretrain.epochs > 0;
        let within = validation && job.experts.validates_within();
        phase(pretrain, "pretraining", &[], self.pretrain(job), (false, false));
        let scored = pretrain && validation;
        let by_class = self.scoring_by_class();
        phase(scored, "its validation", &self.pretrained(job), by_class.clone(), (false, true));
        phase(rounds, "expert step", &[], self.expert_step(job, kept), (true, false));
        let held = [("mixtures before", kept), ("mixtures and their optimizer", self.learned(job))];
        phase(rounds && within, "its validation within", &held, self.scoring(), (true, true));
        let held = [("mixtures before", kept), ("mixtures", self.large)];
        phase(rounds && validation, "its validation after", &held, by_class, (false, true));
        let shared = rounds && job.shared.iterations > 0 && self.shared > 0;
        (phases, shared.then(|| [self.shared_step(), vec![labels]].concat()))
    }
}
