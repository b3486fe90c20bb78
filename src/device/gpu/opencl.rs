//! Launches through OpenCL, whose loader is looked for at run time.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use opencl3::command_queue::CommandQueue;
use opencl3::context::Context;
use opencl3::device::{CL_DEVICE_TYPE_ALL, CL_DEVICE_TYPE_GPU, Device, get_all_devices};
use opencl3::error_codes::ClError;
use opencl3::event::{CL_COMPLETE, Event};
use opencl3::kernel::Kernel;
use opencl3::memory::{
    Buffer as Memory, CL_MAP_READ, CL_MAP_WRITE, CL_MEM_ALLOC_HOST_PTR, CL_MEM_READ_WRITE, ClMem,
};
use opencl3::program::Program;
use opencl3::types::{CL_BLOCKING, CL_NON_BLOCKING};

use super::launcher::{Lane, Launcher, Mark, SLACK, Slots, Stage};
use crate::kernel::text::calls::{Argument, Buffer, Launch};

/// Which devices are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    Gpus,
    /// GPUs where there are any, else whatever there is.
    Any,
}

/// The devices of all platforms.
///
/// # Errors
/// There is no loader, or it fails.
pub fn devices(kinds: Kinds) -> Result<Vec<Device>, String> {
    // Loaders and PoCL find their devices at the first call, which two threads mustn't make.
    static FIND: Mutex<()> = Mutex::new(());
    let _alone = FIND.lock();
    let of = |kind| get_all_devices(kind).map_err(told("devices"));
    let mut found = of(CL_DEVICE_TYPE_GPU)?;
    if found.is_empty() && kinds == Kinds::Any {
        found = of(CL_DEVICE_TYPE_ALL)?;
    }
    Ok(found.into_iter().map(Device::new).collect())
}

/// One device with the device text's kernels.
pub struct OpenCl {
    device: Device,
    built: Arc<Built>,
    /// Those of the lanes, and one that maps memory of the host at once.
    queues: [CommandQueue; 3],
    maps: CommandQueue,
    kernels: HashMap<&'static str, Kernel>,
    memory: Slots<Memory<u8>>,
    stages: Slots<Mapped>,
    marks: Slots<Marked>,
    /// Copies of each lane since its last mark.
    copies: [Vec<Event>; 3],
}

/// The kernels of a text for a device, and where they run. Ranks that are threads share them: a
/// process compiles a text for a device once.
struct Built {
    context: Context,
    program: Program,
}

impl Built {
    fn of(device: &Device, text: &str, options: &str) -> Result<Arc<Built>, String> {
        static ALL: Mutex<BTreeMap<(usize, String), Arc<Built>>> = Mutex::new(BTreeMap::new());
        let key = (device.id() as usize, format!("{options}\n{text}"));
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = all.get(&key) {
            return Ok(Arc::clone(built));
        }
        let context = Context::from_device(device).map_err(told("context"))?;
        let program = Program::create_and_build_from_source(&context, text, options)
            .map_err(|log| format!("OpenCL: the device text: {log}"))?;
        let built = Arc::new(Built { context, program });
        all.insert(key, Arc::clone(&built));
        Ok(built)
    }
}

/// Memory of the host, mapped for as long as it is there.
struct Mapped {
    memory: Memory<u8>,
    place: *mut c_void,
    bytes: usize,
}

/// A mark, and the copies before it: what of those has failed its own event need not say.
struct Marked {
    event: Event,
    copies: Vec<Event>,
}

fn told(what: &str) -> impl FnOnce(ClError) -> String + '_ {
    move |error| format!("OpenCL: {what}: {error}")
}

impl OpenCl {
    /// A device with this text's kernels.
    ///
    /// # Errors
    /// It lacks what the bits need, or doesn't take the text.
    pub fn of(device: Device, text: &str, options: &str) -> Result<OpenCl, String> {
        lacks(&device)?;
        let built = Built::of(&device, text, options)?;
        let queue = || {
            #[allow(deprecated)]
            CommandQueue::create_default(&built.context, 0).map_err(told("queue"))
        };
        let (queues, maps) = ([queue()?, queue()?, queue()?], queue()?);
        Ok(OpenCl {
            device,
            built,
            queues,
            maps,
            kernels: HashMap::new(),
            memory: Slots::default(),
            stages: Slots::default(),
            marks: Slots::default(),
            copies: Default::default(),
        })
    }

    fn queue(&self, lane: Lane) -> &CommandQueue {
        &self.queues[lane as usize]
    }

    /// Gives memory of the host back, of which no copy is under way.
    fn unmap(&self, stage: Mapped) {
        let Mapped { memory, place, .. } = stage;
        // SAFETY: it is mapped there. An error is a lost device, of which the next call tells.
        let _ = unsafe { self.maps.enqueue_unmap_mem_object(memory.get(), place, &[]) };
        let _ = self.maps.finish();
    }
}

