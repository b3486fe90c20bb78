//! Columns of Parquet: numbers, texts, lists of them, lists of lists. The crate knows footers,
//! pages and encodings; levels become rows here. A row group is read a batch of rows at a time.
//!
//! Files may hold anything, and the crate may panic on it: whatever calls it is `caught`.

mod column;
mod depth;
mod levels;
mod pages;
pub(crate) mod predictions;
mod schema;
mod values;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use self::column::Column;
use self::schema::Leaf;
use super::Table;
use crate::caught::caught;
use crate::fields::Field;
use crate::formats::first_bytes::{LOOKED_AT, kind_of};
use crate::formats::wire::Read;

/// What Parquet files end with, and begin with unless their footer is encrypted.
const MAGIC: &[u8] = b"PAR1";
const MAGIC_ENCRYPTED: &[u8] = b"PARE";
/// Bytes of a footer at most: the crate makes tables of several times that.
const FOOTER_BYTES_MAX: u32 = 256 << 20;

/// An open file, and what its footer says.
pub(crate) struct ParquetFile {
    file: Arc<File>,
    footer: Arc<ParquetMetaData>,
    leaves: Vec<Leaf>,
}

/// What the crate says of a file, in a line.
fn damaged(error: ParquetError) -> String {
    format!("found a damaged Parquet file ({})", error.to_string().replace('\n', " "))
}

/// What `work` gives, whatever the crate makes of the bytes.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Read<T> {
    match caught(work) {
        Ok(outcome) => outcome.map_err(damaged),
        Err(panic) => Err(format!("found a damaged Parquet file ({panic})")),
    }
}

impl ParquetFile {
    /// # Errors
    /// Another file; one that is cut, damaged or encrypted.
    pub(crate) fn open(path: &Path) -> Read<ParquetFile> {
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        check_ends(&mut file).map_err(|error| error.to_string())??;
        depth::check(&footer_bytes(&mut file).map_err(|error| error.to_string())?)?;
        let footer = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&file))?;
        let groups = footer.row_groups();
        let rows = groups.iter().try_fold(0i64, |rows, group| rows.checked_add(group.num_rows()));
        let expected = footer.file_metadata().num_rows();
        if rows != Some(expected) || groups.iter().any(|group| group.num_rows() < 0) {
            let text = "found row groups of other numbers of rows than their footer says";
            return Err(format!("{text} ({expected}): the file is damaged"));
        }
        let leaves = schema::leaves(footer.file_metadata().schema_descr());
        Ok(ParquetFile { file: Arc::new(file), footer: Arc::new(footer), leaves })
    }

    /// What it says has written it.
    pub(crate) fn creator(&self) -> Option<&str> {
        self.footer.file_metadata().created_by()
    }

    /// What its footer says under this key.
    pub(crate) fn said(&self, key: &str) -> Option<&str> {
        let said = self.footer.file_metadata().key_value_metadata()?;
        said.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// Its columns. Of lists it isn't known yet how long they are: 0.
    pub(crate) fn fields(&self) -> Vec<Field> {
        self.leaves.iter().map(|leaf| leaf.field.clone()).collect()
    }

    /// How long the innermost lists of a field are, by the first row that has any; none without
    /// such a row, and for fields without lists.
    pub(crate) fn length(&self, field: usize) -> Read<Option<usize>> {
        if self.leaves[field].field.shape.is_empty() {
            return Ok(None);
        }
        let mut rows = self.picking(&[field], &[None])?;
        while rows.advance()? {
            if let Some(length) = rows.columns[0].length() {
                return Ok(Some(length));
            }
        }
        Ok(None)
    }

    /// Rows of these fields, whose innermost lists must have these lengths.
    ///
    /// # Errors
    /// A codec that isn't there; data in another file.
    pub(crate) fn picking(&self, fields: &[usize], lengths: &[Option<usize>]) -> Read<ParquetRows> {
        let mut columns = Vec::new();
        for (place, field) in fields.iter().enumerate() {
            let leaf = &self.leaves[*field];
            let at = |text: String| format!("column {:?}: {text}", leaf.field.name);
            for group in self.footer.row_groups() {
                pages::check(group.column(leaf.number)).map_err(at)?;
            }
            columns.push(Column::new(leaf.clone(), lengths.get(place).copied().flatten()));
        }
        Ok(ParquetRows {
            file: Arc::clone(&self.file),
            footer: Arc::clone(&self.footer),
            columns,
            group: 0,
            left: 0,
            begun: false,
            row: 0,
        })
    }
}

