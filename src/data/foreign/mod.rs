//! HDF5 files of others: rows along the first axis of datasets, along the last one in MATLAB's, of
//! tables of records, or in a group each. What HDF5 would fill up in silence is an error here.

mod blocks;
mod chunks;
mod forms;
mod look;
mod matlab;

use std::path::Path;

use hdf5::{Dataset, Group};

use self::blocks::Blocks;
use self::forms::{Form, Member, Part};
use self::matlab::by_columns;
use super::{storage, superblock};
use crate::fields::{Elements, Field};
use crate::progress::tick;

pub(crate) use self::blocks::Cell;
pub(crate) use self::look::look_through;

type Read<T> = Result<T, String>;

/// Groups within groups that are looked into, and datasets at most.
const DEPTH_MAX: usize = 8;
const DATASETS_MAX: usize = 4096;
/// Fields of a table of records that an error names.
const MEMBERS_SHOWN_MAX: usize = 12;
/// What the names of fields begin with that each group of the file has a dataset for.
const EACH: &str = "*/";
/// The field of these groups' names.
pub(crate) const GROUPS: &str = "*";

/// An open file.
pub(crate) struct ForeignFile {
    file: hdf5::File,
    bytes: u64,
    /// Bytes behind what HDF5 knows.
    pub(crate) behind: u64,
    /// Names of the groups within it, in the order of their bytes.
    groups: Vec<String>,
}

impl ForeignFile {
    /// # Errors
    /// No HDF5 file, or one that HDF5 doesn't open.
    pub(crate) fn open(path: &Path) -> Read<ForeignFile> {
        let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        let raw = std::fs::File::open(path).map_err(|error| error.to_string())?;
        let behind = superblock::end(&raw, bytes).map_or(0, |end| bytes - end);
        let file = hdf5::File::open(path).map_err(|error| error.to_string())?;
        let mut groups: Vec<String> = Vec::new();
        for name in file.member_names().map_err(|error| error.to_string())? {
            if !name.starts_with(matlab::OWN) && file.group(&name).is_ok() {
                groups.push(name);
            }
        }
        groups.sort();
        Ok(ForeignFile { file, bytes, behind, groups })
    }

    /// Its datasets by their paths; of what each group has the first group's, as `*/NAME`, and the
    /// groups' names as `*`.
    pub(crate) fn fields(&self) -> Read<Vec<Field>> {
        self.fields_telling(&mut |_| tick())
    }

    /// The same; `at` is told each dataset before it is opened.
    fn fields_telling(&self, at: &mut dyn FnMut(&str)) -> Read<Vec<Field>> {
        let mut fields = Vec::new();
        walk(&self.file, ("", 0), &mut fields, at)?;
        let single = fields.iter().any(|field| !field.name.contains('/'));
        if let [first, others @ ..] = &self.groups[..]
            && !(others.is_empty() && single)
        {
            let group = self.file.group(first).map_err(|error| error.to_string())?;
            let mut own = Vec::new();
            walk(&group, (EACH, DEPTH_MAX - 1), &mut own, at)?;
            let names = Field {
                name: GROUPS.into(),
                elements: Elements::Text,
                shape: Vec::new(),
                wrong: None,
            };
            // What stands in one of many groups is of no use as a column of rows.
            if others.len() > 1 {
                let in_group = |name: &str| {
                    let group = name.split_once('/').map_or("", |(group, _)| group);
                    self.groups.iter().any(|one| one == group)
                };
                fields.retain(|field| !in_group(&field.name));
            }
            fields.push(names);
            fields.extend(own);
        }
        Ok(fields)
    }

