//! The rows of a run: which train, which validate, and what follows from their labels.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::initial_model::{self, InitialModel};
use crate::comm::Comm;
use crate::cost::budget::Plan;
use crate::data::{Dataset, Kind, ReadBefore, ShardInfo};
use crate::error::{Error, Result};
use crate::flow::home_rows::HomeRows;
use crate::flow::own_rows::Room;
use crate::flow::repeated_rows::{self, Lists};
use crate::flow::shards::{open, see, warn_of_unproven};
use crate::human::hex;
use crate::job::{Job, Validation};
use crate::model::experts::Rule;
use crate::model::initial;
use crate::model::spec::{InitialBiases, Normalize, Standard};
use crate::names::Names;
use crate::partition::{Blocks, row_blocks};
use crate::rng::{Purpose, Stream};

/// Training and validation rows, divided over ranks.
#[derive(Clone)]
pub struct Data {
    #[doc(hidden)]
    pub train: Rc<HomeRows>,
    #[doc(hidden)]
    pub validation: Option<Rc<HomeRows>>,
    /// Number of experts of each class in the expert step.
    #[doc(hidden)]
    pub experts: Rc<Vec<usize>>,
    /// What features are standardised by, where the job wants that.
    #[doc(hidden)]
    pub(crate) standard: Option<Rc<Standard>>,
    /// Biases that new experts of each class begin with; empty for 0.
    #[doc(hidden)]
    pub(crate) biases: Rc<Vec<f32>>,
    /// The model to begin with, where the job names one.
    #[doc(hidden)]
    pub(crate) initial: Option<Rc<InitialModel>>,
}

impl Data {
    /// The names of the classes, where shards to train on, or else those to validate on, have some.
    #[doc(hidden)]
    pub(crate) fn names(&self) -> Option<&Arc<Names>> {
        let validation = || self.validation.as_ref()?.dataset().names();
        self.train.dataset().names().or_else(validation)
    }

    /// Has activations and scores kept where the plan wants them.
    #[doc(hidden)]
    pub(crate) fn keep_activations(&self, plan: &Plan, room: &Room) {
        let keep = |rows: &HomeRows, in_memory: bool| {
            let bytes_max = if in_memory { usize::MAX } else { 0 };
            *rows.room.borrow_mut() = Room { bytes_max, ..room.clone() };
        };
        keep(&self.train, plan.train_in_memory);
        self.validation.iter().for_each(|rows| keep(rows, plan.validation_in_memory));
    }

    /// Bytes of a number of frames, as they come: the most of training and of validation rows.
    pub(crate) fn frame_number(&self) -> usize {
        let all = [Some(&self.train), self.validation.as_ref()].into_iter().flatten();
        all.map(|rows| rows.dataset().frame_form().size()).max().expect("training rows")
    }

    /// The same rows as `comm` deals them now.
    pub(crate) fn dealt_anew(&self, comm: &Comm) -> Data {
        let anew = |rows: &Rc<HomeRows>| Rc::new(rows.dealt_anew(comm));
        let (train, validation) = (anew(&self.train), self.validation.as_ref().map(anew));
        Data { train, validation, ..self.clone() }
    }

    /// Which rows these are, as JSON: their number and a digest of their shards, wherever those
    /// lie.
    #[doc(hidden)]
    pub fn identity(&self) -> Value {
        let of = |rows: &HomeRows| {
            let mut digest = Sha256::new();
            for shard in rows.dataset().shards() {
                let mut shard = shard.clone();
                shard.path = shard.path.file_name().unwrap_or_default().into();
                digest.update(shard.without_digest());
            }
            let digest = hex(&digest.finalize()[..8]);
            json!({ "rows": rows.rows(), "shards": digest })
        };
        json!({ "train": of(&self.train), "validation": self.validation.as_deref().map(of) })
    }

    /// The contents of the shards, which a checkpoint holds: name and digest of each, in order.
    #[doc(hidden)]
    pub fn contents(&self) -> Value {
        let of = |rows: &HomeRows| {
            let shards = rows.dataset().shards().iter();
            let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
            shards.map(|shard| json!([name(&shard.path), shard.digest])).collect::<Vec<_>>()
        };
        let validation = self.validation.as_deref().map(of);
        self.with_initial(json!({ "train": of(&self.train), "validation": validation }))
    }

    /// The same, with the content hash of the model to begin with, where there is one.
    fn with_initial(&self, mut contents: Value) -> Value {
        if let Some(model) = &self.initial {
            contents["initial"] = json!(model.hash());
        }
        contents
    }

