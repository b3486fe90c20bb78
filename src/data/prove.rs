//! Shards without a proof are read once in full by another process: a damaged file may crash HDF5,
//! or keep it for ever, and neither is an error that can be caught.
//!
//! That process is this very program, started again. It takes paths, each behind a byte that says
//! what for and ended by a NUL, and answers each with lines of JSON: signs that it goes on, then
//! what the shard is or what is wrong with it. It may use so much memory, and so much time without
//! a sign; then it is killed, and the next file goes to a new one. What it does itself is in
//! `reading.rs`, what it is asked of files that are no shards in `foreign.rs`.

mod foreign;
mod reading;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::schema::{Proof, ShardInfo};
use super::stamp::Stamp;
use crate::apart;
use crate::error::{Error, Exit, Result};
use crate::progress;
use crate::system;

pub(crate) use foreign::Lookout;
pub(crate) use reading::serve;

/// How often a stop and limits are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Without a sign for so long, and for as long as a slow disk takes for the whole file, it hangs.
const WAIT_MAX: Duration = Duration::from_secs(30);
const DISK_BYTES_A_SECOND: u64 = 10 << 20;
/// The same by its time on a processor: what loops for ever is found sooner than a slow disk.
const BUSY_MAX: Duration = Duration::from_secs(1);
const BUSY_BYTES_A_SECOND: u64 = 50 << 20;
/// Bytes of what it complains of that are kept.
const COMPLAINT_MAX: u64 = 4096;
/// The arguments by which this program reads shards for another process.
static ARGUMENTS: OnceLock<&'static [&'static str]> = OnceLock::new();

/// From now on shards without proof are read by this process's own program, started again with
/// `arguments`: for the program itself alone, which knows what those mean.
pub(crate) fn start_with(arguments: &'static [&'static str]) {
    let _ = ARGUMENTS.set(arguments);
}

/// What a reading process says.
#[derive(Serialize, Deserialize)]
enum Said {
    GoesOn,
    /// It comes to this dataset.
    At(String),
    Whole(Box<ShardInfo>),
    /// A file that is no shard has been looked through.
    Through,
    Fault {
        exit: u8,
        text: String,
    },
}

/// What a file is read for.
#[derive(Clone, Copy, PartialEq)]
enum ReadFor {
    Use = b'u' as isize,
    /// To be sealed: one of version 2 that has lost its proof will do, too.
    Seal = b's' as isize,
}

/// What `prove` gives for each file.
pub(crate) type Outcome = Result<ShardInfo>;

