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
    /// Tables: names of classes, a line each or as YouTube-8M and AudioSet list them, by which
    /// labels may be given.
    #[arg(long)]
    pub(super) names: Option<PathBuf>,
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
    /// Tables: store features as 32-bit floats, or as bytes, as frames always are.
    #[arg(long, value_enum)]
    pub(super) dtype: Option<Dtype>,
    /// Tables: what the bytes 0 and 255 stand for: -2..2. Without this option floats are looked
    /// through first; features that are bytes already want it.
    #[arg(long, value_parser = range, allow_hyphen_values = true)]
    pub(super) range: Option<(f32, f32)>,
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

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(super) enum Dtype {
    F32,
    U8,
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

fn range(text: &str) -> std::result::Result<(f32, f32), String> {
    let parsed = text.split_once("..").and_then(|(low, high)| {
        let (low, high): (f32, f32) = (low.parse().ok()?, high.parse().ok()?);
        (low < high && (high - low).is_finite()).then_some((low, high))
    });
    parsed.ok_or_else(|| "expected the lowest and the highest number, such as -2..2".into())
}

impl TableOptions {
    /// These as text that ranks compare.
    pub(in super::super) fn described(&self) -> String {
        let TableOptions { labels, labels_as, ids, parts, names, missing, unlabelled, .. } = self;
        let TableOptions { lengths, padding, no_header, dtype, range, .. } = self;
        format!(
            "--labels = {labels:?}\n--labels-as = {labels_as:?}\n--ids = {ids:?}\n\
             --parts = {parts:?}\n--names = {names:?}\n--missing = {missing:?}\n\
             --unlabelled = {unlabelled}\n--lengths = {lengths:?}\n--padding = {padding:?}\n\
             --no-header = {no_header}\n--dtype = {dtype:?}\n--range = {range:?}\n"
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
        let TableOptions { labels, labels_as, ids, parts, names, missing, unlabelled, .. } = self;
        let given = [
            ("--labels", !labels.is_empty()),
            ("--labels-as", labels_as.is_some()),
            ("--ids", ids.is_some()),
            ("--parts", !parts.is_empty()),
            ("--names", names.is_some()),
            ("--missing", missing.is_some()),
            ("--unlabelled", *unlabelled),
            ("--lengths", self.lengths.is_some()),
            ("--padding", self.padding.is_some()),
            ("--no-header", self.no_header),
            ("--dtype", self.dtype.is_some()),
            ("--range", self.range.is_some()),
        ];
        match given.into_iter().find(|option| option.1 && !format.is_table()) {
            Some((name, _)) => {
                let text =
                    format!("{name}: expected --from npy, npz, csv or hdf5 with this option");
                Err(Error::usage(text))
            }
            None => Ok(()),
        }
    }

    /// # Errors
    /// Exit 2: what these features, frames or bytes, don't go with.
    pub(super) fn check_features(&self, frames: bool, bytes: bool) -> Result<()> {
        if bytes && self.range.is_none() {
            let text = "features are bytes (uint8), of which --range has to say what they mean";
            let hint = "--range=-1.9921875..2.0078125 if they are YouTube-8M's or AudioSet's, \
                        --range 0..255 if they are numbers";
            return Err(Error::usage(text).hint(hint));
        }
        if self.dtype == Some(Dtype::F32) && (frames || bytes) {
            return Err(Error::usage("--dtype f32: frames and bytes are stored as bytes"));
        }
        if !frames && (self.lengths.is_some() || self.padding.is_some()) {
            return Err(Error::usage("--lengths and --padding: expected arrays of frames"));
        }
        Ok(())
    }
}
