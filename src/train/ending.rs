//! Keeping what a run has come to. Days of work end in a model that a full disk may refuse just
//! then: it is tried again for a while, and a checkpoint of the final state stays where it comes to
//! nothing, so that the same command has only the model to save.

use std::time::Duration;

use super::Trained;
use super::state::State;
use crate::device::Device;
use crate::error::{Error, Exit, Result};
use crate::model::annotator::Annotator;
use crate::report::Report;

/// Puts in place what a run has come to. Collective; its errors are common to all ranks.
pub(crate) type Keep<'a> = dyn FnMut(&mut Report, &Trained) -> Result<()> + 'a;

/// How often a stop is looked for between two tries.
const TICK: Duration = Duration::from_millis(500);

/// For how long it is tried, and the pauses between two tries: the first one, which doubles each
/// time, and the longest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    pub(crate) whole: Duration,
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Default for Tries {
    fn default() -> Tries {
        let [whole, first, most] = [600, 1, 30].map(Duration::from_secs);
        Tries { whole, first, most }
    }
}

/// Calls `keep` until it succeeds, the time is over or the run is to stop. Collective.
///
/// # Errors
/// The last error of `keep`, common to all ranks. It says whether the final state is in a
/// checkpoint.
pub(crate) fn keep<D: Device>(
    state: &mut State<D>,
    model: &Annotator,
    trained: &Trained,
    tries: Tries,
    keep: &mut Keep,
) -> Result<()> {
    let (comm, clock) = (state.setting.comm, state.clock());
    let (started, mut pause, mut saved) = (clock.now(), tries.first, false);
    loop {
        let Err(error) = keep(state.report, trained) else { return Ok(()) };
        if !saved {
            match state.save_final(model) {
                Ok(()) => saved = true,
                Err(failure) if comm.is_root() => log::warn!("{}", failure.text),
                Err(_) => {}
            }
        }
        let left = tries.whole.saturating_sub(clock.since(started));
        let over = comm.is_root() && left.is_zero() || comm.stop_asked();
        if error.exit != Exit::Storage || comm.max(u64::from(over)) == 1 {
            return Err(with_what_is_kept(error, saved));
        }
        if comm.is_root() {
            let seconds = left.as_secs_f64();
            log::warn!("{}; trying again for {seconds:.0} s", error.text);
        }
        let mut waited = Duration::ZERO;
        while waited < pause && comm.max(u64::from(comm.stop_asked())) == 0 {
            clock.sleep(TICK.min(pause - waited));
            waited += TICK;
        }
        pause = (2 * pause).min(tries.most);
    }
}

/// The error that the result could not be kept, with a hint of what the same command does next.
fn with_what_is_kept(error: Error, saved: bool) -> Error {
    error.hint(match saved {
        true => "its final state is in a checkpoint: the same command then only saves the model",
        false => {
            "its final state couldn't be kept: the same command goes on from the checkpoint \
                  before it"
        }
    })
}
