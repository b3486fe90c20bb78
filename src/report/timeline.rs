//! Where an event stands in its run: its number, the rows that have passed, and the time, which go
//! on over stops.

use serde_json::{Value, json};

/// What has been so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Rows of an epoch; 0 where nobody has said.
    rows: u64,
    /// Events so far.
    number: u64,
    /// Epochs, passes and iterations so far.
    passes: u64,
    /// Seconds of earlier starts, up to the last event that is kept of each.
    before: f64,
}

impl Timeline {
    /// Of a run that trains on so many rows.
    pub(super) fn of_rows(rows: u64) -> Timeline {
        Timeline { rows, ..Timeline::default() }
    }

    /// Goes on after these lines of `metrics.jsonl`.
    pub(super) fn resume(&mut self, lines: &[u8]) {
        let rows = self.rows;
        *self = Timeline::of_rows(rows);
        let mut last = 0.0;
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for event in lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()) {
            self.count(&event);
            // Each start counts from its own beginning.
            let at = event["timing"]["at_seconds"].as_f64().unwrap_or(last);
            if at < last {
                self.before += last;
            }
            last = at;
            // What the line itself says holds, where a start was quicker than the one before.
            if let Some(seconds) = event["seconds"].as_f64() {
                self.before = (seconds - at).max(0.0);
            }
        }
        self.before += last;
    }

    fn count(&mut self, event: &Value) {
        self.number += 1;
        let whole = event["epoch"].is_u64() || event["iteration"].is_u64();
        self.passes += u64::from(whole);
    }

    /// Adds to an event, behind all that it has, where it stands; `seconds` after the start began,
    /// at this time.
    pub(super) fn place(&mut self, event: &mut Value, seconds: f64, unix_seconds: f64) {
        self.count(event);
        let milli = |seconds: f64| (seconds * 1e3).round() / 1e3;
        event["number"] = json!(self.number);
        event["rows_seen"] = json!(self.passes * self.rows);
        event["seconds"] = json!(milli(self.before + seconds));
        event["unix_seconds"] = json!(milli(unix_seconds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(timeline: &mut Timeline, mut event: Value, seconds: f64) -> Value {
        event["timing"] = json!({ "at_seconds": seconds, "seconds": 1.0 });
        timeline.place(&mut event, seconds, 1e9);
        event
    }

    /// However often a run stops, the second start being quicker or slower than the first.
    #[test]
    fn events_go_on_over_stops() {
        let mut lines = String::new();
        let mut found = Vec::new();
        for seconds in [10.0, 3.0, 30.0] {
            let mut timeline = Timeline::of_rows(500);
            timeline.resume(lines.as_bytes());
            let first = json!({ "step": "experts", "epoch": 1 });
            for whole in [first, json!({ "step": "experts" })] {
                let whole = event(&mut timeline, whole, seconds);
                lines += &format!("{whole}\n");
                found.push(["number", "rows_seen", "seconds"].map(|key| whole[key].as_f64()));
            }
        }
        let expected = [
            [1.0, 500.0, 10.0],
            [2.0, 500.0, 10.0],
            [3.0, 1000.0, 13.0],
            [4.0, 1000.0, 13.0],
            [5.0, 1500.0, 43.0],
            [6.0, 1500.0, 43.0],
        ];
        assert_eq!(found, expected.map(|event| event.map(Some)));
    }

    #[test]
    fn lines_of_earlier_versions_say_where_a_run_stands() {
        let line = |at: f64| format!("{{\"epoch\":1,\"timing\":{{\"at_seconds\":{at}}}}}\n");
        let mut timeline = Timeline::of_rows(2);
        timeline.resume((line(10.0) + &line(20.0) + &line(5.0)).as_bytes());
        let next = event(&mut timeline, json!({ "iteration": 4 }), 1.0);
        let found = ["number", "rows_seen", "seconds"].map(|key| next[key].as_f64());
        assert_eq!(found, [Some(4.0), Some(8.0), Some(26.0)]);
    }
}
