//! Where checkpoints lie: a damaged one is never used; a crash while one is written leaves it or
//! the one before.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use reelscale::internals::checkpoint::{Contents, Family, Store};
use reelscale::internals::disk::{Disk, FaultKind};
use reelscale::internals::human::hex;
use reelscale::internals::packed::{put, put_numbers, take_numbers};
use reelscale::{Comm, Result, run_threads};
use serde_json::json;
use sha2::{Digest, Sha256};

/// A checkpoint of `number`s, small.
fn save(store: &Store, comm: &Comm, number: u32) -> Result<()> {
    let common = |to: &mut dyn Write| put(to, &number);
    let events = |to: &mut dyn Write| writeln!(to, "{{\"number\":{number}}}");
    let block = |_: usize, to: &mut dyn Write| put_numbers(to, &[number; 3]);
    let owners = comm.deal(3);
    let families = vec![Family { name: "model", owners: &owners, put: Box::new(block) }];
    let about = json!({ "number": number });
    store.save(comm, &Contents { about, common: &common, events: &events, families })
}

/// A place for checkpoints, which goes with the first of these.
fn empty_store() -> (tempfile::TempDir, PathBuf, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoints");
    let store = Store::new(path.clone(), Disk::default());
    (folder, path, store)
}

/// What the newest checkpoint that is whole holds, if there is any. Damaged ones are put back where
/// they were.
fn load(folder: &Path, ranks: usize) -> Result<Option<u32>> {
    let found = load_once(folder, ranks);
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "damaged") {
            fs::rename(&entry, entry.with_extension("")).unwrap();
        }
    }
    found
}

fn load_once(folder: &Path, ranks: usize) -> Result<Option<u32>> {
    let found = run_threads(ranks, |comm| {
        let Some(mut loaded) = Store::new(folder.into(), Disk::default()).load(comm)? else {
            return Ok(None);
        };
        let number: u32 = loaded.common.take()?;
        assert_eq!(loaded.about["number"], number);
        assert_eq!(loaded.events, format!("{{\"number\":{number}}}\n").as_bytes());
        let blocks =
            loaded.blocks.each("model", &comm.deal(3), |_, from| take_numbers::<Vec<u32>>(from))?;
        assert!(blocks.iter().all(|block| *block == [number; 3]));
        Ok(Some(number))
    })?;
    assert!(found.iter().all(|one| *one == found[0]));
    Ok(found[0])
}

/// A damaged checkpoint that was passed over doesn't count as the one before the next.
#[test]
fn the_one_before_is_a_whole_one() {
    let (folder, path, store) = empty_store();
    let damage = || fs::write(newest_files(&path).last().unwrap(), "x").unwrap();
    save(&store, &Comm::serial(), 1).unwrap();
    save(&store, &Comm::serial(), 2).unwrap();
    damage();
    assert_eq!(load_once(&path, 2).unwrap(), Some(1));
    assert!(path.join("00000002.damaged").exists(), "nothing is thrown away");
    save(&store, &Comm::serial(), 3).unwrap();
    fs::rename(path.join("00000002.damaged"), folder.path().join("elsewhere")).unwrap();
    damage();
    assert_eq!(load_once(&path, 1).unwrap(), Some(1));
}

/// Damaged checkpoints of one number are put aside one after the other, and none of them counts.
#[test]
fn several_damaged_ones_of_one_number_are_put_aside() {
    let (_folder, path, store) = empty_store();
    save(&store, &Comm::serial(), 1).unwrap();
    for _ in 0..3 {
        save(&store, &Comm::serial(), 2).unwrap();
        fs::write(path.join("00000002/state.json"), "x").unwrap();
        assert!(store.load(&Comm::serial()).unwrap().is_some_and(|loaded| loaded.number == 1));
    }
    for name in ["damaged", "damaged.1", "damaged.2"] {
        assert!(path.join("00000002").with_extension(name).exists(), "{name}");
    }
    // One that can't be put aside stays, and the whole one before it does, too.
    let planted = path.join("00000002");
    fs::rename(planted.with_extension("damaged"), &planted).unwrap();
    save(&store, &Comm::serial(), 3).unwrap();
    assert!(path.join("00000001").exists() && planted.exists());
    store.remove_all();
    assert!(!path.exists(), "all of them are the program's own");
}

/// Every write, sync and rename of one checkpoint fails once, by itself or with all that follow.
#[test]
fn a_crash_anywhere_leaves_this_checkpoint_or_the_one_before() {
    for kind in [FaultKind::Crash, FaultKind::Once] {
        let mut calls = 0;
        loop {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("checkpoints");
            let comm = Comm::serial();
            save(&Store::new(path.clone(), Disk::default()), &comm, 1).unwrap();
            save(&Store::new(path.clone(), Disk::default()), &comm, 2).unwrap();
            let disk = Disk::failing_after(calls, kind);
            let store = Store::new(path.clone(), disk.clone());
            let outcome = save(&store, &comm, 3);
            let found = load(&path, 2).unwrap().expect("one is whole");
            match outcome {
                Ok(()) => assert_eq!(found, 3, "{kind:?} {calls}"),
                Err(_) => assert!(found == 2 || found == 3, "{kind:?} {calls}: {found}"),
            }
            if !disk.has_failed() {
                break;
            }
            if kind == FaultKind::Once {
                save(&store, &comm, 4).unwrap();
                assert_eq!(load(&path, 3).unwrap(), Some(4), "{calls}: the next one is written");
            }
            calls += 1;
        }
        println!("{kind:?}: {calls} calls");
        assert!(calls > 15, "{calls} calls can fail");
    }
}

