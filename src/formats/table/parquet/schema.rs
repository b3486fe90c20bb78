//! The columns of a schema as fields: what their numbers or texts are, and how they lie in lists.

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, Type};

use super::levels::Levels;
use crate::fields::{Elements, Field};
use crate::formats::wire::Read;

/// Lists within lists at most: frames of numbers.
const LISTS_MAX: usize = 2;

/// One column: what holds values, at the end of groups within groups.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) field: Field,
    /// Its place among the columns of each row group.
    pub(super) number: usize,
    pub(super) descriptor: ColumnDescPtr,
    pub(super) levels: Levels,
}

pub(super) fn leaves(schema: &SchemaDescriptor) -> Vec<Leaf> {
    let leaf = |(number, descriptor): (usize, &ColumnDescPtr)| {
        let path = descriptor.path().parts();
        let (name, levels) = levels(schema.root_schema(), path);
        let lists = levels.lists.len();
        let found = match lists > LISTS_MAX {
            true => Err(format!("found {lists} lists within lists, expected at most {LISTS_MAX}")),
            false => elements(descriptor),
        };
        let field = match found {
            Ok(elements) => Field { name, elements, shape: vec![0; lists], wrong: None },
            Err(text) => Field::unreadable(name.clone(), format!("column {name:?}: {text}")),
        };
        Leaf { field, number, descriptor: descriptor.clone(), levels }
    };
    schema.columns().iter().enumerate().map(leaf).collect()
}

/// The name of the column of this path, without what only makes up lists, and its levels.
fn levels(root: &Type, path: &[String]) -> (String, Levels) {
    let (mut names, mut levels) = (Vec::new(), Levels::default());
    let (mut group, mut list) = (root, false);
    for part in path {
        let Some(own) = group.get_fields().iter().find(|field| field.name() == part) else { break };
        let own = own.as_ref();
        let info = own.get_basic_info();
        let repeated = info.has_repetition() && info.repetition() == Repetition::REPEATED;
        if repeated || own.is_optional() {
            levels.deepest += 1;
        }
        if repeated {
            levels.lists.push(levels.deepest);
        }
        // Within a group that is called a list come a repeated one and the element.
        let within = list || group_is_element(group);
        if !within || own.is_group() && own.get_fields().len() > 1 {
            names.push(part.as_str());
        }
        list = own.is_group() && is_list(own);
        if own.is_primitive() {
            break;
        }
        group = own;
    }
    (names.join("."), levels)
}

fn is_list(group: &Type) -> bool {
    let info = group.get_basic_info();
    info.converted_type() == ConvertedType::LIST
        || info.logical_type_ref() == Some(&LogicalType::List)
}

/// Whether what is in this group is a list's only element.
fn group_is_element(group: &Type) -> bool {
    let info = group.get_basic_info();
    info.has_repetition()
        && info.repetition() == Repetition::REPEATED
        && group.get_fields().len() == 1
}

/// What the values of a column are.
fn elements(descriptor: &ColumnDescPtr) -> Read<Elements> {
    let whole = |signed, bytes| Ok(Elements::Whole { signed, bytes });
    let real = |bytes| Ok(Elements::Real { bytes });
    let (logical, converted) = (descriptor.logical_type_ref(), descriptor.converted_type());
    let physical = descriptor.physical_type();
    let unknown = || {
        let name = match logical {
            Some(logical) => format!("{logical:?}"),
            None if converted != ConvertedType::NONE => converted.to_string(),
            None => physical.to_string(),
        };
        Err(format!("found the type {name}, expected numbers or texts"))
    };
    match (physical, logical) {
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(int))) => {
            whole(int.is_signed, int.bit_width.unsigned_abs() as usize / 8)
        }
        (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16)) => real(2),
        (
            Physical::BYTE_ARRAY,
            Some(LogicalType::String | LogicalType::Enum | LogicalType::Json),
        ) => Ok(Elements::Text),
        (_, Some(_)) => unknown(),
        (Physical::INT32 | Physical::INT64, None) => match converted {
            ConvertedType::NONE if physical == Physical::INT32 => whole(true, 4),
            ConvertedType::NONE => whole(true, 8),
            ConvertedType::INT_8 => whole(true, 1),
            ConvertedType::INT_16 => whole(true, 2),
            ConvertedType::INT_32 => whole(true, 4),
            ConvertedType::INT_64 => whole(true, 8),
            ConvertedType::UINT_8 => whole(false, 1),
            ConvertedType::UINT_16 => whole(false, 2),
            ConvertedType::UINT_32 => whole(false, 4),
            ConvertedType::UINT_64 => whole(false, 8),
            _ => unknown(),
        },
        (Physical::BOOLEAN, None) => Ok(Elements::Bool),
        (Physical::FLOAT, None) => real(4),
        (Physical::DOUBLE, None) => real(8),
        (Physical::BYTE_ARRAY, None) => match converted {
            ConvertedType::NONE
            | ConvertedType::UTF8
            | ConvertedType::ENUM
            | ConvertedType::JSON => Ok(Elements::Text),
            _ => unknown(),
        },
        (Physical::FIXED_LEN_BYTE_ARRAY, None) if converted == ConvertedType::NONE => {
            Ok(Elements::Text)
        }
        _ => unknown(),
    }
}
