//! Messages of protocol buffers as they are written: fields one after the other.

/// A message under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

/// How the value of a field stands there.
const VARINT: u64 = 0;
const DOUBLE: u64 = 1;
const LENGTH: u64 = 2;
const FLOAT: u64 = 5;

fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

impl Message {
    pub(crate) fn number(mut self, field: u64, number: u64) -> Message {
        varint(&mut self.0, field << 3 | VARINT);
        varint(&mut self.0, number);
        self
    }

    pub(crate) fn double(mut self, field: u64, number: f64) -> Message {
        varint(&mut self.0, field << 3 | DOUBLE);
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(crate) fn float(mut self, field: u64, number: f32) -> Message {
        varint(&mut self.0, field << 3 | FLOAT);
        self.0.extend(number.to_le_bytes());
        self
    }

    /// The beginning of a field of so many bytes, which follow.
    pub(crate) fn length(mut self, field: u64, bytes: u64) -> Message {
        varint(&mut self.0, field << 3 | LENGTH);
        varint(&mut self.0, bytes);
        self
    }

    pub(crate) fn bytes(self, field: u64, bytes: &[u8]) -> Message {
        let mut message = self.length(field, bytes.len() as u64);
        message.0.extend_from_slice(bytes);
        message
    }

    pub(crate) fn text(self, field: u64, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    pub(crate) fn message(self, field: u64, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }

    /// The same field once for each.
    pub(crate) fn each<T>(
        self,
        items: impl IntoIterator<Item = T>,
        put: impl Fn(Message, T) -> Message,
    ) -> Message {
        items.into_iter().fold(self, put)
    }
}
