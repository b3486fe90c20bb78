//! Random sizes and numbers, as odd as they come.

use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::rng::{Purpose, Stream};

const SIZES: [usize; 12] = [0, 1, 2, 3, 5, 7, 13, 16, 17, 31, 37, 61];

/// What one case is drawn from.
pub struct Draws(Stream);

impl Draws {
    pub fn new(case: u64) -> Draws {
        Draws(Stream::new(16, Purpose::PlantedRows, case))
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0.below(end as u64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// 0, 1, primes, whole panels and one more.
    pub fn size(&mut self) -> usize {
        self.one_of(&SIZES)
    }

    /// As `size`, at least 1.
    pub fn some(&mut self) -> usize {
        self.size().max(1)
    }

    /// As `size`, one in six beyond `large`, where blocks and tiles of a kernel end.
    pub fn far(&mut self, large: usize) -> usize {
        if self.below(6) == 0 { large + self.below(60) } else { self.size() }
    }

    /// Mostly within +-`size`; else 0, -0, denormal, or so small that products vanish.
    pub fn number(&mut self, size: f32) -> f32 {
        let number = (2.0 * self.0.uniform() - 1.0) * size;
        match self.below(12) {
            0 => 0.0_f32.copysign(number),
            1 => number * 1e-40,
            2 => number * 1e-23,
            3 => f32::from_bits(1).copysign(number),
            _ => number,
        }
    }

    pub fn numbers(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.number(size)).collect()
    }

    pub fn matrix(&mut self, rows: usize, width: usize, size: f32) -> Matrix {
        let mut matrix = Matrix::zeros(rows, width);
        for row in 0..rows {
            matrix.row_mut(row)[..width].copy_from_slice(&self.numbers(width, size));
        }
        matrix
    }

    pub fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}
