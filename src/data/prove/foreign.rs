//! Files of others, looked through by another process before this one opens them.

use std::path::Path;
use std::time::Duration;

use super::{End, Limits, Prover, Said};
use crate::error::{Error, Exit, Result};
use crate::progress;

/// Seconds that HDF5 may go on without a sign, in place of `SILENT_MAX`.
const VARIABLE: &str = "REELSCALE_HDF5_SECONDS";
const SILENT_MAX: Duration = Duration::from_secs(60);
/// What a question about such a file begins with.
pub(super) const FOREIGN: u8 = b'f';
const HINT: &str = "the file is damaged, or made to do this; write it anew";

/// Looks through files of others, one after the other, by a process that crashes in this one's
/// place.
#[derive(Default)]
pub(crate) struct Lookout(Option<Prover>);

impl Lookout {
    /// Has what the file at `path` is and these of its fields looked through. Where `Some` comes
    /// back, which says why, the file is not to be opened.
    ///
    /// # Errors
    /// Exit 9: the process can't be started, or was killed.
    pub(crate) fn refused(&mut self, path: &Path, names: &[&str]) -> Result<Option<String>> {
        use std::os::unix::ffi::OsStrExt;
        let silent = std::env::var(VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
        let silent = silent.map_or(SILENT_MAX, Duration::from_secs);
        let _looking = progress::CallGuard::until("looking through", path, silent * 2);
        let process = match self.0.take() {
            Some(process) => process,
            None => Prover::start(path)?,
        };
        let process = self.0.insert(process);
        let mut question = [&[FOREIGN], path.as_os_str().as_bytes(), &[0]].concat();
        for name in names {
            question.extend([name.as_bytes(), &[0]].concat());
        }
        question.push(0);
        let limits = Limits { silent, busy: None };
        let of = |text: &str| format!("{}: {text}", path.display());
        let end = match process.ask(&question, limits, &mut || false)? {
            Ok(Said::Fault { text, .. }) => return Ok(Some(of(&text))),
            Ok(_) => return Ok(None),
            Err(end) => end,
        };
        let at = match &process.at[..] {
            "" => "opening it".into(),
            at => format!("reading {at:?}"),
        };
        let text = match end {
            End::Silent(waited) => {
                format!("the HDF5 library gives no sign for {} s {at}", waited.as_secs())
            }
            End::Ended => match process.ended() {
                (Some(9), ..) => {
                    let text = format!("the process that looked through it was killed {at}");
                    let error = Error::new(Exit::Resources, of(&text));
                    return Err(error.hint("is memory used up?"));
                }
                (Some(signal), ..) => {
                    format!("the HDF5 library stopped with signal {signal} {at}")
                }
                (None, Some(code), _) if code == Exit::Resources as i32 => {
                    format!("{at} takes more memory than its size explains")
                }
                (.., complaint) => format!("the HDF5 library ended the process {at}: {complaint}"),
            },
        };
        self.0 = None;
        Ok(Some(of(&format!("{text}; hint: {HINT}"))))
    }
}
