//! TFRecords of tf.train.Example and SequenceExample, made byte by byte, also wrong ones.

use reelscale::internals::formats::tfrecord::framed;

/// A base-128 number.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field of bytes.
pub fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

pub fn floats(values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    field(2, &field(1, &bytes))
}

pub fn integers(values: &[i64]) -> Vec<u8> {
    let packed: Vec<u8> = values.iter().flat_map(|value| varint(*value as u64)).collect();
    field(3, &field(1, &packed))
}

pub fn strings(values: &[&[u8]]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| field(1, value)).collect();
    field(1, &values)
}

/// One entry of a map of features.
pub fn entry(key: &str, feature: &[u8]) -> Vec<u8> {
    field(1, &[field(1, key.as_bytes()), field(2, feature)].concat())
}

/// A framed tf.train.Example of these entries.
pub fn example(entries: &[Vec<u8>]) -> Vec<u8> {
    framed(&field(1, &entries.concat()))
}

/// A framed video-level example with the three features `rgb`.
pub fn video(id: &[u8], labels: &[i64]) -> Vec<u8> {
    example(&[
        entry("id", &strings(&[id])),
        entry("labels", &integers(labels)),
        entry("mean_rgb", &floats(&[1.0, 2.0, 3.0])),
    ])
}

/// A map of feature lists, given as (key, features).
pub fn lists(lists: &[(&str, Vec<Vec<u8>>)]) -> Vec<u8> {
    let list = |(key, features): &(&str, Vec<Vec<u8>>)| {
        let features: Vec<u8> = features.iter().flat_map(|feature| field(1, feature)).collect();
        entry(key, &features)
    };
    lists.iter().flat_map(list).collect()
}

/// A framed SequenceExample: entries of the context, and feature lists.
pub fn sequence(context: &[Vec<u8>], frames: &[(&str, Vec<Vec<u8>>)]) -> Vec<u8> {
    framed(&[field(1, &context.concat()), field(2, &lists(frames))].concat())
}
