//! What only some systems have: calls of Linux and its /proc, each with what does instead where
//! there is none. The only file that names either.

#[path = "system/processors.rs"]
mod processors;

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::process::{Pid, Signal};

pub(crate) use self::processors::{cores_online, whole_cores};

fn proc(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc").join(name)).ok()
}

/// The value of a line `name: value` of a file of /proc.
fn proc_field(file: &str, name: &str) -> Option<String> {
    let text = proc(file)?;
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.into_iter().find(|(key, _)| key.trim_end() == name).map(|(_, v)| v.trim().to_string())
}

/// The value of a line `name:   123 kB`, in bytes.
fn proc_bytes(file: &str, name: &str) -> Option<u64> {
    Some(proc_field(file, name)?.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Processors that this process may run on, by number.
fn allowed() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(mask) = rustix::thread::sched_getaffinity(None) {
        return (0..rustix::thread::CpuSet::MAX_CPU).filter(|at| mask.is_set(*at)).collect();
    }
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

/// Cores that this process may run on.
pub(crate) fn cores() -> usize {
    allowed().len().max(1)
}

/// Cores that process `number` may run on, where the system tells.
pub(crate) fn cores_of(number: Pid) -> Option<usize> {
    #[cfg(target_os = "linux")]
    let mask = rustix::thread::sched_getaffinity(Some(number)).ok()?.count() as usize;
    #[cfg(not(target_os = "linux"))]
    let (mask, _) = (0, number);
    Some(mask).filter(|mask| *mask > 0)
}

/// Bytes of memory of this machine; `None` where the system doesn't tell.
#[cfg(not(target_os = "macos"))]
pub(crate) fn memory() -> Option<u64> {
    proc_bytes("meminfo", "MemTotal")
}

/// Bytes of memory of this machine; `None` where the system doesn't tell.
#[cfg(target_os = "macos")]
pub(crate) fn memory() -> Option<u64> {
    let (mut bytes, mut length) = (0u64, size_of::<u64>());
    let value = (&raw mut bytes).cast();
    // SAFETY: the name ends with its zero, and the value has as many bytes as `length` says.
    let outcome = unsafe {
        libc::sysctlbyname(c"hw.memsize".as_ptr(), value, &mut length, std::ptr::null_mut(), 0)
    };
    (outcome == 0 && bytes > 0).then_some(bytes)
}

/// Bytes of memory that could be had without taking it from others.
pub(crate) fn memory_available() -> Option<u64> {
    proc_bytes("meminfo", "MemAvailable").or_else(memory)
}

/// Bytes of addresses that this process has.
pub(crate) fn own_addresses() -> u64 {
    let pages = proc("self/statm").unwrap_or_default();
    let pages = pages.split_whitespace().next().and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// The most bytes of memory that this process had so far; 0 where the system doesn't tell.
pub(crate) fn own_peak() -> u64 {
    proc_bytes("self/status", "VmHWM").unwrap_or(0)
}

/// Seconds that processors have worked for this process so far, all threads together.
pub(crate) fn own_processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds that a processor has worked for the calling thread so far.
pub(crate) fn own_thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What the system has counted of the work of all cores, as /proc/stat has it; `None` where it
/// doesn't.
pub(crate) fn work_of_cores() -> Option<String> {
    proc("stat")
}

/// The control groups of this process, as /proc/self/cgroup lists them; nothing where there are
/// none.
pub(crate) fn control_groups() -> String {
    proc("self/cgroup").unwrap_or_default()
}

/// What the maker calls the processor.
pub(crate) fn processor() -> String {
    proc_field("cpuinfo", "model name").unwrap_or_default()
}

/// The program that runs here, also where its file has been replaced since.
#[cfg(target_os = "linux")]
pub(crate) fn own_program() -> io::Result<PathBuf> {
    Ok(PathBuf::from("/proc/self/exe"))
}

/// The program that runs here, by its name.
#[cfg(not(target_os = "linux"))]
pub(crate) fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// A path that leads to this very open file or folder, whatever has the name `path` by now, for
/// those who open by path. Where the system has none it is `path`.
pub(crate) fn path_of(file: &File, path: &Path) -> PathBuf {
    let itself = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
    if itself.exists() { itself } else { path.to_path_buf() }
}

/// What the system tells of a process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Process {
    /// Whether a signal or a tracer has stopped it.
    pub(crate) stopped: bool,
    /// When it began, in ticks: its number may be used again.
    pub(crate) began: u64,
    /// Its time on processors so far.
    pub(crate) busy: Duration,
}

/// Whether process `number` has the file `path` open; `None` where it is there and the system
/// doesn't tell what it has open.
pub(crate) fn opened(number: u32, path: &Path) -> Option<bool> {
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    let there = pid.map(rustix::process::test_kill_process);
    if !matches!(there, Some(Ok(()) | Err(Errno::PERM))) {
        return Some(false);
    }
    let mut entries = fs::read_dir(format!("/proc/{number}/fd")).ok()?;
    let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let own = id(path);
    Some(entries.any(|entry| entry.is_ok_and(|entry| id(&entry.path()) == own)))
}

/// What the system tells of process `number`; `None` where there is none, or no /proc.
pub(crate) fn process(number: u32) -> Option<Process> {
    let text = proc(&format!("{number}/stat"))?;
    // The name in parentheses may hold anything. The state is field 3 of all, times on processors
    // 14 and 15, the beginning 22.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
    let busy = (ticks(14)? + ticks(15)?) * 1000 / rustix::param::clock_ticks_per_second().max(1);
    let stopped = ["T", "t"].contains(fields.first()?);
    Some(Process { stopped, began: ticks(22)?, busy: Duration::from_millis(busy) })
}

/// The name of the program that process `number` runs, and the list of files that it has mapped.
pub(crate) fn program_and_maps(number: u32) -> Option<(String, String)> {
    let name = proc(&format!("{number}/comm"))?;
    Some((name.trim().to_string(), proc(&format!("{number}/maps"))?))
}

/// The name of the program that process `number` runs, and the process that has started it.
pub(crate) fn program_and_parent(number: u32) -> Option<(String, u32)> {
    let name = proc(&format!("{number}/comm"))?;
    // As in `process`: the parent is field 4.
    let stat = proc(&format!("{number}/stat"))?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    Some((name.trim().to_string(), parent))
}

/// What process `number` has as standard error, where that is a terminal.
pub(crate) fn terminal_of(number: u32) -> Option<File> {
    let path = Path::new("/proc").join(number.to_string()).join("fd/2");
    // Nobody gets it as a controlling terminal, and nothing is written.
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags).open(path).ok()?;
    opened.is_terminal().then_some(opened)
}

/// Reads what the process `number` has at `address` into `bytes`.
///
/// # Errors
/// The system refuses; the other has no such memory.
#[cfg(target_os = "linux")]
pub(crate) fn memory_of(number: u32, address: u64, bytes: &mut [u8]) -> io::Result<()> {
    let own = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there = std::ptr::with_exposed_provenance_mut(address as usize);
    let there = libc::iovec { iov_base: there, iov_len: bytes.len() };
    // SAFETY: the kernel writes into `bytes` and nowhere else, as many as these are; it checks the
    // other address, which nobody here follows.
    let count = unsafe { libc::process_vm_readv(number as libc::pid_t, &own, 1, &there, 1, 0) };
    match usize::try_from(count) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Nothing: only Linux has it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn memory_of(_number: u32, _address: u64, _bytes: &mut [u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Bytes that tell one running system, and one name space of this kind on it, from another.
pub(crate) fn name_space(kind: &str) -> Vec<u8> {
    let system = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| {
        // As well as can be told without one.
        rustix::system::uname().nodename().to_bytes().to_vec()
    });
    let space = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
    [system, space.into_os_string().into_encoded_bytes()].concat()
}

/// From now on this process, which `parent` has started, gets `signal` when that ends. Makes system
/// calls only.
///
/// # Errors
/// It is gone already.
#[cfg(target_os = "linux")]
pub(crate) fn end_with(parent: Pid, signal: Signal) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// Nothing: here a process outlives its parent until it finds that nobody asks it any more.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub(crate) fn end_with(_parent: Pid, _signal: Signal) -> io::Result<()> {
    Ok(())
}

/// Fills `bytes`, 256 at most, with what nobody can foresee.
///
/// # Errors
/// The system has none.
#[cfg(target_os = "linux")]
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    use rustix::rand::{GetRandomFlags, getrandom};
    getrandom(bytes, GetRandomFlags::empty())?;
    Ok(())
}

/// Fills `bytes` with what nobody can foresee.
///
/// # Errors
/// The system has none.
#[cfg(not(target_os = "linux"))]
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut File::open("/dev/urandom")?, bytes)
}

