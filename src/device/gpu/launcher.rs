//! What runs kernels of the device text: memory on a device, copies, launches in order.

use crate::kernel::text::calls::{Buffer, Launch};

/// A device that runs launches one after another in the order in which they come.
pub trait Launcher {
    /// Name, driver and version, in one line.
    fn describe(&self) -> String;

    /// Memory of so many bytes, whose content is arbitrary; a kernel may read up to 15 bytes
    /// beyond.
    ///
    /// # Errors
    /// The device is full.
    fn make(&mut self, bytes: usize) -> Result<Buffer, String>;

    /// Gives memory back.
    fn free(&mut self, buffer: Buffer);

    /// Copies to the device, from byte `at` of the buffer on.
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

    /// Waits for all launches so far.
    ///
    /// # Errors
    /// One of them has failed.
    fn finish(&mut self) -> Result<(), String>;
}

/// A buffer that holds these numbers.
///
/// # Errors
/// The device is full or lost.
pub fn upload<T: bytemuck::NoUninit>(
    launcher: &mut dyn Launcher,
    numbers: &[T],
) -> Result<Buffer, String> {
    let bytes: &[u8] = bytemuck::cast_slice(numbers);
    let buffer = launcher.make(bytes.len())?;
    launcher.write(buffer, 0, bytes)?;
    Ok(buffer)
}

/// The first `count` numbers of a buffer.
///
/// # Errors
/// The device is lost, or a launch before has failed.
pub fn download<T: bytemuck::Pod>(
    launcher: &mut dyn Launcher,
    buffer: Buffer,
    count: usize,
) -> Result<Vec<T>, String> {
    let mut numbers = vec![T::zeroed(); count];
    launcher.read(buffer, 0, bytemuck::cast_slice_mut(&mut numbers))?;
    Ok(numbers)
}

/// Gives the memory of several buffers back.
pub fn release(launcher: &mut dyn Launcher, buffers: &[Buffer]) {
    buffers.iter().for_each(|buffer| launcher.free(*buffer));
}
