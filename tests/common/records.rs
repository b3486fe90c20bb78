//! Changes to CBOR records (RFC 8949), as checkpoints hold them: each number, text, byte string,
//! list and field in turn.

use ciborium::Value;
use ciborium::value::Integer;

/// The items of which `bytes` is made.
pub fn items(mut bytes: &[u8]) -> Vec<Value> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        items.push(ciborium::from_reader(&mut bytes).expect("whole items"));
    }
    items
}

/// One item after the other.
pub fn bytes(items: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    items.iter().for_each(|item| ciborium::into_writer(item, &mut bytes).unwrap());
    bytes
}

/// Every change of one place in `items`: its name, and the bytes that it makes of them.
pub fn mutations(items: &[Value], take: &mut dyn FnMut(String, Vec<u8>)) {
    for (index, item) in items.iter().enumerate() {
        visit(item, &format!("item {index}"), &mut |place, changed| {
            let mut items = items.to_vec();
            items[index] = changed;
            take(place, bytes(&items));
        });
        let without = [&items[..index], &items[index + 1..]].concat();
        take(format!("item {index} left out"), bytes(&without));
        let twice = [&items[..=index], &items[index..]].concat();
        take(format!("item {index} twice"), bytes(&twice));
        take(format!("cut before item {index}"), bytes(&items[..index]));
        // Headers that promise what isn't there: byte strings, lists and maps of any length.
        for (kind, name) in [(0x5b, "bytes"), (0x9b, "items"), (0xbb, "fields"), (0x7b, "text")] {
            for length in [1u64 << 40, 1 << 62, u64::MAX] {
                let mut claim = bytes(&items[..index]);
                claim.push(kind);
                claim.extend(length.to_be_bytes());
                claim.extend(bytes(&items[index..]));
                take(format!("item {index} promises {length} {name}"), claim);
            }
        }
    }
}

fn visit(value: &Value, place: &str, take: &mut dyn FnMut(String, Value)) {
    for (name, other) in others(value) {
        take(format!("{place} = {name}"), other);
    }
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, &format!("{place}[{index}]"), &mut |place, changed| {
                    let mut items = items.clone();
                    items[index] = changed;
                    take(place, Value::Array(items));
                });
            }
        }
        Value::Map(fields) => {
            for (index, (name, field)) in fields.iter().enumerate() {
                let place = format!("{place}.{}", name.as_text().unwrap_or("?"));
                let mut without = fields.clone();
                without.remove(index);
                take(format!("{place} left out"), Value::Map(without));
                visit(field, &place, &mut |place, changed| {
                    let mut fields = fields.clone();
                    fields[index].1 = changed;
                    take(place, Value::Map(fields));
                });
            }
        }
        _ => {}
    }
}

/// What may stand in the place of a value.
fn others(value: &Value) -> Vec<(String, Value)> {
    let number = |number: i128| Value::Integer(Integer::try_from(number).unwrap());
    let mut others = vec![Value::Null, Value::Bool(true), Value::Array(Vec::new())];
    match value {
        Value::Integer(found) => {
            let found = i128::from(*found);
            let odd = [0, 1, -1, 7, 1 << 20, 1 << 32, 1 << 53, 1 << 62, (1 << 63) - 1, 1 << 63];
            others.extend(odd.map(number));
            others.extend([found - 1, found + 1, u64::MAX.into(), i64::MIN.into()].map(number));
        }
        Value::Float(_) => {
            let (huge, tiny) = (f64::MAX, f64::from_bits(1));
            let odd = [f64::NAN, f64::INFINITY, -f64::INFINITY, 0.0, -0.0, -1.0, huge, tiny, 2.0];
            others.extend(odd.map(Value::Float));
        }
        Value::Bool(found) => others.push(Value::Bool(!found)),
        Value::Text(_) => {
            let names = ["pretrain", "experts", "shared", "done", "Adam", "Adagrad", "Irprop"];
            let more = ["Nothing", "Same", "Other", "", "weights"];
            others.extend(names.iter().chain(&more).map(|name| Value::Text(name.to_string())));
        }
        Value::Bytes(bytes) => {
            let with = |number: &[u8]| {
                let mut bytes = bytes.clone();
                let length = bytes.len().min(number.len());
                bytes[..length].copy_from_slice(&number[..length]);
                bytes
            };
            let cut = |length: usize| bytes[..length.min(bytes.len())].to_vec();
            let less = |by: usize| cut(bytes.len().saturating_sub(by));
            others.extend([cut(0), cut(4), less(1), less(4), bytes.repeat(2)].map(Value::Bytes));
            for odd in [f32::NAN, f32::INFINITY, -3e38, -0.0, 3e38] {
                others.push(Value::Bytes(with(&odd.to_le_bytes())));
                others.push(Value::Bytes(with(&f64::from(odd).to_le_bytes())));
            }
            others.push(Value::Bytes(vec![0; bytes.len()]));
            others.push(Value::Bytes(vec![255; bytes.len()]));
        }
        Value::Array(items) => {
            others.push(Value::Array([&items[..], items].concat()));
            others.push(Value::Array(items.iter().rev().cloned().collect()));
            others.push(Value::Array(items.iter().skip(1).cloned().collect()));
        }
        _ => {}
    }
    // A NaN is never equal: another one than what is there anyway.
    others.retain(|other| other != value);
    let name = |other: Value| (format!("{other:?}").chars().take(60).collect(), other);
    others.into_iter().map(name).collect()
}
