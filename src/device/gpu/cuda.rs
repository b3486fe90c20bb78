//! Launches on NVIDIA GPUs through CUDA's driver, which is loaded at run time: no toolkit is needed
//! where the program is built or run.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ops::Range;
use std::{ptr, slice};

use cudarc::driver::{DriverError, result, sys};

use super::launcher::{Lane, Launcher, Mark, SLACK, Slots, Stage};
use crate::kernel::text::calls::{Buffer, Launch};

/// The compute capability that the PTX is made for; later ones take it, too.
const CAPABILITY: i32 = 8;
/// The version of CUDA whose drivers first take the PTX, as they tell it.
const VERSION: i32 = 13_000;
/// What people are told where a driver doesn't take it.
const TOO_OLD: &str = "the kernels need one for CUDA 13.0 (580) or later";

/// One GPU with the device text's kernels.
pub struct Cuda {
    functions: HashMap<&'static str, sys::CUfunction>,
    memory: Slots<sys::CUdeviceptr>,
    stages: Slots<Pinned>,
    marks: Slots<sys::CUevent>,
    opened: Opened,
}

/// What the driver gave, which goes back when it is dropped, also where not all of it could be had.
struct Opened {
    device: sys::CUdevice,
    module: Option<sys::CUmodule>,
    /// Those of the lanes: others of the process have streams of their own.
    streams: Vec<sys::CUstream>,
}

/// Memory of the host that stays where it is.
struct Pinned {
    place: *mut c_void,
    bytes: usize,
}

fn told(what: &str) -> impl FnOnce(DriverError) -> String + '_ {
    move |error| format!("CUDA: {what}: {error:?}")
}

impl Cuda {
    /// How many GPUs there are; none where there is no driver.
    ///
    /// # Errors
    /// The driver fails.
    pub(crate) fn count() -> Result<usize, String> {
        // SAFETY: it only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Ok(0);
        }
        match result::init() {
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => return Ok(0),
            started => started.map_err(told("start"))?,
        }
        let count = result::device::get_count().map_err(told("devices"))?;
        usize::try_from(count).map_err(|_| "CUDA: fewer than no devices".into())
    }

    /// GPU number `ordinal` with kernels of this PTX.
    ///
    /// # Errors
    /// There is no driver, no such GPU, the GPU lacks what the kernels need, or the driver doesn't
    /// take the PTX.
    pub fn new(ordinal: i32, ptx: &str) -> Result<Cuda, String> {
        let device = device_of(ordinal)?;
        lacks(device)?;
        // SAFETY: `device` is one that the driver gave.
        let context = unsafe { result::primary_ctx::retain(device) };
        let context = context.map_err(|error| match error {
            DriverError(sys::CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE) => {
                "CUDA: the GPU is in use: it is for one process alone, or for none".into()
            }
            error => told("context")(error),
        })?;
        let mut opened = Opened { device, module: None, streams: Vec::new() };
        // SAFETY: `context` was just retained.
        unsafe { result::ctx::set_current(context) }.map_err(told("context"))?;
        keep_freed_memory(device)?;
        let image = CString::new(ptx).map_err(|_| "CUDA: PTX with a zero byte".to_string())?;
        // SAFETY: the image is a text that ends with a zero byte and outlives the call.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        opened.module = Some(module.map_err(|error| match error {
            DriverError(sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION) => {
                format!("CUDA: the driver is too old: {TOO_OLD}")
            }
            error => told("PTX")(error),
        })?);
        for _ in Lane::ALL {
            let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
            opened.streams.push(stream.map_err(told("stream"))?);
        }
        let (functions, memory) = (HashMap::new(), Slots::default());
        let (stages, marks) = (Slots::default(), Slots::default());
        Ok(Cuda { functions, memory, stages, marks, opened })
    }

    fn place(&self, buffer: Buffer) -> sys::CUdeviceptr {
        *self.memory.of(buffer.0)
    }

    fn stream(&self, lane: Lane) -> sys::CUstream {
        self.opened.streams[lane as usize]
    }
}

/// Has the device's pool keep memory that is freed, for what is made next: else each wait gives it
/// back to the driver, which has to map it anew.
fn keep_freed_memory(device: sys::CUdevice) -> Result<(), String> {
    let (which, mut all) = (sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX);
    // SAFETY: `device` is one that the driver gave, and the attribute is a number of 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(device).map_err(told("memory pool"))?;
        result::mem_pool::set_attribute(pool, which, ptr::from_mut(&mut all).cast())
    }
    .map_err(told("memory pool"))
}

/// GPU number `ordinal`.
///
/// # Errors
/// There is no driver, or no such GPU.
fn device_of(ordinal: i32) -> Result<sys::CUdevice, String> {
    // SAFETY: it only looks for the library.
    if !unsafe { sys::is_culib_present() } {
        return Err("CUDA: no driver (libcuda.so) found".into());
    }
    result::init().map_err(told("start"))?;
    result::device::get(ordinal).map_err(told("device"))
}