    /// The rows and contents of the shards that the job names, for the record of the run.
    pub(crate) fn recorded(&self, job: &Job) -> Value {
        let validation = self.validation.as_ref().filter(|_| !job.data.validation.is_empty());
        let validation = validation.map(|rows| of_shards(rows.dataset().shards()));
        let train = of_shards(self.train.dataset().shards());
        self.with_initial(json!({ "train": train, "validation": validation }))
    }

    /// Shards without proof that have been read in full.
    #[doc(hidden)]
    pub(crate) fn read_in_full(&self) -> ReadBefore {
        let lists = std::iter::once(&self.train).chain(&self.validation);
        ReadBefore::among(lists.flat_map(|rows| rows.dataset().shards()))
    }

    /// What this rank has made of its shards, as a text that ranks compare.
    #[doc(hidden)]
    pub(crate) fn described(&self) -> String {
        let identity = self.identity();
        let numbers = json!([&*self.experts, &*self.biases, self.standard.as_deref()]);
        let digest = hex(&Sha256::digest(numbers.to_string()));
        let initial = self.initial.as_ref().map_or("none", |model| model.hash());
        format!(
            "training rows = {}\nvalidation rows = {}\nclasses = {}\nwhat follows = {digest}\n\
             model.initial = {initial}\n",
            identity["train"],
            identity["validation"],
            self.train.dataset().class_count(),
        )
    }

    /// Rows that are planned and not here, `positives` of each class: no two of them repeat, none
    /// validates, and features have mean 0 and spread 1.
    pub(crate) fn planned(
        comm: &Comm,
        job: &Job,
        (dataset, validation): (Dataset, Option<Dataset>),
        positives: &[u64],
    ) -> Data {
        let (rows, width) = (job.plan.rows, dataset.width());
        let by_frequency = job.model.initial_biases == InitialBiases::Frequency;
        let biases = positives.iter().filter(|_| by_frequency);
        let biases = biases.map(|count| initial::log_odds(*count, rows)).collect();
        let standard = (job.data.normalize == Normalize::Standardise)
            .then(|| Rc::new(Standard { means: vec![0.0; width], scales: vec![1.0; width] }));
        let blocks = row_blocks(job.run.row_blocks, rows);
        let of = |dataset| {
            let rows = HomeRows::new(comm, dataset, blocks);
            Rc::new(rows.scaled_by(job.data.normalize, standard.as_deref()))
        };
        Data {
            train: of(dataset),
            validation: validation.map(of),
            experts: Rc::new(rule_of(job).counts(positives)),
            standard,
            biases: Rc::new(biases),
            initial: None,
        }
    }

    /// Seconds that this rank has waited for rows.
    #[doc(hidden)]
    pub(crate) fn wait_seconds(&self) -> f64 {
        self.train.wait_seconds() + self.validation.as_ref().map_or(0.0, |rows| rows.wait_seconds())
    }

    /// Opens what the job names.
    ///
    /// # Errors
    /// Exit 4, common to all ranks.
    pub fn open(comm: &Comm, job: &Job) -> Result<Data> {
        Data::open_again(comm, job, &ReadBefore::default())
    }

