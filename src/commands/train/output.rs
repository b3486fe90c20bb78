//! The run directory of a start: what may be there, and whose it is from then on.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::result::unix_seconds;
use super::{Args, Start};
use crate::artifact::{Manifest, ModelFolder};
use crate::comm::Comm;
use crate::data::ReadBefore;
use crate::disk::{Disk, read_text, there};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::report::{
    EarlierRun, Finished, MODEL, RunDirectory, SHARDS_READ, Unfinished, failure, host,
    without_record,
};
use crate::train::recorded_now;

/// No list of shards that have been read is larger; what claims to be is not read.
const SHARDS_READ_BYTES_MAX: u64 = 256 << 20;

impl Start<'_> {
    /// Takes the directory for this run; what rank 0 finds there under the lock is what counts.
    /// Nothing comes back where the run has been finished meanwhile, which is said. From then on a
    /// failure is recorded there.
    ///
    /// # Errors
    /// As `RunDirectory::open`; exit 6: there is a model that isn't this run's; common to all
    /// ranks.
    pub(crate) fn take(&mut self, job: &Job) -> Result<Option<()>> {
        let (comm, args, disk) = (self.comm, self.args, &self.surroundings.disk);
        let start = json!({
            "started_unix_seconds": unix_seconds(self.started),
            "ranks": comm.size(),
            "ranks_are": comm.kind(),
        });
        let open = || {
            let opened = RunDirectory::open(disk, &args.output, job, args.no_lock, &start)?;
            match &opened.1 {
                EarlierRun::Finished(run) => finished(disk, &args.output, run)?,
                EarlierRun::Unfinished(run) => own_model(&args.output, Some(run), job)?,
                EarlierRun::Nothing => own_model(&args.output, None, job)?,
            }
            Ok(opened)
        };
        let opened = comm.agree(comm.is_root().then(open).transpose())?;
        if let Some((directory, found)) = opened {
            (self.directory, self.found) = (Some(directory), found);
        }
        let finished = comm.is_root() && matches!(self.found, EarlierRun::Finished(_));
        if comm.max(u64::from(finished)) == 1 {
            return Ok(None);
        }
        self.failures_go_there(job);
        Ok(Some(()))
    }

    fn failures_go_there(&mut self, job: &Job) {
        // Ranks of one process would share what a simulated world has for itself.
        if self.surroundings.simulated {
            return;
        }
        let comm = self.comm;
        let name = format!("{} {} {:?}", host(), std::process::id(), self.started);
        let mut names = comm.all_gather_any(name.as_bytes());
        let host_of = |name: &Vec<u8>| name.split(|byte| *byte == b' ').next().map(<[u8]>::to_vec);
        self.nodes = names.iter().filter_map(host_of).collect::<BTreeSet<_>>().len();
        let name = names.swap_remove(0);
        let start = String::from_utf8_lossy(&name);
        let pid = start.split(' ').nth(1).and_then(|pid| pid.parse::<u32>().ok());
        let seconds = unix_seconds(self.started);
        let session = json!({ "started_unix_seconds": seconds, "host": host(), "ranks": comm.size(),
                "ranks_are": comm.kind() });
        let record = json!({
            "format": "reelscale-run",
            "creator": concat!("reelscale ", env!("CARGO_PKG_VERSION")),
            "job": job,
            "ranks": comm.size(),
            "started_unix_seconds": seconds,
            "pid": pid,
            "sessions": [session],
        });
        let (disk, output) = (&self.surroundings.disk, &self.args.output);
        failure::run_begins(disk, &RunDirectory::record_in(output), record, &start);
    }
}

/// HDF5, which writes the model in the end, takes paths in UTF-8 only.
pub(crate) fn in_utf8(output: &Path) -> Result<()> {
    match output.to_str() {
        Some(_) => Ok(()),
        None => Err(Error::usage(format!("--output: found {output:?}, expected UTF-8"))
            .hint("choose another --output")),
    }
}

/// Says that a run is finished. Its record may be there without lasting yet.
///
/// # Errors
/// Exit 6: its model isn't there, or is another one; exit 5: the file system refuses.
pub(crate) fn finished(disk: &Disk, output: &Path, run: &Finished) -> Result<()> {
    let synced = disk.sync_above(&output.join(MODEL));
    synced.map_err(|error| Error::file(output, &error))?;
    has_its_model(output, run)?;
    log::info!("{}: this run is finished: {}", output.display(), run.line);
    Ok(())
}

