//! Messages of protocol buffers as they are written: fields one after the other. The numbers of
//! fields are those of `onnx.proto`, version 8 of its format.

/// A message under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

/// How the value of a field stands there.
const VARINT: u64 = 0;
const LENGTH: u64 = 2;

fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

impl Message {
    pub(super) fn number(mut self, field: u64, number: u64) -> Message {
        varint(&mut self.0, field << 3 | VARINT);
        varint(&mut self.0, number);
        self
    }

    /// The beginning of a field of so many bytes, which follow.
    pub(super) fn length(mut self, field: u64, bytes: u64) -> Message {
        varint(&mut self.0, field << 3 | LENGTH);
        varint(&mut self.0, bytes);
        self
    }

    pub(super) fn bytes(self, field: u64, bytes: &[u8]) -> Message {
        let mut message = self.length(field, bytes.len() as u64);
        message.0.extend_from_slice(bytes);
        message
    }

    pub(super) fn text(self, field: u64, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    pub(super) fn message(self, field: u64, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }

    /// The same field once for each.
    pub(super) fn each<T>(
        self,
        items: impl IntoIterator<Item = T>,
        put: impl Fn(Message, T) -> Message,
    ) -> Message {
        items.into_iter().fold(self, put)
    }
}
