//! What a training run holds beside the model and the step under way. What can be done with it
//! stands in `boundary.rs`, `rounds.rs`, `validation.rs` and `finite.rs`.

use super::checkpoints::Checkpoints;
use super::rounds::Standing;
use super::setting::Setting;
use super::validation::Best;
use crate::report::Report;

/// A run under way, on a device.
pub struct State<'a, D> {
    pub setting: Setting<'a>,
    /// What this rank computes with.
    pub device: D,
    pub report: &'a mut Report,
    pub standing: Standing,
    /// The best model by validation, or without validation rows the last one.
    pub best: Best,
    pub checkpoints: Option<Checkpoints>,
}

impl<'a, D> State<'a, D> {
    /// Before the first step.
    pub fn new(
        setting: Setting<'a>,
        device: D,
        report: &'a mut Report,
        checkpoints: Option<Checkpoints>,
    ) -> State<'a, D> {
        let (standing, best) = (Standing::new(report.events_hash()), Best::default());
        State { setting, device, report, standing, best, checkpoints }
    }
}
