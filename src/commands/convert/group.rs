//! One group of files on its way into shards.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::done::{Done, First, mixed};
use super::groups::{Group, Size};
use super::losses::{Loss, too_large};
use super::records::FirstFrames;
use super::storage::Given;
use super::{Args, Format, Tables};
use crate::commands::new_set::NewSet;
use crate::data::{Kind, ShardHeader, ShardWriter};
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::example::{Example, Values};
use crate::fields::stem;
use crate::formats::table::Table;
use crate::formats::tf_example::Wanted;
use crate::formats::{svmlight, tf_example, tfrecord};
use crate::limits::check_id;
use crate::model::features::FRAMES_MAX;
use crate::names::Names;
use crate::progress::{CallGuard, tick};
use crate::stint::Stint;

/// What is known of all files before rows are made of them.
pub(super) struct Known {
    pub(super) tables: Option<Tables>,
    /// Of TFRecords.
    pub(super) first_frames: Option<FirstFrames>,
    /// What numbers are stored as.
    pub(super) encoding: Encoding,
}

/// Where rows of a side go.
#[derive(Default)]
pub(crate) struct SideWriter {
    writer: Option<ShardWriter>,
    /// Shards so far.
    written: usize,
}

/// How far files have come, as a user sees it.
pub(super) struct Told<'a> {
    pub(super) stint: &'a Stint,
    /// Of all files.
    pub(super) sizes: &'a [Size],
    /// Bytes before the file, or the run of rows, under way.
    pub(super) passed: u64,
}

impl Told<'_> {
    /// So many rows of a table, whose rows are read from anywhere in it, have passed.
    fn rows(&self, file: usize, rows: u64) {
        self.stint.reach(self.passed + self.sizes[file].of_rows(rows));
    }
}

/// One group of files on its way into shards.
pub(crate) struct FileGroup<'a, 'b> {
    pub(crate) args: &'a Args,
    pub(super) known: &'a Known,
    pub(crate) paths: &'a [PathBuf],
    pub(crate) group: usize,
    pub(crate) header: ShardHeader,
    pub(crate) names: Option<Arc<Names>>,
    pub(crate) set: &'a mut NewSet<'b>,
    pub(crate) done: &'a mut Done,
    /// One for each side; one where rows aren't split.
    pub(crate) writers: Vec<SideWriter>,
    pub(super) told: Told<'a>,
}

impl FileGroup<'_, '_> {
    pub(crate) fn convert(mut self, group: &Group) -> Result<()> {
        let matched = self.matched();
        for file in group.files.clone() {
            let _converting = CallGuard::on("converting", &self.paths[file]);
            // Of a file that is cut the first run counts it.
            if group.rows.as_ref().is_none_or(|rows| rows.start == 0) {
                self.done.counts.files += 1;
                self.done.counts.bytes +=
                    std::fs::metadata(&self.paths[file]).map_or(0, |data| data.len());
            }
            let before = (self.done.counts.rows, self.done.damaged.len());
            let converted = match self.args.from {
                Format::Tfrecord => self.tfrecord(file),
                Format::Svmlight => self.svmlight(file),
                _ => self.table(file, group.rows.clone()),
            };
            converted.or_else(|error| self.pass(error))?;
            if group.rows.is_none() {
                self.told.passed += self.told.sizes[file].bytes;
                self.told.stint.reach(self.told.passed);
            }
            let after = (self.done.counts.rows, self.done.damaged.len());
            if after == before && group.rows.is_none() {
                self.done.empty_files.push(file as u64);
            }
        }
        self.done.matched += self.matched() - matched;
        self.writers.into_iter().filter_map(|side| side.writer).try_for_each(ShardWriter::finish)
    }

    /// Lines of the file of labels that this rank's rows have had so far.
    fn matched(&self) -> u64 {
        self.known.tables.as_ref().map_or(0, Tables::matched)
    }

    /// Passes over what is damaged, where that is asked for.
    fn pass(&mut self, error: Error) -> Result<()> {
        self.args.damaged.pass(error, &mut self.done.damaged)
    }

    fn wrong(&self, file: usize, record: u64, text: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: record {record}: {text}", self.paths[file].display()))
    }

