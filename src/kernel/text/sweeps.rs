//! How the kernels of `mixture/device.h` are called: sweeps over logits, and the sums that follow
//! them.

use super::calls::{Argument, Buffer, LANES, Launch, each, int, long};
use crate::kernel::best::MOST;

/// Words that `mixture/device.h` takes of each group.
pub(crate) const GROUP_WORDS: usize = 5;

/// The groups that a sweep is over, and the logits of their panels alone.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// All groups' words, `GROUP_WORDS` each.
    pub shapes: Buffer,
    pub first: usize,
    pub count: usize,
    /// Panels of these groups.
    pub panels: usize,
    /// Dummy as `mixture/device.h` numbers it.
    pub dummy: i32,
}

/// Labels of rows in compressed sparse rows, and what rows count, if not all 1.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    pub offsets: Buffer,
    pub labels: Buffer,
    pub weights: Option<Buffer>,
}

/// Logits of rows and columns.
#[derive(Clone, Copy, Debug)]
pub enum Logits {
    /// `[rows][columns]`
    Straight(Buffer),
    /// [columns][so many rows]
    Turned(Buffer, usize),
}

/// What a sweep makes of logits.
#[derive(Clone, Copy, Debug)]
pub enum Sweep {
    Gradients,
    /// `[rows][row]`, the class `class_from` first.
    Scores {
        scores: Buffer,
        row: usize,
        class_from: usize,
    },
}

/// The sweep over logits of rows from `first_row` on; their losses
/// `[rows][groups][16]` go to `losses`.
pub fn sweep(
    (rows, first_row): (usize, usize),
    groups: Groups,
    epsilon: f32,
    logits: Logits,
    truth: Truth,
    losses: Buffer,
    what: Sweep,
) -> Launch {
    use Argument::Buffer as At;
    let (scores, scores_row, class_from) = match what {
        Sweep::Gradients => (losses, 0, 0),
        Sweep::Scores { scores, row, class_from } => (scores, row, class_from),
    };
    let (logits, row_step, lane_step) = match logits {
        Logits::Straight(logits) => (logits, groups.panels * LANES, 1),
        Logits::Turned(logits, row) => (logits, 1, row),
    };
    let arguments = vec![
        int(rows),
        int(groups.count),
        long(row_step),
        long(lane_step),
        Argument::Int(groups.dummy),
        Argument::Float(epsilon),
        Argument::Int(i32::from(matches!(what, Sweep::Gradients))),
        At(logits),
        At(groups.shapes),
        int(groups.first),
        At(truth.offsets),
        At(truth.labels),
        int(first_row),
        At(truth.weights.unwrap_or(losses)),
        Argument::Int(i32::from(truth.weights.is_some())),
        At(losses),
        At(scores),
        long(scores_row),
        int(class_from),
    ];
    let items = rows * groups.count * LANES;
    each("sweep", 128, items, arguments)
}

/// Adds the losses `[rows][groups][16]` to the sums in float64 of these groups' classes, which
/// begin at a number of `sums`.
pub fn class_losses(
    rows: usize,
    groups: Groups,
    losses: Buffer,
    (sums, first): (Buffer, usize),
) -> Launch {
    use Argument::Buffer as At;
    let lanes = groups.count * LANES;
    let first = int(first);
    let arguments = vec![int(rows), int(lanes), At(losses), At(sums), first];
    each("class_losses", 32, lanes, arguments)
}

/// Row blocks of which some rows are among those of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    /// First row of each row block, and the end (32 bits).
    pub bounds: Buffer,
    /// Those that are looked at: the first, and how many.
    pub first: usize,
    pub count: usize,
}

