//! The numbers that an update of a mini-batch optimizer takes beside its vectors.

/// The numbers that are the same for all parameters of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// What the step is multiplied by.
    pub rate: f32,
    /// What the gradient is multiplied by.
    pub scale: f32,
    /// The share of each parameter that is added to its gradient.
    pub l2: f32,
}
