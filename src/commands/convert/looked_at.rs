//! HDF5 files of others, looked through by processes of their own before any rank opens them: such
//! a file may crash HDF5 or keep it for ever, and with it the ranks.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::tables::Tables;
use super::{Args, Format};
use crate::comm::Comm;
use crate::data::Lookout;
use crate::error::{Error, Result};

/// What stands in front of a text that ranks tell each other.
const SEPARATOR: char = '\t';

/// Sees that the first file, by which it is decided what rows are, can be opened. Collective.
///
/// # Errors
/// Exit 4: it crashes HDF5 or keeps it for ever; exit 9: no process can be started.
pub(super) fn first(comm: &Comm, args: &Args, paths: &[PathBuf]) -> Result<()> {
    let mut outcome = Ok(());
    if args.from == Format::Hdf5 && comm.is_root() {
        outcome = Lookout::default().refused(&paths[0], &[]).and_then(|refused| match refused {
            Some(text) => Err(Error::input(text)),
            None => Ok(()),
        });
    }
    comm.agree(outcome)
}

/// Looks through all that a conversion reads of each file, each by one rank, and has the others be
/// refused by `tables`. Collective.
///
/// # Errors
/// Exit 9: no process can be started.
pub(super) fn all(
    comm: &Comm,
    args: &Args,
    tables: Option<&mut Tables>,
    (paths, bytes): (&[PathBuf], &[u64]),
) -> Result<()> {
    let (Some(tables), Format::Hdf5) = (tables, args.from) else { return Ok(()) };
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by_key(|file| Reverse(bytes[*file]));
    let (mut lookout, mut refused) = (Lookout::default(), Vec::new());
    let own = order.iter().skip(comm.rank()).step_by(comm.size());
    let outcome = own.copied().try_for_each(|file| {
        let text = lookout.refused(&paths[file], &tables.names())?;
        refused.extend(text.map(|text| format!("{file}{SEPARATOR}{}", Error::input(text).text)));
        Ok(())
    });
    comm.agree(outcome)?;
    let lines = comm.all_gather_lines(&refused);
    let of = |line: &String| {
        let (file, text) = line.split_once(SEPARATOR)?;
        Some((paths.get(file.parse::<usize>().ok()?)?.clone(), text.to_string()))
    };
    tables.refuse(lines.iter().filter_map(of).collect());
    Ok(())
}

/// Files that aren't to be opened, and why.
#[derive(Default)]
pub(super) struct Refused(BTreeMap<PathBuf, String>);

impl Refused {
    /// # Errors
    /// Exit 4: it isn't to be opened.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        self.0.get(path).map_or(Ok(()), |text| Err(Error::input(text)))
    }
}

impl FromIterator<(PathBuf, String)> for Refused {
    fn from_iter<T: IntoIterator<Item = (PathBuf, String)>>(from: T) -> Refused {
        Refused(from.into_iter().collect())
    }
}
