//! Launches through OpenCL, whose loader is looked for at run time.

use std::collections::{HashMap, VecDeque};
use std::ptr;
use std::sync::Mutex;

use opencl3::command_queue::CommandQueue;
use opencl3::context::Context;
use opencl3::device::{CL_DEVICE_TYPE_ALL, CL_DEVICE_TYPE_GPU, Device, get_all_devices};
use opencl3::error_codes::ClError;
use opencl3::event::{CL_COMPLETE, Event};
use opencl3::kernel::Kernel;
use opencl3::memory::{Buffer as Memory, CL_MEM_READ_WRITE};
use opencl3::program::Program;
use opencl3::types::CL_BLOCKING;

use super::launcher::{Launcher, SLACK, Slots, UNWRITTEN};
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
    context: Context,
    queue: CommandQueue,
    program: Program,
    kernels: HashMap<&'static str, Kernel>,
    memory: Slots<Memory<u8>>,
    marks: VecDeque<Event>,
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
        let context = Context::from_device(&device).map_err(told("context"))?;
        #[allow(deprecated)]
        let queue = CommandQueue::create_default(&context, 0).map_err(told("queue"))?;
        let program = Program::create_and_build_from_source(&context, text, options)
            .map_err(|log| format!("OpenCL: the device text: {log}"))?;
        let (kernels, memory, marks) = (HashMap::new(), Slots::default(), VecDeque::new());
        Ok(OpenCl { device, context, queue, program, kernels, memory, marks })
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
fn lacks(device: &Device) -> Result<(), String> {
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

    fn make(&mut self, bytes: usize) -> Result<Buffer, String> {
        // SAFETY: no memory of the host is given.
        let memory = unsafe {
            Memory::create(&self.context, CL_MEM_READ_WRITE, bytes + SLACK, ptr::null_mut())
        };
        let memory = memory.map_err(told(&format!("{bytes} bytes of memory")))?;
        let buffer = self.memory.put(memory);
        self.fill(buffer, 0, bytes + SLACK, UNWRITTEN)?;
        Ok(buffer)
    }

    fn free(&mut self, buffer: Buffer) {
        self.memory.take(buffer);
    }

    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Result<(), String> {
        let memory = self.memory.of_mut(buffer);
        // SAFETY: the caller keeps within what it made, and the pattern is copied at once.
        unsafe { self.queue.enqueue_fill_buffer(memory, &[with], at, bytes, &[]) }
            .map(|_| ())
            .map_err(told("filling memory"))
    }

    fn write(&mut self, buffer: Buffer, at: usize, bytes: &[u8]) -> Result<(), String> {
        let memory = self.memory.of_mut(buffer);
        // SAFETY: the call blocks, so the bytes outlive it.
        unsafe { self.queue.enqueue_write_buffer(memory, CL_BLOCKING, at, bytes, &[]) }
            .map(|_| ())
            .map_err(told("copy to the device"))
    }

    fn read(&mut self, buffer: Buffer, at: usize, bytes: &mut [u8]) -> Result<(), String> {
        self.finish()?;
        let memory = self.memory.of(buffer);
        // SAFETY: the call blocks, so the bytes outlive it.
        unsafe { self.queue.enqueue_read_buffer(memory, CL_BLOCKING, at, bytes, &[]) }
            .map(|_| ())
            .map_err(told("copy from the device"))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), String> {
        if launch.groups.contains(&0) {
            return Ok(());
        }
        if !self.kernels.contains_key(launch.kernel) {
            let kernel =
                Kernel::create(&self.program, launch.kernel).map_err(told(launch.kernel))?;
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
                    Argument::Buffer(buffer) => kernel.set_arg(index, self.memory.of(*buffer)),
                }
            };
            set.map_err(told(launch.kernel))?;
        }
        let all = [launch.groups[0] * launch.threads, launch.groups[1]];
        let group = [launch.threads, 1];
        // SAFETY: sizes are two numbers each, as said, and the memory outlives the queue's work.
        unsafe {
            self.queue.enqueue_nd_range_kernel(
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

    fn mark(&mut self) -> Result<(), String> {
        // SAFETY: it waits for no event.
        let mark = unsafe { self.queue.enqueue_marker_with_wait_list(&[]) };
        self.marks.push_back(mark.map_err(told("a mark"))?);
        self.queue.flush().map_err(told("a mark"))
    }

    fn marks_left(&mut self) -> Result<usize, String> {
        while let Some(mark) = self.marks.front() {
            let status = mark.command_execution_status().map_err(told("a mark"))?.0;
            if status < 0 {
                return Err(format!("OpenCL: a kernel: {}", ClError(status)));
            }
            if status != CL_COMPLETE {
                break;
            }
            self.marks.pop_front();
        }
        Ok(self.marks.len())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.queue.finish().map_err(told("a kernel"))
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
