//! Which grid of ranks the expert step runs on (docs/thousand-ranks.md, sections 0 and 3.13): the
//! one whose fullest rank is modelled to take least time for a mini-batch. Machine and network are
//! numbers of the model, not of where it runs, so that all ranks and starts find the same.
//!
//! A mini-batch of B rows in S slices, on a rank that holds blocks of p parameters in all on d
//! activations, and takes s of the slices, on R x C ranks of T threads:
//!
//! ```text
//! arithmetic     4 p B s / S flop: logits, and the gradient of the weights; twice in one half each
//! host           1.5 us a row that comes here, R > 1: 1.6 ns a number of p, both over T threads
//! rows           4 (d + 1) bytes of B / R rows
//! exchange       R > 1: 8 p (R - 1) / R bytes, and 4 (R - 1) messages a part of a block
//! ```
//!
//! Of two blocks or more a rank's exchange goes on behind the arithmetic of the next one; that of a
//! lone one behind the second half of its own, part by part. A solver that takes all rows for a
//! step exchanges once a pass, when all rows have gone by: behind nothing.

use super::network::Network;
use crate::kernel::matrix::stride_of;
use crate::partition::Grid;

/// Bytes of a number that travels.
pub(super) const NUMBER: f64 = 4.0;
/// Core seconds of proving and placing a row that comes.
pub(super) const ROW_SECONDS: f64 = 1.5e-6;
/// Core seconds of proving, adding, stepping and placing a number of a gradient.
pub(super) const NUMBER_SECONDS: f64 = 1.6e-9;
/// Parts of a lone block, at most.
const PARTS: usize = 4;
/// Columns of a part, at least: sixteen panels.
const PART_COLUMNS: usize = 256;

/// What the model knows of the work.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// Parameters of each class block.
    pub blocks: &'a [usize],
    /// Activations d of a row.
    pub width: usize,
    /// Rows of a step: of a mini-batch, or all of them.
    pub batch: usize,
    /// Whether a step is a pass over all rows, after which blocks are exchanged.
    pub passes: bool,
    /// S.
    pub slices: usize,
    /// How much each rank takes, by what it computes a second.
    pub shares: &'a [usize],
}

/// What the model knows of a rank.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// In the mean over all ranks, which differ as their shares do.
    pub flop_per_second: f64,
    /// Threads that share its work on the host.
    pub threads: usize,
    /// Whether products are a GPU's.
    pub gpu: bool,
}

impl Machine {
    /// A processor with so many threads.
    pub fn host(threads: usize) -> Machine {
        Machine { flop_per_second: 100e9 * threads as f64, threads, gpu: false }
    }

    /// A GPU beside so many threads.
    pub fn gpu(threads: usize) -> Machine {
        Machine { flop_per_second: 40e12, threads, gpu: true }
    }
}

/// The links between ranks.
pub const NETWORK: Network = Network { bytes_per_second: 10e9, message_seconds: 2e-6 };

/// Parts into which the gradient of each block is cut, whose exchanges go on by themselves, where a
/// column holds at most `held` blocks, of so many panels each at most. With several blocks each is
/// one part: its exchange goes on behind the next one's arithmetic, and more parts would be more to
/// prove and to begin.
pub fn parts(held: usize, panels: usize) -> usize {
    let most = if held > 1 { 1 } else { PARTS };
    most.min(panels * 16 / PART_COLUMNS).max(1)
}

/// What a rank exchanges of a mini-batch with the others of its column.
pub(crate) struct Exchange {
    pub(crate) bytes: f64,
    messages: f64,
    /// Of a block, whose exchanges go on by themselves.
    parts: usize,
}

impl Exchange {
    /// Of these blocks, each of so many parameters, among so many ranks.
    pub(crate) fn of(work: &Work, blocks: &[usize], rows: usize) -> Exchange {
        let (rows, parameters) = (rows as f64, blocks.iter().sum::<usize>() as f64);
        let largest = blocks.iter().max().map_or(0, |largest| *largest);
        let parts = match work.passes {
            true => 1,
            false => parts(blocks.len(), largest / (work.width + 1) / 16),
        };
        Exchange {
            bytes: 2.0 * NUMBER * parameters * (rows - 1.0) / rows,
            messages: 4.0 * (rows - 1.0) * (blocks.len() * parts) as f64,
            parts,
        }
    }

    pub(crate) fn seconds(&self, network: &Network) -> f64 {
        self.messages * network.message_seconds + self.bytes / network.bytes_per_second
    }
}

/// Seconds of a mini-batch on the rank of R x C that takes longest.
pub fn seconds(work: &Work, shape: (usize, usize), network: &Network, machine: &Machine) -> f64 {
    let grid = Grid::by_speed(shape, work.slices, (work.blocks, work.shares), 0);
    let shares = || work.shares.iter().map(|share| (*share).max(1) as f64);
    let mean = shares().sum::<f64>() / work.shares.len() as f64;
    let rates: Vec<f64> = shares().map(|share| share / mean * machine.flop_per_second).collect();
    seconds_on(work, &grid, network, (&rates, machine.threads))
}

