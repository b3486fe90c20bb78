//! Calls of what `kernel/` does, but for class blocks.

use reelscale::internals::kernel::adam::Moments;
use reelscale::internals::kernel::coefficients::Coefficients;
use reelscale::internals::kernel::dense::{Back, Gradient, Weights};
use reelscale::internals::kernel::irprop::definition::Remembered;
use reelscale::internals::kernel::irprop::{Bounds, Memory};
use reelscale::internals::kernel::matrix::{Matrix, stride_of};
use reelscale::internals::kernel::product::{Left, Output, Panels, Size, Workspace};
use reelscale::internals::kernel::vector::{self, Instructions};
use reelscale::internals::kernel::{
    adagrad, adam, add, average, dense, dequantise, dropout, finite, functions, gating, irprop,
    normalise, permutation, philox, pooling, product, residual, standardise,
};
use reelscale::internals::rng::{Permutation, Purpose, Stream};
use reelscale::internals::team::Team;

use super::Calls;
use super::draws::Draws;

pub fn call_all(draws: &mut Draws, calls: &mut Calls) {
    lanes(draws, calls);
    matrices(draws, calls);
    products(draws, calls);
    layers(draws, calls);
    elements(draws, calls);
    optimizers(draws, calls);
}

fn lanes(draws: &mut Draws, calls: &mut Calls) {
    let mut numbers = draws.numbers(40);
    let (at, x) = (draws.near(17), [0.5; 16]);
    calls.make("kernel::vector::detect", Instructions::detect);
    calls.make("kernel::vector::plain", Instructions::plain);
    calls.make("kernel::vector::available", Instructions::available);
    calls.make("kernel::vector::parse", || Instructions::parse("avx1024"));
    calls.make("kernel::vector::name", || draws.instructions().name());
    calls.make("kernel::vector::map", || vector::map(x, |x| x));
    calls.make("kernel::vector::map2", || vector::map2(x, x, |x, y| x + y));
    calls.make("kernel::vector::load", || vector::load(&numbers, at));
    calls.make("kernel::vector::store", || vector::store(&mut numbers, at, x));
    calls.make("kernel::vector::sum", || vector::sum(x));
    let x = draws.number();
    use functions::definition;
    calls.make("kernel::functions::definition::exp", || definition::exp(x));
    calls.make("kernel::functions::definition::log", || definition::log(x));
    let z = f32::from_bits(draws.below(1 << 32) as u32);
    calls.make("kernel::functions::definition::smaller_sigmoid", || definition::smaller_sigmoid(z));
    calls.make("kernel::functions::definition::sigmoid", || definition::sigmoid(z));
    calls.make("kernel::functions::definition::tanh", || definition::tanh(z));
    let kernel = draws.instructions();
    calls.make("kernel::functions::sigmoid_all", || functions::sigmoid_all(kernel, &mut numbers));
    calls.make("kernel::functions::tanh_all", || functions::tanh_all(kernel, &mut numbers));
}

fn matrices(draws: &mut Draws, calls: &mut Calls) {
    let (rows, width) = (draws.small(), draws.small());
    let mut matrix = draws.matrix(rows, width);
    let (row, end) = (draws.near(rows / 2), draws.near(rows));
    calls.make("kernel::matrix::stride_of", || stride_of(draws.near(width)));
    // Sizes beyond counting, or small: what lies between asks for all memory there is.
    let sizes = [draws.near(rows), draws.near(width)];
    calls.make("kernel::matrix::zeros", || Matrix::zeros(sizes[0], sizes[1]));
    let values = draws.numbers(rows * width);
    calls.make("kernel::matrix::from_rows", || Matrix::from_rows(&values, sizes[1]));
    calls.make("kernel::matrix::rows", || matrix.rows());
    calls.make("kernel::matrix::width", || matrix.width());
    calls.make("kernel::matrix::stride", || matrix.stride());
    calls.make("kernel::matrix::row", || matrix.row(row).len());
    calls.make("kernel::matrix::row_mut", || matrix.row_mut(row).fill(1.0));
    calls.make("kernel::matrix::run", || matrix.run(row..end).len());
    calls.make("kernel::matrix::run_mut", || matrix.run_mut(row..end).fill(1.0));
    let other = draws.matrix(rows, width);
    calls.make("kernel::matrix::append", || matrix.append(other));
    calls.make("kernel::matrix::resize", || matrix.resize(end));
    let mut matrix = draws.matrix(rows, width);
    let (kernel, means) = (draws.instructions(), draws.numbers(width));
    let mut row = draws.numbers(width);
    calls.make("kernel::normalise::normalise_l2", || normalise::normalise_l2(kernel, &mut matrix));
    calls.make("kernel::normalise::squares", || normalise::squares(&row));
    use normalise::definition;
    calls.make("kernel::normalise::definition::squares", || definition::squares(&row));
    calls.make("kernel::normalise::definition::normalise_l2", || {
        definition::normalise_l2(&mut row);
    });
    let scales = draws.numbers(width);
    calls.make("kernel::standardise::standardise", || {
        standardise::standardise(&mut matrix, &means, &scales);
    });
    let [x, mean, scale] = [(); 3].map(|()| draws.number());
    calls.make("kernel::standardise::definition::number", || {
        standardise::definition::number(x, mean, scale)
    });
}

