//! Numbers that overflow end a run with exit 7, naming step, layer or class, and row block; with
//! the same words on any number of ranks.

mod common;

use std::fs;
use std::path::Path;

use common::{reelscale, shards};
use reelscale::internals::data::{Kind, ShardHeader, ShardWriter};
use reelscale::internals::example::Values;
use reelscale::internals::synthetic::Planted;
use reelscale::{Data, Exit, Job, Report, run_threads, train};

const ROWS: u64 = 240;
/// A row whose features are all near the largest f32, and its row block of twelve.
const WILD: u64 = 167;
const BLOCK: usize = 8;

fn shard(folder: &Path, wild: bool) {
    let planted = Planted::new(1, 16, 12, 2);
    let (parts, source) = (planted.parts(), "test".to_string());
    let header = ShardHeader { parts, class_count: 12, kind: Kind::Video, source };
    let mut writer = ShardWriter::create(&folder.join("a.h5"), &header).unwrap();
    for row in 0..ROWS {
        let mut example = planted.example(row);
        if wild && row == WILD {
            example.values = Values::Video(vec![3e38; 16]);
        }
        writer.push(&example).unwrap();
    }
    writer.finish().unwrap();
}

fn error_of(folder: &Path, text: &str) -> String {
    let data = format!("[data]\ntrain = [\"{}/*.h5\"]\nnormalize = \"none\"\n", folder.display());
    let run = "[run]\nthreads = 1\nrow_blocks = 12\n";
    let job = Job::parse(&format!("{data}{text}{run}"), "job", &[]).unwrap();
    let found = [1, 3].map(|ranks| {
        let outcome = run_threads(ranks, |comm| {
            let data = Data::open(comm, &job)?;
            train(comm, &job, data, &mut Report::new(None), None).map(drop)
        });
        let error = outcome.expect_err(text);
        assert_eq!(error.exit, Exit::Numeric, "{error}");
        error.text
    });
    assert_eq!(found[0], found[1]);
    found[0].clone()
}

#[test]
fn a_feature_that_overflows_is_named_with_its_row_block_in_every_step() {
    let folder = tempfile::tempdir().unwrap();
    shard(folder.path(), true);
    let model =
        format!("[model]\nshared = [{{ dense = 8 }}{}]\n", ", { residual = true }".repeat(3));
    let text = error_of(folder.path(), &format!("{model}[pretrain]\nranks = 4096\nbatch = 100\n"));
    let expected = "pretrain, epoch 1, mini-batch ";
    assert!(text.starts_with(expected) && text.contains("of row blocks 8 to 11: found"), "{text}");
    for solver in ["adagrad", "lbfgs"] {
        let step = format!("[pretrain]\nepochs = 0\n[experts]\nsolver = {solver:?}\n");
        let text = error_of(folder.path(), &format!("{model}{step}"));
        let expected = format!("expert step, round 1: row {WILD}, row block {BLOCK}: activations:");
        assert!(text.starts_with(&expected), "{text}");
    }
}

/// Layers whose numbers are finite still can have activations that aren't: the program says so in
/// the same words on any ranks, with checkpoints in between and without.
#[test]
fn activations_that_overflow_are_named() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    shards(&folder.path().join("data"), 600, 40, 48);
    let deep = "{ dense = 64, activation = \"relu\" }, ".repeat(9);
    let text = format!(
        "[data]\ntrain = [\"{}/data/*.h5\"]\nvalidation_fraction = 0.2\n\
         [model]\nshared = [{deep}{{ gating = true }}]\n\
         [pretrain]\nranks = 4096\nepochs = 3\nbatch = 256\ndropout = 0.3\nlearning_rate = 1e6\n\
         [run]\nthreads = 1\nrow_blocks = 40\n",
        folder.path().display()
    );
    let job = folder.path().join("job.toml");
    fs::write(&job, text).unwrap();
    let train = |run| reelscale("train").path(&job).arg("--output").path(&folder.path().join(run));
    let often = train("often").ranks(2).arg("--set").arg("checkpoint.every=1");
    let expected = "pretrain, epoch 1, mini-batch 2: class 0, activations of row blocks 0 to 4: \
                    found NaN or infinity (loss ";
    for text in [often.fails_with(7), train("never").fails_with(7)] {
        assert!(text.contains(expected), "{text}");
    }
}
