//! Launches on NVIDIA GPUs through CUDA's driver, which is loaded at run time: no toolkit is needed
//! where the program is built or run.

use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cudarc::driver::{DriverError, result, sys};

use super::launcher::Launcher;
use crate::kernel::text::calls::{Buffer, Launch};

/// Bytes that a kernel may read beyond a buffer.
const SLACK: usize = 16;

/// One GPU with the device text's kernels.
pub struct Cuda {
    device: sys::CUdevice,
    module: sys::CUmodule,
    functions: HashMap<&'static str, sys::CUfunction>,
    memory: Vec<Option<sys::CUdeviceptr>>,
}

fn told(what: &str) -> impl FnOnce(DriverError) -> String + '_ {
    move |error| format!("CUDA: {what}: {error:?}")
}

impl Cuda {
    /// GPU number `ordinal` with kernels of this PTX.
    ///
    /// # Errors
    /// There is no driver, no such GPU, or the driver doesn't take the PTX.
    pub fn new(ordinal: i32, ptx: &str) -> Result<Cuda, String> {
        // SAFETY: it only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err("CUDA: no driver (libcuda.so) found".into());
        }
        result::init().map_err(told("start"))?;
        let device = result::device::get(ordinal).map_err(told("device"))?;
        // SAFETY: `device` is one that the driver gave.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(told("context"))?;
        // SAFETY: `context` was just retained and is never released.
        unsafe { result::ctx::set_current(context) }.map_err(told("context"))?;
        let image = CString::new(ptx).map_err(|_| "CUDA: PTX with a zero byte".to_string())?;
        // SAFETY: the image is a text that ends with a zero byte and outlives the call.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        let module = module.map_err(told("PTX"))?;
        Ok(Cuda { device, module, functions: HashMap::new(), memory: Vec::new() })
    }

    fn place(&self, buffer: Buffer) -> sys::CUdeviceptr {
        self.memory[buffer.0].expect("memory that wasn't given back")
    }
}

impl Launcher for Cuda {
    fn describe(&self) -> String {
        let name = result::device::get_name(self.device).unwrap_or_default();
        let mut version = 0;
        // SAFETY: `version` is a place for the number.
        let _ = unsafe { sys::cuDriverGetVersion(&mut version) };
        format!("CUDA: {name}, driver for CUDA {}.{}", version / 1000, version % 1000 / 10)
    }

    fn make(&mut self, bytes: usize) -> Result<Buffer, String> {
        // SAFETY: the driver is up and the context current.
        let place = unsafe { result::malloc_sync(bytes + SLACK) };
        let place = place.map_err(told(&format!("{bytes} bytes of memory")))?;
        // SAFETY: the memory was just made, so long. What isn't written is no number.
        unsafe { result::memset_d8_sync(place, 0xff, bytes + SLACK) }.map_err(told("memory"))?;
        self.memory.push(Some(place));
        Ok(Buffer(self.memory.len() - 1))
    }

    fn free(&mut self, buffer: Buffer) {
        let place = self.memory[buffer.0].take().expect("memory that wasn't given back");
        // SAFETY: the place came from `make` and is forgotten here. An error is a lost device, of
        // which the next call tells.
        let _ = unsafe { result::free_sync(place) };
    }

    fn write(&mut self, buffer: Buffer, at: usize, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller keeps within what it made.
        unsafe { result::memcpy_htod_sync(self.place(buffer) + at as u64, bytes) }
            .map_err(told("copy to the device"))
    }

    fn read(&mut self, buffer: Buffer, at: usize, bytes: &mut [u8]) -> Result<(), String> {
        self.finish()?;
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller keeps within what it made.
        unsafe { result::memcpy_dtoh_sync(bytes, self.place(buffer) + at as u64) }
            .map_err(told("copy from the device"))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), String> {
        if launch.groups.contains(&0) {
            return Ok(());
        }
        let function = match self.functions.get(launch.kernel) {
            Some(function) => *function,
            None => {
                let name = CString::new(launch.kernel).expect("a name without zero bytes");
                // SAFETY: the module was loaded and is never unloaded.
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
            let stream = std::ptr::null_mut();
            result::launch_kernel(function, (x, y, 1), (threads, 1, 1), 0, stream, &mut places)
        }
        .map_err(told(launch.kernel))
    }

    fn finish(&mut self) -> Result<(), String> {
        result::ctx::synchronize().map_err(told("a kernel"))
    }
}
