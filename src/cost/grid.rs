//! Which grid of ranks the expert step runs on (docs/thousand-ranks.md, sections 0 and 3.13): the
//! one whose fullest rank is modelled to take least time for a mini-batch. Machine and network are
//! numbers of the model, not of where it runs, so that all ranks and starts find the same.
//!
//! A mini-batch of B rows in S slices, on a rank that holds blocks of p parameters in all on d
//! activations, and takes s of the slices, on R x C ranks of T threads:
//!
//! ```text
//! products       4 p B s / S flop: logits, and the gradient of the weights; twice in one half each
//! threads        of those 7.7 % for each time that T is doubled, 14 % where a rank has one block;
//!                0.048 ms by log2 T of each block that threads share: all, or where R = 1 those
//!                that are left when each thread has had as many
//! host           2.5 us a row that comes here, and R > 1 5.8 ns a number exchanged, both over T
//!                threads; R > 1: 0.3 ms of one
//! rows           4 (d + 1) bytes of B / R rows
//! exchange       R > 1: 8 p (R - 1) / R bytes, and 4 (R - 1) messages a part of a block
//! ```
//!
//! Of two blocks or more a rank's exchange goes on behind the arithmetic of the next one, three
//! quarters of which it finds, and those of two blocks never; that of a lone one behind the second
//! half of its own, part by part, and not in less than 0.6 ms. A solver that takes all rows for a
//! step exchanges once a pass, when all rows have gone by: behind nothing.
//!
//! The constants were fitted to measurements of `bench rank` with sixteen threads on cores of 55
//! GFLOP/s (docs/plan.md, "Among many ranks"). Faster cores do the rest faster, too, so that ranks
//! choose as if they had those. A GPU's rate, and one that a rank was measured at, has it all.

use super::network::Network;
use crate::kernel::matrix::stride_of;
use crate::partition::Grid;

/// Bytes of a number that travels.
pub(super) const NUMBER: f64 = 4.0;
/// Core seconds of proving and placing a row that comes.
const ROW_SECONDS: f64 = 2.5e-6;
/// Core seconds of proving, adding, stepping and placing a number that is exchanged, and those of
/// one thread for the exchanges of a mini-batch.
const NUMBER_SECONDS: f64 = 5.8e-9;
const EXCHANGE_SECONDS: f64 = 0.3e-3;
/// How much longer than all of them in the mean the slowest thread of a team takes, for each time
/// that their number is doubled; the same where they have but one block.
const UNEVEN: f64 = 0.077;
const UNEVEN_AT_ONE: f64 = 0.14;
/// Seconds that a class block's turn takes beside its products, for each time that the number of
/// threads is doubled: they begin and end several times, and their shares are small products.
const TURN_SECONDS: f64 = 0.048e-3;
/// What a core did in a second where these were found.
const CORE_FLOP_PER_SECOND: f64 = 55e9;
/// Share of the arithmetic behind which exchanges go on, and of how many blocks they never do.
const HIDING: f64 = 0.75;
const EXPOSED: f64 = 2.0;
/// What the exchange of a lone block takes at least.
const LEAST_EXCHANGE_SECONDS: f64 = 0.6e-3;
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
    /// Share of the rows from which a class block learns.
    pub learned: f64,
    /// How much each rank takes, by what it computes a second.
    pub shares: &'a [usize],
}

/// What the model knows of a rank.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Where one stands for all ranks, in the mean; they differ as their shares do.
    pub flop_per_second: f64,
    /// Threads that share its work on the host.
    pub threads: usize,
    /// Whether products are a GPU's.
    pub gpu: bool,
    /// Whether what threads lose that end unevenly isn't in the rate.
    pub uneven: bool,
}

impl Machine {
    /// A processor with so many threads; 0 stands for one.
    pub fn host(threads: usize) -> Machine {
        let threads = threads.max(1);
        Machine { flop_per_second: 100e9 * threads as f64, threads, gpu: false, uneven: true }
    }

