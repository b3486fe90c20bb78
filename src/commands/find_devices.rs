//! `reelscale find-devices`: what this program does when it is started again to look for devices.
//! Drivers may crash it or hang, and PoCL takes signals for itself: neither is to come to a rank.

use std::io::{self, Read, Write};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apart::own_program;
use crate::device::gpu::look::{self, Way};
use crate::error::{Error, Result};
use crate::job::DEVICE_NAMES;
use crate::progress;

/// Seconds that drivers may take, in place of `LIMIT`.
const VARIABLE: &str = "REELSCALE_DEVICE_SECONDS";
/// Drivers start within seconds; compilers may take a while.
const LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// What a driver has started may keep the streams of a process that has ended.
const LINGER: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(DEVICE_NAMES))]
    name: String,
    /// Opens the one of this number, and compares it with the processor.
    #[arg(long)]
    compare: Option<usize>,
}

/// Writes what there is, or what one compares to, one line of JSON.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.compare {
        Some(ordinal) => say(&look::compare(&args.name, ordinal)),
        None => say(&look::list(&args.name)),
    }
}

fn say(found: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(found).expect("plain data");
    line.push(b'\n');
    let written = io::stdout().write_all(&line);
    written.map_err(|error| Error::storage(format!("find-devices: {error}")))
}

/// The devices of this machine that ranks may be given which are told to use the one of this name,
/// by a process apart. None is opened.
///
/// # Errors
/// It can't be started, or ends otherwise: what it met with.
pub(crate) fn list(name: &str) -> std::result::Result<Vec<Way>, String> {
    match name {
        "host" => Ok(Vec::new()),
        // No process is started where there is nothing to be found.
        "auto" if !look::may_have_gpus() => Ok(Vec::new()),
        name => ask(&[name]),
    }
}

/// How many numbers of a device are the processor's, of as many that a process apart compared.
///
/// # Errors
/// What it lacks, or what differs; or the process can't be started, or ends otherwise.
pub(crate) fn compare(way: &str, ordinal: usize) -> std::result::Result<usize, String> {
    ask::<std::result::Result<usize, String>>(&[way, "--compare", &ordinal.to_string()])?
}

fn ask<T: DeserializeOwned>(what: &[&str]) -> std::result::Result<T, String> {
    let refused = |error: io::Error| format!("no process can be started to look: {error}");
    let arguments = [&["--comm", "serial", "find-devices"], what].concat();
    let mut child = own_program(&arguments).and_then(|mut one| one.spawn()).map_err(refused)?;
    let said = Said::read(child.stdout.take().expect("piped"));
    let complaint = Said::read(child.stderr.take().expect("piped"));
    let limit = std::env::var(VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    let limit = limit.map_or(LIMIT, Duration::from_secs);
    let status = match ended(&mut child, limit) {
        Ok(Some(status)) => status,
        Ok(None) => {
            // It may hang within its driver, where nothing ends it.
            let _ = child.kill();
            std::thread::spawn(move || child.wait());
            return Err(format!("drivers don't answer within {} s", limit.as_secs()));
        }
        Err(error) => return Err(format!("nobody tells how looking for them ends: {error}")),
    };
    let [said, complaint] = [said, complaint].map(Said::text);
    // Drivers may say something, too.
    let found = said.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    found.ok_or_else(|| {
        let last = complaint.lines().rev().find(|line| !line.trim().is_empty());
        format!("looking for them ends with {status}: {}", last.unwrap_or("it says nothing"))
    })
}

/// What comes by a stream.
struct Said {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Said {
    fn read(mut stream: impl Read + Send + 'static) -> Said {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let to = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                to.lock().expect("nobody panics with it").extend_from_slice(&piece[..count]);
            }
        });
        Said { bytes, reader }
    }

    /// All of it, once the process has ended.
    fn text(self) -> String {
        let ended = Instant::now();
        while !self.reader.is_finished() && ended.elapsed() < LINGER {
            std::thread::sleep(LOOK);
        }
        let bytes = self.bytes.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How it ended, if it has within the limit.
fn ended(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        // A wait that has an end is no hang.
        progress::tick();
        std::thread::sleep(LOOK);
    }
    Ok(None)
}
