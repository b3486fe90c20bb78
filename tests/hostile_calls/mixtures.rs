//! Calls of what class blocks do.

use reelscale::internals::kernel::mixture::layout::{Layout, Role};
use reelscale::internals::kernel::mixture::{
    Block, Kernel, Passing, activation_gradient, both_gradients, definition, expert_gradient,
    fresh_expert_gradient, reference, sliced_expert_gradient, transpose, transpose_into,
    transpose_panels,
};
use reelscale::internals::kernel::sweep::definition::{Given, class};
use reelscale::internals::kernel::sweep::{self, Tile};
use reelscale::internals::kernel::vector::LANES;
use reelscale::internals::team::Team;
use reelscale::internals::tree::Summing;

use super::Calls;
use super::draws::Draws;

pub fn call_all(draws: &mut Draws, calls: &mut Calls) {
    let layout = draws.layout();
    layouts(draws, calls, &layout);
    passes(draws, calls, &layout);
    sweeps(draws, calls, &layout);
    definitions(draws, calls, &layout);
}

/// The number of its parameters, were it as it was made.
fn parameters(layout: &Layout) -> usize {
    let panels: usize =
        layout.groups.iter().map(|group| (group.gates + group.experts).min(99)).sum();
    panels * LANES * (layout.width.min(99) + 1)
}

fn layouts(draws: &mut Draws, calls: &mut Calls, layout: &Layout) {
    let classes = layout.classes.clone();
    let experts: Vec<usize> = layout.experts.iter().map(|count| draws.near(*count)).collect();
    let (width, dummy) = (draws.near(17), draws.dummy());
    let (start, end) = (draws.near(classes.start), draws.near(classes.end));
    let own = vec![1; experts.len()];
    calls.make("kernel::mixture::layout::new", || Layout::new(start..end, own, dummy, width));
    calls.make("kernel::mixture::layout::new", || Layout::new(classes, experts, dummy, width));
    let (count, numbers) = (draws.near(3), draws.numbers(parameters(layout)));
    calls.make("kernel::mixture::layout::gates", || dummy.gates(count));
    calls.make("kernel::mixture::layout::fits", || layout.fits(&numbers));
    calls.make("kernel::mixture::layout::columns", || layout.columns());
    calls.make("kernel::mixture::layout::parameters", || layout.parameters());
    calls.make("kernel::mixture::layout::biases", || layout.biases());
    let (panel, lane, k) = (draws.near(1), draws.near(3), draws.near(5));
    calls.make("kernel::mixture::layout::weight_at", || layout.weight_at(panel, lane, k));
    calls.make("kernel::mixture::layout::bias_at", || layout.bias_at(panel, lane));
    calls.make("kernel::mixture::layout::is_real", || layout.is_real(lane, Role::Gate(panel)));
    calls.make("kernel::mixture::layout::end", || layout.groups[0].end());
    // What follows makes a list of all that a layout says it has: those beyond counting are left.
    let counted = |size: usize| size < 1 << 16;
    let groups = layout.groups.iter();
    if groups.clone().all(|group| counted(group.gates) && counted(group.experts)) {
        calls.make("kernel::mixture::layout::roles", || layout.roles(&layout.groups[0]));
        calls.make("kernel::mixture::layout::real_columns", || layout.real_columns());
        if counted(layout.width) && counted(layout.panels) {
            calls.make("kernel::mixture::layout::places_of", || layout.places_of(lane));
            calls.make("kernel::mixture::layout::empty_parameters", || layout.empty_parameters());
        }
    }
}

fn passes(draws: &mut Draws, calls: &mut Calls, layout: &Layout) {
    let width = layout.width.min(99);
    let (from, count) = (draws.below(4), draws.small());
    let (numbers, activations) =
        (draws.numbers(parameters(layout)), draws.matrix(from + count, width));
    let labels = draws.labels(from + count);
    let weighted = draws.below(2) * (from + count);
    let weights = draws.numbers(weighted);
    let block = Block { layout, parameters: &numbers };
    let passing = Passing { activations: &activations, labels: &labels, weights: &weights };
    let rows = draws.near(from)..draws.near(from + count);
    let columns = numbers.len() / (width + 1);
    let mut gradient = draws.numbers(numbers.len());
    let mut dv = draws.numbers(count * width.next_multiple_of(LANES));
    let turned = draws.numbers(width.next_multiple_of(LANES) * columns);
    let mut loss = draws.sums(layout.groups.len() * LANES);
    let (kernel, epsilon) = (draws.instructions(), draws.one_of(&[0.0, 1e-5, -1.0, f32::NAN]));
    calls.make("kernel::mixture::new", || Kernel::new(kernel, epsilon));
    let mut team: Vec<Kernel> =
        (0..1 + draws.below(3)).map(|_| Kernel::new(kernel, epsilon)).collect();
    calls.make("kernel::mixture::gemm", || team[0].gemm().instructions());
    let mut team = Team::new(&mut team);
    calls.make("kernel::mixture::expert_gradient", || {
        expert_gradient(&mut team, block, passing, rows.clone(), &mut gradient, &mut loss);
    });
    calls.make("kernel::mixture::fresh_expert_gradient", || {
        fresh_expert_gradient(&mut team, block, passing, rows.clone(), &mut gradient, &mut loss);
    });
    let cut = draws.near(rows.start)..draws.near(rows.end);
    let order = match draws.below(2) {
        0 => Summing::of_all(1 + draws.below(3)),
        _ => Summing::nodes_of(1..1 + draws.below(4)),
    };
    let slices = [rows.start..cut.start, cut.start..cut.end, cut.end..rows.end];
    let slices = &slices[..order.leaves().min(3)];
    let mut vectors = vec![gradient.clone(); order.vectors().saturating_sub(draws.below(40) / 39)];
    let mut losses = draws.sums(slices.len() * layout.groups.len() * LANES);
    calls.make("kernel::mixture::gradients::sliced_expert_gradient", || {
        let (of, into) = ((slices, &order), (&mut vectors[..], &mut losses[..]));
        sliced_expert_gradient(&mut team, block, passing, of, into.0, into.1, || true);
    });
    calls.make("kernel::mixture::both_gradients", || {
        let way = (&turned[..], &mut dv[..]);
        both_gradients(&mut team, block, passing, rows.clone(), &mut gradient, way, &mut loss);
    });
    calls.make("kernel::mixture::visit::activation_gradient", || {
        let (team, rows) = (&mut team, rows.clone());
        activation_gradient(team, block, &turned, passing, rows, &mut dv, &mut loss);
    });
    let mut scores = draws.numbers(count * layout.experts.len());
    let mut row_loss = draws.sums(count);
    calls.make("kernel::mixture::scores::scores", || {
        team.own().scores(block, passing, rows.clone(), &mut scores, &mut row_loss);
    });
    calls.make("kernel::mixture::transpose::transpose", || transpose(block));
    calls.make("kernel::mixture::transpose::transpose_into", || {
        transpose_into(&mut team, block, &mut vec![1.0; 3]);
    });
    let (depth, panels) = (draws.near(width), draws.near(columns / LANES));
    calls.make("kernel::mixture::transpose::transpose_panels", || {
        transpose_panels(&numbers, depth, panels)
    });
}