/// That a file begins and ends as one of Parquet.
fn check_ends(file: &mut File) -> std::io::Result<Read<()>> {
    let mut first = Vec::new();
    (&mut *file).take(LOOKED_AT as u64).read_to_end(&mut first)?;
    let bytes = file.metadata()?.len();
    if !first.starts_with(MAGIC) && !first.starts_with(MAGIC_ENCRYPTED) {
        return Ok(Err(match kind_of(&first) {
            Some(kind) => format!("found {}, expected a Parquet file", kind.name),
            None => format!("found no Parquet file ({bytes} bytes)"),
        }));
    }
    let mut last = [0; 8];
    if bytes >= 12 {
        file.seek(SeekFrom::End(-8))?;
        file.read_exact(&mut last)?;
    }
    let length = u32::from_le_bytes([last[0], last[1], last[2], last[3]]);
    Ok(match &last[4..] {
        MAGIC_ENCRYPTED => {
            Err("found an encrypted Parquet file; hint: write it without encryption".into())
        }
        MAGIC if length > FOOTER_BYTES_MAX => {
            Err(format!("found a footer of {length} bytes, expected at most {FOOTER_BYTES_MAX}"))
        }
        MAGIC => Ok(()),
        _ => Err("found no footer of Parquet at its end: the file is cut".into()),
    })
}

/// The bytes of a footer, of a file that ends as one of Parquet.
fn footer_bytes(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    let end = file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut length)?;
    let bytes = u64::from(u32::from_le_bytes(length));
    // What is longer than its file the crate tells.
    file.seek(SeekFrom::Start(end.saturating_sub(bytes)))?;
    let mut footer = Vec::new();
    file.take(bytes.min(end)).read_to_end(&mut footer)?;
    Ok(footer)
}

/// Rows of a file, one after the other.
pub(crate) struct ParquetRows {
    file: Arc<File>,
    footer: Arc<ParquetMetaData>,
    columns: Vec<Column>,
    /// The row group that comes next.
    group: usize,
    /// Rows that are left of the one before.
    left: u64,
    begun: bool,
    /// Rows so far.
    row: u64,
}

impl ParquetRows {
    /// Begins the next row group that has rows; false where there is none.
    fn next_group(&mut self) -> Read<bool> {
        while self.left == 0 {
            if self.begun {
                self.columns.iter_mut().try_for_each(Column::end)?;
            }
            self.begun = false;
            let Some(group) = self.footer.row_groups().get(self.group) else { return Ok(false) };
            self.left = group.num_rows() as u64;
            self.group += 1;
            if self.left > 0 {
                let chunks = self.columns.iter().map(|column| group.column(column.number()));
                let bytes: u64 = chunks.map(|chunk| chunk.uncompressed_size().max(0) as u64).sum();
                let rows = column::rows_at_once(self.left, bytes);
                let file = &self.file;
                self.columns.iter_mut().try_for_each(|column| column.begin(file, group, rows))?;
                self.begun = true;
            }
        }
        Ok(true)
    }
}

impl Table for ParquetRows {
    fn advance(&mut self) -> Read<bool> {
        if self.left == 0 && !self.next_group()? {
            return Ok(false);
        }
        self.columns.iter_mut().try_for_each(Column::advance)?;
        self.left -= 1;
        self.row += 1;
        Ok(true)
    }

    fn rows(&self) -> Option<u64> {
        u64::try_from(self.footer.file_metadata().num_rows()).ok()
    }

    fn skip(&mut self, mut rows: u64) -> Read<()> {
        self.row += rows;
        while rows > 0 {
            if !self.next_group()? {
                return Err("found fewer rows than its footer says".into());
            }
            let within = rows.min(self.left);
            match within == self.left {
                // Nothing of the row group is read.
                true => self.begun = false,
                false => self.columns.iter_mut().try_for_each(|column| column.skip(within))?,
            }
            self.left -= within;
            rows -= within;
        }
        Ok(())
    }

    fn place(&self) -> String {
        format!("row {}", self.row.saturating_sub(1))
    }

    fn reals(&self, field: usize, to: &mut Vec<f32>) -> Read<()> {
        self.columns[field].reals(to)
    }

    fn wholes(&self, field: usize, to: &mut Vec<i128>) -> Read<()> {
        self.columns[field].wholes(to)
    }

    fn text(&self, field: usize, to: &mut Vec<u8>) -> Read<()> {
        self.columns[field].text(to)
    }

    fn texts(&self, field: usize, to: &mut Vec<Vec<u8>>) -> Read<()> {
        self.columns[field].texts(to)
    }

    fn bytes(&self, field: usize, to: &mut Vec<u8>) -> Read<()> {
        self.columns[field].bytes(to)
    }
}

/// All that can be asked of the first `most` rows of the file at `path`, a line each. For tests.
///
/// # Errors
/// What is wrong with the file.
pub fn lines_of(path: &Path, most: usize) -> Result<Vec<String>, String> {
    rows_told(&ParquetFile::open(path)?, most)
}

