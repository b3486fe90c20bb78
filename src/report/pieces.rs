//! How long the pieces of a run take, by its events: epochs and iterations, and what ends a step.

use std::collections::BTreeMap;

use serde_json::Value;

/// Median seconds by step, and whether it is an epoch or iteration rather than a step's end: of the
/// last start that has any of a kind, since earlier ones may have had other ranks.
pub(crate) struct Pieces(BTreeMap<(String, bool), f64>);

impl Pieces {
    pub(crate) fn of(events: &[Value]) -> Pieces {
        let mut seconds: BTreeMap<(String, bool), (usize, Vec<f64>)> = BTreeMap::new();
        let (mut start, mut before) = (0, f64::NEG_INFINITY);
        for event in events {
            let timing = &event["timing"];
            let (Some(step), Some(at), Some(took)) =
                (event["step"].as_str(), timing["at_seconds"].as_f64(), timing["seconds"].as_f64())
            else {
                continue;
            };
            // Each start counts from its own beginning.
            start += usize::from(at < before);
            before = at;
            let is_piece = !event["epoch"].is_null() || !event["iteration"].is_null();
            let (of, all) = seconds.entry((step.to_string(), is_piece)).or_default();
            if *of != start {
                (*of, *all) = (start, Vec::new());
            }
            all.push(took);
        }
        Pieces(seconds.into_iter().map(|(kind, (_, mut all))| (kind, median(&mut all))).collect())
    }

    /// Of the epochs or iterations of this step, or of what ends it; nothing where none has ended.
    pub(crate) fn median(&self, step: &str, is_piece: bool) -> Option<f64> {
        self.0.get(&(step.to_string(), is_piece)).copied()
    }
}

/// Of some numbers, which are in order afterwards: the mean of the middle two where their count is
/// even. There is one at least.
pub(crate) fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { (all[middle - 1] + all[middle]) / 2.0 }
}
