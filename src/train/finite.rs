//! Whether the weights and losses of a run are finite.

use super::state::State;
use crate::comm::Comm;
use crate::device::Device;
use crate::error::{Error, Exit, Result};
use crate::model::annotator::Annotator;

impl<D: Device> State<'_, D> {
    /// Sees whether the model's numbers and the loss at `place` are finite. `odd` is what of this
    /// rank's share is not, if anything: a row block, say. Collective.
    ///
    /// # Errors
    /// Exit 7, common to all ranks, naming the first layer and class and what `odd` says first.
    pub(crate) fn check(
        &self,
        place: &str,
        model: &Annotator,
        loss: f64,
        odd: Option<String>,
    ) -> Result<()> {
        self.check_after(Ok(()), place, model, loss, odd)
    }

    /// The same after work that may have failed on this rank.
    ///
    /// # Errors
    /// What the `outcome` of a rank is; as `check`.
    pub(crate) fn check_after(
        &self,
        outcome: Result<()>,
        place: &str,
        model: &Annotator,
        loss: f64,
        odd: Option<String>,
    ) -> Result<()> {
        check_among(self.setting.comm, outcome, place, model, loss, odd)
    }
}

/// The same among the ranks of `comm`. Where those are some only, all have still to agree.
///
/// # Errors
/// As `State::check_after`.
pub(crate) fn check_among(
    comm: &Comm,
    outcome: Result<()>,
    place: &str,
    model: &Annotator,
    loss: f64,
    odd: Option<String>,
) -> Result<()> {
    let whole = outcome.is_ok();
    let layer = || Some(format!("layer {}", model.layers.odd_layer(&model.shared)?));
    let class = || Some(format!("class {}", whole.then(|| model.experts.odd_class())??));
    let own = [layer(), class(), odd].map(Option::unwrap_or_default);
    let numbers = loss.is_finite() && own.iter().all(String::is_empty);
    let odd = || Err(Error::new(Exit::Numeric, String::new()));
    let Err(error) = comm.agree(outcome.and_then(|()| if numbers { Ok(()) } else { odd() })) else {
        return Ok(());
    };
    if error.exit != Exit::Numeric {
        return Err(error);
    }
    // Of each kind the finding of the lowest rank is named: it owns the first classes and row
    // blocks.
    let first = own.iter().filter_map(|text| {
        let texts = comm.all_gather_any(text.as_bytes());
        let first = texts.into_iter().find(|text| !text.is_empty())?;
        Some(String::from_utf8_lossy(&first).into_owned())
    });
    let first: Vec<String> = first.collect();
    let what = if first.is_empty() { "loss".into() } else { first.join(", ") };
    Err(Error { agreed: comm.is_of_all(), ..not_finite(place, &what, loss) })
}

/// The error that `what` isn't finite at `place`.
pub(crate) fn not_finite(place: &str, what: &str, loss: f64) -> Error {
    let text = format!("{place}: {what}: found NaN or infinity (loss {loss})");
    let hint = "a smaller learning rate; the last checkpoint is from before";
    Error::new(Exit::Numeric, text).hint(hint)
}
