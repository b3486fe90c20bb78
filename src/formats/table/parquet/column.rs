//! One column under way: a batch of rows as the crate gives them, levels and values, and where in
//! it the row stands.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::file::metadata::RowGroupMetaData;

use super::guarded;
use super::levels::Entry;
use super::pages::Pages;
use super::schema::Leaf;
use super::values::{self, Values};
use crate::fields::{Elements, real_as_real, real_as_whole, whole_as_real};
use crate::formats::wire::Read;

/// Bytes of a batch of all columns, about, and rows of it at most.
const BATCH_BYTES: u64 = 16 << 20;
const BATCH_ROWS_MAX: u64 = 4096;

/// Rows of a batch, where a row group of so many has so many bytes.
pub(super) fn rows_at_once(rows: u64, bytes: u64) -> usize {
    let row = (bytes / rows).max(1);
    (BATCH_BYTES / row).clamp(1, BATCH_ROWS_MAX) as usize
}

pub(super) struct Column {
    leaf: Leaf,
    /// How long innermost lists have to be, where that is known.
    length: Option<usize>,
    reader: Option<ColumnReader>,
    at_once: usize,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    values: Values,
    /// Rows that are left of the batch.
    left: usize,
    /// The row's levels and values.
    entries: Range<usize>,
    own: Range<usize>,
}

impl Column {
    pub(super) fn new(leaf: Leaf, length: Option<usize>) -> Column {
        let values = Values::of(leaf.descriptor.physical_type());
        let (definitions, repetitions) = (Vec::new(), Vec::new());
        let (at_once, left, entries, own) = (1, 0, 0..0, 0..0);
        Column {
            leaf,
            length,
            reader: None,
            at_once,
            definitions,
            repetitions,
            values,
            left,
            entries,
            own,
        }
    }

    /// Its place among the columns of a row group.
    pub(super) fn number(&self) -> usize {
        self.leaf.number
    }

    fn named(&self, text: String) -> String {
        format!("column {:?}: {text}", self.leaf.field.name)
    }

    /// Begins a row group, of which so many rows are read at once.
    pub(super) fn begin(
        &mut self,
        file: &Arc<File>,
        group: &RowGroupMetaData,
        at_once: usize,
    ) -> Read<()> {
        let (descriptor, number) = (self.leaf.descriptor.clone(), self.leaf.number);
        let reader = guarded(|| {
            let pages = Pages::of(file, group, number)?;
            Ok(get_column_reader(descriptor, Box::new(pages)))
        });
        self.reader = Some(reader.map_err(|text| self.named(text))?);
        (self.at_once, self.left) = (at_once, 0);
        Ok(())
    }

    /// That the row group has no more rows.
    pub(super) fn end(&mut self) -> Read<()> {
        if self.left == 0 {
            self.fill()?;
        }
        match self.left {
            0 => Ok(()),
            _ => Err(self.named("found more rows than its row group has".into())),
        }
    }

    /// Goes to the next row of the row group, which must be there.
    pub(super) fn advance(&mut self) -> Read<()> {
        if self.left == 0 {
            self.fill()?;
        }
        let (lists, deepest) = (self.leaf.levels.lists.len(), self.leaf.levels.deepest);
        let from = self.entries.end;
        let more = match lists {
            0 => Some(0),
            _ => self
                .repetitions
                .get(from + 1..)
                .map(|rest| rest.iter().take_while(|repetition| **repetition > 0).count()),
        };
        let entries = more.map(|more| from..from + 1 + more).filter(|_| self.left > 0);
        let there = entries.and_then(|entries| {
            let values = match deepest {
                0 => entries.len(),
                _ => {
                    let own = self.definitions.get(entries.clone())?;
                    own.iter().filter(|definition| **definition >= deepest).count()
                }
            };
            Some((entries, self.own.end..self.own.end + values))
        });
        match there {
            Some((entries, own)) if own.end <= self.values.len() => {
                (self.entries, self.own) = (entries, own);
                self.left -= 1;
                Ok(())
            }
            _ => Err(self.named("found fewer rows than its row group has".into())),
        }
    }

