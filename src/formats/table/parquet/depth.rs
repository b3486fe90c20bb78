//! How deep the groups of a footer's schema lie within each other, found without a call within a
//! call: the crate makes a call for each, and a thread's stack has an end.

use crate::formats::wire::{Message, Read};

/// Groups within groups at most.
const GROUPS_MAX: usize = 100;
/// Structures within structures of Thrift at most; the format has a dozen.
const STRUCTURES_MAX: usize = 64;
/// The field of a footer that is its schema, and of an element of it how many are within it.
const SCHEMA: i64 = 2;
const WITHIN: i64 = 5;

/// # Errors
/// Groups that lie deeper than any table's; bytes that aren't a footer.
pub(super) fn check(footer: &[u8]) -> Read<()> {
    let mut from = Compact(Message(footer));
    from.footer().unwrap_or_else(|| Err("found a damaged Parquet file (its footer)".into()))
}

/// What is left of bytes in Thrift's compact protocol, whose numbers are those of protocol buffers.
struct Compact<'a>(Message<'a>);

/// What an element's kind is.
mod kind {
    pub(super) const STOP: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCTURE: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.0.take(1).ok().map(|bytes| bytes[0])
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.0.take(bytes).ok().map(drop)
    }

    fn number(&mut self) -> Option<u64> {
        self.0.varint().ok()
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// The next field's number and kind, `STOP` at the end.
    fn field(&mut self, last: &mut i64) -> Option<u8> {
        let byte = self.byte()?;
        if byte == kind::STOP {
            return Some(kind::STOP);
        }
        *last = match byte >> 4 {
            0 => self.signed()?,
            step => last.checked_add(i64::from(step))?,
        };
        Some(byte & 15)
    }

    /// How many elements a list has, and of which kind.
    fn list(&mut self) -> Option<(u64, u8)> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.number()?,
            count => u64::from(count),
        };
        Some((count, byte & 15))
    }

    /// Passes over what is of this kind, `alone` or as a field.
    fn skip(&mut self, kind: u8, alone: bool, depth: usize) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match kind {
            kind::TRUE | kind::FALSE if !alone => Some(()),
            kind::TRUE | kind::FALSE | kind::BYTE => self.pass(1),
            kind::I16 | kind::I32 | kind::I64 => self.number().map(drop),
            kind::DOUBLE => self.pass(8),
            kind::UUID => self.pass(16),
            kind::BINARY => {
                let bytes = self.number()?;
                self.pass(bytes)
            }
            kind::LIST | kind::SET => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.skip(kind, true, deeper))
            }
            kind::MAP => {
                let count = self.number()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip(kinds >> 4, true, deeper)?;
                    self.skip(kinds & 15, true, deeper)
                })
            }
            kind::STRUCTURE => {
                let mut last = 0;
                loop {
                    match self.field(&mut last)? {
                        kind::STOP => return Some(()),
                        kind => self.skip(kind, false, deeper)?,
                    }
                }
            }
            _ => None,
        }
    }

    /// None: these are no fields.
    fn footer(&mut self) -> Option<Read<()>> {
        let mut last = 0;
        loop {
            match self.field(&mut last)? {
                kind::STOP => return Some(Ok(())),
                kind::LIST if last == SCHEMA => {
                    let found = self.schema()?;
                    if found.is_err() {
                        return Some(found);
                    }
                }
                kind => self.skip(kind, false, STRUCTURES_MAX)?,
            }
        }
    }

    fn schema(&mut self) -> Option<Read<()>> {
        let (count, kind) = self.list()?;
        if kind != kind::STRUCTURE {
            return None;
        }
        // How many elements are still to come in each group that is open.
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..count {
            let within = self.element()?;
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if within > 0 {
                open.push(within);
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if open.len() > GROUPS_MAX {
                let text = "found more than";
                return Some(Err(format!(
                    "{text} {GROUPS_MAX} groups within groups in its schema"
                )));
            }
        }
        Some(Ok(()))
    }

    /// How many elements are within an element of the schema.
    fn element(&mut self) -> Option<i64> {
        let (mut last, mut within) = (0, 0);
        loop {
            match self.field(&mut last)? {
                kind::STOP => return Some(within),
                kind::I32 if last == WITHIN => within = self.signed()?,
                kind => self.skip(kind, false, STRUCTURES_MAX)?,
            }
        }
    }
}
