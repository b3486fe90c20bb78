//! Jobs that earlier versions have recorded, as job files: they had the fields of the checked job,
//! not the keys of a job file. Values keep their places, which errors name.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Makes of such a record a job file; one of this version stays as it is.
pub(crate) fn as_job_file(record: &mut DeTable) {
    if let Some(data) = section(record, "data") {
        validation(data);
    }
    if let Some(model) = section(record, "model") {
        if let Some(DeValue::Boolean(frequency)) =
            model.get("frequency_biases").map(Spanned::get_ref)
        {
            let name = if *frequency { "frequency" } else { "zero" };
            rename(model, "frequency_biases", "initial_biases");
            let value = model.get_mut("initial_biases").expect("it has just got this name");
            *value.get_mut() = DeValue::String(name.into());
        }
        for name in ["shared", "frames"] {
            if let Some(DeValue::Array(layers)) = model.get_mut(name).map(Spanned::get_mut) {
                layers.iter_mut().for_each(layer);
            }
        }
    }
}

fn section<'a, 'i>(record: &'a mut DeTable<'i>, name: &str) -> Option<&'a mut DeTable<'i>> {
    match record.get_mut(name)?.get_mut() {
        DeValue::Table(section) => Some(section),
        _ => None,
    }
}

/// Gives the value of a key another name.
fn rename(table: &mut DeTable, from: &str, to: &'static str) {
    if let Some((key, value)) = table.remove_entry(from) {
        table.insert(Spanned::new(key.span(), Cow::Borrowed(to)), value);
    }
}

/// `validation` was `"none"`, `{ globs = [...] }` or `{ fraction = ... }`.
fn validation(data: &mut DeTable) {
    let Some((key, mut value)) = data.remove_entry("validation") else { return };
    let mut insert = |name: Cow<'static, str>, value| {
        data.insert(Spanned::new(key.span(), name), value);
    };
    match value.get_mut() {
        DeValue::String(none) if none == "none" => {}
        DeValue::Table(one) => match (one.remove("fraction"), one.remove("globs")) {
            (Some(fraction), _) => insert("validation_fraction".into(), fraction),
            (None, Some(globs)) => insert("validation".into(), globs),
            (None, None) => insert("validation".into(), value),
        },
        _ => insert("validation".into(), value),
    }
}

/// A layer was `{ kind = "dense", units = ..., activation = ... }` or `{ kind = "gating" }`.
fn layer(layer: &mut Spanned<DeValue>) {
    let DeValue::Table(table) = layer.get_mut() else { return };
    let Some(DeValue::String(kind)) = table.get("kind").map(Spanned::get_ref) else { return };
    let name = kind.to_string();
    let Some((key, kind)) = table.remove_entry("kind") else { return };
    let value = table.remove("units").unwrap_or(Spanned::new(kind.span(), DeValue::Boolean(true)));
    table.insert(Spanned::new(key.span(), Cow::Owned(name)), value);
}
