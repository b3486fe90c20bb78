//! What the simulated disk forgets and what it doesn't.

use std::fs;
use std::path::{Path, PathBuf};

use super::draws::{Draws, Purpose};
use super::files::{Files, Survives};
use super::tree::Tree;

/// Losses that are looked at.
const LOSSES: u64 = 400;

/// A real folder and its model, changed together.
struct Both {
    folder: tempfile::TempDir,
    files: Files,
}

impl Both {
    fn new() -> Both {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        Both { folder, files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make(&mut self, name: &str, text: &str) -> fs::File {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        self.files.made_file(0, &path);
        let file = fs::File::open(&path).unwrap();
        self.files.wrote(0, &file, 0, text.as_bytes());
        file
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        fs::rename(&from, &to).unwrap();
        self.files.renamed(0, &from, &to);
    }

    /// What losses of power leave.
    fn losses(&self) -> Vec<Tree> {
        let loss = |seed| {
            let mut draws = Draws::new(seed, Purpose::Losses, 0);
            self.files.after_loss(Survives::Some, None, &mut draws)
        };
        (0..LOSSES).map(loss).collect()
    }
}

fn text<'a>(tree: &'a Tree, name: &str) -> Option<&'a [u8]> {
    tree.get(Path::new(name)).and_then(Option::as_deref)
}

#[test]
fn a_name_and_its_bytes_last_each_by_itself() {
    let mut both = Both::new();
    let file = both.make("a", "new");
    both.files.synced(&file);
    let losses = both.losses();
    assert!(losses.iter().any(|tree| text(tree, "a").is_none()), "its name may be lost");
    assert!(losses.iter().all(|tree| text(tree, "a").is_none_or(|bytes| bytes == b"new")));
    both.files.synced_folder(&both.path(""));
    assert_eq!(both.files.doubt(&both.path("a")), None);
    assert!(both.losses().iter().all(|tree| text(tree, "a") == Some(b"new")));
    both.make("b", "bytes");
    both.files.synced_folder(&both.path(""));
    assert!(both.files.doubt(&both.path("b")).is_some());
    let losses = both.losses();
    assert!(losses.iter().all(|tree| text(tree, "b").is_some()), "its name lasts");
    assert!(losses.iter().any(|tree| text(tree, "b") == Some(b"")));
    assert!(losses.iter().any(|tree| text(tree, "b") == Some(b"\0\0\0\0\0")));
}

#[test]
fn a_rename_leaves_the_old_or_the_new_and_never_nothing() {
    let mut both = Both::new();
    for name in ["a", "b"] {
        let file = both.make(name, name);
        both.files.synced(&file);
    }
    both.files.synced_folder(&both.path(""));
    both.rename("b", "a");
    let losses = both.losses();
    for (a, b) in [("a", Some("b")), ("b", None), ("b", Some("b"))] {
        let found = |tree: &&Tree| {
            text(tree, "a") == Some(a.as_bytes()) && text(tree, "b") == b.map(str::as_bytes)
        };
        assert!(losses.iter().any(|tree| found(&tree)), "{a} {b:?}");
    }
    let nothing = |tree: &Tree| {
        text(tree, "a").is_none() || text(tree, "a") == Some(b"a") && text(tree, "b").is_none()
    };
    assert!(!losses.iter().any(nothing));
}

#[test]
fn a_sync_after_one_that_failed_proves_nothing() {
    let mut both = Both::new();
    let file = both.make("a", "text");
    both.files.synced_folder(&both.path(""));
    both.files.sync_failed(&file);
    both.files.synced(&file);
    assert!(both.files.doubt(&both.path("a")).is_some());
    assert!(both.losses().iter().any(|tree| text(tree, "a") == Some(b"")));
}

#[test]
fn what_lies_in_a_folder_that_is_lost_is_lost() {
    let mut both = Both::new();
    let path = both.path("folder");
    fs::create_dir(&path).unwrap();
    both.files.made_folder(0, &path);
    let file = both.make("folder/a", "text");
    both.files.synced(&file);
    both.files.synced_folder(&path);
    let losses = both.losses();
    let inner = |tree: &Tree| text(tree, "folder/a").is_some();
    assert!(losses.iter().any(inner) && losses.iter().any(|tree| !inner(tree)));
    // Of a folder that is taken away any part may be left.
    both.files.synced_folder(&both.path(""));
    both.files.removed(0, &path.join("a"));
    both.files.removed(0, &path);
    let there = |tree: &Tree| tree.contains_key(Path::new("folder"));
    let losses = both.losses();
    for (folder, file) in [(true, true), (true, false), (false, false)] {
        assert!(losses.iter().any(|tree| (there(tree), inner(tree)) == (folder, file)));
    }
}

#[test]
fn of_one_machine_only_what_it_did_is_lost() {
    let mut both = Both::new();
    both.make("a", "mine");
    let mut draws = Draws::new(1, Purpose::Losses, 0);
    let tree = both.files.after_loss(Survives::Nothing, Some(1), &mut draws);
    assert_eq!(text(&tree, "a"), Some(&b"mine"[..]));
    let tree = both.files.after_loss(Survives::Nothing, Some(0), &mut draws);
    assert_eq!(text(&tree, "a"), None);
}
