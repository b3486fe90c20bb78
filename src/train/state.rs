//! What a training run holds besides the model: rows, threads, the report, the best model so far.

use std::rc::Rc;

use serde_json::{Value, json};

use super::memory::Plan;
use crate::comm::Comm;
use crate::data::{Dataset, Kind};
use crate::error::{Error, Exit, Result};
use crate::flow::home_rows::{HomeRows, open};
use crate::flow::own_rows::Room;
use crate::flow::scoring::evaluate;
use crate::human;
use crate::job::{Job, Validation};
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::{Experts, Rule, layouts};
use crate::model::initial;
use crate::model::mixture::Kernel;
use crate::model::vector::Instructions;
use crate::partition::{Blocks, owned};
use crate::report::Report;
use crate::rng::{Purpose, Stream};

/// Training and validation rows, divided over ranks.
#[derive(Clone)]
pub struct Data {
    pub train: Rc<HomeRows>,
    pub validation: Option<Rc<HomeRows>>,
    /// Number of experts of each class in the expert step.
    pub experts: Rc<Vec<usize>>,
    /// Biases that new experts of each class begin with; empty for 0.
    biases: Rc<Vec<f32>>,
}

impl Data {
    /// Has activations and scores kept where the plan wants them.
    fn keep_activations(&self, plan: &Plan, room: &Room) {
        let keep = |rows: &HomeRows, in_memory: bool| {
            let bytes_max = if in_memory { usize::MAX } else { 0 };
            *rows.room.borrow_mut() = Room { bytes_max, ..room.clone() };
        };
        keep(&self.train, plan.train_in_memory);
        self.validation.iter().for_each(|rows| keep(rows, plan.validation_in_memory));
    }

    /// Seconds that this rank has waited for rows.
    pub fn wait_seconds(&self) -> f64 {
        self.train.wait_seconds() + self.validation.as_ref().map_or(0.0, |rows| rows.wait_seconds())
    }

    /// Opens what the job names.
    ///
    /// # Errors
    /// Exit 4, common to all ranks.
    pub fn open(comm: &Comm, job: &Job) -> Result<Data> {
        let all = open(comm, &job.data.train)?;
        let (train, validation) = match &job.data.validation {
            Validation::None => (all, None),
            Validation::Globs(globs) => {
                let validation = open(comm, globs)?;
                let shards = all.shards().iter().chain(validation.shards());
                comm.agree(Dataset::new(shards.cloned().collect()))?;
                (all, Some(validation))
            }
            Validation::Fraction(fraction) => {
                let (train, validation) = split(&all, *fraction, job);
                (train, Some(validation))
            }
        };
        let home = |dataset| Rc::new(HomeRows::new(comm, dataset, job.run.row_blocks));
        if train.rows() == 0 {
            return comm.agree(Err(Error::input("data.train: found no row to train on")));
        }
        if train.kind() == Kind::Video && !job.model.frames.is_empty() {
            let text = "model.frames: found layers, but the shards hold no frames";
            return comm.agree(Err(Error::usage(text)));
        }
        let (train, validation) = (home(train), validation.map(home));
        let rule = rule_of(job);
        let positives = match rule {
            Rule::Uniform { .. } if !job.model.frequency_biases => {
                vec![0; train.dataset().class_count()]
            }
            _ => train.positives(comm)?,
        };
        let rows = train.rows();
        let biases = positives.iter().filter(|_| job.model.frequency_biases);
        let biases = Rc::new(biases.map(|count| initial::log_odds(*count, rows)).collect());
        Ok(Data { train, validation, experts: Rc::new(rule.counts(&positives)), biases })
    }
}

fn rule_of(job: &Job) -> Rule {
    let max = job.experts.count;
    match job.experts.positives_per_expert as u64 {
        0 => Rule::Uniform { count: max },
        positives_per_expert => Rule::Adaptive { positives_per_expert, max },
    }
}

/// Takes a share of row blocks, drawn with the seed, for validation.
fn split(all: &Dataset, fraction: f64, job: &Job) -> (Dataset, Dataset) {
    let blocks = Blocks::even(all.rows(), job.run.row_blocks);
    let count = ((blocks.len() as f64 * fraction).round() as usize).clamp(1, blocks.len());
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    Stream::new(job.run.seed, Purpose::ValidationSplit, 0).shuffle(&mut order);
    let rows = |validation: bool| {
        let wanted = |block: &usize| order[..count].contains(block) == validation;
        (0..blocks.len()).filter(wanted).map(|block| blocks.block(block)).collect::<Vec<_>>()
    };
    (all.subset(&rows(false)), all.subset(&rows(true)))
}

/// One kernel for each thread of this rank.
pub fn kernels(instructions: Instructions, threads: usize, epsilon: f32) -> Vec<Kernel> {
    (0..threads.max(1)).map(|_| Kernel::new(instructions, epsilon)).collect()
}

/// What the model of a job on these data is.
pub fn shape_of(job: &Job, data: &Data) -> Shape {
    let dataset = data.train.dataset();
    Shape {
        parts: dataset.parts().to_vec(),
        class_count: dataset.class_count(),
        normalize: job.data.normalize,
        frames: job.model.frames.clone(),
        pooling: (dataset.kind() == Kind::Frames).then_some(job.model.pooling),
        layers: job.model.shared.clone(),
        dummy: job.model.dummy,
        epsilon: job.model.epsilon,
        class_blocks: job.run.class_blocks,
    }
}

