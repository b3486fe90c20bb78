//! Whether a device gives the processor's bits: what is asked of it before a run computes with it,
//! and the comparisons of functions and products of which gpu-check asks more.

use super::queue::Queue;
use crate::kernel::functions as host;
use crate::kernel::product::{Left, Output, Panels as HostPanels, Size as HostSize, Workspace};
use crate::kernel::text::calls::{self, Form, Panels, Rows, Size, Start};
use crate::kernel::vector::{Instructions, LANES};
use crate::rng::{Purpose, Stream};

/// Numbers that functions are compared on.
const NUMBERS: usize = 4096;

/// Rows, depth and panels of the products, none of which fills its tiles, and what they begin with.
const SIZES: [(usize, usize, usize, Begin); 3] =
    [(131, 67, 5, Begin::Biases), (260, 33, 9, Begin::Out), (37, 100, 3, Begin::Zero)];

pub(crate) const FORMS: [Form; 5] =
    [Form::Turned, Form::TurnedSmall, Form::TurnedOut, Form::Straight, Form::Gradient];

/// What the processor and the device make of the same.
pub(crate) struct Pair {
    /// What it is: a function, or a product of some form.
    pub(crate) name: String,
    pub(crate) host: Vec<f32>,
    pub(crate) device: Vec<f32>,
}

/// What a product begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Zero,
    /// What lies in C.
    Out,
    Biases,
}

/// A product of random numbers: A `rows` x `depth`, B `depth` x 16 `panels`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) form: Form,
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) panels: usize,
    pub(crate) begin: Begin,
    /// Numbers before A, a multiple of 4.
    pub(crate) first: usize,
    /// Numbers of a row of A beyond what it needs, a multiple of 4.
    pub(crate) spare: usize,
}

/// Compares products of each form and exp, log, sigmoid and root with the processor's, bit by bit.
/// Gives how many numbers were compared.
///
/// # Errors
/// What differs; or the device is lost.
pub(crate) fn check(queue: &Queue) -> Result<usize, String> {
    let stream = &mut Stream::new(1, Purpose::PlantedRows, 0);
    let mut x = numbers(stream, NUMBERS);
    x.iter_mut().step_by(4).for_each(|x| *x = f32::from_bits(stream.next_u32() & 0x7f7f_ffff));
    x.iter_mut().skip(1).step_by(2).for_each(|x| *x *= 100.0);
    let mut compared = 0;
    for pair in functions(queue, &x)? {
        compared += pair.equal()?;
    }
    for (rows, depth, panels, begin) in SIZES {
        // What comes out turned has nothing to go on from.
        for form in FORMS.into_iter().filter(|form| (*form, begin) != (Form::TurnedOut, Begin::Out))
        {
            let case = Product { form, rows, depth, panels, begin, first: 0, spare: 0 };
            compared += product(queue, stream, case)?.equal()?;
        }
    }
    Ok(compared)
}

impl Pair {
    /// How many numbers there are, all equal bit by bit.
    fn equal(&self) -> Result<usize, String> {
        let (name, count) = (&self.name, self.host.len());
        let pairs = self.host.iter().zip(&self.device);
        match pairs.filter(|(host, device)| host.to_bits() != device.to_bits()).count() {
            0 => Ok(count),
            odd => Err(format!("{odd} of {count} numbers of {name} aren't the processor's")),
        }
    }
}

/// Numbers within +-1: some -0, 0, denormal or small.
pub(crate) fn numbers(stream: &mut Stream, count: usize) -> Vec<f32> {
    let number = |_| {
        let x = 2.0 * stream.uniform() - 1.0;
        match stream.below(24) {
            0 => -0.0,
            1 => 0.0,
            2 => x * 1e-38,
            3 => x * 1e-20,
            _ => x,
        }
    };
    (0..count).map(number).collect()
}

