//! A job file as written: which key stands where with which value. Only what single keys take is
//! checked here; how they fit together is for `check`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::earlier;
use super::keys::{KEYS, SECTIONS};
use super::layers::layer;
use super::table::{Key, Takes};
use super::value::Value;
use crate::partition::Grid;

/// Values by key, each with the place that errors about it name.
#[derive(Clone, Default)]
pub(crate) struct JobFile {
    pub(crate) values: BTreeMap<&'static str, (Value, String)>,
    /// Keys whose values are wrong: nothing can be said of what they would fit together with.
    pub(crate) faulty: BTreeSet<&'static str>,
    /// Whether a text could not be read at all: what it has and lacks isn't known.
    pub(crate) torn: bool,
}

/// Turns a line and a column into the place that an error names.
type PlaceOf<'a> = &'a dyn Fn(usize, usize) -> String;

impl JobFile {
    /// Takes in all of `text`; what is wrong with it is added to `errors`.
    pub(crate) fn read(&mut self, text: &str, place: PlaceOf, errors: &mut Vec<String>) {
        let at = |span: Range<usize>| {
            let before = &text[..span.start];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            place(line, column)
        };
        let mut table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                self.torn = true;
                let message = error.message().replace('\n', " ");
                errors.push(format!("{}: {message}", at(error.span().unwrap_or(0..0))));
                return;
            }
        };
        earlier::as_job_file(&mut table);
        for (section, content) in &table {
            let sections = SECTIONS.iter().map(|section| section.name);
            if !sections.clone().any(|known| known == section.get_ref().as_ref()) {
                let hint = nearest(section.get_ref(), sections);
                errors.push(format!(
                    "{}: {}: unknown section{hint}",
                    at(section.span()),
                    section.get_ref()
                ));
                continue;
            }
            let Some(keys) = content.get_ref().as_table() else {
                let found = content.get_ref().type_str();
                let name = section.get_ref();
                errors.push(format!(
                    "{}: {name}: found {found}, expected a section",
                    at(section.span())
                ));
                continue;
            };
            for (name, value) in keys {
                let full = format!("{}.{}", section.get_ref(), name.get_ref());
                let Some(key) = KEYS.iter().find(|key| key.name == full) else {
                    let hint = nearest_key(section.get_ref(), name.get_ref());
                    errors.push(format!("{}: {full}: unknown key{hint}", at(name.span())));
                    continue;
                };
                match take(key, value) {
                    Ok(value) => {
                        self.values.insert(key.name, (value, at(name.span())));
                    }
                    Err((span, text)) => {
                        self.faulty.insert(key.name);
                        errors.push(format!("{}: {full}: {text}", at(span)));
                    }
                }
            }
        }
    }

    /// Takes in `section.key=value` of the command line. A value that isn't TOML is a text.
    pub(crate) fn set(&mut self, assignment: &str, errors: &mut Vec<String>) {
        let place = format!("--set {assignment}");
        let Some((name, value)) = assignment.split_once('=') else {
            errors.push(format!("{place}: expected section.key=value"));
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        let Some((section, key)) = name.split_once('.').filter(|_| is_plain(name)) else {
            errors.push(format!("{place}: found {name:?}, expected section.key"));
            return;
        };
        let whole = |value: &str| format!("[{section}]\n{key} = {value}");
        let text = match DeTable::parse(&whole(value)) {
            Ok(table) if is_one_value(table.get_ref()) => whole(value),
            // A value with a line break could go on with other keys.
            _ => whole(&toml::Value::from(value).to_string()),
        };
        self.read(&text, &|_, _| place.clone(), errors);
    }
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Whether there is one section, of one key.
fn is_one_value(table: &DeTable) -> bool {
    let keys = |section: &Spanned<DeValue>| section.get_ref().as_table().map(|keys| keys.len());
    table.len() == 1 && table.values().all(|section| keys(section) == Some(1))
}

/// How many letters must change to make `known` of `found`, if those are few of them.
fn distance(found: &str, known: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(found, known);
    let longest = found.chars().count().max(known.chars().count());
    (distance <= 1 || 2 * distance < longest).then_some(distance)
}

/// `; hint: did you mean ...?`, if something is near.
pub(crate) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    hint(known.filter_map(|known| Some((distance(found, known)?, known))).min())
}

