//! How kernels of the device text are called: arguments and geometry, the same for every launcher.

use crate::kernel::irprop::{Bounds, Signs};

/// Classes or outputs that a panel holds.
pub(super) const LANES: usize = 16;
/// Memory of a launcher's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer(pub usize);

/// An argument of a kernel, as wide as the text declares it.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    Int(i32),
    Word(u32),
    Long(i64),
    Float(f32),
    Buffer(Buffer),
}

/// A kernel with its arguments on a grid of groups of `threads` threads.
#[derive(Clone, Debug)]
pub struct Launch {
    pub kernel: &'static str,
    pub groups: [usize; 2],
    pub threads: usize,
    pub arguments: Vec<Argument>,
}

impl Launch {
    /// The arguments in eight bytes each, which hold any of them: a launcher reads as many as the
    /// kernel declares. A buffer's are its `address` on the device.
    pub fn words(&self, mut address: impl FnMut(Buffer) -> u64) -> Vec<u64> {
        let word = |argument: &Argument| match argument {
            Argument::Int(number) => *number as u32 as u64,
            Argument::Word(number) => u64::from(*number),
            Argument::Long(number) => *number as u64,
            Argument::Float(number) => u64::from(number.to_bits()),
            Argument::Buffer(buffer) => address(*buffer),
        };
        self.arguments.iter().map(word).collect()
    }
}

/// Sizes of a product: `rows` x `depth` times `depth` x `columns`, which fill whole panels.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
}

/// A matrix in a buffer: its first number and its stride.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    pub buffer: Buffer,
    pub from: usize,
    pub row: usize,
}

/// A matrix in panels of sixteen columns.
#[derive(Clone, Copy, Debug)]
pub struct Panels {
    pub buffer: Buffer,
    pub from: usize,
    pub row: usize,
    pub panel: usize,
}

/// What a product's sums start from.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    Zero,
    Out,
    /// Sixteen biases a panel, from this place on.
    Bias(Buffer, usize),
}

/// How A, B and C of a product lie, each form a kernel of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A turned, `a[k * row + m]`, each k from a multiple of four on; B in panels `[k][16]`.
    Turned,
    /// The same by smaller tiles.
    TurnedSmall,
    /// As `Turned`, and C turned, c[n * row + m].
    TurnedOut,
    /// A row by row, B in panels `[k][16]`.
    Straight,
    /// A turned, B row by row.
    Gradient,
}

/// Panels of columns that a product takes at most: CUDA has 65,535 groups in a grid's second
/// direction, and each makes 128 columns, or 64 of sizes of which there are few.
pub(crate) const PANELS_MAX: usize = 65_535 * 128 / LANES;

/// Tiles of `Form::Turned` below which smaller ones are faster, about as many as a large GPU has
/// multiprocessors. Nothing of it can be seen in the bits.
const FEW_TILES: usize = 128;

impl Form {
    /// `Turned`, by the tiles that suit the size.
    pub fn turned(size: Size) -> Form {
        let (_, tile, _) = Form::Turned.kernel();
        let [x, y] = tiles(size, tile);
        if x * y < FEW_TILES { Form::TurnedSmall } else { Form::Turned }
    }

    /// The kernel, and the rows and columns that a group of it makes, and its threads.
    fn kernel(self) -> (&'static str, [usize; 2], usize) {
        match self {
            Form::Turned => ("product_turned", [128, 128], 256),
            Form::TurnedSmall => ("product_turned_small", [64, 64], 128),
            Form::TurnedOut => ("product_turned_out", [128, 128], 256),
            Form::Straight => ("product_straight", [128, 128], 256),
            Form::Gradient => ("product_gradient", [64, 128], 128),
        }
    }
}

/// What a step is taken with; `l2` is 0 where nothing decays.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub rate: f32,
    pub scale: f32,
    pub l2: f32,
}

/// What an optimizer keeps of each parameter.
#[derive(Clone, Copy, Debug)]
pub enum Moments {
    Adagrad(Buffer),
    Adam(Buffer, Buffer),
}

