//! What the layer promises: a file is the old one or the new one, and links aren't followed.

use super::*;

/// Files in a folder that goes with the test.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn an_atomic_write_leaves_the_old_file_or_the_new_one() {
    for kind in [FaultKind::Once, FaultKind::Crash] {
        let mut calls = 0;
        loop {
            let folder = folder();
            let path = folder.path().join("a");
            fs::write(&path, "old").unwrap();
            let disk = Disk::failing_after(calls, kind);
            let outcome = disk.write_atomic(&path, |to| to.write_all(b"new and longer"));
            let found = fs::read_to_string(&path).unwrap();
            match outcome {
                Ok(()) => assert_eq!(found, "new and longer"),
                Err(_) => assert!(["old", "new and longer"].contains(&&*found), "{found}"),
            }
            if kind == FaultKind::Once {
                assert!(there(&temporary(&path)).unwrap().is_none(), "nothing is left");
            }
            if !disk.has_failed() {
                break;
            }
            calls += 1;
        }
        assert_eq!(calls, 5, "create, write, sync, rename, sync of the folder");
    }
}

#[test]
fn nothing_new_replaces_what_is_there() {
    let folder = folder();
    let path = folder.path().join("a");
    Disk::default().write_new(&path, |to| to.write_all(b"first")).unwrap();
    let second = Disk::default().write_new(&path, |to| to.write_all(b"second"));
    assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    // It comes while the other one is being written.
    let late = folder.path().join("b");
    let outcome = Disk::default().write_new(&late, |to| {
        fs::write(&late, "mine")?;
        to.write_all(b"other")
    });
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&late).unwrap(), "mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing temporary is left");
}

#[test]
fn links_are_not_followed() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("thesis"), "years").unwrap();
    fs::create_dir(path("elsewhere")).unwrap();
    fs::write(path("elsewhere/notes"), "years").unwrap();
    for (name, target) in [("a", "thesis"), ("b.tmp", "thesis"), ("c", "nowhere")] {
        std::os::unix::fs::symlink(path(target), path(name)).unwrap();
    }
    std::os::unix::fs::symlink(path("elsewhere"), path("d")).unwrap();
    let disk = Disk::default();
    for name in ["a", "b", "c", "d"] {
        assert!(disk.write_atomic(&path(name), |to| to.write_all(b"x")).is_err(), "{name}");
    }
    assert!(disk.open_existing(&path("a")).is_err() && disk.create(&path("c")).is_err());
    assert!(disk.create_dir(&path("d")).is_err());
    fs::create_dir(path("gone")).unwrap();
    std::os::unix::fs::symlink(path("elsewhere"), path("gone/link")).unwrap();
    disk.remove_dir_all(&path("gone")).unwrap();
    assert_eq!(fs::read_to_string(path("thesis")).unwrap(), "years");
    assert_eq!(fs::read_to_string(path("elsewhere/notes")).unwrap(), "years");
    assert!(!path("nowhere").exists() && !path("gone").exists());
}

#[test]
fn files_are_opened_at_their_end_and_written_anywhere() {
    let folder = folder();
    let path = folder.path().join("a");
    fs::write(&path, "one\n").unwrap();
    let mut file = Disk::default().open_existing(&path).unwrap();
    file.write_all(b"two\n").unwrap();
    file.write_all_at(b"O", 0).unwrap();
    file.set_len(6).unwrap();
    file.write_all(b"o\n").unwrap();
    file.sync().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "One\ntwo\n");
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success() && Disk::default().open_existing(&pipe).is_err());
}

#[test]
fn nothing_foreign_is_removed() {
    let folder = folder();
    let path = folder.path().join("model");
    let own = |name: &OsStr| name == "a" || name == "b";
    let disk = Disk::default();
    let first = disk.temporary_dir(&path, own).unwrap();
    assert_eq!(first, temporary(&path));
    fs::write(first.join("a"), "x").unwrap();
    assert_eq!(disk.temporary_dir(&path, own).unwrap(), first, "what a try has left goes");
    assert_eq!(fs::read_dir(&first).unwrap().count(), 0);
    fs::write(first.join("a"), "x").unwrap();
    fs::write(first.join("notes"), "years").unwrap();
    let second = disk.temporary_dir(&path, own).unwrap();
    assert_eq!(second, folder.path().join("model.1.tmp"));
    assert_eq!(fs::read_dir(&first).unwrap().count(), 2, "left as it was");
    fs::remove_file(first.join("notes")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", first.join("b")).unwrap();
    assert_eq!(disk.remove_own(&first, own).unwrap(), Some("b".into()), "a link isn't ours");
    assert_eq!(disk.remove_own(&second, own).unwrap(), None);
    assert!(!second.exists());
}
