//! The two ends of a window's way: a rank gathers its own rows, and puts all rows in order where
//! the device wants them. Both on all threads, in pieces of some rows.

use super::plan::Plan;
use super::record::{Form, Lengths, Mask, head_words, sealed_head, words, write_head};
use super::{ROWS_AT_ONCE, Travel};
use crate::comm::Comm;
use crate::error::{Error, Exit};
use crate::flow::own_rows::OwnRows;
use crate::labels::Labels;
use crate::team::Team;

/// Ranks whose parts a thread looks at at once.
const PARTS_AT_ONCE: usize = 64;

/// Where this rank's rows of a window are.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Memory(&'a OwnRows),
    /// Read back from the scratch file, each with its seal.
    Read(&'a [f32]),
    /// This, in the place of each of them: the file can't be read.
    Instead(&'a [f32], u32),
}

impl<'a> Source<'a> {
    /// Numbers and seal of the row that is number `index` among them and `row` among all own.
    fn row(self, index: usize, row: usize, stride: usize) -> (&'a [f32], u32) {
        match self {
            Source::Memory(own) => own.in_memory(row),
            Source::Read(all) => {
                let (numbers, seal) = all[index * (stride + 1)..].split_at(stride);
                (numbers, seal[0].to_bits())
            }
            Source::Instead(numbers, seal) => (numbers, seal),
        }
    }
}

/// Consecutive items of `all`, of these lengths one after the other.
fn cut<T>(all: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut rest = all;
    let parts = lengths.map(|length| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
        rest = after;
        part
    });
    parts.collect()
}

/// Some of this rank's rows of a window, and room for their records.
struct Given<'a> {
    /// The number of the first one.
    first: usize,
    rows: &'a [usize],
    lengths: &'a [Lengths],
    records: &'a mut [u32],
}

/// Some rows of a window, and where they are to lie.
struct Taken<'a> {
    /// The number of the first one.
    first: usize,
    places: &'a [Place],
    numbers: &'a mut [f32],
    labels: &'a mut [u32],
}

/// A row whose seal is another one, that, and what it should be.
type Changed = (usize, u32, u32);

impl Given<'_> {
    fn write(
        self,
        form: &Form,
        (own, source): (&OwnRows, Source),
        mask: &mut Mask,
    ) -> Vec<Changed> {
        let Given { first, rows, lengths, records } = self;
        let records = cut(records, lengths.iter().map(|own| own[0] as usize));
        let all = (first..).zip(rows).zip(records);
        let changed = all.filter_map(|((index, row), record)| {
            let at_rest = source.row(index, *row, form.stride);
            let (labels, row) = (own.labels.row(*row), own.rows.start + row);
            let written = form.write(row, at_rest, labels, record, mask);
            written.err().map(|found| (row, found, at_rest.1))
        });
        changed.collect()
    }
}

impl Travel<'_> {
    /// Writes what this rank gives of a window to each row of the grid, one after the other; after
    /// that it gives them `next` words. Rows that have changed at rest are zeros, and the next
    /// agreement gives an error.
    pub(super) fn gather(
        &self,
        form: &Form,
        (plan, next): (&Plan, &[usize]),
        source: Source,
        parts: &mut [u32],
    ) {
        let (mut pieces, mut first) = (Vec::new(), 0);
        let parts = cut(parts, plan.share_words().into_iter()).into_iter();
        for ((rows, lengths), (part, next)) in plan.shares().zip(parts.zip(next)) {
            let (head, records) = part.split_at_mut(head_words(rows.len()));
            write_head(*next, lengths, head);
            let lengths = lengths.chunks(ROWS_AT_ONCE);
            let records = cut(records, lengths.clone().map(words));
            let all = rows.chunks(ROWS_AT_ONCE).zip(lengths).zip(records);
            pieces.extend(all.map(|((rows, lengths), records)| {
                first += rows.len();
                Given { first: first - rows.len(), rows, lengths, records }
            }));
        }
        let own = self.own;
        let write = |mask: &mut Mask, piece: Given| piece.write(form, (own, source), mask);
        let mut threads = vec![Mask::new(); self.comm.threads()];
        for (row, found, seal) in Team::new(&mut threads).map(pieces, write).concat() {
            let text = format!(
                "activations of row {row} have changed in memory: found crc32c {found:08x}, \
                 expected {seal:08x}"
            );
            let error = Error::new(Exit::Peer, text).hint("the memory of its node has a fault");
            self.comm.keep_damage(error);
        }
    }

    /// Puts this rank's own rows in order, where it is alone.
    pub(super) fn place(
        &self,
        form: &Form,
        plan: &Plan,
        source: Source,
        (numbers, labels): (&mut [f32], &mut Labels),
    ) {
        labels.clear();
        plan.own.iter().for_each(|row| labels.push(self.own.labels.row(*row)));
        let places = numbers.chunks_mut(ROWS_AT_ONCE * form.stride);
        let pieces = plan.own.chunks(ROWS_AT_ONCE).zip(places).enumerate();
        let (mut threads, own) = (vec![(); self.comm.threads()], self.own);
        Team::new(&mut threads).for_each(pieces, |(), (piece, (rows, places))| {
            let places = places.chunks_exact_mut(form.stride);
            for ((row, place), index) in rows.iter().zip(places).zip(piece * ROWS_AT_ONCE..) {
                let (numbers, _) = source.row(index, *row, form.stride);
                form.place(own.rows.start + row, numbers, place);
            }
        });
    }
}

