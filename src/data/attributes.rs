//! Attributes of an HDF5 object as various programs write them, and names of HDF5's types.

use std::ffi::c_void;
use std::path::Path;

use hdf5::types::{TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Attribute, Datatype};
use hdf5_sys::h5a::{H5Aread, H5Awrite};
use hdf5_sys::h5t::{H5T_class_t, H5T_sign_t, H5T_str_t};
use hdf5_sys::h5t::{H5Tget_class, H5Tget_sign, H5Tget_strpad, H5Tis_variable_str};

use super::schema::wrong;
use crate::error::Result;
use crate::limits::TEXT_MAX;

/// The attributes of a file or of one of its datasets.
pub(crate) struct Attributes<'a> {
    pub(crate) path: &'a Path,
    /// What errors say before an attribute's name; empty for those of the file.
    pub(crate) field: &'a str,
    pub(crate) object: &'a hdf5::Location,
}

impl Attributes<'_> {
    /// # Errors
    /// Exit 4, as that of every method here: the attribute is missing or of another type.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        let attribute = self.one(name)?;
        let dtype = self.type_of(name, &attribute)?;
        let unreadable = |error: hdf5::Error| self.wrong(name, format!("can't be read ({error})"));
        let mut bytes = match dtype.to_descriptor() {
            Ok(TypeDescriptor::FixedAscii(size) | TypeDescriptor::FixedUnicode(size)) => {
                if size > TEXT_MAX {
                    return Err(self.too_long(name, size));
                }
                fixed_text(&attribute, &dtype, size).map_err(unreadable)?
            }
            Ok(TypeDescriptor::VarLenUnicode) => {
                let text = attribute.read_raw::<VarLenUnicode>().map_err(unreadable)?;
                text[0].as_bytes().to_vec()
            }
            Ok(TypeDescriptor::VarLenAscii) => {
                let text = attribute.read_raw::<VarLenAscii>().map_err(unreadable)?;
                text[0].as_bytes().to_vec()
            }
            _ => {
                let text = format!("found {}, expected a text", type_name(&dtype));
                return Err(self.wrong(name, text));
            }
        };
        if bytes.len() > TEXT_MAX {
            return Err(self.too_long(name, bytes.len()));
        }
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
        }
        String::from_utf8(bytes).map_err(|_| self.wrong(name, "found a text that isn't UTF-8"))
    }

    /// A whole number of any width.
    pub(crate) fn whole(&self, name: &str) -> Result<i128> {
        let attribute = self.one(name)?;
        let dtype = self.type_of(name, &attribute)?;
        let unreadable = |error: hdf5::Error| self.wrong(name, format!("can't be read ({error})"));
        match dtype.to_descriptor() {
            Ok(TypeDescriptor::Integer(_)) => {
                Ok(attribute.read_raw::<i64>().map_err(unreadable)?[0].into())
            }
            Ok(TypeDescriptor::Unsigned(_)) => {
                Ok(attribute.read_raw::<u64>().map_err(unreadable)?[0].into())
            }
            _ => {
                let text = format!("found {}, expected a whole number", type_name(&dtype));
                Err(self.wrong(name, text))
            }
        }
    }

    /// Finite numbers of any type, as f32: as many as one of `counts` says.
    pub(crate) fn reals(&self, name: &str, counts: &[usize]) -> Result<Vec<f32>> {
        let attribute = self.of_size(name, counts)?;
        let dtype = self.type_of(name, &attribute)?;
        let unreadable = |error: hdf5::Error| self.wrong(name, format!("can't be read ({error})"));
        let numbers = match type_class(&dtype) {
            H5T_class_t::H5T_FLOAT | H5T_class_t::H5T_INTEGER => {
                attribute.read_raw::<f64>().map_err(unreadable)?
            }
            _ => {
                let text = format!("found {}, expected a number", type_name(&dtype));
                return Err(self.wrong(name, text));
            }
        };
        let numbers: Vec<f32> = numbers.into_iter().map(|number| number as f32).collect();
        match numbers.iter().find(|number| !number.is_finite()) {
            None => Ok(numbers),
            Some(other) => {
                Err(self.wrong(name, format!("found {other}, expected a finite number")))
            }
        }
    }

    /// The attribute, which holds one value.
    fn one(&self, name: &str) -> Result<Attribute> {
        self.of_size(name, &[1])
    }

    /// The attribute, which holds as many values as one of `counts` says.
    fn of_size(&self, name: &str, counts: &[usize]) -> Result<Attribute> {
        let Ok(attribute) = self.object.attr(name) else {
            let hint = "is this a reelscale shard?";
            return Err(self.wrong(name, "attribute is missing").hint(hint));
        };
        let extents = attribute.space().and_then(|space| space.extents());
        match extents.map_or(0, |extents| extents.size()) {
            size if counts.contains(&size) => Ok(attribute),
            size => {
                let expected: Vec<String> = counts.iter().map(|count| count.to_string()).collect();
                let expected = if counts == [1] { "one".into() } else { expected.join(" or ") };
                Err(self.wrong(name, format!("found {size} values, expected {expected}")))
            }
        }
    }

    fn type_of(&self, name: &str, attribute: &Attribute) -> Result<Datatype> {
        attribute.dtype().map_err(|error| self.wrong(name, format!("can't be read ({error})")))
    }

    fn too_long(&self, name: &str, bytes: usize) -> crate::error::Error {
        self.wrong(name, format!("found a text of {bytes} bytes, expected at most {TEXT_MAX}"))
    }

    fn wrong(&self, name: &str, text: impl std::fmt::Display) -> crate::error::Error {
        match self.field {
            "" => wrong(self.path, name, text),
            field => wrong(self.path, &format!("{field}: attribute {name}"), text),
        }
    }
}

