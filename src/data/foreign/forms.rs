//! The types that elements of datasets may have, and the members of those that hold records.

use std::ffi::CStr;
use std::ops::Range;

use hdf5::types::VarLenUnicode;
use hdf5::{Dataset, Group, LocationType};
use hdf5_sys::h5::{H5free_memory, hsize_t};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5t::H5Tis_variable_str;
use hdf5_sys::h5t::{H5T_class_t, H5T_order_t, H5T_sign_t};
use hdf5_sys::h5t::{H5Tclose, H5Tget_array_dims2, H5Tget_array_ndims, H5Tget_class};
use hdf5_sys::h5t::{H5Tget_member_name, H5Tget_member_offset, H5Tget_member_type};
use hdf5_sys::h5t::{H5Tget_nmembers, H5Tget_order, H5Tget_sign, H5Tget_size, H5Tget_super};

use super::matlab;
use crate::data::storage;
use crate::fields::{Elements, Stored};

type Read<T> = Result<T, String>;

/// Members of records, and records within records, at most.
const MEMBERS_MAX: usize = 4096;
const DEPTH_MAX: usize = 8;
/// Dimensions of an array at most (H5S_MAX_RANK).
const RANK_MAX: usize = 32;

/// How the elements of a dataset are read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Fixed(Stored),
    /// Texts of any length, by HDF5's two kinds.
    Unicode,
    Ascii,
    /// Lists of whole numbers.
    Lists,
    /// MATLAB's texts: rows of code units.
    Units(Stored),
    /// MATLAB's cells: references to a text each.
    Cells,
    /// Records, of which members are asked for.
    Records,
}

/// What is read of each element of a dataset: all of it, or a member of its records.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) form: Form,
    /// Its bytes within an element.
    pub(super) bytes: Range<usize>,
    /// Of a member that is an array.
    pub(super) shape: Vec<usize>,
}

/// A member of records.
pub(super) struct Member {
    /// With the names of the records that it is in: `a/b`.
    pub(super) name: String,
    pub(super) part: Read<Part>,
    of_any_length: bool,
}

/// The dataset of this path, or the one that holds records of which the path's end names a member.
///
/// # Errors
/// It is missing, or nothing that is read here.
pub(super) fn find<'a>(group: &Group, path: &'a str) -> Read<(Dataset, Option<&'a str>)> {
    for (at, _) in path.match_indices('/') {
        let (dataset, member) = (&path[..at], &path[at + 1..]);
        if matches!(group.loc_type_by_name(dataset), Ok(LocationType::Dataset)) {
            return Ok((storage::open(group, dataset)?, Some(member)));
        }
    }
    Ok((storage::open(group, path)?, None))
}

/// What `find` finds, and what is read of its elements.
///
/// # Errors
/// As `find`; a member that is missing or can't be read.
pub(super) fn open(group: &Group, path: &str) -> Read<(Dataset, Part)> {
    let (dataset, member) = find(group, path)?;
    let part = match member {
        Some(member) => member_of(&members(&dataset)?, member)?,
        None => whole(&dataset)?,
    };
    Ok((dataset, part))
}

/// The part of the member of this name.
///
/// # Errors
/// It is missing, or can't be read.
pub(super) fn member_of(members: &[Member], name: &str) -> Read<Part> {
    let found = members.iter().find(|one| one.name == name);
    found.ok_or_else(|| "is missing".to_string())?.part.clone()
}

/// All of each record.
pub(super) fn record(dataset: &Dataset) -> Read<Part> {
    let bytes = 0..dataset.dtype().map_err(|error| error.to_string())?.size();
    Ok(Part { form: Form::Records, bytes, shape: Vec::new() })
}