/// A window that is here, rank by rank.
pub(super) struct Parts {
    pub(super) words: Vec<u32>,
    /// Words of each rank's part.
    pub(super) counts: Vec<usize>,
}

/// Where the record of a row is, and how long.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    from: usize,
    words: u32,
    labels: u32,
}

impl Parts {
    /// Each rank's part.
    fn each(&self) -> impl Iterator<Item = &[u32]> {
        let mut rest = &self.words[..];
        self.counts.iter().map(move |count| {
            let (part, after) = rest.split_at(*count);
            rest = after;
            part
        })
    }

    /// How many words each rank gives next. Damage to what says so ends the run.
    pub(super) fn next_counts(&self, comm: &Comm, plan: &Plan) -> Vec<usize> {
        let parts: Vec<_> = self.each().zip(&plan.counts).collect();
        let told = |_: &mut (), parts: &[(&[u32], &usize)]| -> Vec<(usize, u32, u32)> {
            let told = parts.iter().map(|(part, rows)| {
                let (head, seal) = sealed_head(part, **rows);
                (head[0] as usize, crc32c::crc32c(bytemuck::cast_slice(head)), seal)
            });
            told.collect()
        };
        // Each head is read from memory: of a thousand ranks longer than threads take to begin.
        let mut threads = vec![(); comm.threads()];
        let told = Team::new(&mut threads).map(parts.chunks(PARTS_AT_ONCE), told).concat();
        let counts = told.into_iter().enumerate().map(|(rank, (next, found, seal))| {
            comm.prove(rank, "lengths of activations", found, seal);
            next
        });
        counts.collect()
    }

    /// Finds the record of each row of the window.
    fn places(&self, plan: &Plan, places: &mut Vec<Place>) {
        let (mut heads, mut records) = (Vec::new(), Vec::new());
        let mut at = 0;
        for (count, rows) in self.counts.iter().zip(&plan.counts) {
            heads.push(at + 1);
            records.push(at + head_words(*rows));
            at += count;
        }
        places.clear();
        places.extend(plan.holders.iter().map(|holder| {
            let (head, record) = (&mut heads[*holder as usize], &mut records[*holder as usize]);
            let [words, labels] = [self.words[*head], self.words[*head + 1]];
            let place = Place { from: *record, words, labels };
            (*head, *record) = (*head + 2, *record + words as usize);
            place
        }));
    }

    /// Puts all rows in order. Those that came damaged are zeros, and the next agreement gives an
    /// error. What a rank sends itself doesn't travel.
    pub(super) fn put_in_order(
        &self,
        (comm, form): (&Comm, &Form),
        plan: &Plan,
        (numbers, labels): (&mut [f32], &mut Labels),
        places: &mut Vec<Place>,
    ) {
        self.places(plan, places);
        let labels_of = |place: &Place| place.labels as usize;
        let labels = labels.sized(places.iter().map(labels_of));
        let pieces = places.chunks(ROWS_AT_ONCE);
        let labels = cut(labels, pieces.clone().map(|own| own.iter().map(labels_of).sum()));
        let numbers = numbers.chunks_mut(ROWS_AT_ONCE * form.stride);
        let pieces = pieces.zip(numbers.zip(labels)).enumerate();
        let pieces = pieces.map(|(piece, (places, (numbers, labels)))| Taken {
            first: piece * ROWS_AT_ONCE,
            places,
            numbers,
            labels,
        });
        let own = comm.rank() as u32;
        let put = |mask: &mut Mask, piece: Taken| self.put(own, form, plan, piece, mask);
        let mut threads = vec![Mask::new(); comm.threads()];
        for (at, found, seal) in Team::new(&mut threads).map(pieces, put).concat() {
            let what = format!("activations of row {}", plan.rows[at]);
            comm.keep_damage(comm.damaged(plan.holders[at] as usize, what, found, seal));
        }
    }

    fn put(
        &self,
        own: u32,
        form: &Form,
        plan: &Plan,
        piece: Taken,
        mask: &mut Mask,
    ) -> Vec<Changed> {
        let Taken { first, places, numbers, labels } = piece;
        let labels = cut(labels, places.iter().map(|place| place.labels as usize));
        let mut changed = Vec::new();
        let to = numbers.chunks_exact_mut(form.stride).zip(labels);
        for ((at, place), (numbers, labels)) in (first..).zip(places).zip(to) {
            let record = &self.words[place.from..][..place.words as usize];
            let (found, seal) = if plan.holders[at] == own { (0, 0) } else { Form::seals(record) };
            if found == seal {
                form.read(plan.rows[at], record, (numbers, labels), mask);
            } else {
                changed.push((at, found, seal));
                numbers.fill(0.0);
                // As many labels as are expected: ranks agree before what they do counts.
                (0..).zip(labels).for_each(|(class, label)| *label = class);
            }
        }
        changed
    }
}
