//! Learned state as bytes: vectors of numbers as byte strings (`#[serde(with = "packed")]`), one
//! CBOR item (RFC 8949) after the other.
//!
//! Element by element the numbers of a large model would take ten times as long. Byte order is
//! this machine's, which is little-endian wherever the program runs.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserializer, Serialize, Serializer};

#[cfg(target_endian = "big")]
compile_error!("checkpoints hold little-endian numbers");

/// Vectors of numbers.
pub trait Numbers: Sized {
    type Number: Pod;
    fn numbers(&self) -> &[Self::Number];
    fn from_numbers(numbers: Vec<Self::Number>) -> Self;
}

impl<T: Pod> Numbers for Vec<T> {
    type Number = T;
    fn numbers(&self) -> &[T] {
        self
    }
    fn from_numbers(numbers: Vec<T>) -> Vec<T> {
        numbers
    }
}

impl<T: Pod> Numbers for Arc<Vec<T>> {
    type Number = T;
    fn numbers(&self) -> &[T] {
        self
    }
    fn from_numbers(numbers: Vec<T>) -> Arc<Vec<T>> {
        Arc::new(numbers)
    }
}

impl<T: Pod> Numbers for Cow<'_, [T]> {
    type Number = T;
    fn numbers(&self) -> &[T] {
        self
    }
    fn from_numbers(numbers: Vec<T>) -> Self {
        Cow::Owned(numbers)
    }
}

pub(crate) fn serialize<V: Numbers, S: Serializer>(numbers: &V, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytemuck::cast_slice(numbers.numbers()))
}

pub(crate) fn deserialize<'a, V: Numbers, D: Deserializer<'a>>(from: D) -> Result<V, D::Error> {
    from.deserialize_byte_buf(Bytes(PhantomData)).map(V::from_numbers)
}

struct Bytes<T>(PhantomData<T>);

impl<T: Pod> Visitor<'_> for Bytes<T> {
    type Value = Vec<T>;

    fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "numbers of {} bytes each", size_of::<T>())
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        match bytes.len() % size_of::<T>() {
            0 => Ok(bytemuck::allocation::pod_collect_to_vec(bytes)),
            _ => Err(E::invalid_length(bytes.len(), &self)),
        }
    }
}

/// One vector of numbers by itself.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent, bound = "")]
pub struct Packed<V: Numbers>(#[serde(with = "self")] pub(crate) V);

/// Writes `value` as the next item.
pub fn put(to: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    ciborium::into_writer(value, to).map_err(|error| match error {
        ciborium::ser::Error::Io(error) => error,
        ciborium::ser::Error::Value(text) => io::Error::other(text),
    })
}

/// Begins a map of `count` named fields. What follows is the name and the value of each, an item
/// each, for values that others write.
pub(crate) fn put_fields(to: &mut dyn Write, count: u8) -> io::Result<()> {
    assert!(count < 24, "more fields have a longer head");
    to.write_all(&[0xa0 | count])
}

/// Writes a vector of numbers as the next item.
pub fn put_numbers<T: Pod>(to: &mut dyn Write, numbers: &[T]) -> io::Result<()> {
    struct Slice<'a, T>(&'a [T]);
    impl<T: Pod> Serialize for Slice<'_, T> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(bytemuck::cast_slice(self.0))
        }
    }
    put(to, &Slice(numbers))
}

/// Reads the next item.
pub fn take<T: DeserializeOwned>(from: &mut dyn Read) -> io::Result<T> {
    ciborium::from_reader(from).map_err(|error| match error {
        ciborium::de::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, in_words(other)),
    })
}

/// Why an item can't be read.
fn in_words(error: ciborium::de::Error<io::Error>) -> String {
    use ciborium::de::Error::{Io, RecursionLimitExceeded, Semantic, Syntax};
    match error {
        Io(error) => error.to_string(),
        Syntax(byte) => format!("found no CBOR at byte {byte} of a record"),
        Semantic(Some(byte), text) => format!("byte {byte} of a record: {text}"),
        Semantic(None, text) => text,
        RecursionLimitExceeded => "found records within records without end".into(),
    }
}

/// Reads a vector of numbers, the next item.
pub fn take_numbers<V: Numbers>(from: &mut dyn Read) -> io::Result<V> {
    take::<Packed<V>>(from).map(|packed| packed.0)
}

/// An item that was read back, unless something of it can't be.
pub(crate) fn unless<T>(item: T, fault: Option<String>) -> io::Result<T> {
    match fault {
        None => Ok(item),
        Some(what) => Err(io::Error::new(io::ErrorKind::InvalidData, what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_bit_for_bit_and_cut_ones_are_errors() {
        let mut bytes = Vec::new();
        let floats = [1.5f32, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE / 4.0];
        put_numbers(&mut bytes, &floats).unwrap();
        put(&mut bytes, &(f64::INFINITY, 0.1f64, Some(3usize))).unwrap();
        let mut from = bytes.as_slice();
        let found: Arc<Vec<f32>> = take_numbers(&mut from).unwrap();
        assert!(found.iter().zip(floats).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(
            take::<(f64, f64, Option<usize>)>(&mut from).unwrap(),
            (f64::INFINITY, 0.1, Some(3))
        );
        assert!(from.is_empty());
        for end in 0..bytes.len() - 1 {
            let mut from = &bytes[..end];
            let first = take_numbers::<Vec<f32>>(&mut from);
            assert!(first.is_err() || take::<(f64, f64, Option<usize>)>(&mut from).is_err());
        }
        let odd = [0x43, 1, 2, 3];
        assert!(take_numbers::<Vec<f32>>(&mut &odd[..]).is_err(), "three bytes are no floats");
    }
}
