//! The first error of this rank's device: kept, while other ranks go on, until ranks agree.

use crate::error::Result;

/// The first error so far, if there was one.
pub struct FirstError(Result<()>);

impl FirstError {
    pub fn none() -> FirstError {
        FirstError(Ok(()))
    }

    /// What a call gave, unless it failed.
    pub fn keep<T>(&mut self, outcome: Result<T>) -> Option<T> {
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
    pub fn outcome(self) -> Result<()> {
        self.0
    }
}
