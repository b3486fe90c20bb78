//! TFRecords on their way into shards: what the first of them shows, and the ranges of their
//! numbers.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::storage::{Bounds, Given};
use crate::error::{Error, Result};
use crate::example::Values;
use crate::formats::tf_example::{self, Wanted};
use crate::formats::tfrecord;
use crate::progress::{CallGuard, tick};

/// The first record that has any number, as far as its frames go.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstFrames {
    pub(super) file: usize,
    pub(super) record: u64,
    pub(super) given: Given,
}

/// What is done with damage: it is passed over, or the error.
type Pass<'a> = &'a mut dyn FnMut(Error) -> Result<()>;

/// Shows `visit` the values of each record of a file, with its number, until that says so.
///
/// # Errors
/// Exit 4: those that `pass` doesn't pass over.
fn each(
    path: &Path,
    wanted: Wanted,
    pass: Pass,
    mut visit: impl FnMut(u64, &Values) -> ControlFlow<()>,
) -> Result<()> {
    let mut records = match tfrecord::Records::open(path) {
        Ok(records) => records,
        Err(error) => return pass(error),
    };
    loop {
        let record = records.record();
        let parsed = match records.next() {
            Ok(None) => return Ok(()),
            Ok(Some(data)) => tf_example::parse(data, &wanted),
            Err(error) => {
                pass(error)?;
                match records.goes_on() {
                    true => continue,
                    false => return Ok(()),
                }
            }
        };
        match parsed {
            Ok(parsed) => {
                if visit(record, &parsed.example.values).is_break() {
                    return Ok(());
                }
            }
            Err(text) => {
                let name = path.display();
                pass(Error::input(format!("{name}: record {record}: {text}")))?;
            }
        }
        tick();
    }
}

/// What the first record shows that isn't of no frames; `None` where there is none.
///
/// # Errors
/// Exit 4: those of reading it.
pub(super) fn first_frames(
    paths: &[PathBuf],
    wanted: Wanted,
    pass: Pass,
) -> Result<Option<FirstFrames>> {
    for (file, path) in paths.iter().enumerate() {
        let _looking = CallGuard::on("opening", path);
        let mut first = None;
        each(path, wanted, pass, |record, values| {
            let Some(given) = Given::of_record(values) else { return ControlFlow::Continue(()) };
            first = Some(FirstFrames { file, record, given });
            ControlFlow::Break(())
        })?;
        if first.is_some() {
            return Ok(first);
        }
    }
    Ok(None)
}

/// Widens `bounds` to the numbers of a file.
///
/// # Errors
/// Exit 4: those that `pass` doesn't pass over.
pub(super) fn widen(path: &Path, wanted: Wanted, bounds: &mut Bounds, pass: Pass) -> Result<()> {
    let _measuring = CallGuard::on("measuring", path);
    each(path, wanted, pass, |_, values| {
        bounds.widen(values.numbers().unwrap_or_default());
        ControlFlow::Continue(())
    })
}