/// What a job on these data may take of memory, and how it keeps to that.
///
/// # Errors
/// Exit 9, common to all ranks: the byte budget can't be kept.
pub fn plan(comm: &Comm, job: &Job, data: &Data) -> Result<Plan> {
    let validation = data.validation.as_deref();
    let (shape, experts) = (shape_of(job, data), &data.experts);
    comm.agree(Plan::new(job, &shape, experts, comm.size(), &data.train, validation))
}

/// The vector instructions that the job names.
///
/// # Errors
/// Exit 3 where this processor doesn't have them.
pub fn instructions(job: &Job) -> Result<Instructions> {
    let name = &job.run.kernel;
    Instructions::parse(name).map_err(|expected| {
        Error::new(Exit::Launch, format!("run.kernel: found {name:?}, {expected}"))
    })
}

pub struct State<'a> {
    pub comm: &'a Comm,
    pub job: &'a Job,
    pub data: Data,
    pub kernels: Vec<Kernel>,
    pub report: &'a mut Report,
    /// What the phases may take of memory.
    pub plan: Plan,
    shape: Shape,
    /// The training loss told last.
    last_loss: f64,
}

impl<'a> State<'a> {
    /// # Errors
    /// Exit 3 where a processor doesn't have the instructions asked for.
    pub fn new(
        comm: &'a Comm,
        job: &'a Job,
        data: Data,
        report: &'a mut Report,
    ) -> Result<State<'a>> {
        let shape = shape_of(job, &data);
        let instructions = comm.agree(instructions(job))?;
        let plan = plan(comm, job, &data)?;
        let place = if plan.scratch() { ", activations in a scratch file" } else { "" };
        log::info!("memory planned {}{place}", human::bytes(plan.peak as u64));
        let scratch = match job.run.scratch.as_str() {
            "" => std::env::temp_dir(),
            folder => folder.into(),
        };
        let room = Room { scores_max: plan.scores_max, scratch, ..Room::unlimited() };
        comm.agree(if plan.scratch() { room.check() } else { Ok(()) })?;
        data.keep_activations(&plan, &room);
        let kernels = kernels(instructions, job.run.threads, job.model.epsilon);
        Ok(State { comm, job, data, kernels, report, shape, plan, last_loss: f64::INFINITY })
    }

    /// The model before any training.
    pub fn initial(&self) -> Annotator {
        let layers = self.shape.shared_layers();
        Annotator {
            shared: initial::shared(&layers, self.job.run.seed),
            experts: self.new_experts(&self.small_experts(), 0),
            layers,
            shape: self.shape.clone(),
        }
    }

    /// Experts of each class while pretraining.
    fn small_experts(&self) -> Vec<usize> {
        vec![self.job.pretrain.experts; self.shape.class_count]
    }

    /// Newly initialised mixtures with so many experts for each class.
    pub fn new_experts(&self, counts: &[usize], generation: u64) -> Experts {
        let width = self.shape.shared_layers().outputs();
        let layouts = layouts(counts, self.shape.dummy, width, self.shape.class_blocks);
        let own = owned(layouts.len(), self.comm.size(), self.comm.rank());
        let mut experts = Experts::new(layouts, own, self.job.run.seed, generation);
        if !self.data.biases.is_empty() {
            experts.set_biases(&self.data.biases);
        }
        experts
    }

    /// Reports a loss.
    ///
    /// # Errors
    /// Exit 7 where it isn't a number.
    pub fn tell(&mut self, event: Value, loss: f64) -> Result<()> {
        self.report.event(&event);
        self.last_loss = loss;
        if loss.is_finite() {
            return Ok(());
        }
        let text = format!("{event}: the loss is not a number; hint: a smaller learning rate");
        self.comm.agree(Err(Error::new(Exit::Numeric, text)))
    }

    /// Evaluates the model on the validation rows and keeps it if it is the best so far; without
    /// validation rows the last one counts as the best. Returns whether it was kept.
    pub fn validate(
        &mut self,
        annotator: &Annotator,
        kernels: &mut [Kernel],
        best: &mut Best,
        mut event: Value,
    ) -> Result<bool> {
        let loss = event["loss"].as_f64().unwrap_or(self.last_loss);
        let Some(rows) = self.data.validation.clone() else {
            self.tell(event, loss)?;
            let better = -loss > best.score;
            best.keep(annotator, -loss);
            return Ok(better);
        };
        let metrics = evaluate(self.comm, annotator, &rows, kernels)?;
        event["validation"] = json!(metrics);
        self.tell(event, loss)?;
        let better = metrics.gap_at_20 > best.score;
        if better {
            best.keep(annotator, metrics.gap_at_20);
        }
        Ok(better)
    }
}

/// The model as it was last and as it was best.
pub struct Best {
    pub last: Annotator,
    kept: Option<Annotator>,
    /// GAP@20 on the validation rows of what is kept.
    pub score: f64,
    pub rounds_without: usize,
}

impl Best {
    pub fn new(annotator: Annotator) -> Best {
        Best { last: annotator, kept: None, score: f64::NEG_INFINITY, rounds_without: 0 }
    }

    fn keep(&mut self, annotator: &Annotator, score: f64) {
        (self.kept, self.score) = (Some(annotator.clone()), score);
    }

    /// The best model so far, if any has been kept.
    pub fn kept(&self) -> Option<&Annotator> {
        self.kept.as_ref()
    }

    /// Takes out the last model to be trained further: two copies would cost its memory twice.
    pub fn take_last(&mut self) -> Annotator {
        let hollow = self.last.hollow();
        std::mem::replace(&mut self.last, hollow)
    }

    pub fn into_annotator(self) -> Annotator {
        self.kept.unwrap_or(self.last)
    }
}
