//! The device's own memory: what is there was sent up, what anybody sees was sent down, and every
//! byte of it is counted.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// Bytes of a device: those it holds, the most it has held, those that were sent up and down; and
/// the calls made of it that may fail.
#[derive(Default)]
pub struct Meter {
    pub held: Cell<usize>,
    pub peak: Cell<usize>,
    pub up: Cell<usize>,
    pub down: Cell<usize>,
    pub calls: Cell<usize>,
}

fn add(to: &Cell<usize>, bytes: usize) {
    to.set(to.get() + bytes);
}

/// Numbers in the device's memory.
pub struct Buffer<T> {
    numbers: Vec<T>,
    meter: Rc<Meter>,
}

impl<T: Copy + Default> Buffer<T> {
    pub fn zeros(meter: &Rc<Meter>, length: usize) -> Buffer<T> {
        Buffer::of(meter, vec![T::default(); length])
    }

    /// Numbers that the device has made.
    pub fn of(meter: &Rc<Meter>, numbers: Vec<T>) -> Buffer<T> {
        add(&meter.held, size_of_val(&numbers[..]));
        meter.peak.set(meter.peak.get().max(meter.held.get()));
        Buffer { numbers, meter: meter.clone() }
    }

    /// Sends numbers of the host up.
    pub fn up(meter: &Rc<Meter>, numbers: &[T]) -> Buffer<T> {
        add(&meter.up, size_of_val(numbers));
        Buffer::of(meter, numbers.to_vec())
    }

    /// Sends them up to where others were.
    pub fn put(&mut self, numbers: &[T]) {
        add(&self.meter.up, size_of_val(numbers));
        self.numbers.copy_from_slice(numbers);
    }

    /// Sends them down.
    pub fn down(&self) -> &[T] {
        add(&self.meter.down, size_of_val(&self.numbers[..]));
        &self.numbers
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.numbers
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.numbers
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        self.meter.held.set(self.meter.held.get() - size_of_val(&self.numbers[..]));
    }
}
