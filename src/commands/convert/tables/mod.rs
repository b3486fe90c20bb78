//! Tables (arrays of numpy, csv, Parquet) on their way into shards: which fields are features,
//! labels and ids, and what their cells mean. Decided once, by the first file; every other one must
//! agree.

mod choice;
mod datasets;
mod labels;
mod opened;
mod options;
mod rows;
mod run;

use std::ops::Range;
use std::path::{Path, PathBuf};

use self::choice::{forms, parts, pieces, vectors};
use self::labels::Labels;
use self::opened::Opened;
use self::rows::Rows;
use self::run::Run;
use super::looked_at::Refused;
use super::storage::{Bounds, Given, StorageOptions};
use super::{Format, at};
use crate::comm::Comm;
use crate::data::{GROUPS, Kind};
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::example::{Example, FeaturePart};
use crate::fields::{Field, stem};
use crate::formats::class_names::ClassNames;
use crate::formats::table::{Pick, Table, list, pick};
use crate::progress::{CallGuard, tick};

pub(super) use self::options::TableOptions;
pub(crate) use self::rows::TableNotes;

/// How files are read as tables, and what their rows are.
pub(super) struct Tables {
    format: Format,
    header: bool,
    /// The picked fields, in the order of the roles of `Rows`.
    picked: Vec<Field>,
    /// Files of labels and ids beside the only file of features.
    beside: Vec<PathBuf>,
    rows: Rows,
    pub(super) parts: Vec<FeaturePart>,
    given: Given,
    /// Files that aren't to be opened.
    refused: Refused,
}

impl Tables {
    /// What the first file of `paths` shows.
    ///
    /// # Errors
    /// Exit 2: options that don't fit each other or the file's fields; exit 4: the file.
    pub(super) fn of(
        format: Format,
        (features, one_based, classes): (&[String], bool, Option<u32>),
        (options, storage): (&TableOptions, &StorageOptions),
        paths: &[PathBuf],
    ) -> Result<Tables> {
        let path = &paths[0];
        let wrong = |text: String| Error::usage(format!("{}: {text}", path.display()));
        let beside = beside(format, options, paths)?;
        let header = !options.no_header;
        let opened = Opened::of(format, path, header, &beside).map_err(|text| at(path, text))?;
        let fields = opened.fields();
        if fields.is_empty() {
            return Err(at(path, "found no row"));
        }
        let roles = Roles::of(format, (path, &fields), features, options)?;
        let (features, labels) = (Roles::fields(&roles.features), Roles::fields(&roles.labels));
        let mut known = fields.clone();
        let vectors = [&features[..], &vectors(options, &labels, &fields)].concat();
        opened.measure(&mut known, &vectors).map_err(|text| at(path, text))?;
        let (pieces, bytes) = pieces(&roles.features, &known).map_err(wrong)?;
        let parts = parts(&options.parts, &roles.features, &known).map_err(wrong)?;
        let frames = pieces[0].frames.is_some();
        options.check_features(frames)?;
        let given = Given { frames, bytes, of_records: false };
        storage.told(given, &parts)?;
        let asked = (one_based, classes);
        let (form, spelling) = forms(options, asked, (&roles.labels, &known), roles.file.clone())?;
        let next = features.len() + labels.len();
        let order = [&features[..], &labels, &roles.ids, &roles.lengths].concat();
        let rows = Rows {
            pieces,
            labels: Labels { form, fields: features.len()..next, spelling },
            id: (!roles.ids.is_empty()).then_some(next),
            lengths: (!roles.lengths.is_empty()).then_some(next + roles.ids.len()),
            missing: options.missing,
            padding: options.padding,
            runs: storage.scaling(&parts)?.map(|all| Encoding::Bytes(all).runs(&parts)),
        };
        let picked = order.iter().map(|field| fields[*field].clone()).collect();
        let refused = Refused::default();
        Ok(Tables { format, header, picked, beside, rows, parts, given, refused })
    }

