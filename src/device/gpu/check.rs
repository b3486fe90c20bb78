//! Whether a device gives the processor's bits: what is asked of it before a run computes with it.

use super::queue::Queue;
use crate::kernel::functions;
use crate::kernel::product::{Left, Output, Panels as HostPanels, Size as HostSize, Workspace};
use crate::kernel::text::calls::{self, Form, Panels, Rows, Size, Start};
use crate::kernel::vector::{Instructions, LANES};
use crate::rng::{Purpose, Stream};

/// Numbers that functions are compared on.
const NUMBERS: usize = 4096;

/// Sizes of the products: neither fills its tiles.
const SIZES: [(usize, usize, usize); 2] = [(131, 67, 5), (260, 33, 9)];

/// Compares products of each form and exp, log, sigmoid and root with the processor's, bit by bit.
/// Gives how many numbers were compared.
///
/// # Errors
/// What differs; or the device is lost.
pub(crate) fn check(queue: &Queue) -> Result<usize, String> {
    let stream = &mut Stream::new(1, Purpose::PlantedRows, 0);
    let mut compared = functions(queue, stream)?;
    for size in SIZES {
        for form in [Form::Turned, Form::TurnedSmall, Form::Straight, Form::Gradient] {
            compared += product(queue, stream, form, size)?;
        }
    }
    Ok(compared)
}

/// Numbers of all sizes, denormal ones among them.
fn numbers(stream: &mut Stream, count: usize) -> Vec<f32> {
    let number = |_| {
        let number = 2.0 * stream.uniform() - 1.0;
        match stream.below(8) {
            0 => number * 1e-38,
            1 => number * 1e-20,
            _ => number,
        }
    };
    (0..count).map(number).collect()
}

fn differing(name: &str, host: &[f32], found: &[f32]) -> Result<usize, String> {
    let pairs = host.iter().zip(found);
    let count = pairs.filter(|(host, found)| host.to_bits() != found.to_bits()).count();
    match count {
        0 => Ok(host.len()),
        count => Err(format!("{count} of {} numbers of {name} aren't the processor's", host.len())),
    }
}

fn functions(queue: &Queue, stream: &mut Stream) -> Result<usize, String> {
    let x: Vec<f32> = (0..NUMBERS)
        .map(|at| match at % 4 {
            0 => f32::from_bits(stream.next_u32() & 0x7f7f_ffff),
            _ => 200.0 * stream.uniform() - 100.0,
        })
        .collect();
    let (given, found) = (queue.upload(&x)?, queue.make(4 * NUMBERS * size_of::<f32>())?);
    queue.launch(&calls::functions(NUMBERS, given.buffer(), found.buffer()))?;
    let found: Vec<f32> = found.read(0, 4 * NUMBERS)?;
    let names = ["exp", "log", "sigmoid", "root"];
    let all: [fn(f32) -> f32; 4] =
        [functions::exp, functions::log, functions::smaller_sigmoid, |x| x.abs().sqrt()];
    let mut compared = 0;
    for (place, (name, function)) in names.into_iter().zip(all).enumerate() {
        // log is of normal numbers above 0.
        let asked = |x: f32| name != "log" || x >= f32::MIN_POSITIVE;
        let places = (0..NUMBERS).filter(|at| asked(x[*at]));
        let pairs = places.map(|at| (function(x[at]), found[4 * at + place]));
        let (host, found): (Vec<f32>, Vec<f32>) = pairs.unzip();
        compared += differing(name, &host, &found)?;
    }
    Ok(compared)
}

/// biases + A B.
fn product(
    queue: &Queue,
    stream: &mut Stream,
    form: Form,
    (rows, depth, panels): (usize, usize, usize),
) -> Result<usize, String> {
    let (columns, turned) = (panels * LANES, form != Form::Straight);
    let row = if turned { rows.next_multiple_of(4) } else { depth };
    let a = numbers(stream, row * if turned { depth } else { rows });
    let (b, biases) = (numbers(stream, depth * columns), numbers(stream, columns));
    let (b_row, b_panel) = match form {
        Form::Gradient => (columns, LANES),
        _ => (LANES, depth * LANES),
    };
    let mut host: Vec<f32> = (0..rows).flat_map(|_| biases.iter().copied()).collect();
    let left = match turned {
        true => Left { data: &a, row: 1, column: row },
        false => Left { data: &a, row, column: 1 },
    };
    Workspace::new(Instructions::detect()).accumulate(
        HostSize { rows, depth, panels },
        left,
        HostPanels { data: &b, row: b_row, panel: b_panel },
        &mut Output { data: &mut host, row: columns, panel: LANES },
    );
    let [a, b, biases] = [&a, &b, &biases].map(|numbers| queue.upload(numbers));
    let (a, b, biases) = (a?, b?, biases?);
    let out = queue.make(rows * columns * size_of::<f32>())?;
    queue.launch(&calls::product(
        form,
        Size { rows, depth, columns },
        Rows { buffer: a.buffer(), from: 0, row },
        Panels { buffer: b.buffer(), from: 0, row: b_row, panel: b_panel },
        Panels { buffer: out.buffer(), from: 0, row: columns, panel: LANES },
        Start::Bias(biases.buffer(), 0),
    ))?;
    differing(&format!("a product ({form:?})"), &host, &out.read::<f32>(0, rows * columns)?)
}
