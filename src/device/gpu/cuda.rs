//! Launches on NVIDIA GPUs through CUDA's driver, which is loaded at run time: no toolkit is needed
//! where the program is built or run.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CString, c_void};

use cudarc::driver::{DriverError, result, sys};

use super::launcher::{Launcher, SLACK, Slots, UNWRITTEN};
use crate::kernel::text::calls::{Buffer, Launch};

/// The compute capability that the PTX is made for; later ones take it, too.
const CAPABILITY: i32 = 8;

/// One GPU with the device text's kernels.
pub struct Cuda {
    device: sys::CUdevice,
    module: sys::CUmodule,
    /// Everything of this launcher, in order: others of the process have streams of their own.
    stream: sys::CUstream,
    functions: HashMap<&'static str, sys::CUfunction>,
    memory: Slots<sys::CUdeviceptr>,
    marks: VecDeque<sys::CUevent>,
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
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(told("context"))?;
        // SAFETY: `context` was just retained.
        unsafe { result::ctx::set_current(context) }.map_err(told("context"))?;
        let image = CString::new(ptx).map_err(|_| "CUDA: PTX with a zero byte".to_string())?;
        // SAFETY: the image is a text that ends with a zero byte and outlives the call.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        let module = module.map_err(|error| match error {
            DriverError(sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION) => {
                "CUDA: the driver is too old for the kernels: 580 or later takes them".into()
            }
            error => told("PTX")(error),
        })?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        let stream = stream.map_err(told("stream"))?;
        let (functions, memory, marks) = (HashMap::new(), Slots::default(), VecDeque::new());
        Ok(Cuda { device, module, stream, functions, memory, marks })
    }

    fn place(&self, buffer: Buffer) -> sys::CUdeviceptr {
        *self.memory.of(buffer)
    }
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
    let mut version = 0;
    // SAFETY: `version` is a place for the number.
    let _ = unsafe { sys::cuDriverGetVersion(&mut version) };
    format!("CUDA: {name}, driver for CUDA {}.{}", version / 1000, version % 1000 / 10)
}

/// Refuses a GPU that the kernels aren't compiled for, or that lacks what the launcher needs. All
/// others have float64, denormals, fused multiply-adds and correctly rounded division and root,
/// which the PTX asks for by name.
fn lacks(device: sys::CUdevice) -> Result<(), String> {
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
        describe(self.device)
    }

    fn free_bytes(&mut self) -> Result<usize, String> {
        result::mem_get_info().map(|(free, _)| free).map_err(told("memory"))
    }

    fn make(&mut self, bytes: usize) -> Result<Buffer, String> {
        // SAFETY: the driver is up and the context current.
        let place = unsafe { result::malloc_async(self.stream, bytes + SLACK) };
        let place = place.map_err(told(&format!("{bytes} bytes of memory")))?;
        let buffer = self.memory.put(place);
        self.fill(buffer, 0, bytes + SLACK, UNWRITTEN)?;
        Ok(buffer)
    }

    fn free(&mut self, buffer: Buffer) {
        let place = self.memory.take(buffer);
        // SAFETY: the place came from `make` and is forgotten here. An error is a lost device, of
        // which the next call tells.
        let _ = unsafe { result::free_async(place, self.stream) };
    }

    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Result<(), String> {
        // SAFETY: the caller keeps within what it made.
        unsafe { result::memset_d8_async(self.place(buffer) + at as u64, with, bytes, self.stream) }
            .map_err(told("filling memory"))
    }

    fn write(&mut self, buffer: Buffer, at: usize, bytes: &[u8]) -> Result<(), String> {
        let to = self.place(buffer) + at as u64;
        // SAFETY: the caller keeps within what it made, and the bytes outlive the wait.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }
            .map_err(told("copy to the device"))?;
        self.finish()
    }

    fn read(&mut self, buffer: Buffer, at: usize, bytes: &mut [u8]) -> Result<(), String> {
        let from = self.place(buffer) + at as u64;
        // SAFETY: the caller keeps within what it made, and the bytes outlive the wait.
        unsafe { result::memcpy_dtoh_async(bytes, from, self.stream) }
            .map_err(told("copy from the device"))?;
        self.finish()
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), String> {
        if launch.groups.contains(&0) {
            return Ok(());
        }
        let function = match self.functions.get(launch.kernel) {
            Some(function) => *function,
            None => {
                let name = CString::new(launch.kernel).expect("a name without zero bytes");
                // SAFETY: the module was loaded and lives as long as this.
                let function = unsafe { result::module::get_function(self.module, name) };
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
            result::launch_kernel(function, (x, y, 1), group, 0, self.stream, &mut places)
        }
        .map_err(told(launch.kernel))
    }

    fn mark(&mut self) -> Result<(), String> {
        let mark = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        let mark = mark.map_err(told("a mark"))?;
        self.marks.push_back(mark);
        // SAFETY: the event was just made, and the stream lives as long as this.
        unsafe { result::event::record(mark, self.stream) }.map_err(told("a mark"))
    }

    fn marks_left(&mut self) -> Result<usize, String> {
        while let Some(mark) = self.marks.front() {
            // SAFETY: the event is one that `mark` made and that nobody has destroyed.
            match unsafe { result::event::query(*mark) } {
                Ok(()) => {}
                Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => break,
                Err(error) => return Err(told("a kernel")(error)),
            }
            // SAFETY: as above; it is forgotten here.
            unsafe { result::event::destroy(*mark) }.map_err(told("a mark"))?;
            self.marks.pop_front();
        }
        Ok(self.marks.len())
    }

    fn finish(&mut self) -> Result<(), String> {
        // SAFETY: the stream lives as long as this.
        unsafe { result::stream::synchronize(self.stream) }.map_err(told("a kernel"))
    }
}

impl Drop for Cuda {
    /// What is still under way ends by itself; a lost device has nothing to give back.
    fn drop(&mut self) {
        // SAFETY: nobody uses the stream, the module or the context of this launcher after it; each
        // was made once in `new`.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            let _ = result::stream::destroy(self.stream);
            let _ = result::module::unload(self.module);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
