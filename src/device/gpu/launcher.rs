//! What runs kernels of the device text: memory on a device, copies, launches in order.

use crate::kernel::text::calls::{Buffer, Launch};

/// Bytes that a kernel may read beyond a buffer.
pub(crate) const SLACK: usize = 16;

/// What memory holds that nobody has written: no number, neither in 32 nor in 64 bits.
pub(crate) const UNWRITTEN: u8 = 0xff;

/// A device that runs launches one after another in the order in which they come. What it is asked
/// for lies within the buffers that it made.
pub trait Launcher {
    /// Name, driver and version, in one line.
    fn describe(&self) -> String;

    /// Bytes of memory that are free, or all that it has where it doesn't tell.
    ///
    /// # Errors
    /// The device is lost.
    fn free_bytes(&mut self) -> Result<usize, String>;

    /// Memory of so many bytes, `UNWRITTEN`, and `SLACK` more.
    ///
    /// # Errors
    /// The device is full.
    fn make(&mut self, bytes: usize) -> Result<Buffer, String>;

    /// Gives memory back once all launches so far are through.
    fn free(&mut self, buffer: Buffer);

    /// Sets bytes from byte `at` of the buffer on, after all launches so far.
    ///
    /// # Errors
    /// The device is lost.
    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Result<(), String>;

    /// Copies to the device, from byte `at` of the buffer on, after all launches so far.
    ///
    /// # Errors
    /// The device is lost.
    fn write(&mut self, buffer: Buffer, at: usize, bytes: &[u8]) -> Result<(), String>;

    /// Copies from the device once all launches so far are through.
    ///
    /// # Errors
    /// The device is lost, or a launch before has failed.
    fn read(&mut self, buffer: Buffer, at: usize, bytes: &mut [u8]) -> Result<(), String>;

    /// Starts a kernel. A launch of no group does nothing.
    ///
    /// # Errors
    /// The device refuses it.
    fn launch(&mut self, launch: &Launch) -> Result<(), String>;

    /// Marks a place after all launches so far, and has the device begin with them.
    ///
    /// # Errors
    /// The device is lost.
    fn mark(&mut self) -> Result<(), String>;

    /// Marks that the device hasn't come to yet.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    fn marks_left(&mut self) -> Result<usize, String>;

    /// Waits for all launches so far.
    ///
    /// # Errors
    /// One of them has failed.
    fn finish(&mut self) -> Result<(), String>;
}

/// What a launcher has for each buffer. Numbers of buffers that were given back come again.
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
    pub(crate) fn put(&mut self, memory: T) -> Buffer {
        match self.empty.pop() {
            Some(index) => {
                self.slots[index] = Some(memory);
                Buffer(index)
            }
            None => {
                self.slots.push(Some(memory));
                Buffer(self.slots.len() - 1)
            }
        }
    }

    pub(crate) fn take(&mut self, buffer: Buffer) -> T {
        self.empty.push(buffer.0);
        self.slots[buffer.0].take().expect("memory that wasn't given back")
    }

    pub(crate) fn of(&self, buffer: Buffer) -> &T {
        self.slots[buffer.0].as_ref().expect("memory that wasn't given back")
    }

    pub(crate) fn of_mut(&mut self, buffer: Buffer) -> &mut T {
        self.slots[buffer.0].as_mut().expect("memory that wasn't given back")
    }
}
