//! The directory of a run: made for it, never taken from anybody.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A directory that holds one run: job.toml, metrics.jsonl, run.json, model/.
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Makes the directory `path` and its parents. An empty one may be there.
    ///
    /// # Errors
    /// Exit 2: something is there that isn't an empty directory; exit 6: a run is there already;
    /// exit 5: the file system refuses. Nothing is changed then.
    pub fn create(path: &Path) -> Result<RunDirectory> {
        let name = path.display();
        if path.join("run.json").exists() || path.join("job.toml").exists() {
            return Err(Error::run_directory(format!("{name}: holds a run already"))
                .hint("choose another --output"));
        }
        match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
            Ok(true) => {
                return Err(Error::usage(format!("{name}: exists and isn't a run directory"))
                    .hint("choose another --output"));
            }
            Ok(false) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::usage(format!("{name}: {error}"))),
        }
        fs::create_dir_all(path).map_err(|error| Error::storage(format!("{name}: {error}")))?;
        Ok(RunDirectory { path: path.to_path_buf() })
    }

    /// Where the model goes.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }

    /// Makes the file `name` in it.
    pub fn create_file(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        File::create_new(&path)
            .map_err(|error| Error::storage(format!("{}: {error}", path.display())))
    }

    /// Writes the file `name` under a temporary name, syncs and renames it.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!("{name}.tmp")));
        fs::write(&temporary, text)
            .and_then(|()| File::open(&temporary)?.sync_all())
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| Error::storage(format!("{}: {error}", path.display())))
    }
}
