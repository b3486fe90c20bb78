//! The first error of this rank's device: kept, while other ranks go on, until ranks agree.

use crate::error::Result;

/// The first error so far, if there was one.
pub(crate) struct FirstError(Result<()>);

impl FirstError {
    pub(crate) fn none() -> FirstError {
        FirstError(Ok(()))
    }

    /// What a call gave, unless it failed.
    pub(crate) fn keep<T>(&mut self, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(given) => Some(given),
            Err(error) => {
                if self.0.is_ok() {
                    self.0 = Err(error);
                }
                None
            }
        }
    }

    /// For an agreement.
    pub(crate) fn outcome(self) -> Result<()> {
        self.0
    }
}
