//! Every single flipped bit of a model and of a checkpoint is found, or changes no number: a share
//! of them here, all of them with `make test-flips` (figures in docs/trust.md).

mod common;

#[path = "common/flips.rs"]
mod flips;
#[path = "common/models.rs"]
mod models;
#[path = "common/older_runs.rs"]
mod older_runs;

use std::fs;
use std::path::{Path, PathBuf};

use flips::{Count, Seen, files, share};
use models::{refit_manifest, refused_or_same, saved, shapes, without_sums};
use older_runs::Copy;
use reelscale::internals::checkpoint::{Loaded, Store};
use reelscale::internals::disk::Disk;
use reelscale::{Comm, Exit};

#[test]
fn flips_of_a_model_are_found() {
    let folder = tempfile::tempdir().unwrap();
    for (number, shape) in shapes().iter().enumerate() {
        let path = folder.path().join(number.to_string());
        let model = saved(&path, shape, 1);
        let check = |what: &dyn Fn() -> String| match refused_or_same(&path, &model, what) {
            true => Seen::Found,
            false => Seen::Harmless,
        };
        let all = files(&path);
        let count = flips::flips(&all, share(173), check);
        println!("model {number}: {count:?}");
        assert_eq!(count.harmless, 0);
        // What its manifest proves by itself: all but who wrote it, how classes are cut, and which
        // of two texts of one number stands there.
        without_sums(&path);
        let manifest = fs::read(path.join("manifest.json")).unwrap();
        let count = flips::flips(&files(&path), share(173), |what| {
            let seen = check(what);
            let now = fs::read(path.join("manifest.json")).unwrap();
            let at = now.iter().zip(&manifest).position(|(now, before)| now != before);
            if seen == Seen::Harmless {
                let at = at.expect("other files have digests");
                let line = manifest[..at].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
                let line = String::from_utf8_lossy(&manifest[line..]).trim_start().to_string();
                let known = ["\"creator\"", "\"class_blocks\""];
                let known = known.iter().any(|name| line.starts_with(name));
                assert!(known || line.starts_with(|c: char| c.is_ascii_digit()), "{}", what());
            }
            seen
        });
        println!("model {number} without SHA256SUMS: {count:?}");
    }
}

/// HDF5 files whose digests were made right again: what is left to find such a flip is the checksum
/// of each chunk and of each piece of HDF5's metadata, and the content hash.
#[test]
fn flips_under_right_digests_are_found_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let model = saved(&path, &shapes()[0], 1);
    let hdf5: Vec<PathBuf> = files(&path)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "h5"))
        .collect();
    let count = flips::flips(&hdf5, share(211), |what| {
        refit_manifest(&path);
        match refused_or_same(&path, &model, what) {
            true => Seen::Found,
            false => Seen::Harmless,
        }
    });
    println!("model, digests made right: {count:?}");
    assert!(count.found > 0, "{count:?}");
}

/// The newest checkpoint in a folder, whose only one it is.
fn load(folder: &Path) -> Result<Loaded, reelscale::Error> {
    let loaded = Store::new(folder.to_path_buf(), Disk::default()).load(&Comm::serial());
    loaded.map(|loaded| loaded.expect("there is one"))
}

#[test]
fn flips_of_a_checkpoint_are_found() {
    let copy = Copy::new();
    let mut sum = Count::default();
    // In pretraining; in the middle of an expert step, with the best epoch and the best model.
    for run in ["begun", "adagrad"] {
        let folder = copy.path("runs").join(run).join("checkpoints");
        let newest = format!("{:08}", load(&folder).unwrap().number);
        for entry in files(&folder) {
            if !entry.ends_with(&newest) {
                fs::remove_dir_all(entry).unwrap();
            }
        }
        let count = flips::flips(&files(&folder.join(newest)), share(307), |what| {
            // None of them is in a byte that isn't proven.
            match load(&folder) {
                Ok(_) => panic!("{}: not found", what()),
                Err(error) => {
                    assert_eq!(error.exit, Exit::RunDirectory, "{}: {}", what(), error.text);
                    Seen::Found
                }
            }
        });
        load(&folder).unwrap();
        println!("checkpoint {run}: {count:?}");
        sum = Count { flips: sum.flips + count.flips, found: sum.found + count.found, ..sum };
    }
    assert!(sum.flips > 1000 && sum.found == sum.flips, "{sum:?}");
}