    /// A GPU beside so many threads.
    pub fn gpu(threads: usize) -> Machine {
        Machine { flop_per_second: 40e12, threads: threads.max(1), gpu: true, uneven: false }
    }

    /// Ranks that were measured to do so much in the mean, each with all of so many threads.
    pub fn measured(flop_per_second: f64, threads: usize) -> Machine {
        Machine { flop_per_second, threads: threads.max(1), gpu: false, uneven: false }
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

/// What a mini-batch takes, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds {
    /// Products, had all threads an even share of them.
    pub(crate) products: f64,
    /// What threads that end unevenly, and their beginnings, add to those.
    pub(crate) threads: f64,
    /// Of rows and exchanges, beside products.
    pub(crate) host: f64,
    /// What of the network isn't behind the rest.
    pub(crate) waiting: f64,
}

impl Seconds {
    pub(crate) fn all(&self) -> f64 {
        self.products + self.threads + self.host + self.waiting
    }
}

/// Seconds of a mini-batch on the rank of R x C that takes longest.
pub fn seconds(work: &Work, shape: (usize, usize), network: &Network, machine: &Machine) -> f64 {
    let grid = Grid::by_speed(shape, work.slices, (work.blocks, work.shares), 0);
    let shares = || work.shares.iter().map(|share| (*share).max(1) as f64);
    let mean = shares().sum::<f64>() / work.shares.len() as f64;
    let rate = |share: f64| share / mean * machine.flop_per_second;
    let machines = shares().map(|share| Machine { flop_per_second: rate(share), ..*machine });
    seconds_on(work, &grid, network, &machines.collect::<Vec<Machine>>()).all()
}

/// The same on a grid, where work is dealt in shares to these ranks, alike but in their rates.
pub(crate) fn seconds_on(
    work: &Work,
    grid: &Grid,
    network: &Network,
    machines: &[Machine],
) -> Seconds {
    let (rows, columns) = (grid.rows(), grid.columns());
    let dealt = grid.deal(work.blocks, work.shares).of_column;
    let of = |column: usize| &work.blocks[dealt.run(column)];
    let in_column = |column: usize| {
        let own = &machines[column * rows..];
        let share = |slices: usize| slices as f64 / work.slices as f64;
        let each = grid.slices_of_rows().zip(own);
        // Seconds of an operation on each row of the mini-batch.
        let slowest = each.map(|(slices, rank)| share(slices) / rank.flop_per_second);
        let operation = slowest.fold(0.0, f64::max);
        seconds_in_column(work, of(column), rows, network, (operation, &own[0]))
    };
    (0..columns).map(in_column).max_by(|a, b| a.all().total_cmp(&b.all())).expect("a column")
}

/// The same of the ranks of a column that has these blocks, of which the slowest takes so long for
/// an operation on its rows of the mini-batch, had that only one.
fn seconds_in_column(
    work: &Work,
    blocks: &[usize],
    rows: usize,
    network: &Network,
    (operation, machine): (f64, &Machine),
) -> Seconds {
    let parameters = blocks.iter().sum::<usize>() as f64;
    let exchanged = Exchange::of(work, blocks, rows);
    let products = work.learned * 4.0 * parameters * work.batch as f64 * operation;
    let doublings = if machine.uneven { (machine.threads as f64).log2() } else { 0.0 };
    let (uneven, shared_by_threads) = match (blocks.len(), rows) {
        (1, _) => (UNEVEN_AT_ONE, 1),
        (count, 1) => (UNEVEN, count % machine.threads),
        (count, _) => (UNEVEN, count),
    };
    let threads = doublings * (uneven * products + TURN_SECONDS * shared_by_threads as f64);
    let arithmetic = products + threads;
    let (own_rows, rows_there) = (work.batch as f64 / rows as f64, rows > 1);
    let row_bytes = NUMBER * (stride_of(work.width) + 1) as f64 * own_rows;
    let rows_arrive = row_bytes / network.bytes_per_second;
    let mut host = ROW_SECONDS * own_rows / machine.threads as f64;
    let late = |seconds: f64, host: f64| (seconds - arithmetic - host).max(0.0);
    if !rows_there {
        return Seconds { products, threads, host, waiting: late(rows_arrive, host) };
    }
    let exchange = exchanged.seconds(network);
    let numbers = exchanged.bytes / NUMBER;
    host += EXCHANGE_SECONDS + NUMBER_SECONDS * numbers / machine.threads as f64;
    let waiting = match blocks.len() {
        _ if work.passes => late(rows_arrive, host) + exchange,
        1 => {
            // The first part's exchange begins once its share of the second half is there, and the
            // last part's goes on by itself.
            let (half, part) = (arithmetic / 2.0, 1.0 / exchanged.parts as f64);
            let together = (exchange - half).max(0.0) * (1.0 - part);
            (exchange * part + together).max(LEAST_EXCHANGE_SECONDS)
        }
        count => {
            let exposed = (EXPOSED / count as f64).min(1.0) * exchange;
            (exchange - HIDING * arithmetic).max(exposed)
        }
    };
    Seconds { products, threads, host, waiting: waiting.max(late(rows_arrive + exchange, host)) }
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
    let mut machine = *machine;
    if machine.uneven {
        machine.flop_per_second = CORE_FLOP_PER_SECOND * machine.threads as f64;
    }
    let timed = shapes.map(|shape| (seconds(work, shape, network, &machine), shape));
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
        Work { blocks, width: WIDTH, batch, passes: false, slices, learned: 1.0, shares }
    }

