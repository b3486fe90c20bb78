//! A model that is damaged, hostile or replaced while it is read is refused (exit 6), never
//! another one in silence.

mod common;

#[path = "common/allocations.rs"]
mod allocations;
#[path = "models/hostile_files.rs"]
mod hostile_files;
#[path = "common/models.rs"]
mod models;
#[path = "common/mutations.rs"]
mod mutations;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use common::{copy, reelscale, refit_sums};
use models::{model, outcome, refused_or_same, same_numbers, saved, shapes, without_sums};
use reelscale::internals::artifact::content_hash;
use reelscale::{Comm, Exit, Result, load, run_threads, save};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;

#[test]
fn models_come_back_on_any_ranks() {
    let folder = tempfile::tempdir().unwrap();
    for (number, shape) in shapes().iter().enumerate() {
        let path = folder.path().join(number.to_string());
        for (writers, readers) in [(1, 3), (3, 2), (4, 1)] {
            let _ = fs::remove_dir_all(&path);
            run_threads(writers, |comm| save(comm, &path, &model(comm, shape, 5))).unwrap();
            let found =
                run_threads(readers, |comm| Ok(load(comm, &path)? == model(comm, shape, 5)));
            assert!(found.unwrap().iter().all(|same| *same), "{shape:?}");
        }
        let checked = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(&path)
            .output();
        assert!(checked.unwrap().status.success(), "sha256sum agrees");
    }
}

/// A file that is missing, added, cut, of another model, or a link is named.
#[test]
fn what_is_wrong_with_a_directory_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let shape = &shapes()[0];
    saved(&path("one"), shape, 1);
    saved(&path("other"), shape, 2);
    let refused = |file: &str, what: &str| {
        for ranks in [1, 3] {
            let error = run_threads(ranks, |comm| load(comm, &path("bad"))).unwrap_err();
            assert_eq!(error.exit, Exit::RunDirectory, "{what}: {}", error.text);
            assert!(error.text.contains(file), "{what} {file}: {}", error.text);
        }
    };
    let names = ["SHA256SUMS", "manifest.json", "shared.h5", "experts-00000.h5"];
    for name in names {
        let again = || {
            copy(&path("one"), &path("bad"));
            path("bad").join(name)
        };
        let file = again();
        fs::remove_file(&file).unwrap();
        refused(name, "missing");
        symlink(path("one").join(name), &file).unwrap();
        refused(name, "a link to the very same file");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        refused(name, "a directory");
        let file = again();
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        refused(if name == "SHA256SUMS" { "SUMS" } else { name }, "cut");
        fs::write(&file, []).unwrap();
        refused(name, "empty");
        let file = again();
        fs::copy(path("other").join(name), &file).unwrap();
        // The list of another model is right, and everything else wrong.
        refused(if name == "SHA256SUMS" { "manifest.json" } else { name }, "of another model");
    }
    for added in ["notes.txt", ".hidden", "experts-00001.h5"] {
        copy(&path("one"), &path("bad"));
        fs::write(path("bad").join(added), "x").unwrap();
        refused(added, "added");
    }
    // The directory itself may be a link.
    symlink(path("one"), path("link")).unwrap();
    assert!(load(&Comm::serial(), &path("link")).is_ok());
    fs::remove_dir_all(path("bad")).unwrap();
    refused("bad", "nothing there");
    fs::write(path("bad"), "x").unwrap();
    refused("bad", "a file");
}

/// Models of versions before SHA256SUMS load, with a warning; their files are still proven.
#[test]
fn a_model_without_sums_loads_with_a_warning() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    saved(&path, &shapes()[0], 1);
    let inspect = |more: &str| reelscale(&format!("inspect {more}")).path(&path);
    let hash = inspect("--hash").stdout();
    assert!(inspect("").stdout().contains("SHA256SUMS, all files as it says"));
    without_sums(&path);
    assert!(inspect("").stdout().contains("checksums  none"));
    for ranks in [1, 3] {
        let output = inspect("--hash").ranks(ranks).output();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout), hash, "{printed}");
        assert_eq!(printed.matches("no SHA256SUMS").count(), 1, "{printed}");
    }
    let file = path.join("shared.h5");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(inspect("").fails_with(6).contains("shared.h5"));
}

