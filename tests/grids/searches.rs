//! What ranks of a column give each other at the end of a pass over all rows: each class's home
//! gets the sums of all slices along the tree, all ranks get all points and words, owners get the
//! states of whole blocks; and what travels is what cost/ says.

use std::ops::Range;

use reelscale::Comm;
use reelscale::internals::comm::run_threads;
use reelscale::internals::cost::searches::searches;
use reelscale::internals::cost::traffic::Moved;
use reelscale::internals::flow::column::Classes;
use reelscale::internals::flow::grid::Lanes;
use reelscale::internals::model::Layout;
use reelscale::internals::model::experts::layouts;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::partition::Grid;
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::internals::tree::{Node, Partials, sum};

/// Gradient and losses of a slice of a block: numbers whose sums hang on their order.
fn leaf(layout: &Layout, block: usize, slice: usize) -> (Vec<f32>, Vec<f64>) {
    let mut draws = Stream::new(7, Purpose::PlantedRows, (block << 20 | slice) as u64);
    let gradient = (0..layout.parameters()).map(|_| draws.uniform() - 0.3).collect();
    (gradient, (0..16 * layout.groups.len()).map(|_| f64::from(draws.uniform()) / 3.0).collect())
}

fn plus(left: (Vec<f32>, Vec<f64>), right: (Vec<f32>, Vec<f64>)) -> (Vec<f32>, Vec<f64>) {
    let gradient = left.0.iter().zip(right.0).map(|(left, right)| left + right).collect();
    (gradient, left.1.iter().zip(right.1).map(|(left, right)| left + right).collect())
}

fn moved(of: &[&Comm]) -> Moved {
    let count = |comm: &&Comm| {
        let traffic = comm.traffic();
        Moved {
            sent: traffic.bytes_sent as usize,
            received: traffic.bytes_received as usize,
            calls: traffic.messages as usize,
        }
    };
    of.iter().map(count).sum()
}

/// The end of a pass on one of a column's ranks.
fn ends(comm: &Comm, slices: usize, layouts: &[Layout]) {
    let (ranks, rank) = (comm.size(), comm.rank());
    let grid = Grid::new((ranks, 1), slices, ranks, rank);
    let lanes = Lanes::new(comm, &grid);
    let lanes = &**lanes.column().expect("a column");
    let classes = Classes::new(grid.slices(), layouts);
    for (block, layout) in layouts.iter().enumerate() {
        let mut nodes = Partials::default();
        for slice in grid.slices().own() {
            nodes.push(Node::leaf(slice), leaf(layout, block, slice), plus);
        }
        let before = moved(&[&lanes.sums, &lanes.weights]);
        let found = classes.sums(lanes, block, Some(nodes.into_sums().collect()));
        let (gradient, losses) =
            sum((0..slices).map(|slice| leaf(layout, block, slice)), plus).expect("a slice");
        let own = classes.own(block);
        let values: Vec<u64> = found.iter().map(|class| class.0.to_bits()).collect();
        let expected = losses[own.clone()].iter().map(|loss| loss.to_bits());
        assert!(values.into_iter().eq(expected), "losses of {own:?}");
        let points: Vec<Vec<f32>> = found.into_iter().map(|class| class.1).collect();
        assert_eq!(points, classes.points(block, &gradient), "gradients of {own:?}");
        let told = own.clone().map(|class| (losses[class], class % 3 == 0));
        let told = classes.tell(lanes, block, &told.collect::<Vec<_>>());
        let all = (0..layout.classes.len()).map(|class| (losses[class], class % 3 == 0));
        assert_eq!(told, all.collect::<Vec<_>>());
        let all = classes.gather(lanes, block, points);
        let after = moved(&[&lanes.sums, &lanes.weights]);
        // What lies in no class stays as it was.
        let (mut put, mut expected) = (vec![9.0; gradient.len()], vec![9.0; gradient.len()]);
        classes.put(block, &all, &mut put);
        let places = (0..layout.classes.len()).flat_map(|class| layout.places_of(class).0);
        places.for_each(|place| expected[place] = gradient[place]);
        assert_eq!(put, expected);
        let of_class = |class: usize| layout.places_of(class).0.len();
        let numbers: Vec<usize> = (0..layout.classes.len()).map(of_class).collect();
        let expected = before + searches(&numbers, grid.slices());
        assert_eq!(after, expected, "{ranks} ranks, {slices} slices");
    }
    // Owners of uneven runs of blocks, some of none.
    let start = |rank: usize| rank * layouts.len() / ranks;
    let owners: Vec<Range<usize>> = (0..ranks).map(|rank| start(rank)..start(rank + 1)).collect();
    let state = |block: usize, class: usize| format!("class {class} of block {block}");
    let homes: Vec<Vec<String>> = (0..layouts.len())
        .map(|block| classes.own(block).map(|class| state(block, class)).collect())
        .collect();
    let whole = classes.collect(lanes, &owners, &homes);
    let expected: Vec<Vec<String>> = owners[rank]
        .clone()
        .map(|block| (0..layouts[block].classes.len()).map(|class| state(block, class)).collect())
        .collect();
    assert_eq!(whole, expected);
    assert_eq!(classes.restore(lanes, &owners, whole), homes);
}

#[test]
fn classes_take_the_sums_of_all_slices_home() {
    let counts: Vec<usize> = (0..37).map(|class| 1 + class % 3).collect();
    for (ranks, slices) in [(2, 2), (2, 5), (3, 4), (4, 12), (7, 9), (12, 12)] {
        for blocks in [1, 3] {
            let layouts = layouts(&counts, Dummy::Learned, 11, blocks);
            run_threads(ranks, |comm| {
                ends(comm, slices, &layouts);
                Ok(())
            })
            .unwrap();
        }
    }
    // Fewer classes than ranks.
    let layouts = layouts(&[2; 3], Dummy::None, 5, 1);
    run_threads(5, |comm| {
        ends(comm, 5, &layouts);
        Ok(())
    })
    .unwrap();
}