/// Name and driver of GPU number `ordinal`, and the bytes of its memory.
///
/// # Errors
/// It doesn't tell.
pub(super) fn introduce(ordinal: i32) -> Result<(String, u64), String> {
    let device = device_of(ordinal)?;
    // SAFETY: `device` is one that the driver gave.
    let bytes = unsafe { result::device::total_mem(device) }.map_err(told("memory"))?;
    Ok((describe(device), bytes as u64))
}

/// What tells GPU number `ordinal` from all others, whatever of them a process sees; a part of a
/// GPU that stands for itself (MIG) from the other parts.
///
/// # Errors
/// It doesn't tell.
pub(super) fn identity(ordinal: i32) -> Result<String, String> {
    let (device, mut uuid) = (device_of(ordinal)?, sys::CUuuid { bytes: [0; 16] });
    // SAFETY: `device` is one that the driver gave, and `uuid` a place for what it tells.
    unsafe { sys::cuDeviceGetUuid_v2(&mut uuid, device) }.result().map_err(told("UUID"))?;
    Ok(uuid.bytes.iter().map(|byte| format!("{:02x}", *byte as u8)).collect())
}

fn describe(device: sys::CUdevice) -> String {
    let name = result::device::get_name(device).unwrap_or_default();
    format!("CUDA: {name}, driver for CUDA {}", in_words(version()))
}

/// The version of CUDA that the driver is for, a thousand a version; 0 where it doesn't tell.
fn version() -> i32 {
    let mut version = 0;
    // SAFETY: `version` is a place for the number.
    let _ = unsafe { sys::cuDriverGetVersion(&mut version) };
    version
}