/// All of each element.
pub(super) fn whole(dataset: &Dataset) -> Read<Part> {
    let dtype = dataset.dtype().map_err(|error| error.to_string())?;
    let bytes = 0..dtype.size();
    let of = |form| Ok(Part { form, bytes: bytes.clone(), shape: Vec::new() });
    if let Some(form) = matlab::form(dataset)? {
        return of(form);
    }
    match variable(dtype.id()) {
        Some(Variable::Text) if dtype.is::<VarLenUnicode>() => of(Form::Unicode),
        Some(Variable::Text) => of(Form::Ascii),
        Some(Variable::List) => of(Form::Lists),
        None => of(Form::Fixed(stored(dtype.id())?)),
    }
}

/// Whether a dataset holds records.
pub(super) fn has_records(dataset: &Dataset) -> bool {
    let dtype = dataset.dtype();
    dtype.is_ok_and(|dtype| class(dtype.id()) == H5T_class_t::H5T_COMPOUND)
}

/// The members of a dataset's records.
///
/// # Errors
/// It holds none, or too many.
pub(super) fn members(dataset: &Dataset) -> Read<Vec<Member>> {
    let dtype = dataset.dtype().map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    match has_records(dataset) {
        true => append(dtype.id(), ("", 0..dtype.size(), 0), &mut found)?,
        false => return Err("found no table of records".into()),
    }
    // HDF5 would make room for these parts whichever field is read.
    if let Some(one) = found.iter().find(|one| one.of_any_length) {
        let text = format!("found a table of records with parts of any length ({:?})", one.name);
        let text = format!("{text}; hint: write that field as a dataset of its own");
        found.iter_mut().for_each(|one| one.part = Err(text.clone()));
    }
    Ok(found)
}

/// An open type that closes itself.
struct Type(hid_t);

impl Drop for Type {
    fn drop(&mut self) {
        // SAFETY: the handle is this type's own.
        hdf5::sync::sync(|| unsafe { H5Tclose(self.0) });
    }
}

/// What kind of type it is.
pub(super) fn class(id: hid_t) -> H5T_class_t {
    // SAFETY: the handle is open.
    hdf5::sync::sync(|| unsafe { H5Tget_class(id) })
}

/// Appends the members of the type `of`, whose bytes within an element these are.
fn append(
    of: hid_t,
    (prefix, within, depth): (&str, Range<usize>, usize),
    to: &mut Vec<Member>,
) -> Read<()> {
    // SAFETY: the handle is open.
    let count = hdf5::sync::sync(|| unsafe { H5Tget_nmembers(of) });
    for index in 0..count.max(0) as u32 {
        // SAFETY: the handle is open and has more members than `index`; the name is HDF5's own
        // until it is given back.
        let (name, offset, own) = hdf5::sync::sync(|| unsafe {
            let name = H5Tget_member_name(of, index);
            let text = match name.is_null() {
                true => None,
                false => Some(CStr::from_ptr(name).to_string_lossy().into_owned()),
            };
            H5free_memory(name.cast());
            (text, H5Tget_member_offset(of, index), Type(H5Tget_member_type(of, index)))
        });
        let (Some(name), true) = (name, own.0 > 0) else {
            return Err("found a table of records whose fields can't be read".into());
        };
        if to.len() == MEMBERS_MAX || depth == DEPTH_MAX {
            return Err(format!("found a table of records of more than {MEMBERS_MAX} fields"));
        }
        let (name, from) = (format!("{prefix}{name}"), within.start.saturating_add(offset));
        if class(own.0) == H5T_class_t::H5T_COMPOUND {
            let inner = from..from.saturating_add(size(own.0));
            append(own.0, (&format!("{name}/"), inner, depth + 1), to)?;
            continue;
        }
        let part = part(&own, from);
        let ends_within = |part: &Part| part.bytes.end <= within.end;
        if part.as_ref().is_ok_and(|part| !ends_within(part)) {
            return Err(format!("found records whose field {name:?} lies beyond their end"));
        }
        let of_any_length = has_variable(&own);
        to.push(Member { name, part, of_any_length });
    }
    Ok(())
}

fn size(id: hid_t) -> usize {
    // SAFETY: the handle is open.
    hdf5::sync::sync(|| unsafe { H5Tget_size(id) })
}

