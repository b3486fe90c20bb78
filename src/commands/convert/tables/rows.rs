//! Rows of tables as examples: features, frames, ids.

use super::labels::Labels;
use super::options::{Missing, Padding};
use crate::commands::convert::storage::Bounds;
use crate::example::{Example, Run, Values};
use crate::formats::table::Table;

type Read<T> = Result<T, String>;

/// What was done to rows, in numbers that add up over ranks.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct TableNotes {
    /// Numbers that were missing and are `--missing` now.
    pub(crate) filled: u64,
    /// Rows left out because numbers were missing.
    pub(crate) skipped: u64,
    /// Frames of zeros at ends of rows that were left out.
    pub(crate) padding: u64,
}

impl TableNotes {
    /// Warns of what rows aren't as they stood in their files.
    pub(crate) fn warn(&self) {
        let TableNotes { filled, skipped, padding } = *self;
        if filled > 0 {
            log::warn!("{filled} numbers were missing and are --missing");
        }
        if skipped > 0 {
            log::warn!("{skipped} rows in which a number is missing were left out");
        }
        if padding > 0 {
            log::warn!("{padding} frames of zeros at the end of rows were left out");
        }
    }
}

/// One picked field of features: how many numbers a row, or a frame, has, and how many frames are
/// there, 0 where rows differ in that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) width: usize,
    /// None at video level.
    pub(super) frames: Option<usize>,
    /// Whether they are stored as bytes.
    pub(super) bytes: bool,
}

/// Makes an example of each row.
pub(super) struct Rows {
    /// Of the first picked fields.
    pub(super) pieces: Vec<Piece>,
    pub(super) labels: Labels,
    /// Places among the picked fields.
    pub(super) id: Option<usize>,
    pub(super) lengths: Option<usize>,
    pub(super) missing: Option<Missing>,
    pub(super) padding: Option<Padding>,
    /// What bytes stand for, where it is told.
    pub(super) runs: Option<Vec<Run>>,
}

impl Rows {
    /// The row that stands in `table`, which has the number `row` in the file of this `stem`; none
    /// where it is left out.
    pub(super) fn row(
        &self,
        table: &dyn Table,
        (stem, row): (&str, u64),
        notes: &mut TableNotes,
    ) -> Read<Option<(Example, usize)>> {
        let mut id = Vec::new();
        match self.id {
            Some(field) => table.text(field, &mut id).map_err(|text| format!("id: {text}"))?,
            None => id = format!("{stem}-{row}").into_bytes(),
        }
        if id.is_empty() {
            return Err("id: found none".into());
        }
        let Some(values) = self.values(table, notes)? else { return Ok(None) };
        let (labels, repeated) = self.labels.of(table, &id)?;
        Ok(Some((Example { id, labels, values }, repeated)))
    }

    /// Widens `bounds` to the row's numbers, as they are before they become bytes.
    pub(super) fn widen(&self, table: &dyn Table, bounds: &mut Bounds) -> Read<()> {
        let numbers = self.numbers(table, &mut TableNotes::default())?;
        bounds.widen(&numbers.unwrap_or_default());
        Ok(())
    }

    fn values(&self, table: &dyn Table, notes: &mut TableNotes) -> Read<Option<Values>> {
        let frames = self.pieces[0].frames.is_some();
        if frames && self.pieces.iter().all(|piece| piece.bytes) {
            let mut bytes = self.of_frames(|field, to| table.bytes(field, to), 0)?;
            let kept = self.without_padding(table, &bytes, |byte| *byte == 0, notes)?;
            bytes.truncate(kept);
            return Ok(Some(Values::Frames(bytes)));
        }
        let Some(mut numbers) = self.numbers(table, notes)? else { return Ok(None) };
        if !frames {
            return Ok(Some(Values::Video(numbers)));
        }
        let kept = self.without_padding(table, &numbers, |value| *value == 0.0, notes)?;
        numbers.truncate(kept);
        Ok(Some(Values::FrameNumbers(numbers)))
    }