fn rows_told(file: &ParquetFile, most: usize) -> Read<Vec<String>> {
    let fields: Vec<usize> = (0..file.fields().len()).collect();
    let lengths: Vec<_> = fields.iter().map(|field| file.length(*field)).collect::<Read<_>>()?;
    let mut rows = file.picking(&fields, &lengths)?;
    let mut all = Vec::new();
    while all.len() < most && rows.advance()? {
        let mut told = rows.place();
        for field in &fields {
            let (mut reals, mut texts) = (Vec::new(), Vec::new());
            let _ = rows.texts(*field, &mut texts);
            let _ = rows.wholes(*field, &mut Vec::new());
            let _ = rows.bytes(*field, &mut Vec::new());
            let found = rows.reals(*field, &mut reals);
            let texts = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned());
            told += &match found {
                Ok(()) => format!("; {reals:?}"),
                Err(_) => format!("; {}", texts.collect::<Vec<_>>().join(",")),
            };
        }
        all.push(told);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const SCHEMA: &str = "message rows {
        required binary id (UTF8);
        optional float x;
        optional group rgb (LIST) { repeated group list { optional float element; } }
        optional group frames (LIST) { repeated group list {
            optional group element (LIST) {
                repeated group list { required int32 element (INTEGER(8,false)); } } } }
    }";

    /// Three rows a row group; the second one lacks a number, the third one a list.
    fn file(compression: Compression) -> Vec<u8> {
        type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;
        fn column<T: DataType>(
            group: &mut Group,
            values: &[T::T],
            definitions: Option<&[i16]>,
            repetitions: Option<&[i16]>,
        ) {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<T>().write_batch(values, definitions, repetitions).unwrap();
            column.close().unwrap();
        }
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let settings = WriterProperties::builder().set_compression(compression).build();
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, settings.into()).unwrap();
        for first in [0, 3] {
            let mut group = writer.next_row_group().unwrap();
            let ids = [0, 1, 2].map(|row| ByteArray::from(format!("v{}", first + row).as_str()));
            column::<ByteArrayType>(&mut group, &ids, None, None);
            column::<FloatType>(&mut group, &[0.5, -2.0], Some(&[1, 0, 1]), None);
            let (numbers, levels) = ([1.0, 2.0, 3.0], [3, 3, 3, 2, 0]);
            column::<FloatType>(&mut group, &numbers, Some(&levels), Some(&[0, 1, 0, 1, 0]));
            let (bytes, levels) = ([1, 2, 3, 255, 5, 6], [4, 4, 4, 4, 1, 4, 4]);
            let repetitions = [0, 2, 1, 2, 0, 0, 2];
            column::<Int32Type>(&mut group, &bytes, Some(&levels), Some(&repetitions));
            group.close().unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> (tempfile::NamedTempFile, Read<ParquetFile>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let opened = ParquetFile::open(file.path());
        (file, opened)
    }

    #[test]
    fn rows_come_out_as_they_went_in() {
        for compression in [Compression::SNAPPY, Compression::UNCOMPRESSED] {
            let (_kept, file) = open(&file(compression));
            let file = file.unwrap();
            let told = file.fields().into_iter().map(|field| (field.name, field.shape));
            let expected = [("id", 0), ("x", 0), ("rgb", 1), ("frames", 2)];
            assert!(told.eq(expected.map(|(name, lists)| (name.into(), vec![0; lists]))));
            assert_eq!(file.length(3), Ok(Some(2)));
            let nan = "NaN, NaN";
            let rows = |from: usize| {
                [
                    format!("row {from}; v{from}; [0.5]; [1.0, 2.0]; [1.0, 2.0, 3.0, 255.0]"),
                    format!("row {0}; v{0}; [NaN]; [3.0, NaN]; []", from + 1),
                    format!("row {0}; v{0}; [-2.0]; [{nan}]; [5.0, 6.0]", from + 2),
                ]
            };
            assert_eq!(rows_told(&file, 9), Ok([rows(0), rows(3)].concat()));
        }
    }

    /// Without checksums of pages damage may give other numbers, but never ends the process.
    #[test]
    fn whatever_bytes_are_it_is_rows_or_an_error() {
        let mut errors = 0;
        for compression in [Compression::SNAPPY, Compression::UNCOMPRESSED] {
            let whole = file(compression);
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (at % 8);
                bytes[(at * 7919) % whole.len()] ^= (at % 3 == 0) as u8 * 0xa5;
                let (_kept, file) = open(&bytes);
                errors += usize::from(file.and_then(|file| rows_told(&file, 9)).is_err());
            }
            for length in (0..whole.len()).step_by(13) {
                let (_kept, file) = open(&whole[..length]);
                assert!(file.is_err(), "{length} of {} bytes", whole.len());
            }
        }
        assert!(errors > 500, "{errors}");
    }
}
