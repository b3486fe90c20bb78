//! What stands between ranks of a column, measured: host work in the middle of arithmetic.

use super::meter::Meter;
use crate::device::{Between, Pace, Part, Put, Slices, Turn, Vote};

pub(super) struct Aside<'a, 'm> {
    pub(super) between: &'a mut dyn Between,
    pub(super) meter: &'a Meter<'m>,
}

impl Between for Aside<'_, '_> {
    fn slices(&self) -> Slices {
        self.between.slices()
    }

    fn parts(&self, block: usize) -> Vec<Part> {
        self.between.parts(block)
    }

    fn room(&mut self, block: usize, part: usize) -> Vec<f32> {
        self.meter.aside(|| self.between.room(block, part))
    }

    fn begin(&mut self, turn: &Turn, put: &mut Put, pace: &mut Pace) -> bool {
        self.meter.aside(|| self.between.begin(turn, put, pace))
    }

    fn give(&mut self, turn: &Turn, part: usize, nodes: Vec<Vec<f32>>, vote: Vote) {
        self.meter.aside(|| self.between.give(turn, part, nodes, vote));
    }

    fn tend(&mut self) {
        self.meter.aside(|| self.between.tend());
    }

    fn end(&mut self, put: &mut Put, pace: &mut Pace) -> Vec<Turn> {
        self.meter.aside(|| self.between.end(put, pace))
    }
}
