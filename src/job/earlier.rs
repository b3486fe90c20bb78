//! Records of jobs that earlier versions have written, as job files: they had the fields of the
//! checked job, not the keys of a job file.

use toml::{Table, Value};

/// The record as a job file; one of this version stays as it is.
pub fn as_job_file(mut record: Table) -> Table {
    if let Some(Value::Table(data)) = record.get_mut("data") {
        validation(data);
    }
    if let Some(Value::Table(model)) = record.get_mut("model") {
        if let Some(Value::Boolean(frequency)) = model.remove("frequency_biases") {
            let name = if frequency { "frequency" } else { "zero" };
            model.insert("initial_biases".into(), name.into());
        }
        for name in ["shared", "frames"] {
            if let Some(Value::Array(layers)) = model.get_mut(name) {
                layers.iter_mut().for_each(layer);
            }
        }
    }
    record
}

/// `validation` was `"none"`, `{ globs = [...] }` or `{ fraction = ... }`.
fn validation(data: &mut Table) {
    match data.get_mut("validation") {
        Some(Value::String(none)) if none == "none" => {
            data.remove("validation");
        }
        Some(Value::Table(one)) => {
            let [globs, fraction] = ["globs", "fraction"].map(|name| one.remove(name));
            if let Some(fraction) = fraction {
                data.remove("validation");
                data.insert("validation_fraction".into(), fraction);
            } else if let Some(globs) = globs {
                data.insert("validation".into(), globs);
            }
        }
        _ => {}
    }
}

/// A layer was `{ kind = "dense", units = ..., activation = ... }` or `{ kind = "gating" }`.
fn layer(layer: &mut Value) {
    let Some(layer) = layer.as_table_mut() else { return };
    let Some(Value::String(kind)) = layer.remove("kind") else { return };
    let value = layer.remove("units").unwrap_or(Value::Boolean(true));
    layer.insert(kind, value);
}
