//! Rows of numbers whose stride is a whole number of panels, so that no kernel has a ragged end.

use std::ops::Range;

use super::vector::{Instructions, LANES, load, store, sum};
use crate::vectorised;

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

    /// As `run`.
    pub fn run_mut(&mut self, rows: Range<usize>) -> &mut [f32] {
        let stride = self.stride();
        &mut self.data[rows.start * stride..rows.end * stride]
    }

    /// Takes each column's mean from its numbers and scales them.
    pub fn standardise(&mut self, means: &[f32], scales: &[f32]) {
        for row in 0..self.rows {
            for ((x, mean), scale) in self.row_mut(row).iter_mut().zip(means).zip(scales) {
                *x = (*x - mean) * scale;
            }
        }
    }

    /// Scales every row to length 1: x / sqrt(max(sum x^2, 1e-12)) (docs/method.md, section 2.2).
    pub fn normalise_l2(&mut self, instructions: Instructions) {
        let stride = self.stride();
        vectorised!(instructions, |matrix: &mut [f32], stride: usize| {
            matrix.chunks_exact_mut(stride.max(1)).for_each(normalise_row)
        }; &mut self.data, stride);
    }
}

/// Sum of the squares of a whole number of panels.
#[inline(always)]
pub fn squares(row: &[f32]) -> f32 {
    let mut squares = [0.0; LANES];
    for at in (0..row.len()).step_by(LANES) {
        let x = load(row, at);
        for lane in 0..LANES {
            squares[lane] = x[lane].mul_add(x[lane], squares[lane]);
        }
    }
    sum(squares)
}

#[inline(always)]
fn normalise_row(row: &mut [f32]) {
    let total = squares(row);
    let scale = 1.0 / (if total > 1e-12 { total } else { 1e-12 }).sqrt();
    for at in (0..row.len()).step_by(LANES) {
        let mut x = load(row, at);
        for lane in 0..LANES {
            x[lane] *= scale;
        }
        store(row, at, x);
    }
}
