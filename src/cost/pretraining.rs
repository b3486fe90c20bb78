//! On how many ranks pretraining runs (docs/thousand-ranks.md, section 4): the number whose fullest
//! rank is modelled to take least time for a mini-batch, on the machine and the network of
//! `grid.rs`. Beyond it exchanges grow and nobody's arithmetic shrinks.
//!
//! A mini-batch of B rows in G groups on P' ranks of T threads, of which the fullest holds blocks
//! of p parameters and g groups, with d activations, s parameters of shared layers, q multiply-adds
//! of them a row, and a partial sums of a rank's leaves, A of all ranks':
//!
//! ```text
//! arithmetic     6 B (p + q g / G) flop: forward, and both gradients; 4 B p without shared layers
//! leaves         as 90 s g flop: each group's gradient of the shared layers is a leaf of its sum
//! learning       as 450 (p + s) flop: norms, clipping, Adam, gradients that begin as zeros
//! host           1.5 us a row of B, 1.6 ns a number that comes for a sum; over T threads
//! activations    4 d B bytes; twice P' - 1 messages, since labels go by themselves
//! dL/dv          4 d B max(a, A / P') bytes, P' - 1 messages
//! shared layers  4 s max(a, A / P') + 4 s bytes, 2 (P' - 1) messages
//! loss, norms    2 (min(P' - 1, 3) + log2 P') messages
//! lengths        5 log2 P' messages
//! rows           on a GPU, of f features and t frames: (43 ns + t / 17 GB/s) f B g / G
//! ```
//!
//! A GPU's rows take most of its time: products, which take what tiles do (`device_time.rs`), are
//! up to 25 times as fast as a processor's, and of what rows take on their way there and back each
//! rank has its share.
//!
//! All of it is one after the other, as it is: nothing is behind anything. The boundary between two
//! mini-batches takes all ranks, whatever P' is.

use super::device_time::{DeviceRates, beside_pretraining};
use super::grid::{Machine, NUMBER};
use super::network::{Network, doublings};
use crate::device::gpu::VISIT_ROWS;
use crate::kernel::matrix::stride_of;
use crate::kernel::vector::LANES;
use crate::partition::Owners;
use crate::tree::nodes_of;

/// Core seconds of proving and placing a row that comes, and of proving and adding a number.
const ROW_SECONDS: f64 = 1.5e-6;
const NUMBER_SECONDS: f64 = 1.6e-9;
/// Numbers that are summed over class blocks: the loss, and norms of three variables.
const FEW: usize = 3;

/// What making a number of a leaf and adding it takes, and what learning with one does, in
/// operations of products that take as long: 0.7 and 3.5 ns on a core of 130 GFLOP/s, found with
/// mini-batches of 1,024 rows in 4 to 64 groups on 512 and 1,024 activations. Both wait for memory.
const LEAF_FLOP: f64 = 90.0;
const LEARNING_FLOP: f64 = 450.0;

/// What the model knows of a mini-batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MiniBatchWork<'a> {
    /// Parameters of each class block.
    pub(crate) blocks: &'a [usize],
    /// Activations d of a row.
    pub(crate) width: usize,
    /// Rows B.
    pub(crate) rows: usize,
    /// G, groups of row blocks.
    pub(crate) groups: usize,
    /// Parameters of the shared layers.
    pub(crate) shared: usize,
    /// Multiply-adds of a row's way through them.
    pub(crate) layers: usize,
    /// Features of a row, and frames that are drawn of it; 0: it is of video level.
    pub(crate) features: usize,
    pub(crate) frames: usize,
}