/// A solver that has a kernel for its steps, which keeps as many vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepper {
    Adagrad,
    Adam,
}

pub(super) fn int(number: usize) -> Argument {
    Argument::Int(i32::try_from(number).expect("a size below 2^31"))
}

pub(super) fn long(number: usize) -> Argument {
    Argument::Long(number as i64)
}

/// A kernel with a thread for each of so many, in groups of `threads`.
pub(super) fn each(
    kernel: &'static str,
    threads: usize,
    count: usize,
    arguments: Vec<Argument>,
) -> Launch {
    Launch { kernel, groups: [count.div_ceil(threads), 1], threads, arguments }
}

fn product_arguments(size: Size, left: Rows, right: Panels, out: Panels) -> Vec<Argument> {
    use Argument::Buffer as At;
    vec![
        int(size.rows),
        int(size.depth),
        int(size.columns),
        At(left.buffer),
        long(left.from),
        long(left.row),
        At(right.buffer),
        long(right.from),
        long(right.row),
        long(right.panel),
        At(out.buffer),
        long(out.from),
        long(out.row),
        long(out.panel),
    ]
}

fn tiles(size: Size, tile: [usize; 2]) -> [usize; 2] {
    [size.rows.div_ceil(tile[0]), size.columns.div_ceil(tile[1])]
}

/// C = A B, C += A B or C = biases + A B.
pub fn product(
    form: Form,
    size: Size,
    left: Rows,
    right: Panels,
    out: Panels,
    start: Start,
) -> Launch {
    let (kernel, tile, threads) = form.kernel();
    let turned = form != Form::Straight;
    assert!(size.columns.is_multiple_of(LANES), "a panel that isn't whole");
    let whole = left.from.is_multiple_of(4) && left.row.is_multiple_of(4);
    assert!(!turned || whole, "A is read four numbers at a time");
    let mut arguments = product_arguments(size, left, right, out);
    let (bias, from, start) = match start {
        Start::Zero => (left.buffer, 0, 0),
        Start::Out => {
            assert!(form != Form::TurnedOut, "it starts from zero or biases");
            (left.buffer, 0, 1)
        }
        Start::Bias(bias, from) => (bias, from, 2),
    };
    arguments.extend([Argument::Buffer(bias), long(from), Argument::Int(start)]);
    Launch { kernel, groups: tiles(size, tile), threads, arguments }
}

/// A step of `weights` and of what the optimizer keeps with the gradient A B, A turned and B row by
/// row, which is never written.
pub fn gradient_step(
    size: Size,
    left: Rows,
    right: Panels,
    weights: Panels,
    moments: Moments,
    rates: Rates,
) -> Launch {
    let mut arguments = product_arguments(size, left, right, weights);
    let Rates { rate, scale, l2 } = rates;
    arguments.extend([rate, scale, l2].map(Argument::Float));
    let kernel = match moments {
        Moments::Adagrad(squares) => {
            arguments.push(Argument::Buffer(squares));
            "gradient_adagrad"
        }
        Moments::Adam(first, second) => {
            arguments.extend([first, second].map(Argument::Buffer));
            "gradient_adam"
        }
    };
    let (_, tile, threads) = Form::Gradient.kernel();
    Launch { kernel, groups: tiles(size, tile), threads, arguments }
}

/// A step of `count` parameters from `from` on, of which the first `decayed` decay; their gradient
/// begins at `from`, too.
pub fn step(
    (from, count, decayed): (usize, usize, usize),
    weights: Buffer,
    gradient: Buffer,
    moments: Moments,
    rates: Rates,
) -> Launch {
    use Argument::Buffer as At;
    let mut arguments = vec![long(count), long(decayed)];
    let Rates { rate, scale, l2 } = rates;
    arguments.extend([rate, scale, l2].map(Argument::Float));
    arguments.extend([At(weights), long(from), At(gradient)]);
    let kernel = match moments {
        Moments::Adagrad(squares) => {
            arguments.push(At(squares));
            "adagrad"
        }
        Moments::Adam(first, second) => {
            arguments.extend([first, second].map(At));
            "adam"
        }
    };
    each(kernel, 128, count, arguments)
}

