//! One group of files on its way into shards, and what a rank counts of all its groups.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::losses::{Loss, too_large};
use super::records::FirstFrames;
use super::{Args, Format, TableNotes, Tables};
use crate::commands::new_set::NewSet;
use crate::data::{Kind, ShardHeader, ShardWriter};
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::example::{Example, Values};
use crate::fields::stem;
use crate::formats::table::Table;
use crate::formats::tf_example::{Notes, Wanted};
use crate::formats::{svmlight, tf_example, tfrecord};
use crate::limits::check_id;
use crate::model::features::FRAMES_MAX;
use crate::names::Names;
use crate::progress::{CallGuard, tick};

/// What was converted, in numbers that add up over ranks.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Counts {
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) labels: u64,
    pub(crate) unlabelled: u64,
    pub(crate) frames: u64,
    /// Videos of more frames than count.
    pub(crate) long: u64,
    pub(crate) repeated_labels: u64,
    pub(crate) empty_ids: u64,
    pub(crate) bytes: u64,
    pub(crate) shards: u64,
    pub(crate) notes: Notes,
    pub(crate) tables: TableNotes,
}

/// An id's hash and where it stood: file and record.
pub(crate) type IdPlace = [u64; 3];

/// The first record of a rank.
#[derive(Clone)]
pub(crate) struct First {
    pub(crate) kind: Kind,
    pub(crate) file: usize,
    pub(crate) record: u64,
    /// What keys it has, for people; empty in formats without keys.
    pub(crate) keys: String,
}

/// What one rank has done.
pub(crate) struct Done {
    pub(crate) counts: Counts,
    pub(crate) class_sizes: Vec<u64>,
    pub(crate) ids: Vec<IdPlace>,
    pub(crate) first: Option<First>,
    /// Files without any record.
    pub(crate) empty_files: Vec<u64>,
    /// What is wrong with what was left out.
    pub(crate) damaged: Vec<String>,
    /// Lines of the file of labels that belong to rows.
    pub(crate) matched: u64,
    /// Of each part.
    pub(super) losses: Vec<Loss>,
}

impl Done {
    pub(crate) fn nothing(classes: usize, parts: usize) -> Done {
        let (counts, class_sizes) = (Counts::default(), vec![0; classes]);
        Done {
            counts,
            class_sizes,
            ids: Vec::new(),
            first: None,
            empty_files: Vec::new(),
            damaged: Vec::new(),
            matched: 0,
            losses: vec![Loss::default(); parts],
        }
    }

    /// Adds what was done of another group.
    ///
    /// # Errors
    /// Exit 4: its rows are of another kind.
    pub(super) fn add(&mut self, other: Done, paths: &[PathBuf]) -> Result<()> {
        let firsts = [self.first.take(), other.first];
        self.first =
            firsts.iter().flatten().min_by_key(|first| (first.file, first.record)).cloned();
        if let Some(first) = &self.first
            && let Some(other) = firsts.iter().flatten().find(|other| other.kind != first.kind)
        {
            return Err(mixed(other, first, paths));
        }
        let own = bytemuck::cast_slice_mut::<Counts, u64>(std::slice::from_mut(&mut self.counts));
        let others = bytemuck::cast_slice::<Counts, u64>(std::slice::from_ref(&other.counts));
        own.iter_mut().zip(others).for_each(|(number, other)| *number += other);
        let sizes = self.class_sizes.iter_mut().zip(&other.class_sizes);
        sizes.for_each(|(size, other)| *size += other);
        self.ids.extend(other.ids);
        self.empty_files.extend(other.empty_files);
        self.damaged.extend(other.damaged);
        self.matched += other.matched;
        Loss::sum(&mut self.losses, &other.losses);
        Ok(())
    }
}

/// What is known of all files before rows are made of them.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) tables: Option<&'a Tables>,
    /// Of TFRecords.
    pub(super) first_frames: Option<FirstFrames>,
    pub(super) encoding: &'a Encoding,
}

/// One group of files on its way into shards.
pub(crate) struct FileGroup<'a, 'b> {
    pub(crate) args: &'a Args,
    pub(super) known: Known<'a>,
    pub(crate) paths: &'a [PathBuf],
    pub(crate) group: usize,
    pub(crate) header: ShardHeader,
    pub(crate) names: Option<Arc<Names>>,
    pub(crate) set: &'a mut NewSet<'b>,
    pub(crate) done: &'a mut Done,
    pub(crate) writer: Option<ShardWriter>,
    /// Shards of this group so far.
    pub(crate) written: usize,
}

