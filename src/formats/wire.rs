//! The wire format of protocol buffers, as far as records need it: a reader that never looks beyond
//! what it was given.

/// What is wrong with a record; the caller adds where it is.
pub(crate) type Wrong = String;
pub(crate) type Read<T> = std::result::Result<T, Wrong>;

/// One field's value: bytes, the four bytes of a number, or a number of another kind.
pub(crate) enum Field<'a> {
    Bytes(&'a [u8]),
    Four(&'a [u8]),
    Number,
}

/// Fields of a message, one after the other.
pub(crate) struct Message<'a>(pub(crate) &'a [u8]);

impl<'a> Message<'a> {
    pub(crate) fn varint(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                if value >> (7 * index) != bits {
                    // It is beyond 64 bits.
                    break;
                }
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err("found a broken number".into())
    }

    pub(crate) fn take(&mut self, count: u64) -> Read<&'a [u8]> {
        if count > self.0.len() as u64 {
            return Err(format!("found a field of {count} bytes, {} are left", self.0.len()));
        }
        let (taken, rest) = self.0.split_at(count as usize);
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn next(&mut self) -> Read<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => {
                self.varint()?;
                Field::Number
            }
            1 => {
                self.take(8)?;
                Field::Number
            }
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Four(self.take(4)?),
            other => return Err(format!("found the wire type {other}")),
        };
        Ok(Some((tag >> 3, value)))
    }

    /// Calls `visit` with the bytes of every field `number`.
    pub(crate) fn each(
        mut self,
        number: u64,
        mut visit: impl FnMut(&'a [u8]) -> Read<()>,
    ) -> Read<()> {
        while let Some((found, value)) = self.next()? {
            if let (true, Field::Bytes(bytes)) = (found == number, value) {
                visit(bytes)?;
            }
        }
        Ok(())
    }
}