    /// The picked fields' names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.picked.iter().map(|field| field.name.as_str()).collect()
    }

    /// From now on these files aren't opened.
    pub(super) fn refuse(&mut self, refused: Refused) {
        self.refused = refused;
    }

    pub(super) fn classes(&self) -> usize {
        self.rows.labels.spelling.classes
    }

    /// The names of classes, where labels may be given by them.
    pub(super) fn class_names(&self) -> Option<&ClassNames> {
        self.rows.labels.spelling.names.as_ref()
    }

    /// What the features are.
    pub(super) fn given(&self) -> Given {
        self.given
    }

    pub(super) fn kind(&self) -> Kind {
        if self.rows.pieces[0].frames.is_some() { Kind::Frames } else { Kind::Video }
    }

    /// Widens `bounds` to the numbers of a file, or of these rows of it. What `pass` passes over is
    /// left out.
    ///
    /// # Errors
    /// Exit 4.
    pub(super) fn widen(
        &self,
        (path, rows): (&Path, Option<Range<u64>>),
        bounds: &mut Bounds,
        pass: &mut dyn FnMut(Error) -> Result<()>,
    ) -> Result<()> {
        let _measuring = CallGuard::on("measuring", path);
        let mut table = match self.open(path, rows) {
            Ok(table) => table,
            Err(error) => return pass(error),
        };
        loop {
            tick();
            match table.advance() {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    let row = table.row();
                    let widened = self.rows.widen(row, bounds);
                    widened.or_else(|text| pass(at(path, format!("{}: {text}", row.place()))))?;
                }
                Err(text) => {
                    pass(at(path, text))?;
                    if !table.row().goes_on() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The row that stands in `table`, number `row` of the file of this stem, and how many of its
    /// labels stood there twice; none where it is left out.
    pub(super) fn row(
        &self,
        table: &dyn Table,
        place: (&str, u64),
        notes: &mut TableNotes,
    ) -> std::result::Result<Option<(Example, usize)>, String> {
        self.rows.row(table, place, notes)
    }

    /// How many lines of the file of labels this rank's rows have had.
    pub(super) fn matched(&self) -> u64 {
        self.rows.labels.lines().map_or(0, |(_, matched)| matched)
    }

    /// Warns of lines of the file of labels that no row has had; this rank's had `matched`.
    /// Collective.
    pub(super) fn warn_of_lines(&self, comm: &Comm, mut matched: u64) {
        let Some((lines, _)) = self.rows.labels.lines() else { return };
        comm.sum(std::slice::from_mut(&mut matched));
        if comm.is_root() && matched < lines {
            log::warn!(
                "{} of {lines} ids of the labels' file are those of no row",
                lines - matched
            );
        }
    }

    /// Rows of a file that can be read from any of them on, else 0.
    ///
    /// # Errors
    /// As `open`.
    pub(super) fn count(&self, path: &Path) -> Result<u64> {
        match self.format {
            Format::Npy | Format::Hdf5 | Format::Parquet => {
                Ok(self.whole(path)?.rows().unwrap_or(0))
            }
            _ => Ok(0),
        }
    }

    /// The rows of a file, or these of them.
    ///
    /// # Errors
    /// Exit 4: what can't be read; other fields than the first file's.
    pub(super) fn open(&self, path: &Path, rows: Option<Range<u64>>) -> Result<Run> {
        Run::of(self.whole(path)?, rows).map_err(|text| at(path, text))
    }

    fn whole(&self, path: &Path) -> Result<Box<dyn Table>> {
        self.refused.check(path)?;
        let wrong = |text: String| at(path, text);
        let opened = Opened::of(self.format, path, self.header, &self.beside).map_err(wrong)?;
        let found = opened.fields();
        // An empty file has no field, and no row either.
        let picked = if found.is_empty() { &[][..] } else { &self.picked };
        let mut places = Vec::new();
        for (index, wanted) in picked.iter().enumerate() {
            // The array of a file is called as the file.
            let own = self.format == Format::Npy && index == 0;
            let place = found.iter().position(|field| own || field.name == wanted.name);
            let bytes = self.rows.pieces.get(index).is_some_and(|piece| piece.bytes);
            let same = |place: &usize| {
                let field = &found[*place];
                field.shape == wanted.shape
                    && field.elements.is_text() == wanted.elements.is_text()
                    && (!bytes || field.elements == wanted.elements)
            };
            places.push(place.filter(same).ok_or_else(|| {
                let (name, all, shape) = (&wanted.name, list(&found), &wanted.shape);
                wrong(format!("{name:?}: {all}, expected rows of {shape:?} as in the first file"))
            })?);
        }
        let widths: Vec<_> = self.rows.pieces.iter().map(|piece| Some(piece.width)).collect();
        opened.rows(path, &places, &widths).map_err(wrong)
    }
}

/// Which fields are what.
struct Roles {
    features: Vec<Pick>,
    labels: Vec<Pick>,
    /// The csv that has labels by id.
    file: Option<PathBuf>,
    /// One at most.
    ids: Vec<usize>,
    lengths: Vec<usize>,
}

impl Roles {
    fn of(
        format: Format,
        (path, fields): (&Path, &[Field]),
        features: &[String],
        options: &TableOptions,
    ) -> Result<Roles> {
        // A field that can't be read is the file's fault, and so is one that its table lacks; a
        // name that nothing has is the user's.
        let faulty = |field: &Field, text: &String| {
            let within = format!("\"{}/", field.name);
            field.wrong.as_ref().is_some_and(|wrong| wrong == text || text.starts_with(&within))
        };
        let wrong = |text: String| match fields.iter().any(|field| faulty(field, &text)) {
            true => at(path, text),
            false => Error::usage(format!("{}: {text}", path.display())),
        };
        let one = |name: &Option<String>| -> Result<Vec<usize>> {
            let Some(name) = name else { return Ok(Vec::new()) };
            let name = field_of(name, format);
            let found = pick(std::slice::from_ref(&name), fields, &[]).map_err(wrong)?;
            match &found[0].fields[..] {
                [field] => Ok(vec![*field]),
                all => Err(wrong(format!("{name:?}: found {} fields, expected one", all.len()))),
            }
        };
        let (mut ids, lengths) = (one(&options.ids)?, one(&options.lengths)?);
        // Rows that are groups have names.
        if ids.is_empty() && features.iter().any(|name| name.starts_with(GROUPS)) {
            ids.extend(fields.iter().position(|field| field.name == GROUPS));
        }
        let mut taken = [&ids[..], &lengths].concat();
        let file = label_file(options, fields, format)?;
        let labels = match &file {
            Some(_) => Vec::new(),
            None => {
                let names = options.labels.iter().map(|name| field_of(name, format));
                pick(&names.collect::<Vec<_>>(), fields, &taken).map_err(wrong)?
            }
        };
        taken.extend(Roles::fields(&labels));
        let features = match (features, format) {
            // The array of the file.
            ([], Format::Npy) => {
                let name = std::slice::from_ref(&fields[0].name);
                pick(name, &fields[..1], &taken).map_err(wrong)?
            }
            ([], _) => {
                let found = list(fields);
                let error = Error::usage("--features: expected the fields that are features");
                return Err(error.hint(format!("{}: {found}", path.display())));
            }
            (names, _) => pick(names, fields, &taken).map_err(wrong)?,
        };
        Ok(Roles { features, labels, file, ids, lengths })
    }

    fn fields(picks: &[Pick]) -> Vec<usize> {
        picks.iter().flat_map(|pick| pick.fields.clone()).collect()
    }
}

/// What a name means: with arrays that are files of their own, the file's stem.
fn field_of(name: &str, format: Format) -> String {
    match format == Format::Npy && name.ends_with(".npy") {
        true => stem(Path::new(name)),
        false => name.into(),
    }
}

/// Files that hold labels and ids of the one file of features.
fn beside(format: Format, options: &TableOptions, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if format != Format::Npy {
        return Ok(Vec::new());
    }
    let named = options.labels.iter().chain(&options.ids).chain(&options.lengths);
    let files: Vec<PathBuf> =
        named.filter(|name| name.ends_with(".npy")).map(PathBuf::from).collect();
    match files.first() {
        Some(file) if paths.len() > 1 => {
            let text = format!("{}: belongs to one file, found {}", file.display(), paths.len());
            Err(Error::usage(text).hint("convert them one by one, or save them as npz"))
        }
        _ => Ok(files),
    }
}

/// The csv that holds labels by id: a file of this name is there, and no field.
fn label_file(options: &TableOptions, fields: &[Field], format: Format) -> Result<Option<PathBuf>> {
    let [name] = &options.labels[..] else { return Ok(None) };
    let path = Path::new(name);
    if !path.is_file() || format == Format::Npy && name.ends_with(".npy") {
        return Ok(None);
    }
    if fields.iter().any(|field| field.name == *name) {
        let text = format!("--labels {name}: both a field and a file are called so");
        return Err(Error::usage(text).hint(format!("./{name} is the file")));
    }
    if options.ids.is_none() {
        let text = format!("--labels {name}: expected --ids, by which its lines are found");
        return Err(Error::usage(text));
    }
    Ok(Some(path.into()))
}
