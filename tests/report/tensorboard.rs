//! The events of a run as TensorBoard reads them, each once however often the run stops.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reelscale::internals::formats::tfrecord::Records;
use serde_json::Value;

use super::common::json;
use super::scratch;

/// Fields of a message: (number, varint or little-endian bits, bytes).
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let number =
            bytes[..=end].iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
        *bytes = &bytes[end + 1..];
        number
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes), &[][..]));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            wire => panic!("wire type {wire}"),
        };
        let (own, rest) = bytes.split_at(length);
        let bits = own.iter().take(8).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        found.push((key >> 3, bits, own));
        bytes = rest;
    }
    found
}

/// One event: its step, its time and its points by tag.
type Event = (u64, f64, BTreeMap<String, f32>);

fn events(run: &Path) -> Vec<Event> {
    let mut records = Records::open(&run.join("events.out.tfevents")).unwrap();
    let first = records.next().unwrap().unwrap();
    assert_eq!(fields(first), [(3, u64::from_le_bytes(*b"brain.Ev"), &b"brain.Event:2"[..])]);
    let mut events = Vec::new();
    while let Some(record) = records.next().unwrap() {
        let mut event: Event = Default::default();
        for (number, bits, bytes) in fields(record) {
            match number {
                1 => event.1 = f64::from_bits(bits),
                2 => event.0 = bits,
                5 => {
                    for (_, _, value) in fields(bytes) {
                        let [tag, number] = fields(value)[..] else { panic!("a tag and a number") };
                        let tag = String::from_utf8(tag.2.to_vec()).unwrap();
                        event.2.insert(tag, f32::from_bits(number.1 as u32));
                    }
                }
                number => panic!("field {number}"),
            }
        }
        events.push(event);
    }
    events
}

#[test]
fn events_for_tensorboard_are_those_of_the_run_each_once() {
    let scratch = scratch();
    scratch.train("plain").stdout();
    assert!(!scratch.path("plain/events.out.tfevents").exists());
    let train = |sets: &[&str]| {
        let train = scratch.train("run").arg("--set").arg("report.tensorboard=true");
        sets.iter().fold(train, |train, word| train.arg(*word)).stdout();
    };
    train(&["--max-time", "0"]);
    // It stops before each window of a step.
    for _ in 0..2 {
        train(&["--set", "checkpoint.every=1", "--max-time", "0.3"]);
    }
    train(&["--comm", "threads=2"]);
    let hash = |run: &str| json(&scratch.path(run).join("run.json"), "result_hash");
    assert_eq!(hash("run"), hash("plain"), "the key changes no bit");

    let run = scratch.path("run");
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = events(&run);
    assert_eq!(found.len(), lines.len());
    let mut before = 0.0;
    for (at, (line, (step, time, points))) in lines.iter().zip(&found).enumerate() {
        assert_eq!((*step, &line["number"]), (at as u64 + 1, &Value::from(at + 1)));
        assert_eq!(line["unix_seconds"].as_f64(), Some(*time));
        let point = |tag: &str| points.get(tag).copied();
        let number = |value: &Value| value.as_f64().map(|number| number as f32);
        assert_eq!(point("loss/training"), number(&line["loss"]));
        assert_eq!(point("loss/validation"), number(&line["validation"]["loss"]));
        assert_eq!(point("validation/gap_at_20"), number(&line["validation"]["gap_at_20"]));
        assert_eq!(point("progress/rows_seen"), number(&line["rows_seen"]));
        let seconds = line["seconds"].as_f64().unwrap();
        assert!(seconds >= before, "{line}");
        before = seconds;
    }
    // 2 epochs, 2 epochs and 1 iteration of 600 rows.
    assert_eq!(lines.last().unwrap()["rows_seen"], 5 * 600);
    assert!(lines.iter().any(|line| line["validation"]["gap_at_20"].is_f64()));
}
