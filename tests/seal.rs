//! Proofs of shards for users: `inspect` says what there is and checks it, `inspect --seal` makes
//! one and loses nothing, `--verify` checks all of them.

mod common;

#[path = "common/older_runs.rs"]
mod older_runs;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::pins::{Literals, Pin};
use common::reelscale;
use common::shards::{change, python, write};
use older_runs::{Copy, copy_folder};
use reelscale::Exit;
use reelscale::internals::data::{Kind, SealOutcome, ShardInfo, ShardReader, ShardWriter, seal};
use reelscale::internals::disk::{Disk, FaultKind};
use reelscale::internals::encoding::Encoding;

fn inspect(arguments: &str, path: &Path) -> String {
    reelscale(&format!("inspect {arguments}")).path(path).stdout()
}

/// The line of `inspect` that begins with `name`.
fn line(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))[11..].to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A run that began on shards of version 1 goes on, to the same weights, on sealed ones.
#[test]
fn sealing_changes_no_run() {
    if common::without_mpi() {
        return;
    }
    let (copy, mut literals) = (Copy::new(), Literals::read("older.txt"));
    let before = ["videos", "frames"].map(|name| inspect("--hash", &copy.path(name)));
    let sealed = copy.reelscale("inspect --seal videos frames/synthetic-00000.h5").stdout();
    assert_eq!(line(&sealed, "sealed"), "3 shards; 0 were sealed before, and whole");
    let whole = fs::read(copy.path("videos/synthetic-00000.h5")).unwrap();
    let again = copy.reelscale("inspect --seal videos/*.h5 frames").ranks(2).stdout();
    assert_eq!(line(&again, "sealed"), "0 shards; 3 were sealed before, and whole");
    assert!(fs::read(copy.path("videos/synthetic-00000.h5")).unwrap() == whole);
    assert_eq!(["videos", "frames"].map(|name| inspect("--hash", &copy.path(name))), before);
    assert_eq!(names(&copy.path("frames")), ["synthetic-00000.h5"], "nothing is left");
    for (run, job) in [("pretrain", "adam"), ("frames-shared", "frames")] {
        copy_folder(&copy.path("runs").join(run), &copy.path(run));
        let train = copy.reelscale(&format!("train {job}.toml --verify --output {run}")).output();
        let printed = String::from_utf8_lossy(&train.stderr);
        assert!(train.status.success() && !printed.contains("without proof"), "{printed}");
        assert!(printed.contains("in full"), "{printed}");
        literals.check(
            job,
            &format!("{run}, on sealed shards"),
            Pin::of_directory(&copy.path(run)),
        );
    }
}

