//! The events of a run as TensorBoard reads them: TFRecords of `tensorflow.Event`. They follow from
//! the lines of `metrics.jsonl` alone, so that a run that goes on has each point once.

use serde_json::Value;

use crate::formats::protobuf::Message;
use crate::formats::tfrecord::framed;

/// The file's name: TensorBoard knows files by a part of it.
pub(crate) const TENSORBOARD: &str = "events.out.tfevents";

/// The records of these lines, with what a file begins with.
pub(super) fn records_of(lines: &[u8]) -> Vec<u8> {
    let mut records = first_record();
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for event in lines.filter_map(|line| serde_json::from_slice(line).ok()) {
        records.extend(record_of(&event));
    }
    records
}

/// What every file begins with.
fn first_record() -> Vec<u8> {
    framed(&Message::default().text(3, "brain.Event:2").0)
}

/// A line of `metrics.jsonl` as a record: its loss and its metrics at the number of the event.
pub(super) fn record_of(line: &Value) -> Vec<u8> {
    let mut points = Vec::new();
    let mut point = |tag: &str, value: &Value| {
        let point = |number| Message::default().text(1, tag).float(2, number as f32);
        points.extend(value.as_f64().map(point));
    };
    point("loss/training", &line["loss"]);
    for (name, value) in line["validation"].as_object().into_iter().flatten() {
        match name.as_str() {
            "loss" => point("loss/validation", value),
            name => point(&format!("validation/{name}"), value),
        }
    }
    point("progress/rows_seen", &line["rows_seen"]);
    point("progress/round", &line["round"]);
    let summary = Message::default().each(&points, |summary, point| summary.message(1, point));
    let event = Message::default()
        .double(1, line["unix_seconds"].as_f64().unwrap_or(0.0))
        .number(2, line["number"].as_u64().unwrap_or(0))
        .message(5, &summary);
    framed(&event.0)
}