    fn tfrecord(&mut self, file: usize) -> Result<()> {
        let mut records = tfrecord::Records::open(&self.paths[file])?;
        let parts = self.header.parts.clone();
        let wanted = self.args.records.wanted(&parts, self.header.class_count);
        loop {
            let record = records.record();
            let converted = match records.next() {
                Ok(None) => return Ok(()),
                Ok(Some(data)) => self.record((file, record), data, &wanted),
                Err(error) => {
                    if !records.goes_on() {
                        return Err(error);
                    }
                    Err(error)
                }
            };
            converted.or_else(|error| self.pass(error))?;
        }
    }

    fn record(&mut self, (file, record): (usize, u64), data: &[u8], wanted: &Wanted) -> Result<()> {
        let parsed = tf_example::parse(data, wanted);
        let parsed = parsed.map_err(|text| self.wrong(file, record, text))?;
        if self.done.first.is_none() {
            let keys = tf_example::keys(data).map_err(|text| self.wrong(file, record, text))?;
            let kind = kind_of(&parsed.example);
            self.done.first = Some(First { kind, file, record, keys });
        }
        self.done.counts.repeated_labels += parsed.repeated_labels as u64;
        self.done.counts.notes.add(&parsed.notes);
        if !wanted.segments {
            self.push((file, record), &parsed.example, &parsed.example.id)?;
        }
        for segment in &parsed.segments {
            let row = segment.row(&parsed.example, self.header.width());
            // A video's segments are much alike: all go to one side.
            self.push((file, record), &row, &parsed.example.id)?;
        }
        Ok(())
    }

    fn svmlight(&mut self, file: usize) -> Result<()> {
        let layout = self.args.text.layout(self.header.width(), self.header.class_count);
        let mut rows = svmlight::Rows::open(&self.paths[file], layout)?;
        let mut row = 0;
        let outcome = loop {
            let converted = match rows.next() {
                Ok(None) => break Ok(()),
                Ok(Some(example)) => {
                    self.first_is(Kind::Video, file, row);
                    self.push((file, row), &example, &example.id)
                }
                Err(error) if rows.goes_on() => Err(error),
                Err(error) => break Err(error),
            };
            converted.or_else(|error| self.pass(error))?;
            row += 1;
        };
        self.done.counts.repeated_labels += rows.repeated_labels as u64;
        outcome
    }

    fn table(&mut self, file: usize, rows: Option<Range<u64>>) -> Result<()> {
        let (known, path) = (self.known, &self.paths[file]);
        let tables = known.tables.as_ref().expect("a table");
        let first = rows.as_ref().map_or(0, |rows| rows.start);
        let (stem, mut row, is_run) = (stem(path), first, rows.is_some());
        let mut table = tables.open(path, rows)?;
        let wrong = |text: String| Error::input(format!("{}: {text}", path.display()));
        loop {
            let converted = match table.advance() {
                Ok(false) => return Ok(()),
                Ok(true) => self.table_row((file, row), table.row(), &stem),
                Err(text) if table.row().goes_on() => Err(wrong(text)),
                Err(text) => return Err(wrong(text)),
            };
            converted.or_else(|error| self.pass(error))?;
            row += 1;
            if is_run {
                self.told.rows(file, row - first);
            }
        }
    }

    fn table_row(
        &mut self,
        (file, row): (usize, u64),
        table: &dyn Table,
        stem: &str,
    ) -> Result<()> {
        let tables = self.known.tables.as_ref().expect("a table");
        self.first_is(tables.kind(), file, row);
        let made = tables.row(table, (stem, row), &mut self.done.counts.tables);
        let made = made.map_err(|text| {
            let (path, place) = (self.paths[file].display(), table.place());
            Error::input(format!("{path}: {place}: {text}"))
        });
        let Some((example, repeated)) = made? else { return Ok(()) };
        self.done.counts.repeated_labels += repeated as u64;
        self.push((file, row), &example, &example.id)
    }

    /// Takes note of a record without keys, where it is the first.
    fn first_is(&mut self, kind: Kind, file: usize, record: u64) {
        let first = || First { kind, file, record, keys: String::new() };
        self.done.first.get_or_insert_with(first);
    }

