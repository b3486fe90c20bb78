//! A file system that forgets: for each file and folder what would survive a loss of power for
//! certain, and what has been done since and may survive or not, in any order.
//!
//! * A write, or a change of a file's length, lasts once the file was synced; that its name lasts
//!   is up to its folder.
//! * A name that was made, taken away or given to something else lasts once the folder was synced;
//!   that says nothing of the bytes or names in what it leads to.
//! * A rename gives the new name to what it moves or leaves the one before: never nothing. The old
//!   name may linger, but isn't gone before the new one is there.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use super::draws::Draws;
use super::nodes::{Change, Edit, File, Id, Name, NameChange, Node};
use super::tree::{Tree, real_tree};

/// All of it, below a folder that lasts.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
    nodes: Vec<Node>,
    /// Which file an open one is: by its number in the real file system.
    opened: HashMap<u64, Id>,
    changes: u64,
}

/// What is kept of what doesn't last yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Survives {
    Nothing,
    Everything,
    /// Each change by draw.
    Some,
}

impl Files {
    /// What the real folder `root` holds; all of it lasts.
    pub fn new(root: &Path) -> Files {
        let folder = Node::Folder(BTreeMap::new());
        let mut files = Files {
            root: root.to_path_buf(),
            nodes: vec![folder],
            opened: HashMap::new(),
            changes: 0,
        };
        for (path, bytes) in real_tree(root) {
            let node = match bytes {
                Some(durable) => Node::File(File { durable, changes: Vec::new() }),
                None => Node::Folder(BTreeMap::new()),
            };
            let (folder, name) = files.place(&root.join(&path)).expect("its folder came before");
            let id = files.add(node);
            let name = files.folder(folder).entry(name).or_default();
            name.durable = Some(id);
            files.know(id, &root.join(path));
        }
        files
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn folder(&mut self, id: Id) -> &mut BTreeMap<String, Name> {
        match &mut self.nodes[id] {
            Node::Folder(names) => names,
            Node::File(_) => panic!("a file where a folder belongs"),
        }
    }

    fn file(&mut self, id: Id) -> &mut File {
        match &mut self.nodes[id] {
            Node::File(file) => file,
            Node::Folder(_) => panic!("a folder where a file belongs"),
        }
    }

    /// The names from the root to `path`.
    fn parts(&self, path: &Path) -> Vec<String> {
        let inner = path.strip_prefix(&self.root);
        let inner = inner.unwrap_or_else(|_| panic!("{} is outside", path.display()));
        let plain = |part: Component| match part {
            Component::Normal(name) => name.to_str().expect("UTF-8").to_string(),
            other => panic!("{other:?} in {}", path.display()),
        };
        inner.components().map(plain).collect()
    }

    /// What is at `path` now.
    pub fn at(&self, path: &Path) -> Option<Id> {
        self.parts(path).iter().try_fold(0, |id, part| match &self.nodes[id] {
            Node::Folder(names) => names.get(part)?.now(),
            Node::File(_) => None,
        })
    }

    /// The folder that holds `path` now, and the name there.
    fn place(&self, path: &Path) -> Option<(Id, String)> {
        let name = self.parts(path).pop().expect("not the root itself");
        Some((self.at(path.parent().expect("below the root"))?, name))
    }

    /// Takes note of the number of the real file at `path`.
    fn know(&mut self, id: Id, path: &Path) {
        let found = std::fs::symlink_metadata(path).expect("it is there");
        self.opened.insert(std::os::unix::fs::MetadataExt::ino(&found), id);
    }

    fn opened(&self, file: &std::fs::File) -> Id {
        let number = std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("it is open"));
        *self.opened.get(&number).expect("a file that nobody has made here")
    }

    fn give(&mut self, rank: usize, path: &Path, now: Option<Id>) -> u64 {
        let (folder, name) = self.place(path).expect("the real file system has taken it");
        self.changes += 1;
        let number = self.changes;
        let change = NameChange { rank, now, only_with: None, number };
        self.folder(folder).entry(name).or_default().changes.push(change);
        number
    }

    pub fn made_folder(&mut self, rank: usize, path: &Path) {
        let id = self.add(Node::Folder(BTreeMap::new()));
        self.give(rank, path, Some(id));
    }

