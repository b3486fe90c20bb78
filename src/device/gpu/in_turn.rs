//! All of a rank's class blocks at work, one place after the other: first those that are on the
//! device, then the runs that come.

use std::collections::VecDeque;

use super::blocks::{Blocks, Place};
use super::part::{Lent, Part};
use super::shuttle::{Shuttle, Travels};
use crate::device::Pace;

type Told<T> = Result<T, String>;

/// Whose turn it is: of those that stay, or of a run that came.
pub(super) enum Whose<'a, S: Travels> {
    Own(&'a mut Part<S>),
    Guest(&'a mut Part<S::Guest>),
}

/// What is done beside work: it says whether that was anything.
pub(super) type Beside<'a> = &'a mut dyn FnMut() -> Told<bool>;

/// Work of a place.
type Work<'a, S, E> = &'a mut dyn FnMut(usize, Whose<S>, &mut Pace, Beside) -> Result<(), E>;

/// Has all blocks that are here to work, and then the `next` runs in this order, which come and
/// go beside that; at the end all go home, or some stay for the next window.
pub(super) fn in_turn<S: Travels, E>(
    blocks: &mut Blocks<S>,
    next: VecDeque<usize>,
    home: bool,
    (pace, failed): (&mut Pace, &dyn Fn(String) -> E),
    work: Work<S, E>,
) -> Result<(), E> {
    let mut here = Vec::new();
    for (index, place) in blocks.places.iter_mut().enumerate().skip(1) {
        match std::mem::replace(place, Place::nobody()) {
            Place::Here(part) => here.push((index, S::guests(part))),
            home => *place = home,
        }
    }
    let Place::Here(own) = std::mem::replace(&mut blocks.places[0], Place::nobody()) else {
        panic!("those that stay are here")
    };
    let (mut own, mut lent) = (own, Lent::default());
    let Some(rooms) = &mut blocks.rooms else {
        let outcome = work(0, Whose::Own(&mut own), pace, &mut || Ok(false));
        blocks.places[0] = Place::Here(own);
        return outcome;
    };
    let mut shuttle = Shuttle::new(&mut blocks.places, rooms, next, home);
    let outcome = (|| {
        for (index, mut part) in here {
            part.lend(&mut lent);
            let outcome = work(index, Whose::Guest(&mut part), pace, &mut || shuttle.step());
            part.lend(&mut lent);
            shuttle.worked(index, part);
            outcome?;
        }
        own.lend(&mut lent);
        let outcome = work(0, Whose::Own(&mut own), pace, &mut || shuttle.step());
        own.lend(&mut lent);
        outcome?;
        while let Some((index, mut part)) = shuttle.next(pace).map_err(failed)? {
            part.lend(&mut lent);
            let outcome = work(index, Whose::Guest(&mut part), pace, &mut || shuttle.step());
            part.lend(&mut lent);
            shuttle.worked(index, part);
            outcome?;
        }
        shuttle.end(pace).map_err(failed)
    })();
    drop(shuttle);
    blocks.places[0] = Place::Here(own);
    for (index, part) in outcome? {
        blocks.places[index] = Place::Here(S::own(part));
    }
    Ok(())
}