/// Sizes and strides that fit, or that are off by one or by all there is.
fn products(draws: &mut Draws, calls: &mut Calls) {
    let [m, k, p] = [draws.small(), draws.small(), draws.below(4)];
    let (a, b) = (draws.numbers(m * k), draws.numbers(k * p * 16));
    let mut c = draws.numbers(m * p * 16);
    let (row, column) = draws.one_of(&[(k, 1), (1, m)]);
    let right = draws.one_of(&[(p * 16, 16), (16, k * 16)]);
    let out = draws.one_of(&[(p * 16, 16), (16, m * 16)]);
    let size = Size { rows: draws.near(m), depth: draws.near(k), panels: draws.near(p) };
    let left = Left { data: &a, row: draws.near(row), column: draws.near(column) };
    let panels = Panels { data: &b, row: draws.near(right.0), panel: draws.near(right.1) };
    let mut output = Output { data: &mut c, row: draws.near(out.0), panel: draws.near(out.1) };
    let kernel = draws.instructions();
    calls.make("kernel::product::new", || Workspace::new(kernel));
    let mut workspace = Workspace::new(kernel);
    calls.make("kernel::product::instructions", || workspace.instructions());
    calls.make("kernel::product::accumulate", || {
        workspace.accumulate(size, left, panels, &mut output);
    });
    calls.make("kernel::product::multiply", || {
        workspace.multiply(size, left, panels, &mut output);
    });
    // Definitions have no border: they compute as long as there are numbers.
    let counted = [size.rows, size.depth, size.panels].iter().all(|size| *size < 1 << 20);
    let size = if counted { size } else { Size { rows: m, depth: k, panels: p } };
    use product::definition;
    calls.make("kernel::product::definition::accumulate", || {
        definition::accumulate(size, left, panels, &mut output);
    });
    calls.make("kernel::product::definition::multiply", || {
        definition::multiply(size, left, panels, &mut output);
    });
}

fn layers(draws: &mut Draws, calls: &mut Calls) {
    let (inputs, outputs, rows) = (1 + draws.small(), 1 + draws.small(), draws.small());
    let outputs = if draws.below(2) == 0 { inputs } else { outputs };
    let columns = outputs.next_multiple_of(16);
    let (weights, biases) = (draws.numbers(columns * inputs), draws.numbers(columns));
    let layer = Weights {
        inputs: draws.near(inputs),
        outputs: draws.near(outputs),
        weights: &weights,
        biases: &biases,
    };
    let activation = draws.activation();
    let [x, y, gate] = [inputs, outputs, outputs].map(|width| draws.matrix(rows, width));
    let dy: [Matrix; 3] = std::array::from_fn(|_| draws.matrix(rows, outputs));
    let kernel = draws.instructions();
    let mut team: Vec<Workspace> =
        (0..1 + draws.below(3)).map(|_| Workspace::new(kernel)).collect();
    let team = &mut Team::new(&mut team);
    let (from, to) = (draws.near(inputs / 2), draws.near(outputs / 2));
    calls.make("kernel::dense::panels", || layer.panels());
    calls.make("kernel::dense::place", || layer.place(from, to));
    calls.make("kernel::dense::place", || dense::place(layer.inputs, from, to));
    calls.make("kernel::dense::forward", || dense::forward(team, layer, activation, &x));
    calls.make("kernel::gating::forward", || gating::forward(team, layer, &x));
    calls.make("kernel::residual::forward", || residual::forward(team, layer, &x));
    let (mut weights, mut biases) = (draws.numbers(columns * inputs), draws.numbers(columns));
    let turned = draws.numbers(inputs.next_multiple_of(16) * columns);
    let turned = (draws.below(2) == 0).then_some(&turned[..]);
    let [first, second, third] = dy;
    calls.make("kernel::dense::backward", || {
        let back = back(&mut weights, &mut biases, turned);
        dense::backward(team, activation, &x, &y, first, back)
    });
    calls.make("kernel::gating::backward", || {
        gating::backward(team, &x, &gate, second, back(&mut weights, &mut biases, turned))
    });
    calls.make("kernel::residual::backward", || {
        residual::backward(team, &x, &gate, third, back(&mut weights, &mut biases, turned))
    });
    layer_definitions(draws, calls, layer, [&mut weights, &mut biases]);
}