/// A text of `size` bytes without its padding.
fn fixed_text(attribute: &Attribute, dtype: &Datatype, size: usize) -> hdf5::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let (id, into) = (attribute.id(), bytes.as_mut_ptr().cast::<c_void>());
    let (status, padding) = hdf5::sync::sync(|| {
        // SAFETY: the attribute holds one value of `size` bytes, read in its own type.
        unsafe { (H5Aread(id, dtype.id(), into), H5Tget_strpad(dtype.id())) }
    });
    if status < 0 {
        return Err("damaged".into());
    }
    if matches!(padding, H5T_str_t::H5T_STR_SPACEPAD) {
        let end = bytes.iter().rposition(|byte| ![0, b' '].contains(byte));
        bytes.truncate(end.map_or(0, |at| at + 1));
    }
    Ok(bytes)
}

/// Makes a text of fixed length, UTF-8; one without bytes is a NUL.
pub(crate) fn write_text(object: &hdf5::Location, name: &str, text: &str) -> hdf5::Result<()> {
    let mut bytes = text.replace('\0', " ").into_bytes();
    bytes.resize(bytes.len().max(1), 0);
    let dtype = TypeDescriptor::FixedUnicode(bytes.len());
    let attribute = object.new_attr_builder().empty_as(&dtype).create(name)?;
    let dtype = attribute.dtype()?;
    let (id, from) = (attribute.id(), bytes.as_ptr().cast::<c_void>());
    // SAFETY: the attribute holds one value of as many bytes, written in its own type.
    let status = hdf5::sync::sync(|| unsafe { H5Awrite(id, dtype.id(), from) });
    if status < 0 { Err("an attribute can't be written".into()) } else { Ok(()) }
}

fn type_class(dtype: &Datatype) -> H5T_class_t {
    // SAFETY: the handle is open.
    hdf5::sync::sync(|| unsafe { H5Tget_class(dtype.id()) })
}

/// What numpy or people call a type.
pub(crate) fn type_name(dtype: &Datatype) -> String {
    let (bits, id) = (dtype.size() * 8, dtype.id());
    let name = match type_class(dtype) {
        H5T_class_t::H5T_INTEGER => {
            // SAFETY: the handle is open.
            let sign = hdf5::sync::sync(|| unsafe { H5Tget_sign(id) });
            let unsigned = matches!(sign, H5T_sign_t::H5T_SGN_NONE);
            return format!("{}int{bits}", if unsigned { "u" } else { "" });
        }
        H5T_class_t::H5T_FLOAT => return format!("float{bits}"),
        H5T_class_t::H5T_STRING => {
            // SAFETY: the handle is open.
            match hdf5::sync::sync(|| unsafe { H5Tis_variable_str(id) }) > 0 {
                true => "a variable-length text",
                false => return format!("fixed-length bytes ({})", dtype.size()),
            }
        }
        H5T_class_t::H5T_ENUM => "an enumeration or boolean",
        H5T_class_t::H5T_COMPOUND => "a compound type",
        H5T_class_t::H5T_ARRAY => "an array type",
        H5T_class_t::H5T_VLEN => "variable-length arrays",
        H5T_class_t::H5T_REFERENCE => "references",
        H5T_class_t::H5T_OPAQUE => "opaque bytes",
        H5T_class_t::H5T_BITFIELD => "a bit field",
        _ => "an unknown type",
    };
    name.into()
}