/// Name, version and driver of a device, and the bytes of its memory.
///
/// # Errors
/// It doesn't tell.
pub(super) fn introduce(device: &Device) -> Result<(String, u64), String> {
    let [name, version, driver] = [device.name(), device.version(), device.driver_version()]
        .map(|text| text.unwrap_or_default());
    let bytes = device.global_mem_size().map_err(told("device"))?;
    Ok((format!("OpenCL: {name}, {version}, driver {driver}"), bytes))
}

/// Refuses a device that lacks what the bits need, or that can't be used.
pub(super) fn lacks(device: &Device) -> Result<(), String> {
    let single = device.single_fp_config().map_err(told("device"))?;
    let double = device.double_fp_config().unwrap_or(0);
    let compiles = device.compiler_available().unwrap_or(false);
    let mut lacking = lacking(single, double);
    lacking.extend((!compiles).then_some("compiler"));
    match &lacking[..] {
        [] => Ok(()),
        lacking => Err(format!("OpenCL: the device has no {}", lacking.join(", no "))),
    }
}

/// What of the bits' needs a device lacks, by what it says of its numbers of 32 and of 64 bits.
fn lacking(single: u64, double: u64) -> Vec<&'static str> {
    const NEEDED: [(u64, &str); 4] = [
        (1 << 0, "denormals"),
        (1 << 2, "rounding to nearest"),
        (1 << 5, "fused multiply-add"),
        (1 << 7, "correctly rounded division and root"),
    ];
    let missing = NEEDED.iter().filter(|needed| single & needed.0 == 0).map(|needed| needed.1);
    missing.chain((double == 0).then_some("float64")).collect()
}

impl Launcher for OpenCl {
    fn describe(&self) -> String {
        introduce(&self.device).map_or_else(|text| text, |(name, _)| name)
    }

    fn free_bytes(&mut self) -> Result<usize, String> {
        let bytes = self.device.global_mem_size().map_err(told("device"))?;
        usize::try_from(bytes).map_err(|_| "OpenCL: a device of another world".into())
    }