    /// The same, where shards without proof have been read in full before.
    ///
    /// # Errors
    /// As `open`; exit 75 when told to stop.
    #[doc(hidden)]
    pub(crate) fn open_again(comm: &Comm, job: &Job, before: &ReadBefore) -> Result<Data> {
        let all = open(comm, "data.train", &job.data.train, before)?;
        let blocks = row_blocks(job.run.row_blocks, all.rows());
        let (train, validation) = match job.data.validation_rows() {
            Validation::None => (all, None),
            Validation::Globs(globs) => {
                let validation = open(comm, "data.validation", globs, before)?;
                let shards = all.shards().iter().chain(validation.shards());
                comm.agree(Dataset::new(shards.cloned().collect()))?;
                (all, Some(validation))
            }
            Validation::Fraction(fraction) => {
                let (train, validation) = split(&all, blocks, fraction, job.run.seed);
                (train, Some(validation))
            }
        };
        let lists: Vec<&Dataset> = std::iter::once(&train).chain(&validation).collect();
        warn_of_unproven(comm, &lists);
        warn_of_no_labels(comm, &lists);
        let home = |dataset| HomeRows::new(comm, dataset, blocks);
        if train.rows() == 0 {
            return comm.agree(Err(Error::input("data.train: found no row to train on")));
        }
        if train.kind() == Kind::Video && !job.model.frames.is_empty() {
            let text = "model.frames: found layers, but the shards hold no frames";
            return comm.agree(Err(Error::usage(text)));
        }
        let (train, validation) = (home(train), validation.map(home));
        see(comm, train.dataset(), &train.own_rows())?;
        if let Some(rows) = &validation {
            see(comm, rows.dataset(), &rows.own_rows())?;
        }
        let lists = Lists {
            train: &train,
            validation: validation.as_ref(),
            named: !job.data.validation.is_empty(),
            allowed: job.data.allow_overlap,
        };
        repeated_rows::check(comm, &lists)?;
        let rule = rule_of(job);
        let by_frequency = job.model.initial_biases == InitialBiases::Frequency;
        let positives = match rule {
            Rule::Uniform { .. } if !by_frequency => {
                vec![0; train.dataset().class_count()]
            }
            _ => train.positives(comm)?,
        };
        let rows = train.rows();
        let biases = positives.iter().filter(|_| by_frequency);
        let biases = Rc::new(biases.map(|count| initial::log_odds(*count, rows)).collect());
        let standard = match job.data.normalize {
            Normalize::Standardise => Some(Rc::new(train.standard(comm)?)),
            _ => None,
        };
        // From now on rows with features so large that scaling them gives no numbers are errors.
        let scaled =
            |rows: HomeRows| Rc::new(rows.scaled_by(job.data.normalize, standard.as_deref()));
        let (train, validation) = (scaled(train), validation.map(scaled));
        let experts = Rc::new(rule.counts(&positives));
        let data = Data { train, validation, experts, standard, biases, initial: None };
        let initial = InitialModel::open(comm, job, data.train.dataset(), data.names())?;
        Ok(Data { initial: initial.map(Rc::new), ..data })
    }
}

/// Warns where no row of the shards to train on, or to validate on, has a label: everything would
/// be learned to be absent, and every metric be 0.
fn warn_of_no_labels(comm: &Comm, lists: &[&Dataset]) {
    for (dataset, key) in lists.iter().zip(["data.train", "data.validation"]) {
        if dataset.is_unlabelled() && dataset.rows() > 0 && comm.is_root() {
            let rows = dataset.rows();
            log::warn!("{key}: none of {rows} rows has a label; hint: reelscale inspect SHARD");
        }
    }
}

/// What `Data::recorded` would say of the shards that the job names now. Collective.
///
/// # Errors
/// As `Data::open`; exit 75 when told to stop.
pub(crate) fn recorded_now(comm: &Comm, job: &Job, before: &ReadBefore) -> Result<Value> {
    let train = open(comm, "data.train", &job.data.train, before)?;
    let validation = match job.data.validation.is_empty() {
        true => None,
        false => Some(open(comm, "data.validation", &job.data.validation, before)?),
    };
    let validation = validation.map(|dataset| of_shards(dataset.shards()));
    let mut now = json!({ "train": of_shards(train.shards()), "validation": validation });
    if let Some(hash) = initial_model::hash_now(comm, job)? {
        now["initial"] = json!(hash);
    }
    Ok(now)
}

/// How many rows shards have, and a digest of their contents in order, whatever they are called.
pub(crate) fn of_shards(shards: &[ShardInfo]) -> Value {
    let mut digest = Sha256::new();
    for shard in shards {
        digest.update(shard.digest.as_deref().unwrap_or("none"));
        digest.update("\n");
    }
    let rows: usize = shards.iter().map(|shard| shard.rows).sum();
    json!({ "rows": rows, "contents": hex(&digest.finalize()) })
}

fn rule_of(job: &Job) -> Rule {
    let max = job.experts.count;
    match job.experts.positives_per_expert as u64 {
        0 => Rule::Uniform { count: max },
        positives_per_expert => Rule::Adaptive { positives_per_expert, max },
    }
}

/// Takes a share of so many row blocks, drawn with the seed, for validation.
fn split(all: &Dataset, blocks: usize, fraction: f64, seed: u64) -> (Dataset, Dataset) {
    let blocks = Blocks::even(all.rows(), blocks);
    let count = ((blocks.len() as f64 * fraction).round() as usize).clamp(1, blocks.len());
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    Stream::new(seed, Purpose::ValidationSplit, 0).shuffle(&mut order);
    let mut validates = vec![false; blocks.len()];
    order[..count].iter().for_each(|block| validates[*block] = true);
    let rows = |validation: bool| {
        let wanted = |block: &usize| validates[*block] == validation;
        (0..blocks.len()).filter(wanted).map(|block| blocks.block(block)).collect::<Vec<_>>()
    };
    (all.subset(&rows(false)), all.subset(&rows(true)))
}
