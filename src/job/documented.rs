//! The documentation of all keys, as `jobs/all-keys.toml` and `train --help` have it.

use super::keys::{KEYS, SECTIONS};
use super::table::{Decides, Default, Key, Takes};

/// The text of `jobs/all-keys.toml`: every key with its meaning, its default and what it takes.
pub fn documented() -> String {
    let mut text = String::from(
        "# Every key of a job file with its default. Generated from src/job/keys.rs.\n\
         # Behind a value stands what its key takes. Those marked \"may change\" may be others\n\
         # when a run goes on. data.train is required.\n",
    );
    for section in SECTIONS {
        text += &format!("\n{}[{}]\n", comment(section.meaning), section.name);
        for key in KEYS {
            let Some((of, name)) = key.name.split_once('.') else { continue };
            if of == section.name {
                let value = match key.default {
                    Default::Required => format!("{name} = [\"hdf5-data/train/*.h5\"]"),
                    Default::Always(value) => format!("{name} = {value}"),
                    Default::By(other, default) => {
                        let values = choices_of(other).iter();
                        let values =
                            values.map(|choice| format!("{} for {choice}", default(choice)));
                        format!("# {name} = {}", values.collect::<Vec<_>>().join(", "))
                    }
                };
                text += &format!("{}{value}{}\n", comment(key.meaning), behind(key));
            }
        }
    }
    text
}

/// The choices of a key.
fn choices_of(name: &str) -> &'static [&'static str] {
    match KEYS.iter().find(|key| key.name == name).map(|key| key.takes) {
        Some(Takes::Choice(names)) => names,
        _ => panic!("{name} is a choice"),
    }
}

/// Lines of a meaning as comments.
fn comment(meaning: &str) -> String {
    meaning.lines().map(|line| format!("#{line}\n")).collect()
}

/// What stands behind the value of a key.
fn behind(key: &Key) -> String {
    let unit = match key.name.ends_with(key.unit) {
        // It has none, or says so by its name.
        true => String::new(),
        false => format!("{}, ", key.unit),
    };
    // As errors show it, but for very small ones.
    let short = |number: f64| match number == 0.0 || number >= 1e-3 {
        true => format!("{number}"),
        false => format!("{number:?}"),
    };
    let takes = match key.takes {
        Takes::Integer(least, i64::MAX) => format!("{unit}from {least}"),
        Takes::Integer(least, most) => format!("{unit}{least} to {most}"),
        Takes::Number(least, most) => format!("{unit}{} to {}", short(least), short(most)),
        Takes::ZeroOr(least, most) => format!("{unit}0 or {} to {}", short(least), short(most)),
        Takes::Boolean => "true or false".into(),
        Takes::Choice(names) => names.join(", "),
        Takes::Grid => "auto or rows x columns".into(),
        Takes::Text | Takes::Texts | Takes::Layers => String::new(),
    };
    let change = match key.decides {
        Decides::Result => "",
        Decides::Files | Decides::Execution => "may change",
    };
    match [takes.as_str(), change].map(str::is_empty) {
        [true, true] => String::new(),
        [false, false] => format!("  # {takes}; {change}"),
        _ => format!("  # {takes}{change}"),
    }
}
