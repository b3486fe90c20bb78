//! The stand-in for CUDA's driver (gpu-check/driver/), for tests in this process and for programs
//! that they start.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use reelscale::internals::device::gpu::cuda::Cuda;
use reelscale::internals::kernel::text::PTX;

use super::common::TestCommand;
use super::gpu::Watched;

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// Builds it into a folder, of the kernels in another one.
pub fn build(folder: &Path, kernels: &Path) {
    let mut build = Command::new(Path::new(PROJECT).join("gpu-check/driver/build.sh"));
    let told = build.arg(folder).arg(kernels).output().unwrap();
    assert!(told.status.success(), "it wants g++: {told:?}");
}

/// The folder that has it.
pub fn folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stand-in");
        std::fs::create_dir_all(&folder).unwrap();
        build(&folder, &Path::new(PROJECT).join("src/kernel"));
        folder
    })
}

/// A command for which it is CUDA's driver, with these of its variables.
pub fn with(command: TestCommand, variables: &[(&str, &str)]) -> TestCommand {
    with_driver(command, folder(), variables)
}

/// The same of one in another folder.
pub fn with_driver(command: TestCommand, folder: &Path, variables: &[(&str, &str)]) -> TestCommand {
    let command = command.env("LD_LIBRARY_PATH", folder.to_str().unwrap());
    variables
        .iter()
        .fold(command, |command, (name, value)| command.env(&format!("STAND_IN_{name}"), value))
}

/// Loads it into this process, where it is libcuda.so from then on.
fn load() -> *mut c_void {
    let path = CString::new(folder().join("libcuda.so").to_str().unwrap()).unwrap();
    // SAFETY: loading it runs nothing of its own.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "{path:?}");
    handle
}

/// Has what this thread queues go on late, now, or as a seed draws it.
pub fn order(text: &CStr) {
    // SAFETY: the library is there, and has this function.
    unsafe {
        let order = libc::dlsym(load(), c"stand_in_order".as_ptr());
        assert!(!order.is_null());
        let order: extern "C" fn(*const c_char) -> c_int = std::mem::transmute(order);
        order(text.as_ptr());
    }
}

/// A launcher of this thread's on it.
pub fn launcher(order: &CStr) -> Watched {
    self::order(order);
    Watched::around(Box::new(Cuda::new(0, PTX).unwrap()))
}

/// A program that does with it what its argument names.
fn misuse() -> PathBuf {
    let program = folder().join("misuse");
    let mut compiler = Command::new("g++");
    compiler.arg(Path::new(PROJECT).join("gpu-check/driver/misuse/main.cpp"));
    compiler.args(["-o".as_ref(), program.as_os_str(), "-L".as_ref(), folder().as_os_str()]);
    assert!(compiler.arg("-lcuda").status().unwrap().success());
    program
}

/// What a program mustn't do ends it with a message, what it may do doesn't; and pinned bytes are
/// taken early or late as the order is.
#[test]
fn misuse_is_seen() {
    let program = misuse();
    let run = |order: &str, what: Option<&str>| {
        let mut command = Command::new(&program);
        command.args(what).env("LD_LIBRARY_PATH", folder()).env("STAND_IN_ORDER", order);
        command.env("STAND_IN_GPUS", "2").env("STAND_IN_LEAKS", "1").output().unwrap()
    };
    let taken = |order: &str| {
        let told = run(order, None);
        let left = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.success(), "order {order}: {told:?}");
        assert!(left.contains("left 0 contexts, 0 pieces of memory (0 bytes), 0 streams, "));
        String::from_utf8(told.stdout).unwrap()
    };
    assert_eq!([taken("late"), taken("now")], ["late\n", "early\n"]);
    let drawn: Vec<_> = (0..20).map(|seed| taken(&seed.to_string())).collect();
    let late = drawn.iter().filter(|taken| *taken == "late\n").count();
    assert!(0 < late && late < drawn.len(), "late {late} times");

    let text = include_str!("../../gpu-check/driver/misuse/main.cpp");
    let names = text.split("is(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let names: Vec<_> = names.collect();
    assert!(names.len() > 18, "{names:?}");
    for name in names {
        let told = run("late", Some(name));
        let said = String::from_utf8_lossy(&told.stderr);
        let ended = told.status.signal() == Some(libc::SIGABRT);
        assert!(ended && said.starts_with("stand-in for CUDA: "), "{name}: {told:?}");
    }
}
