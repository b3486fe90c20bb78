//! `--model` of the commands that read one: the directory of a model, of a run, which may go on
//! meanwhile, or of one of its checkpoints.

use std::path::Path;

use crate::artifact::{self, ModelFolder};
use crate::checkpoint::{Loaded, Store};
use crate::comm::Comm;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::model::annotator::Annotator;
use crate::train::{CheckpointModel, model_of_checkpoint};

/// Which model of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Which {
    /// Of a run or a checkpoint the best model so far, or the one that it stood at last.
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
        let [checkpoint, run, whole] = ["state.json", "job.toml", "model/manifest.json"]
            .map(|name| u8::from(path.join(name).exists()));
        let of_root = comm.all_gather(&[[checkpoint, run, whole]])[0];
        match (of_root, self.which) {
            ([1, ..], _) => {
                let loaded = Store::load_from(comm, path)?;
                Ok(Found::Checkpoint(Box::new(loaded), None))
            }
            ([_, 1, 1], CheckpointModel::Best) => model(comm, &path.join("model")),
            ([_, 1, _], _) => {
                let store = Store::new(path.join("checkpoints"), Disk::default());
                match store.newest(comm)? {
                    Some(loaded) => Ok(Found::Checkpoint(Box::new(loaded), Some(store))),
                    None => {
                        let text = format!("{}: found no model and no checkpoint", path.display());
                        Err(Error { agreed: true, ..Error::run_directory(text) })
                    }
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
                Found::Model(model) => return artifact::load_opened(comm, &model),
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
        format!("{path}: the {which} model of checkpoint {number}, round {round}, step {step}")
    }
}

fn model(comm: &Comm, path: &Path) -> Result<Found> {
    ModelFolder::open_whole(comm, path).map(|model| Found::Model(Box::new(model)))
}