/// Every field of the manifest, changed to anything: exit 6 or the same numbers, also where
/// SHA256SUMS is made right again, and where there is none.
#[test]
fn every_field_of_a_manifest_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bad) = (folder.path().join("model"), folder.path().join("bad"));
    for (number, shape) in shapes().iter().enumerate() {
        let _ = fs::remove_dir_all(&path);
        let expected = saved(&path, shape, 1);
        let manifest: Value =
            serde_json::from_slice(&fs::read(path.join("manifest.json")).unwrap()).unwrap();
        let (mut count, mut refused) = (0, 0);
        let all = mutations::mutations(&manifest);
        // What the sums find needs one shape.
        let ways = ["made right again", "as they were", "none"];
        for sums in &ways[..if number == 0 { 3 } else { 1 }] {
            let sums = *sums;
            copy(&path, &bad);
            if sums == "none" {
                fs::remove_file(bad.join("SHA256SUMS")).unwrap();
            }
            for (place, changed) in &all {
                let mut changed = changed.clone();
                if sums == "none" && changed["version"] == 2 {
                    changed["version"] = 1.into();
                }
                let text = serde_json::to_string(&changed).unwrap();
                fs::write(bad.join("manifest.json"), text).unwrap();
                if sums == "made right again" {
                    refit_sums(&bad);
                }
                let what = || format!("shape {number}, sums {sums}, {place}");
                let (found, largest) =
                    allocations::largest(|| refused_or_same(&bad, &expected, &what));
                assert!(largest < ALLOCATION_MAX, "{}: {largest} bytes at once", what());
                assert!(found || sums != "as they were", "{}: not found", what());
                refused += usize::from(found);
                count += 1;
            }
        }
        println!("shape {number}: {count} changes, {refused} refused, the others without effect");
    }
}

/// No model here has a file of more than 20 KB; buffers are of 1 MiB.
const ALLOCATION_MAX: usize = 4 << 20;

/// A manifest of which the content hash was made right again, too, is another model's: it is used,
/// or refused for what it says or for the rows that it doesn't take, in one line.
#[test]
fn other_models_are_used_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bad) = (folder.path().join("model"), folder.path().join("bad"));
    common::shards(&folder.path().join("data"), 40, models::CLASSES, models::FEATURES);
    saved(&path, &shapes()[0], 1);
    copy(&path, &bad);
    let read = |path: &Path| -> Value {
        serde_json::from_slice(&fs::read(path.join("manifest.json")).unwrap()).unwrap()
    };
    let evaluate = || {
        let command = reelscale("evaluate --threads 1 --model").path(&bad).arg("--data");
        let output = command.path(&folder.path().join("data/a.h5")).output();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mut codes = BTreeMap::new();
    for (place, mut changed) in mutations::mutations(&read(&path)) {
        let refit = |changed: &Value| {
            let text = serde_json::to_string(changed).unwrap();
            fs::write(bad.join("manifest.json"), text).unwrap();
            refit_sums(&bad);
        };
        refit(&changed);
        let Err(error) = load(&Comm::serial(), &bad) else { continue };
        let Some((_, rest)) = error.text.split_once("found the content ") else { continue };
        changed["content_hash"] = rest[..64].into();
        refit(&changed);
        let (code, text) = evaluate();
        assert!([Some(0), Some(4), Some(7)].contains(&code), "{place}: {code:?} {text}");
        *codes.entry(code.unwrap()).or_insert(0) += 1;
    }
    println!("exit codes {codes:?}");
    assert!(codes[&0] > 5 && codes[&4] > 5, "{codes:?}");
}

