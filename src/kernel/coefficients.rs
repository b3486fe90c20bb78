//! What one update of a mini-batch optimizer is told beside its vectors.

/// The numbers that are the same for all parameters of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// What the step is multiplied by.
    pub rate: f32,
    /// What the gradient is multiplied by.
    pub scale: f32,
    /// What of each parameter is added to its gradient.
    pub l2: f32,
}
