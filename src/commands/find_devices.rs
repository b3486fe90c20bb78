//! `reelscale find-devices`: what this program does when it is started again to look for devices.
//! Drivers may crash it or hang, and PoCL takes signals for itself: neither is to come to a rank.

use std::io::{self, Read, Write};
use std::process::{Child, ExitStatus};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::apart::own_program;
use crate::device::gpu::look::{Way, look};
use crate::error::{Error, Result};
use crate::job::DEVICE_NAMES;
use crate::progress;

/// Drivers start within seconds; compilers of OpenCL may take a while.
const LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(DEVICE_NAMES))]
    name: String,
}

/// Writes what there is, one line of JSON.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut line = serde_json::to_vec(&look(&args.name)).expect("plain data");
    line.push(b'\n');
    let written = io::stdout().write_all(&line);
    written.map_err(|error| Error::storage(format!("find-devices: {error}")))
}

/// The devices of this machine that ranks may be given which are told to use the one of this name,
/// by a process apart.
///
/// # Errors
/// It can't be started, or ends otherwise: what it met with.
pub(crate) fn find(name: &str) -> std::result::Result<Vec<Way>, String> {
    if name == "host" {
        return Ok(Vec::new());
    }
    let refused = |error: io::Error| format!("no process can be started to look: {error}");
    let arguments = ["--comm", "serial", "find-devices", name];
    let mut child = own_program(&arguments).and_then(|mut one| one.spawn()).map_err(refused)?;
    let said = read(child.stdout.take().expect("piped"));
    let complaint = read(child.stderr.take().expect("piped"));
    let Some(status) = ended(&mut child) else {
        // It may hang within its driver, where nothing ends it.
        let _ = child.kill();
        return Err(format!("drivers don't answer within {} s", LIMIT.as_secs()));
    };
    let [said, complaint] = [said, complaint].map(|text| text.join().unwrap_or_default());
    // Drivers may say something, too.
    let found = said.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    found.ok_or_else(|| {
        let last = complaint.lines().rev().find(|line| !line.trim().is_empty());
        format!("looking for them ends with {status}: {}", last.unwrap_or("it says nothing"))
    })
}

fn read(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// How it ended, if it has within the limit.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        // A wait that has an end is no hang.
        progress::tick();
        std::thread::sleep(LOOK);
    }
    None
}
