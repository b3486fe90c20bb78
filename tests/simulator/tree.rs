//! What is in a folder and all folders within, read and written as one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Paths below a folder, each with its bytes if it is a file.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What is really in `root`, folders before what they hold.
pub fn real_tree(root: &Path) -> Tree {
    fn walk(root: &Path, at: &Path, tree: &mut Tree) {
        for entry in std::fs::read_dir(root.join(at)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = at.join(entry.file_name());
            match entry.file_type().expect("its kind").is_dir() {
                true => {
                    tree.insert(path.clone(), None);
                    walk(root, &path, tree);
                }
                false => {
                    tree.insert(path, Some(std::fs::read(entry.path()).expect("a file")));
                }
            }
        }
    }
    let mut tree = Tree::new();
    walk(root, Path::new(""), &mut tree);
    tree
}

/// Makes `root` hold `tree` and nothing else.
pub fn write_tree(root: &Path, tree: &Tree) {
    std::fs::remove_dir_all(root).expect("it can be removed");
    std::fs::create_dir(root).expect("it can be made");
    for (path, bytes) in tree {
        let path = root.join(path);
        match bytes {
            None => std::fs::create_dir(path).expect("its folder came before"),
            Some(bytes) => std::fs::write(path, bytes).expect("its folder came before"),
        }
    }
}
