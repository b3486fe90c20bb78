//! Rows are scored on the device whether it has room for all of them or they come up again for each
//! class block, in memory or in a file, at once or in waves.

use reelscale::internals::data::Dataset;
use reelscale::internals::device::gpu::Gpu;
use reelscale::internals::device::gpu::queue::Queue;
use reelscale::internals::flow::home_rows::HomeRows;
use reelscale::internals::flow::own_rows::Room;
use reelscale::internals::inference::scores::evaluate;
use reelscale::internals::job::Job;
use reelscale::internals::report::Report;
use reelscale::internals::train::{Data, train};
use reelscale::{Comm, Host};

use super::common::shards;
use super::gpu::{Watched, missing};

const ROWS: usize = 1000;
const FEATURES: usize = 400;

#[test]
fn rows_are_scored_alike_where_they_stay_and_where_they_come_up_again() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let infos = shards(folder.path(), ROWS, 64, FEATURES);
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\n[model]\nshared = []\n[pretrain]\nepochs = 1\n\
         [experts]\nepochs = 1\n[rounds]\ncount = 1\n[run]\nclass_blocks = 4\n",
        folder.path().display()
    );
    let (comm, job) = (Comm::serial(), Job::parse(&text, "job", &[]).unwrap());
    let data = Data::open(&comm, &job).unwrap();
    let annotator = train(&comm, &job, data, &mut Report::new(None), None).unwrap().annotator;
    let epsilon = job.model.epsilon;
    // What the rows take on a device: row by row and turned.
    let bytes = ROWS * 2 * FEATURES * size_of::<f32>();
    for (bytes_max, scores_max) in [(usize::MAX, usize::MAX), (usize::MAX, 1), (0, 1)] {
        let rows = || {
            let rows = HomeRows::new(&comm, Dataset::new(infos.clone()).unwrap(), 64);
            let scratch = folder.path().to_path_buf();
            *rows.room.borrow_mut() = Room { bytes_max, scores_max, scratch };
            rows
        };
        let mut host = Host::detected(1, epsilon);
        let expected = evaluate(&comm, &annotator, &rows(), &mut host).unwrap();
        assert!(expected.map_full.unwrap() > 0.0);
        let mut turned = Vec::new();
        for limit in [4 * bytes, bytes * 3 / 2] {
            let launcher = Watched::new();
            let launches = launcher.launches.clone();
            let queue = Queue::new(Box::new(launcher), limit);
            let gpu = Gpu::new(Host::detected(1, epsilon), queue, epsilon);
            let mut gpu = gpu.in_runs_of(300);
            assert_eq!(evaluate(&comm, &annotator, &rows(), &mut gpu).unwrap(), expected);
            assert_eq!(gpu.queue().held().0, 0, "all memory was given back");
            turned.push(launches.get());
        }
        assert!(turned[0] < turned[1], "launches where rows stay and where they don't: {turned:?}");
    }
}