    /// The rows of these fields.
    ///
    /// # Errors
    /// Fields of other numbers of rows, rows that were never all written.
    pub(crate) fn rows(self, names: &[&str]) -> Read<ForeignRows> {
        let (mut columns, mut records) = (Vec::new(), Vec::new());
        for name in names {
            let column = match name.strip_prefix(EACH) {
                _ if *name == GROUPS => Column::Names,
                Some(leaf) => Column::Each { leaf: leaf.into(), held: None },
                None => self.column(name, &mut records)?,
            };
            columns.push(column);
        }
        let groups = self.groups.len() as u64;
        let counts: Vec<u64> = columns
            .iter()
            .map(|column| match column {
                Column::Dataset(blocks) => blocks.rows,
                Column::Member { records: number, .. } => records[*number].blocks.rows,
                Column::Names | Column::Each { .. } => groups,
            })
            .collect();
        if counts.iter().any(|count| *count != counts[0]) {
            let found = counts.iter().zip(names).map(|(count, name)| format!("{count} of {name}"));
            let found: Vec<String> = found.collect();
            let turned =
                |column: &Column| matches!(column, Column::Dataset(blocks) if blocks.by_columns);
            let hint =
                match columns.iter().zip(&counts).any(|(one, rows)| turned(one) && *rows == 1) {
                    true => "; hint: a row for each is a column in MATLAB: save y(:)",
                    false => "",
                };
            return Err(format!("found rows {}, expected as many of each{hint}", found.join(", ")));
        }
        let rows = counts.first().copied().unwrap_or(0);
        Ok(ForeignRows { file: self, columns, records, rows, next: 0 })
    }

    /// A dataset, or a member of one's records, which are among `records` from now on.
    fn column(&self, name: &str, records: &mut Vec<Records>) -> Read<Column> {
        let wrong = |text: String| format!("{name}: {text}");
        let (dataset, member) = forms::find(&self.file, name).map_err(wrong)?;
        let Some(member) = member.filter(|_| dataset.ndim() == 1) else {
            let found = forms::open(&self.file, name).map_err(wrong)?;
            return Ok(Column::Dataset(Blocks::of(name, found, self.bytes)?));
        };
        let path = dataset.name();
        let number = match records.iter().position(|one| one.path == path) {
            Some(number) => number,
            None => {
                let members = forms::members(&dataset).map_err(wrong)?;
                let whole = forms::record(&dataset).map_err(wrong)?;
                let blocks =
                    Blocks::of(path.trim_start_matches('/'), (dataset, whole), self.bytes)?;
                records.push(Records { path, members, blocks });
                records.len() - 1
            }
        };
        let part = forms::member_of(&records[number].members, member).map_err(wrong)?;
        Ok(Column::Member { records: number, part })
    }
}

/// Appends the datasets of a group and of those within it.
fn walk(
    group: &Group,
    (prefix, depth): (&str, usize),
    to: &mut Vec<Field>,
    at: &mut dyn FnMut(&str),
) -> Read<()> {
    let mut names = group.member_names().map_err(|error| error.to_string())?;
    names.sort();
    for name in names {
        let path = format!("{prefix}{name}");
        if to.len() > DATASETS_MAX {
            return Err(format!("found more than {DATASETS_MAX} datasets"));
        }
        // Thousands of arrays that cells refer to.
        if prefix.is_empty() && name.starts_with(matlab::OWN) {
            continue;
        }
        at(&path);
        if let Ok(inner) = group.group(&name) {
            if depth + 1 < DEPTH_MAX {
                walk(&inner, (&format!("{path}/"), depth + 1), to, at)?;
            }
            continue;
        }
        // What a group has is a row itself.
        let each = prefix == EACH;
        match storage::open(group, &name) {
            Ok(dataset) if forms::has_records(&dataset) => records(&dataset, &path, each, to),
            Ok(dataset) => {
                let part = forms::whole(&dataset);
                to.push(named(path, part.and_then(|part| field(&dataset, &part, each))));
            }
            Err(text) => to.push(named(path, Err(text))),
        }
    }
    Ok(())
}

/// A field, or why it can't be read.
fn named(name: String, found: Read<(Elements, Vec<usize>)>) -> Field {
    match found {
        Ok((elements, shape)) => Field { name, elements, shape, wrong: None },
        Err(text) => Field::unreadable(name.clone(), format!("{name}: {text}")),
    }
}

/// Appends the members of a dataset's records, and the dataset, which is nothing to be asked for.
fn records(dataset: &Dataset, path: &str, each: bool, to: &mut Vec<Field>) {
    let members = match forms::members(dataset) {
        Ok(members) => members,
        Err(text) => return to.push(named(path.into(), Err(text))),
    };
    let names: Vec<String> = members.iter().map(|one| format!("{path}/{}", one.name)).collect();
    let shown = names[..names.len().min(MEMBERS_SHOWN_MAX)].join(", ");
    let more = if names.len() > MEMBERS_SHOWN_MAX { ", ..." } else { "" };
    let text = format!("found a table of records, expected one of its fields: {shown}{more}");
    to.push(named(path.into(), Err(text)));
    for (name, member) in names.into_iter().zip(members) {
        to.push(named(name, member.part.and_then(|part| field(dataset, &part, each))));
    }
}

