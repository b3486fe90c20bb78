//! Fields of rows as files of others store them: arrays of numpy, datasets of HDF5, columns.

use std::path::Path;

type Read<T> = Result<T, String>;

/// What all rows of a file have under one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) elements: Elements,
    /// Of one row: nothing for a number or a text, [D] for a vector, [T, D] for frames. 0 where
    /// rows differ in it.
    pub(crate) shape: Vec<usize>,
    /// Why it can't be read, which matters to who wants it.
    pub(crate) wrong: Option<String>,
}

impl Field {
    /// Numbers of a row.
    pub(crate) fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// One of which is only known why it can't be read.
    pub(crate) fn unreadable(name: String, wrong: String) -> Field {
        Field { name, elements: Elements::Bytes, shape: Vec::new(), wrong: Some(wrong) }
    }
}

/// What a file is called without its ending, by which its rows or its only array are named.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A whole number in digits, as pandas writes those too among which some are missing: 3.0.
pub(crate) fn whole(text: &str) -> Option<i128> {
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

/// Elements of an array of this shape, whose first axis is the nearest, as one whose last axis is.
pub(crate) fn turned(columns: &[u8], shape: &[usize], element: usize) -> Vec<u8> {
    let mut rows = vec![0; columns.len()];
    let mut index = vec![0usize; shape.len()];
    for to in rows.chunks_exact_mut(element) {
        let at = shape.iter().zip(&index).rev().fold(0, |at, (size, index)| at * size + index);
        to.copy_from_slice(&columns[at * element..][..element]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    rows
}

/// What one element is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Elements {
    Bool,
    Whole {
        signed: bool,
        bytes: usize,
    },
    Real {
        bytes: usize,
    },
    /// Bytes, padded with NUL.
    Bytes,
    /// Code points of four bytes, padded with 0.
    Wide,
    /// Text of any length.
    Text,
}

impl Elements {
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Elements::Bytes | Elements::Wide | Elements::Text)
    }

    /// In words.
    pub(crate) fn name(self) -> String {
        match self {
            Elements::Bool => "truth values".into(),
            Elements::Whole { signed, bytes } => {
                format!("{}int{}", if signed { "" } else { "u" }, 8 * bytes)
            }
            Elements::Real { bytes } => format!("float{}", 8 * bytes),
            Elements::Bytes | Elements::Wide | Elements::Text => "texts".into(),
        }
    }
}

/// How elements lie in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) elements: Elements,
    /// Bytes of one.
    pub(crate) bytes: usize,
    /// Whether the first byte of a number is its highest.
    pub(crate) big_endian: bool,
}

impl Stored {
    /// The bytes of a number, the lowest first, in as many as the widest has.
    fn widened<const N: usize>(&self, raw: &[u8], filler: u8) -> [u8; N] {
        let mut wide = [filler; N];
        wide[..raw.len()].copy_from_slice(raw);
        if self.big_endian {
            wide[..raw.len()].reverse();
        }
        wide
    }

    fn float(&self, raw: &[u8]) -> f64 {
        let bits = u64::from_le_bytes(self.widened(raw, 0));
        match raw.len() {
            2 => half::f16::from_bits(bits as u16).to_f64(),
            4 => f64::from(f32::from_bits(bits as u32)),
            _ => f64::from_bits(bits),
        }
    }

    fn integer(&self, raw: &[u8], signed: bool) -> i128 {
        let highest = if self.big_endian { raw[0] } else { raw[raw.len() - 1] };
        let filler = if signed && highest & 0x80 != 0 { 0xff } else { 0 };
        i128::from_le_bytes(self.widened(raw, filler))
    }

    /// Appends numbers; NaN stays.
    ///
    /// # Errors
    /// What a float32 can't hold: whole numbers with more digits, reals beyond its range; text.
    pub(crate) fn reals(&self, raw: &[u8], to: &mut Vec<f32>) -> Read<()> {
        if *self == FLOAT32 && cfg!(target_endian = "little") {
            to.extend(
                raw.chunks_exact(4).map(|one| f32::from_le_bytes([one[0], one[1], one[2], one[3]])),
            );
            return Ok(());
        }
        for one in raw.chunks_exact(self.bytes) {
            to.push(match self.elements {
                Elements::Bool => f32::from(one[0] != 0),
                Elements::Whole { signed, .. } => whole_as_real(self.integer(one, signed))?,
                Elements::Real { .. } => real_as_real(self.float(one))?,
                Elements::Bytes | Elements::Wide | Elements::Text => {
                    return Err("found a text, expected numbers".into());
                }
            });
        }
        Ok(())
    }

    /// Appends whole numbers, of reals that are whole, too.
    ///
    /// # Errors
    /// Another number; text.
    pub(crate) fn wholes(&self, raw: &[u8], to: &mut Vec<i128>) -> Read<()> {
        for one in raw.chunks_exact(self.bytes) {
            to.push(match self.elements {
                Elements::Bool => i128::from(one[0] != 0),
                Elements::Whole { signed, .. } => self.integer(one, signed),
                Elements::Real { .. } => real_as_whole(self.float(one))?,
                Elements::Bytes | Elements::Wide | Elements::Text => {
                    return Err("found a text, expected whole numbers".into());
                }
            });
        }
        Ok(())
    }