fn back<'a>(
    weights: &'a mut [f32],
    biases: &'a mut [f32],
    transposed: Option<&'a [f32]>,
) -> Back<'a> {
    Back { gradient: Gradient { weights, biases }, transposed }
}

fn layer_definitions(
    draws: &mut Draws,
    calls: &mut Calls,
    layer: Weights,
    [weights, biases]: [&mut Vec<f32>; 2],
) {
    let (inputs, outputs) = (layer.weights.len() / 16, layer.biases.len());
    let [x, y, kept, dy] = [inputs, outputs, outputs, outputs].map(|count| draws.numbers(count));
    let (activation, mut dx) = (draws.activation(), draws.numbers(inputs));
    use dense::definition;
    calls.make("kernel::dense::definition::affine", || definition::affine(layer, &x));
    calls.make("kernel::dense::definition::activate", || {
        definition::activate(activation, layer.outputs, &y)
    });
    calls.make("kernel::dense::definition::slopes", || definition::slopes(activation, &y, &dy));
    calls.make("kernel::dense::definition::add_gradient", || {
        definition::add_gradient(layer, &x, &dy, weights, biases);
    });
    calls.make("kernel::dense::definition::add_input_gradient", || {
        definition::add_input_gradient(layer, &dy, &mut dx);
    });
    calls.make("kernel::dense::definition::forward", || definition::forward(layer, activation, &x));
    calls.make("kernel::dense::definition::backward", || {
        definition::backward(layer, activation, [&x, &y, &dy], weights, biases)
    });
    calls.make("kernel::gating::definition::forward", || gating::definition::forward(layer, &x));
    calls.make("kernel::gating::definition::backward", || {
        gating::definition::backward(layer, [&x, &kept, &dy], weights, biases)
    });
    calls
        .make("kernel::residual::definition::forward", || residual::definition::forward(layer, &x));
    calls.make("kernel::residual::definition::backward", || {
        residual::definition::backward(layer, [&x, &kept, &dy], weights, biases)
    });
}

