//! Launches of the device text compiled as plain C++: what tests compare without any driver.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ops::Range;
use std::path::Path;

use libloading::Library;

use crate::device::gpu::launcher::{Lane, Launcher, Mark, SLACK, Slots, Stage};
use crate::kernel::text::calls::{Buffer, Launch};

/// As `plain_run` of plain.cpp.
type Run = unsafe extern "C" fn(
    *const c_char,
    c_int,
    c_int,
    c_int,
    *const *const c_void,
    u64,
    c_int,
) -> c_int;

/// In which order a group's threads take turns between two barriers.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Forward,
    Reverse,
    /// Drawn anew after each barrier.
    Random(u64),
}

/// The calling thread as a device.
pub struct Plain {
    run: Run,
    order: Order,
    /// The barrier that is left out, as a control.
    left_out: Option<usize>,
    memory: Slots<Vec<u64>>,
    /// What copies go through.
    stages: Slots<Vec<u8>>,
    /// What `run` is a function of.
    _library: Library,
}

impl Plain {
    /// A device that runs the kernels of a build of plain.cpp, a shared library.
    ///
    /// # Errors
    /// It is no such library.
    ///
    /// # Safety
    /// It has been built of plain.cpp with the text that `calls.rs` calls.
    pub unsafe fn new(
        library: &Path,
        order: Order,
        left_out: Option<usize>,
    ) -> Result<Plain, String> {
        let told = |error: libloading::Error| format!("{}: {error}", library.display());
        // SAFETY: loading it runs nothing of its own, as the caller promises.
        let loaded = unsafe { Library::new(library) }.map_err(told)?;
        // SAFETY: plain.cpp declares it so.
        let run = unsafe { loaded.get::<Run>("plain_run") }.map(|run| *run).map_err(told)?;
        let (memory, stages) = (Slots::default(), Slots::default());
        Ok(Plain { run, order, left_out, memory, stages, _library: loaded })
    }

    /// How many barriers the text of such a library has.
    ///
    /// # Errors
    /// It is no such library.
    ///
    /// # Safety
    /// As for `new`.
    pub unsafe fn barriers(library: &Path) -> Result<usize, String> {
        let told = |error: libloading::Error| format!("{}: {error}", library.display());
        // SAFETY: as in `new`.
        let loaded = unsafe { Library::new(library) }.map_err(told)?;
        // SAFETY: plain.cpp declares it so, and it only gives a number.
        let count = unsafe {
            loaded.get::<unsafe extern "C" fn() -> c_int>("plain_barriers").map_err(told)?()
        };
        usize::try_from(count).map_err(|_| "fewer than no barriers".into())
    }

    fn memory(&mut self, buffer: Buffer) -> &mut [u8] {
        bytemuck::cast_slice_mut(self.memory.of_mut(buffer.0))
    }
}

impl Launcher for Plain {
    fn describe(&self) -> String {
        format!("plain C++, threads of a group in order {:?}", self.order)
    }

    fn free_bytes(&mut self) -> Result<usize, String> {
        Ok(usize::MAX)
    }

    fn largest(&mut self) -> Result<usize, String> {
        Ok(usize::MAX)
    }

    fn make(&mut self, bytes: usize) -> Result<Buffer, String> {
        // What isn't written is no number.
        Ok(Buffer(self.memory.put(vec![u64::MAX; (bytes + SLACK).div_ceil(8)])))
    }

    fn free(&mut self, buffer: Buffer) {
        self.memory.take(buffer.0);
    }

    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Result<(), String> {
        self.memory(buffer)[at..at + bytes].fill(with);
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), String> {
        let words = launch.words(|buffer| self.memory(buffer).as_mut_ptr() as u64);
        let places: Vec<*const c_void> =
            words.iter().map(|word| std::ptr::from_ref(word).cast()).collect();
        let name = CString::new(launch.kernel).expect("a name without zero bytes");
        let [x, y] = launch.groups.map(|groups| groups as c_int);
        let order = match self.order {
            Order::Forward => 0,
            Order::Reverse => 1,
            Order::Random(seed) => seed | 2,
        };
        let (threads, left_out) =
            (launch.threads as c_int, self.left_out.map_or(-1, |barrier| barrier as c_int));
        // SAFETY: as `new` asks; `calls.rs` packs the arguments as the text declares them, and
        // they outlive the call.
        let code =
            unsafe { (self.run)(name.as_ptr(), x, y, threads, places.as_ptr(), order, left_out) };
        (code == 0).then_some(()).ok_or_else(|| format!("no kernel {}", launch.kernel))
    }

    fn stage(&mut self, bytes: usize) -> Result<Stage, String> {
        Ok(Stage(self.stages.put(vec![0; bytes])))
    }

    fn unstage(&mut self, stage: Stage) {
        self.stages.take(stage.0);
    }

    fn staged(&mut self, stage: Stage, bytes: Range<usize>) -> &mut [u8] {
        &mut self.stages.of_mut(stage.0)[bytes]
    }

    // Everything is done at once, so every lane has come to every mark.

    fn send(
        &mut self,
        _: Lane,
        (stage, bytes): (Stage, Range<usize>),
        (buffer, at): (Buffer, usize),
    ) -> Result<(), String> {
        let to: &mut [u8] = bytemuck::cast_slice_mut(self.memory.of_mut(buffer.0));
        to[at..at + bytes.len()].copy_from_slice(&self.stages.of(stage.0)[bytes]);
        Ok(())
    }

    fn fetch(
        &mut self,
        _: Lane,
        (buffer, at): (Buffer, usize),
        (stage, bytes): (Stage, Range<usize>),
    ) -> Result<(), String> {
        let from: &[u8] = bytemuck::cast_slice(self.memory.of(buffer.0));
        let bytes = &mut self.stages.of_mut(stage.0)[bytes];
        bytes.copy_from_slice(&from[at..at + bytes.len()]);
        Ok(())
    }

    fn mark(&mut self, _: Lane) -> Result<Mark, String> {
        Ok(Mark(0))
    }

    fn follow(&mut self, _: Lane, _: Mark) -> Result<(), String> {
        Ok(())
    }

    fn passed(&mut self, _: Mark) -> Result<bool, String> {
        Ok(true)
    }

    fn wait(&mut self, _: Mark) -> Result<(), String> {
        Ok(())
    }

    fn forget(&mut self, _: Mark) {}
}