#[test]
fn inspect_says_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.h5"));
    for name in ["own", "sums", "none", "some", "mask", "edge"] {
        write(&path(name), 0..5, Kind::Video);
    }
    let anew = |name: &str, options: &str| {
        format!(
            "x = f['{name}'][:]; del f['{name}']; d = f.create_dataset('{name}', data=x{options})"
        )
    };
    let all = ["features", "ids", "label_offsets", "labels"];
    let none: String = all.iter().map(|name| anew(name, "") + "\n").collect();
    let some = anew("ids", "") + "\n" + &anew("labels", ", chunks=True, compression=1");
    // A chunk that was written past the filters, and one at the edge that none is asked for.
    let mask = anew("features", ", chunks=(5, 700), fletcher32=True")
        + "; d.id.write_direct_chunk((0, 0), x.tobytes(), filter_mask=1)";
    let edge = "x = f['labels'][:]; del f['labels']; p = h5py.h5p.create(h5py.h5p.DATASET_CREATE)\n\
                p.set_chunk((4,)); p.set_fletcher32(); import ctypes\n\
                lib = [l.split()[-1] for l in open('/proc/self/maps') if 'libhdf5_serial.' in l]\n\
                ok = lib and ctypes.CDLL(lib[0]).H5Pset_chunk_opts(ctypes.c_int64(p.id), 2) == 0\n\
                s = h5py.h5s.create_simple(x.shape)\n\
                d = h5py.h5d.create(f.id, b'labels', h5py.h5t.STD_U32LE, s, p); d.write(s, s, x)\n\
                if not ok: f.attrs['source'] = 'no such option'";
    let changes = [("sums", ""), ("none", &none), ("some", &some), ("mask", &mask), ("edge", edge)];
    if !change(&changes.map(|(name, code)| (path(name), code))) {
        return;
    }
    let checksums = |name: &str| line(&inspect("", &path(name)), "checksums");
    let own = inspect("", &path("own"));
    assert_eq!(line(&own, "checksums"), "Fletcher-32 of every chunk");
    assert_eq!(line(&own, "proof"), "of all bytes");
    let digest = ShardInfo::read(&path("own")).unwrap().digest.unwrap();
    assert_eq!(line(&own, "content"), digest);
    assert_eq!(line(&inspect("", &path("none")), "content"), digest, "the content is the same");
    assert_eq!(checksums("sums"), "Fletcher-32 of every chunk");
    assert_eq!(checksums("none"), "none");
    assert_eq!(checksums("some"), "none of labels, ids, Fletcher-32 of the others");
    assert_eq!(checksums("mask"), "none of features, Fletcher-32 of the others");
    let edge = inspect("", &path("edge"));
    if line(&edge, "source") != "no such option" {
        assert_eq!(line(&edge, "checksums"), "none of labels, Fletcher-32 of the others");
    }
    let folder = inspect("", folder.path());
    let proof = line(&folder, "proof");
    assert!(proof.starts_with("none of 5 of 6 shards; hint: reelscale inspect --seal"), "{proof}");
    assert!(line(&folder, "checksums").contains("4 of 6 shards lack some"), "{folder}");
}

/// What no training ever reads is checked by `inspect` and by `--verify`.
#[test]
fn a_full_check_finds_all_damage() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let synthesize = "synthesize --rows 60 --classes 9 --features 4 --rows-per-shard 30 --output";
    reelscale(synthesize).path(&path("data")).stdout();
    let shard = path("data/synthetic-00001.h5");
    let job = format!("[data]\ntrain = [\"{}/*.h5\"]\n", path("data").display());
    let job = job
        + "[pretrain]\nranks = 4096\n\
         epochs = 1\n[experts]\nepochs = 1\n[rounds]\ncount = 1\n";
    fs::write(path("job.toml"), job).unwrap();
    let train = |more: &str| {
        reelscale(&format!("train {more} --set shared.iterations=1")).path(&path("job.toml"))
    };
    train("--verify").arg("--output").path(&path("good")).stdout();
    let mut bytes = fs::read(&shard).unwrap();
    let at = bytes.windows(8).rposition(|window| window.starts_with(b"synthe")).unwrap();
    let info = ShardInfo::read(&shard).unwrap();
    let id = ShardReader::open(&info).unwrap().ids(29..30).unwrap().remove(0);
    let at = bytes.windows(id.len()).position(|window| window == id).unwrap_or(at);
    bytes[at] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let found = "dataset \"ids\": can't be read (wrong digest of";
    for ranks in [1, 3] {
        let verified = train("--verify").arg("--output").path(&path("run")).ranks(ranks);
        let printed = verified.fails_with(4);
        assert!(printed.contains(found) && printed.contains("synthetic-00001.h5"), "{printed}");
        assert!(!path("run").exists());
        assert!(
            reelscale("inspect").path(&path("data")).ranks(ranks).fails_with(4).contains(found)
        );
    }
    let evaluate = reelscale("evaluate --verify --model").path(&path("good/model"));
    assert!(evaluate.arg("--data").path(&shard).fails_with(4).contains(found));
    let annotate = reelscale("annotate --verify --output").path(&path("out.csv"));
    let annotate = annotate.arg("--model").path(&path("good/model")).arg("--data").path(&shard);
    assert!(annotate.fails_with(4).contains(found));
    assert!(!path("out.csv").exists());
}

