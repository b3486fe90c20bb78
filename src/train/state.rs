//! What a training run holds beside the model and the step under way. What can be done with it
//! stands in `balance/`, `boundary.rs`, `rounds.rs`, `validation.rs` and `finite.rs`.

use super::balance::Balance;
use super::checkpoints::Checkpoints;
use super::rounds::Standing;
use super::setting::Setting;
use super::validation::Best;
use crate::report::Report;

/// A run under way, on a device.
pub(crate) struct State<'a, D> {
    pub(crate) setting: Setting<'a>,
    /// What this rank computes with.
    pub(crate) device: D,
    pub(crate) report: &'a mut Report,
    pub(crate) standing: Standing,
    /// The best model by validation, or without validation rows the last one.
    pub(crate) best: Best,
    pub(crate) checkpoints: Option<Checkpoints>,
    /// Shares by speed.
    pub(crate) balance: Balance,
}

impl<'a, D> State<'a, D> {
    /// Before the first step.
    pub(crate) fn new(
        setting: Setting<'a>,
        device: D,
        report: &'a mut Report,
        checkpoints: Option<Checkpoints>,
    ) -> State<'a, D> {
        let (standing, best) = (Standing::new(report.events_hash()), Best::default());
        let balance = Balance::new(setting.plan.peak);
        State { setting, device, report, standing, best, checkpoints, balance }
    }
}