fn elements(draws: &mut Draws, calls: &mut Calls) {
    let (kernel, pooling_kind, width) = (draws.instructions(), draws.pooling(), draws.small());
    let mut counts: Vec<usize> = (0..draws.below(6)).map(|_| draws.small()).collect();
    let frames = draws.matrix(counts.iter().sum(), width);
    if let Some(count) = counts.first_mut() {
        *count = draws.near(*count);
    }
    let mut pooled = draws.numbers(counts.len() * stride_of(width));
    calls.make("kernel::pooling::pool", || {
        pooling::pool(kernel, pooling_kind, &frames, &counts, &mut pooled);
    });
    calls.make("kernel::pooling::unpool", || {
        pooling::unpool(kernel, pooling_kind, &frames, &counts, &pooled)
    });
    let (x, slope) = (draws.numbers(width), draws.number());
    use pooling::definition;
    calls.make("kernel::pooling::definition::pool", || definition::pool(pooling_kind, &x));
    calls.make("kernel::pooling::definition::unpool", || {
        definition::unpool(pooling_kind, &x, slope)
    });
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    calls.make("kernel::pooling::reference::pool", || pooling::reference::pool(pooling_kind, &x));
    let (bytes, mut values) = (draws.bytes(width), draws.numbers(width));
    let [scale, offset] = [draws.number(), draws.number()];
    calls.make("kernel::dequantise::from_bytes", || {
        dequantise::from_bytes(kernel, &bytes, &mut values, [scale, offset]);
    });
    calls.make("kernel::dequantise::from_halves", || {
        dequantise::from_halves(kernel, &bytes, &mut values);
    });
    calls.make("kernel::dequantise::from_floats", || dequantise::from_floats(&bytes, &mut values));
    calls.make("kernel::dequantise::definition::half", || {
        dequantise::definition::half(u16::from(bytes.first().copied().unwrap_or(255)) << 8)
    });
    calls.make("kernel::dequantise::definition::number", || {
        dequantise::definition::number(255, scale, offset)
    });
    let bound = draws.one_of(&[0, 1, 255, 256, 257, u32::MAX]);
    calls.make("kernel::dropout::bound", || dropout::bound(slope));
    calls.make("kernel::dropout::drop_out", || {
        dropout::drop_out(kernel, &mut values, bound, &Stream::new(77, Purpose::Dropout, 7));
    });
    let (mut mask, mut words) = (vec![u32::MAX; draws.below(4)], vec![7; draws.below(90)]);
    let count = draws.one_of(&[0, 1, width, usize::MAX]);
    calls.make("kernel::dropout::mask_words", || dropout::mask_words(count));
    calls.make("kernel::dropout::left", || {
        let stream = Stream::new(77, Purpose::Dropout, 7);
        dropout::left(kernel, count.min(width), bound, &stream, &mut mask)
    });
    calls.make("kernel::dropout::compress", || {
        dropout::compress(kernel, &values, &mask, &mut words);
    });
    calls.make("kernel::dropout::expand", || {
        dropout::expand(kernel, &words, &mask, bound, &mut values);
    });
    calls.make("kernel::philox::fill", || {
        philox::fill(kernel, &Stream::new(77, Purpose::Dropout, 7), &mut [0; 70][..width.min(70)]);
    });
    let places = draws.one_of(&[0, 1, 2, 70, usize::MAX]);
    calls.make("kernel::permutation::items", || {
        let permutation = Permutation::new(77, Purpose::RowOrder, 7, places);
        permutation::items(kernel, &permutation, width, &mut [0; 3]);
    });
    calls.make("kernel::permutation::places", || {
        let permutation = Permutation::new(77, Purpose::RowOrder, 7, places);
        permutation::places(kernel, &permutation, &mut [width, 0, 3]);
    });
    calls.make("kernel::dropout::definition::number", || {
        dropout::definition::number(slope, 77, bound)
    });
    calls.make("kernel::finite::all_finite", || finite::all_finite(kernel, &values));
    calls.make("kernel::finite::all_below", || finite::all_below(kernel, &values, scale));
    calls.make("kernel::finite::definition::below", || finite::definition::below(slope, scale));
}

fn optimizers(draws: &mut Draws, calls: &mut Calls) {
    let (kernel, count, rose) = (draws.instructions(), draws.small(), draws.below(2) == 0);
    let [mut weights, gradient, mut first, mut second, mut third] =
        [(); 5].map(|()| draws.numbers(count));
    let [rate, scale, l2] = [(); 3].map(|()| draws.number());
    let coefficients = Coefficients { rate, scale, l2 };
    calls.make("kernel::adagrad::update", || {
        adagrad::update(kernel, &mut weights, &gradient, &mut first, coefficients);
    });
    calls.make("kernel::adam::update", || {
        let moments = Moments { first: &mut first, second: &mut second };
        adam::update(kernel, &mut weights, &gradient, moments, coefficients);
    });
    calls.make("kernel::add::add", || add::add(kernel, &mut first, &weights));
    calls.make("kernel::average::update", || {
        average::update(kernel, &mut first, &weights, rate);
    });
    let bounds = Bounds { min: scale, max: l2 };
    calls.make("kernel::irprop::update", || {
        let memory = Memory { sizes: &mut first, gradients: &mut second, moves: &mut third };
        irprop::update(&mut weights, &gradient, memory, bounds, rose);
    });
    let (mut w, mut n, mut m) = (draws.number(), draws.number(), draws.number());
    calls.make("kernel::adagrad::definition::update", || {
        adagrad::definition::update(&mut w, rate, &mut n, coefficients);
    });
    calls.make("kernel::adam::definition::update", || {
        adam::definition::update(&mut w, rate, &mut n, &mut m, coefficients);
    });
    calls.make("kernel::add::definition::add", || add::definition::add(&mut w, rate));
    calls.make("kernel::average::definition::update", || {
        average::definition::update(&mut w, rate, scale);
    });
    let mut before = Remembered { size: n, gradient: m, moved: rate };
    calls.make("kernel::irprop::definition::update", || {
        irprop::definition::update(&mut w, scale, &mut before, bounds, rose);
    });
}
