//! Rows at rest, which frozen class blocks visit for scores, and what these are.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Exit, Result};
use crate::labels::Labels;
use crate::metrics::TopList;
use crate::model::Matrix;

/// Rows of this rank at rest, in memory or in a file, counted from its first. Any thread reads
/// them.
pub trait AtRest: Sync {
    fn labels(&self) -> &Labels;

    /// Consecutive rows.
    ///
    /// # Errors
    /// The file can't be read, or is damaged.
    fn run(&self, rows: Range<usize>) -> Result<Resting<'_>>;

    /// Single rows.
    ///
    /// # Errors
    /// The file can't be read, or is damaged.
    fn gathered(&self, rows: &[usize]) -> Result<Resting<'_>>;
}

/// Rows that were at rest: `rows` of `activations` `[..][d]` and `labels`.
pub struct Resting<'a> {
    pub activations: Cow<'a, Matrix>,
    pub labels: Cow<'a, Labels>,
    pub rows: Range<usize>,
}

/// Some of the rows at rest.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    /// From the first to before the second.
    Run(usize, usize),
    /// Single ones, in this order.
    Single(&'a [usize]),
}

/// What a visitor makes of rows.
#[derive(Default)]
pub struct Scores {
    /// p [rows][classes of the visitor].
    pub scores: Vec<f32>,
    /// Loss of each row over those classes.
    pub losses: Vec<f64>,
}

impl Scores {
    /// Offers them, of the classes from the first on, to the rows' lists.
    ///
    /// # Errors
    /// Exit 7: some are no numbers.
    pub(crate) fn offer(&self, first_class: usize, lists: &mut [TopList]) -> Result<()> {
        let classes = self.scores.len() / lists.len().max(1);
        let rows = lists.iter_mut().zip(self.scores.chunks(classes.max(1)));
        let numbers = rows.fold(true, |all, (list, scores)| all & list.offer(first_class, scores));
        if numbers { Ok(()) } else { Err(no_numbers(first_class)) }
    }
}

/// Scores that are none: finite weights and features can still be so large that what they make is
/// no number.
pub(crate) fn no_numbers(class: usize) -> Error {
    let text = format!("scores from class {class} on: found NaN or infinity");
    Error::new(Exit::Numeric, text).hint("the weights of the model or features are too large")
}

impl Which<'_> {
    pub(crate) fn rows(&self) -> usize {
        match self {
            Which::Run(from, to) => to - from,
            Which::Single(rows) => rows.len(),
        }
    }
}