/// Reads each file of `paths` in full, in another process. `stopped` says whether to leave off.
///
/// # Errors
/// Exit 75 once `stopped`; exit 4 where this program can't be started again; exit 9 where the
/// system refuses to. What is wrong with single files stands in what is returned: exit 4, also
/// where one crashes HDF5, keeps it for ever or wants more memory than its size explains.
pub fn prove(paths: &[PathBuf], stopped: &mut dyn FnMut() -> bool) -> Result<Vec<Outcome>> {
    let mut process = None;
    let mut outcomes = Vec::new();
    for path in paths {
        let (outcome, left) = prove_one(path, ReadFor::Use, process.take(), stopped)?;
        process = left;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// The same for a file that is to be sealed, which may have lost its proof.
///
/// # Errors
/// As `prove`.
pub(crate) fn prove_to_seal(path: &Path) -> Outcome {
    prove_one(path, ReadFor::Seal, None, &mut || false)?.0
}

/// What a file is, and the process that has read it, if that is still of use.
fn prove_one(
    path: &Path,
    purpose: ReadFor,
    process: Option<Prover>,
    stopped: &mut dyn FnMut() -> bool,
) -> Result<(Outcome, Option<Prover>)> {
    let before = match Stamp::of_path(path) {
        Ok(stamp) => stamp,
        Err(error) => return Ok((Err(Error::input(Error::file(path, &error).text)), process)),
    };
    let limit = WAIT_MAX + Duration::from_secs(before.bytes / DISK_BYTES_A_SECOND);
    let _reading = progress::CallGuard::until("reading", path, limit);
    let mut process = match process {
        Some(process) => process,
        None => Prover::start(path)?,
    };
    use std::os::unix::ffi::OsStrExt;
    let question = [&[purpose as u8], path.as_os_str().as_bytes(), &[0]].concat();
    let busy = BUSY_MAX + Duration::from_secs(before.bytes / BUSY_BYTES_A_SECOND);
    let said = process.ask(&question, Limits { silent: limit, busy: Some(busy) }, stopped)?;
    let fault = |text: String| Err(Error::input(format!("{}: {text}", path.display())));
    let outcome = match said {
        Ok(Said::Whole(info)) => {
            let now = Stamp::of_path(path).ok();
            match now.is_some_and(|now| now.same_bytes(&before)) {
                true => {
                    let proof = match info.proof {
                        Proof::Own { .. } => info.proof,
                        _ => Proof::Read { stamp: before },
                    };
                    Ok(ShardInfo { path: path.into(), proof, ..*info })
                }
                false => fault("was changed while it was read".into()),
            }
        }
        Ok(Said::Fault { exit, text }) => Err(Error::new(Exit::from_code(exit), text)),
        Ok(Said::GoesOn | Said::At(_) | Said::Through) => unreachable!("waited on, not asked for"),
        Err(end) => {
            let (exit, text) = process.end_of(end);
            let error = Error::new(exit, format!("{}: {text}", path.display()));
            return Ok((Err(error.hint("the file is damaged; write the shard anew")), None));
        }
    };
    Ok((outcome, Some(process)))
}

/// Why there is no answer.
enum End {
    /// It has ended by itself.
    Ended,
    /// It gave no sign for too long, in all or while it computed.
    Silent(Duration),
}

/// How long it may go on without a sign, in all and by its time on a processor.
struct Limits {
    silent: Duration,
    busy: Option<Duration>,
}

/// A process that reads shards.
struct Prover {
    child: Child,
    paths: ChildStdin,
    said: Receiver<Said>,
    complaint: Option<JoinHandle<String>>,
    /// The dataset that it has come to, as far as it says so.
    at: String,
}

impl Prover {
    /// Starts one; `path` is the first file that it is to read.
    fn start(path: &Path) -> Result<Prover> {
        let Some(arguments) = ARGUMENTS.get() else {
            let text = format!("{}: found a shard without proof", path.display());
            return Err(
                Error::input(text).hint(format!("reelscale inspect --seal {}", path.display()))
            );
        };
        let refused = |error: io::Error| {
            let text = format!("{}: no process can be started to read it: {error}", path.display());
            Error::new(Exit::Resources, text)
        };
        let mut command = apart::own_program(arguments).map_err(refused)?;
        let mut child = command.spawn().map_err(refused)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (send, said) = channel();
        let out = BufReader::new(out.expect("piped"));
        thread::spawn(move || {
            for line in out.lines().map_while(io::Result::ok) {
                let Ok(what) = serde_json::from_str(&line) else { return };
                if send.send(what).is_err() {
                    return;
                }
            }
        });
        let mut err = err.expect("piped");
        let complaint = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = (&mut err).take(COMPLAINT_MAX).read_to_end(&mut bytes);
            let _ = io::copy(&mut err, &mut io::sink());
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let paths = child.stdin.take().expect("piped");
        Ok(Prover { child, paths, said, complaint: Some(complaint), at: String::new() })
    }

    /// Asks it of a file, and waits for what it says.
    fn ask(
        &mut self,
        question: &[u8],
        limits: Limits,
        stopped: &mut dyn FnMut() -> bool,
    ) -> Result<std::result::Result<Said, End>> {
        // One that has ended says so below.
        let _ = self.paths.write_all(question).and_then(|()| self.paths.flush());
        let (mut since, mut busy_then) = (Instant::now(), self.busy());
        loop {
            match self.said.recv_timeout(LOOK) {
                Ok(sign @ (Said::GoesOn | Said::At(_))) => {
                    if let Said::At(at) = sign {
                        self.at = at;
                    }
                    progress::tick();
                    (since, busy_then) = (Instant::now(), self.busy());
                }
                Ok(said) => return Ok(Ok(said)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Err(End::Ended)),
                Err(RecvTimeoutError::Timeout) => {
                    let busy = self.busy().saturating_sub(busy_then);
                    if since.elapsed() > limits.silent
                        || limits.busy.is_some_and(|most| busy > most)
                    {
                        return Ok(Err(End::Silent(since.elapsed())));
                    }
                }
            }
            if stopped() {
                return Err(Error::stopped());
            }
        }
    }

    /// Its time on processors so far.
    fn busy(&self) -> Duration {
        system::process(self.child.id()).map_or(Duration::ZERO, |process| process.busy)
    }

    /// Exit code and text of an error that says how it ended.
    fn end_of(&mut self, end: End) -> (Exit, String) {
        if let End::Silent(waited) = end {
            let seconds = waited.as_secs_f64();
            return (
                Exit::Input,
                format!("found a file that HDF5 doesn't come to an end with ({seconds:.0} s)"),
            );
        }
        let (signal, code, complaint) = self.ended();
        let text = match (signal, code) {
            (Some(9), _) => {
                let text = "the process that read it was killed (signal 9): is memory used up?";
                return (Exit::Resources, text.into());
            }
            (Some(signal), _) => format!("found a file that crashes HDF5 (signal {signal})"),
            (None, Some(code)) if code == Exit::Resources as i32 => {
                "found a file that takes more memory than its size explains".into()
            }
            _ => format!("found a file that can't be read: {complaint}"),
        };
        (Exit::Input, text)
    }

    /// The signal or code that it ended with, and what it complained of.
    fn ended(&mut self) -> (Option<i32>, Option<i32>, String) {
        let status = self.child.wait().ok();
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok());
        let complaint = complaint.unwrap_or_default();
        let first = complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        let (signal, code) = (status.and_then(|it| it.signal()), status.and_then(|it| it.code()));
        (signal, code, first.into())
    }
}

impl Drop for Prover {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shards that were changed while this process has them open, with the same content.
static SAME_AGAIN: Mutex<Option<HashMap<PathBuf, Stamp>>> = Mutex::new(None);

/// Whether the file that `info` describes, which was read in full then and is `now`, still has the
/// same content; it is read again in full where the file system says that it has been changed.
///
/// # Errors
/// Exit 4: it hasn't; what `prove` gives.
pub(crate) fn still_same(info: &ShardInfo, now: Stamp) -> Result<()> {
    let Proof::Read { stamp } = &info.proof else { return Ok(()) };
    let seen = || SAME_AGAIN.lock().unwrap_or_else(PoisonError::into_inner);
    let again = seen().as_ref().and_then(|seen| seen.get(&info.path).copied());
    if [Some(*stamp), again].iter().flatten().any(|then| then.same_bytes(&now)) {
        return Ok(());
    }
    let found = prove(std::slice::from_ref(&info.path), &mut || false)?.remove(0)?;
    if found.digest != info.digest {
        let text = format!("{}: changed since it was read in full", info.path.display());
        return Err(Error::input(text).hint("another program has replaced or written it"));
    }
    if let Proof::Read { stamp } = found.proof {
        seen().get_or_insert_default().insert(info.path.clone(), stamp);
    }
    Ok(())
}
