//! The rounds of a run: where it stands between its steps, and what comes next.

use serde::{Deserialize, Serialize};

use super::state::State;
use crate::human::counted;

/// The phases of a run: its steps, and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Pretrain,
    Experts,
    Shared,
    Done,
}

/// Where a run stands between its steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    #[serde(rename = "step")]
    pub(crate) phase: Phase,
    /// Round 1, 2, ...; 0 before the first.
    pub(crate) round: usize,
    /// Rounds without a better validation.
    pub(crate) rounds_without: usize,
    /// Score of the best model when the round began.
    pub(crate) score_before: f64,
    /// The training loss of the last event.
    pub(crate) last_loss: f64,
    /// Why the run is done.
    pub(crate) reason: String,
    /// Hash of the events so far.
    pub(crate) events_hash: [u8; 32],
}

impl Standing {
    /// Before the first step.
    pub(crate) fn new(events_hash: [u8; 32]) -> Standing {
        Standing {
            phase: Phase::Pretrain,
            round: 0,
            rounds_without: 0,
            score_before: f64::NEG_INFINITY,
            last_loss: f64::INFINITY,
            reason: String::new(),
            events_hash,
        }
    }
}

impl Phase {
    /// As records have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Pretrain => "pretrain",
            Phase::Experts => "experts",
            Phase::Shared => "shared",
            Phase::Done => "done",
        }
    }
}

impl Standing {
    /// What in it, read from a checkpoint, no run of so many rounds can have come to, if anything.
    pub(crate) fn fault(&self, rounds: usize) -> Option<String> {
        let round = match self.phase {
            Phase::Pretrain => self.round == 0,
            Phase::Experts | Phase::Shared => (1..=rounds).contains(&self.round),
            Phase::Done => self.round <= rounds,
        };
        let scores = self.score_before < f64::INFINITY && self.last_loss > f64::NEG_INFINITY;
        let fine = round && scores && self.rounds_without <= self.round;
        (!fine).then(|| {
            let Standing { phase, round, score_before: score, last_loss: loss, .. } = self;
            let phase = phase.name();
            format!("found {phase} of round {round} of {rounds}, score {score}, loss {loss}")
        })
    }

    /// Whether the mixtures are still those of pretraining, where the step has `begun` or not.
    pub(crate) fn small(&self, begun: bool) -> bool {
        match self.phase {
            Phase::Pretrain => true,
            Phase::Experts => self.round == 1 && !begun,
            Phase::Shared => false,
            Phase::Done => self.round == 0,
        }
    }
}

impl<D> State<'_, D> {
    /// Goes to the expert step of a round, or ends the run where it was the last.
    pub(crate) fn begin_round(&mut self, round: usize) {
        let count = self.setting.job.rounds.count;
        if round > count {
            self.end(format!("{} done", counted(count as u64, "round")));
            return;
        }
        let (standing, score_before) = (&mut self.standing, self.best.score);
        (standing.round, standing.phase, standing.score_before) =
            (round, Phase::Experts, score_before);
        self.show_round();
    }

    /// Names the round as the phase that the run is in.
    pub(crate) fn show_round(&mut self) {
        let (round, count) = (self.standing.round, self.setting.job.rounds.count);
        self.report.phase(&format!("round {round}/{count}"));
    }

    /// Goes to the next round, unless validation has stopped improving.
    pub(crate) fn end_round(&mut self) {
        let (standing, patience) = (&mut self.standing, self.setting.job.rounds.patience);
        let better = self.best.score > standing.score_before;
        standing.rounds_without = if better { 0 } else { standing.rounds_without + 1 };
        if patience > 0 && standing.rounds_without >= patience {
            return self.end(format!("no better validation in {patience} rounds"));
        }
        self.begin_round(self.standing.round + 1);
    }

    fn end(&mut self, reason: String) {
        (self.standing.phase, self.standing.reason) = (Phase::Done, reason);
    }
}
