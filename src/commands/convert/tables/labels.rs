//! Labels of rows of tables: a truth value for each class, lists of classes, texts, or a file that
//! names rows by their ids.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::fields::whole;
use crate::formats::class_names::ClassNames;
use crate::formats::csv::{self, Records};
use crate::formats::table::Table;

type Read<T> = Result<T, String>;

/// What the cells of labels are.
pub(super) enum Form {
    /// Rows have no labels.
    None,
    /// 0 or 1 for each class.
    MultiHot,
    /// Classes by number; those that are -1 only pad.
    List,
    /// Classes by number or name, in one text or several.
    Text,
    File(LabelFile),
}

/// How to read labels.
pub(super) struct Labels {
    pub(super) form: Form,
    /// Places among the picked fields.
    pub(super) fields: std::ops::Range<usize>,
    pub(super) spelling: Spelling,
}

/// How labels are written, and how many classes there are.
pub(super) struct Spelling {
    pub(super) names: Option<ClassNames>,
    pub(super) one_based: bool,
    pub(super) classes: usize,
}

impl Labels {
    /// The labels of the row that stands in `table` and has this id, ascending and distinct, and
    /// how many stood there twice.
    pub(super) fn of(&self, table: &dyn Table, id: &[u8]) -> Read<(Vec<u32>, usize)> {
        let mut labels = Vec::new();
        match &self.form {
            Form::None => {}
            Form::MultiHot => {
                let mut values = Vec::new();
                self.wholes(table, &mut values)?;
                let (found, classes) = (values.len(), self.spelling.classes);
                if found != classes {
                    let text = format!("found {found} numbers, expected one for each class");
                    let hint = "hint: --labels-as list";
                    return Err(format!("labels: {text}, {classes}; {hint}"));
                }
                let padded = values.contains(&-1);
                for (class, value) in (0..).zip(&values) {
                    match value {
                        0 => {}
                        1 => labels.push(class),
                        _ => {
                            let hint = match padded {
                                true => "; hint: --labels-as list",
                                false => "",
                            };
                            return Err(format!(
                                "labels: found {value} for class {class}, expected 0 or 1{hint}"
                            ));
                        }
                    }
                }
            }
            Form::List => {
                let mut values = Vec::new();
                self.wholes(table, &mut values)?;
                let listed = values.len();
                if listed > 1 {
                    values.retain(|value| *value != -1);
                }
                // Two equal classes among zeros and ones: these are no classes.
                let flags = listed > 2 && values.iter().all(|value| (0..=1).contains(value));
                if flags && values.len() == listed {
                    let text = "found only 0 and 1 among the classes of a row";
                    return Err(format!("labels: {text}; hint: --labels-as multi-hot"));
                }
                for value in values {
                    labels.push(self.spelling.number(value)?);
                }
            }
            Form::Text => {
                let mut texts = Vec::new();
                for field in self.fields.clone() {
                    table.texts(field, &mut texts).map_err(|text| format!("labels: {text}"))?;
                }
                for text in texts {
                    self.spelling.parse(&text, &mut labels)?;
                }
            }
            Form::File(file) => labels.extend(file.of(id)?),
        }
        Ok(distinct(labels))
    }

    fn wholes(&self, table: &dyn Table, to: &mut Vec<i128>) -> Read<()> {
        let mut fields = self.fields.clone();
        let read = fields.try_for_each(|field| table.wholes(field, to));
        read.map_err(|text| format!("labels: {text}"))
    }

    /// Lines of the file of labels, and how many of them rows of this rank have had.
    pub(super) fn lines(&self) -> Option<(u64, u64)> {
        match &self.form {
            Form::File(file) => Some((file.lines.len() as u64, file.matched.get())),
            _ => None,
        }
    }
}

fn distinct(mut labels: Vec<u32>) -> (Vec<u32>, usize) {
    let found = labels.len();
    labels.sort_unstable();
    labels.dedup();
    let repeated = found - labels.len();
    (labels, repeated)
}

impl Spelling {
    /// The class that has this number.
    fn number(&self, value: i128) -> Read<u32> {
        let first = i128::from(self.one_based);
        let class =
            u32::try_from(value - first).ok().filter(|class| (*class as usize) < self.classes);
        class.ok_or_else(|| {
            let last = self.classes as i128 - 1 + first;
            let hint = match value == self.classes as i128 && !self.one_based {
                true => "; hint: --one-based",
                false => "",
            };
            format!("labels: found the class {value}, expected {first} to {last}{hint}")
        })
    }

