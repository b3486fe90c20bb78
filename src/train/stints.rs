//! The steps of a run as stints: what they are called, and what comes after one.

use super::rounds::Phase;
use super::state::State;
use crate::device::Device;
use crate::report::STEPS;
use crate::stint::comes_after;

pub(super) const PRETRAINING: &str = STEPS[0].1;
pub(super) const EXPERT_STEP: &str = STEPS[1].1;
pub(super) const SHARED_STEP: &str = STEPS[2].1;

impl<D: Device> State<'_, D> {
    /// Says which steps come after the one that the run stands in, where it isn't over before; the
    /// model has layers that the shared step learns, or none.
    pub(super) fn say_what_comes(&self, learns_shared: bool) {
        let (job, round) = (self.setting.job, self.standing.round);
        let rounds = job.rounds.count.saturating_sub(round) as f64;
        let shared = f64::from(u8::from(learns_shared && job.shared.iterations > 0));
        let of_this_round = if self.standing.phase == Phase::Experts { shared } else { 0.0 };
        comes_after(&[(EXPERT_STEP, rounds), (SHARED_STEP, rounds * shared + of_this_round)]);
    }

    /// A step of the round that the run stands in, as users know it.
    pub(super) fn step_name(&self, step: &str) -> String {
        format!("round {}/{}, {step}", self.standing.round, self.setting.job.rounds.count)
    }
}
