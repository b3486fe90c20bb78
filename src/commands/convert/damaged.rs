//! Damaged records and files on their way into shards: errors, or left out, counted and named.

use crate::comm::Comm;
use crate::commands::new_set::NewSet;
use crate::disk::Disk;
use crate::error::{Error, Exit, Result};

/// The file, beside the shards, that names what was left out.
const FILE: &str = "damaged.txt";
/// What is told of it one by one.
const WARNINGS_MAX: usize = 5;

/// What is done with damaged input.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DamagedOptions {
    /// Leave out what is damaged: a record or row, or the rest of a file where that can't be read
    /// on. Each is named, in damaged.txt beside the shards.
    #[arg(long)]
    skip_damaged: bool,
    /// More damaged records and files than this are an error.
    #[arg(long, default_value_t = 1000, requires = "skip_damaged")]
    max_damaged: u64,
}

impl DamagedOptions {
    /// These as text that ranks compare.
    pub(super) fn described(&self) -> String {
        let DamagedOptions { skip_damaged, max_damaged } = self;
        format!("--skip-damaged = {skip_damaged}\n--max-damaged = {max_damaged}\n")
    }

    /// Whether what was converted so is what these ask for.
    pub(super) fn allow(&self, damaged: &[String]) -> bool {
        self.skip_damaged || damaged.is_empty()
    }

    /// Takes note of an error of the input, where it is to be passed over.
    ///
    /// # Errors
    /// The error itself, else; exit 4: these are too many.
    pub(super) fn pass(&self, error: Error, damaged: &mut Vec<String>) -> Result<()> {
        if !self.skip_damaged || error.exit != Exit::Input {
            return Err(error);
        }
        damaged.push(error.text);
        self.check(damaged.len() as u64, damaged)
    }

    fn check(&self, count: u64, damaged: &[String]) -> Result<()> {
        if count <= self.max_damaged {
            return Ok(());
        }
        let last = damaged.last().map_or(String::new(), |text| format!(", of them {text}"));
        let most = self.max_damaged;
        let text = format!("found {count} damaged records and files, expected at most {most}");
        Err(Error::input(format!("{text}{last}")).hint("--max-damaged"))
    }

    /// Says what was left out, in a shard's place within the set too. Collective.
    ///
    /// # Errors
    /// Exit 4: these are too many; exit 5: the file system refuses.
    pub(super) fn tell(&self, comm: &Comm, set: &mut NewSet, damaged: &[String]) -> Result<()> {
        let all = comm.all_gather_lines(damaged);
        self.check(all.len() as u64, &all)?;
        if all.is_empty() || !comm.is_root() {
            return Ok(());
        }
        log::warn!("{} damaged records and files are left out; {FILE} names them", all.len());
        all.iter().take(WARNINGS_MAX).for_each(|text| log::warn!("left out: {text}"));
        let path = set.add(FILE.into());
        let written = Disk::default().write_text(&path, &(all.join("\n") + "\n"));
        written.map_err(|error| Error::file(&path, &error))
    }
}
