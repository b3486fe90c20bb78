//! What a rank gives of a window: the layout of its part, in words of four bytes.
//!
//! ```text
//! part    words of its next part | for each row the words of its record and its labels | seal
//!         | a record for each row
//! record  the row's numbers | its labels | seal
//!         with dropout: numbers that are left | a sign for each number | labels | seal
//! ```
//!
//! A seal is the crc32c of what is before it. That of a whole row goes on where its seal at rest
//! ends, so memory, scratch file and network are proven together.

use crate::device::Dropout;
use crate::flow::own_rows::seal_of;

/// What records of an epoch are like.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// Numbers of a row.
    pub(super) stride: usize,
    /// What is left out of rows.
    pub(super) dropout: Option<Dropout>,
}

/// Words of a record and labels of its row.
pub(super) type Lengths = [u32; 2];

/// A bit for each number of a row that is left.
pub(super) type Mask = Vec<u32>;

/// Words of records of these lengths.
pub(super) fn words(lengths: &[Lengths]) -> usize {
    lengths.iter().map(|own| own[0] as usize).sum()
}

/// Words before the records of a part of so many rows.
pub(super) fn head_words(rows: usize) -> usize {
    2 + 2 * rows
}

/// Words of a part with records of these lengths.
pub(super) fn part_words(lengths: &[Lengths]) -> usize {
    head_words(lengths.len()) + words(lengths)
}

/// Writes what is before the records: how long they are, and the next part.
pub(super) fn write_head(next: usize, lengths: &[Lengths], to: &mut [u32]) {
    to[0] = u32::try_from(next).expect("a part has less than 16 GiB");
    let (seal, head) = to[..head_words(lengths.len())].split_last_mut().expect("a seal");
    head[1..].copy_from_slice(lengths.as_flattened());
    *seal = crc32c::crc32c(bytemuck::cast_slice(head));
}

/// What is before the records of a part of so many rows, and its seal.
pub(super) fn sealed_head(part: &[u32], rows: usize) -> (&[u32], u32) {
    let (seal, head) = part[..head_words(rows)].split_last().expect("a seal");
    (head, *seal)
}

impl Form {
    /// What is left out of records already.
    fn compressed(&self) -> Option<Dropout> {
        self.dropout.filter(|dropout| dropout.saves())
    }

    /// How long the record of a row with so many labels is.
    pub(super) fn lengths(&self, row: usize, labels: usize, mask: &mut Mask) -> Lengths {
        let numbers = match self.compressed() {
            None => self.stride,
            Some(dropout) => {
                let left = dropout.left(row, self.stride, mask);
                Dropout::compressed_words(self.stride, left)
            }
        };
        [numbers + labels + 1, labels].map(|words| u32::try_from(words).expect("a row's words"))
    }

    /// Words of the record of a row with so many labels, at most.
    pub(super) fn words_max(&self, labels: usize) -> usize {
        Dropout::compressed_words(self.stride, self.stride) + labels + 1
    }

    /// Writes the record of a row whose numbers have this seal at rest. Gives the seal that they
    /// have now, where that is another one; then the record has zeros.
    pub(super) fn write(
        &self,
        row: usize,
        (numbers, seal): (&[f32], u32),
        labels: &[u32],
        record: &mut [u32],
        mask: &mut Mask,
    ) -> Result<(), u32> {
        let (last, record) = record.split_last_mut().expect("a seal");
        let (to, labels_to) = record.split_at_mut(record.len() - labels.len());
        labels_to.copy_from_slice(labels);
        let Some(dropout) = self.compressed() else {
            to.copy_from_slice(bytemuck::cast_slice(numbers));
            *last = crc32c::crc32c_append(seal, bytemuck::cast_slice(labels));
            return Ok(());
        };
        let found = seal_of(numbers);
        match found == seal {
            true => {
                dropout.left(row, self.stride, mask);
                Dropout::compress(numbers, mask, to);
            }
            false => to.fill(0),
        }
        *last = crc32c::crc32c(bytemuck::cast_slice(record));
        if found == seal { Ok(()) } else { Err(found) }
    }

    /// A record's seal as it should be, and as it is.
    pub(super) fn seals(record: &[u32]) -> (u32, u32) {
        let (seal, record) = record.split_last().expect("a seal");
        (crc32c::crc32c(bytemuck::cast_slice(record)), *seal)
    }

    /// Puts a record's numbers, less what is left out, and labels in their places.
    pub(super) fn read(
        &self,
        row: usize,
        record: &[u32],
        (numbers, labels): (&mut [f32], &mut [u32]),
        mask: &mut Mask,
    ) {
        let (from, rest) = record.split_at(record.len() - 1 - labels.len());
        labels.copy_from_slice(&rest[..labels.len()]);
        match self.compressed() {
            None => self.place(row, bytemuck::cast_slice(from), numbers),
            Some(dropout) => {
                let left = dropout.left(row, self.stride, mask);
                let words = Dropout::compressed_words(self.stride, left);
                assert_eq!(from.len(), words, "what is left of row {row}");
                dropout.expand(from, mask, numbers);
            }
        }
    }

    /// Puts a whole row's numbers, less what is left out, in their place.
    pub(super) fn place(&self, row: usize, from: &[f32], numbers: &mut [f32]) {
        numbers.copy_from_slice(from);
        if let Some(dropout) = self.dropout {
            dropout.apply(row, numbers);
        }
    }
}
