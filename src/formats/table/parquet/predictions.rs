//! Predictions as Parquet: a row for each pair, a video's together, best first.
//!
//! ```text
//!   id (string)   class (int32)   name (string, where classes have names)   score (float)
//! ```
//!
//! The footer says by what they were made, and the SHA-256 of all rows: pages have no checksums, so
//! that is what proves a file which no manifest names. Nothing in a file depends on time or ranks.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::{ParquetFile, ParquetRows, Table};
use crate::error::{Error, Result};
use crate::formats::submission::{Predictions, Read};
use crate::formats::written::About;
use crate::human::hex;
use crate::limits::CLASSES_MAX;
use crate::names::Names;

/// Who files say has written them.
const CREATOR: &str = concat!("reelscale version ", env!("CARGO_PKG_VERSION"));
/// What it begins with, whatever the version.
const CREATORS: &str = "reelscale ";
const MODEL: &str = "reelscale.model";
const TOP: &str = "reelscale.top";
const ROWS_SHA256: &str = "reelscale.rows_sha256";

/// A row group ends with the first video after which it has so many pairs: others read row groups
/// at once, and the writer holds one.
const GROUP_PAIRS: usize = 1 << 17;
/// Values that a column takes at once.
const AT_ONCE: usize = 1 << 12;

const COLUMNS: [&str; 3] = ["id", "class", "score"];
const NAME: &str = "name";

/// The digest of rows: each one's fields with the lengths of texts before them.
#[derive(Default)]
struct RowsDigest(Sha256);

impl RowsDigest {
    fn add(&mut self, id: &[u8], class: u32, score: f32, name: &[u8]) {
        let mut numbers = [0; 16];
        let fields = [id.len() as u32, name.len() as u32, class, score.to_bits()];
        for (to, field) in numbers.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        self.0.update(numbers);
        self.0.update(id);
        self.0.update(name);
    }

    fn text(self) -> String {
        hex(&self.0.finalize())
    }
}

/// A file that is written.
pub(crate) struct ParquetVideos {
    /// Into memory, which `Write` empties: files here may go through writers of one thread.
    writer: SerializedFileWriter<Vec<u8>>,
    digest: RowsDigest,
    /// What the row group that comes next has so far: ids, each with how many pairs it has.
    ids: Vec<(ByteArray, usize)>,
    pairs: Vec<(f32, u32)>,
}

/// What the crate says in writing to memory: that it can't.
fn refused(error: ParquetError) -> io::Error {
    io::Error::other(error.to_string())
}

impl ParquetVideos {
    pub(crate) fn new(about: &About) -> io::Result<ParquetVideos> {
        let name = if about.names.is_some() { "optional binary name (UTF8);" } else { "" };
        let schema = format!(
            "message predictions {{ required binary id (UTF8); required int32 class; {name} \
             required float score; }}"
        );
        let schema = parse_message_type(&schema).map_err(refused)?;
        let said = |key: &str, value: String| KeyValue::new(key.to_string(), value);
        let said = vec![said(MODEL, about.model.into()), said(TOP, about.top.to_string())];
        // Hardly two scores are the same.
        let score = ColumnPath::from(COLUMNS[2]);
        let settings = WriterProperties::builder()
            .set_created_by(CREATOR.into())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(refused)?))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_column_dictionary_enabled(score, false)
            .set_key_value_metadata(Some(said));
        let writer =
            SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(settings.build()));
        let writer = writer.map_err(refused)?;
        let (ids, pairs) = (Vec::new(), Vec::new());
        Ok(ParquetVideos { writer, digest: RowsDigest::default(), ids, pairs })
    }

    /// Appends a video.
    ///
    /// # Errors
    /// Those of `out`; an id that is no UTF-8.
    pub(crate) fn add(
        &mut self,
        out: &mut dyn Write,
        id: &[u8],
        best: &[(f32, u32)],
        names: Option<&Names>,
    ) -> io::Result<()> {
        if std::str::from_utf8(id).is_err() {
            let text = format!("found the id {:?}, no UTF-8", String::from_utf8_lossy(id));
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        for (score, class) in best {
            let name = names.map_or("", |names| names.of(*class as usize));
            self.digest.add(id, *class, *score, name.as_bytes());
        }
        self.ids.push((ByteArray::from(id.to_vec()), best.len()));
        self.pairs.extend_from_slice(best);
        match self.pairs.len() < GROUP_PAIRS {
            true => Ok(()),
            false => self.write_group(out, names),
        }
    }

    /// Writes the last rows and the footer.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn end(mut self, out: &mut dyn Write, names: Option<&Names>) -> io::Result<()> {
        if !self.pairs.is_empty() {
            self.write_group(out, names)?;
        }
        let ParquetVideos { mut writer, digest, .. } = self;
        writer.append_key_value_metadata(KeyValue::new(ROWS_SHA256.to_string(), digest.text()));
        out.write_all(&writer.into_inner().map_err(refused)?)
    }

    fn write_group(&mut self, out: &mut dyn Write, names: Option<&Names>) -> io::Result<()> {
        self.put_group(names).map_err(refused)?;
        self.ids.clear();
        self.pairs.clear();
        self.writer.flush()?;
        let made = self.writer.inner_mut();
        out.write_all(made)?;
        made.clear();
        Ok(())
    }

    fn put_group(&mut self, names: Option<&Names>) -> std::result::Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        let ids = self.ids.iter().flat_map(|(id, pairs)| std::iter::repeat_n(id, *pairs)).cloned();
        column::<ByteArrayType>(&mut group, ids.map(Some))?;
        let classes = self.pairs.iter().map(|pair| pair.1);
        column::<Int32Type>(&mut group, classes.clone().map(|class| Some(class as i32)))?;
        if let Some(names) = names {
            let name = |class| Some(names.of(class as usize)).filter(|name| !name.is_empty());
            let names = classes.map(|class| name(class).map(ByteArray::from));
            column::<ByteArrayType>(&mut group, names)?;
        }
        column::<FloatType>(&mut group, self.pairs.iter().map(|pair| Some(pair.0)))?;
        group.close().map(drop)
    }
}