    fn largest(&mut self) -> Result<usize, String> {
        let bytes = self.device.max_mem_alloc_size().map_err(told("device"))?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(SLACK))
    }

    fn make(&mut self, bytes: usize) -> Result<Buffer, String> {
        // SAFETY: no memory of the host is given.
        let memory = unsafe {
            Memory::create(&self.built.context, CL_MEM_READ_WRITE, bytes + SLACK, ptr::null_mut())
        };
        let memory = memory.map_err(told(&format!("{bytes} bytes of memory")))?;
        Ok(Buffer(self.memory.put(memory)))
    }

    fn free(&mut self, buffer: Buffer) {
        self.memory.take(buffer.0);
    }

    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Result<(), String> {
        let memory = self.memory.of_mut(buffer.0);
        let work = &self.queues[Lane::Work as usize];
        // SAFETY: the caller keeps within what it made, and the pattern is copied at once.
        unsafe { work.enqueue_fill_buffer(memory, &[with], at, bytes, &[]) }
            .map(|_| ())
            .map_err(told("filling memory"))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), String> {
        if launch.groups.contains(&0) {
            return Ok(());
        }
        if !self.kernels.contains_key(launch.kernel) {
            let kernel =
                Kernel::create(&self.built.program, launch.kernel).map_err(told(launch.kernel))?;
            self.kernels.insert(launch.kernel, kernel);
        }
        let kernel = &self.kernels[launch.kernel];
        for (index, argument) in launch.arguments.iter().enumerate() {
            let index = index as u32;
            // SAFETY: `calls.rs` packs the arguments as the text declares them.
            let set = unsafe {
                match argument {
                    Argument::Int(number) => kernel.set_arg(index, number),
                    Argument::Word(number) => kernel.set_arg(index, number),
                    Argument::Long(number) => kernel.set_arg(index, number),
                    Argument::Float(number) => kernel.set_arg(index, number),
                    Argument::Buffer(buffer) => kernel.set_arg(index, self.memory.of(buffer.0)),
                }
            };
            set.map_err(told(launch.kernel))?;
        }
        let all = [launch.groups[0] * launch.threads, launch.groups[1]];
        let group = [launch.threads, 1];
        // SAFETY: sizes are two numbers each, as said, and the memory outlives the queue's work.
        unsafe {
            self.queue(Lane::Work).enqueue_nd_range_kernel(
                kernel.get(),
                2,
                ptr::null(),
                all.as_ptr(),
                group.as_ptr(),
                &[],
            )
        }
        .map(|_| ())
        .map_err(told(launch.kernel))
    }

    fn stage(&mut self, bytes: usize) -> Result<Stage, String> {
        let flags = CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR;
        let failed = || told("pinned memory");
        // SAFETY: no memory of the host is given.
        let memory = unsafe { Memory::create(&self.built.context, flags, bytes, ptr::null_mut()) };
        let (memory, mut place) = (memory.map_err(failed())?, ptr::null_mut());
        let how = CL_MAP_READ | CL_MAP_WRITE;
        // SAFETY: all of it is mapped, and the call blocks until it is.
        unsafe {
            self.maps.enqueue_map_buffer(&memory, CL_BLOCKING, how, 0, bytes, &mut place, &[])
        }
        .map_err(failed())?;
        Ok(Stage(self.stages.put(Mapped { memory, place, bytes })))
    }

    fn unstage(&mut self, stage: Stage) {
        let stage = self.stages.take(stage.0);
        self.unmap(stage);
    }

    fn staged(&mut self, stage: Stage, bytes: Range<usize>) -> &mut [u8] {
        let stage = self.stages.of_mut(stage.0);
        // SAFETY: so many bytes are mapped there, which nobody else has: no copy is at those that
        // are asked for.
        unsafe { &mut slice::from_raw_parts_mut(stage.place.cast::<u8>(), stage.bytes)[bytes] }
    }

    fn send(
        &mut self,
        lane: Lane,
        (stage, bytes): (Stage, Range<usize>),
        (buffer, at): (Buffer, usize),
    ) -> Result<(), String> {
        let (queue, memory) = (&self.queues[lane as usize], self.memory.of_mut(buffer.0));
        let stage = self.stages.of(stage.0);
        // SAFETY: so many bytes are mapped there, and stay until all copies are through; the
        // caller keeps within what it made.
        let copy = unsafe {
            let all = slice::from_raw_parts(stage.place.cast::<u8>(), stage.bytes);
            queue.enqueue_write_buffer(memory, CL_NON_BLOCKING, at, &all[bytes], &[])
        };
        self.copies[lane as usize].push(copy.map_err(told("copy to the device"))?);
        Ok(())
    }

    fn fetch(
        &mut self,
        lane: Lane,
        (buffer, at): (Buffer, usize),
        (stage, bytes): (Stage, Range<usize>),
    ) -> Result<(), String> {
        let (queue, memory) = (&self.queues[lane as usize], self.memory.of(buffer.0));
        let stage = self.stages.of(stage.0);
        // SAFETY: as in `send`.
        let copy = unsafe {
            let all = slice::from_raw_parts_mut(stage.place.cast::<u8>(), stage.bytes);
            queue.enqueue_read_buffer(memory, CL_NON_BLOCKING, at, &mut all[bytes], &[])
        };
        self.copies[lane as usize].push(copy.map_err(told("copy from the device"))?);
        Ok(())
    }

    fn mark(&mut self, lane: Lane) -> Result<Mark, String> {
        let queue = self.queue(lane);
        // SAFETY: it waits for no event.
        let event = unsafe { queue.enqueue_marker_with_wait_list(&[]) }.map_err(told("a mark"))?;
        queue.flush().map_err(told("a mark"))?;
        let copies = std::mem::take(&mut self.copies[lane as usize]);
        Ok(Mark(self.marks.put(Marked { event, copies })))
    }

    fn follow(&mut self, lane: Lane, mark: Mark) -> Result<(), String> {
        let events = [self.marks.of(mark.0).event.get()];
        // SAFETY: the event lives as long as the mark.
        unsafe { self.queue(lane).enqueue_barrier_with_wait_list(&events) }
            .map(|_| ())
            .map_err(told("a mark"))
    }

    fn passed(&mut self, mark: Mark) -> Result<bool, String> {
        let Marked { event, copies } = self.marks.of(mark.0);
        let passed = status(event, "a kernel")? == CL_COMPLETE;
        if passed {
            copies.iter().try_for_each(|copy| status(copy, "a copy").map(|_| ()))?;
        }
        Ok(passed)
    }

    fn wait(&mut self, mark: Mark) -> Result<(), String> {
        self.marks.of(mark.0).event.wait().map_err(told("a kernel or a copy"))?;
        self.passed(mark).map(|_| ())
    }

    fn forget(&mut self, mark: Mark) {
        self.marks.take(mark.0);
    }
}

/// How far something has come.
///
/// # Errors
/// It has failed.
fn status(event: &Event, what: &str) -> Result<i32, String> {
    let status = event.command_execution_status().map_err(told(what))?.0;
    match status < 0 {
        true => Err(format!("OpenCL: {what}: {}", ClError(status))),
        false => Ok(status),
    }
}

impl Drop for OpenCl {
    /// Memory of the host goes back once no copy is under way.
    fn drop(&mut self) {
        for queue in &self.queues {
            let _ = queue.finish();
        }
        let stages: Vec<Mapped> = self.stages.drain().collect();
        stages.into_iter().for_each(|stage| self.unmap(stage));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the standard numbers them: denormals 1, infinities 2, rounding to nearest 4, to zero 8,
    /// to infinity 16, fused multiply-adds 32, software 64, exact division and roots 128.
    #[test]
    fn all_that_a_device_lacks_is_named() {
        assert_eq!(lacking(0b1010_0101, 1), Vec::<&str>::new());
        assert_eq!(lacking(0b1010_0100, 1), ["denormals"]);
        assert_eq!(lacking(0b1000_0101, 1), ["fused multiply-add"]);
        assert_eq!(lacking(0b0010_0101, 0), ["correctly rounded division and root", "float64"]);
        assert_eq!(lacking(0b0101_1010, 0).len(), 5);
    }
}