fn in_words(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Refuses GPU number `ordinal` where it or its driver lacks what the kernels or the launcher need.
///
/// # Errors
/// What is lacking; or it doesn't tell.
pub(super) fn suffices(ordinal: i32) -> Result<(), String> {
    lacks(device_of(ordinal)?)
}

/// Refuses a driver that doesn't know the PTX, and a GPU that the kernels aren't compiled for, or
/// that lacks what the launcher needs. All others have float64, denormals, fused multiply-adds and
/// correctly rounded division and root, which the PTX asks for by name.
fn lacks(device: sys::CUdevice) -> Result<(), String> {
    if version() < VERSION {
        let own = in_words(version());
        return Err(format!("CUDA: the driver is for CUDA {own}: {TOO_OLD}"));
    }
    use sys::CUdevice_attribute as Of;
    let of = |which: Of| {
        // SAFETY: `device` is one that the driver gave.
        unsafe { result::device::get_attribute(device, which) }.map_err(told("device"))
    };
    let major = of(Of::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = of(Of::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    if major < CAPABILITY {
        return Err(format!(
            "CUDA: the GPU has compute capability {major}.{minor}, the kernels need {CAPABILITY}.0"
        ));
    }
    match of(Of::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)? {
        0 => Err("CUDA: the GPU has no memory pools".into()),
        _ => Ok(()),
    }
}

impl Launcher for Cuda {
    fn describe(&self) -> String {
        describe(self.opened.device)
    }

    fn free_bytes(&mut self) -> Result<usize, String> {
        result::mem_get_info().map(|(free, _)| free).map_err(told("memory"))
    }

    fn largest(&mut self) -> Result<usize, String> {
        Ok(usize::MAX)
    }

    fn make(&mut self, bytes: usize) -> Result<Buffer, String> {
        // SAFETY: the driver is up and the context current.
        let place = unsafe { result::malloc_async(self.stream(Lane::Work), bytes + SLACK) };
        let place = place.map_err(told(&format!("{bytes} bytes of memory")))?;
        Ok(Buffer(self.memory.put(place)))
    }

    fn free(&mut self, buffer: Buffer) {
        let place = self.memory.take(buffer.0);
        // SAFETY: the place came from `make` and is forgotten here. An error is a lost device, of
        // which the next call tells.
        let _ = unsafe { result::free_async(place, self.stream(Lane::Work)) };
    }

    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Result<(), String> {
        let (place, work) = (self.place(buffer) + at as u64, self.stream(Lane::Work));
        // SAFETY: the caller keeps within what it made.
        unsafe { result::memset_d8_async(place, with, bytes, work) }.map_err(told("filling memory"))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), String> {
        if launch.groups.contains(&0) {
            return Ok(());
        }
        let function = match self.functions.get(launch.kernel) {
            Some(function) => *function,
            None => {
                let name = CString::new(launch.kernel).expect("a name without zero bytes");
                let module = self.opened.module.expect("loaded");
                // SAFETY: the module was loaded and lives as long as this.
                let function = unsafe { result::module::get_function(module, name) };
                let function = function.map_err(told(launch.kernel))?;
                self.functions.insert(launch.kernel, function);
                function
            }
        };
        let mut words = launch.words(|buffer| self.place(buffer));
        let mut places: Vec<*mut c_void> =
            words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let [x, y] = launch.groups.map(|groups| groups as u32);
        let threads = launch.threads as u32;
        // SAFETY: `calls.rs` packs the arguments as the text declares them, and they outlive the
        // call.
        unsafe {
            let group = (threads, 1, 1);
            let work = self.stream(Lane::Work);
            result::launch_kernel(function, (x, y, 1), group, 0, work, &mut places)
        }
        .map_err(told(launch.kernel))
    }

    fn stage(&mut self, bytes: usize) -> Result<Stage, String> {
        // SAFETY: the driver is up and the context current.
        let place = unsafe { result::malloc_host(bytes, 0) }.map_err(told("pinned memory"))?;
        Ok(Stage(self.stages.put(Pinned { place, bytes })))
    }

    fn unstage(&mut self, stage: Stage) {
        let Pinned { place, .. } = self.stages.take(stage.0);
        // SAFETY: the place came from `stage`, and no copy of it is under way.
        let _ = unsafe { result::free_host(place) };
    }

    fn staged(&mut self, stage: Stage, bytes: Range<usize>) -> &mut [u8] {
        let stage = self.stages.of_mut(stage.0);
        // SAFETY: there are so many bytes, which nobody else has: no copy is at those that are
        // asked for.
        unsafe { &mut slice::from_raw_parts_mut(stage.place.cast::<u8>(), stage.bytes)[bytes] }
    }

    fn send(
        &mut self,
        lane: Lane,
        (stage, bytes): (Stage, Range<usize>),
        (buffer, at): (Buffer, usize),
    ) -> Result<(), String> {
        let (to, stage) = (self.place(buffer) + at as u64, self.stages.of(stage.0));
        // SAFETY: there are so many bytes, which stay until all copies are through; the caller
        // keeps within what it made.
        unsafe {
            let all = slice::from_raw_parts(stage.place.cast::<u8>(), stage.bytes);
            result::memcpy_htod_async(to, &all[bytes], self.stream(lane))
        }
        .map_err(told("copy to the device"))
    }

    fn fetch(
        &mut self,
        lane: Lane,
        (buffer, at): (Buffer, usize),
        (stage, bytes): (Stage, Range<usize>),
    ) -> Result<(), String> {
        let (from, stage) = (self.place(buffer) + at as u64, self.stages.of(stage.0));
        // SAFETY: as in `send`.
        unsafe {
            let all = slice::from_raw_parts_mut(stage.place.cast::<u8>(), stage.bytes);
            result::memcpy_dtoh_async(&mut all[bytes], from, self.stream(lane))
        }
        .map_err(told("copy from the device"))
    }

    fn mark(&mut self, lane: Lane) -> Result<Mark, String> {
        let mark = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        let mark = mark.map_err(told("a mark"))?;
        let number = Mark(self.marks.put(mark));
        // SAFETY: the event was just made, and the stream lives as long as this.
        unsafe { result::event::record(mark, self.stream(lane)) }.map_err(told("a mark"))?;
        Ok(number)
    }

    fn follow(&mut self, lane: Lane, mark: Mark) -> Result<(), String> {
        let (event, flags) =
            (*self.marks.of(mark.0), sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT);
        // SAFETY: the event is one that `mark` made and that nobody has destroyed.
        unsafe { result::stream::wait_event(self.stream(lane), event, flags) }
            .map_err(told("a mark"))
    }

    fn passed(&mut self, mark: Mark) -> Result<bool, String> {
        // SAFETY: as in `follow`.
        match unsafe { result::event::query(*self.marks.of(mark.0)) } {
            Ok(()) => Ok(true),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(error) => Err(told("a kernel or a copy")(error)),
        }
    }

    fn wait(&mut self, mark: Mark) -> Result<(), String> {
        // SAFETY: as in `follow`.
        unsafe { result::event::synchronize(*self.marks.of(mark.0)) }
            .map_err(told("a kernel or a copy"))
    }

    fn forget(&mut self, mark: Mark) {
        // SAFETY: as in `follow`; it is forgotten here. Lanes that follow it go on doing so.
        let _ = unsafe { result::event::destroy(self.marks.take(mark.0)) };
    }
}

impl Drop for Cuda {
    /// Copies under way end before their memory goes back; a lost device has nothing to give back.
    fn drop(&mut self) {
        // SAFETY: streams, events and pinned memory came from the driver and are used no more.
        unsafe {
            for stream in &self.opened.streams {
                let _ = result::stream::synchronize(*stream);
            }
            self.marks.drain().for_each(|mark| {
                let _ = result::event::destroy(mark);
            });
            self.stages.drain().for_each(|stage| {
                let _ = result::free_host(stage.place);
            });
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: nobody uses the streams, the module or the context of this launcher after it;
        // each was made once in `new`.
        unsafe {
            for stream in &self.streams {
                let _ = result::stream::destroy(*stream);
            }
            if let Some(module) = self.module {
                let _ = result::module::unload(module);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
