//! Scaling beyond one machine: what the communication layer counts on 1 to 1,024 ranks equals, to
//! the byte, the formulas of `cost/traffic.rs`, also where ranks own runs of other lengths or
//! nothing. Ranks are threads and the model is tiny; counts depend on neither.

mod common;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::shards;
use reelscale::internals::comm::{Comm, OrderedSum, Traffic, run_threads};
use reelscale::internals::cost::grid::parts;
use reelscale::internals::cost::traffic::{
    ExpertEpoch, Moved, Pretraining, Share, experts, experts_travel, ordered_sum, pretraining,
    windows_travel,
};
use reelscale::internals::data::Dataset;
use reelscale::internals::device::{Host, Part};
use reelscale::internals::flow::experts_travel::{AHEAD, visit_blocks};
use reelscale::internals::flow::own_rows::{OwnRows, Room};
use reelscale::internals::flow::windows::{Order, Travel};
use reelscale::internals::job::Job;
use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::kernel::mixture::layout::Layout;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::experts::{Experts, layouts};
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::partition::{Blocks, Columns, Grid, Owners};
use reelscale::internals::report::Report;
use reelscale::internals::rng::{Permutation, Purpose};
use reelscale::internals::train::{Data, train};

const RANKS: [usize; 9] = [1, 2, 3, 4, 5, 16, 64, 256, 1024];
/// Shares of ranks that aren't equally fast, some of which have nothing to do.
const UNEVEN: [&[usize]; 4] = [&[1, 7], &[0, 0, 2], &[3, 0, 1, 5], &[5, 0, 0, 1, 1, 9, 0, 2]];
const ROWS: usize = 3000;
const WIDTH: usize = 16;
const WINDOW: usize = 700;
const BLOCKS: usize = 1024;
const LENGTH: usize = 4096;

/// The shares in which ranks own blocks, case by case.
fn cases() -> Vec<Vec<usize>> {
    let even = RANKS.into_iter().map(|ranks| vec![1; ranks]);
    even.chain(UNEVEN.into_iter().map(<[usize]>::to_vec)).collect()
}

fn labels_of(row: usize) -> Vec<u32> {
    (0..row as u32 % 4).collect()
}

/// What `work` adds to the counters, on each rank.
fn counted(shares: &[usize], work: impl Fn(&Comm) + Sync) -> Vec<Moved> {
    let numbers = |traffic: Traffic| [traffic.bytes_sent, traffic.bytes_received, traffic.messages];
    let body = |comm: &Comm| {
        comm.deal_in(shares.to_vec());
        let before = numbers(comm.traffic());
        work(comm);
        let after = numbers(comm.traffic());
        let [sent, received, calls] =
            std::array::from_fn(|index| (after[index] - before[index]) as usize);
        Ok(Moved { sent, received, calls })
    };
    run_threads(shares.len(), body).unwrap()
}

fn check(what: &str, shares: &[usize], found: Vec<Moved>, formula: impl Fn(usize) -> Moved) {
    for (rank, found) in found.into_iter().enumerate() {
        assert_eq!(found, formula(rank), "{what}: rank {rank} of {}: {shares:?}", shares.len());
    }
}

#[test]
fn an_epoch_of_the_expert_step_moves_activations_only() {
    for shares in cases() {
        let blocks = Blocks::even(ROWS, 1024);
        let owners = Owners::in_shares(blocks.len(), &shares, 0);
        let runs: Vec<Range<usize>> =
            owners.runs().into_iter().map(|run| blocks.run(run)).collect();
        let found = counted(&shares, |comm| {
            let rows = runs[comm.rank()].clone();
            let mut own = OwnRows::new(rows.clone(), WIDTH, &Room::unlimited()).unwrap();
            let mut labels = Labels::new();
            rows.clone().for_each(|row| labels.push(&labels_of(row)));
            own.push(&Matrix::zeros(rows.len(), WIDTH), &labels).unwrap();
            let order = Order::Shuffled(Permutation::new(1, Purpose::RowOrder, 0, ROWS));
            let grid = &Grid::new((1, comm.size()), 1, comm.size(), comm.rank());
            let (own, runs, window) = (&own, &runs[..], WINDOW);
            let travel = Travel { comm, own, runs, order, grid, batch: 350, window, dropout: None };
            let device = &mut Host::detected(1, 0.0);
            let mut windows = travel.windows(0).unwrap();
            while windows.pass(device, |_, _, _| Ok(())).unwrap().is_some() {}
        });
        let label_count = |rows: Range<usize>| rows.map(|row| row % 4).sum::<usize>();
        check("expert step", &shares, found, |rank| {
            let rows = Share { own: runs[rank].len(), all: ROWS };
            let own = label_count(runs[rank].clone());
            let labels = Share { own, all: label_count(0..ROWS) };
            let numbers = Share { own: WIDTH * rows.own, all: WIDTH * rows.all };
            windows_travel((rows, numbers, labels), ROWS.div_ceil(WINDOW), shares.len())
        });
    }
}

