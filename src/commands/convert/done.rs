//! What a rank counts of all its groups, and of which kind its rows are.

use std::path::PathBuf;

use super::TableNotes;
use super::losses::Loss;
use crate::data::Kind;
use crate::error::{Error, Result};
use crate::formats::tf_example::Notes;

/// What was converted, in numbers that add up over ranks.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Counts {
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) labels: u64,
    pub(crate) unlabelled: u64,
    pub(crate) frames: u64,
    /// Videos of more frames than count.
    pub(crate) long: u64,
    pub(crate) repeated_labels: u64,
    pub(crate) empty_ids: u64,
    pub(crate) bytes: u64,
    pub(crate) shards: u64,
    pub(crate) notes: Notes,
    pub(crate) tables: TableNotes,
}

/// An id's hash and where it stood: file and record.
pub(crate) type IdPlace = [u64; 3];

/// The first record of a rank.
#[derive(Clone)]
pub(crate) struct First {
    pub(crate) kind: Kind,
    pub(crate) file: usize,
    pub(crate) record: u64,
    /// What keys it has, for people; empty in formats without keys.
    pub(crate) keys: String,
}

/// What one rank has done.
pub(crate) struct Done {
    pub(crate) counts: Counts,
    pub(crate) class_sizes: Vec<u64>,
    pub(crate) ids: Vec<IdPlace>,
    pub(crate) first: Option<First>,
    /// Files without any record.
    pub(crate) empty_files: Vec<u64>,
    /// What is wrong with what was left out.
    pub(crate) damaged: Vec<String>,
    /// Lines of the file of labels that belong to rows.
    pub(crate) matched: u64,
    /// Of each part.
    pub(super) losses: Vec<Loss>,
    /// What each side of a set that is split has got.
    pub(crate) sides: Vec<SideCounts>,
}

/// What went to one side.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SideCounts {
    pub(crate) rows: u64,
    pub(crate) labels: u64,
    pub(crate) shards: u64,
}

impl Done {
    pub(crate) fn nothing(classes: usize, parts: usize, sides: usize) -> Done {
        let (counts, class_sizes) = (Counts::default(), vec![0; classes]);
        Done {
            counts,
            class_sizes,
            ids: Vec::new(),
            first: None,
            empty_files: Vec::new(),
            damaged: Vec::new(),
            matched: 0,
            losses: vec![Loss::default(); parts],
            sides: vec![SideCounts::default(); sides],
        }
    }

    /// Adds what was done of another group.
    ///
    /// # Errors
    /// Exit 4: its rows are of another kind.
    pub(super) fn add(&mut self, other: Done, paths: &[PathBuf]) -> Result<()> {
        let firsts = [self.first.take(), other.first];
        self.first =
            firsts.iter().flatten().min_by_key(|first| (first.file, first.record)).cloned();
        if let Some(first) = &self.first
            && let Some(other) = firsts.iter().flatten().find(|other| other.kind != first.kind)
        {
            return Err(mixed(other, first, paths));
        }
        add_each(std::slice::from_mut(&mut self.counts), std::slice::from_ref(&other.counts));
        add_each(&mut self.class_sizes, &other.class_sizes);
        add_each(&mut self.sides, &other.sides);
        self.ids.extend(other.ids);
        self.empty_files.extend(other.empty_files);
        self.damaged.extend(other.damaged);
        self.matched += other.matched;
        Loss::sum(&mut self.losses, &other.losses);
        Ok(())
    }
}

/// Adds numbers, of which these are made.
fn add_each<T: bytemuck::Pod>(own: &mut [T], others: &[T]) {
    let others = bytemuck::cast_slice::<T, u64>(others);
    let own = bytemuck::cast_slice_mut::<T, u64>(own);
    own.iter_mut().zip(others).for_each(|(number, other)| *number += other);
}

/// What is wrong with the record `found` where the first is of another kind.
pub(crate) fn mixed(found: &First, first: &First, paths: &[PathBuf]) -> Error {
    let place = |of: &First| format!("{}: record {}", paths[of.file].display(), of.record);
    let (own, expected) = (found.kind.level(), first.kind.level());
    let text = format!("found {own} features, expected {expected} ones as in {}", place(first));
    Error::input(format!("{}: {text}", place(found)))
}