/// The files of the newest checkpoint in `folder`.
fn newest_files(folder: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    let newest = folders.last().unwrap();
    let mut files: Vec<_> = fs::read_dir(newest).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_single_flipped_bit_is_found() {
    let (_folder, path, store) = empty_store();
    save(&store, &Comm::serial(), 1).unwrap();
    save(&store, &Comm::serial(), 2).unwrap();
    let mut flips = 0;
    for file in newest_files(&path) {
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&file, &bytes).unwrap();
                let found = load(&path, 1).unwrap();
                assert_eq!(found, Some(1), "{}: byte {at} bit {bit}", file.display());
                flips += 1;
            }
        }
        fs::write(&file, &whole).unwrap();
    }
    assert_eq!(load(&path, 1).unwrap(), Some(2), "undamaged again");
    println!("{flips} flips");
}

#[test]
fn missing_additional_cut_and_foreign_files_are_found() {
    let (folder, path, store) = empty_store();
    save(&store, &Comm::serial(), 1).unwrap();
    let before: Vec<(PathBuf, Vec<u8>)> =
        newest_files(&path).into_iter().map(|f| (f.clone(), fs::read(f).unwrap())).collect();
    save(&store, &Comm::serial(), 2).unwrap();
    let check = |what: &str| assert_eq!(load(&path, 2).unwrap(), Some(1), "{what}");
    for ((file, old), current) in before.iter().zip(newest_files(&path)) {
        assert_eq!(file.file_name(), current.file_name());
        let whole = fs::read(&current).unwrap();
        fs::remove_file(&current).unwrap();
        check("missing");
        fs::write(&current, &whole[..whole.len() - 1]).unwrap();
        check("cut");
        if *old != whole {
            fs::write(&current, old).unwrap();
            check("of another checkpoint");
        }
        fs::remove_file(&current).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &current).unwrap();
        check("a link");
        fs::remove_file(&current).unwrap();
        fs::write(&current, &whole).unwrap();
    }
    let newest = newest_files(&path)[0].parent().unwrap().to_path_buf();
    fs::write(newest.join("more.bin"), "x").unwrap();
    check("an additional file");
    fs::remove_file(newest.join("more.bin")).unwrap();
    let sums = newest.join("SHA256SUMS");
    let text = fs::read_to_string(&sums).unwrap();
    fs::write(&sums, text.replace("common.bin", "../common.bin")).unwrap();
    check("a name that leads elsewhere");
    fs::write(&sums, text).unwrap();
    assert_eq!(load(&path, 2).unwrap(), Some(2));
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&newest, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &newest).unwrap();
    check("a directory that is a link");
    fs::remove_file(&newest).unwrap();
    fs::rename(&elsewhere, &newest).unwrap();
    // Where none is whole the run doesn't begin anew in silence.
    fs::remove_file(newest.join("common.bin")).unwrap();
    fs::remove_file(&before[0].0).unwrap();
    let error = load(&path, 2).unwrap_err();
    assert_eq!(error.exit as i32, 6, "{}", error.text);
}

/// What a checkpoint of newer or unknown kind says.
#[test]
fn a_checkpoint_of_another_version_is_refused_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoints");
    let store = Store::new(path.clone(), Disk::default());
    (0..2).for_each(|number| save(&store, &Comm::serial(), number).unwrap());
    let state = newest_files(&path).into_iter().find(|file| file.ends_with("state.json")).unwrap();
    let text = fs::read_to_string(&state).unwrap().replace("\"version\": 2", "\"version\": 3");
    fs::write(&state, &text).unwrap();
    let sums = state.with_file_name("SHA256SUMS");
    let lines = fs::read_to_string(&sums).unwrap();
    let digest = hex(&Sha256::digest(text.as_bytes()));
    let new: Vec<String> = lines
        .lines()
        .map(|line| match line.ends_with("state.json") {
            true => format!("{digest}  state.json"),
            false => line.to_string(),
        })
        .collect();
    fs::write(&sums, new.join("\n") + "\n").unwrap();
    let error = load(&path, 1).unwrap_err();
    assert!(error.text.contains("version: found 3, this program reads 1 and 2"), "{}", error.text);
    assert_eq!(error.exit as i32, 6);
    // The one before it, which is whole, isn't taken instead, and nothing is put aside.
    assert!(state.exists());
}