    /// Appends the classes that a text lists: a name, names between semicolons or commas, numbers
    /// between any of these, bars and spaces.
    pub(super) fn parse(&self, text: &[u8], to: &mut Vec<u32>) -> Read<()> {
        let text = text.trim_ascii();
        let text = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(text);
        if text.is_empty() {
            return Ok(());
        }
        if let Some(names) = &self.names {
            if let Ok(class) = names.class(text) {
                to.push(class);
                return Ok(());
            }
            let separator = if text.contains(&b';') { b';' } else { b',' };
            for name in text.split(|byte| *byte == separator).map(<[u8]>::trim_ascii) {
                match names.class(name) {
                    Ok(class) => to.push(class),
                    Err(wrong) if names.has_numbers() => return Err(format!("labels: {wrong}")),
                    Err(wrong) => match number(name) {
                        Some(value) => to.push(self.number(value)?),
                        None => return Err(format!("labels: {wrong}")),
                    },
                }
            }
            return Ok(());
        }
        let between = |byte: &u8| matches!(byte, b';' | b',' | b'|' | b' ');
        for word in text.split(between).filter(|word| !word.is_empty()) {
            let value = number(word).ok_or_else(|| {
                let shown = csv::shown(word);
                format!("labels: found {shown}, expected classes by number; hint: --names FILE")
            })?;
            to.push(self.number(value)?);
        }
        Ok(())
    }
}

/// Whether a cell is the name of a column of ids.
fn names_ids(cell: &[u8]) -> bool {
    let name = String::from_utf8_lossy(cell).to_lowercase();
    ["id", "name", "video", "file", "clip", "key"].iter().any(|part| name.contains(part))
}

fn number(word: &[u8]) -> Option<i128> {
    std::str::from_utf8(word).ok().and_then(whole)
}

/// Labels by id.
pub(super) struct LabelFile {
    lines: HashMap<Vec<u8>, (Vec<u32>, Cell<bool>)>,
    /// How many of them were asked for.
    matched: Cell<u64>,
    /// Whether rows without a line are rows without labels.
    unlabelled: bool,
}

impl LabelFile {
    /// Reads a csv of an id and its labels a line, in one cell or many; lines of one id add up. A
    /// first line whose labels can't be read is a header, if its first cell names ids.
    pub(super) fn read(path: &Path, spelling: &Spelling, unlabelled: bool) -> Read<LabelFile> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut records = Records::new(BufReader::new(file));
        let mut lines: HashMap<Vec<u8>, (Vec<u32>, Cell<bool>)> = HashMap::new();
        let mut first = true;
        while let Some(record) =
            records.next().map_err(|(line, text)| format!("line {line}: {text}"))?
        {
            let [id, cells @ ..] = &record.fields[..] else { unreachable!("a record has a field") };
            if cells.is_empty() && !first {
                return Err(format!(
                    "line {}: found one cell, expected an id and labels",
                    record.line
                ));
            }
            let mut labels = Vec::new();
            let parsed = cells.iter().try_for_each(|cell| spelling.parse(cell, &mut labels));
            let header = first && names_ids(id);
            first = false;
            match parsed {
                Err(_) if header => {
                    let shown: Vec<_> =
                        record.fields.iter().map(|field| csv::shown(field)).collect();
                    log::info!("{}: its header is {}", path.display(), shown.join(","));
                    continue;
                }
                Err(text) => return Err(format!("line {}: {text}", record.line)),
                Ok(()) => {}
            }
            if cells.len() > 2 && cells.iter().all(|cell| matches!(&cell[..], b"0" | b"1")) {
                let text = "found only 0 and 1 behind an id, expected its classes";
                return Err(format!("line {}: {text}", record.line));
            }
            lines.entry(id.clone()).or_default().0.extend(labels);
        }
        Ok(LabelFile { lines, matched: Cell::new(0), unlabelled })
    }

    fn of(&self, id: &[u8]) -> Read<&[u32]> {
        match self.lines.get(id) {
            Some((labels, asked)) => {
                self.matched.set(self.matched.get() + u64::from(!asked.replace(true)));
                Ok(labels)
            }
            None if self.unlabelled => Ok(&[]),
            None => {
                let other = self.lines.keys().min().map_or("none".into(), |id| csv::shown(id));
                Err(format!(
                    "labels: found no line of the id {}, but of {other}; hint: --unlabelled keeps \
                     such rows without labels",
                    csv::shown(id)
                ))
            }
        }
    }
}
