//! From a `JobFile` to a `Job`: defaults are filled in, and keys must fit together.

use super::checked::{
    CheckpointJob, DataJob, ExpertsJob, Job, ModelJob, PretrainJob, RoundsJob, RunJob, SharedJob,
    Validation,
};
use super::file::{JobFile, Value};
use super::keys::KEYS;
use crate::model::spec::{Dummy, Normalize, Pooling};
use crate::optim::{SharedSolver, Solver};

/// The checked job; `None` where `errors` isn't empty afterwards. `name` is the file's.
pub fn check(file: &JobFile, name: &str, errors: &mut Vec<String>) -> Option<Job> {
    let mut whole = JobFile::default();
    for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
        whole.set(&format!("{}={}", key.name, key.default), errors);
    }
    whole.values.extend(file.values.iter().map(|(key, value)| (*key, value.clone())));
    fit(&whole, name, errors);
    errors.is_empty().then(|| Values(&whole).job())
}

/// What no key can see by itself.
fn fit(file: &JobFile, name: &str, errors: &mut Vec<String>) {
    let values = Values(file);
    let place = |key: &str| file.values.get(key).map_or(name, |value| value.1.as_str());
    match file.values.get("data.train") {
        None => errors.push(format!("{name}: data.train: missing, expected a list of shards")),
        Some((Value::Texts(texts), place)) if texts.is_empty() => {
            errors.push(format!("{place}: data.train: found an empty list, expected shards"));
        }
        Some(_) => {}
    }
    let both = "data.validation_fraction";
    if file.values.contains_key("data.validation") && file.values.contains_key(both) {
        errors.push(format!(
            "{}: {both}: found beside data.validation, expected one of them",
            place(both)
        ));
    }
    let steps = ["shared.step_min", "shared.step_initial", "shared.step_max"];
    for pair in steps.windows(2) {
        let (small, large) = (values.number(pair[0]), values.number(pair[1]));
        if small > large {
            let place =
                place(if file.values[pair[0]].1.starts_with("--set") { pair[1] } else { pair[0] });
            errors.push(format!(
                "{place}: {}: found {small}, expected at most {} = {large}",
                pair[0], pair[1]
            ));
        }
    }
    let key = "experts.class_patience";
    if values.integer(key) > 0 {
        let has = |key: &str| file.values.contains_key(key);
        let watched = has("data.validation") || has(both) && values.number(both) > 0.0;
        if !watched {
            errors.push(format!(
                "{}: {key}: found without validation rows, expected some",
                place(key)
            ));
        }
        if values.integer("experts.patience") > 0 {
            let other = "expected one of them";
            errors.push(format!("{}: {key}: found beside experts.patience, {other}", place(key)));
        }
    }
    if values.integer("pretrain.epochs") == 0 && values.integer("rounds.count") == 0 {
        let place = place("rounds.count");
        errors.push(format!(
            "{place}: rounds.count: found 0 beside pretrain.epochs = 0, nothing would be trained"
        ));
    }
}

/// Typed access to values that are there and of what their keys take.
struct Values<'a>(&'a JobFile);