impl FileGroup<'_, '_> {
    pub(crate) fn convert(mut self, files: Range<usize>) -> Result<()> {
        let matched = self.known.tables.map_or(0, Tables::matched);
        for file in files {
            let _converting = CallGuard::on("converting", &self.paths[file]);
            self.done.counts.files += 1;
            self.done.counts.bytes +=
                std::fs::metadata(&self.paths[file]).map_or(0, |data| data.len());
            let before = (self.done.counts.rows, self.done.damaged.len());
            let converted = match self.args.from {
                Format::Tfrecord => self.tfrecord(file),
                Format::Svmlight => self.svmlight(file),
                Format::Npy | Format::Npz | Format::Csv | Format::Hdf5 => self.table(file),
            };
            converted.or_else(|error| self.pass(error))?;
            if (self.done.counts.rows, self.done.damaged.len()) == before {
                self.done.empty_files.push(file as u64);
            }
        }
        self.done.matched += self.known.tables.map_or(0, Tables::matched) - matched;
        self.writer.take().map_or(Ok(()), ShardWriter::finish)
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
            self.push(file, record, &parsed.example)?;
        }
        for segment in &parsed.segments {
            let row = segment.row(&parsed.example, self.header.width());
            self.push(file, record, &row)?;
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
                    self.push(file, row, &example)
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

    fn table(&mut self, file: usize) -> Result<()> {
        let (tables, path) = (self.known.tables.expect("a table"), &self.paths[file]);
        let mut table = tables.open(path)?;
        let (stem, mut row) = (stem(path), 0);
        let wrong = |text: String| Error::input(format!("{}: {text}", path.display()));
        loop {
            let converted = match table.advance() {
                Ok(false) => return Ok(()),
                Ok(true) => self.table_row((file, row), &*table, &stem),
                Err(text) if table.goes_on() => Err(wrong(text)),
                Err(text) => return Err(wrong(text)),
            };
            converted.or_else(|error| self.pass(error))?;
            row += 1;
        }
    }

    fn table_row(
        &mut self,
        (file, row): (usize, u64),
        table: &dyn Table,
        stem: &str,
    ) -> Result<()> {
        let tables = self.known.tables.expect("a table");
        self.first_is(tables.kind(), file, row);
        let made = tables.row(table, (stem, row), &mut self.done.counts.tables);
        let made = made.map_err(|text| {
            let (path, place) = (self.paths[file].display(), table.place());
            Error::input(format!("{path}: {place}: {text}"))
        });
        let Some((example, repeated)) = made? else { return Ok(()) };
        self.done.counts.repeated_labels += repeated as u64;
        self.push(file, row, &example)
    }

    /// Takes note of a record without keys, where it is the first.
    fn first_is(&mut self, kind: Kind, file: usize, record: u64) {
        let first = || First { kind, file, record, keys: String::new() };
        self.done.first.get_or_insert_with(first);
    }

    fn push(&mut self, file: usize, record: u64, example: &Example) -> Result<()> {
        check_id(&example.id).map_err(|text| self.wrong(file, record, text))?;
        let (kind, first) = (kind_of(example), self.done.first.as_ref().expect("noted"));
        if kind != first.kind {
            let found = First { kind, file, record, keys: String::new() };
            return Err(mixed(&found, first, self.paths));
        }
        if let Some(text) = self.other_frames(&example.values) {
            return Err(self.wrong(file, record, text));
        }
        let numbers = example.values.numbers().unwrap_or_default();
        if let Some((at, found)) = too_large(self.known.encoding, numbers) {
            let text = format!("found {found} at feature {at}, which 16-bit floats can't hold");
            return Err(self.wrong(file, record, text).hint("--dtype f32, or u8"));
        }
        let full = |writer: &ShardWriter| writer.rows() as u64 == self.args.rows_per_shard;
        if self.writer.as_ref().is_some_and(full) {
            self.writer.take().map_or(Ok(()), ShardWriter::finish)?;
        }
        if self.writer.is_none() {
            self.header.kind = kind;
            let path = self.set.add(format!("shard-{:05}-{:04}.h5", self.group, self.written));
            let encoding = self.known.encoding.clone();
            let writer = ShardWriter::create_encoded(&path, &self.header, encoding)?;
            self.writer = Some(writer.named(self.names.clone()));
            self.written += 1;
            self.done.counts.shards += 1;
        }
        self.count(file, record, example);
        tick();
        self.writer.as_mut().expect("just made").push(example)
    }

    /// What is wrong with a record of another kind than the first of all, or with frames of bytes
    /// where the first are floats, or the other way round.
    fn other_frames(&self, values: &Values) -> Option<String> {
        let FirstFrames { file, record, given } = self.known.first_frames?;
        let (frames, bytes) = match values {
            Values::Frames(bytes) if bytes.is_empty() => return None,
            Values::Frames(_) => (true, true),
            Values::FrameNumbers(_) => (true, false),
            Values::Video(_) => (false, false),
        };
        if frames != given.frames {
            let kind = |frames: bool| if frames { Kind::Frames } else { Kind::Video };
            let found = kind(frames).level();
            let (path, expected) = (self.paths[file].display(), kind(given.frames).level());
            return Some(format!(
                "found {found} features, expected {expected} ones as in {path}: record {record}"
            ));
        }
        let kind = |bytes: bool| if bytes { "bytes" } else { "floats" };
        let (found, expected) = (kind(bytes), kind(given.bytes));
        let path = self.paths[file].display();
        (found != expected).then(|| {
            format!("found frames of {found}, expected {expected} as in {path}: record {record}")
        })
    }

    fn count(&mut self, file: usize, record: u64, example: &Example) {
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
            Loss::add(losses, parts, self.known.encoding, numbers);
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

/// What is wrong with the record `found` where the first is of another kind.
pub(crate) fn mixed(found: &First, first: &First, paths: &[PathBuf]) -> Error {
    let place = |of: &First| format!("{}: record {}", paths[of.file].display(), of.record);
    let (own, expected) = (found.kind.level(), first.kind.level());
    let text = format!("found {own} features, expected {expected} ones as in {}", place(first));
    Error::input(format!("{}: {text}", place(found)))
}

/// FNV-1a, 64 bits: only for finding ids that may be equal.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
