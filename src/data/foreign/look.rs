//! Reads of a file whatever a conversion has HDF5 read of it: for the process that may crash or
//! hang by that (`data::prove`).

use std::path::Path;

use super::blocks::Blocks;
use super::forms::{self, Form};
use super::{EACH, ForeignFile, GROUPS, Read, chunks};
use crate::progress::tick;

/// Reads what the file at `path` is, and all that HDF5 may stumble over in these of its fields;
/// `at` is told what comes next. What can't be read but is told as an error is the conversion's
/// to tell.
///
/// # Errors
/// What the conversion wouldn't notice: chunks that HDF5 would fill up in silence.
pub(crate) fn look_through(path: &Path, names: &[String], at: &mut dyn FnMut(&str)) -> Read<()> {
    at("");
    let Ok(file) = ForeignFile::open(path) else { return Ok(()) };
    if file.fields_telling(at).is_err() {
        return Ok(());
    }
    for name in names.iter().filter(|name| *name != GROUPS) {
        match name.strip_prefix(EACH) {
            Some(leaf) => {
                for group in &file.groups {
                    dataset(&file, &format!("{group}/{leaf}"), at)?;
                }
            }
            None => dataset(&file, name, at)?,
        }
    }
    Ok(())
}

fn dataset(file: &ForeignFile, name: &str, at: &mut dyn FnMut(&str)) -> Read<()> {
    at(name);
    let Ok(found) = forms::open(&file.file, name) else { return Ok(()) };
    let Ok(mut blocks) = Blocks::of(name, found, file.bytes) else { return Ok(()) };
    let of = |text: String| format!("{name}: {text}: the file is damaged");
    let proven = chunks::check(&blocks.dataset, file.bytes).map_err(of)?;
    let (rows, at_once) = (blocks.rows as usize, blocks.at_once);
    // Plain numbers are copied, nothing in them is followed.
    let ends = proven && matches!(blocks.part.form, Form::Fixed(_));
    for row in (0..rows).step_by(at_once) {
        if !ends || row == 0 || row + at_once >= rows {
            tick();
            let _ = blocks.hold(row);
        }
    }
    Ok(())
}
