//! One run, measured: started, waited for, read, and removed but for its record.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::launcher::{Ended, Launcher, why};
use super::load::others_now;
use super::row::Row;
use super::study::Study;
use crate::disk::{Disk, read_text, there};
use crate::error::{Error, Exit, Result};
use crate::job::Job;
use crate::report::Lock;

/// No record is larger.
const RECORD_BYTES_MAX: u64 = 64 << 20;
/// How long ranks that a killed study has left may take to end.
const LEFT_MAX: Duration = Duration::from_secs(30);

/// What is measured, and by whom.
pub(super) struct Measurement<'a> {
    pub(super) study: &'a Study,
    pub(super) job: &'a Job,
    pub(super) launcher: &'a Launcher,
}

/// Runs the job on so many ranks.
///
/// # Errors
/// Exit 75: the run was told to stop; exit 5: the file system; exit 3: there is no launcher.
pub(super) fn measure(it: &Measurement, ranks: usize, repeat: usize) -> Result<Row> {
    let (study, disk) = (it.study, Disk::default());
    let path = study.path("run");
    clear(&disk, &path)?;
    let [kept, told] =
        ["json", "log"].map(|end| study.path(&format!("runs/{ranks}-ranks-{repeat}.{end}")));
    remove(&disk, &told)?;
    let job = study.path(&format!("jobs/{ranks}-ranks.toml"));
    let written = disk.write_text(&job, &it.job.to_toml());
    written.map_err(|error| Error::file(&job, &error))?;
    let others_before = others_now();
    let text = |path: &Path| path.display().to_string();
    let arguments = ["train".into(), text(&job), "--output".into(), text(&path)];
    let ended = it.launcher.run((ranks, it.job.run.threads), &arguments)?;
    let (node_ranks, node_cores) = it.launcher.node(ranks);
    let mut row = Row {
        ranks,
        repeat,
        exit: ended.code,
        command_seconds: ended.seconds,
        node_ranks,
        node_cores,
        others_before,
        others_during: ended.others,
        ..Row::default()
    };
    match record(&path.join("run.json")) {
        Ok((_, record)) if ended.code == 0 && record["ranks"] != ranks => {
            row.error = Some(format!("{} ranks ran, not {ranks}: --launcher", record["ranks"]));
        }
        Ok((text, record)) if ended.code == 0 && record["finished"] == true => {
            disk.write_text(&kept, &text).map_err(|error| Error::file(&kept, &error))?;
            row.take(&record);
        }
        Ok((_, record)) if [0, Exit::Stopped as i32].contains(&ended.code) => {
            return Err(stopped(ranks, &record));
        }
        outcome => {
            row.error = Some(failure(&ended, outcome.err()));
            disk.write_text(&told, &ended.told).map_err(|error| Error::file(&told, &error))?;
        }
    }
    clear(&disk, &path)?;
    Ok(row)
}

/// Removes what a try of this run that failed has told.
fn remove(disk: &Disk, path: &Path) -> Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file(path, &error))
        }
        _ => Ok(()),
    }
}

/// The text of a record and what it says.
fn record(path: &Path) -> std::result::Result<(String, Value), String> {
    let text = read_text(path, RECORD_BYTES_MAX).map_err(|error| error.to_string())?;
    let record = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok((text, record))
}

fn failure(ended: &Ended, record: Option<String>) -> String {
    match (ended.code, record) {
        (0, Some(error)) => format!("run.json: {error}"),
        _ => why(&ended.told),
    }
}

/// A run that could go on, but whose seconds would no longer be those of one run.
fn stopped(ranks: usize, record: &Value) -> Error {
    let reason = record["reason"].as_str().unwrap_or("told to stop");
    let text = format!("a run on {ranks} ranks was stopped before its end: {reason}");
    Error::new(Exit::Stopped, text).hint("the same command goes on with it from its beginning")
}

/// Removes the run directory that is measured in. Ranks that a killed study has left may still be
/// in there, and at work.
///
/// # Errors
/// Exit 6: they don't end; exit 5: the file system.
fn clear(disk: &Disk, path: &Path) -> Result<()> {
    let failed = |error| Error::file(path, &error);
    if there(path).map_err(failed)?.is_none() {
        return Ok(());
    }
    let began = Instant::now();
    let held = loop {
        match Lock::take(disk, path, true, &Value::Null) {
            Err(error) if error.exit == Exit::RunDirectory && began.elapsed() < LEFT_MAX => {
                std::thread::sleep(Duration::from_millis(100));
            }
            held => break held?,
        }
    };
    disk.remove_dir_all(path).map_err(failed)?;
    drop(held);
    Ok(())
}
