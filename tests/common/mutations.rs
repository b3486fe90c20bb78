//! Changes to JSON that somebody may make: each number, text, list and field in turn.

use serde_json::{Map, Value, json};

/// Everything that `value` becomes when one place in it is changed, each with a name.
pub fn mutations(value: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    visit(value, "", &mut |place, changed| all.push((place, changed)));
    all
}

/// Calls `told` with each changed value of what stands here.
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
        Value::Object(fields) => {
            for (name, field) in fields {
                let place = format!("{place}.{name}");
                let mut without = fields.clone();
                without.remove(name);
                take(format!("{place} left out"), Value::Object(without));
                visit(field, &place, &mut |place, changed| {
                    let mut fields: Map<String, Value> = fields.clone();
                    fields.insert(name.clone(), changed);
                    take(place, Value::Object(fields));
                });
            }
        }
        _ => {}
    }
}

/// What may stand in the place of a value.
fn others(value: &Value) -> Vec<(String, Value)> {
    let mut others: Vec<Value> =
        vec![Value::Null, json!("NaN"), json!(""), json!([]), json!({}), json!(true)];
    match value {
        Value::Number(number) => {
            let large = [0, 1, 2, 17, 255, 65_536, 1 << 32, 1 << 53, 1 << 62, u64::MAX];
            others.extend(large.map(Value::from));
            others.extend([json!(-1), json!(i64::MIN)]);
            let odd = [-0.0, 0.5, 1e-45, 1e-300, 1e39, -1e39, 1e308, f64::MIN_POSITIVE];
            others.extend(odd.map(Value::from));
            let near = number.as_u64().map(|number| [number.wrapping_sub(1), number + 1]);
            others.extend(near.into_iter().flatten().map(Value::from));
        }
        Value::String(text) => {
            others.extend(["../".to_string() + text, text.to_uppercase()].map(Value::from));
            others.extend([text.repeat(2), text.chars().skip(1).collect()].map(Value::from));
            let known = ["tanh", "identity", "gating", "residual", "max", "zero", "none", "l2"];
            others.extend(known.map(Value::from));
        }
        Value::Array(items) => {
            others.push(items.iter().chain(items).cloned().collect());
            others.push(items.iter().rev().cloned().collect());
            others.push(items.iter().skip(1).cloned().collect());
            others.push(items.iter().take(items.len().saturating_sub(1)).cloned().collect());
        }
        _ => {}
    }
    others.retain(|other| other != value);
    let name = |other: Value| (other.to_string().chars().take(60).collect(), other);
    others.into_iter().map(name).collect()
}