/// A step of iRprop+ of `count` weights by their gradient, with what it keeps of each: D, g' and
/// the last move.
pub fn signs(
    count: usize,
    signs: Signs,
    weights: Buffer,
    gradient: Buffer,
    kept: [Buffer; 3],
) -> Launch {
    let Signs { bounds: Bounds { min, max }, rose } = signs;
    let mut arguments = vec![long(count), Argument::Float(min), Argument::Float(max)];
    arguments.push(Argument::Int(i32::from(rose)));
    arguments.extend([weights, gradient].into_iter().chain(kept).map(Argument::Buffer));
    each("irprop", 128, count, arguments)
}

/// left += right, of `count` numbers from `from` on.
pub fn add((from, count): (usize, usize), left: Buffer, right: Buffer) -> Launch {
    let arguments = vec![long(count), long(from), Argument::Buffer(left), Argument::Buffer(right)];
    each("add", 128, count, arguments)
}

/// mean += share (weights - mean), of `count` numbers from `from` on.
pub fn average((from, count): (usize, usize), share: f32, weights: Buffer, mean: Buffer) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![long(count), Argument::Float(share), long(from), At(weights), At(mean)];
    each("average", 128, count, arguments)
}

/// Rows of `stride` numbers put in order: row i is what begins at number `places[i]` (64 bits) of
/// `arrived`.
pub fn order_rows(
    (rows, stride): (usize, usize),
    arrived: Buffer,
    places: Buffer,
    to: Buffer,
) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![int(rows), int(stride), At(arrived), At(places), At(to)];
    let items = rows * (stride / LANES);
    each("order_rows", 64, items, arguments)
}

/// `to` `[width][to_row]` = the rows turned.
pub fn turn((rows, width): (usize, usize), from: Rows, to: Buffer, to_row: usize) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![
        int(rows),
        int(width),
        At(from.buffer),
        long(from.from),
        long(from.row),
        At(to),
        long(to_row),
    ];
    let groups = [rows.div_ceil(32), width.div_ceil(32)];
    Launch { kernel: "turn", groups, threads: 256, arguments }
}

/// W' in panels `[width / 16][columns][16]`, zero beyond the width, of W in panels
/// `[columns / 16][width][16]` that begin at `from`.
pub fn turn_panels(
    (width, columns): (usize, usize),
    (weights, from): (Buffer, usize),
    to: Buffer,
) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![int(width), long(columns), At(weights), long(from), At(to)];
    let groups = [columns / LANES, width.div_ceil(LANES)];
    Launch { kernel: "turn_panels", groups, threads: 256, arguments }
}

/// exp, log, smaller sigmoid and root of |x| of `count` numbers, four results each.
pub fn functions(count: usize, x: Buffer, found: Buffer) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![long(count), At(x), At(found)];
    each("functions", 64, count, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wider ones are cut (device/gpu/held.rs): CUDA refuses more than 65,535 groups there.
    #[test]
    fn the_widest_product_is_a_grid_that_cuda_takes() {
        let buffer = Buffer(0);
        let columns = PANELS_MAX * LANES;
        let left = Rows { buffer, from: 0, row: 4 };
        let out = Panels { buffer, from: 0, row: LANES, panel: LANES };
        for (rows, form) in [
            (1, Form::turned(Size { rows: 1, depth: 1, columns })),
            (1, Form::TurnedOut),
            (1, Form::Straight),
            (129, Form::Gradient),
        ] {
            let size = Size { rows, depth: 1, columns };
            let launch = product(form, size, left, out, out, Start::Zero);
            assert_eq!(launch.groups[1], 65_535, "{form:?}");
        }
    }
}
