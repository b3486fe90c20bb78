//! The model that a run keeps, and why: read off its events, which go with checkpoints, so that it
//! is known after any stop and of the runs of earlier versions, too.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name_of_step;
use super::run_directory::{JOB, METRICS, RunDirectory, TEXT_BYTES_MAX};
use crate::disk::read_text;
use crate::job::{ExpertsJob, Job};

/// No `metrics.jsonl` is larger; what claims to be is not read.
pub(crate) const EVENTS_BYTES_MAX: u64 = 1 << 30;
const GAP: &str = "gap_at_20";
const LOSS: &str = "loss";

/// The model that a run keeps: the best by validation, or the last where there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The step that it comes from: pretrain, experts or shared.
    pub(crate) step: String,
    /// 1, 2, ...; 0 of pretraining.
    pub(crate) round: u64,
    /// The epoch whose weights it has; none of the shared step, and where each class has those of
    /// its own best epoch.
    pub(crate) epoch: Option<u64>,
    /// What `score` is: GAP@20 on the validation rows, or the training loss.
    pub(crate) metric: String,
    pub(crate) score: f64,
    /// Why it is this one.
    pub(crate) why: String,
}

/// The events that are whole in `text`; the last line of a run under way may be torn.
pub(crate) fn events_of(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

impl Kept {
    /// Of a run of this job with these events; nothing before the first model was offered.
    pub(crate) fn of(events: &[Value], job: &ExpertsJob) -> Option<Kept> {
        let offered: Vec<usize> = (0..events.len()).filter(|at| is_offered(&events[*at])).collect();
        let validated: Vec<(usize, f64)> =
            offered.iter().filter_map(|at| Some((*at, gap(&events[*at])?))).collect();
        let Some(best) = first_best(&validated) else {
            let last = *offered.last()?;
            let score = events[..=last].iter().rev().find_map(|event| event[LOSS].as_f64())?;
            let why = "the last one, as there are no validation rows".into();
            return Some(Kept::at(events, last, job, (LOSS, score), why));
        };
        let last = validated.last().expect("there is a best");
        let count = validated.len();
        let mut why = match (count, last.0 == best.0) {
            (1, _) => "the only one validated".to_string(),
            (_, true) => format!("the last and best of {count} that were validated"),
            _ => format!("the best of {count} that were validated; the last had {:.4}", last.1),
        };
        if events[best.0]["step"] == "experts" && job.class_patience > 0 {
            why += "; each class from its own best epoch";
        }
        Some(Kept::at(events, best.0, job, (GAP, best.1), why))
    }

    fn at(
        events: &[Value],
        at: usize,
        job: &ExpertsJob,
        (metric, score): (&str, f64),
        why: String,
    ) -> Kept {
        let event = &events[at];
        let step = event["step"].as_str().unwrap_or_default().to_string();
        let epoch = match &*step {
            "experts" => epoch_of_step(&events[..at], &event["round"], job),
            _ => event["epoch"].as_u64(),
        };
        let round = event["round"].as_u64().unwrap_or(0);
        Kept { step, round, epoch, metric: metric.into(), score, why }
    }

    /// That of the run in the directory `run`, as its record says, or else its events; nothing
    /// where neither can be read.
    pub(crate) fn in_run(run: &Path) -> Option<Kept> {
        let text = |name: &str, most: u64| read_text(&run.join(name), most).ok();
        let recorded = RunDirectory::record_of(run).and_then(|mut record| {
            serde_json::from_value::<Option<Kept>>(record["kept"].take()).ok().flatten()
        });
        recorded.or_else(|| {
            let job = Job::recorded(&text(JOB, TEXT_BYTES_MAX)?).ok()?;
            Kept::of(&events_of(&text(METRICS, EVENTS_BYTES_MAX)?), &job.experts)
        })
    }

    /// `round 1, expert step, epoch 4 (GAP@20 0.4502)`
    pub(crate) fn place(&self) -> String {
        let mut place = match (&*self.step, name_of_step(&self.step)) {
            ("pretrain", Some(name)) => name.to_string(),
            (_, Some(name)) => format!("round {}, {name}", self.round),
            (other, None) => other.to_string(),
        };
        if let Some(epoch) = self.epoch {
            place += &format!(", epoch {epoch}");
        }
        let metric = if self.metric == GAP { "GAP@20" } else { "training loss" };
        format!("{place} ({metric} {:.4})", self.score)
    }

    /// What a run says of it: `the model kept is that of round 1, ...: the best of ...`
    pub(crate) fn sentence(&self, done: bool) -> String {
        let kept = if done { "the model kept is" } else { "the model it would keep so far is" };
        format!("{kept} that of {}: {}", self.place(), self.why)
    }
}

/// Whether the run itself may keep the model that this event is of: one of an epoch of pretraining,
/// or of the end of a step. Within the expert step only the step looks at its epochs.
pub(crate) fn is_offered(event: &Value) -> bool {
    match event["step"].as_str() {
        Some("pretrain") => true,
        Some("experts") => event["epoch"].is_null(),
        Some("shared") => event["iteration"].is_null(),
        _ => false,
    }
}

fn gap(event: &Value) -> Option<f64> {
    event["validation"][GAP].as_f64()
}

/// The first one of the highest score.
fn first_best(scores: &[(usize, f64)]) -> Option<(usize, f64)> {
    let better = |best: (usize, f64), one: &(usize, f64)| if one.1 > best.1 { *one } else { best };
    Some(scores.iter().fold(*scores.first()?, better))
}

/// The epoch whose weights the expert step of `round` has left, given the events before its end.
fn epoch_of_step(events: &[Value], round: &Value, job: &ExpertsJob) -> Option<u64> {
    if job.class_patience > 0 {
        return None;
    }
    let of_step = |event: &&Value| event["step"] == "experts" && event["round"] == *round;
    let epochs: Vec<&Value> = events.iter().filter(of_step).collect();
    let validated: Vec<(usize, f64)> =
        epochs.iter().enumerate().filter_map(|(at, event)| Some((at, gap(event)?))).collect();
    let best = first_best(&validated).filter(|_| job.patience > 0).map(|best| best.0);
    epochs.get(best.unwrap_or(epochs.len().checked_sub(1)?))?["epoch"].as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(set: &str) -> ExpertsJob {
        let text =
            format!("data.train = [\"x\"]\ndata.validation_fraction = 0.1\n[experts]\n{set}");
        Job::parse(&text, "job.toml", &[]).unwrap().experts
    }

    fn event(step: &str, epoch: Option<u64>, gap: Option<f64>) -> Value {
        let mut event = json!({ "step": step, "round": 1, "loss": 2.0 });
        if let Some(epoch) = epoch {
            event[if step == "shared" { "iteration" } else { "epoch" }] = json!(epoch);
        }
        if let Some(gap) = gap {
            event["validation"] = json!({ "gap_at_20": gap });
        }
        event
    }

    #[test]
    fn the_best_by_validation_is_kept_with_the_epoch_that_its_step_ended_in() {
        let epochs = |scores: [Option<f64>; 3]| {
            (1..).zip(scores).map(|(epoch, gap)| event("experts", Some(epoch), gap)).collect()
        };
        let kept = |scores, ends: [f64; 2], set: &str| {
            let mut events: Vec<Value> = epochs(scores);
            events.push(event("experts", None, Some(ends[0])));
            events.push(event("shared", Some(1), None));
            events.push(event("shared", None, Some(ends[1])));
            let kept = Kept::of(&events, &job(set)).unwrap();
            (kept.step, kept.epoch, kept.score, kept.why)
        };
        let expert = |epoch, score, why: &str| ("experts".to_string(), epoch, score, why.into());
        // Epochs that are only reported decide nothing.
        let told = [Some(0.9), Some(0.5), Some(0.4)];
        let best = "the best of 2 that were validated; the last had 0.3000";
        assert_eq!(kept(told, [0.4, 0.3], ""), expert(Some(3), 0.4, best));
        assert_eq!(kept([None; 3], [0.4, 0.3], ""), expert(Some(3), 0.4, best));
        assert_eq!(kept(told, [0.9, 0.9], "patience = 5").1, Some(1));
        let each = "the best of 2 that were validated; the last had 0.3000; each class from its \
                    own best epoch";
        assert_eq!(kept(told, [0.4, 0.3], "class_patience = 2"), expert(None, 0.4, each));
        let (step, epoch, score, why) = kept(told, [0.4, 0.5], "");
        assert_eq!((&*step, epoch, score), ("shared", None, 0.5));
        assert_eq!(why, "the last and best of 2 that were validated");
    }

    #[test]
    fn without_validation_the_last_is_kept_and_a_torn_line_is_no_event() {
        let mut text = format!("{}\n", event("pretrain", Some(1), None));
        assert_eq!(Kept::of(&[], &job("")), None);
        let place = |text: &str| Kept::of(&events_of(text), &job("")).unwrap().place();
        assert_eq!(place(&text), "pretraining, epoch 1 (training loss 2.0000)");
        text += &format!("{}\n", event("experts", Some(1), None));
        assert_eq!(place(&text), "pretraining, epoch 1 (training loss 2.0000)");
        text += &json!({ "step": "experts", "round": 1 }).to_string();
        let whole = place(&text);
        assert_eq!(whole, "round 1, expert step, epoch 1 (training loss 2.0000)");
        text += "\n{\"step\":\"shar";
        assert_eq!(place(&text), whole);
    }
}
