//! What a file is by its first bytes, where it isn't what was expected: its name for people and
//! what to do about it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::csv::shown;
use super::wire::{Message, Read};

/// So many of the first bytes are looked at.
pub(super) const LOOKED_AT: usize = 512;

/// What a file turns out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kind {
    /// As messages call it.
    pub(super) name: &'static str,
    pub(super) hint: &'static str,
}

const OTHER_FORMATS: &str = "`reelscale convert --help` lists the formats that --from takes";

const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

/// What files of each kind begin with.
const BEGINNINGS: &[(&[u8], &str, &str)] = &[
    (b"version https://git-lfs", "a Git LFS pointer", "git lfs pull"),
    (b"\x1f\x8b", "a gzip stream", "gunzip it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd stream", "unzstd it first"),
    (b"BZh", "a bzip2 stream", "bunzip2 it first"),
    (b"\xfd7zXZ\0", "an xz stream", "unxz it first"),
    (b"\x04\x22\x4d\x18", "an lz4 stream", "unlz4 it first"),
    (b"PK\x03\x04", "a zip archive", "unzip it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive", "unpack it first"),
    (
        HDF5,
        "an HDF5 file",
        "shards need no conversion, and `reelscale inspect FILE` says whether it is one",
    ),
    (b"\x93NUMPY", "a NumPy array (npy)", OTHER_FORMATS),
    (b"PAR1", "a Parquet file", OTHER_FORMATS),
    (b"ARROW1", "an Arrow file", OTHER_FORMATS),
    (
        b"MATLAB 5.0 MAT-file",
        "a MATLAB file of version 7 or before",
        "save(..., '-v7.3') writes HDF5, which --from hdf5 takes",
    ),
    (b"\x80\x02", "a pickle of Python", OTHER_FORMATS),
    (b"\x80\x03", "a pickle of Python", OTHER_FORMATS),
    (b"\x80\x04\x95", "a pickle of Python", OTHER_FORMATS),
    (b"\x80\x05\x95", "a pickle of Python", OTHER_FORMATS),
    (b"%PDF-", "a PDF file", OTHER_FORMATS),
    (b"\xff\xfe", "text in UTF-16", "iconv -f UTF-16 -t UTF-8 FILE > NEW"),
    (b"\xfe\xff", "text in UTF-16", "iconv -f UTF-16 -t UTF-8 FILE > NEW"),
];

/// Where archives of tar say that they are some.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// What begins with these bytes, if it is anything known but text.
pub(super) fn kind_of(first: &[u8]) -> Option<Kind> {
    let known = BEGINNINGS.iter().find(|known| first.starts_with(known.0));
    if let Some((_, name, hint)) = known {
        return Some(Kind { name, hint });
    }
    if first.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Some(Kind { name: "a tar archive", hint: "unpack it first" });
    }
    let text = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first).trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
    };
    if ["<!doctype html", "<html", "<head", "<?xml"].into_iter().any(begins) {
        let hint = "a server has answered with a page: fetch the file again";
        return Some(Kind { name: "an HTML page", hint });
    }
    // Empty lines may look like one.
    let bare = is_bare_record(first).unwrap_or(false) && first_line_of_text(first).is_none();
    bare.then_some(Kind {
        name: "a tf.train.Example or SequenceExample without the framing of TFRecord",
        hint: "write it with tf.io.TFRecordWriter",
    })
}

/// What a file is that is no HDF5 file, and what to do about it, in a line.
pub(crate) fn told_of_other_than_hdf5(path: &Path) -> Option<String> {
    let mut first = Vec::new();
    File::open(path).ok()?.take(LOOKED_AT as u64).read_to_end(&mut first).ok()?;
    let (name, hint) = told(&first).filter(|_| !first.starts_with(HDF5))?;
    Some(format!("found {name}, expected an HDF5 file; hint: {hint}"))
}

/// What the data of a record are that are no message: a picture, compressed, text.
pub(super) fn told_of_data(first: &[u8]) -> Option<String> {
    let pictures: [(&[u8], &str); 3] =
        [(b"\xff\xd8\xff", "a JPEG picture"), (b"\x89PNG", "a PNG picture"), (b"GIF8", "a GIF")];
    let picture = pictures.iter().find(|picture| first.starts_with(picture.0));
    let known = BEGINNINGS.iter().find(|known| first.starts_with(known.0));
    let name = picture.map(|picture| picture.1).or(known.map(|known| known.1));
    let text =
        || first_line_of_text(first).map(|line| format!("text that begins with {}", shown(line)));
    name.map(String::from).or_else(text)
}

