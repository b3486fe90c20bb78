//! A device's launches in order and its memory, which is counted and given back by itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytemuck::{NoUninit, Pod};

use super::fetch::Fetch;
use super::lanes::Lanes;
use super::launcher::{Lane, Launcher};
use super::staging::{PIECE_BYTES, Staging};
use crate::kernel::text::calls::{Argument, Buffer, Launch};

/// Launches and copies. All take effect in the order in which they come, whichever of them go on
/// beside each other. Clones are the same one.
#[derive(Clone)]
pub struct Queue(Rc<RefCell<Inner>>);

pub(super) struct Inner {
    pub(super) launcher: Box<dyn Launcher>,
    pub(super) lanes: Lanes,
    pub(super) staging: Staging,
    /// Places in the work that `mark` was asked for and that the device may not have come to.
    marks: VecDeque<u64>,
    /// Bytes of memory at most.
    limit: usize,
    held: usize,
    peak: usize,
    /// Why the device does nothing more, and the bytes that it held then.
    lost: Option<(String, usize)>,
}

/// Memory of a device, which goes back when nobody has it any more.
pub(crate) struct Memory {
    queue: Queue,
    buffer: Buffer,
    bytes: usize,
}

impl Queue {
    /// Of memory, `limit` bytes at most are taken.
    pub fn new(launcher: Box<dyn Launcher>, limit: usize) -> Queue {
        Queue::in_pieces_of(PIECE_BYTES, launcher, limit)
    }

    /// The same where copies go in pieces of so many bytes, a multiple of 64: tests copy little.
    #[doc(hidden)]
    pub fn in_pieces_of(piece: usize, launcher: Box<dyn Launcher>, limit: usize) -> Queue {
        let (lanes, staging) = (Lanes::default(), Staging::new(piece));
        let (marks, lost) = (VecDeque::new(), None);
        let (held, peak) = (0, 0);
        let inner = Inner { launcher, lanes, staging, marks, limit, held, peak, lost };
        Queue(Rc::new(RefCell::new(inner)))
    }

    /// The launcher, once nobody else has the queue or memory of it.
    pub(crate) fn into_launcher(self) -> Box<dyn Launcher> {
        let inner = Rc::into_inner(self.0).expect("the last one that has it");
        let Inner { mut launcher, mut lanes, mut staging, .. } = inner.into_inner();
        if lanes.finish(&mut *launcher).is_ok() {
            staging.give_back(&mut *launcher);
        }
        launcher
    }

    pub(crate) fn describe(&self) -> String {
        self.0.borrow().launcher.describe()
    }

    /// Whether the device still works.
    ///
    /// # Errors
    /// It is lost.
    pub(crate) fn alive(&self) -> Result<(), String> {
        self.asked(|_| Ok(()))
    }

    /// Bytes of memory that may be held at most.
    pub(crate) fn limit(&self) -> usize {
        self.0.borrow().limit
    }

    /// Bytes of memory held now, and the most that were.
    pub fn held(&self) -> (usize, usize) {
        let inner = self.0.borrow();
        (inner.held, inner.peak)
    }

    /// Bytes of memory held when the device was lost; now where it isn't.
    pub(crate) fn held_at_last(&self) -> usize {
        let inner = self.0.borrow();
        inner.lost.as_ref().map_or(inner.held, |(_, held)| *held)
    }

    /// Bytes of memory that may still be taken.
    pub(crate) fn left(&self) -> usize {
        let inner = self.0.borrow();
        inner.limit - inner.held
    }

