//! What runs kernels of the device text: memory on a device, copies, launches in order.

use std::ops::Range;

use crate::kernel::text::calls::{Buffer, Launch};

/// Bytes that a kernel may read beyond a buffer.
pub(crate) const SLACK: usize = 16;

/// What comes to a lane is done in the order in which it comes; lanes go on beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Launches, and copies that are in order with them.
    Work,
    /// Copies to the device that go on beside work.
    Up,
    /// Copies from it.
    Down,
}

impl Lane {
    pub const ALL: [Lane; 3] = [Lane::Work, Lane::Up, Lane::Down];
}

/// A place in a lane, after all that had come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub usize);

/// Memory of the host that copies go through, which stays where it is (pinned).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage(pub usize);

/// A device that does what comes to each of its lanes in order. What it is asked for lies within
/// the buffers that it made. Which lane has to follow which is for `Queue` to say.
pub trait Launcher {
    /// Name, driver and version, in one line.
    fn describe(&self) -> String;

    /// Bytes of memory that are free, or all that it has where it doesn't tell.
    ///
    /// # Errors
    /// The device is lost.
    fn free_bytes(&mut self) -> Result<usize, String>;

    /// Bytes of a single buffer at most.
    ///
    /// # Errors
    /// The device is lost.
    fn largest(&mut self) -> Result<usize, String>;

    /// Memory of so many bytes, holding anything, and `SLACK` more. It is there once all work so
    /// far is through.
    ///
    /// # Errors
    /// The device is full.
    fn make(&mut self, bytes: usize) -> Result<Buffer, String>;

    /// Gives memory back once all work so far is through.
    fn free(&mut self, buffer: Buffer);

    /// Sets bytes from byte `at` of the buffer on, as work.
    ///
    /// # Errors
    /// The device is lost.
    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Result<(), String>;

    /// Starts a kernel, which is work. A launch of no group does nothing.
    ///
    /// # Errors
    /// The device refuses it.
    fn launch(&mut self, launch: &Launch) -> Result<(), String>;

    /// Memory of the host for copies, as long as the launcher lives or until it is taken back.
    ///
    /// # Errors
    /// The host has none to give.
    fn stage(&mut self, bytes: usize) -> Result<Stage, String>;

    /// Takes it back. No copy of it is under way.
    fn unstage(&mut self, stage: Stage);

    /// Bytes of it, which no copy under way reads or writes.
    fn staged(&mut self, stage: Stage, bytes: Range<usize>) -> &mut [u8];

    /// Starts to copy bytes of the host to the device, from byte `at` of the buffer on.
    ///
    /// # Errors
    /// The device is lost.
    fn send(
        &mut self,
        lane: Lane,
        from: (Stage, Range<usize>),
        to: (Buffer, usize),
    ) -> Result<(), String>;

    /// Starts to copy from the device to those bytes of the host.
    ///
    /// # Errors
    /// The device is lost.
    fn fetch(
        &mut self,
        lane: Lane,
        from: (Buffer, usize),
        to: (Stage, Range<usize>),
    ) -> Result<(), String>;

    /// Marks a place after all that has come to a lane, and has the device begin with that.
    ///
    /// # Errors
    /// The device is lost.
    fn mark(&mut self, lane: Lane) -> Result<Mark, String>;

    /// What comes to this lane from now on waits until the other one has come to the mark.
    ///
    /// # Errors
    /// The device is lost.
    fn follow(&mut self, lane: Lane, mark: Mark) -> Result<(), String>;

    /// Whether the device has come to a mark.
    ///
    /// # Errors
    /// The device is lost, or something before the mark has failed.
    fn passed(&mut self, mark: Mark) -> Result<bool, String>;

    /// Waits until it has.
    ///
    /// # Errors
    /// As of `passed`.
    fn wait(&mut self, mark: Mark) -> Result<(), String>;

    /// Nobody asks for this mark any more; its number comes again.
    fn forget(&mut self, mark: Mark);
}

/// What a launcher has of each number that it gives. Numbers of what was given back come again.
pub(crate) struct Slots<T> {
    slots: Vec<Option<T>>,
    empty: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { slots: Vec::new(), empty: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(crate) fn put(&mut self, own: T) -> usize {
        match self.empty.pop() {
            Some(index) => {
                self.slots[index] = Some(own);
                index
            }
            None => {
                self.slots.push(Some(own));
                self.slots.len() - 1
            }
        }
    }

    pub(crate) fn take(&mut self, index: usize) -> T {
        self.empty.push(index);
        self.slots[index].take().expect("what wasn't given back")
    }

    pub(crate) fn of(&self, index: usize) -> &T {
        self.slots[index].as_ref().expect("what wasn't given back")
    }

    pub(crate) fn of_mut(&mut self, index: usize) -> &mut T {
        self.slots[index].as_mut().expect("what wasn't given back")
    }

    /// All that there are.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.empty.clear();
        self.slots.drain(..).flatten()
    }
}