impl MiniBatchWork<'_> {
    /// The same machine by what its products do on so many ranks: a GPU's are the slower the fewer
    /// tiles the class blocks of the fullest rank are cut into.
    fn machine_on(&self, ranks: usize, machine: &Machine) -> Machine {
        let owners = Owners::even(self.blocks.len(), ranks, 0);
        let own = |rank: usize| self.blocks[owners.run(rank)].iter().sum::<usize>();
        let most = (0..ranks).map(own).max().unwrap_or(0);
        let panels = most / (self.width + 1) / LANES;
        if !machine.gpu || panels == 0 {
            return *machine;
        }
        let rates = DeviceRates { flop_per_second: machine.flop_per_second };
        let rows = self.rows.min(VISIT_ROWS);
        let seconds = rates.pretraining(rows, panels, self.width);
        Machine { flop_per_second: 6.0 * (rows * most) as f64 / seconds, ..*machine }
    }
}

/// Partial sums that are left of leaves: the most of a rank, and those of all ranks.
fn partials(owners: &Owners) -> (usize, usize) {
    let nodes = owners.runs().into_iter().map(|run| nodes_of(run).len());
    nodes.fold((0, 0), |(most, all), own| (most.max(own), all + own))
}

/// Seconds of a mini-batch on the fullest of so many ranks.
pub(crate) fn seconds(
    work: &MiniBatchWork,
    ranks: usize,
    network: &Network,
    machine: &Machine,
) -> f64 {
    let (groups, blocks) =
        (Owners::even(work.groups, ranks, 0), Owners::even(work.blocks.len(), ranks, 0));
    let rows = work.rows as f64;
    // Nobody needs dL/dv where no layers are.
    let products = if work.shared > 0 { 6.0 } else { 4.0 };
    let row_seconds = match machine.gpu {
        true => beside_pretraining(work.features, work.frames),
        false => 0.0,
    };
    let of = |rank: usize| {
        let parameters = work.blocks[blocks.run(rank)].iter().sum::<usize>() as f64;
        let own = groups.run(rank).len() as f64;
        let own_rows = rows * own / work.groups as f64;
        let shared = work.shared as f64;
        let beside = LEAF_FLOP * shared * own + LEARNING_FLOP * (parameters + shared);
        let layers = 6.0 * own_rows * work.layers as f64;
        let flop = products * rows * parameters + layers + beside;
        flop / machine.flop_per_second + own_rows * row_seconds
    };
    let own = (0..ranks).map(of).fold(0.0, f64::max);
    if ranks == 1 {
        return own;
    }
    let share = ranks as f64;
    let sum = |owners: &Owners| {
        let (most, all) = partials(owners);
        (all as f64 / share, (most as f64).max(all as f64 / share))
    };
    let ((slopes_come, slopes), (shared_come, shared_way)) = (sum(&blocks), sum(&groups));
    let activations = rows * stride_of(work.width) as f64;
    let shared = work.shared as f64;
    let come = activations * slopes_come + shared * shared_come;
    let host = ROW_SECONDS * rows + NUMBER_SECONDS * come;
    let numbers = activations * (1.0 + slopes) + shared * (1.0 + shared_way);
    let (others, rounds) = (ranks - 1, doublings(ranks));
    // Where there are no shared layers, neither their gradient nor dL/dv travels.
    let long = if work.shared > 0 { 5 } else { 2 };
    let messages = long * others + 2 * (others.min(FEW) + rounds) + 5 * rounds;
    own + host / machine.threads as f64
        + messages as f64 * network.message_seconds
        + NUMBER * numbers / network.bytes_per_second
}

/// On how many of so many ranks pretraining takes least time, among those numbers that `fits`; of
/// equal ones the least. Where none fits, on all.
pub(crate) fn pretraining_ranks(
    work: &MiniBatchWork,
    ranks: usize,
    network: &Network,
    machine: &Machine,
    fits: &dyn Fn(usize) -> bool,
) -> usize {
    // More can't have any work.
    let most = work.blocks.len().max(work.groups).clamp(1, ranks);
    let timed = |ranks| (seconds(work, ranks, network, &work.machine_on(ranks, machine)), ranks);
    let mut timed: Vec<(f64, usize)> = (1..=most).map(timed).collect();
    timed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    timed.into_iter().map(|(_, ranks)| ranks).find(|ranks| fits(*ranks)).unwrap_or(ranks)
}