    /// Memory of so many bytes, which hold anything.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn make(&self, bytes: usize) -> Result<Memory, String> {
        let buffer = self.asked(|inner| {
            if inner.held + bytes > inner.limit {
                let (held, limit) = (inner.held, inner.limit);
                return Err(format!("{bytes} bytes more than the {held} held exceed {limit}"));
            }
            let buffer = inner.launcher.make(bytes)?;
            inner.lanes.made(buffer);
            inner.held += bytes;
            inner.peak = inner.peak.max(inner.held);
            Ok(buffer)
        })?;
        Ok(Memory { queue: self.clone(), buffer, bytes })
    }

    /// Memory that holds these numbers.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn upload<T: NoUninit>(&self, numbers: &[T]) -> Result<Memory, String> {
        let memory = self.make(size_of_val(numbers))?;
        memory.write(0, numbers)?;
        Ok(memory)
    }

    /// Memory of so many bytes of zeros.
    ///
    /// # Errors
    /// The device is full or lost.
    pub(crate) fn zeros(&self, bytes: usize) -> Result<Memory, String> {
        let memory = self.make(bytes)?;
        memory.clear()?;
        Ok(memory)
    }

    /// Starts a kernel after all before. The memory that it works on may go back at once.
    ///
    /// # Errors
    /// The device is lost or refuses it.
    pub(crate) fn launch(&self, launch: &Launch) -> Result<(), String> {
        if launch.groups.contains(&0) {
            return Ok(());
        }
        let buffers = launch.arguments.iter().filter_map(|argument| match argument {
            Argument::Buffer(buffer) => Some(*buffer),
            _ => None,
        });
        self.asked(|Inner { launcher, lanes, .. }| {
            lanes.begin(&mut **launcher, Lane::Work, buffers)?;
            launcher.launch(launch)
        })
    }

    /// Marks a place after all launches so far.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn mark(&self) -> Result<(), String> {
        self.asked(|Inner { launcher, lanes, marks, .. }| {
            marks.push_back(lanes.mark(&mut **launcher, Lane::Work)?);
            Ok(())
        })
    }

    /// Marks that the device hasn't come to yet.
    ///
    /// # Errors
    /// The device is lost, or a launch or a copy has failed.
    pub(crate) fn marks_left(&self) -> Result<usize, String> {
        self.asked(|Inner { launcher, lanes, marks, .. }| {
            while let Some(place) = marks.front() {
                if !lanes.passed(&mut **launcher, (Lane::Work, *place))? {
                    break;
                }
                marks.pop_front();
            }
            Ok(marks.len())
        })
    }

    /// Waits for all launches and copies so far.
    ///
    /// # Errors
    /// The device is lost, or one of them has failed.
    pub(crate) fn finish(&self) -> Result<(), String> {
        self.asked(|Inner { launcher, lanes, .. }| lanes.finish(&mut **launcher))
    }

    /// Gives back a piece of memory that something came down through.
    pub(super) fn leave(&self, piece: (Lane, usize)) {
        self.0.borrow_mut().staging.leave(piece);
    }

    /// Asks the launcher, unless the device is lost; what it can't do it is lost by.
    pub(super) fn asked<T>(
        &self,
        ask: impl FnOnce(&mut Inner) -> Result<T, String>,
    ) -> Result<T, String> {
        let inner = &mut *self.0.borrow_mut();
        if let Some((lost, _)) = &inner.lost {
            return Err(lost.clone());
        }
        let outcome = ask(inner);
        inner.lost = outcome.as_ref().err().map(|text| (text.clone(), inner.held));
        outcome
    }
}

impl Memory {
    pub(crate) fn buffer(&self) -> Buffer {
        self.buffer
    }