/// The same of a key: one of its section, or of another.
fn nearest_key(section: &str, name: &str) -> String {
    let known = KEYS.iter().filter_map(|key| {
        let (other, known) = key.name.split_once('.')?;
        let apart = if other == section { 0 } else { distance(section, other).unwrap_or(9) };
        let elsewhere = apart > 0 && name != known;
        let distance = if elsewhere { None } else { distance(name, known) };
        Some((distance? + apart, key.name))
    });
    hint(known.min())
}

fn hint(near: Option<(usize, &str)>) -> String {
    near.map_or(String::new(), |(_, known)| format!("; hint: did you mean {known}?"))
}

/// What is wrong, and where in the text.
pub(crate) type Wrong = (Range<usize>, String);

/// The value of `key`, if it is what the key takes.
fn take(key: &Key, value: &Spanned<DeValue>) -> Result<Value, Wrong> {
    let wrong = |expected: String| {
        Err((value.span(), format!("found {}, expected {expected}", shown(value.get_ref()))))
    };
    match key.takes {
        Takes::Integer(least, most) => match integer(value.get_ref()) {
            Some(number) if (least..=most).contains(&number) => Ok(Value::Integer(number)),
            _ => wrong(format!("a whole number from {least} to {most}")),
        },
        Takes::Number(least, most) => match number(value.get_ref()) {
            Some(number) if (least..=most).contains(&number) => Ok(Value::Number(number)),
            _ => wrong(format!("a number from {least} to {most}")),
        },
        Takes::ZeroOr(least, most) => match number(value.get_ref()) {
            Some(number) if number == 0.0 || (least..=most).contains(&number) => {
                Ok(Value::Number(number))
            }
            _ => wrong(format!("0 or a number from {least} to {most}")),
        },
        Takes::Boolean => match value.get_ref().as_bool() {
            Some(flag) => Ok(Value::Boolean(flag)),
            None => wrong("true or false".into()),
        },
        Takes::Choice(choices) => match value.get_ref().as_str() {
            Some(text) if choices.contains(&text) => Ok(Value::Text(text.into())),
            _ => wrong(format!("one of {}", choices.join(", "))),
        },
        Takes::Text => match value.get_ref().as_str() {
            Some(text) => Ok(Value::Text(text.into())),
            None => wrong("a text".into()),
        },
        Takes::Grid => match value.get_ref().as_str() {
            Some(text) if Grid::named(text).is_ok() => Ok(Value::Text(text.into())),
            _ => wrong("auto or rows x columns such as \"2x4\"".into()),
        },
        Takes::Texts => {
            let texts = value.get_ref().as_array().and_then(|array| {
                array.iter().map(|text| text.get_ref().as_str().map(String::from)).collect()
            });
            match texts {
                Some(texts) => Ok(Value::Texts(texts)),
                None => wrong("a list of texts such as [\"hdf5-data/*.h5\"]".into()),
            }
        }
        Takes::Layers => match value.get_ref().as_array() {
            Some(array) => Ok(Value::Layers(array.iter().map(layer).collect::<Result<_, _>>()?)),
            None => wrong("a list of layers such as [{ dense = 1024 }]".into()),
        },
    }
}

/// A whole number, if the value is one that fits.
pub(crate) fn integer(value: &DeValue) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// -0 is 0: nothing is meant by its sign, which would make another model of the same job.
fn number(value: &DeValue) -> Option<f64> {
    let number = match value.as_float() {
        Some(float) => float.as_str().parse().ok()?,
        None => integer(value)? as f64,
    };
    Some(number + 0.0).filter(|number: &f64| number.is_finite())
}

/// A value as an error shows it.
pub(crate) fn shown(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        other => format!("a value of type {}", other.type_str()),
    }
}
