//! Class blocks: both gradients, class losses and scores.

use std::ops::Range;

use reelscale::internals::device::Slices;
use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::kernel::mixture::layout::{Dummy, Layout, Role};
use reelscale::internals::kernel::mixture::{
    Block, Kernel, Passing, activation_gradient, both_gradients, definition, expert_gradient,
    fresh_expert_gradient, sliced_expert_gradient, transpose,
};
use reelscale::internals::kernel::vector::{Instructions, LANES};
use reelscale::internals::labels::Labels;
use reelscale::internals::team::Team;
use reelscale::internals::tree::Summing;

use super::draws::Draws;
use super::slices::along_tree;
use super::{cases, kernels, same, same_sums};

/// A class block, the rows that pass it, and what its sums hold before.
#[derive(Clone)]
struct Case {
    layout: Layout,
    parameters: Vec<f32>,
    activations: Matrix,
    labels: Labels,
    weights: Vec<f32>,
    epsilon: f32,
    /// The rows that count, of those that pass.
    rows: Range<usize>,
    before: Sums,
}

/// What passes of rows leave.
#[derive(Clone)]
struct Sums {
    gradient: Vec<f32>,
    /// [rows][stride of d]
    dv: Vec<f32>,
    class_loss: Vec<f64>,
    scores: Vec<f32>,
    row_loss: Vec<f64>,
}

impl Case {
    fn new(number: u64) -> Case {
        let mut draws = Draws::new(number);
        let (classes, width) = (draws.some(), draws.some());
        let start = draws.below(50);
        let most = draws.one_of(&[1, 2, 5]);
        let experts: Vec<usize> = (0..classes).map(|_| 1 + draws.below(most)).collect();
        let dummy = draws.one_of(&[Dummy::Learned, Dummy::Zero, Dummy::None]);
        let layout = Layout::new(start..start + classes, experts, dummy, width);
        // Logits of ordinary size, or beyond where they stop.
        let size = draws.one_of(&[1.0, 1.0, 1e4]);
        let mut parameters = layout.empty_parameters();
        for (_, role, panel, lane) in layout.real_columns() {
            for k in 0..width {
                parameters[layout.weight_at(panel, lane, k)] = draws.number(size);
            }
            if matches!(role, Role::Expert(_)) {
                parameters[layout.bias_at(panel, lane)] = draws.number(size);
            }
        }
        let (before, count, after) = (draws.size(), draws.far(475), draws.below(3));
        let all = before + count + after;
        let activations = draws.matrix(all, width, 1.0);
        let mut labels = Labels::new();
        for _ in 0..all {
            // Some before and after the block's own.
            let end = (start + classes + 9) as u32;
            let share = draws.one_of(&[2, 5, 40]);
            let row: Vec<u32> = (0..end).filter(|_| draws.below(share) == 0).collect();
            labels.push(&row);
        }
        let some = [0.0, 1.0, 1.0, 0.5, 3.0, 1.0 / 0.3];
        let weighted = draws.below(2) * all;
        let weights: Vec<f32> = (0..weighted).map(|_| draws.one_of(&some)).collect();
        let rows = before..before + count;
        let mut dv = draws.matrix(count, width, 1.0);
        let sums = |count: usize, draws: &mut Draws| -> Vec<f64> {
            draws.numbers(count, 10.0).into_iter().map(f64::from).collect()
        };
        let before = Sums {
            gradient: draws.numbers(layout.parameters(), 1.0),
            dv: std::mem::take(&mut dv.data),
            class_loss: sums(layout.groups.len() * LANES, &mut draws),
            scores: vec![7.0; count * classes],
            row_loss: sums(count, &mut draws),
        };
        let epsilon = draws.one_of(&[0.0, 1e-5]);
        Case { layout, parameters, activations, labels, weights, epsilon, rows, before }
    }