    /// Whether it holds so many bytes.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        bytes <= self.bytes
    }

    /// Copies numbers to it, from number `at` on. They may change at once.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn write<T: NoUninit>(&self, at: usize, numbers: &[T]) -> Result<(), String> {
        self.write_all(Lane::Work, at, numbers)
    }

    /// The same beside launches that don't use this memory, if no launch before does.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn write_beside<T: NoUninit>(&self, at: usize, numbers: &[T]) -> Result<(), String> {
        self.write_all(Lane::Up, at, numbers)
    }

    fn write_all<T: NoUninit>(&self, lane: Lane, at: usize, numbers: &[T]) -> Result<(), String> {
        let (at, bytes) = (at * size_of::<T>(), bytemuck::cast_slice(numbers));
        let mut done = 0;
        while done < bytes.len() {
            done += self.write_piece(lane, at + done, &bytes[done..], true)?;
        }
        Ok(())
    }

    /// As `write_beside`, of as many bytes as can be copied now without waiting; how many.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn write_some(&self, at: usize, bytes: &[u8]) -> Result<usize, String> {
        self.write_piece(Lane::Up, at, bytes, false)
    }

    fn write_piece(
        &self,
        lane: Lane,
        at: usize,
        bytes: &[u8],
        waits: bool,
    ) -> Result<usize, String> {
        self.proves(at, bytes.len());
        self.queue.asked(|Inner { launcher, lanes, staging, .. }| {
            let launcher = &mut **launcher;
            let room = staging.fill((launcher, lanes), lane, bytes, waits)?;
            let Some((stage, from, count)) = room else { return Ok(0) };
            let place = lanes.begin(launcher, lane, [self.buffer].into_iter())?;
            launcher.send(lane, (stage, from..from + count), (self.buffer, at))?;
            if staging.sent(lane, place) {
                lanes.mark(launcher, lane)?;
            }
            Ok(count)
        })
    }

    /// `count` numbers from number `at` on.
    ///
    /// # Errors
    /// The device is lost, or a launch before has failed.
    pub(crate) fn read<T: Pod>(&self, at: usize, count: usize) -> Result<Vec<T>, String> {
        let mut numbers = vec![T::zeroed(); count];
        self.read_into(at, &mut numbers)?;
        Ok(numbers)
    }

    /// All of its numbers.
    ///
    /// # Errors
    /// As of `read`.
    pub(crate) fn read_all<T: Pod>(&self) -> Result<Vec<T>, String> {
        self.read(0, self.bytes / size_of::<T>())
    }

    /// Numbers from number `at` on.
    ///
    /// # Errors
    /// The device is lost, or a launch before has failed.
    pub(crate) fn read_into<T: Pod>(&self, at: usize, numbers: &mut [T]) -> Result<(), String> {
        let at = at * size_of::<T>();
        let mut left = bytemuck::cast_slice_mut::<T, u8>(numbers);
        let (mut asked, mut fetches) = (0, VecDeque::new());
        while !left.is_empty() {
            let more = left.len() - fetches.iter().map(Fetch::bytes).sum::<usize>();
            let fetch = match more {
                0 => None,
                more => self.fetch_piece(Lane::Work, at + asked, more, fetches.is_empty())?,
            };
            if let Some(fetch) = fetch {
                asked += fetch.bytes;
                fetches.push_back(fetch);
                continue;
            }
            let fetch = fetches.pop_front().expect("one at least is under way");
            let (own, after) = left.split_at_mut(fetch.bytes);
            fetch.wait(own)?;
            left = after;
        }
        Ok(())
    }

    /// Begins to fetch at most so many bytes, from byte `at` on, beside launches after this; none
    /// where that would have to wait for others that are fetched.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn fetch_some(&self, at: usize, bytes: usize) -> Result<Option<Fetch>, String> {
        self.fetch_piece(Lane::Down, at, bytes, false)
    }

    fn fetch_piece(
        &self,
        lane: Lane,
        at: usize,
        bytes: usize,
        waits: bool,
    ) -> Result<Option<Fetch>, String> {
        self.proves(at, bytes);
        self.queue.asked(|Inner { launcher, lanes, staging, .. }| {
            let launcher = &mut **launcher;
            let room = staging.take((launcher, lanes), lane, waits)?;
            let Some((piece, stage, most)) = room else { return Ok(None) };
            let bytes = bytes.min(most);
            let place = lanes.begin(launcher, lane, [self.buffer].into_iter())?;
            launcher.fetch(lane, (self.buffer, at), (stage, 0..bytes))?;
            staging.fetched((lane, piece), place);
            lanes.mark(launcher, lane)?;
            Ok(Some(Fetch { queue: self.queue.clone(), piece: (lane, piece), bytes }))
        })
    }

    /// Zeros all of it.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn clear(&self) -> Result<(), String> {
        self.clear_first(self.bytes)
    }

    /// Zeros its first bytes.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn clear_first(&self, bytes: usize) -> Result<(), String> {
        self.proves(0, bytes);
        match bytes {
            0 => Ok(()),
            bytes => self.queue.asked(|Inner { launcher, lanes, .. }| {
                lanes.begin(&mut **launcher, Lane::Work, [self.buffer].into_iter())?;
                launcher.fill(self.buffer, 0, bytes, 0)
            }),
        }
    }

    fn proves(&self, at: usize, bytes: usize) {
        assert!(at + bytes <= self.bytes, "bytes beyond a device's memory");
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Inner { launcher, lanes, held, lost, .. } = &mut *self.queue.0.borrow_mut();
        *held -= self.bytes;
        // Work after this may be given the same memory, which copies may still be at.
        let followed = lanes.begin(&mut **launcher, Lane::Work, [self.buffer].into_iter());
        launcher.free(self.buffer);
        if let Err(error) = followed {
            lost.get_or_insert((error, *held));
        }
    }
}