/// Turns shards into ones without proof.
fn unseal(paths: &[PathBuf]) -> bool {
    change(&paths.iter().map(|path| (path.clone(), "")).collect::<Vec<_>>())
}

#[test]
fn sealing_keeps_what_a_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = ["a.h5", "b.h5", "lost.h5"].map(path);
    for (index, file) in files.iter().enumerate() {
        let kind = if index == 1 { Kind::Frames } else { Kind::Video };
        write(file, 0..9, kind);
    }
    write(&path("cut.h5"), 0..9, Kind::Video);
    let digests = files.clone().map(|path| ShardInfo::read(&path).unwrap().digest);
    // One has lost its proof only.
    if !(unseal(&files[..2]) && python("r+", &[(files[2].clone(), String::new())])) {
        return;
    }
    fs::set_permissions(&files[0], fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(path("links")).unwrap();
    symlink(&files[0], path("links/a.h5")).unwrap();
    for file in [&path("links/a.h5"), &files[1], &files[2]] {
        assert_eq!(seal(file, &Disk::default()).unwrap(), SealOutcome::Now);
        assert_eq!(seal(file, &Disk::default()).unwrap(), SealOutcome::Before);
    }
    // As the hint of its error says.
    python("r+", &[(path("cut.h5"), String::new())]);
    assert!(reelscale("inspect").path(&path("cut.h5")).fails_with(4).contains("inspect --seal"));
    reelscale("inspect --seal").path(&path("cut.h5")).stdout();
    assert!(ShardInfo::read(&path("cut.h5")).is_ok());
    assert_eq!(files.clone().map(|path| ShardInfo::read(&path).unwrap().digest), digests);
    assert!(fs::symlink_metadata(path("links/a.h5")).unwrap().is_symlink());
    assert_eq!(fs::metadata(&files[0]).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(names(folder.path()), ["a.h5", "b.h5", "cut.h5", "links", "lost.h5"]);
    let creator = "assert f.attrs['creator'].startswith(b'reelscale'), f.attrs['creator']\n\
                   assert b'sealed by reelscale' in f.attrs['creator']\n\
                   assert f.attrs['source'] == b'a test' and f.attrs['version'] == 2";
    python("r", &[(files[0].clone(), creator.into())]);
}

#[test]
fn what_would_be_lost_or_is_damaged_isnt_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("dataset", "f['titles'] = [b'x'] * 5", "found a dataset or group \"titles\""),
        ("attribute", "f.attrs['licence'] = 'CC'", "found an attribute \"licence\""),
        ("inner", "f['ids'].attrs['of'] = 'x'", "found in \"ids\" an attribute \"of\""),
        ("NaN", "f['features'][2, 7] = np.nan", "row 2, column 7: found NaN"),
    ];
    let path = |name: &str| folder.path().join(format!("{name}.h5"));
    cases.iter().for_each(|case| write(&path(case.0), 0..5, Kind::Video));
    write(&path("whole"), 0..5, Kind::Video);
    if !change(&cases.map(|case| (path(case.0), case.1))) || !unseal(&[path("whole")]) {
        return;
    }
    let before = cases.map(|case| fs::read(path(case.0)).unwrap());
    // One that can be sealed is, beside others.
    let printed = reelscale("inspect --seal").path(folder.path()).fails_with(4);
    for (index, (name, _, expected)) in cases.iter().enumerate() {
        assert!(printed.contains(expected), "{printed}");
        assert!(fs::read(path(name)).unwrap() == before[index], "{name} is as it was");
    }
    assert!(ShardInfo::read(&path("whole")).is_ok());
    assert_eq!(names(folder.path()).len(), 5, "nothing is left");
}

