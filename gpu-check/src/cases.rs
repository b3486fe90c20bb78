//! Random cases of every kernel, beside the processor's.

use crate::compared::Compared;
use crate::device::Dropout;
use crate::device::gpu::queue::Queue;
use crate::device::gpu::window::{Source, Window};
use crate::kernel::functions as host;
use crate::kernel::product::{self as processor, Left, Output, Workspace};
use crate::kernel::text::calls::{self, Form, Moments, Panels, Rates, Rows, Size, Start};
use crate::kernel::vector::{Instructions, LANES};
use crate::labels::Labels;
use crate::mixtures;
use crate::model::Matrix;
use crate::optim::adagrad::Adagrad;
use crate::optim::adam::Adam;
use crate::optim::average::Average;
use crate::optim::{MiniBatch, Step};
use crate::rng::{Purpose, Stream};
use crate::shared_layers;
use crate::team::Team;

type Outcome = Result<(), String>;

/// Numbers of all sizes: some -0, 0, denormal or small.
pub fn numbers(stream: &mut Stream, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| {
            let x = 2.0 * stream.uniform() - 1.0;
            match stream.below(24) {
                0 => -0.0,
                1 => 0.0,
                2 => x * 1e-38,
                3 => x * 1e-20,
                _ => x,
            }
        })
        .collect()
}

/// One of some sizes with 0, 1 and primes among them.
pub fn size(stream: &mut Stream, sizes: &[usize]) -> usize {
    sizes[stream.below(sizes.len() as u64) as usize]
}

/// Every kernel on `count` random cases, or so many as it has; the functions alone where it is 0.
///
/// # Errors
/// The device is full or lost.
pub fn all(queue: &Queue, count: u64, seed: u64, compared: &mut Compared) -> Outcome {
    let mut stream = Stream::new(seed, Purpose::PlantedRows, 0);
    functions(queue, &mut stream, count, compared)?;
    for _ in 0..count {
        product(queue, &mut stream, compared)?;
    }
    for _ in 0..count.div_ceil(4) {
        solver(queue, &mut stream, compared)?;
        rows(queue, &mut stream, compared)?;
    }
    for _ in 0..count {
        shared_layers::case(queue, &mut stream, compared)?;
    }
    for case in 0..count {
        mixtures::case(queue, &mut stream, case, compared)?;
    }
    Ok(())
}

fn functions(queue: &Queue, stream: &mut Stream, count: u64, compared: &mut Compared) -> Outcome {
    let most = 25_000 * count.max(1) as i32;
    let mut x: Vec<f32> = (-most..most).map(|step| step as f32 * (100.0 / most as f32)).collect();
    x.extend([0.0, -0.0, 1e4, -1e4, 88.0, -87.0, 87.5, -88.0, f32::MAX, f32::MIN_POSITIVE]);
    let any = (0..2 * most).map(|_| f32::from_bits(stream.next_u32()));
    x.extend(any.filter(|x| x.is_finite()));
    let given = queue.upload(&x)?;
    let found = queue.make(16 * x.len())?;
    queue.launch(&calls::functions(x.len(), given.buffer(), found.buffer()))?;
    let results: Vec<f32> = found.read(0, 4 * x.len())?;
    let device =
        |place: usize| -> Vec<f32> { results.iter().skip(place).step_by(4).copied().collect() };
    let host = |f: fn(f32) -> f32| -> Vec<f32> { x.iter().map(|x| f(*x)).collect() };
    compared.floats("exp", "", &host(host::exp), &device(0));
    let normal = |all: &[f32]| -> Vec<f32> {
        let pairs = x.iter().zip(all).filter(|pair| *pair.0 >= f32::MIN_POSITIVE);
        pairs.map(|pair| *pair.1).collect()
    };
    compared.floats("log", "", &normal(&host(host::log)), &normal(&device(1)));
    compared.floats("sigmoid", "", &host(host::smaller_sigmoid), &device(2));
    compared.floats("root", "", &host(|x| x.abs().sqrt()), &device(3));
    Ok(())
}