/// The same, and text by its first line: its name and what to do.
pub(super) fn told(first: &[u8]) -> Option<(String, &'static str)> {
    if let Some(kind) = kind_of(first) {
        return Some((kind.name.into(), kind.hint));
    }
    let line = first_line_of_text(first)?;
    let numbers = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let digits = |word: &[u8]| word.iter().all(u8::is_ascii_digit);
    let hint = match numbers.clone().count() == 3 && numbers.clone().all(digits) {
        true => "--from svmlight reads text with such a header",
        false => OTHER_FORMATS,
    };
    Some((format!("text that begins with {}", shown(line)), hint))
}

/// The first line, where everything is text in ASCII or UTF-8.
fn first_line_of_text(first: &[u8]) -> Option<&[u8]> {
    // A number of a few bytes may look like text; a length of a record has NULs within eight.
    const LEAST: usize = 5;
    let first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first);
    let whole = match std::str::from_utf8(first) {
        Ok(text) => text,
        // A letter may be cut where the bytes end.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&first[..error.valid_up_to()]).expect("valid so far")
        }
        Err(_) => return None,
    };
    let text = |letter: char| !letter.is_control() || matches!(letter, '\t' | '\r' | '\n');
    if whole.len() < LEAST || !whole.chars().all(text) {
        return None;
    }
    whole.lines().map(str::trim).find(|line| !line.is_empty()).map(str::as_bytes)
}

/// Whether these are the first bytes of a record's message, with a map of features that has a key
/// people can read.
fn is_bare_record(first: &[u8]) -> Read<bool> {
    let mut message = Message(first);
    loop {
        let maps = [0x0a, 0x12].contains(&message.varint()?);
        if !maps {
            return Ok(false);
        }
        // A context may be empty.
        if message.varint()? > 0 {
            break;
        }
    }
    let entry = (message.varint()?, message.varint()?);
    let (key, length) = (message.varint()?, message.varint()?);
    if (entry.0, key) != (0x0a, 0x0a) || !(1..=256).contains(&length) {
        return Ok(false);
    }
    let name = message.take(length)?;
    Ok(name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        let mut tar = vec![0; LOOKED_AT];
        tar[..5].copy_from_slice(b"a.txt");
        tar[257..262].copy_from_slice(b"ustar");
        let table: &[(&[u8], Option<&str>)] = &[
            (b"version https://git-lfs.github.com/spec/v1\n", Some("a Git LFS pointer")),
            (b"\n <!DOCTYPE HTML PUBLIC>", Some("an HTML page")),
            (b"\xef\xbb\xbf<html>", Some("an HTML page")),
            (b"PK\x03\x04\x14", Some("a zip archive")),
            (b"\x89HDF\r\n\x1a\n\0", Some("an HDF5 file")),
            (b"\x93NUMPY\x01\0", Some("a NumPy array (npy)")),
            (&tar, Some("a tar archive")),
            (b"\xff\xfei\0d\0", Some("text in UTF-16")),
            (b"id,f0,f1\nv1,0.1", Some("text that begins with \"id,f0,f1\"")),
            ("\u{feff}\r\nä,b\r\n".as_bytes(), Some("text that begins with \"ä,b\"")),
            (b"\x0a\x0e\x0a\x0c\x0a\x02id\x12", Some("a tf.train.Example or SequenceExample")),
            (b"\x0a\0\x12\x0e\x0a\x0c\x0a\x03rgb\x12", Some("a tf.train.Example or")),
            (b"\x0a\x0e\x0a\x0c\x0a\x02\x01\x02\x12", None),
            (b"\n\n\n\n\n\x04ab\x01d", None),
            (b"\n\n\n\n\n\tabcdefghi,\n", Some("text that begins with \"abcdefghi,\"")),
            (b"abcd", None),
            (b"\x50\0\0\0\0\0\0\0", None),
            (b"", None),
        ];
        for (first, expected) in table {
            let found = told(first).map(|found| found.0);
            match expected {
                Some(name) => assert!(found.unwrap().starts_with(name), "{first:?}"),
                None => assert_eq!(found, None, "{first:?}"),
            }
        }
        assert!(told(b"4 5 3\n0 0:1\n").unwrap().1.starts_with("--from svmlight"));
    }
}
