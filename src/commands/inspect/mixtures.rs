//! What the mixtures of a model look like, from their weights alone: norms, experts that say
//! nothing or always the same, classes that are alike.

use serde_json::{Value, json};

use crate::artifact::ModelFolder;
use crate::artifact::export::Source;
use crate::error::{Error, Result};
use crate::human::counted;
use crate::names::Names;

/// An expert whose logit moves by less than this, whatever the activations between -1 and 1, says
/// the same of all videos.
const DEAD_BELOW: f32 = 0.01;
/// One whose logit stays beyond this is within 1e-7 of 0 or of 1 for all of them.
const SATURATED_FROM: f32 = 16.0;
/// All pairs of classes are compared in models of at most so many classes: work goes with the
/// square.
const CLASSES_MAX: usize = 8192;
/// Classes, pairs of them and experts that are named.
const NAMED: usize = 10;

/// The least, the middle and the largest of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct Spread {
    least: f32,
    median: f32,
    most: f32,
}

impl Spread {
    fn of(mut numbers: Vec<f32>) -> Spread {
        numbers.sort_unstable_by(f32::total_cmp);
        match numbers[..] {
            [] => Spread::default(),
            [least, .., most] => Spread { least, median: numbers[numbers.len() / 2], most },
            [one] => Spread { least: one, median: one, most: one },
        }
    }

    fn text(&self) -> String {
        format!("{:.3} to {:.3}, median {:.3}", self.least, self.most, self.median)
    }
}

/// An expert: its class and its place among the class's, from 0.
type Expert = (usize, usize);

/// What the mixtures look like.
pub(super) struct Survey {
    experts_of_a_class: Spread,
    expert_norms: Spread,
    gate_norms: Spread,
    biases: Spread,
    dead: Vec<Expert>,
    saturated: Vec<Expert>,
    /// Each class's experts, averaged, as a vector of norm 1, or of zeros.
    directions: Vec<Vec<f32>>,
    names: Names,
}

fn norm(vector: &[f32]) -> f32 {
    vector.iter().map(|number| number * number).sum::<f32>().sqrt()
}

/// In eight sums, which compilers keep in vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// Whether the expert of these weights and this bias is dead, and whether it is saturated.
fn state_of(weights: &[f32], bias: f32) -> [bool; 2] {
    let reach: f32 = weights.iter().map(|weight| weight.abs()).sum();
    [reach < DEAD_BELOW, bias.abs() - reach >= SATURATED_FROM]
}