/// Elements and shape of a row of a dataset, which is one itself where `each` group has one.
fn field(dataset: &Dataset, part: &Part, each: bool) -> Read<(Elements, Vec<usize>)> {
    let columns = by_columns(dataset);
    let shape = dataset.shape();
    let mut row = match (each, columns) {
        (true, false) => shape.clone(),
        (true, true) => shape.iter().rev().copied().collect(),
        (false, false) => shape.get(1..).ok_or("found a single value, expected rows")?.to_vec(),
        (false, true) => shape.iter().rev().skip(1).copied().collect(),
    };
    row.extend(&part.shape);
    if each && row.len() == 2 {
        row[0] = 0;
    }
    // Vectors of MATLAB are matrices of one column.
    if columns && row == [1] {
        row = Vec::new();
    }
    match &part.form {
        Form::Fixed(stored) => Ok((stored.elements, row)),
        Form::Units(_) | Form::Cells => Ok((Elements::Text, Vec::new())),
        Form::Unicode | Form::Ascii if row.is_empty() => Ok((Elements::Text, row)),
        Form::Lists if row.is_empty() => Ok((Elements::Whole { signed: true, bytes: 8 }, vec![0])),
        _ => Err(format!("found rows of {row:?} texts or lists, expected one a row")),
    }
}

/// A table of records: however many of their members are columns, they are read once.
struct Records {
    path: String,
    members: Vec<Member>,
    blocks: Blocks,
}

enum Column {
    Dataset(Blocks),
    /// A member of the records of this number.
    Member {
        records: usize,
        part: Part,
    },
    /// A dataset of each group.
    Each {
        leaf: String,
        held: Option<Blocks>,
    },
    /// The groups' names.
    Names,
}

/// Rows of a file, one after the other.
pub(crate) struct ForeignRows {
    file: ForeignFile,
    columns: Vec<Column>,
    records: Vec<Records>,
    pub(crate) rows: u64,
    /// Number of the next row.
    pub(crate) next: u64,
}

impl ForeignRows {
    /// Goes to the next row; false at the end.
    ///
    /// # Errors
    /// What can't be read; a group that lacks a dataset.
    pub(crate) fn advance(&mut self) -> Read<bool> {
        if self.next == self.rows {
            return Ok(false);
        }
        let row = self.next as usize;
        for one in &mut self.records {
            one.blocks.hold(row)?;
        }
        for column in &mut self.columns {
            match column {
                Column::Dataset(blocks) => blocks.hold(row)?,
                Column::Names | Column::Member { .. } => {}
                Column::Each { leaf, held } => {
                    let group = &self.file.groups[row];
                    let path = format!("{group}/{leaf}");
                    let found = forms::open(&self.file.file, &path)
                        .map_err(|text| format!("{path}: {text}"))?;
                    // All of it is one row.
                    let mut blocks = Blocks::of(&path, found, self.file.bytes)?;
                    blocks.at_once = usize::MAX / 2;
                    if blocks.rows > 0 {
                        blocks.hold(0)?;
                    }
                    *held = Some(blocks);
                }
            }
        }
        self.next += 1;
        Ok(true)
    }

    /// The row's number, and its group where rows are groups.
    pub(crate) fn place(&self) -> String {
        let row = self.next.saturating_sub(1);
        match self.columns.iter().any(|column| matches!(column, Column::Each { .. })) {
            true => format!("group {}", self.file.groups[row as usize]),
            false => format!("row {row}"),
        }
    }

    pub(crate) fn cell(&self, column: usize) -> Cell<'_> {
        let row = self.next as usize - 1;
        match &self.columns[column] {
            Column::Names => Cell::Text(self.file.groups[row].as_bytes()),
            Column::Dataset(blocks) => blocks.cell(row - blocks.held.start, false),
            Column::Member { records, part } => {
                let blocks = &self.records[*records].blocks;
                blocks.member(part, row - blocks.held.start)
            }
            Column::Each { held, .. } => held.as_ref().expect("advanced").cell(0, true),
        }
    }
}