impl Values<'_> {
    fn get(&self, key: &str) -> &Value {
        &self.0.values.get(key).unwrap_or_else(|| panic!("{key} has a default")).0
    }

    fn integer(&self, key: &str) -> usize {
        match self.get(key) {
            Value::Integer(number) => *number as usize,
            other => panic!("{key} holds {other:?}"),
        }
    }

    fn number(&self, key: &str) -> f64 {
        match self.get(key) {
            Value::Number(number) => *number,
            other => panic!("{key} holds {other:?}"),
        }
    }

    fn single(&self, key: &str) -> f32 {
        self.number(key) as f32
    }

    fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Value::Text(text) => text,
            other => panic!("{key} holds {other:?}"),
        }
    }

    fn job(&self) -> Job {
        let layers = |key: &str| match self.get(key) {
            Value::Layers(layers) => layers.clone(),
            other => panic!("{key} holds {other:?}"),
        };
        let pooling = match self.text("model.pooling") {
            "swap" => Pooling::Swap,
            "average" => Pooling::Average,
            "max" => Pooling::Max,
            "l2" => Pooling::L2,
            other => panic!("model.pooling holds {other:?}"),
        };
        let dummy = match self.text("model.dummy") {
            "learned" => Dummy::Learned,
            "zero" => Dummy::Zero,
            "none" => Dummy::None,
            other => panic!("model.dummy holds {other:?}"),
        };
        Job {
            data: self.data(),
            model: ModelJob {
                shared: layers("model.shared"),
                frames: layers("model.frames"),
                pooling,
                dummy,
                epsilon: self.single("model.epsilon"),
                frequency_biases: match self.text("model.initial_biases") {
                    "zero" => false,
                    "frequency" => true,
                    other => panic!("model.initial_biases holds {other:?}"),
                },
            },
            pretrain: PretrainJob {
                epochs: self.integer("pretrain.epochs"),
                experts: self.integer("pretrain.experts"),
                batch: self.integer("pretrain.batch"),
                frames: self.integer("pretrain.frames"),
                learning_rate: self.single("pretrain.learning_rate"),
                decay: self.single("pretrain.decay"),
                decay_rows: self.integer("pretrain.decay_rows"),
                clip_norm: self.single("pretrain.clip_norm"),
                l2: self.single("pretrain.l2"),
                dropout: self.single("pretrain.dropout"),
                patience: self.integer("pretrain.patience"),
            },
            experts: self.experts(),
            shared: SharedJob {
                iterations: self.integer("shared.iterations"),
                solver: SharedSolver::named(self.text("shared.solver")).expect("a choice"),
                learning_rate: self.single("shared.learning_rate"),
                step_initial: self.single("shared.step_initial"),
                step_min: self.single("shared.step_min"),
                step_max: self.single("shared.step_max"),
            },
            rounds: RoundsJob {
                count: self.integer("rounds.count"),
                patience: self.integer("rounds.patience"),
            },
            checkpoint: CheckpointJob {
                minutes: self.number("checkpoint.minutes"),
                every: self.integer("checkpoint.every"),
            },
            run: RunJob {
                seed: self.integer("run.seed") as u64,
                threads: self.integer("run.threads"),
                memory_gib: self.number("run.memory_gib"),
                scratch: match self.0.values.contains_key("run.scratch") {
                    true => self.text("run.scratch").to_string(),
                    false => String::new(),
                },
                stall_seconds: self.number("run.stall_seconds"),
                row_blocks: self.integer("run.row_blocks"),
                class_blocks: self.integer("run.class_blocks"),
                kernel: self.text("run.kernel").to_string(),
            },
        }
    }

    fn data(&self) -> DataJob {
        let texts = |key: &str| match self.0.values.get(key) {
            Some((Value::Texts(texts), _)) => Some(texts.clone()),
            _ => None,
        };
        let fraction = "data.validation_fraction";
        let validation = match texts("data.validation") {
            Some(globs) => Validation::Globs(globs),
            None if self.0.values.contains_key(fraction) && self.number(fraction) > 0.0 => {
                Validation::Fraction(self.number(fraction))
            }
            None => Validation::None,
        };
        let normalize = match self.text("data.normalize") {
            "l2" => Normalize::L2,
            "standardise" => Normalize::Standardise,
            "none" => Normalize::None,
            other => panic!("data.normalize holds {other:?}"),
        };
        let train = texts("data.train").expect("checked");
        let allow_overlap = self.get("data.allow_overlap") == &Value::Boolean(true);
        DataJob { train, validation, allow_overlap, normalize }
    }

    fn experts(&self) -> ExpertsJob {
        let solver = Solver::named(self.text("experts.solver")).expect("a choice");
        let rate = "experts.learning_rate";
        let given = self.0.values.contains_key(rate);
        let restart = self.get("experts.restart") == &Value::Boolean(true);
        ExpertsJob {
            count: self.integer("experts.count"),
            positives_per_expert: self.integer("experts.positives_per_expert"),
            epochs: self.integer("experts.epochs"),
            solver,
            batch: self.integer("experts.batch"),
            learning_rate: if given { self.single(rate) } else { solver.learning_rate() },
            l2: self.single("experts.l2"),
            dropout: self.single("experts.dropout"),
            negatives: self.single("experts.negatives"),
            averaging: self.single("experts.averaging"),
            restart,
            tolerance: self.number("experts.tolerance"),
            patience: self.integer("experts.patience"),
            class_patience: self.integer("experts.class_patience"),
            window: self.integer("experts.window"),
        }
    }
}
