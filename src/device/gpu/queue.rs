//! A device's launches in order and its memory, which is counted and given back by itself.

use std::cell::RefCell;
use std::rc::Rc;

use bytemuck::{NoUninit, Pod};

use super::launcher::Launcher;
use crate::kernel::text::calls::{Buffer, Launch};

/// Launches and copies, one after another. Clones are the same one.
#[derive(Clone)]
pub struct Queue(Rc<RefCell<Inner>>);

struct Inner {
    launcher: Box<dyn Launcher>,
    /// Bytes of memory at most.
    limit: usize,
    held: usize,
    peak: usize,
    /// Why the device does nothing more.
    lost: Option<String>,
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
        Queue(Rc::new(RefCell::new(Inner { launcher, limit, held: 0, peak: 0, lost: None })))
    }

    /// The launcher, once nobody else has the queue or memory of it.
    pub(crate) fn into_launcher(self) -> Box<dyn Launcher> {
        let inner = Rc::into_inner(self.0).expect("the last one that has it");
        inner.into_inner().launcher
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

    /// Bytes of memory that may still be taken.
    pub(crate) fn left(&self) -> usize {
        let inner = self.0.borrow();
        inner.limit - inner.held
    }

    /// Memory of so many bytes, of which none is a number yet.
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
        self.asked(|inner| inner.launcher.launch(launch))
    }

    /// Marks a place after all launches so far.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn mark(&self) -> Result<(), String> {
        self.asked(|inner| inner.launcher.mark())
    }

    /// Marks that the device hasn't come to yet.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(crate) fn marks_left(&self) -> Result<usize, String> {
        self.asked(|inner| inner.launcher.marks_left())
    }

    /// Waits for all launches so far.
    ///
    /// # Errors
    /// The device is lost, or a launch has failed.
    pub(crate) fn finish(&self) -> Result<(), String> {
        self.asked(|inner| inner.launcher.finish())
    }

    /// Asks the launcher, unless the device is lost; what it can't do it is lost by.
    fn asked<T>(&self, ask: impl FnOnce(&mut Inner) -> Result<T, String>) -> Result<T, String> {
        let inner = &mut *self.0.borrow_mut();
        if let Some(lost) = &inner.lost {
            return Err(lost.clone());
        }
        let outcome = ask(inner);
        inner.lost = outcome.as_ref().err().cloned();
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

    /// Copies numbers to it, from number `at` on.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn write<T: NoUninit>(&self, at: usize, numbers: &[T]) -> Result<(), String> {
        let (at, bytes) = self.stretch::<T>(at, numbers.len());
        let content = bytemuck::cast_slice(numbers);
        assert_eq!(content.len(), bytes);
        self.queue.asked(|inner| match content {
            [] => Ok(()),
            content => inner.launcher.write(self.buffer, at, content),
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

    /// Numbers from number `at` on.
    ///
    /// # Errors
    /// The device is lost, or a launch before has failed.
    pub(crate) fn read_into<T: Pod>(&self, at: usize, numbers: &mut [T]) -> Result<(), String> {
        let (at, _) = self.stretch::<T>(at, numbers.len());
        self.queue.asked(|inner| match bytemuck::cast_slice_mut(numbers) {
            [] => Ok(()),
            content => inner.launcher.read(self.buffer, at, content),
        })
    }

    /// Zeros all of it.
    ///
    /// # Errors
    /// The device is lost.
    pub(crate) fn clear(&self) -> Result<(), String> {
        match self.bytes {
            0 => Ok(()),
            bytes => self.queue.asked(|inner| inner.launcher.fill(self.buffer, 0, bytes, 0)),
        }
    }

    /// First byte and bytes of some numbers in it.
    fn stretch<T>(&self, at: usize, count: usize) -> (usize, usize) {
        let (at, bytes) = (at * size_of::<T>(), count * size_of::<T>());
        assert!(at + bytes <= self.bytes, "numbers beyond a device's memory");
        (at, bytes)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let inner = &mut *self.queue.0.borrow_mut();
        inner.held -= self.bytes;
        inner.launcher.free(self.buffer);
    }
}
