//! Calls of what packs the arguments of kernels for devices, and of what looks through their text.

use reelscale::internals::kernel::irprop::{Bounds, Signs};
use reelscale::internals::kernel::text::calls::{
    Argument, Buffer, Form, Launch, Moments, Panels, Rates, Rows, Size, Start,
};
use reelscale::internals::kernel::text::sweeps::{Groups, Logits, Sweep, Truth};
use reelscale::internals::kernel::text::{PTX, calls as packing, inspect, sweeps, whole};

use super::Calls;
use super::draws::Draws;

pub fn call_all(draws: &mut Draws, calls: &mut Calls) {
    let mut launches = Vec::new();
    products(draws, calls, &mut launches);
    elements(draws, calls, &mut launches);
    layouts(draws, calls, &mut launches);
    passes(draws, calls, &mut launches);
    launches.push(Launch {
        kernel: "none",
        groups: [draws.near(1), draws.near(0)],
        threads: draws.near(64),
        arguments: vec![Argument::Int(-1), Argument::Long(i64::MIN), Argument::Word(u32::MAX)],
    });
    let lost = draws.below(20);
    for launch in &launches {
        // A launcher refuses a buffer that it doesn't have.
        calls.make("kernel::text::calls::words", || {
            launch.words(|buffer| {
                assert!(buffer.0 != lost, "no such buffer");
                buffer.0 as u64
            })
        });
    }
    text(draws, calls);
}

fn buffer(draws: &mut Draws) -> Buffer {
    let right = draws.below(20);
    Buffer(draws.near(right))
}

fn panels(draws: &mut Draws, row: usize, panel: usize) -> Panels {
    let from = 16 * draws.below(3);
    Panels {
        buffer: buffer(draws),
        from: draws.near(from),
        row: draws.near(row),
        panel: draws.near(panel),
    }
}

fn rows(draws: &mut Draws, row: usize) -> Rows {
    let from = 4 * draws.below(3);
    Rows { buffer: buffer(draws), from: draws.near(from), row: draws.near(row) }
}

fn rates(draws: &mut Draws) -> Rates {
    let [rate, scale, l2] = [(); 3].map(|()| draws.number());
    Rates { rate, scale, l2 }
}

fn moments(draws: &mut Draws) -> Moments {
    match draws.below(2) {
        0 => Moments::Adagrad(buffer(draws)),
        _ => Moments::Adam(buffer(draws), buffer(draws)),
    }
}

fn products(draws: &mut Draws, calls: &mut Calls, launches: &mut Vec<Launch>) {
    let [rows_right, depth, panels_right] = [draws.small(), draws.small(), draws.below(40)];
    let size = Size {
        rows: draws.near(rows_right),
        depth: draws.near(depth),
        columns: draws.near(16 * panels_right),
    };
    let left = rows(draws, rows_right.next_multiple_of(4));
    let right = panels(draws, 16, 16 * depth);
    let out = panels(draws, 16 * panels_right, 16);
    let form = draws.one_of(&[
        Form::Turned,
        Form::TurnedSmall,
        Form::TurnedOut,
        Form::Straight,
        Form::Gradient,
    ]);
    let start = match draws.below(3) {
        0 => Start::Zero,
        1 => Start::Out,
        _ => Start::Bias(buffer(draws), draws.near(16)),
    };
    let (moments, rates) = (moments(draws), rates(draws));
    calls.make("kernel::text::calls::turned", || Form::turned(size));
    calls.make("kernel::text::calls::product", || {
        launches.push(packing::product(form, size, left, right, out, start));
    });
    calls.make("kernel::text::calls::gradient_step", || {
        launches.push(packing::gradient_step(size, left, right, out, moments, rates));
    });
}

fn elements(draws: &mut Draws, calls: &mut Calls, launches: &mut Vec<Launch>) {
    let right = draws.small();
    let [from, count, decayed] = [draws.near(16), draws.near(right), draws.near(right / 2)];
    let [weights, gradient, mean] = [(); 3].map(|()| buffer(draws));
    let (moments, rates, share) = (moments(draws), rates(draws), draws.number());
    calls.make("kernel::text::calls::step", || {
        let place = (from, count, decayed);
        launches.push(packing::step(place, weights, gradient, moments, rates));
    });
    calls.make("kernel::text::calls::add", || {
        launches.push(packing::add((from, count), weights, gradient));
    });
    calls.make("kernel::text::calls::average", || {
        launches.push(packing::average((from, count), share, weights, mean));
    });
    calls.make("kernel::text::calls::functions", || {
        launches.push(packing::functions(count, weights, mean));
    });
    let bounds = Bounds { min: draws.number(), max: draws.number() };
    let signs = Signs { bounds, rose: draws.below(2) == 1 };
    let kept = [(); 3].map(|()| buffer(draws));
    calls.make("kernel::text::calls::signs", || {
        launches.push(packing::signs(count, signs, weights, gradient, kept));
    });
}

