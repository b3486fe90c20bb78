//! The model that a run begins with (`model.initial`; docs/method.md, section 3.4): its shared
//! layers, and the mixtures of the classes that it has, too.
//!
//! Every rank reads the mixtures of its own class blocks straight from the model's files, class by
//! class: so no rank holds more than one mixture beside its own, and bits don't depend on ranks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifact::{Manifest, ModelFolder, Opened};
use crate::comm::Comm;
use crate::data::{Dataset, Kind};
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::job::Job;
use crate::model::annotator::Shape;
use crate::model::experts::Experts;
use crate::names::Names;
use crate::report::MODEL;

/// A model that fits the job's, and which of its classes are the run's.
pub(crate) struct InitialModel {
    model: ModelFolder,
    /// For each class of the run the model's, where that has it.
    classes: Vec<Option<u32>>,
    /// By what they were matched.
    by: &'static str,
}

impl InitialModel {
    /// The model that the job names, if it does; `names` are those of the run's classes.
    /// Collective.
    ///
    /// # Errors
    /// Exit 2: its shared layers, or what they take, aren't the job's; exit 6: it is no model, or
    /// isn't whole; common to all ranks.
    pub(super) fn open(
        comm: &Comm,
        job: &Job,
        train: &Dataset,
        names: Option<&Arc<Names>>,
    ) -> Result<Option<InitialModel>> {
        if job.model.initial.is_empty() {
            return Ok(None);
        }
        let path = comm.agree(place(Path::new(&job.model.initial)))?;
        let model = ModelFolder::open_whole(comm, &path)?;
        let fits = || {
            same_layers(job, train, &model.manifest.shape).map_err(|text| {
                let name = format!("model.initial: {}", path.display());
                Error::usage(format!("{name}: {text}"))
            })?;
            let opened = Opened::new(&model)?;
            Ok(matched(train.class_count(), names.map(|names| &**names), &opened))
        };
        let (classes, by) = comm.agree(fits())?;
        Ok(Some(InitialModel { model, classes, by }))
    }

    /// Its content hash.
    pub(super) fn hash(&self) -> &str {
        &self.manifest().content_hash
    }

    fn manifest(&self) -> &Manifest {
        &self.model.manifest
    }

    /// The parameters of its shared layers. Collective.
    ///
    /// # Errors
    /// Exit 6, common to all ranks.
    pub(super) fn shared(&self, comm: &Comm) -> Result<Vec<f32>> {
        let read = || {
            let shared = Opened::new(&self.model)?.shared().to_vec();
            self.model.unchanged().map(|()| shared)
        };
        comm.agree(read())
    }

    /// Puts its mixtures in the place of those of `experts` that are of the same classes and of as
    /// many experts, and says of how many. Collective.
    ///
    /// # Errors
    /// Exit 6, common to all ranks.
    pub(super) fn put_mixtures(&self, comm: &Comm, experts: &mut Experts) -> Result<()> {
        let mut taken = [comm.agree(self.put_own(experts))?];
        comm.sum(&mut taken);
        let (of, path) = (experts.classes(), self.model.path().display());
        let (known, by) = (self.classes.iter().flatten().count(), self.by);
        log::info!(
            "{path}: shared layers, and the mixtures of {} of {of} classes ({known} are the same \
             by {by}); the others begin at random",
            taken[0]
        );
        Ok(())
    }

    /// Those of this rank's class blocks; how many.
    fn put_own(&self, experts: &mut Experts) -> Result<u64> {
        let (opened, mut taken) = (Opened::new(&self.model)?, 0);
        let layouts = &experts.layouts[experts.owners.own()];
        for (layout, parameters) in layouts.iter().zip(&mut experts.parameters) {
            // Other gates would be another mixture.
            if layout.dummy != self.manifest().shape.dummy {
                continue;
            }
            for (class, count) in layout.experts.iter().enumerate() {
                let Some(theirs) = self.classes[layout.classes.start + class] else { continue };
                if opened.experts()[theirs as usize] != *count {
                    continue;
                }
                let numbers = opened.mixture(theirs as usize)?;
                let places = layout.places_of(class).0;
                assert_eq!(places.len(), numbers.len(), "mixtures of one form");
                let parameters = Arc::make_mut(parameters);
                places.iter().zip(numbers).for_each(|(place, number)| parameters[*place] = number);
                taken += 1;
            }
        }
        self.model.unchanged()?;
        Ok(taken)
    }
}

/// The content hash of the model that the job names now, if it does. Collective.
///
/// # Errors
/// Exit 6, common to all ranks: there is none, or it isn't whole.
pub(super) fn hash_now(comm: &Comm, job: &Job) -> Result<Option<String>> {
    if job.model.initial.is_empty() {
        return Ok(None);
    }
    let open = || ModelFolder::open(&place(Path::new(&job.model.initial))?);
    Ok(Some(comm.agree(open())?.manifest.content_hash))
}

/// The directory of the model of a run, or of a model.
///
/// # Errors
/// Exit 6: there is neither.
fn place(path: &Path) -> Result<PathBuf> {
    let within = path.join(MODEL);
    let is_model = |path: &&PathBuf| path.join("manifest.json").exists();
    [path.to_path_buf(), within].iter().find(is_model).cloned().ok_or_else(|| {
        let text = format!("model.initial: {}: found no model", path.display());
        Error::run_directory(text).hint("a finished RUN, or a directory such as RUN/model")
    })
}

/// Whether a model of this shape takes these rows as the job's model does and makes the same
/// activations of them, but for the weights.
///
/// # Errors
/// What differs.
fn same_layers(job: &Job, train: &Dataset, shape: &Shape) -> std::result::Result<(), String> {
    let parts = |parts: &[FeaturePart]| {
        let parts = parts.iter().map(|part| format!("{}:{}", part.name, part.size));
        parts.collect::<Vec<_>>().join(",")
    };
    fn json(value: &impl serde::Serialize) -> String {
        serde_json::to_string(value).expect("plain data")
    }
    let pooling = (train.kind() == Kind::Frames).then_some(job.model.pooling);
    let fields = [
        ("features", parts(&shape.parts), parts(train.parts())),
        ("data.normalize", json(&shape.normalize), json(&job.data.normalize)),
        ("model.frames", json(&shape.frames), json(&job.model.frames)),
        ("model.pooling", json(&shape.pooling), json(&pooling)),
        ("model.shared", json(&shape.layers), json(&job.model.shared)),
    ];
    match fields.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((field, found, expected)) => {
            Err(format!("{field}: found {found}, expected {expected} as the job has"))
        }
    }
}

/// For each of the run's classes the model's with the same name; where one of them has no names,
/// but as many classes, the one with the same number.
fn matched(
    classes: usize,
    names: Option<&Names>,
    opened: &Opened,
) -> (Vec<Option<u32>>, &'static str) {
    match (names, opened.names()) {
        (Some(own), Some(theirs)) => (own.among(theirs), "name"),
        _ if opened.experts().len() == classes => {
            ((0..classes as u32).map(Some).collect(), "number")
        }
        _ => (vec![None; classes], "number"),
    }
}