#[cfg(test)]
mod tests {
    use super::super::grid::NETWORK;
    use super::*;
    use crate::model::Layout;
    use crate::model::experts::layouts;
    use crate::model::spec::Dummy;

    fn blocks(classes: usize, experts: usize, width: usize) -> Vec<usize> {
        let layouts = layouts(&vec![experts; classes], Dummy::Learned, width, 0);
        layouts.iter().map(Layout::parameters).collect()
    }

    fn on(work: &MiniBatchWork, ranks: usize) -> usize {
        pretraining_ranks(work, ranks, &NETWORK, &Machine::host(16), &|_| true)
    }

    /// jobs/youtube8m.toml: 30 frames of 1,152 features through 1,024 and a gate, then 2,048 and a
    /// gate.
    fn youtube8m(blocks: &[usize]) -> MiniBatchWork<'_> {
        let (frame, video) = (1152 * 1024 + 1024 * 1024, 1024 * 2048 + 2048 * 2048);
        let (width, rows, groups) = (2048, 1024, 32);
        MiniBatchWork {
            blocks,
            width,
            rows,
            groups,
            shared: frame + video,
            layers: 30 * frame + video,
            features: 1152,
            frames: 30,
        }
    }

    #[test]
    fn youtube8m_gets_these_ranks() {
        let blocks = blocks(3862, 2, 2048);
        let work = youtube8m(&blocks);
        assert_eq!([1, 16, 64, 256, 1024].map(|ranks| on(&work, ranks)), [1, 16, 56, 75, 75]);
    }

    /// The chosen number is the best of all, and one that doesn't fit isn't chosen.
    #[test]
    fn the_least_of_all_that_fit_is_chosen() {
        let blocks = blocks(3862, 2, 2048);
        let work = youtube8m(&blocks);
        let time = |ranks| seconds(&work, ranks, &NETWORK, &Machine::host(16));
        let best = on(&work, 64);
        assert!((1..=64).all(|ranks| time(best) <= time(ranks)), "{best}");
        let choose = |fits: &dyn Fn(usize) -> bool| {
            pretraining_ranks(&work, 64, &NETWORK, &Machine::host(16), fits)
        };
        let other = choose(&|ranks| ranks != best);
        assert!(other != best && (1..=64).all(|ranks| ranks == best || time(other) <= time(ranks)));
        assert_eq!(choose(&|_| false), 64);
    }

    /// Ranks share the rows that come to GPUs; where features are few, what is left isn't worth an
    /// exchange.
    #[test]
    fn gpus_get_a_number_of_their_own() {
        let blocks = blocks(3862, 2, 2048);
        let work = youtube8m(&blocks);
        let on = |work: &MiniBatchWork, machine: Machine, ranks: usize| {
            pretraining_ranks(work, ranks, &NETWORK, &machine, &|_| true)
        };
        let gpus = [1, 4, 16, 64, 256].map(|ranks| on(&work, Machine::gpu(16), ranks));
        assert_eq!(gpus, [1, 4, 16, 37, 75]);
        // Few features, and products that a GPU makes nothing of.
        let work = MiniBatchWork { features: 16, frames: 0, shared: 0, layers: 0, ..work };
        let found = [Machine::host(16), Machine::gpu(16)].map(|machine| on(&work, machine, 4));
        assert_eq!(found, [4, 1]);
    }

    /// A tiny model isn't worth a message, a slow network is worth fewer ranks.
    #[test]
    fn messages_and_slow_links_cost_ranks() {
        let small = [600; 4];
        let work = MiniBatchWork {
            blocks: &small,
            width: 8,
            rows: 64,
            groups: 2,
            shared: 72,
            layers: 64,
            features: 8,
            frames: 0,
        };
        assert_eq!(on(&work, 8), 1);
        let blocks = blocks(3862, 2, 2048);
        let work = youtube8m(&blocks);
        let slow = Network { bytes_per_second: 1e8, message_seconds: 50e-6 };
        let few = pretraining_ranks(&work, 64, &slow, &Machine::host(16), &|_| true);
        assert!(few < on(&work, 64), "{few}");
    }
}