/// The same for each row block alone: `losses` are of `rows` rows from `first_row` on, `sums`
/// [row blocks][`sums_row`], a number for each lane.
pub(crate) fn block_losses(
    (rows, first_row): (usize, usize),
    groups: Groups,
    losses: Buffer,
    runs: Runs,
    (sums, sums_row): (Buffer, usize),
) -> Launch {
    use Argument::Buffer as At;
    let lanes = groups.count * LANES;
    let arguments = vec![
        int(rows),
        int(lanes),
        int(first_row),
        At(losses),
        At(runs.bounds),
        int(runs.first),
        int(runs.count),
        At(sums),
        int(sums_row),
        int(groups.first * LANES),
    ];
    let items = runs.count * lanes;
    each("block_losses", 32, items, arguments)
}

/// Adds the sums [row blocks][lanes], one after the other, to the row blocks' losses.
pub(crate) fn add_losses(blocks: usize, lanes: usize, sums: Buffer, losses: Buffer) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![int(blocks), int(lanes), At(sums), At(losses)];
    each("add_losses", 32, blocks, arguments)
}

/// Adds each row's losses `[rows][groups][16]` to its sum in float64.
pub fn row_losses(rows: usize, groups: usize, losses: Buffer, sums: Buffer) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![int(rows), int(groups), At(losses), At(sums)];
    each("row_losses", 32, rows, arguments)
}

/// What a launch of `best` is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Classes of the block, and the first of them.
    pub(crate) classes: usize,
    pub(crate) first_class: usize,
    /// Pairs of a list, at most `kernel::best::MOST`.
    pub(crate) limit: usize,
    /// The first row's list.
    pub(crate) first_list: usize,
    /// The block's number among those that visit, from 1 on; at the first one lists are empty.
    pub(crate) visit: usize,
}

/// Merges scores `[rows][classes]` with the rows' lists: scores and classes `[lists][limit]`, and
/// the visit of each that had a score which is no number.
pub(crate) fn best(rows: usize, offer: Offer, scores: Buffer, lists: [Buffer; 3]) -> Launch {
    let Offer { classes, first_class, limit, first_list, visit } = offer;
    assert!((1..=MOST).contains(&limit), "a list that the kernel has room for");
    let mut arguments = vec![int(classes), Argument::Buffer(scores)];
    arguments.extend([first_class, limit, first_list, usize::from(visit == 1), visit].map(int));
    arguments.extend(lists.map(Argument::Buffer));
    Launch { kernel: "best", groups: [rows, 1], threads: 32, arguments }
}

/// Gradients of the biases of panels from `first` on, whose slopes are [rows][16 panels].
pub fn bias_gradient(
    rows: usize,
    (first, panels): (usize, usize),
    slopes: Buffer,
    learned: Buffer,
    gradient: Buffer,
    add: bool,
) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![
        int(rows),
        int(panels),
        At(slopes),
        At(learned),
        int(first),
        At(gradient),
        Argument::Int(i32::from(add)),
    ];
    each("bias_gradient", 64, panels * LANES, arguments)
}

/// The sum of squares in float64 of each of `panels` panels from `first` on, of `numbers` numbers.
pub fn panel_squares(
    (first, panels): (usize, usize),
    numbers: usize,
    gradient: Buffer,
    squares: Buffer,
) -> Launch {
    use Argument::Buffer as At;
    let arguments = vec![int(panels), int(numbers), long(first), At(gradient), At(squares)];
    each("panel_squares", 32, panels, arguments)
}

/// Multiplies each of `panels` panels from `first` on, of `numbers` numbers, by the first of
/// `factors` where it is gates', by the second where it is experts'.
pub fn scale_panels(
    (first, panels): (usize, usize),
    numbers: usize,
    learned: Buffer,
    factors: [f32; 2],
    gradient: Buffer,
) -> Launch {
    use Argument::Buffer as At;
    let count = panels * numbers;
    let mut arguments = vec![long(count), int(numbers), long(first), At(learned)];
    arguments.extend(factors.map(Argument::Float));
    arguments.push(At(gradient));
    each("scale_panels", 128, count, arguments)
}