    fn block(&self) -> Block<'_> {
        Block { layout: &self.layout, parameters: &self.parameters }
    }

    fn passing(&self) -> Passing<'_> {
        let Case { activations, labels, weights, .. } = self;
        Passing { activations, labels, weights }
    }

    /// Row after row; `fresh` says whether the gradient begins with +0.
    fn defined(&self, fresh: bool) -> Sums {
        let Case { layout, parameters, activations, labels, epsilon, .. } = self;
        let (stride, classes) = (activations.stride(), layout.classes.len());
        let mut sums = self.before.clone();
        if fresh {
            sums.gradient.fill(0.0);
        }
        for (index, row) in self.rows.clone().enumerate() {
            let (v, labels) = (activations.row(row), labels.row(row));
            let weight = self.weights.get(row).copied().unwrap_or(1.0);
            let mut slopes = definition::logits(layout, parameters, v);
            let mut logits = slopes.clone();
            let loss = &mut sums.class_loss;
            definition::logit_gradients(layout, &mut slopes, labels, weight, *epsilon, loss);
            definition::add_expert_gradient(layout, v, &slopes, &mut sums.gradient);
            let dv = &mut sums.dv[index * stride..(index + 1) * stride];
            definition::add_activation_gradient(layout, parameters, &slopes, dv);
            let scores = &mut sums.scores[index * classes..(index + 1) * classes];
            let loss = &mut sums.row_loss[index];
            *loss = definition::scores(layout, &mut logits, labels, *epsilon, scores, *loss);
        }
        sums
    }

    /// The rows in one to seven slices, some of them empty where there are few rows.
    fn slices(&self, number: usize) -> Vec<Range<usize>> {
        let (count, from) = (1 + number % 7, self.rows.start);
        Slices::all(count).of(self.rows.len()).map(|own| from + own.start..from + own.end).collect()
    }

    /// The gradients of slices, each from +0 on, along the tree; and the losses of each.
    fn defined_sliced(&self, slices: &[Range<usize>]) -> (Vec<f32>, Vec<f64>) {
        let of = |rows: &Range<usize>| {
            let mut own = self.clone();
            own.rows = rows.clone();
            own.defined(true)
        };
        let (gradients, losses): (Vec<_>, Vec<_>) =
            slices.iter().map(of).map(|sums| (sums.gradient, sums.class_loss)).unzip();
        (along_tree(&gradients), losses.concat())
    }

    fn name(&self, number: u64, kernel: Instructions, members: usize) -> String {
        let Layout { experts, dummy, width, .. } = &self.layout;
        format!(
            "case {number} on {kernel:?}, a team of {members}: experts {experts:?}, {dummy:?}, d \
             {width}, rows {:?} of {}, eps {}",
            self.rows,
            self.labels.rows(),
            self.epsilon
        )
    }
}

#[test]
fn class_blocks_are_their_definition() {
    for number in 0..cases(90) {
        let case = Case::new(number);
        let (block, passing, rows) = (case.block(), case.passing(), || case.rows.clone());
        let (added, fresh) = (case.defined(false), case.defined(true));
        let slices = case.slices(number as usize);
        let (order, sliced) = (Summing::of_all(slices.len()), case.defined_sliced(&slices));
        let turned = transpose(block);
        for kernel in kernels() {
            let mut team: Vec<Kernel> =
                (0..17).map(|_| Kernel::new(kernel, case.epsilon)).collect();
            for members in [1, 2, 3, 4 + number as usize % 14] {
                let team = &mut Team::new(&mut team[..members]);
                let what = || case.name(number, kernel, members);
                let mut sums = case.before.clone();
                let Sums { gradient, class_loss, .. } = &mut sums;
                expert_gradient(team, block, passing, rows(), gradient, class_loss);
                same(&sums.gradient, &added.gradient, &|| format!("added, {}", what()));
                same_sums(&sums.class_loss, &added.class_loss, &what);

                let mut sums = case.before.clone();
                let Sums { gradient, class_loss, .. } = &mut sums;
                fresh_expert_gradient(team, block, passing, rows(), gradient, class_loss);
                same(&sums.gradient, &fresh.gradient, &|| format!("fresh, {}", what()));
                same_sums(&sums.class_loss, &fresh.class_loss, &what);

                let mut vectors = vec![case.before.gradient.clone(); order.vectors()];
                let mut losses = [&case.before.class_loss[..]].repeat(slices.len()).concat();
                let (of, more) = ((&slices[..], &order), || true);
                let into = (&mut vectors[..], &mut losses[..]);
                assert!(sliced_expert_gradient(team, block, passing, of, into.0, into.1, more));
                let sum = &vectors[order.sums()[0]];
                same(sum, &sliced.0, &|| format!("{} slices, {}", slices.len(), what()));
                same_sums(&losses, &sliced.1, &what);

                let mut sums = case.before.clone();
                let Sums { gradient, class_loss, dv, .. } = &mut sums;
                let way = (&turned[..], &mut dv[..]);
                both_gradients(team, block, passing, rows(), gradient, way, class_loss);
                same(&sums.gradient, &fresh.gradient, &|| format!("both, {}", what()));
                same(&sums.dv, &fresh.dv, &|| format!("dv of both, {}", what()));
                same_sums(&sums.class_loss, &fresh.class_loss, &what);

                let mut sums = case.before.clone();
                let Sums { dv, class_loss, .. } = &mut sums;
                activation_gradient(team, block, &turned, passing, rows(), dv, class_loss);
                same(&sums.dv, &added.dv, &|| format!("dv, {}", what()));
                same_sums(&sums.class_loss, &added.class_loss, &what);
            }
            let (kernel_of, what) = (&mut team[0], || case.name(number, kernel, 1));
            let mut sums = case.before.clone();
            let Sums { scores, row_loss, .. } = &mut sums;
            kernel_of.scores(block, passing, rows(), scores, row_loss);
            same(&sums.scores, &added.scores, &|| format!("scores, {}", what()));
            same_sums(&sums.row_loss, &added.row_loss, &what);
        }
    }
}
