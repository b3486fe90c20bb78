//! Standardised features: mean 0 and standard deviation 1 over the training rows, of videos and of
//! frames, the same on any number of ranks.

mod common;

use common::shards;
use reelscale::internals::data::{Dataset, ShardInfo};
use reelscale::internals::flow::home_rows::{HomeRows, read_rows};
use reelscale::internals::kernel::matrix::Matrix;
use reelscale::internals::kernel::standardise::standardise;
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::features::Features;
use reelscale::internals::model::spec::Standard;
use reelscale::run_threads;

/// All numbers of a dataset, a row each, or a frame each.
fn numbers(dataset: &Dataset) -> Matrix {
    let read = read_rows(&mut dataset.reader(), 0..dataset.rows()).unwrap();
    let (features, _): (Features, Labels) = read;
    match features {
        Features::Videos(videos) => videos,
        Features::Frames(frames) => frames.numbers(Instructions::plain(), &(0..frames.rows())),
    }
}

fn check(infos: Vec<ShardInfo>) {
    let dataset = Dataset::new(infos).unwrap();
    let found: Vec<Standard> = [1, 3, 8]
        .into_iter()
        .map(|ranks| {
            let of_ranks =
                run_threads(ranks, |comm| HomeRows::new(comm, dataset.clone(), 11).standard(comm));
            let of_ranks = of_ranks.unwrap();
            assert!(of_ranks.iter().all(|one| *one == of_ranks[0]));
            of_ranks[0].clone()
        })
        .collect();
    assert!(found.iter().all(|one| *one == found[0]), "ranks differ");
    let mut numbers = numbers(&dataset);
    standardise(&mut numbers, &found[0].means, &found[0].scales);
    let count = numbers.rows() as f64;
    for column in 0..numbers.width() {
        let values: Vec<f64> =
            (0..numbers.rows()).map(|row| f64::from(numbers.row(row)[column])).collect();
        let mean = values.iter().sum::<f64>() / count;
        let square = values.iter().map(|x| x * x).sum::<f64>() / count;
        assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-3, "{column}: {mean} {square}");
    }
}

#[test]
fn videos_and_frames_are_standardised_over_all_ranks() {
    let folder = tempfile::tempdir().unwrap();
    check(shards(&folder.path().join("videos"), 700, 9, 13));
    let frames = folder.path().join("frames");
    let arguments = "synthesize --rows 90 --classes 9 --features 13 --frames 20 --seed 3 --output";
    common::reelscale(arguments).path(&frames).stdout();
    let paths = std::fs::read_dir(&frames).unwrap().map(|entry| entry.unwrap().path());
    check(paths.map(|path| ShardInfo::read(&path).unwrap()).collect());
}

/// A feature that never varies is left out instead of blown up.
#[test]
fn a_constant_feature_becomes_zero() {
    let standard = Standard::from_sums(4.0, &[12.0, 2.0], &[36.0, 2.0]);
    assert_eq!(standard.means, [3.0, 0.5]);
    assert_eq!(standard.scales, [0.0, 2.0]);
    let mut matrix = Matrix::from_rows(&[3.0, 1.0, 3.0, 0.0], 2);
    standardise(&mut matrix, &standard.means, &standard.scales);
    assert_eq!((&matrix.row(0)[..2], &matrix.row(1)[..2]), (&[0.0, 1.0][..], &[0.0, -1.0][..]));
    assert_eq!(Standard::from_sums(0.0, &[0.0], &[0.0]).scales, [0.0]);
}