/// Weights that are finite but so large that scores are none.
#[test]
fn scores_that_are_no_numbers_are_told() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, data) = (folder.path().join("model"), folder.path().join("data"));
    common::shards(&data, 40, models::CLASSES, models::FEATURES);
    let mut large = model(&Comm::serial(), &shapes()[0], 1);
    large.shared.iter_mut().for_each(|weight| *weight *= 1e38);
    large.experts.parameters.iter_mut().for_each(|block| {
        Arc::make_mut(block).iter_mut().for_each(|weight| *weight = weight.signum() * 3e38);
    });
    save(&Comm::serial(), &path, &large).unwrap();
    let evaluate = reelscale("evaluate --model").path(&path).arg("--data").path(&data.join("a.h5"));
    for ranks in [1, 2] {
        assert!(evaluate.clone().ranks(ranks).fails_with(7).contains("found NaN or infinity"));
    }
}

/// Two models that swap places all the time, by renaming and by being written to: what loads is
/// one of them.
#[test]
fn a_model_that_is_replaced_is_one_or_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let shape = &shapes()[0];
    let both: Vec<String> = [("a", 1), ("b", 2)]
        .map(|(name, seed)| content_hash(&Comm::serial(), &saved(&path(name), shape, seed)))
        .into();
    for renamed in [true, false] {
        copy(&path("a"), &path("here"));
        copy(&path("b"), &path("there"));
        let done = AtomicBool::new(false);
        let swap = || {
            for round in 0.. {
                if done.load(Relaxed) {
                    break;
                }
                let from = path(if round % 2 == 0 { "b" } else { "a" });
                match renamed {
                    true => {
                        let (here, there) = (path("here"), path("there"));
                        renameat_with(CWD, &here, CWD, &there, RenameFlags::EXCHANGE).unwrap();
                    }
                    false => overwrite(&from, &path("here")),
                }
                std::thread::sleep(Duration::from_micros(if renamed { 50 } else { 5000 }));
            }
        };
        let load = |ranks| -> Result<String> {
            let found = run_threads(ranks, |comm| {
                let model = load(comm, &path("here"))?;
                Ok(content_hash(comm, &model))
            })?;
            assert!(found.iter().all(|hash| *hash == found[0]), "ranks differ");
            Ok(found[0].clone())
        };
        let (mut seen, mut errors) = (BTreeSet::new(), 0);
        std::thread::scope(|scope| {
            scope.spawn(swap);
            for turn in 0..300 {
                let ranks = 1 + turn % 3;
                match load(ranks) {
                    Ok(hash) => {
                        seen.insert(hash);
                    }
                    Err(error) => {
                        assert_eq!(error.exit, Exit::RunDirectory, "{}", error.text);
                        // One rank has opened one directory, whatever it is called now.
                        assert!(!renamed || ranks > 1, "{}", error.text);
                        errors += 1;
                    }
                }
            }
            done.store(true, Relaxed);
        });
        println!("renamed {renamed}: {} models seen, {errors} errors", seen.len());
        assert!(seen.iter().all(|hash| both.contains(hash)), "a mixture");
        assert!(!seen.is_empty() && (!renamed || seen.len() == 2), "they are seen");
    }
}

/// Writes the files of one folder over those of another, in place.
fn overwrite(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The same model is left in place; a damaged one isn't taken for it.
#[test]
fn saving_again_leaves_what_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let (serial, expected) = (Comm::serial(), saved(&folder.path().join("model"), &shapes()[0], 1));
    save(&serial, &path, &expected).unwrap();
    fs::remove_file(path.join("shared.h5")).unwrap();
    let error = save(&serial, &path, &expected).unwrap_err();
    assert_eq!(error.exit, Exit::RunDirectory, "{}", error.text);
    let error = outcome(&path, &|| "damaged".into()).unwrap_err();
    assert!(error.text.contains("shared.h5: missing"), "{}", error.text);
    fs::remove_dir_all(&path).unwrap();
    save(&serial, &path, &expected).unwrap();
    assert!(same_numbers(&load(&serial, &path).unwrap(), &expected));
}
