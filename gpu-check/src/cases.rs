//! Random cases of every kernel, beside the processor's.

use crate::best;
use crate::compared::Compared;
use crate::device::gpu::check::{self, Begin, FORMS, Product, numbers};
use crate::device::gpu::queue::Queue;
use crate::device::gpu::window::{Source, Window};
use crate::frames;
use crate::kernel::irprop::definition::{Remembered, update};
use crate::kernel::irprop::{Bounds, Signs};
use crate::kernel::text::calls::{self, Form, Moments, Rates};
use crate::kernel::vector::Instructions;
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

/// One of some sizes with 0, 1 and primes among them.
pub fn size(stream: &mut Stream, sizes: &[usize]) -> usize {
    sizes[stream.below(sizes.len() as u64) as usize]
}

/// Every kernel on `count` random cases, or so many as it has; the functions alone where it is 0.
/// Of one kind alone where `only` names it: "functions", "products", "layers", "best", "mixtures",
/// "signs" or "others".
///
/// # Errors
/// The device is full or lost.
pub fn all(
    queue: &Queue,
    count: u64,
    seed: u64,
    only: Option<&str>,
    compared: &mut Compared,
) -> Outcome {
    let mut stream = Stream::new(seed, Purpose::PlantedRows, 0);
    let of = |kind: &str, times: u64| match only.is_none_or(|only| only == kind) {
        true => 0..times,
        false => 0..0,
    };
    for _ in of("functions", 1) {
        functions(queue, &mut stream, count, compared)?;
    }
    for case in of("products", 4 * count) {
        product(queue, &mut stream, FORMS[case as usize % FORMS.len()], compared)?;
    }
    for _ in of("others", count.div_ceil(4)) {
        solver(queue, &mut stream, compared)?;
        rows(queue, &mut stream, compared)?;
        frames::dequantised(queue, &mut stream, compared)?;
        frames::pooled(queue, &mut stream, compared)?;
        frames::network(queue, &mut stream, compared)?;
    }
    for _ in of("layers", count) {
        shared_layers::case(queue, &mut stream, compared)?;
    }
    for _ in of("best", count) {
        best::drawn(queue, &mut stream, compared)?;
    }
    for case in of("mixtures", count) {
        mixtures::case(queue, &mut stream, case, compared)?;
    }
    for _ in of("signs", count.div_ceil(4)) {
        signs(queue, &mut stream, compared)?;
    }
    Ok(())
}

fn functions(queue: &Queue, stream: &mut Stream, count: u64, compared: &mut Compared) -> Outcome {
    let most = 25_000 * count.max(1) as i32;
    let mut x: Vec<f32> = (-most..most).map(|step| step as f32 * (100.0 / most as f32)).collect();
    x.extend([0.0, -0.0, 1e4, -1e4, 88.0, -87.0, 87.5, -88.0, f32::MAX, f32::MIN_POSITIVE]);
    let any = (0..2 * most).map(|_| f32::from_bits(stream.next_u32()));
    x.extend(any.filter(|x| x.is_finite()));
    check::functions(queue, &x)?.iter().for_each(|pair| compared.pair(pair, ""));
    Ok(())
}

fn product(queue: &Queue, stream: &mut Stream, form: Form, compared: &mut Compared) -> Outcome {
    let rows = size(stream, &[0, 1, 2, 7, 13, 64, 121, 127, 128, 129, 250, 263]);
    let depth = size(stream, &[1, 3, 5, 7, 8, 15, 16, 17, 31, 97, 256, 521, 771]);
    let panels = size(stream, &[0, 1, 2, 3, 5, 7, 8, 9, 16, 19]);
    let [spare, first] = [0; 2].map(|_| 4 * stream.below(3) as usize);
    // What comes out turned starts from zero or biases.
    let begin = match stream.below(3) {
        0 => Begin::Zero,
        1 if form != Form::TurnedOut => Begin::Out,
        _ => Begin::Biases,
    };
    let case = Product { form, rows, depth, panels, begin, first, spare };
    compared.pair(&check::product(queue, stream, case)?, &format!("{case:?}"));
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

/// Steps of iRprop+ of a vector: signs that stay, turn and vanish, losses that rise and fall.
fn signs(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let count = size(stream, &[1, 7, 64, 127, 129, 1000, 4097]);
    let bounds = Bounds { min: 1e-4, max: [2e-3, 0.1][stream.below(2) as usize] };
    let mut host = numbers(stream, count);
    let mut kept = vec![Remembered { size: 1e-3, gradient: 0.0, moved: 0.0 }; count];
    let weights = queue.upload(&host)?;
    let sizes = queue.upload(&vec![1e-3f32; count])?;
    let (gradients, moves) = (queue.zeros(4 * count)?, queue.zeros(4 * count)?);
    let at = [&sizes, &gradients, &moves].map(|memory| memory.buffer());
    for _ in 0..8 {
        // Products of the least ones underflow; the last one is no number.
        let of = [1.0, -1.0, 1.0, -1.0, 0.0, -0.0, 1e-30, -1e-40];
        let mut gradient: Vec<f32> =
            (0..count).map(|_| of[stream.below(of.len() as u64) as usize]).collect();
        if count > 100 {
            gradient[count - 1] = f32::NAN;
        }
        let signs = Signs { bounds, rose: stream.below(2) == 1 };
        for ((w, g), before) in host.iter_mut().zip(&gradient).zip(&mut kept) {
            update(w, *g, before, bounds, signs.rose);
        }
        let given = queue.upload(&gradient)?;
        queue.launch(&calls::signs(count, signs, weights.buffer(), given.buffer(), at))?;
    }
    let case = format!("{count} numbers, {bounds:?}");
    compared.floats("irprop", &case, &host, &weights.read(0, count)?);
    let own = |of: fn(&Remembered) -> f32| kept.iter().map(of).collect::<Vec<f32>>();
    compared.floats("irprop's D", &case, &own(|one| one.size), &sizes.read(0, count)?);
    compared.floats("irprop's g'", &case, &own(|one| one.gradient), &gradients.read(0, count)?);
    compared.floats("irprop's moves", &case, &own(|one| one.moved), &moves.read(0, count)?);
    Ok(())
}

/// Rows put in order, and turned.
fn rows(queue: &Queue, stream: &mut Stream, compared: &mut Compared) -> Outcome {
    let (count, width) = (size(stream, &[1, 5, 33, 64, 127]), size(stream, &[1, 16, 31, 67, 128]));
    let mut host = Matrix::zeros(count, width);
    let stride = host.stride();
    let arrived = numbers(stream, count * (stride + 1));
    let mut places: Vec<i64> = (0..count).map(|row| (row * (stride + 1)) as i64).collect();
    stream.shuffle(&mut places);
    for row in 0..count {
        let from = places[row] as usize;
        host.row_mut(row).copy_from_slice(&arrived[from..from + stride]);
    }
    let from = queue.upload(&arrived)?;
    let source = Source { numbers: &from, places: &places, width };
    let mut labels = Labels::new();
    (0..count).for_each(|_| labels.push(&[]));
    let window = Window::new(queue, source, &labels, &[])?;
    let case = format!("{count} x {width}");
    let found: Vec<f32> = window.activations().read(0, count * stride)?;
    compared.floats("row order", &case, &host.data, &found);
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