/// Writes the next column of `group`; of one in which nothing may be missing all values are there.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<Vec<u8>>,
    mut all: impl Iterator<Item = Option<T::T>>,
) -> std::result::Result<(), ParquetError> {
    let mut column = group.next_column()?.expect("the schema has it");
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    loop {
        values.clear();
        levels.clear();
        for value in all.by_ref().take(AT_ONCE) {
            levels.push(i16::from(value.is_some()));
            values.extend(value);
        }
        if levels.is_empty() {
            return column.close();
        }
        column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    }
}

/// Adds the predictions of a file of Parquet: `annotate`'s, or of others with such columns, of
/// which there may be more.
///
/// # Errors
/// Exit 4 with file, row and what was found.
pub(crate) fn read_parquet(path: &Path, found: &mut Predictions) -> Result<()> {
    let wrong = |text: String| Error::input(format!("{}: {text}", path.display()));
    let file = ParquetFile::open(path).map_err(wrong)?;
    let mut rows = picked(&file).map_err(wrong)?;
    let mut digest = RowsDigest::default();
    while rows.table.advance().map_err(|text| wrong(rows.at(text)))? {
        rows.take(found, &mut digest).map_err(|text| wrong(rows.at(text)))?;
    }
    if !file.creator().is_some_and(|creator| creator.starts_with(CREATORS)) {
        return Ok(());
    }
    let (sha256, expected) = (digest.text(), file.said(ROWS_SHA256).unwrap_or("one"));
    match sha256 == expected {
        true => Ok(()),
        false => Err(wrong(format!("found rows of the SHA-256 {sha256}, expected {expected}"))
            .hint("the file was changed or is damaged")),
    }
}

/// Rows of the columns that predictions have.
struct PickedRows {
    table: ParquetRows,
    named: bool,
}

fn picked(file: &ParquetFile) -> Read<PickedRows> {
    let fields = file.fields();
    let place = |name: &str| fields.iter().position(|field| field.name == name);
    let mut places = Vec::new();
    for name in COLUMNS {
        let place = place(name).ok_or_else(|| {
            let all: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!(
                "found the columns {:?}, expected \"id\", \"class\" and \"score\", a row for each \
                 pair",
                all.join(", ")
            )
        })?;
        places.push(place);
    }
    let name = place(NAME);
    places.extend(name);
    for place in &places {
        if let Some(text) = &fields[*place].wrong {
            return Err(text.clone());
        }
    }
    let table = file.picking(&places, &[])?;
    Ok(PickedRows { table, named: name.is_some() })
}

impl PickedRows {
    fn at(&self, text: String) -> String {
        format!("{}: {text}", self.table.place())
    }

