//! Early stopping of each class by itself: a class whose loss on the validation rows has not fallen
//! for some epochs stops, and every class ends at its best.

use serde::{Deserialize, Serialize};

use crate::model::Layout;
use crate::packed;

/// The losses of a class block's classes on the validation rows, and their best weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EarlyStopping {
    /// Least loss of each class so far.
    #[serde(with = "packed")]
    least: Vec<f64>,
    /// Epochs of each class since its least loss.
    since: Vec<usize>,
    /// Each class's weights and biases at its least loss, in the block's layout.
    #[serde(with = "packed")]
    weights: Vec<f32>,
    /// Epochs after which a class stops.
    patience: usize,
}

impl EarlyStopping {
    pub(crate) fn new(layout: &Layout, patience: usize) -> EarlyStopping {
        let classes = layout.classes.len();
        let weights = vec![0.0; layout.parameters()];
        EarlyStopping {
            least: vec![f64::INFINITY; classes],
            since: vec![0; classes],
            weights,
            patience,
        }
    }

    /// Of each of these class blocks; empty where classes don't stop by themselves, patience 0.
    pub(crate) fn of_all(layouts: &[Layout], patience: usize) -> Vec<EarlyStopping> {
        let wanted = layouts.iter().filter(|_| patience > 0);
        wanted.map(|layout| EarlyStopping::new(layout, patience)).collect()
    }

    /// What in it, read from a checkpoint, no run can have come to, if anything.
    pub(crate) fn fault(&self, layout: &Layout, patience: usize) -> Option<String> {
        let classes = layout.classes.len();
        let found = [self.least.len(), self.since.len(), self.weights.len()];
        let expected = [classes, classes, layout.parameters()];
        if found != expected {
            return Some(format!("classes held out: found {found:?}, expected {expected:?}"));
        }
        let fine = self.patience == patience
            && self.least.iter().all(|loss| *loss > f64::NEG_INFINITY)
            && self.since.iter().all(|epochs| *epochs <= patience)
            && self.weights.iter().all(|weight| weight.is_finite());
        (!fine).then(|| "classes held out: found numbers out of range".into())
    }

    /// Whether a class of the block has stopped.
    pub(crate) fn stopped(&self, class: usize) -> bool {
        self.since[class] >= self.patience
    }

    /// Of each class whether it has stopped.
    pub(crate) fn all(&self) -> Vec<bool> {
        (0..self.since.len()).map(|class| self.stopped(class)).collect()
    }

    /// Takes the loss of each class with the block's weights after an epoch.
    pub(crate) fn take(&mut self, layout: &Layout, losses: &[f64], parameters: &[f32]) {
        for (class, loss) in losses.iter().enumerate() {
            if self.stopped(class) {
                continue;
            }
            self.since[class] += 1;
            if *loss < self.least[class] {
                (self.least[class], self.since[class]) = (*loss, 0);
                copy_class(layout, class, parameters, &mut self.weights);
            }
        }
    }

    /// Puts the classes that have stopped back to their best, or all of them.
    pub(crate) fn put_back(&self, layout: &Layout, all: bool, parameters: &mut [f32]) {
        for class in 0..self.since.len() {
            // Before the first epoch is over there is no best.
            if self.least[class] < f64::INFINITY && (all || self.stopped(class)) {
                copy_class(layout, class, &self.weights, parameters);
            }
        }
    }
}

fn copy_class(layout: &Layout, class: usize, from: &[f32], to: &mut [f32]) {
    layout.places_of(class).0.into_iter().for_each(|place| to[place] = from[place]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::Dummy;

    #[test]
    fn each_class_stops_by_itself_and_goes_back_to_its_best() {
        let layout = Layout::new(0..2, vec![1, 1], Dummy::Learned, 3);
        let mut stopping = EarlyStopping::new(&layout, 2);
        let losses = [[3.0, 3.0], [2.0, 4.0], [1.0, 5.0], [0.5, 0.1]];
        let mut parameters = vec![0.0; layout.parameters()];
        for (epoch, losses) in losses.iter().enumerate() {
            parameters.fill(epoch as f32);
            stopping.take(&layout, losses, &parameters);
        }
        assert_eq!(stopping.all(), [false, true]);
        let bias = |parameters: &[f32], class: usize| {
            let places = layout.places_of(class).0;
            assert!(places.iter().all(|place| parameters[*place] == parameters[places[0]]));
            parameters[places[0]]
        };
        parameters.fill(9.0);
        stopping.put_back(&layout, false, &mut parameters);
        assert_eq!([bias(&parameters, 0), bias(&parameters, 1)], [9.0, 0.0]);
        stopping.put_back(&layout, true, &mut parameters);
        assert_eq!([bias(&parameters, 0), bias(&parameters, 1)], [3.0, 0.0]);
    }
}
