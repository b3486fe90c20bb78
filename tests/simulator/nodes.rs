//! What files, folders and names are, with what has been done to them and doesn't last yet.

use std::collections::BTreeMap;

use super::draws::Draws;

/// Bytes of a file that survive or are lost together.
const BLOCK: usize = 64;

pub type Id = usize;

/// Something in the file system, whatever it is called.
#[derive(Clone, Debug)]
pub enum Node {
    File(File),
    Folder(BTreeMap<String, Name>),
}

#[derive(Clone, Debug, Default)]
pub struct File {
    /// What lasts.
    pub durable: Vec<u8>,
    /// What has been done since.
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug)]
pub struct Change {
    pub rank: usize,
    /// A sync that failed has dropped it: no later one makes it last.
    pub dropped: bool,
    pub edit: Edit,
}

#[derive(Clone, Debug)]
pub enum Edit {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// A name in a folder: what it leads to.
#[derive(Clone, Debug, Default)]
pub struct Name {
    pub durable: Option<Id>,
    pub changes: Vec<NameChange>,
}

#[derive(Clone, Debug)]
pub struct NameChange {
    pub rank: usize,
    pub now: Option<Id>,
    /// Of the old name of a rename: folder, name and number there of the change that must be kept
    /// if this one is.
    pub only_with: Option<(Id, String, u64)>,
    pub number: u64,
}

impl Name {
    pub fn now(&self) -> Option<Id> {
        self.changes.last().map_or(self.durable, |change| change.now)
    }

    pub fn lasts(&self) -> bool {
        self.changes.is_empty()
    }
}

impl File {
    /// What a reader finds.
    pub fn now(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        self.changes.iter().for_each(|change| change.edit.apply(&mut bytes));
        bytes
    }

    pub fn lasts(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Edit {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Edit::Length(length) => bytes.resize(*length, 0),
            Edit::Write { at, bytes: new } => {
                bytes.resize(bytes.len().max(at + new.len()), 0);
                bytes[*at..at + new.len()].copy_from_slice(new);
            }
        }
    }

    /// What is left of it after a loss: all, nothing, zeros, or some of its blocks.
    pub fn survive(&self, bytes: &mut Vec<u8>, draws: &mut Draws) {
        match (draws.below(6), self) {
            (0 | 1, _) => {}
            (2 | 3, _) => self.apply(bytes),
            (_, Edit::Length(_)) => self.apply(bytes),
            (4, Edit::Write { at, bytes: new }) => {
                bytes.resize(bytes.len().max(at + new.len()), 0);
            }
            (_, Edit::Write { at, bytes: new }) => {
                for (index, block) in new.chunks(BLOCK).enumerate() {
                    if draws.happens(1, 2) {
                        let at = at + index * BLOCK;
                        Edit::Write { at, bytes: block.to_vec() }.apply(bytes);
                    }
                }
            }
        }
    }
}
