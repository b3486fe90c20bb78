//! `--model` of the commands that read one: the directory of a model, of a run, which may go on
//! meanwhile, or of one of its checkpoints.

use std::path::Path;

use crate::artifact::{self, ModelFolder};
use crate::checkpoint::{Loaded, Store};
use crate::comm::Comm;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::model::annotator::Annotator;
use crate::report::{CHECKPOINTS, JOB, Kept, MODEL, RunDirectory, events_of};
use crate::train::{CheckpointModel, model_of_checkpoint};

/// Which model of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Which {
    /// Of a run or a checkpoint the best model so far, or the one that it stood at last. A finished
    /// run has kept its best model alone.
    #[arg(long, value_enum, default_value_t = CheckpointModel::Best)]
    which: CheckpointModel,
}

impl clap::ValueEnum for CheckpointModel {
    fn value_variants<'a>() -> &'a [CheckpointModel] {
        &[CheckpointModel::Best, CheckpointModel::Last]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

/// Where a model lies.
pub(crate) enum Found {
    Model(Box<ModelFolder>),
    /// One of a checkpoint, and the store that it is the newest one of, where nobody named it.
    Checkpoint(Box<Loaded>, Option<Store>),
}

impl Which {
    pub(crate) fn of_checkpoint(self) -> CheckpointModel {
        self.which
    }

    /// The model at `path`, opened and proven. Collective.
    ///
    /// # Errors
    /// Exit 6: there is none; common to all ranks.
    pub(crate) fn found(self, comm: &Comm, path: &Path) -> Result<Found> {
        // Ranks may see what is new later than others: rank 0 says what is there.
        let [checkpoint, run, whole] = ["state.json", JOB, "model/manifest.json"]
            .map(|name| u8::from(path.join(name).exists()));
        let of_root = comm.all_gather(&[[checkpoint, run, whole]])[0];
        match (of_root, self.which) {
            ([1, ..], _) => {
                let loaded = Store::load_from(comm, path)?;
                Ok(Found::Checkpoint(Box::new(loaded), None))
            }
            ([_, 1, 1], CheckpointModel::Best) => model(comm, &path.join(MODEL)),
            ([_, 1, whole], _) => {
                let store = Store::new(path.join(CHECKPOINTS), Disk::default());
                match store.newest(comm)? {
                    Some(loaded) => Ok(Found::Checkpoint(Box::new(loaded), Some(store))),
                    None => Err(Error { agreed: true, ..nothing_last(path, whole == 1) }),
                }
            }
            (_, CheckpointModel::Last) => {
                let text =
                    format!("{}: --which last: expected a run or a checkpoint", path.display());
                Err(Error { agreed: true, ..Error::usage(text) })
            }
            _ => model(comm, path),
        }
    }

    /// The model at `path`, this rank's share of its class blocks, with its content hash.
    /// Collective.
    ///
    /// # Errors
    /// As `found`; exit 6: it is damaged; common to all ranks.
    pub(crate) fn load(self, comm: &Comm, path: &Path) -> Result<(Annotator, String)> {
        let mut found = self.found(comm, path)?;
        loop {
            let (loaded, store) = match found {
                Found::Model(model) => {
                    if let (true, Some(told)) = (comm.is_root(), told_of_run(path, &model)) {
                        log::info!("{told}");
                    }
                    return artifact::load_opened(comm, &model);
                }
                Found::Checkpoint(loaded, store) => (loaded, store),
            };
            let (number, told) = (loaded.number, self.told(path, &loaded));
            match (model_of_checkpoint(comm, *loaded, self.which), store) {
                (Ok(annotator), _) => {
                    log::info!("{told}");
                    let hash = artifact::content_hash(comm, &annotator);
                    return Ok((annotator, hash));
                }
                // The run has gone on, and may have removed what was being read.
                (Err(error), Some(store)) => match store.newest(comm)? {
                    Some(newer) if newer.number > number => {
                        found = Found::Checkpoint(Box::new(newer), Some(store));
                    }
                    _ => return Err(error),
                },
                (Err(error), None) => return Err(error),
            }
        }
    }

    /// Which model of which checkpoint it is, and where the run stood.
    pub(crate) fn told(self, path: &Path, loaded: &Loaded) -> String {
        let which = self.which.name();
        let standing = &loaded.about["standing"];
        let (number, round) = (loaded.number, &standing["round"]);
        let step = standing["step"].as_str().unwrap_or("an unknown step");
        let path = path.display();
        let mut told =
            format!("{path}: the {which} model of checkpoint {number}, round {round}, step {step}");
        if let (CheckpointModel::Best, Some(kept)) = (self.which, kept(loaded)) {
            told += &format!("; it is that of {}: {}", kept.place(), kept.why);
        }
        told
    }
}

/// Which model the run would have kept at this checkpoint.
fn kept(loaded: &Loaded) -> Option<Kept> {
    let job = Job::recorded(loaded.about["job"].as_str()?).ok()?;
    Kept::of(&events_of(&String::from_utf8_lossy(&loaded.events)), &job.experts)
}

/// Which of its models the run has kept that has left this one at `path`, where one has: the
/// directory of the run, or its folder `model`.
fn told_of_run(path: &Path, model: &ModelFolder) -> Option<String> {
    let own = path.join("job.toml").exists();
    let run = if own { path } else { path.file_name().and(path.parent())? };
    let kept = Kept::in_run(run)?;
    let hash = &model.manifest.content_hash;
    (RunDirectory::record_of(run)?["model_hash"] == **hash).then(|| {
        let (path, kept, why) = (path.display(), kept.place(), kept.why);
        format!("{path}: the model that this run has kept, of {kept}: {why}")
    })
}

/// What is said of a run without checkpoints, of which the best model or the last is wanted.
fn nothing_last(run: &Path, finished: bool) -> Error {
    let run = run.display();
    match finished {
        true => Error::usage(format!("{run}: --which last: a finished run keeps its best model"))
            .hint("--which best, which is the default"),
        false => Error::run_directory(format!("{run}: found no model and no checkpoint")),
    }
}

fn model(comm: &Comm, path: &Path) -> Result<Found> {
    let found = ModelFolder::open_whole(comm, path).map(|model| Found::Model(Box::new(model)));
    let unfinished = |run: &&Path| {
        let finished = RunDirectory::record_of(run).is_some_and(|run| run["finished"] == true);
        path.ends_with(MODEL) && !path.exists() && run.join(JOB).exists() && !finished
    };
    let run = path.parent().filter(unfinished).map(|run| run.join("").display().to_string());
    found.map_err(|error| match run {
        Some(run) if !run.is_empty() => {
            error.hint(format!("the run isn't finished: --model {run} takes its best so far"))
        }
        _ => error,
    })
}