impl Survey {
    /// Reads the mixtures of a model that is whole.
    ///
    /// # Errors
    /// Exit 6: its files hold something else than its manifest says.
    pub(super) fn of(model: &ModelFolder) -> Result<Survey> {
        let source = Source::of_folder(model)?;
        let width = source.shape.shared_layers().outputs();
        let (mut expert_norms, mut gate_norms, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        let (mut dead, mut saturated, mut directions) = (Vec::new(), Vec::new(), Vec::new());
        (source.mixtures)(&mut |classes, rows| {
            gate_norms.extend(rows.gates.chunks_exact(width).map(norm));
            biases.extend_from_slice(&rows.biases);
            let mut experts = rows.experts.chunks_exact(width).zip(&rows.biases);
            for class in classes {
                let mut direction = vec![0.0; width];
                for (expert, (weights, bias)) in
                    experts.by_ref().take(source.counts[class]).enumerate()
                {
                    expert_norms.push(norm(weights));
                    let [is_dead, is_saturated] = state_of(weights, *bias);
                    dead.extend(is_dead.then_some((class, expert)));
                    saturated.extend(is_saturated.then_some((class, expert)));
                    direction.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
                }
                let length = norm(&direction).max(f32::MIN_POSITIVE);
                direction.iter_mut().for_each(|number| *number /= length);
                directions.push(direction);
            }
            Ok(())
        })?;
        Ok(Survey {
            experts_of_a_class: Spread::of(source.counts.iter().map(|n| *n as f32).collect()),
            expert_norms: Spread::of(expert_norms),
            gate_norms: Spread::of(gate_norms),
            biases: Spread::of(biases),
            dead,
            saturated,
            directions,
            names: source.names.as_deref().cloned().unwrap_or_default(),
        })
    }

    fn name(&self, class: usize) -> String {
        match self.names.of(class) {
            "" => format!("class {class}"),
            name => name.to_string(),
        }
    }

    /// The number of the class of this name or number.
    ///
    /// # Errors
    /// Exit 2: there is none.
    fn class(&self, text: &str) -> Result<usize> {
        let named = self.names.all().iter().position(|name| name == text);
        let count = self.directions.len();
        let number = || text.parse().ok().filter(|class: &usize| *class < count);
        named.or_else(number).ok_or_else(|| {
            let text = format!("--class: found {text:?}, expected the name of a class or a number");
            Error::usage(format!("{text} below {count}"))
        })
    }

    /// The classes whose experts are most like those of this one: (class, cosine).
    fn nearest(&self, class: usize) -> Vec<(usize, f32)> {
        let own = &self.directions[class];
        let others = (0..self.directions.len()).filter(|other| *other != class);
        let mut all: Vec<(usize, f32)> =
            others.map(|other| (other, dot(own, &self.directions[other]))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(NAMED);
        all
    }

    /// The pairs of classes that are most alike, (class, class, cosine); none in models of more
    /// classes than are compared.
    fn alike(&self) -> Vec<(usize, usize, f32)> {
        let mut best: Vec<(usize, usize, f32)> = Vec::new();
        if self.directions.len() > CLASSES_MAX {
            return best;
        }
        for (first, own) in self.directions.iter().enumerate() {
            for (second, other) in self.directions.iter().enumerate().skip(first + 1) {
                let cosine = dot(own, other);
                if best.len() == NAMED && cosine <= best[NAMED - 1].2 {
                    continue;
                }
                let at = best.partition_point(|pair| pair.2 >= cosine);
                best.insert(at, (first, second, cosine));
                best.truncate(NAMED);
            }
        }
        best
    }

    /// Lines for people; of `class`, where one is asked for, the classes nearest to it.
    ///
    /// # Errors
    /// Exit 2: there is no such class.
    pub(super) fn lines(&self, class: Option<&str>) -> Result<Vec<String>> {
        let experts = |experts: &[Expert], what: &str| match experts.first() {
            None => "none".to_string(),
            Some((class, expert)) => {
                let count = counted(experts.len() as u64, "expert");
                format!("{count}, such as expert {expert} of {}: {what}", self.name(*class))
            }
        };
        let mut lines = vec![
            format!(
                "per class  {:.0} to {:.0} experts, median {:.0}",
                self.experts_of_a_class.least,
                self.experts_of_a_class.most,
                self.experts_of_a_class.median
            ),
            format!("norms      of experts {}", self.expert_norms.text()),
            format!("           of gates {}", self.gate_norms.text()),
            format!("biases     {}", self.biases.text()),
            format!("dead       {}", experts(&self.dead, "the same score for all videos")),
            format!(
                "saturated  {}",
                experts(&self.saturated, "0 or 1 for all activations from -1 to 1")
            ),
        ];
        match class {
            Some(text) => {
                let class = self.class(text)?;
                for (other, cosine) in self.nearest(class) {
                    lines.push(format!("nearest    {cosine:.3} {}", self.name(other)));
                }
            }
            None => {
                for (first, second, cosine) in self.alike() {
                    let names = format!("{} and {}", self.name(first), self.name(second));
                    lines.push(format!("alike      {cosine:.3} {names}"));
                }
            }
        }
        Ok(lines)
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// Exit 2: there is no such class.
    pub(super) fn json(&self, class: Option<&str>) -> Result<Value> {
        let experts = |experts: &[Expert]| -> Value {
            let one = |(class, expert): &Expert| json!({ "class": class, "expert": expert });
            json!({ "count": experts.len(),
                "first": experts.iter().take(NAMED).map(one).collect::<Vec<_>>() })
        };
        let mut found = json!({
            "experts_per_class": self.experts_of_a_class,
            "expert_norms": self.expert_norms,
            "gate_norms": self.gate_norms,
            "biases": self.biases,
            "dead": experts(&self.dead),
            "saturated": experts(&self.saturated),
        });
        let of = |class: usize| json!({ "class": class, "name": self.names.of(class) });
        if let Some(text) = class {
            let class = self.class(text)?;
            let one = |near: (usize, f32)| json!({ "is": of(near.0), "cosine": near.1 });
            let nearest: Vec<Value> = self.nearest(class).into_iter().map(one).collect();
            found["nearest"] = json!({ "to": of(class), "classes": nearest });
        } else {
            let pair = |(first, second, cosine): (usize, usize, f32)| {
                let classes = [of(first), of(second)];
                json!({ "classes": classes, "cosine": cosine })
            };
            found["alike"] = self.alike().into_iter().map(pair).collect();
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_that_say_nothing_and_always_the_same_are_known() {
        assert_eq!(state_of(&[0.004, -0.005], -3.0), [true, false]);
        assert_eq!(state_of(&[0.006, -0.005], -3.0), [false, false]);
        assert_eq!(state_of(&[1.0, -2.0], -19.0), [false, true]);
        assert_eq!(state_of(&[1.0, -2.0], 18.9), [false, false]);
        assert_eq!(state_of(&[0.0; 4], 20.0), [true, true]);
    }

    #[test]
    fn classes_of_like_experts_are_near() {
        let names = Names::new(["cat", "tiger", "car"].map(String::from).to_vec()).unwrap();
        let survey = Survey {
            experts_of_a_class: Spread::of(vec![1.0, 2.0, 4.0]),
            expert_norms: Spread::of(vec![2.0]),
            gate_norms: Spread::of(Vec::new()),
            biases: Spread::of(vec![-1.0, 1.0]),
            dead: vec![(2, 1)],
            saturated: Vec::new(),
            directions: vec![vec![1.0, 0.0], vec![0.8, 0.6], vec![0.0, -1.0]],
            names,
        };
        let pairs: Vec<(usize, usize)> = survey.alike().iter().map(|it| (it.0, it.1)).collect();
        assert_eq!(pairs, [(0, 1), (0, 2), (1, 2)]);
        let lines = survey.lines(Some("tiger")).unwrap().join("\n");
        let nearest = "nearest    0.800 cat\nnearest    -0.600 car";
        assert!(lines.ends_with(nearest), "{lines}");
        assert!(lines.contains("dead       1 expert, such as expert 1 of car"), "{lines}");
        assert!(lines.contains("per class  1 to 4 experts, median 2"), "{lines}");
        assert_eq!(survey.lines(Some("3")).unwrap_err().exit as i32, 2);
        assert_eq!(survey.json(Some("2")).unwrap()["nearest"]["to"]["name"], "car");
    }
}
