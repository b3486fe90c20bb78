//! Text on its way into shards: how it is written, its sizes, and what its rows take once dense.

use std::path::{Path, PathBuf};

use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::formats::svmlight::{Header, Layout, Rows};
use crate::human;

/// From so many bytes on, and so many times those of the files, it is told what rows will take.
const TOLD_BYTES: u64 = 256 << 20;
const TOLD_TIMES: u64 = 4;

/// How text files are written.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TextOptions {
    /// Take every line of text files for a row: they have no header, as LIBSVM's. --features and
    /// --classes say their sizes.
    #[arg(long)]
    rows_from_lines: bool,
    /// Indices of features in text files begin at 1, as LIBSVM's do; labels are taken as they are.
    /// Tables: classes begin at 1.
    #[arg(long)]
    one_based: bool,
    /// Bytes that the rows of text files may take, which are dense in shards: 100GiB, 5000000.
    #[arg(long, default_value = "100GiB", value_parser = bytes)]
    max_bytes: u64,
}

/// A number of bytes, such as 100GiB.
fn bytes(text: &str) -> std::result::Result<u64, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let units = ["", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let power = units.iter().position(|other| other.eq_ignore_ascii_case(unit.trim()));
    let number: Option<u64> = number.parse().ok().filter(|number| *number > 0);
    let bytes = number.zip(power).and_then(|(number, power)| number.checked_mul(1 << (10 * power)));
    bytes.ok_or_else(|| "expected a number of bytes such as 5000000 or 100GiB".into())
}

impl TextOptions {
    /// # Errors
    /// Exit 2: what is wrong with them, where files are text or not.
    pub(super) fn check(
        &self,
        (text, table): (bool, bool),
        features: &[FeaturePart],
        classes: Option<u32>,
    ) -> Result<()> {
        let one_based = self.one_based && !table;
        let given = [("--rows-from-lines", self.rows_from_lines), ("--one-based", one_based)];
        if let Some((name, _)) = given.into_iter().find(|option| option.1 && !text) {
            let text = format!("{name}: expected --from svmlight with this option");
            return Err(Error::usage(text));
        }
        if self.rows_from_lines && (features.is_empty() || classes.is_none()) {
            let error = Error::usage("--rows-from-lines: expected --features and --classes");
            return Err(error.hint("--features features:500 --classes 20"));
        }
        Ok(())
    }

    /// These as text that ranks compare.
    pub(super) fn described(&self) -> String {
        let TextOptions { rows_from_lines, one_based, max_bytes } = self;
        format!(
            "--rows-from-lines = {rows_from_lines}\n--one-based = {one_based}\n\
             --max-bytes = {max_bytes}\n"
        )
    }

    pub(super) fn one_based(&self) -> bool {
        self.one_based
    }

    /// How files are written, whose sizes are these where they have no header.
    pub(super) fn layout(&self, features: usize, classes: usize) -> Layout {
        let sizes = self.rows_from_lines.then_some((features, classes));
        Layout { sizes, one_based: self.one_based }
    }

    /// Features and number of classes: as asked for, or as the headers of the files say.
    ///
    /// # Errors
    /// Exit 4: headers that say something else.
    pub(super) fn sizes(
        &self,
        features: &[FeaturePart],
        classes: Option<u32>,
        paths: &[PathBuf],
    ) -> Result<(Vec<FeaturePart>, usize)> {
        let width: usize = features.iter().map(|part| part.size).sum();
        if self.rows_from_lines {
            return Ok((features.to_vec(), classes.expect("checked") as usize));
        }
        let header = self.header(&paths[0])?;
        let parts = match width {
            0 => vec![FeaturePart { name: "features".into(), size: header.features }],
            _ => features.to_vec(),
        };
        let classes = classes.map_or(header.classes, |classes| classes as usize);
        let expected = (parts.iter().map(|part| part.size).sum::<usize>(), classes);
        for path in paths {
            let header = self.header(path)?;
            if (header.features, header.classes) != expected {
                let (features, classes) = (header.features, header.classes);
                return Err(Error::input(format!(
                    "{}: line 1: found {features} features and {classes} labels, expected {} and \
                     {}",
                    path.display(),
                    expected.0,
                    expected.1
                )));
            }
        }
        Ok((parts, classes))
    }

    fn header(&self, path: &Path) -> Result<Header> {
        Ok(Rows::open(path, self.layout(0, 0))?.header)
    }

    /// Says what the rows of all files will take, before anything is written. Collective.
    ///
    /// # Errors
    /// Exit 4, common to all ranks: more than is allowed.
    pub(super) fn check_room(
        &self,
        comm: &Comm,
        paths: &[PathBuf],
        features: usize,
        classes: usize,
    ) -> Result<()> {
        let layout = self.layout(features, classes);
        let mut own = paths.iter().skip(comm.rank()).step_by(comm.size());
        let counted = own.try_fold([0u64; 2], |[rows, bytes], path| {
            let more = match self.rows_from_lines {
                true => Rows::count(path, layout)?,
                false => self.header(path)?.rows as u64,
            };
            let size = std::fs::metadata(path).map_or(0, |found| found.len());
            Ok([rows.saturating_add(more), bytes + size])
        });
        let mut all = comm.agree(counted)?;
        comm.sum(&mut all);
        let [rows, size] = all;
        let dense = rows.saturating_mul(4 * features as u64);
        let text = format!(
            "{rows} rows of {features} features take {} once they are dense, as shards have them",
            human::bytes(dense)
        );
        if dense > self.max_bytes {
            let (path, most) = (paths[0].display(), human::bytes(self.max_bytes));
            let more = if paths.len() > 1 { " and the files after it" } else { "" };
            let error = Error::input(format!("{path}{more}: {text}, expected at most {most}"));
            return Err(error.hint(format!("--max-bytes {dense} if that is meant")));
        }
        if comm.is_root() && dense >= TOLD_BYTES && dense / TOLD_TIMES >= size {
            log::info!("{text}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_numbers_with_or_without_a_unit() {
        let table = [
            ("5000000", Some(5_000_000)),
            ("100GiB", Some(100 << 30)),
            ("2 tib", Some(2 << 40)),
            ("1KiB", Some(1024)),
            ("0", None),
            ("GiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("1GB", None),
            ("99999999999PiB", None),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