/// The same on a grid, where work is dealt in shares to ranks of so many threads that compute so
/// many floating-point operations a second each.
pub(crate) fn seconds_on(
    work: &Work,
    grid: &Grid,
    network: &Network,
    (rates, threads): (&[f64], usize),
) -> f64 {
    let (rows, columns) = (grid.rows(), grid.columns());
    let dealt = grid.deal(work.blocks, work.shares).of_column;
    let of = |column: usize| &work.blocks[dealt.run(column)];
    let in_column = |column: usize| {
        let rates = rates[column * rows..].iter();
        let each = grid.slices_of_rows().zip(rates);
        // Seconds of an operation on each row of the mini-batch.
        let slowest = each.map(|(own, rate)| own as f64 / work.slices as f64 / rate);
        let machine = (slowest.fold(0.0, f64::max), threads);
        seconds_in_column(work, of(column), rows, network, machine)
    };
    if rates.iter().any(|rate| *rate != rates[0]) {
        return (0..columns).map(in_column).fold(0.0, f64::max);
    }
    let sum = |column: usize| of(column).iter().sum::<usize>();
    in_column((0..columns).max_by_key(|column| sum(*column)).expect("a column"))
}

/// The same of the ranks of a column that has these blocks, of which the slowest takes so long for
/// an operation on its rows of the mini-batch, had that only one.
fn seconds_in_column(
    work: &Work,
    blocks: &[usize],
    rows: usize,
    network: &Network,
    (operation, threads): (f64, usize),
) -> f64 {
    let parameters = blocks.iter().sum::<usize>() as f64;
    let exchanged = Exchange::of(work, blocks, rows);
    let (batch, rows, threads) = (work.batch as f64, rows as f64, threads as f64);
    let arithmetic = 4.0 * parameters * batch * operation;
    let row_bytes = NUMBER * (stride_of(work.width) + 1) as f64 * batch / rows;
    let rows_arrive = row_bytes / network.bytes_per_second;
    let host = ROW_SECONDS * batch / rows / threads;
    if rows == 1.0 {
        return (arithmetic + host).max(rows_arrive);
    }
    let exchange = exchanged.seconds(network);
    let numbers = NUMBER_SECONDS * parameters / threads;
    if work.passes {
        return (arithmetic + host).max(rows_arrive) + exchange + numbers;
    }
    let host = host + numbers;
    if blocks.len() > 1 {
        return (arithmetic + host).max(rows_arrive + exchange);
    }
    // The first part's exchange begins once its share of the second half is there, and the last
    // part's goes on by itself.
    let (half, part) = (arithmetic / 2.0, 1.0 / exchanged.parts as f64);
    let together = half.max(exchange) * (1.0 - part);
    let alone = half + (half + exchange) * part + together + host;
    alone.max(rows_arrive + exchange)
}