    /// Takes the row.
    fn take(&self, found: &mut Predictions, digest: &mut RowsDigest) -> Read<()> {
        let id = self.text(0)?.ok_or("id: found none")?;
        let (mut classes, mut scores) = (Vec::new(), Vec::new());
        self.table.wholes(1, &mut classes)?;
        self.table.reals(2, &mut scores)?;
        let [class] = classes[..] else { return Err(one("class", classes.len())) };
        let [score] = scores[..] else { return Err(one("score", scores.len())) };
        let class = u32::try_from(class).ok().filter(|class| (*class as usize) < CLASSES_MAX);
        let class = class.ok_or_else(|| {
            format!("found the class {}, expected 0 to {}", classes[0], CLASSES_MAX - 1)
        })?;
        if !score.is_finite() {
            return Err(format!("class {class}: found the score {score}, expected a number"));
        }
        let name = if self.named { self.text(3)?.unwrap_or_default() } else { Vec::new() };
        digest.add(&id, class, score, &name);
        let id_of = |text| format!("{}: {text}", String::from_utf8_lossy(&id));
        found.add_score(&id, (score, class)).and_then(|()| found.name(class, &name)).map_err(id_of)
    }

    /// A text, where the row has one.
    fn text(&self, field: usize) -> Read<Option<Vec<u8>>> {
        let mut texts = Vec::new();
        self.table.texts(field, &mut texts)?;
        match texts.len() {
            0 | 1 => Ok(texts.pop()),
            count => Err(one(if field == 0 { "id" } else { NAME }, count)),
        }
    }
}

fn one(what: &str, found: usize) -> String {
    format!("{what}: found {found}, expected one")
}

#[cfg(test)]
mod tests {
    use parquet::file::metadata::ParquetMetaDataReader;

    use super::*;
    use crate::formats::predictions::WrittenAs;
    use crate::formats::submission::Source;
    use crate::formats::written::Written;

    const PAIRS: usize = 1500;

    /// More videos than a row group has, whose second class has no name.
    fn written(names: Option<&Names>) -> Vec<u8> {
        let (mut bytes, about) = (Vec::new(), About { model: "hash", top: PAIRS, names });
        let mut file = Written::begin(WrittenAs::Parquet, &mut bytes, about).unwrap();
        for video in 0..100u32 {
            let pair = |class: u32| (1.0 / (1 + class + video) as f32, class);
            let best: Vec<(f32, u32)> = (0..PAIRS as u32).map(pair).collect();
            file.video(&mut bytes, format!("v\u{e4}{video}").as_bytes(), &best).unwrap();
        }
        file.end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_comes_back_in_row_groups_of_whole_videos() {
        let list: Vec<String> = (0..PAIRS).map(|class| format!("class {class}")).collect();
        let list = [&list[..1], &[String::new()], &list[2..]].concat();
        let names = Names::new(list).unwrap();
        for names in [None, Some(&names)] {
            let bytes = written(names);
            assert!(bytes == written(names), "the same at any time");
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let mut found = Predictions::default();
            read_parquet(file.path(), &mut found).unwrap();
            let labels = Source::new("labels", &b"VideoId,Labels\n"[..]);
            let both = found.with_labels(labels).unwrap();
            assert_eq!(both.videos.len(), 100);
            for (video, found) in both.videos.iter().enumerate() {
                assert_eq!(found.id, format!("v\u{e4}{video}").as_bytes());
                let expected = |(score, class): &(f32, u32)| {
                    score.to_bits() == (1.0 / (1 + class + video as u32) as f32).to_bits()
                };
                assert!(found.scores.len() == PAIRS && found.scores.iter().all(expected));
            }
            let named = names.map_or(0, |_| PAIRS - 1);
            assert_eq!(both.names.len(), named);
            assert_eq!(both.names.get(&7).map(String::as_str), names.map(|_| "class 7"));
            let footer = std::fs::File::open(file.path()).unwrap();
            let footer = ParquetMetaDataReader::new().parse_and_finish(&footer).unwrap();
            let rows: Vec<i64> = footer.row_groups().iter().map(|group| group.num_rows()).collect();
            assert_eq!(rows, [132_000, 18_000]);
        }
    }

    #[test]
    fn an_id_that_isnt_utf_8_is_refused() {
        let (mut bytes, about) = (Vec::new(), About { model: "", top: 1, names: None });
        let mut file = Written::begin(WrittenAs::Parquet, &mut bytes, about).unwrap();
        let error = file.video(&mut bytes, b"caf\xe9", &[(0.5, 1)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    /// A file without videos is one all the same.
    #[test]
    fn no_video_is_a_file() {
        let (mut bytes, about) = (Vec::new(), About { model: "", top: 1, names: None });
        let file = Written::begin(WrittenAs::Parquet, &mut bytes, about).unwrap();
        file.end(&mut bytes).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        read_parquet(file.path(), &mut Predictions::default()).unwrap();
    }
}
