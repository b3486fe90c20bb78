//! Annotations as the YouTube-8M challenge of 2019 wants them: for each class its segments, the
//! best first.
//!
//! ```text
//!   Class,Segments
//!   12,id:20 other:5 id:25
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::formats::csv::{field, shown};
use crate::formats::predictions::SEGMENTS_HEADER;

/// Segments with their best classes.
pub(super) struct Segments<'a> {
    pub(super) ids: Vec<&'a [u8]>,
    /// [segments][top]
    pub(super) best: &'a [(f32, u32)],
    pub(super) top: usize,
}

impl Segments<'_> {
    /// Sees that all ids can stand between spaces.
    ///
    /// # Errors
    /// The first that can't.
    pub(super) fn check(&self) -> Result<(), String> {
        let odd = |id: &&[u8]| id.is_empty() || id.iter().any(u8::is_ascii_whitespace);
        match self.ids.iter().copied().find(odd) {
            None => Ok(()),
            Some(id) => {
                let id = shown(id);
                Err(format!("found the id {id}, expected one without spaces, such as video:start"))
            }
        }
    }

    /// Writes a line for each class that any segment has among its best: its `most` best segments,
    /// of equal ones those that come first.
    pub(super) fn write(&self, out: &mut dyn Write, most: usize) -> io::Result<()> {
        // Scores and numbers of segments.
        let mut classes: BTreeMap<u32, Vec<(f32, usize)>> = BTreeMap::new();
        for (segment, best) in self.best.chunks(self.top.max(1)).enumerate() {
            for (score, class) in best {
                classes.entry(*class).or_default().push((*score, segment));
            }
        }
        writeln!(out, "{SEGMENTS_HEADER}")?;
        for (class, mut segments) in classes {
            segments.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            segments.truncate(most);
            let ids: Vec<&[u8]> = segments.iter().map(|segment| self.ids[segment.1]).collect();
            write!(out, "{class},")?;
            out.write_all(&field(&ids.join(&b' ')))?;
            writeln!(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_best_segments_in_order() {
        let ids = ["a:0", "a:5", "b:0"].map(str::as_bytes).to_vec();
        let best = [(0.5, 7), (0.4, 2), (0.75, 7), (0.5, 3), (0.5, 7), (0.25, 2)];
        let segments = Segments { ids, best: &best, top: 2 };
        assert_eq!(segments.check(), Ok(()));
        for (most, expected) in [
            (3, "Class,Segments\n2,a:0 b:0\n3,a:5\n7,a:5 a:0 b:0\n"),
            (2, "Class,Segments\n2,a:0 b:0\n3,a:5\n7,a:5 a:0\n"),
            (1, "Class,Segments\n2,a:0\n3,a:5\n7,a:5\n"),
        ] {
            let mut text = Vec::new();
            segments.write(&mut text, most).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
        let odd = Segments { ids: vec![b"a 5"], best: &best[..2], top: 2 };
        assert!(odd.check().unwrap_err().contains("found the id \"a 5\""));
    }
}