    /// Writes a row, to the side that rows of `key` go to.
    fn push(&mut self, (file, record): (usize, u64), example: &Example, key: &[u8]) -> Result<()> {
        check_id(&example.id).map_err(|text| self.wrong(file, record, text))?;
        let (kind, first) = (kind_of(example), self.done.first.as_ref().expect("noted"));
        if kind != first.kind {
            let found = First { kind, file, record, keys: String::new() };
            return Err(mixed(&found, first, self.paths));
        }
        self.check_frames((file, record), &example.values)?;
        let numbers = example.values.numbers().unwrap_or_default();
        if let Some((at, found)) = too_large(&self.known.encoding, numbers) {
            let text = format!("found {found} at feature {at}, which 16-bit floats can't hold");
            return Err(self.wrong(file, record, text).hint("--dtype f32, or u8"));
        }
        self.header.kind = kind;
        let side = match key {
            // Rows without ids would all go to one.
            [] => self.args.split.side(format!("{}-{record}", stem(&self.paths[file])).as_bytes()),
            key => self.args.split.side(key),
        };
        self.room(side)?;
        self.count((file, record), side, example);
        tick();
        self.writers[side].writer.as_mut().expect("just made").push(example)
    }

    /// Begins the next shard of a side that has none under way with room for a row.
    fn room(&mut self, side: usize) -> Result<()> {
        let SideWriter { writer, written } = &mut self.writers[side];
        if writer.as_ref().is_some_and(|shard| shard.rows() as u64 == self.args.rows_per_shard) {
            writer.take().map_or(Ok(()), ShardWriter::finish)?;
        }
        if writer.is_none() {
            let name = format!("shard-{:05}-{written:04}.h5", self.group);
            let path = self.set.add(match self.args.split.names().get(side) {
                Some(folder) => format!("{folder}/{name}"),
                None => name,
            });
            let encoding = self.known.encoding.clone();
            let created = ShardWriter::create_encoded(&path, &self.header, encoding)?;
            *writer = Some(created.named(self.names.clone()));
            *written += 1;
            self.done.counts.shards += 1;
            if let Some(side) = self.done.sides.get_mut(side) {
                side.shards += 1;
            }
        }
        Ok(())
    }

    /// # Errors
    /// Exit 4: a record of another kind than the first of all, or with frames of bytes where those
    /// are floats, or the other way round.
    fn check_frames(&self, (file, record): (usize, u64), values: &Values) -> Result<()> {
        let (Some(first), Some(found)) = (self.known.first_frames, Given::of_record(values)) else {
            return Ok(());
        };
        let place = |file, record, given: Given| First {
            kind: if given.frames { Kind::Frames } else { Kind::Video },
            file,
            record,
            keys: String::new(),
        };
        if found.frames != first.given.frames {
            let first = place(first.file, first.record, first.given);
            return Err(mixed(&place(file, record, found), &first, self.paths));
        }
        if found.bytes == first.given.bytes {
            return Ok(());
        }
        let kind = |given: Given| if given.bytes { "bytes" } else { "floats" };
        let (found, expected) = (kind(found), kind(first.given));
        let (path, number) = (self.paths[first.file].display(), first.record);
        let text =
            format!("found frames of {found}, expected {expected} as in {path}: record {number}");
        Err(self.wrong(file, record, text))
    }

    fn count(&mut self, (file, record): (usize, u64), side: usize, example: &Example) {
        if let Some(side) = self.done.sides.get_mut(side) {
            side.rows += 1;
            side.labels += example.labels.len() as u64;
        }
        let counts = &mut self.done.counts;
        counts.rows += 1;
        counts.labels += example.labels.len() as u64;
        counts.unlabelled += u64::from(example.labels.is_empty());
        counts.empty_ids += u64::from(example.id.is_empty());
        if let Some(frames) = example.values.frames(self.header.width()) {
            counts.frames += frames as u64;
            counts.long += u64::from(frames > FRAMES_MAX);
        }
        if let Some(numbers) = example.values.numbers() {
            let (losses, parts) = (&mut self.done.losses, &self.header.parts);
            Loss::add(losses, parts, &self.known.encoding, numbers);
        }
        example.labels.iter().for_each(|label| self.done.class_sizes[*label as usize] += 1);
        self.done.ids.push([hash(&example.id), file as u64, record]);
    }
}

fn kind_of(example: &Example) -> Kind {
    match example.values {
        Values::Video(_) => Kind::Video,
        Values::Frames(_) | Values::FrameNumbers(_) => Kind::Frames,
    }
}

/// FNV-1a, 64 bits: only for finding ids that may be equal.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