/// A TCP socket that never waits and that no child process inherits.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub(crate) fn socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    use rustix::net::{SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None)
}

/// The next connection that waits at a listening socket, as `socket` gives sockets.
///
/// # Errors
/// What the system says; `AGAIN` where nobody waits.
#[cfg(target_os = "linux")]
pub(crate) fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    use rustix::net::{SocketFlags, accept_with};
    accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

/// A TCP socket that never waits and that no child process inherits.
///
/// # Errors
/// What the system says.
#[cfg(not(target_os = "linux"))]
pub(crate) fn socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    never_waits(rustix::net::socket(family, rustix::net::SocketType::STREAM, None)?)
}

/// The next connection that waits at a listening socket, as `socket` gives sockets.
///
/// # Errors
/// What the system says; `AGAIN` where nobody waits.
#[cfg(not(target_os = "linux"))]
pub(crate) fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    never_waits(rustix::net::accept(listener)?)
}

#[cfg(not(target_os = "linux"))]
fn never_waits(socket: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Whether who asks for the shared library of this name is given one, as the system's loader looks:
/// in what LD_LIBRARY_PATH names, in its list, in its own folders. Nothing is loaded.
#[cfg(target_os = "linux")]
pub(crate) fn loads(name: &str) -> bool {
    let names = [name.to_string(), format!("{name}.1")];
    let told = std::env::var_os("LD_LIBRARY_PATH").filter(|told| !told.is_empty());
    let own = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(PathBuf::from);
    let mut folders = told.iter().flat_map(std::env::split_paths).chain(own);
    let listed = || {
        let list = fs::read("/etc/ld.so.cache").unwrap_or_default();
        let ends = names.each_ref().map(|name| format!("/{name}"));
        let is = |text: &[u8]| ends.iter().any(|end| text.ends_with(end.as_bytes()));
        list.split(|byte| *byte == 0).any(is)
    };
    folders.any(|folder| names.iter().any(|name| folder.join(name).exists())) || listed()
}

/// Whether who asks for the shared library of this name is given one: here none is a GPU's.
#[cfg(not(target_os = "linux"))]
pub(crate) fn loads(_name: &str) -> bool {
    false
}

/// OpenCL's drivers that are registered here, as the loader finds them, by what their files say.
#[cfg(target_os = "linux")]
pub(crate) fn opencl_drivers() -> Vec<String> {
    let folder = std::env::var_os("OCL_ICD_VENDORS").unwrap_or("/etc/OpenCL/vendors".into());
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let files = entries.filter_map(|entry| entry.ok()).map(|entry| entry.path());
    files.filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// OpenCL's drivers that are registered here: elsewhere nobody knows before it is asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn opencl_drivers() -> Vec<String> {
    vec!["unknown".into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_machine_are_known() {
        assert!((1..=cores_online()).contains(&cores()));
        assert!(memory().is_some_and(|bytes| bytes > 64 << 20), "{:?}", memory());
        assert!(memory_available() <= memory());
        let (mut one, mut other) = ([0; 16], [0; 16]);
        random(&mut one).and_then(|()| random(&mut other)).unwrap();
        assert_ne!(one, other);
        assert_eq!(name_space("net"), name_space("net"));
        assert!(own_program().unwrap().exists());
        if cfg!(target_os = "linux") {
            let own = process(std::process::id()).expect("it runs");
            assert!(own_processor_seconds() > 0.0);
            assert!(
                !own.stopped && own.began > 0 && own_peak() > 0 && own_addresses() > own_peak()
            );
        }
    }

    #[test]
    fn an_open_file_is_found_under_its_path() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, b"this one").unwrap();
        let same = path_of(file.as_file(), file.path());
        assert_eq!(fs::read(same).unwrap(), b"this one");
    }
}