    /// The grid that is chosen on ranks of 16 threads, and its efficiency in percent: flop of a
    /// share of the batch over what the fullest rank takes.
    fn chosen(shape: (usize, usize), ranks: usize, batch: usize) -> ((usize, usize), usize) {
        let blocks = blocks(shape);
        let shares = &vec![1; ranks];
        let work = work(&blocks, batch, 64, shares);
        let mut machine = Machine::host(16);
        let grid = choose(&work, &NETWORK, &machine, &|_| true);
        machine.flop_per_second = 16.0 * CORE_FLOP_PER_SECOND;
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
        let of = |(ranks, batch)| SHAPES.map(|shape| chosen(shape, ranks, batch));
        let found = [(64, large), (256, large), (1024, large), (1024, small), (64, 512)].map(of);
        let expected = [
            [((4, 16), 62), ((1, 64), 71), ((4, 16), 69), ((1, 64), 76)],
            [((13, 19), 54), ((2, 128), 68), ((16, 16), 58), ((2, 128), 75)],
            [((13, 75), 32), ((8, 128), 60), ((32, 31), 48), ((8, 128), 69)],
            [((13, 75), 11), ((4, 242), 35), ((32, 31), 14), ((4, 256), 53)],
            [((1, 64), 33), ((1, 64), 64), ((2, 31), 47), ((1, 64), 76)],
        ];
        assert_eq!(found, expected);
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
        assert_eq!([on(Machine::host(16)), on(Machine::gpu(16))], [(2, 128), (3, 85)]);
        let time = |grid| seconds(&work, grid, &NETWORK, &Machine::gpu(16));
        assert!(time((3, 85)) < time((1, 256)) && time((3, 85)) < time((16, 16)));
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
        // As ranks of one speed do, whose class blocks come out even.
        let even = on(&blocks[..240], &[1; 4]).1[0];
        let best = rates[0];
        assert!(best > 0.97 * even && best >= rates[1] && best >= rates[2], "{rates:?}, {even}");
        let (found, rates) = on(&blocks[..3], &[62, 62, 250, 1000]);
        assert!(found.0 > 1 && rates[0] > 0.8 * even, "{found:?} {rates:?}, {even}");
        assert_eq!(on(&blocks, &[1; 4]).0, (1, 4), "242 blocks come out even");
    }
}