/// R and C: least seconds, within what `fits`; of equal ones fewer rows. One row fits always: each
/// rank is a column then, and nothing is exchanged.
pub fn choose(
    work: &Work,
    network: &Network,
    machine: &Machine,
    fits: &dyn Fn((usize, usize)) -> bool,
) -> (usize, usize) {
    let ranks = work.shares.len();
    let shape = |rows: usize| match rows {
        1 => (1, ranks),
        _ => (rows, (ranks / rows).min(work.blocks.len())),
    };
    let shapes = (1..=work.slices.min(ranks)).map(shape);
    let shapes = shapes.filter(|shape| shape.0 == 1 || shape.1 > 0 && fits(*shape));
    let timed = shapes.map(|shape| (seconds(work, shape, network, machine), shape));
    let best = timed.reduce(|best, next| if next.0 < best.0 { next } else { best });
    best.expect("one row at least").1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Layout;
    use crate::model::experts::layouts;
    use crate::model::spec::Dummy;

    const WIDTH: usize = 1024;
    const SHAPES: [(usize, usize); 4] = [(3862, 2), (3862, 16), (487, 200), (16384, 64)];

    fn blocks((classes, experts): (usize, usize)) -> Vec<usize> {
        let layouts = layouts(&vec![experts; classes], Dummy::Learned, WIDTH, 0);
        layouts.iter().map(Layout::parameters).collect()
    }

    fn work<'a>(blocks: &'a [usize], batch: usize, slices: usize, shares: &'a [usize]) -> Work<'a> {
        Work { blocks, width: WIDTH, batch, passes: false, slices, shares }
    }

    /// The grid that is chosen on ranks of 16 threads, and its efficiency in percent: flop of a
    /// share of the batch over what the fullest rank takes.
    fn chosen(shape: (usize, usize), ranks: usize, batch: usize) -> ((usize, usize), usize) {
        let blocks = blocks(shape);
        let shares = &vec![1; ranks];
        let work = work(&blocks, batch, 64, shares);
        let machine = Machine::host(16);
        let grid = choose(&work, &NETWORK, &machine, &|_| true);
        let found = seconds(&work, grid, &NETWORK, &machine);
        let columns = (shape.0 * (2 * shape.1 + 1)) as f64;
        let flop = 4.0 * WIDTH as f64 * columns * batch as f64 / ranks as f64;
        (grid, (100.0 * flop / machine.flop_per_second / found).round() as usize)
    }

    /// YouTube-8M at E = 2 and 16, Sports-1M, a hundred times YouTube-8M: the table of
    /// docs/thousand-ranks.md.
    #[test]
    fn the_shapes_that_the_program_is_for_get_these_grids() {
        let (large, small) = (16_384, 2_048);
        for (ranks, batch, expected) in [
            (64, large, [((16, 4), 93), ((8, 8), 95), ((4, 16), 94), ((1, 64), 100)]),
            (256, large, [((13, 19), 87), ((4, 64), 92), ((16, 16), 91), ((1, 256), 99)]),
            (1024, large, [((26, 39), 65), ((8, 128), 89), ((64, 16), 70), ((8, 128), 98)]),
            (1024, small, [((13, 75), 19), ((8, 128), 67), ((22, 31), 14), ((8, 128), 86)]),
        ] {
            let found = SHAPES.map(|shape| chosen(shape, ranks, batch));
            assert_eq!(found, expected, "{ranks} ranks, mini-batches of {batch} rows");
        }
    }

    #[test]
    fn without_slices_or_room_each_rank_is_a_column() {
        let blocks = blocks((3862, 2));
        let choose = |slices, ranks, fits: &dyn Fn((usize, usize)) -> bool| {
            let shares = &vec![1; ranks];
            let work = work(&blocks, 2048, slices, shares);
            choose(&work, &NETWORK, &Machine::host(16), fits)
        };
        assert_eq!(choose(1, 1024, &|_| true), (1, 1024));
        assert_eq!(choose(64, 1, &|_| true), (1, 1));
        assert_eq!(choose(64, 1024, &|_| false), (1, 1024));
        let narrow = choose(64, 1024, &|grid| grid.0 <= 4);
        assert!(narrow.0 <= 4 && narrow.1 <= 75, "{narrow:?}");
    }

    /// What is exchanged once a pass weighs little beside many rows: class blocks, which come out
    /// uneven, are the fewer of them cut the finer. Of few rows it weighs more than the arithmetic.
    #[test]
    fn passes_over_many_rows_are_cut_and_over_few_are_not() {
        let blocks = blocks((3862, 2));
        let shares = &[1; 256];
        let on = |rows| {
            let work = Work { passes: true, ..work(&blocks, rows, 64, shares) };
            let machine = Machine::host(16);
            let grid = choose(&work, &NETWORK, &machine, &|_| true);
            (
                grid,
                seconds(&work, (1, 256), &NETWORK, &machine)
                    / seconds(&work, grid, &NETWORK, &machine),
            )
        };
        let (many, gain) = on(5_000_000);
        assert_eq!(many, (64, 4));
        assert!(gain > 3.0, "{gain}");
        assert_eq!(on(300).0, (1, 256));
    }

    /// What is hidden behind a processor's arithmetic isn't behind that of a GPU, 25 times as
    /// fast: exchanges and rows then weigh more than uneven blocks.
    #[test]
    fn gpus_get_a_choice_of_their_own() {
        let blocks = blocks((3862, 16));
        let shares = &[1; 256];
        let work = work(&blocks, 16_384, 64, shares);
        let on = |machine| choose(&work, &NETWORK, &machine, &|_| true);
        assert_eq!([on(Machine::host(16)), on(Machine::gpu(16))], [(4, 64), (4, 64)]);
        let time = |grid| seconds(&work, grid, &NETWORK, &Machine::gpu(16));
        assert!(time((4, 64)) < time((1, 256)) && time((4, 64)) < time((16, 16)));
    }

    /// Ranks of speed 1 : 1 : 4 : 16 are columns, as nothing is exchanged then and blocks go by
    /// speed; with three class blocks they aren't, as whole blocks don't.
    #[test]
    fn ranks_of_unequal_speed_get_a_grid_by_their_speed() {
        let blocks = blocks((3862, 16));
        let on = |blocks: &[usize], shares: &[usize]| {
            let work = work(blocks, 16_384, 64, shares);
            let found = choose(&work, &NETWORK, &Machine::host(16), &|_| true);
            let rate = |shape| {
                let flop = 4.0 * blocks.iter().sum::<usize>() as f64 * 16_384.0;
                let machine = Machine::host(16);
                let ranks = shares.len() as f64 * machine.flop_per_second;
                flop / ranks / seconds(&work, shape, &NETWORK, &machine)
            };
            (found, [found, (2, 2), (4, 1)].map(rate))
        };
        let (found, rates) = on(&blocks, &[62, 62, 250, 1000]);
        assert_eq!(found, (1, 4), "{rates:?}");
        assert!(rates[0] > 0.97 && rates[0] >= rates[1] && rates[0] >= rates[2], "{rates:?}");
        let (found, rates) = on(&blocks[..3], &[62, 62, 250, 1000]);
        assert!(found.0 > 1 && rates[0] > 0.8, "{found:?} {rates:?}");
        assert_eq!(on(&blocks, &[1; 4]).0, (2, 2));
    }
}