    pub fn made_file(&mut self, rank: usize, path: &Path) {
        let id = self.add(Node::File(File::default()));
        self.give(rank, path, Some(id));
        self.know(id, path);
    }

    /// A file that something else has made and written.
    pub fn adopted(&mut self, rank: usize, path: &Path) {
        if self.at(path).is_none() {
            self.made_file(rank, path);
        }
        let bytes = std::fs::read(path).expect("it is there");
        let id = self.at(path).expect("made");
        let length = Edit::Length(bytes.len());
        let edits = [Edit::Write { at: 0, bytes }, length];
        let changes = edits.map(|edit| Change { rank, dropped: false, edit });
        self.file(id).changes.extend(changes);
    }

    pub fn wrote(&mut self, rank: usize, file: &std::fs::File, at: u64, bytes: &[u8]) {
        let id = self.opened(file);
        let edit = Edit::Write { at: at as usize, bytes: bytes.to_vec() };
        self.file(id).changes.push(Change { rank, dropped: false, edit });
    }

    pub fn set_length(&mut self, rank: usize, file: &std::fs::File, length: u64) {
        let id = self.opened(file);
        let edit = Edit::Length(length as usize);
        self.file(id).changes.push(Change { rank, dropped: false, edit });
    }

    pub fn synced(&mut self, file: &std::fs::File) {
        let id = self.opened(file);
        let file = self.file(id);
        let (dropped, kept) =
            std::mem::take(&mut file.changes).into_iter().partition(|change| change.dropped);
        file.changes = dropped;
        let kept: Vec<Change> = kept;
        kept.iter().for_each(|change| change.edit.apply(&mut file.durable));
    }

    /// A sync that has failed: the kernel forgets that anything was left to write.
    pub fn sync_failed(&mut self, file: &std::fs::File) {
        let id = self.opened(file);
        self.file(id).changes.iter_mut().for_each(|change| change.dropped = true);
    }

    pub fn synced_folder(&mut self, path: &Path) {
        let Some(id) = self.inside(path) else { return };
        let mut together = Vec::new();
        for name in self.folder(id).values_mut() {
            name.durable = name.now();
            together.extend(name.changes.drain(..).filter_map(|change| change.only_with));
        }
        // What makes an old name go makes the new one stay.
        for (folder, name, number) in together {
            let Some(name) = self.folder(folder).get_mut(&name) else { continue };
            let count = name.changes.iter().take_while(|change| change.number <= number).count();
            if let Some(last) = name.changes.drain(..count).next_back() {
                name.durable = last.now;
            }
        }
    }

    /// What is at `path`, if that is here: the root and what is above it last anyway.
    fn inside(&self, path: &Path) -> Option<Id> {
        path.starts_with(&self.root).then(|| self.at(path).expect("it is there"))
    }

    pub fn renamed(&mut self, rank: usize, from: &Path, to: &Path) {
        let moved = self.at(from).expect("the real file system has moved it");
        let number = self.give(rank, to, Some(moved));
        self.give(rank, from, None);
        let (folder, name) = self.place(to).expect("it was given");
        let (old_folder, old) = self.place(from).expect("it was given");
        let old = self.folder(old_folder).get_mut(&old).expect("it was given");
        old.changes.last_mut().expect("it was given").only_with = Some((folder, name, number));
    }

    pub fn linked(&mut self, rank: usize, from: &Path, to: &Path) {
        let also = self.at(from);
        self.give(rank, to, also);
    }

    pub fn removed(&mut self, rank: usize, path: &Path) {
        self.give(rank, path, None);
    }

    /// Why what is at `path`, or something in it, may not survive, if that is so.
    pub fn doubt(&self, path: &Path) -> Option<String> {
        let (mut id, mut at) = (0, self.root.clone());
        for part in self.parts(path) {
            at.push(&part);
            let Node::Folder(names) = &self.nodes[id] else { return Some("in a file".into()) };
            let name = names.get(&part);
            match name.and_then(Name::now) {
                Some(there) if name.is_some_and(Name::lasts) => id = there,
                Some(_) => return Some(format!("{}: its name isn't synced", at.display())),
                None => return Some(format!("{}: isn't there", at.display())),
            }
        }
        self.doubt_below(id, &at)
    }