    /// Passes over so many rows of the row group, of which none has been read.
    pub(super) fn skip(&mut self, rows: u64) -> Read<()> {
        let rows = rows as usize;
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let skipped = guarded(|| values::skip(reader, rows));
        match skipped.map_err(|text| self.named(text))? == rows {
            true => Ok(()),
            false => Err(self.named("found fewer rows than its row group has".into())),
        }
    }

    /// Reads the next batch.
    fn fill(&mut self) -> Read<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        self.definitions.clear();
        self.repetitions.clear();
        (self.entries, self.own) = (0..0, 0..0);
        let (rows, levels) = (self.at_once, (&mut self.definitions, &mut self.repetitions));
        let values = &mut self.values;
        let read = guarded(|| values.read(reader, rows, levels));
        self.left = read.map_err(|text| self.named(text))?;
        Ok(())
    }

    /// How long the row's first innermost list is; none where it has none.
    pub(super) fn length(&self) -> Option<usize> {
        let lists = self.leaf.levels.lists.len() as i16;
        let first = self.entry(self.entries.start);
        if !matches!(first, Entry::Value | Entry::Missing) {
            return None;
        }
        let more = self.repetitions.get(self.entries.start + 1..self.entries.end)?;
        Some(1 + more.iter().take_while(|repetition| **repetition >= lists).count())
    }

    fn entry(&self, at: usize) -> Entry {
        match self.leaf.levels.deepest {
            0 => Entry::Value,
            _ => self.leaf.levels.entry(self.definitions[at]),
        }
    }

    /// Calls `value` with the place of each value of the row, and `missing` with how many are
    /// missing.
    fn each<T>(
        &self,
        to: &mut Vec<T>,
        value: impl Fn(usize) -> Read<T>,
        missing: impl Fn(usize, &mut Vec<T>) -> Read<()>,
    ) -> Read<()> {
        let (lists, begin) = (self.leaf.levels.lists.len(), to.len());
        // Where the innermost list under way began.
        let (mut from, mut place) = (begin, self.own.start);
        for at in self.entries.clone() {
            if lists > 1 && at > self.entries.start && (self.repetitions[at] as usize) < lists {
                self.check_length(to.len() - from)?;
                from = to.len();
            }
            match self.entry(at) {
                Entry::Value => {
                    to.push(value(place)?);
                    place += 1;
                }
                Entry::Missing => missing(1, to)?,
                Entry::MissingList(_) => missing(self.length.unwrap_or(1), to)?,
                Entry::Empty(0) => {}
                Entry::Empty(_) => self.check_length(0)?,
            }
        }
        if lists > 1 && to.len() > begin {
            self.check_length(to.len() - from)?;
        }
        Ok(())
    }

    /// That a list within a list is as long as all of them.
    fn check_length(&self, found: usize) -> Read<()> {
        match self.length {
            Some(expected) if expected != found => {
                let text = format!("found a list of {found} numbers, expected {expected}");
                Err(self.named(text))
            }
            _ => Ok(()),
        }
    }

    /// Whether every value of the row is there, without lists within lists.
    fn is_plain(&self) -> bool {
        self.own.len() == self.entries.len() && self.leaf.levels.lists.len() < 2
    }

    pub(super) fn reals(&self, to: &mut Vec<f32>) -> Read<()> {
        match &self.values {
            Values::Float(values) if self.is_plain() => {
                to.extend_from_slice(&values[self.own.clone()]);
                Ok(())
            }
            _ => self.each(
                to,
                |at| self.real(at),
                |count, to| {
                    to.extend(std::iter::repeat_n(f32::NAN, count));
                    Ok(())
                },
            ),
        }
    }

    fn real(&self, at: usize) -> Read<f32> {
        let real = match &self.values {
            Values::Float(values) => Ok(values[at]),
            Values::Double(values) => real_as_real(values[at]),
            Values::Fixed(_) if self.leaf.field.elements == (Elements::Real { bytes: 2 }) => {
                real_as_real(self.half(at)?)
            }
            _ => whole_as_real(self.whole(at)?),
        };
        real.map_err(|text| self.named(text))
    }

    fn half(&self, at: usize) -> Read<f64> {
        match &self.values {
            Values::Fixed(values) if values[at].data().len() == 2 => {
                let bytes = values[at].data();
                Ok(half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f64())
            }
            _ => Err(self.named("found a float16 of other than two bytes".into())),
        }
    }

    fn whole(&self, at: usize) -> Read<i128> {
        let unsigned = matches!(self.leaf.field.elements, Elements::Whole { signed: false, .. });
        let whole = match &self.values {
            Values::Bool(values) => Ok(i128::from(values[at])),
            Values::Int32(values) if unsigned => Ok(i128::from(values[at] as u32)),
            Values::Int32(values) => Ok(i128::from(values[at])),
            Values::Int64(values) if unsigned => Ok(i128::from(values[at] as u64)),
            Values::Int64(values) => Ok(i128::from(values[at])),
            Values::Float(values) => real_as_whole(f64::from(values[at])),
            Values::Double(values) => real_as_whole(values[at]),
            Values::Fixed(_) if self.leaf.field.elements == (Elements::Real { bytes: 2 }) => {
                real_as_whole(self.half(at)?)
            }
            Values::Bytes(_) | Values::Fixed(_) => Err("found a text, expected numbers".into()),
        };
        whole.map_err(|text| self.named(text))
    }

    /// A number that is missing is none at all, one within a list is an error.
    pub(super) fn wholes(&self, to: &mut Vec<i128>) -> Read<()> {
        self.each(to, |at| self.whole(at), |_, _| self.nothing())
    }

    /// What is missing where no list is: nothing.
    fn nothing(&self) -> Read<()> {
        let first = self.entry(self.entries.start);
        let whole = self.leaf.levels.lists.is_empty() || first == Entry::MissingList(0);
        match whole {
            true => Ok(()),
            false => Err(self.named("found nothing among the elements of a list".into())),
        }
    }

    pub(super) fn text(&self, to: &mut Vec<u8>) -> Read<()> {
        if !self.leaf.levels.lists.is_empty() {
            return Err(self.named("found a list, expected a text or a number".into()));
        }
        let mut texts = Vec::new();
        self.texts(&mut texts)?;
        to.extend(texts.concat());
        Ok(())
    }

    pub(super) fn texts(&self, to: &mut Vec<Vec<u8>>) -> Read<()> {
        let text = |at: usize| match &self.values {
            Values::Bytes(values) => Ok(values[at].data().to_vec()),
            Values::Fixed(values) if self.leaf.field.elements == Elements::Text => {
                Ok(values[at].data().to_vec())
            }
            Values::Float(_) | Values::Double(_) | Values::Fixed(_) => {
                let name = self.leaf.field.elements.name();
                Err(self.named(format!("found {name}, expected texts or whole numbers")))
            }
            _ => Ok(self.whole(at)?.to_string().into_bytes()),
        };
        self.each(to, text, |_, _| self.nothing())
    }

    pub(super) fn bytes(&self, to: &mut Vec<u8>) -> Read<()> {
        let byte = |at: usize| match u8::try_from(self.whole(at)?) {
            Ok(byte) => Ok(byte),
            Err(_) => Err(self.named(format!("found {}, expected a byte", self.whole(at)?))),
        };
        let missing = |_, _: &mut Vec<u8>| {
            Err(self.named("found nothing among bytes, which --missing can't fill".into()))
        };
        self.each(to, byte, missing)
    }
}
