//! Options of `reelscale convert` for tables.

use std::path::{Path, PathBuf};

use crate::commands::convert::Format;
use crate::error::{Error, Result};
use crate::example::FeaturePart;

/// What fields of tables are.
#[derive(Clone, Debug, clap::Args)]
pub(in super::super) struct TableOptions {
    /// Tables: fields that hold labels (0 or 1 for each class, or lists of classes), or a csv of
    /// `id,label,label` or `id,"label;label"`, or with --from npy an array's file.
    #[arg(long, value_delimiter = ',')]
    pub(super) labels: Vec<String>,
    /// Tables: what numbers in fields of labels are. Without this option several fields and arrays
    /// of several columns are multi-hot, and a single field is a list.
    #[arg(long, value_enum)]
    pub(super) labels_as: Option<LabelsAs>,
    /// Tables: the field of ids, or with --from npy an array's file. Without this option: the
    /// file's name and the row's number.
    #[arg(long)]
    pub(super) ids: Option<String>,
    /// Tables: what features are made of: rgb:1024,audio:128. Without this option: a part for each
    /// field that --features names.
    #[arg(long, value_delimiter = ',', value_parser = crate::commands::convert::part)]
    pub(super) parts: Vec<FeaturePart>,
    /// Names of classes, a line each or as YouTube-8M and AudioSet list them: they go with the
    /// shards, and labels of tables may be given by them.
    #[arg(long)]
    pub(in super::super) names: Option<PathBuf>,
    /// Tables: take this number where one is missing, or skip the row.
    #[arg(long, value_parser = missing)]
    pub(super) missing: Option<Missing>,
    /// Tables: keep rows that the file of labels has no line for, as rows without labels.
    #[arg(long)]
    pub(super) unlabelled: bool,
    /// Tables: the field that says how many frames a row has.
    #[arg(long)]
    pub(super) lengths: Option<String>,
    /// Tables: what becomes of frames of zeros at the end of a row.
    #[arg(long, value_enum, conflicts_with = "lengths")]
    pub(super) padding: Option<Padding>,
    /// Text tables: there is no line of names; columns are c0, c1, ...
    #[arg(long)]
    pub(super) no_header: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(super) enum LabelsAs {
    MultiHot,
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(super) enum Padding {
    Keep,
    Drop,
}

/// What is done where a number is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Missing {
    Number(f32),
    Skip,
}

fn missing(text: &str) -> std::result::Result<Missing, String> {
    match text.parse() {
        Ok(number) if f32::is_finite(number) => Ok(Missing::Number(number)),
        _ if text == "skip" => Ok(Missing::Skip),
        _ => Err("expected a number or skip".into()),
    }
}

impl TableOptions {
    /// These as text that ranks compare.
    pub(in super::super) fn described(&self) -> String {
        let TableOptions { labels, labels_as, ids, parts, names, missing, unlabelled, .. } = self;
        let TableOptions { lengths, padding, no_header, .. } = self;
        format!(
            "--labels = {labels:?}\n--labels-as = {labels_as:?}\n--ids = {ids:?}\n\
             --parts = {parts:?}\n--names = {names:?}\n--missing = {missing:?}\n\
             --unlabelled = {unlabelled}\n--lengths = {lengths:?}\n--padding = {padding:?}\n\
             --no-header = {no_header}\n"
        )
    }

    /// Files beside those that are converted.
    pub(in super::super) fn files(&self) -> Vec<&Path> {
        let fields = self.labels.iter().chain(&self.ids).chain(&self.lengths).map(Path::new);
        fields.chain(self.names.as_deref()).filter(|path| path.is_file()).collect()
    }

    /// # Errors
    /// Exit 2: one of them, and files that aren't tables.
    pub(in super::super) fn check(&self, format: Format) -> Result<()> {
        let TableOptions { labels, labels_as, ids, parts, missing, unlabelled, .. } = self;
        let given = [
            ("--labels", !labels.is_empty()),
            ("--labels-as", labels_as.is_some()),
            ("--ids", ids.is_some()),
            ("--parts", !parts.is_empty()),
            ("--missing", missing.is_some()),
            ("--unlabelled", *unlabelled),
            ("--lengths", self.lengths.is_some()),
            ("--padding", self.padding.is_some()),
            ("--no-header", self.no_header),
        ];
        match given.into_iter().find(|option| option.1 && !format.is_table()) {
            Some((name, _)) => {
                let formats = "--from npy, npz, csv, hdf5 or parquet";
                Err(Error::usage(format!("{name}: expected {formats} with this option")))
            }
            None => Ok(()),
        }
    }

    /// # Errors
    /// Exit 2: options of frames, and features that are none.
    pub(super) fn check_features(&self, frames: bool) -> Result<()> {
        if !frames && (self.lengths.is_some() || self.padding.is_some()) {
            return Err(Error::usage("--lengths and --padding: expected arrays of frames"));
        }
        Ok(())
    }
}
