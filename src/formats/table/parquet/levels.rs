//! Levels of repetition and definition (Melnik et al., "Dremel: interactive analysis of web-scale
//! datasets", VLDB 2010): what of a row's lists is there, as numbers beside the values.

/// What the levels of a column mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Levels {
    /// The definition level of a value that is there.
    pub(super) deepest: i16,
    /// For each list, the outer one first: the definition level from which on it has an element.
    pub(super) lists: Vec<i16>,
}

/// What one pair of levels stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Entry {
    Value,
    /// A value that is missing.
    Missing,
    /// The list of this depth has no element, 0 for the outer one.
    Empty(usize),
    /// The list of this depth is missing as a whole.
    MissingList(usize),
}

impl Levels {
    pub(super) fn entry(&self, definition: i16) -> Entry {
        if definition >= self.deepest {
            return Entry::Value;
        }
        // One below says that the list itself is there.
        match self.lists.iter().position(|first| definition < *first) {
            Some(list) if definition + 1 == self.lists[list] => Entry::Empty(list),
            Some(list) => Entry::MissingList(list),
            None => Entry::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_say_what_of_lists_is_there() {
        // An optional list of optional numbers, as pyarrow writes them.
        let list = Levels { deepest: 3, lists: vec![2] };
        let entries = [0, 1, 2, 3].map(|definition| list.entry(definition));
        assert_eq!(entries, [Entry::MissingList(0), Entry::Empty(0), Entry::Missing, Entry::Value]);
        let frames = Levels { deepest: 5, lists: vec![2, 4] };
        let entries = [0, 1, 2, 3, 4, 5].map(|definition| frames.entry(definition));
        assert_eq!(entries[2..4], [Entry::MissingList(1), Entry::Empty(1)]);
        assert_eq!(entries[4..], [Entry::Missing, Entry::Value]);
        // Nothing is optional.
        let bare = Levels { deepest: 1, lists: vec![1] };
        assert_eq!([0, 1].map(|at| bare.entry(at)), [Entry::Empty(0), Entry::Value]);
        let number = Levels { deepest: 1, lists: vec![] };
        assert_eq!([0, 1].map(|at| number.entry(at)), [Entry::Missing, Entry::Value]);
    }
}
