//! What a line of the text format is, word by word (`svmlight`).

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Line {
    Row,
    /// White space: a row without labels and features, or none where no row is due.
    Blank,
    /// No character at all.
    Empty,
    /// A comment and nothing before it but white space.
    Comment,
}

impl Line {
    /// What this is, without the end of the line.
    pub(super) fn of(text: &[u8]) -> Line {
        match text.trim_ascii_start() {
            _ if text.is_empty() => Line::Empty,
            [] => Line::Blank,
            [b'#', ..] => Line::Comment,
            _ => Line::Row,
        }
    }
}

/// The column, from 1, that a word of `text` begins at.
pub(super) fn column_of(word: &str, text: &str) -> usize {
    word.as_ptr() as usize - text.as_ptr() as usize + 1
}

/// Where the labels of a row end: at white space that no comma stands before.
pub(super) fn label_words(text: &str) -> usize {
    let space = [' ', '\t'];
    let mut end = text.find(space).unwrap_or(text.len());
    while text[..end].ends_with(',') {
        let rest = &text[end..];
        let word = rest.trim_start_matches(space);
        let length = word.find(space).unwrap_or(word.len());
        if length == 0 || word[..length].contains(':') {
            break;
        }
        end += rest.len() - word.len() + length;
    }
    end
}

/// Whether a line that is no header may be a row: labels, or none, and pairs.
pub(super) fn looks_like_row(text: &str) -> bool {
    let (labels, pairs) = text.split_at(label_words(text));
    let number = |word: &str| word.trim().parse::<u32>().is_ok();
    let pair = |word: &str| {
        word.split_once(':')
            .is_some_and(|(index, value)| number(index) && value.parse::<f32>().is_ok())
    };
    let some = pairs.split_ascii_whitespace().next().is_some();
    let labelled = labels.is_empty() || labels.split(',').all(number);
    some && labelled && pairs.split_ascii_whitespace().all(pair)
}

/// What rows of a file without header hold.
#[derive(Debug, Default)]
pub(super) struct Seen {
    first: Option<usize>,
    last: usize,
    label: usize,
}

impl Seen {
    pub(super) fn add(&mut self, text: &str) {
        let (labels, pairs) = text.split_at(label_words(text));
        for label in labels.split(',').filter_map(|word| word.trim().parse::<usize>().ok()) {
            self.label = self.label.max(label);
        }
        for pair in pairs.split_ascii_whitespace() {
            let index = pair.split_once(':').and_then(|pair| pair.0.parse::<usize>().ok());
            let Some(index) = index else { continue };
            self.first = Some(self.first.map_or(index, |first| first.min(index)));
            self.last = self.last.max(index);
        }
    }

    /// What a comment, such as scikit-learn's, says that indices begin with.
    pub(super) fn first_index(comment: &[u8]) -> Option<usize> {
        let text = String::from_utf8_lossy(comment).to_lowercase();
        ["zero-based", "one-based"].iter().position(|words| text.contains(words))
    }

    /// The options that take such rows; `said` is what a comment says indices begin with.
    pub(super) fn options(&self, said: Option<usize>) -> String {
        let one_based = said.map_or(self.first != Some(0), |first| first == 1);
        let option = if one_based { " --one-based" } else { "" };
        let (features, classes) = (self.last + usize::from(!one_based), self.label + 1);
        format!("--rows-from-lines{option} --features features:{features} --classes {classes}")
    }
}
