//! Where a device gives what is summed along the tree over all ranks.

use crate::error::Result;

/// Where gradients of row blocks or groups go, in their order, on the calling thread.
pub trait Leaves {
    /// Memory for the next one, holding anything. Errors are those of `wanted`.
    fn room(&mut self) -> Result<Vec<f32>>;

    /// Sees whether more are wanted.
    ///
    /// # Errors
    /// No more are: the run is to stop, say.
    fn wanted(&self) -> Result<()> {
        Ok(())
    }

    /// Where the next one stands among all leaves of the sum.
    fn next(&self) -> usize;

    /// Takes the next one. There may be as many rooms open as the device likes.
    fn add(&mut self, leaf: Vec<f32>) {
        self.add_sum(1, leaf);
    }

    /// Takes the sum along the tree of the next `leaves` ones, which a node of it has.
    fn add_sum(&mut self, leaves: usize, sum: Vec<f32>);
}