    fn doubt_below(&self, id: Id, at: &Path) -> Option<String> {
        match &self.nodes[id] {
            Node::File(file) => {
                (!file.lasts()).then(|| format!("{}: its bytes aren't synced", at.display()))
            }
            Node::Folder(names) => names.iter().find_map(|(part, name)| {
                let at = at.join(part);
                match (name.lasts(), name.now()) {
                    (false, _) => Some(format!("{}: its name isn't synced", at.display())),
                    (true, Some(id)) => self.doubt_below(id, &at),
                    (true, None) => None,
                }
            }),
        }
    }

    /// What readers find.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        self.collect(0, Path::new(""), &mut tree, &|name| name.now(), &mut |file| file.now());
        tree
    }

    fn collect(
        &self,
        id: Id,
        at: &Path,
        tree: &mut Tree,
        leads_to: &dyn Fn(&Name) -> Option<Id>,
        bytes: &mut dyn FnMut(&File) -> Vec<u8>,
    ) {
        let Node::Folder(names) = &self.nodes[id] else { panic!("a file where a folder belongs") };
        for (part, name) in names {
            let (Some(id), at) = (leads_to(name), at.join(part)) else { continue };
            match &self.nodes[id] {
                Node::File(file) => {
                    tree.insert(at, Some(bytes(file)));
                }
                Node::Folder(_) => {
                    tree.insert(at.clone(), None);
                    self.collect(id, &at, tree, leads_to, bytes);
                }
            }
        }
    }

    /// What is found after a loss of power, or where only what `rank` has done can be lost.
    pub fn after_loss(&self, survives: Survives, rank: Option<usize>, draws: &mut Draws) -> Tree {
        let mut files = self.clone();
        let mut needed = Vec::new();
        for name in files.nodes.iter_mut().filter_map(|node| match node {
            Node::Folder(names) => Some(names.values_mut()),
            Node::File(_) => None,
        }) {
            for name in name {
                name.changes.retain(|change| {
                    let kept = rank.is_some_and(|rank| rank != change.rank)
                        || match survives {
                            Survives::Nothing => false,
                            Survives::Everything => true,
                            Survives::Some => draws.happens(1, 2),
                        };
                    if kept {
                        needed.extend(change.only_with.clone());
                    }
                    kept
                });
            }
        }
        self.keep_needed(&mut files, needed);
        let mut tree = Tree::new();
        files.collect(0, Path::new(""), &mut tree, &|name| name.now(), &mut |file| {
            let mut bytes = file.durable.clone();
            for change in &file.changes {
                match (rank.is_some_and(|rank| rank != change.rank), survives) {
                    (true, _) | (_, Survives::Everything) => change.edit.apply(&mut bytes),
                    (_, Survives::Nothing) => {}
                    (_, Survives::Some) => change.edit.survive(&mut bytes, draws),
                }
            }
            bytes
        });
        tree
    }

    /// Puts back into `files` the changes, dropped there, without which others can't be.
    fn keep_needed(&self, files: &mut Files, needed: Vec<(Id, String, u64)>) {
        for (folder, part, number) in needed {
            let Node::Folder(names) = &self.nodes[folder] else { continue };
            let Some(all) = names.get(&part) else { continue };
            let Some(change) = all.changes.iter().find(|change| change.number == number) else {
                continue;
            };
            let name = files.folder(folder).get_mut(&part).expect("cloned");
            let at = name.changes.partition_point(|kept| kept.number < number);
            if name.changes.get(at).is_none_or(|kept| kept.number != number) {
                name.changes.insert(at, change.clone());
                self.keep_needed(files, change.only_with.clone().into_iter().collect());
            }
        }
    }

    /// Files that are in the real folder and that nobody has told of: what a library was writing.
    pub fn adopt_strangers(&mut self, rank: usize) {
        let known = self.tree();
        let root = self.root.clone();
        for (path, bytes) in real_tree(&root) {
            if bytes.is_some() && !known.contains_key(&path) {
                self.adopted(rank, &root.join(path));
            }
        }
    }

    /// Flips a bit of the file at `path`, for good.
    pub fn damage(&mut self, path: &Path, draws: &mut Draws) {
        let id = self.at(path).expect("it is there");
        let file = self.file(id);
        assert!(file.lasts(), "only what lasts is damaged");
        let at = draws.below(file.durable.len());
        file.durable[at] ^= 1 << draws.below(8);
        std::fs::write(path, &file.durable).expect("a real file");
    }
}
