//! Rows of numbers whose stride is a whole number of panels, so that no kernel has a ragged end.

use std::ops::Range;

use super::vector::LANES;

/// `rows` x `width` numbers, row-major; columns from `width` to `stride` are padding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    rows: usize,
    width: usize,
    pub data: Vec<f32>,
}

/// `width` rounded up to whole panels.
pub fn stride_of(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

impl Matrix {
    pub fn zeros(rows: usize, width: usize) -> Matrix {
        Matrix { rows, width, data: vec![0.0; rows * stride_of(width)] }
    }

    /// A matrix of the given rows, each `width` long and laid end to end.
    pub fn from_rows(values: &[f32], width: usize) -> Matrix {
        let mut matrix = Matrix::zeros(values.len() / width.max(1), width);
        for (row, values) in values.chunks_exact(width).enumerate() {
            matrix.row_mut(row)[..width].copy_from_slice(values);
        }
        matrix
    }

    /// Makes it `rows` high, keeping its memory. Rows that were there stay; new ones are zero.
    pub fn resize(&mut self, rows: usize) {
        self.data.resize(rows * self.stride(), 0.0);
        self.rows = rows;
    }

    /// Appends the rows of `other`, which are as wide.
    pub fn append(&mut self, other: Matrix) {
        assert_eq!(self.width, other.width, "rows of another width");
        match self.rows {
            0 => *self = other,
            _ => {
                self.data.extend_from_slice(&other.data);
                self.rows += other.rows;
            }
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn stride(&self) -> usize {
        stride_of(self.width)
    }

    /// One row, padding included.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.stride()..(row + 1) * self.stride()]
    }

    /// One row, padding included.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let stride = self.stride();
        &mut self.data[row * stride..(row + 1) * stride]
    }

    /// The numbers of a run of rows, padding included.
    pub fn run(&self, rows: Range<usize>) -> &[f32] {
        &self.data[rows.start * self.stride()..rows.end * self.stride()]
    }

    /// Runs of `height` rows, the last one perhaps of fewer, with their numbers.
    pub(crate) fn runs_mut(
        &mut self,
        height: usize,
    ) -> impl Iterator<Item = (Range<usize>, &mut [f32])> + Send {
        let stride = self.stride();
        self.data.chunks_mut(height * stride).enumerate().map(move |(index, numbers)| {
            let from = index * height;
            (from..from + numbers.len() / stride, numbers)
        })
    }

    /// As `run`.
    pub fn run_mut(&mut self, rows: Range<usize>) -> &mut [f32] {
        let stride = self.stride();
        &mut self.data[rows.start * stride..rows.end * stride]
    }
}