    /// All numbers of the row, frame after frame; none where some are missing and the row is to be
    /// left out.
    fn numbers(&self, table: &dyn Table, notes: &mut TableNotes) -> Read<Option<Vec<f32>>> {
        let mut values = match self.pieces[0].frames {
            Some(_) => self.of_frames(|field, to| self.of_field(table, field, to), 0.0)?,
            None => {
                let mut values = Vec::new();
                for field in 0..self.pieces.len() {
                    self.of_field(table, field, &mut values)?;
                }
                values
            }
        };
        if let (true, Some(runs)) = (self.pieces[0].bytes, &self.runs) {
            scale(&mut values, runs);
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let value = values[at];
            let hint = "; hint: --missing 0, or --missing skip";
            match self.missing {
                _ if !value.is_nan() => return Err(format!("found {value} at feature {at}")),
                None => return Err(format!("found no number at feature {at}{hint}")),
                Some(Missing::Skip) => {
                    notes.skipped += 1;
                    return Ok(None);
                }
                Some(Missing::Number(number)) => {
                    for value in values.iter_mut().filter(|value| value.is_nan()) {
                        *value = number;
                        notes.filled += 1;
                    }
                }
            }
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(format!("found {} at feature {at}", values[at]));
            }
        }
        Ok(Some(values))
    }

    /// The numbers of a field.
    fn of_field(&self, table: &dyn Table, field: usize, to: &mut Vec<f32>) -> Read<()> {
        let (from, piece) = (to.len(), &self.pieces[field]);
        table.reals(field, to)?;
        let found = to.len() - from;
        if piece.frames.is_none() && found != piece.width {
            return Err(format!("found {found} features, expected {}", piece.width));
        }
        Ok(())
    }

    /// What `of_field` gives of each piece, frame after frame.
    fn of_frames<T: Copy>(
        &self,
        of_field: impl Fn(usize, &mut Vec<T>) -> Read<()>,
        zero: T,
    ) -> Read<Vec<T>> {
        let width: usize = self.pieces.iter().map(|piece| piece.width).sum();
        let (mut all, mut count, mut from) = (Vec::new(), 0, 0);
        for (field, piece) in self.pieces.iter().enumerate() {
            let mut own = Vec::new();
            of_field(field, &mut own)?;
            let frames = own.len() / piece.width;
            if field == 0 {
                count = frames;
                all = vec![zero; count * width];
            }
            if own.len() != count * piece.width {
                let (found, size) = (own.len(), piece.width);
                return Err(format!(
                    "found {found} numbers of field {field}, expected {count} frames of {size}"
                ));
            }
            let frames = all.chunks_exact_mut(width).zip(own.chunks_exact(piece.width));
            frames.for_each(|(frame, part)| frame[from..from + piece.width].copy_from_slice(part));
            from += piece.width;
        }
        Ok(all)
    }

    /// How many of a row's numbers are frames, and not padding behind them.
    fn without_padding<T>(
        &self,
        table: &dyn Table,
        numbers: &[T],
        zero: impl Fn(&T) -> bool,
        notes: &mut TableNotes,
    ) -> Read<usize> {
        let width: usize = self.pieces.iter().map(|piece| piece.width).sum();
        let all = numbers.len() / width;
        if let Some(field) = self.lengths {
            let mut lengths = Vec::new();
            table.wholes(field, &mut lengths)?;
            let found = match lengths[..] {
                [length] => usize::try_from(length).ok().filter(|length| *length <= all),
                _ => None,
            };
            let found = found
                .ok_or_else(|| format!("lengths: found {lengths:?}, expected one, 0 to {all}"))?;
            return Ok(found * width);
        }
        let frames = numbers.chunks_exact(width);
        let empty = frames.rev().take_while(|frame| frame.iter().all(&zero)).count();
        match self.padding {
            _ if empty == 0 => Ok(numbers.len()),
            Some(Padding::Keep) => Ok(numbers.len()),
            Some(Padding::Drop) => {
                notes.padding += empty as u64;
                Ok((all - empty) * width)
            }
            None => Err(format!(
                "found zeros alone in the last {empty} of {all} frames, which may be padding; \
                 hint: --lengths FIELD, --padding drop or --padding keep"
            )),
        }
    }
}

/// Makes of bytes what they mean.
fn scale(values: &mut [f32], runs: &[Run]) {
    for row in values.chunks_exact_mut(runs[runs.len() - 1].0) {
        let mut from = 0;
        for (end, [scale, offset]) in runs {
            row[from..*end].iter_mut().for_each(|value| *value = *value * scale + offset);
            from = *end;
        }
    }
}