/// Whatever call of the file system fails, the old file or the new one is there, and nothing else.
#[test]
fn a_seal_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    write(&path, 0..5, Kind::Video);
    let digest = ShardInfo::read(&path).unwrap().digest;
    if !unseal(std::slice::from_ref(&path)) {
        return;
    }
    let old = fs::read(&path).unwrap();
    let mut failed = 0;
    for calls in 0.. {
        fs::write(&path, &old).unwrap();
        let disk = Disk::failing_after(calls, FaultKind::Once);
        let outcome = seal(&path, &disk);
        if !disk.has_failed() {
            outcome.unwrap();
            break;
        }
        failed += 1;
        assert_eq!(outcome.unwrap_err().exit, Exit::Storage);
        assert!(
            fs::read(&path).unwrap() == old || ShardInfo::read(&path).unwrap().digest == digest
        );
        assert_eq!(names(folder.path()), ["a.h5"]);
    }
    assert!(failed >= 4, "adopt, write, sync, rename, sync of the folder");
}

/// A shard without rows has a proof, too.
#[test]
fn a_shard_without_rows_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [Kind::Video, Kind::Frames] {
        let path = folder.path().join(format!("{kind:?}.h5"));
        ShardWriter::create(&path, &common::shards::header(kind)).unwrap().finish().unwrap();
        let info = ShardInfo::read(&path).unwrap();
        ShardReader::open(&info).unwrap().check_in_full().unwrap();
        if unseal(std::slice::from_ref(&path)) {
            assert_eq!(seal(&path, &Disk::default()).unwrap(), SealOutcome::Now);
            assert_eq!(ShardInfo::read(&path).unwrap().digest, info.digest);
        }
    }
}

/// Frames of floats, and bytes with a scale of each part, as other programs write them.
#[test]
fn shards_of_version_3_of_other_programs_are_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.h5"));
    let as_type = |name: &str| {
        format!(
            "x = f['frames'][:]; del f['frames']; \
             f.create_dataset('frames', data=x.astype('{name}'), chunks=(2, 300), compression=4)"
        )
    };
    let scaled = |scale: &str, offset: &str| {
        format!(
            "a = f['frames'].attrs; a['scale'] = np.array({scale}, 'f4'); \
             a['offset'] = np.array({offset}, 'f4')"
        )
    };
    let parts = Encoding::Bytes(vec![[0.5, -1.0], [2.0, 3.0]]);
    let good = [
        ("halves", as_type("f2"), Encoding::Halves),
        ("floats", as_type("f4"), Encoding::Floats),
        ("parts", scaled("[0.5, 2]", "[-1, 3]"), parts),
        ("alike", scaled("[0.5, 0.5]", "[-1, -1]"), Encoding::Bytes(vec![[0.5, -1.0]])),
    ];
    let bad = [
        ("doubles", as_type("f8"), "found float64 [12, 700], expected float32 or float16 or uint8"),
        ("three", scaled("[1, 1, 1]", "[0, 0, 0]"), "scale: found 3 values, expected 1 or 2"),
        ("one", scaled("[1, 1]", "0"), "attribute offset: found 1 values, expected 2"),
        ("nothing", scaled("[1, 0]", "[0, 0]"), "scale: found 0, expected a number that tells"),
    ];
    let all = good.iter().map(|case| (case.0, &case.1)).chain(bad.iter().map(|c| (c.0, &c.1)));
    let code = |code: &str| format!("f.attrs['version'] = 3\n{code}");
    let changes: Vec<_> = all.map(|(name, change)| (path(name), code(change))).collect();
    changes.iter().for_each(|(path, _)| write(path, 0..9, Kind::Frames));
    if !python("r+", &changes) {
        return;
    }
    for (name, _, encoding) in good {
        let printed = reelscale("inspect").path(&path(name)).fails_with(4);
        assert!(printed.contains("found 3, but no proof"), "{printed}");
        reelscale("inspect --seal").path(&path(name)).stdout();
        assert_eq!(ShardInfo::read(&path(name)).unwrap().encoding, encoding, "{name}");
    }
    for (name, _, expected) in bad {
        let printed = reelscale("inspect --seal").path(&path(name)).fails_with(4);
        assert!(printed.contains(expected), "{name}: {printed}");
    }
}
