//! What a run is held to, over all its starts: what is said to last lasts, is whole and stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelscale::internals::human::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::draws::Draws;
use super::expected::{Expected, chained, events_of};
use super::files::Files;
use super::plant::Plant;
use super::tree::Tree;

/// Checkpoints that a run keeps.
const KEPT: usize = 2;

/// What a run is held to.
pub struct Held {
    pub files: Files,
    pub plant: Plant,
    /// The run's directory.
    pub run: PathBuf,
    pub expected: Arc<Expected>,
    /// Checkpoints that were said to last, with what they held then.
    whole: BTreeMap<u64, Tree>,
    /// How many of them there must be.
    promised: usize,
    /// Whether the run's record says that it is finished, for good.
    pub finished: bool,
    /// Whether a checkpoint was damaged in this run.
    pub damaged: bool,
    /// The newest whole checkpoint when this start began.
    pub before: Option<u64>,
    /// Checkpoints that came to last in this start, and the point of the last one.
    pub saved: u64,
    pub saved_at: u64,
    /// What the program was at, as far as its files tell.
    pub phase: &'static str,
    /// Warnings of this start.
    pub warnings: Vec<String>,
    /// Calls that made something last, by place.
    pub syncs: BTreeMap<String, u64>,
}

impl Held {
    pub fn new(files: Files, run: PathBuf, expected: Arc<Expected>, plant: Plant) -> Held {
        Held {
            files,
            plant,
            run,
            expected,
            whole: BTreeMap::new(),
            promised: 0,
            finished: false,
            damaged: false,
            before: None,
            saved: 0,
            saved_at: 0,
            phase: "start",
            warnings: Vec::new(),
            syncs: BTreeMap::new(),
        }
    }

    /// A start begins.
    pub fn begin(&mut self) {
        self.before = self.whole.keys().next_back().copied();
        (self.saved, self.saved_at, self.phase) = (0, 0, "start");
        self.warnings.clear();
    }

    /// The number of the checkpoint that `path` is, or lies in.
    fn number_of(&self, path: &Path) -> Option<u64> {
        let inner = path.strip_prefix(self.run.join("checkpoints")).ok()?;
        let name = inner.components().next()?.as_os_str().to_str()?;
        name.parse().ok().filter(|_| name.len() == 8)
    }

    /// What is at `path` is said to last.
    ///
    /// # Errors
    /// It may not, or isn't what it should be.
    pub fn lasts(&mut self, path: &Path, point: u64) -> Result<(), String> {
        if let Some(doubt) = self.files.doubt(path) {
            return Err(format!("{} is said to last, but {doubt}", path.display()));
        }
        if let Some(number) = self.number_of(path) {
            if !self.whole.contains_key(&number) {
                let tree = self.below(path);
                self.checkpoint_is_right(&tree)
                    .and_then(|about| self.went_on(&about["sessions"]))
                    .map_err(|text| format!("checkpoint {number}: {text}"))?;
                self.whole.insert(number, tree);
                self.take_in_unsaid();
                self.promised = KEPT.min(self.whole.len());
                (self.saved, self.saved_at) = (self.saved + 1, point);
            }
            self.phase = "computing";
        } else if path == self.run.join("run.json") {
            let record = self.json(path)?;
            if record["finished"] == true {
                self.went_on(&record["sessions"])?;
                self.ends(path)?;
            }
        }
        Ok(())
    }

    /// A start that ended may have left a checkpoint that is whole without having said so.
    fn take_in_unsaid(&mut self) {
        let newest = *self.whole.keys().next_back().expect("one was said to last");
        for number in newest.saturating_sub(KEPT as u64)..newest {
            let path = self.run.join("checkpoints").join(format!("{number:08}"));
            if !self.whole.contains_key(&number) && self.files.doubt(&path).is_none() {
                let tree = self.below(&path);
                if self.checkpoint_is_right(&tree).is_ok() {
                    self.whole.insert(number, tree);
                }
            }
        }
    }

    /// Takes note of the record of a run, at `path`, that is finished.
    ///
    /// # Errors
    /// It isn't what it should be.
    pub fn ends(&mut self, path: &Path) -> Result<(), String> {
        if self.finished || self.files.at(path).is_none() {
            return Ok(());
        }
        let record = self.json(path)?;
        if record["finished"] == true {
            self.end_is_right(&record)?;
            (self.finished, self.phase) = (true, "finished");
        }
        Ok(())
    }

    fn below(&self, path: &Path) -> Tree {
        let tree = self.files.tree();
        let root = path.strip_prefix(self.files.root()).expect("inside");
        tree.into_iter()
            .filter_map(|(at, bytes)| Some((at.strip_prefix(root).ok()?.to_path_buf(), bytes)))
            .collect()
    }