fn product(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let rows = size(stream, &[0, 1, 2, 7, 13, 64, 121, 127, 128, 129, 250, 263]);
    let depth = size(stream, &[1, 3, 5, 7, 8, 15, 16, 17, 31, 97, 256, 521, 771]);
    let panels = size(stream, &[0, 1, 2, 3, 5, 7, 8, 9, 16, 19]);
    let forms = [Form::Turned, Form::TurnedSmall, Form::Straight, Form::Gradient, Form::TurnedOut];
    let form = forms[stream.below(5) as usize];
    let turned = form != Form::Straight;
    let stride =
        if turned { rows } else { depth }.next_multiple_of(4) + 4 * stream.below(3) as usize;
    let first = 4 * stream.below(3) as usize;
    let a = numbers(stream, first + stride * (if turned { depth } else { rows }) + 4);
    let b = numbers(stream, depth * panels * LANES + LANES);
    let start = numbers(stream, rows * panels * LANES + LANES);
    let bias = numbers(stream, panels * LANES + LANES);
    let width = panels * LANES;
    let (b_row, b_panel) = match form {
        Form::Gradient => (width, LANES),
        _ => (LANES, depth * LANES),
    };
    // What comes out turned starts from zero or biases.
    let from = if form == Form::TurnedOut { 2 * stream.below(2) } else { stream.below(3) };
    let name = format!("product {form:?}");
    let case = format!("{rows} x {depth} x {width}, start {from}, stride {stride}");
    let right = processor::Panels { data: &b, row: b_row, panel: b_panel };
    let left = match turned {
        true => Left { data: &a[first..], row: 1, column: stride },
        false => Left { data: &a[first..], row: stride, column: 1 },
    };
    let mut host = start.clone();
    if from == 2 {
        host[..rows * width].chunks_exact_mut(width.max(1)).for_each(|row| {
            row.copy_from_slice(&bias[LANES..LANES + width]);
        });
    }
    let mut workspace = Workspace::new(Instructions::detect());
    let whole = processor::Size { rows, depth, panels };
    let output = &mut Output { data: &mut host, row: width, panel: LANES };
    match from {
        0 => workspace.multiply(whole, left, right, output),
        _ => workspace.accumulate(whole, left, right, output),
    }
    let [da, db, dbias] = [&a, &b, &bias].map(|numbers| queue.upload(numbers));
    let (da, db, dbias) = (da?, db?, dbias?);
    let out_row = if form == Form::TurnedOut { rows.next_multiple_of(4) } else { width };
    let room = queue.make(4 * (out_row * width).max(start.len()))?;
    room.write(0, &start)?;
    let begin = [Start::Zero, Start::Out, Start::Bias(dbias.buffer(), LANES)][from as usize];
    queue.launch(&calls::product(
        form,
        Size { rows, depth, columns: width },
        Rows { buffer: da.buffer(), from: first, row: stride },
        Panels { buffer: db.buffer(), from: 0, row: b_row, panel: b_panel },
        Panels { buffer: room.buffer(), from: 0, row: out_row, panel: LANES },
        begin,
    ))?;
    let mut found: Vec<f32> = room.read(0, start.len().max(out_row * width))?;
    if form == Form::TurnedOut {
        let at = |row: usize, column: usize| found[column * out_row + row];
        let places = (0..rows).flat_map(|row| (0..width).map(move |column| (row, column)));
        found = places.map(|(row, column)| at(row, column)).collect();
    }
    let count = rows * width;
    compared.floats(&name, &case, &host[..count], &found[..count]);
    Ok(())
}

