//! The events of a run as TensorBoard reads them: TFRecords of `tensorflow.Event`. They follow from
//! the lines of `metrics.jsonl` alone, so that a run that goes on has each point once.

use serde_json::Value;

use crate::formats::tfrecord::framed;

/// The file's name: TensorBoard knows files by a part of it.
pub(crate) const TENSORBOARD: &str = "events.out.tfevents";

/// Wire types of protobuf.
const VARINT: u8 = 0;
const DOUBLE: u8 = 1;
const BYTES: u8 = 2;
const FLOAT: u8 = 5;

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
    let mut event = Vec::new();
    put_bytes(&mut event, 3, b"brain.Event:2");
    framed(&event)
}

/// A line of `metrics.jsonl` as a record: its loss and its metrics at the number of the event.
pub(super) fn record_of(line: &Value) -> Vec<u8> {
    let mut summary = Vec::new();
    let mut point = |tag: &str, value: &Value| {
        let Some(number) = value.as_f64() else { return };
        let mut one = Vec::new();
        put_bytes(&mut one, 1, tag.as_bytes());
        put_key(&mut one, 2, FLOAT);
        one.extend((number as f32).to_le_bytes());
        put_bytes(&mut summary, 1, &one);
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
    let mut event = Vec::new();
    put_key(&mut event, 1, DOUBLE);
    event.extend(line["unix_seconds"].as_f64().unwrap_or(0.0).to_le_bytes());
    put_key(&mut event, 2, VARINT);
    put_varint(&mut event, line["number"].as_u64().unwrap_or(0));
    put_bytes(&mut event, 5, &summary);
    framed(&event)
}

fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn put_key(to: &mut Vec<u8>, field: u8, wire: u8) {
    to.push(field << 3 | wire);
}

fn put_bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_key(to, field, BYTES);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}
