//! Values of a column of any type, as the crate's readers give them.

use parquet::basic::Type as Physical;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray};
use parquet::errors::Result;

pub(super) enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

/// Definition and repetition levels.
type LevelBuffers<'a> = (&'a mut Vec<i16>, &'a mut Vec<i16>);

impl Values {
    /// None of this type yet.
    pub(super) fn of(physical: Physical) -> Values {
        match physical {
            Physical::BOOLEAN => Values::Bool(Vec::new()),
            Physical::INT32 => Values::Int32(Vec::new()),
            Physical::INT64 | Physical::INT96 => Values::Int64(Vec::new()),
            Physical::FLOAT => Values::Float(Vec::new()),
            Physical::DOUBLE => Values::Double(Vec::new()),
            Physical::BYTE_ARRAY => Values::Bytes(Vec::new()),
            Physical::FIXED_LEN_BYTE_ARRAY => Values::Fixed(Vec::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Values::Bool(values) => values.len(),
            Values::Int32(values) => values.len(),
            Values::Int64(values) => values.len(),
            Values::Float(values) => values.len(),
            Values::Double(values) => values.len(),
            Values::Bytes(values) => values.len(),
            Values::Fixed(values) => values.len(),
        }
    }

    /// The next rows, at most so many, in the place of what was here; how many they are.
    pub(super) fn read(
        &mut self,
        reader: &mut ColumnReader,
        rows: usize,
        levels: LevelBuffers,
    ) -> Result<usize> {
        use ColumnReader as From;
        match (reader, self) {
            (From::BoolColumnReader(from), Values::Bool(to)) => read(from, rows, levels, to),
            (From::Int32ColumnReader(from), Values::Int32(to)) => read(from, rows, levels, to),
            (From::Int64ColumnReader(from), Values::Int64(to)) => read(from, rows, levels, to),
            (From::FloatColumnReader(from), Values::Float(to)) => read(from, rows, levels, to),
            (From::DoubleColumnReader(from), Values::Double(to)) => read(from, rows, levels, to),
            (From::ByteArrayColumnReader(from), Values::Bytes(to)) => read(from, rows, levels, to),
            (From::FixedLenByteArrayColumnReader(from), Values::Fixed(to)) => {
                read(from, rows, levels, to)
            }
            _ => unreachable!("times of 96 bits are picked by nobody"),
        }
    }
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    (definitions, repetitions): LevelBuffers,
    values: &mut Vec<T::T>,
) -> Result<usize> {
    values.clear();
    let read = reader.read_records(rows, Some(definitions), Some(repetitions), values)?;
    Ok(read.0)
}

/// Passes over so many rows; how many there were.
pub(super) fn skip(reader: &mut ColumnReader, rows: usize) -> Result<usize> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int32ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int64ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int96ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FloatColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::DoubleColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::ByteArrayColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => reader.skip_records(rows),
    }
}