/// What a member of this type is, whose bytes begin at `from`.
fn part(own: &Type, from: usize) -> Read<Part> {
    let bytes = from..from.saturating_add(size(own.0));
    if class(own.0) != H5T_class_t::H5T_ARRAY {
        return Ok(Part { form: Form::Fixed(stored(own.0)?), bytes, shape: Vec::new() });
    }
    let mut extents = [0 as hsize_t; RANK_MAX];
    // SAFETY: the handle is open, and no array has more dimensions than there is room for.
    let rank = hdf5::sync::sync(|| unsafe {
        match H5Tget_array_ndims(own.0) {
            rank if (1..=RANK_MAX as i32).contains(&rank) => {
                H5Tget_array_dims2(own.0, extents.as_mut_ptr())
            }
            rank => rank,
        }
    });
    let shape = extents[..rank.clamp(0, RANK_MAX as i32) as usize].iter();
    let shape: Vec<usize> = shape.map(|size| *size as usize).collect();
    // SAFETY: the handle is open.
    let element = Type(hdf5::sync::sync(|| unsafe { H5Tget_super(own.0) }));
    let stored = stored(element.0)?;
    let all = shape.iter().try_fold(stored.bytes, |bytes, size| bytes.checked_mul(*size));
    match all == Some(bytes.len()) {
        true => Ok(Part { form: Form::Fixed(stored), bytes, shape }),
        false => Err(format!("found an array of {shape:?} in {} bytes", bytes.len())),
    }
}

/// What has no length of its own.
#[derive(Clone, Copy)]
enum Variable {
    Text,
    List,
}

fn variable(id: hid_t) -> Option<Variable> {
    // SAFETY: the handle is open.
    match class(id) {
        H5T_class_t::H5T_VLEN => Some(Variable::List),
        H5T_class_t::H5T_STRING => {
            // SAFETY: the handle is open.
            let is_variable = hdf5::sync::sync(|| unsafe { H5Tis_variable_str(id) }) > 0;
            is_variable.then_some(Variable::Text)
        }
        _ => None,
    }
}

/// Whether HDF5 would make room for parts of a member while it reads it.
fn has_variable(own: &Type) -> bool {
    match class(own.0) {
        H5T_class_t::H5T_ARRAY => {
            // SAFETY: the handle is open.
            has_variable(&Type(hdf5::sync::sync(|| unsafe { H5Tget_super(own.0) })))
        }
        // An array of records may have them somewhere.
        H5T_class_t::H5T_COMPOUND | H5T_class_t::H5T_REFERENCE => true,
        _ => variable(own.0).is_some(),
    }
}

/// How elements of a type lie in a file.
pub(super) fn stored(id: hid_t) -> Read<Stored> {
    // SAFETY: the handle is open.
    let (order, sign) = hdf5::sync::sync(|| unsafe { (H5Tget_order(id), H5Tget_sign(id)) });
    let (bytes, big_endian) = (size(id), matches!(order, H5T_order_t::H5T_ORDER_BE));
    let signed = matches!(sign, H5T_sign_t::H5T_SGN_2);
    let elements = match (class(id), bytes) {
        (H5T_class_t::H5T_INTEGER, 1 | 2 | 4 | 8) => Elements::Whole { signed, bytes },
        (H5T_class_t::H5T_FLOAT, 2 | 4 | 8) => Elements::Real { bytes },
        // Truth values of h5py and PyTables.
        (H5T_class_t::H5T_ENUM | H5T_class_t::H5T_BITFIELD, 1) => Elements::Bool,
        (H5T_class_t::H5T_STRING, 1..) if variable(id).is_none() => Elements::Bytes,
        (H5T_class_t::H5T_COMPOUND, _) => {
            return Err("found a table of records, expected numbers or texts".into());
        }
        _ => return Err("found elements that are neither numbers nor texts".into()),
    };
    Ok(Stored { elements, bytes, big_endian })
}
