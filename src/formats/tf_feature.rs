//! What a feature of a record holds: byte strings, floats or whole numbers (`tf_example`).

use std::fmt;

use super::wire::{Field, Message, Read};

/// The fields of a Feature: lists of one kind each.
const STRINGS: u64 = 1;
pub(super) const FLOATS: u64 = 2;
pub(super) const INTEGERS: u64 = 3;

/// Whether a feature has no list of another kind, not even an empty one.
pub(super) fn has_only(kind: u64, feature: &[u8]) -> Read<bool> {
    let mut lists = Message(feature);
    while let Some((number, _)) = lists.next()? {
        if number != kind && (STRINGS..=INTEGERS).contains(&number) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The value of a feature that must be one byte string; an error says what else it is.
pub(super) fn single_bytes(feature: &[u8]) -> Read<Result<&[u8], Content>> {
    let (mut found, mut strings): (&[u8], _) = (&[], 0);
    Message(feature).each(STRINGS, |list| {
        Message(list).each(1, |bytes| {
            (found, strings) = (bytes, strings + 1);
            Ok(())
        })
    })?;
    if strings == 1 && has_only(STRINGS, feature)? {
        return Ok(Ok(found));
    }
    let content = Content::of(feature)?;
    Ok(if content == Content::of_bytes(found.len()) { Ok(found) } else { Err(content) })
}

/// All byte strings of a feature, in order.
pub(super) fn strings(feature: &[u8]) -> Read<Vec<&[u8]>> {
    let mut values = Vec::new();
    Message(feature).each(STRINGS, |list| {
        Message(list).each(1, |bytes| {
            values.push(bytes);
            Ok(())
        })
    })?;
    Ok(values)
}

/// Calls `visit` with the bytes of every run of floats of a feature, a whole number of them.
fn float_runs<'a>(feature: &'a [u8], mut visit: impl FnMut(&'a [u8])) -> Read<()> {
    Message(feature).each(FLOATS, |list| {
        let mut list = Message(list);
        while let Some((number, value)) = list.next()? {
            // Packed into one field, or one field each.
            let (1, Field::Bytes(bytes) | Field::Four(bytes)) = (number, value) else { continue };
            if bytes.len() % 4 != 0 {
                return Err(format!("found {} bytes of floats", bytes.len()));
            }
            visit(bytes);
        }
        Ok(())
    })
}

/// All floats of a feature, in order.
pub(super) fn floats(feature: &[u8]) -> Read<Vec<f32>> {
    let mut values = Vec::new();
    float_runs(feature, |bytes| values.extend(numbers_of(bytes)))?;
    Ok(values)
}

/// The float32 numbers that these bytes are, little-endian.
pub(super) fn numbers_of(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

/// All whole numbers of a feature, in order.
pub(super) fn integers(feature: &[u8]) -> Read<Vec<i64>> {
    let mut values = Vec::new();
    Message(feature).each(INTEGERS, |list| {
        let mut list = Message(list);
        while !list.0.is_empty() {
            // Packed into one field, or one field each.
            match list.varint()? {
                0x0a => {
                    let length = list.varint()?;
                    let mut packed = Message(list.take(length)?);
                    while !packed.0.is_empty() {
                        values.push(packed.varint()? as i64);
                    }
                }
                0x08 => values.push(list.varint()? as i64),
                tag => return Err(format!("found the field {tag} among integers")),
            }
        }
        Ok(())
    })?;
    Ok(values)
}

/// How much of what a feature holds; a proper one holds one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Content {
    pub(crate) strings: usize,
    /// Of all strings.
    pub(crate) bytes: usize,
    pub(crate) floats: usize,
    pub(crate) integers: usize,
}

impl Content {
    /// So many floats and nothing else.
    pub(super) fn of_floats(floats: usize) -> Content {
        Content { floats, ..Content::default() }
    }

    /// One byte string of so many bytes and nothing else.
    pub(super) fn of_bytes(bytes: usize) -> Content {
        Content { strings: 1, bytes, ..Content::default() }
    }

    /// Of how many kinds it holds something.
    pub(super) fn kinds(&self) -> usize {
        [self.strings, self.floats, self.integers].iter().filter(|count| **count > 0).count()
    }

    pub(super) fn of(feature: &[u8]) -> Read<Content> {
        let mut content = Content::default();
        Message(feature).each(STRINGS, |list| {
            Message(list).each(1, |bytes| {
                content.strings += 1;
                content.bytes += bytes.len();
                Ok(())
            })
        })?;
        float_runs(feature, |bytes| content.floats += bytes.len() / 4)?;
        content.integers = integers(feature)?.len();
        Ok(content)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let counted = |count: usize, what: &str| {
            let ending = if count == 1 { "" } else { "s" };
            (count > 0).then(|| format!("{count} {what}{ending}"))
        };
        let strings = counted(self.strings, "byte string").map(|text| {
            let bytes = counted(self.bytes, "byte").unwrap_or_else(|| "0 bytes".into());
            let all = if self.strings > 1 { " in all" } else { "" };
            format!("{text} of {bytes}{all}")
        });
        let all = [strings, counted(self.floats, "float"), counted(self.integers, "whole number")];
        let all: Vec<String> = all.into_iter().flatten().collect();
        to.write_str(if all.is_empty() { "nothing" } else { "" })?;
        to.write_str(&all.join(" and "))
    }
}
