//! How the kernels around the shared layers' products are called.

use super::calls::{Argument, Buffer, LANES, Launch, Start, each, int, long};
use crate::kernel::dense::Activation;

/// Numbers in a buffer, from one on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) buffer: Buffer,
    pub(crate) from: usize,
}

/// So many rows, each `width` numbers and filling up to whole panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

impl Extent {
    /// Numbers of a row, filling included.
    pub(crate) fn stride(self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Numbers of all rows.
    pub(crate) fn count(self) -> usize {
        self.rows * self.stride()
    }
}

/// Scales rows to length 1.
pub(crate) fn normalise(extent: Extent, numbers: Buffer) -> Launch {
    let arguments = vec![int(extent.rows), int(extent.stride()), Argument::Buffer(numbers)];
    each("normalise_rows", 32, extent.rows, arguments)
}

/// Shifts and scales columns.
pub(crate) fn standardise(extent: Extent, [means, scales]: [Buffer; 2], numbers: Buffer) -> Launch {
    let Extent { rows, width } = extent;
    let mut arguments = vec![int(rows), int(extent.stride()), int(width)];
    arguments.extend([means, scales, numbers].map(Argument::Buffer));
    each("standardise", 128, rows * width, arguments)
}

fn number_of(activation: Activation) -> Argument {
    Argument::Int(match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
        Activation::Sigmoid => 3,
        Activation::Tanh => 4,
    })
}

/// y = f(z), in place.
pub(crate) fn activate(extent: Extent, activation: Activation, y: Buffer) -> Launch {
    let count = extent.count();
    let mut arguments = vec![long(count), int(extent.stride()), int(extent.width)];
    arguments.extend([number_of(activation), Argument::Buffer(y)]);
    each("activate", 128, count, arguments)
}

/// dL/dz = dL/dy f'(z), in place.
pub(crate) fn activation_slopes(
    extent: Extent,
    activation: Activation,
    y: Place,
    slopes: Place,
) -> Launch {
    let count = extent.count();
    let mut arguments = vec![long(count), number_of(activation)];
    arguments.extend([y, slopes].into_iter().flat_map(place));
    each("activation_slopes", 128, count, arguments)
}

/// The sum of each column, filling included, from zero or from what is there.
pub(crate) fn column_sums(extent: Extent, numbers: Place, sums: Place, start: Start) -> Launch {
    let columns = extent.stride();
    let mut arguments = vec![int(extent.rows), int(columns)];
    arguments.extend([numbers, sums].into_iter().flat_map(place));
    arguments.push(match start {
        Start::Zero => Argument::Int(0),
        Start::Out => Argument::Int(1),
        Start::Bias(..) => panic!("sums begin with zero or with what is there"),
    });
    each("column_sums", 64, columns, arguments)
}

/// Of W x + b the gate s, in place, and y = s x.
pub(crate) fn gating(extent: Extent, x: Buffer, gate: Buffer, y: Buffer) -> Launch {
    let count = extent.count();
    let mut arguments = vec![long(count), int(extent.stride()), int(extent.width)];
    arguments.extend([x, gate, y].map(Argument::Buffer));
    each("gating", 128, count, arguments)
}

/// Of dL/dy dL/d(W x + b), in place, and what passes by the product. x and s begin at number
/// `from`.
pub(crate) fn gating_slopes(
    extent: Extent,
    ([x, gate], from): ([Buffer; 2], usize),
    slopes: Place,
    dx: Buffer,
) -> Launch {
    use Argument::Buffer as At;
    let mut arguments = vec![long(extent.count()), At(x), At(gate), long(from)];
    arguments.extend(place(slopes));
    arguments.push(At(dx));
    each("gating_slopes", 128, extent.count(), arguments)
}

/// Of W x + b what is added, in place, and y.
pub(crate) fn residual(extent: Extent, x: Buffer, added: Buffer, y: Buffer) -> Launch {
    let mut arguments = vec![long(extent.count())];
    arguments.extend([x, added, y].map(Argument::Buffer));
    each("residual", 128, extent.count(), arguments)
}

/// Of dL/dy dL/d(W x + b), in place, and what passes by the product.
pub(crate) fn residual_slopes(extent: Extent, added: Place, slopes: Place, dx: Buffer) -> Launch {
    let mut arguments = vec![long(extent.count())];
    arguments.extend([added, slopes].into_iter().flat_map(place));
    arguments.push(Argument::Buffer(dx));
    each("residual_slopes", 128, extent.count(), arguments)
}

fn place(Place { buffer, from }: Place) -> [Argument; 2] {
    [Argument::Buffer(buffer), long(from)]
}
