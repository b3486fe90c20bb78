//! Columns of csv, or of the like with tabs: a header, then a line a row. Cells are texts; what is
//! wanted as a number is read as one.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::Table;
use crate::fields::{Elements, Field, whole};
use crate::formats::csv::{self, Records};
use crate::formats::wire::Read;
use crate::stint::Counted;

/// What stands for a number that is missing, beside nothing.
const MISSING: [&str; 7] = ["NA", "NaN", "nan", "null", "NULL", "None", "N/A"];

/// Rows of a file.
pub(crate) struct Columns {
    records: Records<'static>,
    header: Vec<String>,
    /// The columns that are asked for.
    picked: Vec<usize>,
    /// The record that was read ahead: the first row of a file without a header.
    ahead: Option<csv::Record>,
    row: csv::Record,
    /// Whether the last row has too few cells or too many, and that alone is wrong.
    goes_on: bool,
}

impl Columns {
    /// Opens the file and reads its header, or names columns c0, c1, ...
    ///
    /// # Errors
    /// A header of numbers alone, or one that has a name twice.
    pub(crate) fn open(path: &Path, header: bool) -> Read<Columns> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut from = BufReader::with_capacity(1 << 18, Counted(file));
        let separator = separator(&mut from)?;
        let mut records = Records::new(from).separated_by(separator);
        let first = records.next().map_err(at_line)?;
        let Some(first) = first else {
            let row = csv::Record { line: 1, fields: Vec::new() };
            return Ok(Columns {
                records,
                header: Vec::new(),
                picked: Vec::new(),
                ahead: None,
                row,
                goes_on: false,
            });
        };
        if !header {
            let header = (0..first.fields.len()).map(|column| format!("c{column}")).collect();
            let row = csv::Record { line: first.line, fields: Vec::new() };
            let (picked, ahead) = (Vec::new(), Some(first));
            return Ok(Columns { records, header, picked, ahead, row, goes_on: false });
        }
        let mut names: Vec<String> = Vec::new();
        for name in &first.fields {
            let name = String::from_utf8_lossy(name).trim().to_string();
            if names.contains(&name) && !name.is_empty() {
                return Err(format!("line {}: found the column {name:?} twice", first.line));
            }
            names.push(name);
        }
        if let [name] = &names[..]
            && name.contains(';')
        {
            let text = "found one column, expected commas or tabs between columns";
            return Err(format!("line {}: {text}, not semicolons", first.line));
        }
        if names.iter().all(|name| name.parse::<f64>().is_ok()) {
            let text = "found a header of numbers, expected names";
            return Err(format!("line {}: {text}; hint: --no-header", first.line));
        }
        let (header, picked, ahead) = (names, Vec::new(), None);
        Ok(Columns { records, header, picked, ahead, row: first, goes_on: false })
    }

    /// The columns that there are.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let field = |name: &String| Field {
            name: name.clone(),
            elements: Elements::Text,
            shape: Vec::new(),
            wrong: None,
        };
        self.header.iter().map(field).collect()
    }

    /// Only these are asked for.
    pub(crate) fn picking(mut self, columns: &[usize]) -> Columns {
        self.picked = columns.to_vec();
        self
    }

    fn cell(&self, field: usize) -> &[u8] {
        &self.row.fields[self.picked[field]]
    }

    fn of_column(&self, field: usize, text: &str) -> String {
        format!("column {:?}: {text}", self.header[self.picked[field]])
    }
}

/// A tab where the first line has tabs and no comma.
fn separator(from: &mut impl BufRead) -> Read<u8> {
    let head = from.fill_buf().map_err(|error| error.to_string())?;
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(if line.contains(&b'\t') && !line.contains(&b',') { b'\t' } else { b',' })
}

fn at_line((line, text): csv::Wrong) -> String {
    format!("line {line}: {text}")
}

impl Table for Columns {
    fn advance(&mut self) -> Read<bool> {
        self.goes_on = false;
        let next = match self.ahead.take() {
            Some(record) => Some(record),
            None => self.records.next().map_err(at_line)?,
        };
        let Some(record) = next else { return Ok(false) };
        let (found, expected) = (record.fields.len(), self.header.len());
        if found != expected {
            self.goes_on = true;
            let line = record.line;
            return Err(format!("line {line}: found {found} cells, expected {expected}"));
        }
        self.row = record;
        Ok(true)
    }

    fn goes_on(&self) -> bool {
        self.goes_on
    }

    fn place(&self) -> String {
        format!("line {}", self.row.line)
    }

    fn reals(&self, field: usize, to: &mut Vec<f32>) -> Read<()> {
        let cell = self.cell(field);
        let text = std::str::from_utf8(cell).unwrap_or("?").trim();
        if text.is_empty() || MISSING.contains(&text) {
            to.push(f32::NAN);
            return Ok(());
        }
        // What begins a number: words such as inf and infinity are none.
        let number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        match text.parse::<f32>() {
            Ok(value) if number && value.is_finite() => {
                to.push(value);
                Ok(())
            }
            _ => {
                let found = format!("found {}, expected a number", csv::shown(cell));
                Err(self.of_column(field, &found))
            }
        }
    }

    fn wholes(&self, field: usize, to: &mut Vec<i128>) -> Read<()> {
        let cell = self.cell(field);
        let text = std::str::from_utf8(cell).unwrap_or("?").trim();
        match whole(text) {
            Some(value) => {
                to.push(value);
                Ok(())
            }
            None => {
                let found = format!("found {}, expected a whole number", csv::shown(cell));
                Err(self.of_column(field, &found))
            }
        }
    }

    fn text(&self, field: usize, to: &mut Vec<u8>) -> Read<()> {
        to.extend_from_slice(self.cell(field));
        Ok(())
    }

    fn bytes(&self, _: usize, _: &mut Vec<u8>) -> Read<()> {
        unreachable!("cells are texts")
    }
}
