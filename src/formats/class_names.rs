//! Names of classes, as YouTube-8M, AudioSet and others list them.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::csv::{self, Records};
use super::wire::Read;
use crate::limits::check_class_count;
use crate::names::Names;

/// Columns that number classes, that name them, and that name them otherwise.
const INDICES: [&str; 3] = ["index", "class", "id"];
const NAMES: [&str; 3] = ["display_name", "name", "label"];
const OTHERS: [&str; 2] = ["mid", "knowledgegraphid"];

/// A name for each class, and which class has which name.
#[derive(Debug)]
pub(crate) struct ClassNames {
    names: Vec<Vec<u8>>,
    /// By name and by other name; `None` where several classes have it.
    by_name: HashMap<Vec<u8>, Option<u32>>,
}

impl ClassNames {
    /// Reads a csv with a header that has a column `index` and one `name` or `display_name`
    /// (YouTube-8M's vocabulary, AudioSet's class labels), whatever their case, or else a name a
    /// line, of class 0, 1, ...
    ///
    /// # Errors
    /// What isn't such a file; a class that is missing or stands twice.
    pub(crate) fn read(path: &Path) -> Read<ClassNames> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut records = Records::new(BufReader::new(file));
        let at_line = |(line, text): csv::Wrong| format!("line {line}: {text}");
        let mut rows = Vec::new();
        while let Some(record) = records.next().map_err(at_line)? {
            rows.push(record);
        }
        let Some(first) = rows.first() else { return Err("found no name".into()) };
        let lower: Vec<String> = first
            .fields
            .iter()
            .map(|field| String::from_utf8_lossy(field).trim().to_lowercase())
            .collect();
        let column = |wanted: &[&str]| {
            wanted.iter().find_map(|name| lower.iter().position(|field| field == name))
        };
        let listed = match (column(&INDICES), column(&NAMES)) {
            (Some(index), Some(name)) => by_index(&rows[1..], index, name, column(&OTHERS))?,
            _ => in_lines(&rows)?,
        };
        check_class_count(listed.len() as i128)?;
        let mut names = ClassNames { names: Vec::new(), by_name: HashMap::new() };
        for (class, (name, other)) in (0..).zip(listed) {
            for name in [Some(&name), other.as_ref()].into_iter().flatten() {
                // A class that has no name can't be meant.
                if !name.is_empty() {
                    let unique = |found: &mut Option<u32>| {
                        if *found != Some(class) {
                            *found = None;
                        }
                    };
                    names.by_name.entry(name.clone()).and_modify(unique).or_insert(Some(class));
                }
            }
            names.names.push(name);
        }
        Ok(names)
    }

    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// The class of this name.
    ///
    /// # Errors
    /// None, or several.
    pub(crate) fn class(&self, name: &[u8]) -> Read<u32> {
        match self.by_name.get(name) {
            Some(Some(class)) => Ok(*class),
            Some(None) => Err(format!("several classes have the name {}", csv::shown(name))),
            None => Err(format!("found {}, which names no class", csv::shown(name))),
        }
    }

    /// As they go with shards.
    ///
    /// # Errors
    /// The first that shards can't keep: it isn't UTF-8, or too long.
    pub(crate) fn to_names(&self) -> Read<Names> {
        let text = |(class, name): (usize, &Vec<u8>)| {
            String::from_utf8(name.clone()).map_err(|_| {
                let shown = csv::shown(name);
                format!("class {class}: found the name {shown}, which isn't UTF-8")
            })
        };
        Names::new(self.names.iter().enumerate().map(text).collect::<Read<_>>()?)
    }

    /// Whether a name is a whole number, so that a number might be meant as a name.
    pub(crate) fn has_numbers(&self) -> bool {
        self.names.iter().any(|name| !name.is_empty() && name.iter().all(u8::is_ascii_digit))
    }
}

/// A name, and another one.
type Named = (Vec<u8>, Option<Vec<u8>>);
type Listed = Vec<Named>;

/// Rows in any order, each with its class.
fn by_index(rows: &[csv::Record], index: usize, name: usize, other: Option<usize>) -> Read<Listed> {
    let mut listed: Vec<Option<Named>> = vec![None; rows.len()];
    for row in rows {
        let line = row.line;
        let cell = |column: usize| {
            let found = row.fields.get(column).cloned();
            found.ok_or_else(|| format!("line {line}: found {} cells", row.fields.len()))
        };
        let number = cell(index)?;
        let class = std::str::from_utf8(&number).ok().and_then(|text| text.trim().parse().ok());
        let place = class.and_then(|class: usize| listed.get_mut(class));
        let (most, shown) = (rows.len() - 1, csv::shown(&number));
        let place = place
            .ok_or_else(|| format!("line {line}: found the class {shown}, expected 0 to {most}"))?;
        if place.is_some() {
            return Err(format!("line {line}: found the class {shown} twice"));
        }
        *place = Some((cell(name)?, other.map(cell).transpose()?));
    }
    Ok(listed
        .into_iter()
        .map(|found| found.expect("as many classes as rows, none twice"))
        .collect())
}

fn in_lines(rows: &[csv::Record]) -> Read<Listed> {
    let name = |row: &csv::Record| match &row.fields[..] {
        [name] => Ok((name.clone(), None)),
        fields => Err(format!(
            "line {}: found {} cells, expected one name, or a header with index and name; a name \
             with a comma stands in quotes",
            row.line,
            fields.len()
        )),
    };
    rows.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Read<ClassNames> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.csv");
        std::fs::write(&path, text).unwrap();
        ClassNames::read(&path)
    }

    #[test]
    fn lists_of_others_name_classes() {
        let audioset = read("index,mid,display_name\n1,/m/b,\"B, c\"\n0,/m/a,A\n").unwrap();
        assert_eq!((audioset.class(b"/m/b"), audioset.class(b"B, c")), (Ok(1), Ok(1)));
        let youtube = "Index,TrainVideoCount,KnowledgeGraphId,Name\n1,5,/m/x,\n0,9,/m/y,Game\n";
        let youtube = read(youtube).unwrap();
        assert_eq!((youtube.class(b"Game"), youtube.class(b"/m/x")), (Ok(0), Ok(1)));
        assert!(youtube.class(b"").is_err(), "a class without a name");
        let lines = read("cat\r\ndog\n7\n").unwrap();
        assert_eq!((lines.count(), lines.class(b"dog"), lines.has_numbers()), (3, Ok(1), true));
    }

    #[test]
    fn wrong_lists_are_refused() {
        for (text, expected) in [
            ("", "no name"),
            ("index,name\n0,a\n0,b\n", "twice"),
            ("index,name\n0,a\n2,b\n", "expected 0 to 1"),
            ("a,b\n", "found 2 cells"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        assert!(read("a\na\n").unwrap().class(b"a").unwrap_err().contains("several"));
    }
}