    /// Appends one text, without what pads it, or one whole number in digits.
    ///
    /// # Errors
    /// Code points that don't exist; numbers that aren't whole.
    pub(crate) fn text(&self, raw: &[u8], to: &mut Vec<u8>) -> Read<()> {
        match self.elements {
            Elements::Bytes | Elements::Text => {
                let end = raw.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                to.extend_from_slice(&raw[..end]);
            }
            Elements::Wide => {
                let points = raw.chunks_exact(4).map(|one| self.integer(one, false) as u32);
                let mut text = String::new();
                for point in points {
                    let found = char::from_u32(point);
                    text.push(found.ok_or_else(|| format!("found the code point {point:#x}"))?);
                }
                to.extend_from_slice(text.trim_end_matches('\0').as_bytes());
            }
            Elements::Real { .. } => {
                return Err(format!(
                    "found {}, expected texts or whole numbers",
                    self.elements.name()
                ));
            }
            Elements::Bool | Elements::Whole { .. } => {
                let mut wholes = Vec::new();
                self.wholes(raw, &mut wholes)?;
                let [whole] = wholes[..] else {
                    return Err(format!("found {} numbers, expected one", wholes.len()));
                };
                to.extend_from_slice(whole.to_string().as_bytes());
            }
        }
        Ok(())
    }
}

/// # Errors
/// It has more digits than a float32.
pub(crate) fn whole_as_real(whole: i128) -> Read<f32> {
    let value = whole as f32;
    match value as i128 == whole {
        true => Ok(value),
        false => Err(format!("found {whole}, which no float32 is")),
    }
}

/// NaN stays.
///
/// # Errors
/// It is beyond the range of a float32.
pub(crate) fn real_as_real(real: f64) -> Read<f32> {
    let value = real as f32;
    match real.is_finite() && !value.is_finite() {
        true => Err(format!("found {real:e}, beyond what a float32 can be")),
        false => Ok(value),
    }
}

/// # Errors
/// It isn't whole.
pub(crate) fn real_as_whole(real: f64) -> Read<i128> {
    // Beyond that neighbours of a float64 are whole anyway.
    match real.trunc() != real || real.abs() > 2f64.powi(53) {
        true => Err(format!("found {real}, expected a whole number")),
        false => Ok(real as i128),
    }
}

const FLOAT32: Stored =
    Stored { elements: Elements::Real { bytes: 4 }, bytes: 4, big_endian: false };

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(signed: bool, bytes: usize, big_endian: bool) -> Stored {
        Stored { elements: Elements::Whole { signed, bytes }, bytes, big_endian }
    }

    #[test]
    fn numbers_come_out_as_they_were_stored() {
        let wholes = |stored: Stored, raw: &[u8]| {
            let mut to = Vec::new();
            stored.wholes(raw, &mut to).map(|()| to)
        };
        assert_eq!(wholes(whole(true, 2, false), &[0xfe, 0xff, 1, 0]), Ok(vec![-2, 1]));
        assert_eq!(wholes(whole(true, 2, true), &[0xff, 0xfe, 0, 1]), Ok(vec![-2, 1]));
        assert_eq!(wholes(whole(false, 8, false), &[0xff; 8]), Ok(vec![i128::from(u64::MAX)]));
        let half = Stored { elements: Elements::Real { bytes: 2 }, bytes: 2, big_endian: false };
        assert_eq!(wholes(half, &[0, 0x3c]), Ok(vec![1]));
        assert!(wholes(half, &[0, 0x38]).unwrap_err().contains("found 0.5"));
        let reals = |stored: Stored, raw: &[u8]| {
            let mut to = Vec::new();
            stored.reals(raw, &mut to).map(|()| to)
        };
        assert_eq!(reals(half, &[1, 0]), Ok(vec![2f32.powi(-24)]), "a denormal of float16");
        assert!(reals(whole(true, 4, false), &16_777_217i32.to_le_bytes()).is_err());
        let double = Stored { elements: Elements::Real { bytes: 8 }, bytes: 8, big_endian: true };
        assert_eq!(reals(double, &0.1f64.to_be_bytes()), Ok(vec![0.1]));
        assert!(reals(double, &1e39f64.to_be_bytes()).unwrap_err().contains("1e39"));
        assert!(reals(double, &f64::NAN.to_be_bytes()).unwrap()[0].is_nan());
    }

    #[test]
    fn texts_lose_what_pads_them() {
        let text = |elements, raw: &[u8]| {
            let stored = Stored { elements, bytes: raw.len(), big_endian: false };
            let mut to = Vec::new();
            stored.text(raw, &mut to).map(|()| String::from_utf8(to).unwrap())
        };
        assert_eq!(text(Elements::Bytes, b"ab\0c\0\0"), Ok("ab\0c".into()));
        assert_eq!(text(Elements::Wide, &[0xe4, 0, 0, 0, 0, 0, 0, 0]), Ok("ä".into()));
        assert!(text(Elements::Wide, &[0, 0xd8, 0, 0]).is_err(), "half of a pair");
        assert_eq!(text(Elements::Whole { signed: false, bytes: 1 }, &[7]), Ok("7".into()));
        assert!(text(Elements::Real { bytes: 8 }, &[0; 8]).is_err());
    }
}
