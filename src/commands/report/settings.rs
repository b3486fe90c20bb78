//! The settings of runs: those that differ, and all of them.

use std::collections::HashMap;

use super::page::{Cell, escape_lines, table};
use super::run::Run;

/// A table of the settings that aren't the same in all runs.
pub(super) fn that_differ(runs: &[Run]) -> String {
    let of = |run: &Run| -> HashMap<String, String> { run.settings.iter().cloned().collect() };
    let all: Vec<HashMap<String, String>> = runs.iter().map(of).collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in runs.iter().flat_map(|run| &run.settings) {
        if !keys.contains(&key) && all.iter().any(|settings| settings.get(key) != all[0].get(key)) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return "<p>All settings are the same.</p>\n".into();
    }
    let mut head = vec!["setting"];
    head.extend(runs.iter().map(|run| run.name.as_str()));
    let row = |key: &String| {
        let value = |settings: &HashMap<String, String>| {
            Cell::text(settings.get(key).map_or("–", String::as_str))
        };
        std::iter::once(Cell::text(key)).chain(all.iter().map(value)).collect()
    };
    table(&head, &keys.into_iter().map(row).collect::<Vec<Vec<Cell>>>())
}

/// The whole job file, folded.
pub(super) fn all(run: &Run) -> String {
    match run.job.is_empty() {
        true => String::new(),
        false => format!(
            "<details><summary>All settings of this run</summary>\n<pre>{}</pre></details>\n",
            escape_lines(&run.job)
        ),
    }
}