/// Steps of AdaGrad and Adam and the running mean, of a vector.
fn solver(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let count = size(stream, &[1, 7, 64, 127, 129, 1000, 4097]);
    let decayed = stream.below(count as u64 + 1) as usize;
    let l2 = [0.0, 1e-4][stream.below(2) as usize];
    let step = Step { learning_rate: 0.01, scale: 1.0 / 37.0, l2, decayed };
    let start = numbers(stream, count);
    let case = format!("{count} numbers, {decayed} decay by {l2}");
    let instructions = Instructions::detect();
    let (mut adagrad, mut adam) = (Adagrad::new(count), Adam::new(count));
    let (mut by_adagrad, mut by_adam) = (start.clone(), start.clone());
    let mut mean = Average::new(count, 0.75);
    let (weights, others) = (queue.upload(&start)?, queue.upload(&start)?);
    let squares = queue.upload(&vec![0.1f32; count])?;
    let moments = [queue.zeros(4 * count)?, queue.zeros(4 * count)?];
    let device_mean = queue.zeros(4 * count)?;
    let (mut powers, mut members) = ([1.0f64; 2], [()]);
    let mut team = Team::new(&mut members);
    for turn in 1..5u32 {
        let gradient: Vec<f32> = numbers(stream, count).iter().map(|g| g * 30.0).collect();
        adagrad.step(&mut team, instructions, &mut by_adagrad, &gradient, step);
        adam.step(&mut team, instructions, &mut by_adam, &gradient, step);
        mean.step(&mut team, instructions, &by_adagrad);
        let given = queue.upload(&gradient)?;
        let mut rates = Rates { rate: 0.01, scale: step.scale, l2 };
        let (place, slopes) = ((0, count, decayed), given.buffer());
        let kept = Moments::Adagrad(squares.buffer());
        queue.launch(&calls::step(place, weights.buffer(), slopes, kept, rates))?;
        powers = [powers[0] * f64::from(0.9f32), powers[1] * f64::from(0.999f32)];
        let correction = (1.0 - powers[1]).sqrt() / (1.0 - powers[0]);
        rates.rate = (f64::from(step.learning_rate) * correction) as f32;
        let kept = Moments::Adam(moments[0].buffer(), moments[1].buffer());
        queue.launch(&calls::step(place, others.buffer(), slopes, kept, rates))?;
        let share = f32::max(1.0 - 0.75, 1.0 / turn as f32);
        let (from, to) = (weights.buffer(), device_mean.buffer());
        queue.launch(&calls::average((0, count), share, from, to))?;
    }
    compared.floats("adagrad", &case, &by_adagrad, &weights.read(0, count)?);
    compared.floats("adam", &case, &by_adam, &others.read(0, count)?);
    compared.floats("average", &case, &mean.weights, &device_mean.read(0, count)?);
    Ok(())
}

/// Rows put in order, with and without dropout, and turned.
fn rows(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let (count, width) = (size(stream, &[1, 5, 33, 64, 127]), size(stream, &[1, 16, 31, 67, 128]));
    let share = [0.0, 0.1, 0.25, 0.5][stream.below(4) as usize];
    let (seed, first) = (stream.next_u64(), stream.below(1 << 40));
    let dropout = Dropout::of(share, seed, first);
    let mut host = Matrix::zeros(count, width);
    let stride = host.stride();
    let arrived = numbers(stream, count * (stride + 1));
    let mut places: Vec<i64> = (0..count).map(|row| (row * (stride + 1)) as i64).collect();
    stream.shuffle(&mut places);
    let rows: Vec<u64> = (0..count).map(|_| stream.below(1 << 20)).collect();
    for row in 0..count {
        let from = places[row] as usize;
        host.row_mut(row).copy_from_slice(&arrived[from..from + stride]);
        if let Some(dropout) = dropout {
            dropout.apply(rows[row] as usize, host.row_mut(row));
        }
    }
    let streams: Vec<u32> =
        rows.iter().flat_map(|row| [(first + row) as u32, ((first + row) >> 32) as u32]).collect();
    let from = queue.upload(&arrived)?;
    let dropout = dropout.map(|dropout| (dropout.on_device(), &streams[..]));
    let source = Source { numbers: &from, places: &places, width, dropout };
    let mut labels = Labels::new();
    (0..count).for_each(|_| labels.push(&[]));
    let window = Window::new(queue, source, &labels, &[])?;
    let case = format!("{count} x {width}, dropout {share}");
    let found: Vec<f32> = window.activations().read(0, count * stride)?;
    compared.floats("row order, dropout", &case, &host.data, &found);
    let turned_row = count.next_multiple_of(4);
    let found: Vec<f32> = window.turned_numbers()?;
    let pick = |at: usize, row: usize| found[at * turned_row + row];
    let back: Vec<f32> = (0..count)
        .flat_map(|row| (0..width).map(move |at| (at, row)))
        .map(|(at, row)| pick(at, row))
        .collect();
    let given: Vec<f32> = (0..count).flat_map(|row| host.row(row)[..width].to_vec()).collect();
    compared.floats("turned", &case, &given, &back);
    Ok(())
}
