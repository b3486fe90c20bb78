//! Arrays of numpy: row i of each is what it has of row i.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use super::Table;
use super::npz::{self, Member};
use crate::fields::{self, Elements, Field, Stored, stem};
use crate::formats::wire::Read;

/// Bytes of a header at most.
const HEADER_BYTES_MAX: usize = 1 << 16;
/// Brackets within brackets there; an array of numbers has two.
const HEADER_DEPTH_MAX: usize = 8;
/// Bytes of an array of columns at most: it is turned in memory.
const TURNED_BYTES_MAX: usize = 1 << 30;

/// What comes of an array's file or of its member of an npz: its bytes, then whether they are what
/// was written.
pub(super) trait Source {
    fn fill(&mut self, to: &mut [u8]) -> Read<()>;
    /// Passes over so many bytes; false, and nothing done, where all of them have to be read.
    fn skip(&mut self, bytes: u64) -> Read<bool>;
    /// Nothing follows, and what was read is proven as far as there is a proof.
    fn end(&mut self) -> Read<()>;
}

struct Plain(BufReader<File>);

impl Source for Plain {
    fn fill(&mut self, to: &mut [u8]) -> Read<()> {
        self.0.read_exact(to).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the file is cut".into(),
            _ => error.to_string(),
        })
    }

    fn skip(&mut self, bytes: u64) -> Read<bool> {
        let skipped = self.0.seek(SeekFrom::Current(bytes as i64));
        skipped.map(|_| true).map_err(|error| error.to_string())
    }

    fn end(&mut self) -> Read<()> {
        match self.0.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err("found bytes behind the last row".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// One array under way.
struct Array {
    field: Field,
    stored: Stored,
    rows: u64,
    /// Whether column lies after column, in Fortran's order.
    by_columns: bool,
    from: Box<dyn Source>,
    /// The row's bytes.
    row: Vec<u8>,
}

/// Where an array is: a file of its own, or a member of an npz.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    File(PathBuf),
    Member(PathBuf, Member),
}

impl Place {
    fn name(&self) -> String {
        match self {
            Place::File(path) => stem(path),
            Place::Member(_, member) => member.name.clone(),
        }
    }
}

/// Arrays of as many rows.
pub(crate) struct Arrays {
    arrays: Vec<Array>,
    rows: u64,
    /// Rows so far.
    row: u64,
    /// Whether all are plain files.
    can_skip: bool,
}

impl Arrays {
    /// The arrays that a file has: one, called as the file, or those of an npz. None is read.
    pub(crate) fn in_file(path: &Path) -> Read<Vec<(Field, Place)>> {
        if std::fs::metadata(path).is_ok_and(|found| found.len() == 0) {
            return Ok(Vec::new());
        }
        let places = match npz::members(path)? {
            Some(members) => {
                members.into_iter().map(|member| Place::Member(path.into(), member)).collect()
            }
            None => vec![Place::File(path.into())],
        };
        let field = |place: &Place| match open(place) {
            Ok(array) => array.field,
            Err(text) => Field::unreadable(place.name(), text),
        };
        Ok(places.into_iter().map(|place| (field(&place), place)).collect())
    }

    /// Rows of these arrays.
    ///
    /// # Errors
    /// No array of numbers or texts; other numbers of rows.
    pub(crate) fn open(places: &[Place]) -> Read<Arrays> {
        let by_rows = |place| open(place)?.by_rows();
        let mut arrays: Vec<Array> = places.iter().map(by_rows).collect::<Read<_>>()?;
        let rows = arrays.first().map_or(0, |array| array.rows);
        if arrays.iter().any(|array| array.rows != rows) {
            let counts: Vec<String> = arrays
                .iter()
                .map(|array| format!("{} of {}", array.rows, array.field.name))
                .collect();
            return Err(format!("found rows {}, expected as many of each", counts.join(", ")));
        }
        let can_skip = arrays
            .iter_mut()
            .try_fold(true, |all, array| array.from.skip(0).map(|skips| all && skips))?;
        Ok(Arrays { arrays, rows, row: 0, can_skip })
    }
}

impl Table for Arrays {
    fn advance(&mut self) -> Read<bool> {
        let more = self.row < self.rows;
        for array in &mut self.arrays {
            let of = |text: String| format!("{}: {text}", array.field.name);
            match more {
                true => array.from.fill(&mut array.row).map_err(of)?,
                false => array.from.end().map_err(of)?,
            }
        }
        self.row += u64::from(more);
        Ok(more)
    }

    fn rows(&self) -> Option<u64> {
        self.can_skip.then_some(self.rows)
    }

    fn skip(&mut self, rows: u64) -> Read<()> {
        for array in &mut self.arrays {
            let skipped = array.from.skip(rows * array.row.len() as u64)?;
            assert!(skipped || rows == 0, "rows that can't be skipped");
        }
        self.row += rows;
        Ok(())
    }

    fn place(&self) -> String {
        format!("row {}", self.row.saturating_sub(1))
    }

    fn reals(&self, field: usize, to: &mut Vec<f32>) -> Read<()> {
        let array = &self.arrays[field];
        array.stored.reals(&array.row, to)
    }

    fn wholes(&self, field: usize, to: &mut Vec<i128>) -> Read<()> {
        let array = &self.arrays[field];
        array.stored.wholes(&array.row, to)
    }

    fn text(&self, field: usize, to: &mut Vec<u8>) -> Read<()> {
        let array = &self.arrays[field];
        array.stored.text(&array.row, to)
    }

    fn bytes(&self, field: usize, to: &mut Vec<u8>) -> Read<()> {
        let array = &self.arrays[field];
        assert_eq!(array.stored.bytes, 1, "a field of bytes");
        to.extend_from_slice(&array.row);
        Ok(())
    }
}

/// An array whose header has been read, and whose first row comes next.
fn open(place: &Place) -> Read<Array> {
    let name = place.name();
    let mut from: Box<dyn Source> = match place {
        Place::File(path) => {
            let file = File::open(path).map_err(|error| error.to_string())?;
            Box::new(Plain(BufReader::with_capacity(1 << 18, file)))
        }
        Place::Member(path, member) => member.open(path)?,
    };
    let of = |text: String| format!("{name}: {text}");
    let header = header(&mut *from).map_err(of)?;
    let stored = stored(&header.dtype()).map_err(of)?;
    let [rows, shape @ ..] = header.shape() else {
        return Err(of("found a single number, expected rows".into()));
    };
    let shape: Vec<usize> = shape.iter().map(|size| *size as usize).collect();
    let item = shape.iter().try_fold(stored.bytes, |bytes, size| bytes.checked_mul(*size));
    let item = item.filter(|bytes| *bytes <= 1 << 32);
    let item = item.ok_or_else(|| of(format!("found the shape {:?}", header.shape())))?;
    let by_columns = header.order() == Order::Fortran && header.shape().len() > 1;
    let field = Field { name, elements: stored.elements, shape, wrong: None };
    Ok(Array { field, stored, rows: *rows, by_columns, from, row: vec![0; item] })
}

impl Array {
    /// The same with row after row.
    fn by_rows(mut self) -> Read<Array> {
        if self.by_columns {
            let shape: Vec<usize> =
                [self.rows as usize].iter().chain(&self.field.shape).copied().collect();
            let turned = turned(&mut *self.from, &shape, self.stored.bytes);
            self.from = turned.map_err(|text| format!("{}: {text}", self.field.name))?;
        }
        Ok(self)
    }
}

fn header(from: &mut dyn Source) -> Read<NpyHeader> {
    let none = |text: String| format!("found no array of numpy ({text})");
    let mut head = vec![0; 10];
    from.fill(&mut head).map_err(none)?;
    let mut length = usize::from(u16::from_le_bytes([head[8], head[9]]));
    if head[6] > 1 {
        head.resize(12, 0);
        from.fill(&mut head[10..])?;
        length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
    }
    if length > HEADER_BYTES_MAX {
        return Err(none(format!("a header of {length} bytes")));
    }
    let text = head.len();
    head.resize(text + length, 0);
    from.fill(&mut head[text..]).map_err(none)?;
    // The crate's parser takes time as the power of how deep brackets are.
    let mut depth = 0usize;
    for byte in &head[text..] {
        match byte {
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > HEADER_DEPTH_MAX {
            return Err(none("brackets within brackets".into()));
        }
    }
    NpyHeader::from_reader(&head[..]).map_err(|error| none(error.to_string()))
}

fn stored(dtype: &DType) -> Read<Stored> {
    let DType::Plain(found) = dtype else {
        let text = "found a structured array, expected one of numbers or texts";
        return Err(format!("{text}; hint: save x[\"name\"] of each of its fields"));
    };
    let bytes = found.num_bytes().unwrap_or(0);
    let elements = match (found.type_char(), bytes) {
        (TypeChar::Bool, 1) => Elements::Bool,
        (TypeChar::Int, 1 | 2 | 4 | 8) => Elements::Whole { signed: true, bytes },
        (TypeChar::Uint, 1 | 2 | 4 | 8) => Elements::Whole { signed: false, bytes },
        (TypeChar::Float, 2 | 4 | 8) => Elements::Real { bytes },
        (TypeChar::ByteStr, 1..) => Elements::Bytes,
        (TypeChar::UnicodeStr, 1..) => Elements::Wide,
        (TypeChar::Object, _) => {
            return Err("found a pickled array (dtype object), which may run any program; hint: \
                        save np.asarray(x, dtype=np.float32), or str for texts"
                .into());
        }
        _ => return Err(format!("found the type {found}, expected numbers or texts")),
    };
    Ok(Stored { elements, bytes, big_endian: found.endianness() == Endianness::Big })
}

/// An array that lies column after column, row after row.
fn turned(from: &mut dyn Source, shape: &[usize], element: usize) -> Read<Box<dyn Source>> {
    struct Turned(std::io::Cursor<Vec<u8>>);
    impl Source for Turned {
        fn fill(&mut self, to: &mut [u8]) -> Read<()> {
            self.0.read_exact(to).map_err(|error| error.to_string())
        }
        fn skip(&mut self, _: u64) -> Read<bool> {
            Ok(false)
        }
        fn end(&mut self) -> Read<()> {
            Ok(())
        }
    }
    let bytes = shape.iter().try_fold(element, |bytes, size| bytes.checked_mul(*size));
    let Some(bytes) = bytes.filter(|bytes| *bytes <= TURNED_BYTES_MAX) else {
        return Err(format!(
            "found {shape:?} numbers in Fortran's order, which are turned in memory up to \
             {TURNED_BYTES_MAX} bytes; hint: save np.ascontiguousarray(x)"
        ));
    };
    let mut columns = vec![0; bytes];
    from.fill(&mut columns)?;
    from.end()?;
    let rows = fields::turned(&columns, shape, element);
    Ok(Box::new(Turned(std::io::Cursor::new(rows))))
}