fn sweeps(draws: &mut Draws, calls: &mut Calls, layout: &Layout) {
    let (from, count) = (draws.below(4), draws.small());
    let columns: usize = parameters(layout) / (layout.width.min(99) + 1);
    let mut logits = draws.numbers(count * columns);
    let (labels, weighted) = (draws.labels(from + count), draws.below(2) * (from + count));
    let weights = draws.numbers(weighted);
    let mut tile = Tile {
        layout,
        logits: &mut logits,
        labels: &labels,
        weights: &weights,
        rows: draws.near(from)..draws.near(from + count),
        epsilon: draws.one_of(&[0.0, 1e-5, f32::NAN]),
    };
    let mut losses = draws.numbers(count * layout.groups.len() * LANES);
    let kernel = draws.instructions();
    calls.make("kernel::sweep::gradients", || sweep::gradients(kernel, &mut tile, &mut losses));
    let mut scores = draws.numbers(count * layout.experts.len());
    let mut row_losses = draws.sums(count);
    calls.make("kernel::sweep::scores", || {
        sweep::scores(kernel, &mut tile, &mut scores, &mut row_losses);
    });
    let (mut a, mut z) = (draws.numbers(3), draws.numbers(2));
    let given = Given {
        dummy: draws.dummy(),
        epsilon: 0.0,
        positive: draws.below(2) == 0,
        mask: draws.number(),
        weight: draws.number(),
    };
    calls.make("kernel::sweep::definition::class", || class(&mut a, &mut z, given));
}

fn definitions(draws: &mut Draws, calls: &mut Calls, layout: &Layout) {
    let numbers = draws.numbers(parameters(layout));
    let width = layout.width.min(99);
    let (v, mut slopes) = (draws.numbers(width), draws.numbers(numbers.len() / (width + 1)));
    let mut gradient = draws.numbers(numbers.len());
    let mut loss = draws.sums(layout.groups.len() * LANES);
    let (mut scores, mut dv) = (draws.numbers(layout.experts.len()), draws.numbers(width));
    let labels = [3, 7, u32::MAX];
    // They compute as long as there are numbers: sizes beyond counting are left.
    if layout.panels < 1 << 16
        && layout.groups.iter().all(|group| group.gates < 1 << 16 && group.experts < 1 << 16)
    {
        calls.make("kernel::mixture::definition::logits", || {
            definition::logits(layout, &numbers, &v)
        });
        calls.make("kernel::mixture::definition::logit_gradients", || {
            definition::logit_gradients(layout, &mut slopes, &labels, 1.0, 1e-5, &mut loss);
        });
        calls.make("kernel::mixture::definition::scores", || {
            definition::scores(layout, &mut slopes, &labels, 1e-5, &mut scores, 0.0)
        });
        calls.make("kernel::mixture::definition::add_expert_gradient", || {
            definition::add_expert_gradient(layout, &v, &slopes, &mut gradient);
        });
        calls.make("kernel::mixture::definition::add_activation_gradient", || {
            definition::add_activation_gradient(layout, &numbers, &slopes, &mut dv);
        });
        let rows = draws.labels(2);
        let (wide, v) = (draws.wide(numbers.len()), draws.wide(2 * width));
        if layout.width < 1 << 16 && layout.classes.len() < 1 << 16 {
            calls.make("kernel::mixture::reference::block", || {
                reference::block(layout, &wide, &v, &rows, 1e-5)
            });
            calls.make("kernel::mixture::reference::block_of", || {
                reference::block_of(Block { layout, parameters: &numbers }, &v, &rows, 1e-5)
            });
        }
    }
    let (a, z, dummy) = (draws.wide(3), draws.wide(2), draws.dummy());
    calls.make("kernel::mixture::reference::mixture", || {
        reference::mixture(&a, &z, dummy, 0.0, true)
    });
}
