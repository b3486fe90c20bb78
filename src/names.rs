//! Names of classes: they travel with shards, models and annotations, so that classes of two of
//! these can be told to be the same ones.

use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3;

/// Bytes of a name.
pub(crate) const NAME_MAX: usize = 1024;
/// Bytes of the names of all classes, each as long as the longest.
const ALL_MAX: usize = 64 << 20;

/// A name for each of the classes 0, 1, ...; a class whose name is empty has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// # Errors
    /// A name that is too long or holds NUL; names that are too many: what was found and what was
    /// expected.
    pub fn new(names: Vec<String>) -> Result<Names, String> {
        for (class, name) in names.iter().enumerate() {
            if name.len() > NAME_MAX {
                let length = name.len();
                return Err(format!(
                    "class {class}: found a name of {length} bytes, expected at most {NAME_MAX}"
                ));
            }
            if name.contains('\0') {
                return Err(format!("class {class}: found NUL in a name, expected none"));
            }
        }
        let names = Names(names);
        let bytes = names.count().saturating_mul(names.width());
        match bytes > ALL_MAX {
            true => Err(format!(
                "found {} names of up to {} bytes, {bytes} in all, expected at most {ALL_MAX}",
                names.count(),
                names.width()
            )),
            false => Ok(names),
        }
    }

    /// Number of classes.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The name of a class; empty where it has none.
    pub fn of(&self, class: usize) -> &str {
        self.0.get(class).map_or("", String::as_str)
    }

    /// All of them, in the order of classes.
    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }

    /// Bytes of the longest one, at least 1.
    pub(crate) fn width(&self) -> usize {
        width(&self.0)
    }

    /// A digest of them, in hex.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Xxh3::new();
        for name in &self.0 {
            digest.update(&(name.len() as u64).to_le_bytes());
            digest.update(name.as_bytes());
        }
        format!("{:032x}", digest.digest128())
    }

    /// The first of them, as messages show them.
    pub(crate) fn shown(&self) -> String {
        let named = self.0.iter().filter(|name| !name.is_empty());
        let first: Vec<String> = named.take(3).map(|name| format!("{name:?}")).collect();
        first.join(", ")
    }

    /// As ranks send them to each other.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).expect("texts are plain data")
    }

    /// What `to_bytes` gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Names> {
        serde_json::from_slice(bytes).ok().map(Names)
    }

    /// The first class that these and others name differently, if any.
    pub(crate) fn first_other(&self, others: &Names) -> Option<usize> {
        (0..self.count().max(others.count())).find(|class| self.of(*class) != others.of(*class))
    }

    /// For each of these classes the one of `others` that has the same name. A name that several
    /// classes have says nothing; but lists that are equal are of the same classes.
    pub(crate) fn among(&self, others: &Names) -> Vec<Option<u32>> {
        if self == others {
            return (0..self.count() as u32).map(Some).collect();
        }
        let (own, theirs) = (self.by_name(), others.by_name());
        let of = |name: &String| {
            own.get(name.as_str())?.as_ref()?;
            *theirs.get(name.as_str())?
        };
        self.0.iter().map(of).collect()
    }

    /// The class of each name; `None` where several have it.
    fn by_name(&self) -> HashMap<&str, Option<u32>> {
        let mut classes = HashMap::new();
        for (class, name) in (0..).zip(&self.0).filter(|(_, name)| !name.is_empty()) {
            classes.entry(name.as_str()).and_modify(|found| *found = None).or_insert(Some(class));
        }
        classes
    }
}

/// Bytes of the longest of some names, at least 1.
pub(crate) fn width(names: &[String]) -> usize {
    names.iter().map(String::len).max().unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Names {
        Names::new(texts.iter().map(|text| text.to_string()).collect()).unwrap()
    }

    #[test]
    fn classes_are_matched_by_names_that_one_class_has() {
        let own = names(&["cat", "dog", "", "cow", "cow", "owl"]);
        let others = names(&["owl", "cat", "", "cow", "dog", "dog"]);
        assert_eq!(own.among(&others), [Some(1), None, None, None, None, Some(0)]);
        assert_eq!(own.among(&own), (0..6).map(Some).collect::<Vec<_>>(), "the same list");
        assert_eq!(own.first_other(&others), Some(0));
        assert_eq!(own.first_other(&names(&["cat", "dog"])), Some(3));
        assert_eq!(own.first_other(&own), None);
    }

    #[test]
    fn names_come_back_and_have_limits() {
        let own = names(&["caf\u{e9}", "a,\"b\"\n"]);
        assert_eq!(Names::from_bytes(&own.to_bytes()).as_ref(), Some(&own));
        assert_eq!((own.width(), own.of(0), own.of(2)), (6, "caf\u{e9}", ""));
        assert_ne!(own.digest(), names(&["caf\u{e9}a", ",\"b\"\n"]).digest());
        let refused = |list: Vec<String>| Names::new(list).unwrap_err();
        assert!(refused(vec!["a\0b".into()]).contains("class 0: found NUL"));
        assert!(refused(vec!["a".repeat(1025)]).contains("1025 bytes"));
        let mut many = vec![String::new(); 1 << 17];
        many[3] = "b".repeat(1024);
        assert!(refused(many).contains("131072 names"));
    }
}
