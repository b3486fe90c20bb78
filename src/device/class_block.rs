//! A class block as plain values on the host: what goes to a device and is read back from it.

use std::io;
use std::mem::take;
use std::sync::Arc;

use crate::model::Layout;
use crate::optim::MiniBatch;
use crate::optim::adam::Adam;
use crate::packed;

/// A class block that learns: its layout, its weights and what it learns with.
pub struct ClassBlock<S> {
    pub layout: Layout,
    /// Shared with models that are kept as long as the block doesn't change them.
    pub weights: Arc<Vec<f32>>,
    /// The solver's state, losses and how far the block has come.
    pub state: S,
}

/// What a class block learns with: one type for each way to learn, so that a device is asked only
/// for what there is.
pub trait Solving: Send + Sync {
    /// Whether a block's gradient outlasts the call that begins it.
    const GRADIENT_LASTS: bool;

    /// Writes what a checkpoint holds of it, one item.
    ///
    /// # Errors
    /// What writing gives.
    fn put(&self, to: &mut dyn io::Write) -> io::Result<()>;

    /// Takes out what is kept of each parameter, which a device may hold in place of the host: the
    /// same number of vectors of every block, each as long as its parameters.
    fn take_vectors(&mut self) -> Vec<Vec<f32>> {
        Vec::new()
    }

    /// Puts them back, as they are now.
    fn put_vectors(&mut self, _vectors: Vec<Vec<f32>>) {}

    /// The sums of losses, `[chains][groups][16]`, that learning goes on with, if it does.
    fn sums(&mut self) -> Option<&mut Vec<f64>> {
        None
    }

    /// Chains of such sums for each class.
    fn chains(&self) -> usize {
        1
    }

    /// Vectors that a device keeps for a block's gradient, and for those of slices before it.
    fn gradients(&self) -> usize {
        usize::from(Self::GRADIENT_LASTS)
    }
}

/// The ways to learn of the expert step, epoch by epoch, or pass by pass.
pub trait ByEpoch: Solving {
    /// Losses by class, those of the block's layout in order, of which some may be lanes without a
    /// class, which have none: of the epoch so far, or where classes stand.
    fn losses(&self) -> Vec<f64>;

    /// Whether none of its classes learns any more.
    fn converged(&self) -> bool;

    /// Ends the learning of classes that have `stopped` by themselves, one for each class, at
    /// where `weights` stand.
    fn end(&mut self, layout: &Layout, weights: &[f32], stopped: &[bool]);
}

/// Pretraining: everything by Adam, jointly.
pub struct Joint(pub Adam);

impl Joint {
    /// Before the first step.
    pub(crate) fn new(layout: &Layout) -> Joint {
        Joint(MiniBatch::new(layout.parameters()))
    }
}

/// Nothing: the block is there for its gradient alone.
impl Solving for () {
    const GRADIENT_LASTS: bool = true;

    fn put(&self, _: &mut dyn io::Write) -> io::Result<()> {
        Ok(())
    }
}

impl Solving for Joint {
    const GRADIENT_LASTS: bool = true;

    fn put(&self, to: &mut dyn io::Write) -> io::Result<()> {
        packed::put(to, &self.0)
    }

    fn take_vectors(&mut self) -> Vec<Vec<f32>> {
        self.0.vectors().into_iter().map(take).collect()
    }

    fn put_vectors(&mut self, vectors: Vec<Vec<f32>>) {
        self.0.vectors().into_iter().zip(vectors).for_each(|(to, vector)| *to = vector);
    }
}

/// Variables of a mixture's weights, each of which pretraining clips by itself: gates, experts,
/// biases.
pub const VARIABLES: usize = 3;

/// What pretraining steps class blocks with.
#[derive(Clone, Copy, Debug)]
pub struct JointStep {
    pub learning_rate: f32,
    /// Penalty on the weights of gates and experts.
    pub l2: f32,
    /// What the gradient of each variable is multiplied by, before the penalty.
    pub scales: [f32; VARIABLES],
}