#[test]
fn a_pass_of_the_shared_step_moves_each_class_block_once() {
    // Blocks of one and of two experts a class.
    let counts: Vec<usize> = (0..16 * BLOCKS).map(|class| 1 + class / 16 % 2).collect();
    let layouts = layouts(&counts, Dummy::Learned, WIDTH, BLOCKS);
    let parameters: Vec<usize> = layouts.iter().map(Layout::parameters).collect();
    assert!(layouts.len() > BLOCKS / 2);
    for shares in cases() {
        let found = counted(&shares, |comm| {
            let owners = comm.deal(layouts.len());
            let own = layouts[owners.own()].iter().map(|one| one.empty_parameters().into());
            let parameters = own.collect();
            let experts = Experts { parameters, owners, layouts: layouts.clone() };
            visit_blocks(comm, &experts, AHEAD, |_, _, _| ());
        });
        let owners = Owners::in_shares(layouts.len(), &shares, 0);
        check("shared step", &shares, found, |rank| experts_travel(&parameters, &owners, rank));
    }
}

#[test]
fn an_ordered_sum_moves_the_vector_twice() {
    for shares in cases() {
        let owners = Owners::in_shares(1024, &shares, 0);
        let found = counted(&shares, |comm| {
            let runs = owners.runs();
            let mut sum = OrderedSum::new(comm, "numbers", runs.clone(), LENGTH);
            runs[comm.rank()].clone().for_each(|leaf| sum.add(vec![leaf as f32; LENGTH]));
            let sum = sum.finish(comm);
            assert!(sum.iter().all(|number| *number == (1023 * 1024 / 2) as f32));
        });
        check("ordered sum", &shares, found, |rank| ordered_sum(LENGTH, 4, &owners, rank));
    }
}

/// Two epochs against one of a whole training run: the second epoch's traffic.
#[test]
fn an_epoch_of_pretraining_moves_activations_and_their_gradients() {
    const CLASSES: usize = 2048;
    const BATCH: usize = 512;
    let folder = tempfile::tempdir().unwrap();
    let infos = shards(folder.path(), ROWS, CLASSES, WIDTH);
    let job = |epochs: usize, learners: usize| {
        let text = format!(
            "[data]\ntrain = [\"{}/*.h5\"]\n[model]\nshared = [{{ dense = {WIDTH} }}]\n\
             [pretrain]\nbatch = {BATCH}\nexperts = 1\nepochs = {epochs}\n\
             ranks = {learners}\n\
             [rounds]\ncount = 0\n[run]\nthreads = 1\n",
            folder.path().display()
        );
        Job::parse(&text, "job", &[]).unwrap()
    };
    let groups = Blocks::even(256, BATCH / 32);
    let row_blocks = Blocks::even(ROWS, 256);
    let label_count = |rows: Range<usize>| {
        let mut labels = Labels::new();
        Dataset::new(infos.clone()).unwrap().reader().labels(rows, &mut labels).unwrap();
        (0..labels.rows()).map(|row| labels.row(row).len()).sum::<usize>()
    };
    let all = cases().into_iter().filter(|shares| shares.len() <= 64);
    let all = all.map(|shares| (shares.len(), shares));
    // And on some of them, while others wait.
    let some = [(1, vec![1; 3]), (2, vec![1; 5]), (3, vec![2, 0, 5, 1])];
    for (learners, shares) in all.chain(some) {
        let blocks = AtomicUsize::new(0);
        let run = |epochs: usize| {
            let job = job(epochs, learners);
            counted(&shares, |comm| {
                let data = Data::open(comm, &job).unwrap();
                let trained = train(comm, &job, data, &mut Report::new(None), None).unwrap();
                blocks.store(trained.annotator.experts.layouts.len(), Relaxed);
            })
        };
        let found = run(2).into_iter().zip(run(1)).map(|(two, one)| Moved {
            sent: two.sent - one.sent,
            received: two.received - one.received,
            calls: two.calls - one.calls,
        });
        let [of_groups, of_blocks] = [groups.len(), blocks.load(Relaxed)]
            .map(|blocks| Owners::in_shares(blocks, &shares[..learners], 0));
        check("pretraining", &shares, found.collect(), |rank| {
            let own = if rank < learners { of_groups.run(rank) } else { 0..0 };
            let rows = row_blocks.run(groups.run(own));
            let epoch = Pretraining {
                ranks: shares.len(),
                steps: ROWS.div_ceil(BATCH),
                rows: Share { own: rows.len(), all: ROWS },
                labels: Share { own: label_count(rows), all: label_count(0..ROWS) },
                width: WIDTH,
                shared: (WIDTH + 1) * WIDTH,
                groups: &of_groups,
                blocks: &of_blocks,
            };
            pretraining(&epoch, rank)
        });
    }
}