fn layouts(draws: &mut Draws, calls: &mut Calls, launches: &mut Vec<Launch>) {
    let (rows_right, width_right) = (draws.small(), draws.small());
    let (count, width) = (draws.near(rows_right), draws.near(width_right));
    let stride = draws.near(width_right.next_multiple_of(16));
    let from = rows(draws, stride);
    let [arrived, places, to] = [(); 3].map(|()| buffer(draws));
    let (to_row, begin) = (draws.near(rows_right.next_multiple_of(4)), draws.near(16));
    calls.make("kernel::text::calls::order_rows", || {
        launches.push(packing::order_rows((count, stride), arrived, places, to));
    });
    calls.make("kernel::text::calls::turn", || {
        launches.push(packing::turn((count, width), from, to, to_row));
    });
    calls.make("kernel::text::calls::turn_panels", || {
        launches.push(packing::turn_panels((width, stride), (places, begin), to));
    });
}

fn passes(draws: &mut Draws, calls: &mut Calls, launches: &mut Vec<Launch>) {
    let (rows_right, count) = (draws.small(), 1 + draws.below(4));
    let rows = draws.near(rows_right);
    let groups = Groups {
        shapes: buffer(draws),
        first: draws.near(0),
        count: draws.near(count),
        panels: draws.near(5 * count),
        dummy: draws.one_of(&[0, 1, 2, -1, i32::MAX]),
    };
    let [losses, sums, offsets, labels] = [(); 4].map(|()| buffer(draws));
    let weights = (draws.below(2) == 0).then(|| buffer(draws));
    let truth = Truth { offsets, labels, weights };
    let logits = match draws.below(2) {
        0 => Logits::Straight(buffer(draws)),
        _ => Logits::Turned(buffer(draws), draws.near(rows_right)),
    };
    let what = match draws.below(2) {
        0 => Sweep::Gradients,
        _ => Sweep::Scores { scores: sums, row: draws.near(16), class_from: draws.near(0) },
    };
    let (first_row, epsilon) = (draws.near(rows_right / 2), draws.number());
    let (panel, panels, add) = (draws.near(1), draws.near(5), draws.below(2) == 0);
    calls.make("kernel::text::sweeps::sweep", || {
        let place = (rows, first_row);
        launches.push(sweeps::sweep(place, groups, epsilon, logits, truth, losses, what));
    });
    calls.make("kernel::text::sweeps::class_losses", || {
        launches.push(sweeps::class_losses(rows, groups, losses, (sums, first_row)));
    });
    calls.make("kernel::text::sweeps::row_losses", || {
        launches.push(sweeps::row_losses(rows, groups.count, losses, sums));
    });
    calls.make("kernel::text::sweeps::bias_gradient", || {
        let of = (panel, panels);
        launches.push(sweeps::bias_gradient(rows, of, losses, labels, sums, add));
    });
    let (numbers, factors) = (draws.near(33), [(); 2].map(|()| draws.number()));
    calls.make("kernel::text::sweeps::panel_squares", || {
        launches.push(sweeps::panel_squares((panel, panels), numbers, losses, sums));
    });
    calls.make("kernel::text::sweeps::scale_panels", || {
        launches.push(sweeps::scale_panels((panel, panels), numbers, labels, factors, sums));
    });
}

/// Pieces of the device text, cut anywhere, with what doesn't belong there.
fn text(draws: &mut Draws, calls: &mut Calls) {
    calls.make("kernel::text::whole", whole);
    let from = draws.below(PTX.len());
    let end = PTX.len().min(from + draws.below(4000));
    let odd = draws.one_of(&["", "\0", "\n@%p1\n", "@", ";;;.rn", "fma.", "\u{feff}äß\u{2028}"]);
    let piece = [odd, PTX.get(from..end).expect("it is ASCII"), odd].concat();
    calls.make("kernel::text::inspect::faults", || inspect::faults(&piece));
}