/// exp, log, sigmoid and root of finite numbers.
///
/// # Errors
/// The device is full or lost.
pub(crate) fn functions(queue: &Queue, x: &[f32]) -> Result<Vec<Pair>, String> {
    let all: [fn(f32) -> f32; 4] =
        [host::exp, host::log, host::smaller_sigmoid, |x| x.abs().sqrt()];
    let all = ["exp", "log", "sigmoid", "root"].into_iter().zip(all);
    let (given, found) = (queue.upload(x)?, queue.make(4 * size_of_val(x))?);
    queue.launch(&calls::functions(x.len(), given.buffer(), found.buffer()))?;
    let found: Vec<f32> = found.read(0, 4 * x.len())?;
    let pairs = all.enumerate().map(|(place, (name, function))| {
        // log is of normal numbers above 0.
        let asked = |at: &usize| name != "log" || x[*at] >= f32::MIN_POSITIVE;
        let pairs = (0..x.len()).filter(asked).map(|at| (function(x[at]), found[4 * at + place]));
        let (host, device) = pairs.unzip();
        Pair { name: name.into(), host, device }
    });
    Ok(pairs.collect())
}

/// C [rows][16 panels] of a product.
///
/// # Errors
/// The device is full or lost.
pub(crate) fn product(queue: &Queue, stream: &mut Stream, case: Product) -> Result<Pair, String> {
    let Product { form, rows, depth, panels, begin, first, spare } = case;
    let (width, turned) = (panels * LANES, form != Form::Straight);
    let stride = if turned { rows } else { depth }.next_multiple_of(4) + spare;
    let a = numbers(stream, first + stride * if turned { depth } else { rows } + 4);
    let b = numbers(stream, depth * width + LANES);
    let start = numbers(stream, rows * width + LANES);
    // Those of a row of biases begin at its second panel.
    let biases = numbers(stream, width + LANES);
    let (b_row, b_panel) = match form {
        Form::Gradient => (width, LANES),
        _ => (LANES, depth * LANES),
    };

    let mut host = start.clone();
    if begin == Begin::Biases {
        let rows = host[..rows * width].chunks_exact_mut(width.max(1));
        rows.for_each(|row| row.copy_from_slice(&biases[LANES..]));
    }
    let left = match turned {
        true => Left { data: &a[first..], row: 1, column: stride },
        false => Left { data: &a[first..], row: stride, column: 1 },
    };
    let right = HostPanels { data: &b, row: b_row, panel: b_panel };
    let output = &mut Output { data: &mut host, row: width, panel: LANES };
    let (size, mut workspace) =
        (HostSize { rows, depth, panels }, Workspace::new(Instructions::detect()));
    match begin {
        Begin::Zero => workspace.multiply(size, left, right, output),
        Begin::Out | Begin::Biases => workspace.accumulate(size, left, right, output),
    }
    host.truncate(rows * width);

    let [a, b, biases] = [&a, &b, &biases].map(|numbers| queue.upload(numbers));
    let (a, b, biases) = (a?, b?, biases?);
    let out_row = if form == Form::TurnedOut { rows.next_multiple_of(4) } else { width };
    let room = queue.make(size_of::<f32>() * (out_row * width).max(start.len()))?;
    room.write(0, &start)?;
    queue.launch(&calls::product(
        form,
        Size { rows, depth, columns: width },
        Rows { buffer: a.buffer(), from: first, row: stride },
        Panels { buffer: b.buffer(), from: 0, row: b_row, panel: b_panel },
        Panels { buffer: room.buffer(), from: 0, row: out_row, panel: LANES },
        match begin {
            Begin::Zero => Start::Zero,
            Begin::Out => Start::Out,
            Begin::Biases => Start::Bias(biases.buffer(), LANES),
        },
    ))?;
    let mut device: Vec<f32> = room.read(0, (out_row * width).max(rows * width))?;
    if form == Form::TurnedOut {
        let places = (0..rows).flat_map(|row| (0..width).map(move |column| (row, column)));
        device = places.map(|(row, column)| device[column * out_row + row]).collect();
    }
    device.truncate(rows * width);
    Ok(Pair { name: format!("product {form:?}"), host, device })
}