    fn json(&self, path: &Path) -> Result<Value, String> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// What a checkpoint says of itself, if it holds what its sums say and the run's events so far,
    /// each once.
    fn checkpoint_is_right(&self, tree: &Tree) -> Result<Value, String> {
        let bytes = |name: &str| {
            let found = tree.get(Path::new(name)).and_then(Option::as_deref);
            found.ok_or(format!("found no {name}"))
        };
        let sums = String::from_utf8(bytes("SHA256SUMS")?.to_vec()).map_err(|e| e.to_string())?;
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").ok_or(format!("found the sum {line:?}"))?;
            if hex(&Sha256::digest(bytes(name)?)) != sum {
                return Err(format!("{name} isn't what its sum says"));
            }
        }
        // The folder itself, and the list.
        if sums.lines().count() + 2 != tree.len() {
            return Err(format!("found {} files", tree.len() - 1));
        }
        let state: Value =
            serde_json::from_slice(bytes("state.json")?).map_err(|error| error.to_string())?;
        let events = events_of(bytes("metrics.jsonl")?)?;
        let all = &self.expected.events;
        if !all.is_empty() && all.get(..events.len()) != Some(&events[..]) {
            return Err(format!("its {} events aren't the first of the run", events.len()));
        }
        let digest: Vec<u8> =
            serde_json::from_value(state["about"]["standing"]["events_hash"].clone())
                .map_err(|error| error.to_string())?;
        if digest != chained(&events) {
            return Err(format!("its {} events aren't those of its digest", events.len()));
        }
        Ok(state["about"].clone())
    }

    /// Whether this start went on from the newest whole checkpoint, or one that came after it.
    pub fn went_on(&self, sessions: &Value) -> Result<(), String> {
        let last = sessions.as_array().and_then(|all| all.last());
        let from = last.and_then(|session| session["checkpoint"].as_u64());
        if from < self.before {
            let before = self.before.expect("more than another one");
            return Err(format!("went on from checkpoint {from:?}, though {before} was whole"));
        }
        Ok(())
    }

    /// What a finished run leaves, to last: its record, all events, its model.
    fn end_is_right(&self, record: &Value) -> Result<(), String> {
        for name in ["model", "metrics.jsonl"] {
            if let Some(doubt) = self.files.doubt(&self.run.join(name)) {
                return Err(format!("the run is said to be finished, but {doubt}"));
            }
        }
        let path = self.run.join("metrics.jsonl");
        let events = std::fs::read(&path).map_err(|error| error.to_string())?;
        let events = events_of(&events)?;
        let expected = &*self.expected;
        if expected.events.is_empty() {
            // The undisturbed run itself.
            return Ok(());
        }
        if events != expected.events {
            return Err(format!(
                "found {} events, expected those {}",
                events.len(),
                expected.events.len()
            ));
        }
        match record["result_hash"] == expected.result {
            true => Ok(()),
            false => Err(format!("the result is {}", record["result_hash"])),
        }
    }

    /// Something at `path` changes.
    ///
    /// # Errors
    /// It takes away what the run needs.
    pub fn changes(&mut self, path: &Path) -> Result<(), String> {
        let gone = self.number_of(path).and_then(|number| self.whole.remove(&number));
        if gone.is_none() || self.finished || self.whole.len() >= self.promised {
            return Ok(());
        }
        let (left, promised) = (self.whole.len(), self.promised);
        Err(format!("{}: leaves {left} of {promised} checkpoints", path.display()))
    }

    /// After a loss: whether all is there that must be.
    ///
    /// # Errors
    /// What isn't.
    pub fn is_kept(&self) -> Result<(), String> {
        for (number, tree) in &self.whole {
            let path = self.run.join("checkpoints").join(format!("{number:08}"));
            if self.files.at(&path).is_none() || self.below(&path) != *tree {
                return Err(format!("{}: isn't what it was", path.display()));
            }
        }
        Ok(())
    }

    /// Flips a bit of the newest checkpoint, if there is one before it. Returns whether it did.
    pub fn damage_newest(&mut self, draws: &mut Draws) -> bool {
        if self.whole.len() < KEPT || self.finished {
            return false;
        }
        let (number, tree) = self.whole.pop_last().expect("several");
        (self.promised, self.damaged) = (self.whole.len(), true);
        let names: Vec<&PathBuf> = tree
            .iter()
            .filter(|file| file.1.as_ref().is_some_and(|b| !b.is_empty()))
            .map(|file| file.0)
            .collect();
        let name = names[draws.below(names.len())];
        let path = self.run.join("checkpoints").join(format!("{number:08}")).join(name);
        // A checkpoint that lasts may lie beside changes that don't.
        self.files.damage(&path, draws);
        true
    }

    /// Takes note of what the program is at.
    pub fn note_phase(&mut self, what: &str, path: &Path) {
        let Ok(inner) = path.strip_prefix(&self.run) else { return };
        let text = inner.to_string_lossy();
        self.phase = match what {
            "rename" if self.number_of(path).is_some() => "checkpoint named, not synced",
            "rename" if text == "model" => "model named, not synced",
            _ if text.starts_with("checkpoints/next.tmp") => "writing a checkpoint",
            _ if text.starts_with("model.tmp") => "writing the model",
            "remove file" | "remove folder" if self.finished => "removing all checkpoints",
            "remove file" | "remove folder" if self.number_of(path).is_some() => {
                "removing an older checkpoint"
            }
            _ => return,
        };
    }
}