/// # Errors
/// Exit 6: the model of a finished run isn't there, or is another one.
fn has_its_model(output: &Path, run: &Finished) -> Result<()> {
    let path = output.join(MODEL);
    let found = match there(&path).map_err(|error| Error::file(&path, &error))? {
        None => "nothing".to_string(),
        Some(_) => ModelFolder::open(&path)?.manifest.content_hash,
    };
    if found != run.model_hash {
        let text = format!(
            "{}: found {found}, expected the model {} of the finished run",
            path.display(),
            run.model_hash
        );
        let hint = format!("put that back; {}", without_record(output));
        return Err(Error::run_directory(text).hint(hint));
    }
    Ok(())
}

/// Sees that the data which the job names are those that a finished run was made of. Where they
/// can't be read any more nothing is lost with them. Collective.
///
/// # Errors
/// Exit 6: they are others; exit 75 when told to stop; common to all ranks.
pub(crate) fn same_data(comm: &Comm, args: &Args, job: &Job, run: &Finished) -> Result<()> {
    // Earlier versions recorded none. Rank 0 says whether there is something to compare with.
    if comm.all_gather(&[u8::from(run.data.is_null())])[0] == 1 {
        return Ok(());
    }
    let name = args.output.display();
    let now = match recorded_now(comm, job, &read_before(&args.output.join(SHARDS_READ))) {
        Err(error) if error.is_stop() => return Err(error),
        Err(error) => {
            if comm.is_root() {
                log::warn!("{name}: the data of this finished run can't be read: {}", error.text);
            }
            return Ok(());
        }
        Ok(now) => now,
    };
    let differs = |list: &str| {
        let (then, now) = (&run.data[list], &now[list]);
        (then != now).then(|| match then["rows"] == now["rows"] {
            false => {
                format!("data.{list}: found {} rows, the run has {}", now["rows"], then["rows"])
            }
            true => format!(
                "data.{list}: found {} rows of other contents than the run's {}",
                now["rows"], then["rows"]
            ),
        })
    };
    let initial = || {
        let (then, now) = (&run.data["initial"], &now["initial"]);
        let text = format!("model.initial: found the model {now}, the run began with {then}");
        (then != now).then_some(text)
    };
    let differs = ["train", "validation"].into_iter().find_map(differs).or_else(initial);
    let outcome = match differs {
        None => Ok(()),
        Some(text) => {
            Err(Error::run_directory(format!("{name}: holds a finished run of other data: {text}"))
                .hint("choose another --output"))
        }
    };
    comm.agree(outcome)
}

/// Why a start with the job of the run in `output` would be refused, where it would be. Changes
/// nothing.
pub(crate) fn refusal(output: &Path, job: &Job) -> Option<Error> {
    match RunDirectory::look(output, job) {
        Err(error) => Some(error),
        Ok(EarlierRun::Unfinished(run)) => own_model(output, Some(&run), job).err(),
        Ok(EarlierRun::Finished(run)) => has_its_model(output, &run).err(),
        Ok(EarlierRun::Nothing) => None,
    }
}

/// Refuses a model that isn't the one which this run has put in place, as its record names it: the
/// run could not put its own there in the end. Earlier versions named none, and may have been
/// killed before they wrote their record: one of theirs that fits the job stays, and is compared
/// with what the run comes to.
fn own_model(output: &Path, run: Option<&Unfinished>, job: &Job) -> Result<()> {
    let path = output.join(MODEL);
    if there(&path).map_err(|error| Error::file(&path, &error))?.is_none() {
        return Ok(());
    }
    if let (Some(run), Ok(found)) = (run, ModelFolder::open(&path)) {
        let Manifest { shape, creator, content_hash, .. } = &found.manifest;
        if *content_hash == run.model_hash {
            return Ok(());
        }
        let model = &job.model;
        let fits = shape.layers == model.shared
            && (shape.dummy, shape.epsilon) == (model.dummy, model.epsilon)
            && shape.normalize == job.data.normalize;
        if run.model_hash.is_empty() && !found.manifest.has_sums() && fits {
            log::warn!(
                "{}: by {creator}, which didn't record whose it is; it stays if the run comes to \
                 the same model",
                path.display()
            );
            return Ok(());
        }
    }
    let text = format!("{}: exists already and isn't of this run", path.display());
    Err(Error::run_directory(text).hint("move it away, or choose another --output"))
}

/// What `path` says of shards that have been read in full, if it is there.
pub(crate) fn read_before(path: &Path) -> ReadBefore {
    let parsed = match read_text(path, SHARDS_READ_BYTES_MAX) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return ReadBefore::default(),
        text => text.map_err(|error| error.to_string()).and_then(|text| ReadBefore::parse(&text)),
    };
    parsed.unwrap_or_else(|error| {
        let path = path.display();
        log::warn!("{path}: {error}; shards without proof are read in full once more");
        ReadBefore::default()
    })
}
