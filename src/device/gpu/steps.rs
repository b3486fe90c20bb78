//! Full-batch steps of the shared layers on a device: it has their weights and what iRprop+ keeps
//! of each, from pass to pass. A gradient goes up for each step, and the new weights come down,
//! which ranks compare and check.

use std::mem::take;
use std::rc::Rc;

use super::queue::{Memory, Queue};
use crate::kernel::text::calls;
use crate::optim::SharedState;

/// What lies on the device from one step to the next.
#[derive(Default)]
pub struct Steps {
    /// As the last step has left them: from the first pass on, unless the host steps.
    weights: Option<Rc<Memory>>,
    /// What the solver keeps: from the first step on.
    kept: Vec<Memory>,
}

impl Steps {
    /// The weights on the device, which the host has, too.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(super) fn weights(&mut self, queue: &Queue, weights: &[f32]) -> Result<Rc<Memory>, String> {
        let here = match self.weights.take() {
            Some(here) => here,
            None => Rc::new(queue.upload(weights)?),
        };
        Ok(self.weights.insert(here).clone())
    }

    /// A step by value and gradient at `weights`, here and on the host, where a kernel takes it.
    /// Gives whether it does.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(super) fn advance(
        &mut self,
        queue: &Queue,
        weights: &mut [f32],
        solver: &mut SharedState,
        (value, gradient): (f64, &[f32]),
    ) -> Result<bool, String> {
        queue.alive()?;
        let Some(here) = self.weights.take() else { return Ok(false) };
        let Some(signs) = solver.signs(value) else { return Ok(false) };
        let kept: Vec<Vec<f32>> = solver.kept().into_iter().map(take).collect();
        if self.kept.is_empty() {
            self.kept = kept.iter().map(|own| queue.upload(own)).collect::<Result<_, _>>()?;
        }
        let [sizes, gradients, moves] = &self.kept[..] else { panic!("three vectors of iRprop+") };
        let kept = [sizes, gradients, moves].map(Memory::buffer);
        let gradient = queue.upload(gradient)?;
        let (to, by) = (here.buffer(), gradient.buffer());
        queue.launch(&calls::signs(weights.len(), signs, to, by, kept))?;
        here.read_into(0, weights)?;
        self.weights = Some(here);
        Ok(true)
    }

    /// Copies what it keeps to the solver.
    ///
    /// # Errors
    /// The device is lost.
    pub(super) fn settle(&self, solver: &mut SharedState) -> Result<(), String> {
        for (here, own) in self.kept.iter().zip(solver.kept()) {
            *own = here.read_all()?;
        }
        Ok(())
    }
}
