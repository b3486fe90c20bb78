//! Parts by ranks that together hold the model: class blocks travel past waves of rows, each as
//! many parts of every rank as its memory takes.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::journal::Sum;
use super::whole::Work;
use super::writer::Writer;
use crate::comm::Comm;
use crate::device::Device;
use crate::error::Result;
use crate::flow::own_rows::{OwnRows, Room};
use crate::human;
use crate::inference::best::{annotated, best_of_own, finite};
use crate::inference::parts::{Annotated, PartRows, PartsAhead, Piece};
use crate::model::annotator::Annotator;

/// Annotates the parts that are left, in waves of `parts` parts of each rank, whose activations lie
/// in memory or in a file. The parts of this rank come back with their sums. Collective.
///
/// # Errors
/// What reading, computing and writing give; exit 75 when told to stop.
pub(super) fn in_waves<D: Device>(
    comm: &Comm,
    work: &Work,
    annotator: &Annotator,
    (parts, in_memory): (usize, bool),
    device: &mut D,
) -> Result<Vec<(usize, Sum)>> {
    let bytes_max = if in_memory { usize::MAX } else { 0 };
    let room = Room { bytes_max, ..work.room.clone() };
    let mut writer = work.writer(device.at_once());
    let mut ahead = work.ahead(device.at_once());
    let (mut begun, mut rows, stint) = (0, 0, work.stint());
    while begun < work.to_do.len() {
        let wave = &work.to_do[begun..(begun + parts * comm.size()).min(work.to_do.len())];
        begun += wave.len();
        let own = &wave[comm.deal(wave.len()).own()];
        let read = activations(comm, work, annotator, own, &room, (&mut ahead, device));
        let (own, places) = comm.agree(read)?;
        let best = best_of_own(comm, annotator, &own, device, work.place.top)?;
        let written = write(&mut writer, comm, annotated(places, &best));
        comm.agree(written)?;
        rows += wave.iter().map(|part| work.parts[*part].rows.len()).sum::<usize>();
        stint.reach(rows as u64);
        if comm.is_root() {
            log::info!(
                "{} rows in parts {begun} of {}",
                human::count(rows as f64),
                work.to_do.len()
            );
        }
    }
    while !writer.is_idle() {
        writer.wait()?;
    }
    Ok(writer.into_finished())
}

/// The activations of the rows of some parts, and where these are. Not collective.
fn activations<D: Device>(
    comm: &Comm,
    work: &Work,
    annotator: &Annotator,
    parts: &[usize],
    room: &Room,
    (ahead, device): (&mut PartsAhead, &mut D),
) -> Result<(OwnRows, Vec<PartRows>)> {
    let rows = parts.iter().map(|part| work.parts[*part].rows.len()).sum();
    let mut own = OwnRows::new(0..rows, annotator.layers.outputs(), room)?;
    parts.iter().for_each(|part| ahead.want(*part));
    let (mut places, network) = (Vec::new(), device.network(annotator));
    let firsts = RefCell::new(VecDeque::new());
    let mut pieces = std::iter::from_fn(|| {
        if ahead.is_empty() {
            return None;
        }
        let stopped = || comm.unless_stopped();
        let piece = stopped().and_then(|()| work.next_piece(ahead, |_| stopped()));
        Some(piece.map(|Piece { of, features, labels }| {
            firsts.borrow_mut().push_back(of.rows.start);
            places.push(of);
            (features, labels)
        }))
    });
    device.activations(&network, &mut pieces, &mut |activations, labels| {
        let first = firsts.borrow_mut().pop_front().expect("a piece's activations");
        finite(work.dataset, first, &activations)?;
        own.push(&activations, &labels)
    })?;
    Ok((own, places))
}

/// Gives rows to the writer, however long that takes.
fn write(writer: &mut Writer, comm: &Comm, rows: Vec<Annotated>) -> Result<()> {
    for rows in rows {
        let mut rows = Some(rows);
        while let Some(some) = rows.take() {
            rows = writer.give(some);
            comm.unless_stopped()?;
            writer.finished()?;
        }
    }
    Ok(())
}
