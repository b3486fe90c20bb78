//! What is left of a run: its epochs and iterations, each at the median time that those of its kind
//! have taken. Steps may stop early, so it is a most.

use serde_json::{Value, json};

use super::position::{Position, Step, has_shared_step};
use crate::job::Job;
use crate::report::Pieces;

/// A piece of a run that an event ends: an epoch or iteration (true), or what ends a step (false).
type Kind = (Step, bool);

/// Pieces that are left, and how long those of their kind took.
pub(super) struct Left {
    /// Of the step under way, and of the whole run: kinds and how many.
    step: Vec<(Kind, usize)>,
    run: Vec<(Kind, usize)>,
    seconds: Pieces,
}

impl Left {
    pub(super) fn of(job: &Job, events: &[Value], at: &Position) -> Left {
        let whole = |step: Step, pieces: usize| [((step, true), pieces), ((step, false), 1)];
        let left = at.pieces(job).saturating_sub(at.done);
        let experts = whole(Step::Experts, job.experts.epochs);
        let shared = has_shared_step(job).then(|| whole(Step::Shared, job.shared.iterations));
        let shared = || shared.into_iter().flatten();
        let step: Vec<(Kind, usize)> = match at.step {
            Step::Pretrain => vec![((Step::Pretrain, true), left)],
            Step::Experts | Step::Shared => whole(at.step, left).into(),
            Step::Done => Vec::new(),
        };
        let mut run = step.clone();
        if at.step == Step::Experts {
            run.extend(shared());
        }
        let rounds = match at.step {
            Step::Done => 0,
            _ => job.rounds.count.saturating_sub(at.round),
        };
        (0..rounds).for_each(|_| run.extend(experts.into_iter().chain(shared())));
        Left { step, run, seconds: Pieces::of(events) }
    }

    fn median(&self, (step, is_piece): Kind) -> Option<f64> {
        self.seconds.median(step.name(), is_piece)
    }

    /// Seconds of the step and of the run, less those since the last event where it runs; `null`
    /// where epochs or iterations are left of which none has been seen yet: these are named. What
    /// ends a step, a validation, counts as soon as one was seen, and `ends_unseen` before.
    pub(super) fn json(&self, since_last_event: Option<f64>) -> Value {
        let known = |left: &[(Kind, usize)]| -> f64 {
            let seconds =
                |(kind, count): &(Kind, usize)| *count as f64 * self.median(*kind).unwrap_or(0.0);
            left.iter().map(seconds).sum()
        };
        let unseen = |left: &[(Kind, usize)]| -> Vec<&str> {
            let is_unseen = |(kind, count): &&(Kind, usize)| {
                kind.1 && *count > 0 && self.median(*kind).is_none()
            };
            let unseen = left.iter().filter(is_unseen);
            let mut names: Vec<&str> = unseen.map(|((step, _), _)| name_of(*step)).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let less = |seconds: f64| (seconds - since_last_event.unwrap_or(0.0)).max(0.0);
        let all = |left: &[(Kind, usize)]| unseen(left).is_empty().then(|| less(known(left)));
        json!({
            "step_seconds": all(&self.step),
            "run_seconds": all(&self.run),
            "run_seconds_at_least": less(known(&self.run)),
            "not_seen_yet": unseen(&self.run),
            "ends_unseen": self.run.iter().any(|(kind, _)| !kind.1 && self.median(*kind).is_none()),
            "by": "the median time of the pieces of each kind, of the last start where it has any",
        })
    }
}

fn name_of(step: Step) -> &'static str {
    match step {
        Step::Pretrain => "an epoch of pretraining",
        Step::Experts => "an epoch of the expert step",
        Step::Shared => "an iteration of the shared step",
        Step::Done => "the end",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        let text = "data.train = [\"x\"]\nmodel.shared = [{ dense = 4, activation = \"relu\" }]\n\
                    [pretrain]\nepochs = 3\n[experts]\nepochs = 4\n[shared]\niterations = 5\n\
                    [rounds]\ncount = 2\n";
        Job::parse(text, "job.toml", &[]).unwrap()
    }

    fn event(text: &str, at: f64, seconds: f64) -> Value {
        let mut event: Value = serde_json::from_str(text).unwrap();
        event["timing"] = json!({ "at_seconds": at, "seconds": seconds });
        event
    }

    #[test]
    fn what_is_left_is_counted_at_the_median_of_its_kind() {
        let job = job();
        let epoch = |at: f64, seconds| event(r#"{"step":"pretrain","epoch":1}"#, at, seconds);
        let mut events = vec![epoch(90.0, 90.0), epoch(4.0, 4.0), epoch(6.0, 2.0), epoch(9.0, 3.0)];
        let left = |events: &[Value]| {
            Left::of(&job, events, &Position::of(&job, events, &Value::Null)).json(Some(1.0))
        };
        // Two epochs of 3 s, of which 1 s is over; what comes then nobody has seen.
        let found = left(&events);
        assert_eq!(found["step_seconds"], 5.0);
        assert_eq!(found["run_seconds"], Value::Null);
        assert_eq!(found["run_seconds_at_least"], 5.0);
        let unseen = json!(["an epoch of the expert step", "an iteration of the shared step"]);
        assert_eq!(found["not_seen_yet"], unseen);
        // Within the first expert step its own time is known.
        let mut within = events.clone();
        within.push(event(r#"{"step":"experts","round":1,"epoch":1}"#, 19.0, 10.0));
        let found = left(&within);
        assert_eq!((&found["step_seconds"], &found["run_seconds"]), (&json!(29.0), &Value::Null));
        assert_eq!(found["not_seen_yet"], json!(["an iteration of the shared step"]));
        assert_eq!(found["ends_unseen"], true);
        let rest = [
            (r#"{"step":"experts","round":1,"epoch":4}"#, 10.0),
            (r#"{"step":"experts","round":1}"#, 1.0),
            (r#"{"step":"shared","round":1,"iteration":2}"#, 2.0),
            (r#"{"step":"shared","round":1}"#, 1.5),
        ];
        let mut at = 9.0;
        for (text, seconds) in rest {
            at += seconds;
            events.push(event(text, at, seconds));
        }
        // A whole round: 4 x 10 + 1 + 5 x 2 + 1.5.
        let found = left(&events);
        assert_eq!((&found["step_seconds"], &found["run_seconds"]), (&json!(40.0), &json!(51.5)));
        assert_eq!(found["ends_unseen"], false);
        events.push(event(r#"{"step":"shared","round":2,"iteration":4}"#, at + 2.0, 2.0));
        assert_eq!(left(&events)["run_seconds"], 2.5);
        events.push(event(r#"{"step":"shared","round":2}"#, at + 4.0, 2.0));
        assert_eq!(left(&events)["run_seconds"], 0.0);
    }

    #[test]
    fn a_step_that_ended_early_is_known_from_the_checkpoint() {
        let job = job();
        let events = [event(r#"{"step":"experts","round":1,"epoch":2}"#, 1.0, 1.0)];
        let standing = json!({ "step": "shared", "round": 1 });
        let at = Position::of(&job, &events, &standing);
        assert_eq!(at, Position { step: Step::Shared, round: 1, done: 0 });
        let before = json!({ "step": "experts", "round": 1 });
        let at = Position::of(&job, &events, &before);
        assert_eq!(at, Position { step: Step::Experts, round: 1, done: 2 });
    }
}
