//! Which fields patterns name: names, ranges (`f0..f511`), globs (`f*`).

use crate::fields::Field;
use crate::formats::wire::Read;

/// The fields of one pattern, by their place in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pick {
    /// The pattern, which is the field's name where it is no range or glob.
    pub(crate) name: String,
    pub(crate) fields: Vec<usize>,
    /// Whether it is a range or glob, of however many fields.
    pub(crate) many: bool,
}

/// The fields that `patterns` name, of those that aren't `taken`; none twice. Globs and ranges of
/// numbered names give them in the order of their numbers.
///
/// # Errors
/// A pattern that no field has, with the fields that there are; a field that is named twice.
pub(crate) fn pick(patterns: &[String], fields: &[Field], taken: &[usize]) -> Read<Vec<Pick>> {
    let mut picks: Vec<Pick> = Vec::new();
    for pattern in patterns {
        let (found, many) = match find(pattern, fields) {
            Some(field) => (vec![field], false),
            None => (several(pattern, fields, taken)?, true),
        };
        if found.is_empty() {
            return Err(format!("{pattern:?}: not found; {}", list(fields)));
        }
        let before = picks.iter().flat_map(|pick| &pick.fields).chain(taken);
        if let Some(wrong) = found.iter().find_map(|field| fields[*field].wrong.clone()) {
            return Err(wrong);
        }
        if let Some(twice) = before.into_iter().find(|field| found.contains(field)) {
            return Err(format!("{:?} is named twice", fields[*twice].name));
        }
        picks.push(Pick { name: pattern.clone(), fields: found, many });
    }
    Ok(picks)
}

fn find(name: &str, fields: &[Field]) -> Option<usize> {
    fields.iter().position(|field| field.name == name)
}

fn several(pattern: &str, fields: &[Field], taken: &[usize]) -> Read<Vec<usize>> {
    if let Some((first, last)) = pattern.split_once("..") {
        let folder = first.rfind('/').map_or("", |end| &first[..=end]);
        // A table's name needs to stand once: table/f0..f511.
        let within = format!("{folder}{last}");
        let last = find(&within, fields).map_or(last, |_| &within);
        return range(first, last, fields).map_err(|text| format!("{pattern:?}: {text}"));
    }
    let glob = glob::Pattern::new(pattern).map_err(|error| format!("{pattern:?}: {error}"))?;
    if !pattern.contains(['*', '?', '[']) {
        return Ok(Vec::new());
    }
    let fits = |place: &usize| glob.matches(&fields[*place].name) && !taken.contains(place);
    let mut found: Vec<usize> = (0..fields.len()).filter(fits).collect();
    found.sort_by_key(|place| pieces(&fields[*place].name));
    Ok(found)
}

/// Numbered names by their numbers, all of which must be there; others as the file has them.
fn range(first: &str, last: &str, fields: &[Field]) -> Read<Vec<usize>> {
    let place = |name: &str| find(name, fields).ok_or_else(|| format!("{name:?} is no field"));
    let (from, to) = (place(first)?, place(last)?);
    let numbered = |name: &str| {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, number) = name.split_at(name.len() - digits);
        Some((stem.to_string(), number.parse::<u64>().ok()?, number.starts_with('0'), digits))
    };
    if let (Some(a), Some(b)) = (numbered(first), numbered(last))
        && a.0 == b.0
    {
        let width = if a.2 && a.3 == b.3 { a.3 } else { 0 };
        let names = (a.1..=b.1).map(|number| format!("{}{number:0width$}", a.0));
        return names.map(|name| place(&name)).collect();
    }
    match from <= to {
        true => Ok((from..=to).collect()),
        false => Err(format!("{last:?} stands before {first:?}")),
    }
}

/// A name in texts and numbers, so that f2 comes before f10.
fn pieces(name: &str) -> Vec<(String, u64)> {
    let mut pieces = vec![(String::new(), 0u64)];
    let mut digits = false;
    for character in name.chars() {
        if digits && !character.is_ascii_digit() {
            pieces.push((String::new(), 0));
        }
        digits = character.is_ascii_digit();
        let (text, number) = pieces.last_mut().expect("one at least");
        match character.to_digit(10).filter(|_| digits) {
            Some(digit) => *number = number.saturating_mul(10).saturating_add(u64::from(digit)),
            None => text.push(character),
        }
    }
    pieces
}

/// The fields, for people.
pub(crate) fn list(fields: &[Field]) -> String {
    const SHOWN_MAX: usize = 12;
    let shown = fields.iter().take(SHOWN_MAX).map(|field| {
        let size = |size: &usize| match size {
            0 => ", ...".into(),
            _ => format!(", {size}"),
        };
        let shape: String = field.shape.iter().map(size).collect();
        if field.wrong.is_some() {
            return format!("{} (not to be read)", field.name);
        }
        format!("{} ({} [rows{shape}])", field.name, field.elements.name())
    });
    let more = match fields.len() > SHOWN_MAX {
        true => format!(" and {} more", fields.len() - SHOWN_MAX),
        false => String::new(),
    };
    format!("found {}{more}", shown.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Elements;

    fn fields(names: &[&str]) -> Vec<Field> {
        let field = |name: &&str| Field {
            name: name.to_string(),
            elements: Elements::Text,
            shape: Vec::new(),
            wrong: None,
        };
        names.iter().map(field).collect()
    }

    fn picked(pattern: &str, names: &[&str]) -> Read<Vec<usize>> {
        let picks = pick(&[pattern.into()], &fields(names), &[])?;
        Ok(picks.into_iter().flat_map(|pick| pick.fields).collect())
    }

    #[test]
    fn patterns_name_fields_in_the_order_of_numbers() {
        let names = ["id", "f0", "f10", "f2", "f1", "a..b", "x"];
        assert_eq!(picked("f*", &names), Ok(vec![1, 4, 3, 2]));
        assert_eq!(picked("f0..f2", &names), Ok(vec![1, 4, 3]));
        assert_eq!(picked("a..b", &names), Ok(vec![5]), "a name wins over what it would mean");
        assert_eq!(picked("id..f0", &names), Ok(vec![0, 1]));
        assert!(picked("f0..f10", &names).unwrap_err().contains("\"f3\" is no field"));
        assert!(picked("x..id", &names).unwrap_err().contains("stands before"));
        assert!(picked("y", &names).unwrap_err().contains("found id (texts [rows]), f0"));
        assert_eq!(picked("a/f0..f1", &["a/f0", "a/f1", "f1"]), Ok(vec![0, 1]));
        assert_eq!(picked("a/f0..a/f1", &["a/f0", "a/f1"]), Ok(vec![0, 1]));
        assert_eq!(picked("f00..f02", &["f00", "f01", "f02"]), Ok(vec![0, 1, 2]));
    }

    #[test]
    fn a_glob_leaves_out_what_is_taken_and_a_name_may_not() {
        let names = fields(&["id", "label", "a"]);
        let all = pick(&["*".into()], &names, &[0, 1]).unwrap();
        assert_eq!(all[0].fields, [2]);
        assert!(pick(&["a".into(), "label".into()], &names, &[1]).unwrap_err().contains("twice"));
        assert!(pick(&["a".into(), "a*".into()], &names, &[]).unwrap_err().contains("twice"));
    }
}
