//! Arguments that fit, that nearly fit, and that don't.

use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::kernel::mixture::layout::{Dummy, Layout};
use reelscale::internals::kernel::pooling::Pooling;
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::spec::{Activation, Layer};
use reelscale::internals::rng::{Purpose, Stream};

/// Sizes whose products and sums can't be counted.
const HUGE: [usize; 4] = [usize::MAX, usize::MAX - 15, 1 << 62, 1 << 63];

pub struct Draws(Stream);

impl Draws {
    pub fn new(case: u64) -> Draws {
        Draws(Stream::new(17, Purpose::PlantedRows, case))
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0.below(end as u64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A size for which memory is there.
    pub fn small(&mut self) -> usize {
        self.one_of(&[0, 1, 2, 3, 5, 7, 15, 16, 17, 31, 33])
    }

    /// Mostly `right`; else another one, or one beyond counting.
    pub fn near(&mut self, right: usize) -> usize {
        match self.below(40) {
            0 => right.wrapping_add(1),
            1 => right.wrapping_sub(1),
            2 => 0,
            3 => self.small(),
            4 => self.one_of(&HUGE),
            _ => right,
        }
    }

    /// As `near`, of a length for which memory is there.
    pub fn length(&mut self, right: usize) -> usize {
        match self.below(20) {
            0 => right + 1,
            1 => right.saturating_sub(1),
            2 => self.small(),
            _ => right.min(1 << 20),
        }
    }

    pub fn number(&mut self) -> f32 {
        let odd = [f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX, 1e-45, -0.0, -1e30];
        match self.below(30) {
            0 => self.one_of(&odd),
            _ => 2.0 * self.0.uniform() - 1.0,
        }
    }

    /// About as many numbers as `right`.
    pub fn numbers(&mut self, right: usize) -> Vec<f32> {
        (0..self.length(right)).map(|_| self.number()).collect()
    }

    pub fn sums(&mut self, right: usize) -> Vec<f64> {
        vec![0.5; self.length(right)]
    }

    pub fn bytes(&mut self, right: usize) -> Vec<u8> {
        (0..self.length(right)).map(|_| self.below(256) as u8).collect()
    }

    pub fn wide(&mut self, right: usize) -> Vec<f64> {
        self.numbers(right).into_iter().map(f64::from).collect()
    }

    /// About `rows` x `width`; what lies in it may be less or more.
    pub fn matrix(&mut self, rows: usize, width: usize) -> Matrix {
        let mut matrix = Matrix::zeros(self.length(rows), self.length(width));
        let count = matrix.data.len();
        matrix.data = self.numbers(count);
        if self.below(20) > 0 {
            matrix.data.resize(count, 0.5);
        }
        matrix
    }

    pub fn instructions(&mut self) -> Instructions {
        self.one_of(&Instructions::available())
    }

    pub fn dummy(&mut self) -> Dummy {
        self.one_of(&[Dummy::Learned, Dummy::Zero, Dummy::None])
    }

    pub fn pooling(&mut self) -> Pooling {
        self.one_of(Pooling::ALL)
    }

    pub fn activation(&mut self) -> Activation {
        use Activation::*;
        self.one_of(&[Identity, Relu, Relu6, Sigmoid, Tanh])
    }

    pub fn layer(&mut self) -> Layer {
        match self.below(4) {
            0 => Layer::Gating,
            1 => Layer::Residual,
            _ => Layer::Dense { units: 1 + self.small(), activation: self.activation() },
        }
    }

    pub fn labels(&mut self, rows: usize) -> Labels {
        let mut labels = Labels::new();
        for _ in 0..self.length(rows) {
            let row: Vec<u32> = (0..40).filter(|_| self.below(9) == 0).collect();
            labels.push(&row);
        }
        labels
    }

    /// A layout of ragged classes; one in three has been tampered with.
    pub fn layout(&mut self) -> Layout {
        let classes = 1 + self.small();
        let experts: Vec<usize> = (0..classes).map(|_| 1 + self.below(4)).collect();
        let (start, width) = (self.below(20), 1 + self.small());
        let mut layout = Layout::new(start..start + classes, experts, self.dummy(), width);
        if self.below(3) == 0 {
            let group = self.below(layout.groups.len());
            match self.below(9) {
                0 => layout.panels = self.near(layout.panels),
                1 => layout.width = self.near(layout.width),
                2 => layout.classes.end = self.near(layout.classes.end),
                3 => layout.classes.start = self.near(layout.classes.start),
                4 => layout.groups[group].first_panel = self.near(0),
                5 => layout.groups[group].gates = self.near(1),
                6 => layout.groups[group].experts = self.near(1),
                7 => drop(layout.groups.pop()),
                _ => layout.dummy = self.dummy(),
            }
        }
        layout
    }
}