/// The same of the expert step on grids.
#[test]
fn an_epoch_of_the_expert_step_on_a_grid_moves_rows_sums_and_weights() {
    const BATCH: usize = 512;
    const SLICES: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let infos = shards(folder.path(), ROWS, 600, WIDTH);
    let mut labels = Labels::new();
    Dataset::new(infos).unwrap().reader().labels(0..ROWS, &mut labels).unwrap();
    let row_blocks = Blocks::even(ROWS, 256);
    let even = [
        (1, (1, 1), 0.0),
        (4, (1, 4), 0.9),
        (3, (1, 2), 0.0),
        (2, (2, 1), 0.9),
        (4, (2, 2), 0.0),
        (7, (3, 2), 0.9),
        (8, (4, 2), 0.0),
        (12, (12, 1), 0.9),
        (16, (5, 3), 0.0),
        (64, (12, 5), 0.9),
    ];
    let even = even.map(|(ranks, grid, averaging)| (vec![1; ranks], grid, averaging));
    let by_speed = [((2, 2), 0.0), ((4, 1), 0.9), ((3, 1), 0.9), ((2, 1), 0.0)];
    let by_speed = by_speed.map(|(grid, averaging)| (vec![1, 1, 4, 16], grid, averaging));
    for (shares, (rows, columns), averaging) in even.into_iter().chain(by_speed) {
        let job = |epochs: usize| {
            let text = format!(
                "[data]\ntrain = [\"{}/*.h5\"]\n[model]\nshared = [{{ dense = {WIDTH} }}]\n\
                 [pretrain]\nepochs = 0\n[experts]\nbatch = {BATCH}\ncount = 2\n\
                 epochs = {epochs}\nwindow = {}\nrow_slices = {SLICES}\nsolver = \"adam\"\n\
                 averaging = {averaging:?}\n[shared]\niterations = 1\n[rounds]\ncount = 1\n\
                 [run]\nthreads = 1\nclass_blocks = 7\ngrid = \"{rows}x{columns}\"\n",
                folder.path().display(),
                2 * BATCH
            );
            Job::parse(&text, "job", &[]).unwrap()
        };
        let seed = job(1).run.seed;
        let layouts = Mutex::new(Vec::new());
        let run = |epochs: usize| {
            let job = job(epochs);
            counted(&shares, |comm| {
                let data = Data::open(comm, &job).unwrap();
                let trained = train(comm, &job, data, &mut Report::new(None), None).unwrap();
                layouts.lock().unwrap().clone_from(&trained.annotator.experts.layouts);
            })
        };
        let found = run(2).into_iter().zip(run(1)).map(|(two, one)| Moved {
            sent: two.sent - one.sent,
            received: two.received - one.received,
            calls: two.calls - one.calls,
        });
        let (found, layouts) = (found.collect(), layouts.into_inner().unwrap());
        let parameters: Vec<usize> = layouts.iter().map(Layout::parameters).collect();
        let panels = layouts.iter().map(|layout| layout.panels).max().unwrap();
        // The second epoch of the first round.
        let order = Permutation::new(seed, Purpose::RowOrder, 1 << 20 | 1, ROWS);
        let sizes = |rows: &mut dyn Iterator<Item = usize>| {
            rows.fold([0; 3], |[count, numbers, all], row| {
                [count + 1, numbers + WIDTH, all + labels.row(row).len()]
            })
        };
        check(&format!("{rows} x {columns}"), &shares, found, |rank| {
            let dealt = (&parameters[..], &shares[..]);
            let grid = &Grid::by_speed((rows, columns), SLICES, dealt, rank);
            let Columns { of_column, owners } = grid.deal(&parameters, &shares);
            let most = of_column.runs().iter().map(Range::len).max().unwrap();
            let blocks = layouts[of_column.own()].iter().map(|layout| {
                let parts = Part::all(layout, parts(most, panels));
                (parts.iter().map(|part| part.numbers(layout)).collect(), 16 * layout.groups.len())
            });
            let own = grid.slices().own();
            let taken = (0..ROWS).step_by(BATCH).flat_map(|first| {
                let all = BATCH.min(ROWS - first);
                first + own.start * all / SLICES..first + own.end * all / SLICES
            });
            let taken = sizes(&mut taken.map(|position| order.at(position)));
            let home = row_blocks.run(Owners::in_shares(256, &shares, 0).run(rank));
            experts(&ExpertEpoch {
                grid,
                owners: &owners,
                windows: ROWS.div_ceil(2 * BATCH),
                batches: ROWS.div_ceil(BATCH),
                given: sizes(&mut home.into_iter()),
                taken: grid.own().map(|_| taken),
                blocks: &blocks.collect::<Vec<_>>(),
                averaging: averaging > 0.0,
            })
        });
    }
}
