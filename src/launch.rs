//! How this process was started: by whom, among how many, on which cores.

#[path = "launch/launcher.rs"]
mod launcher;

use std::fs::File;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{FileType, fstat};
use rustix::termios::tcgetwinsize;

use crate::error::{Error, Exit, Result};
use crate::system;

pub(crate) use self::launcher::{check_world, describe as launcher, processes};
pub(crate) use crate::system::{cores, cores_online as online};

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// Whether a launcher of MPI jobs started this process.
pub(crate) fn by_launcher() -> bool {
    ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
}

/// What passes on the lines of ranks that it has started, or whose own ranks do.
const LAUNCHERS: [&str; 6] =
    ["mpirun", "mpiexec", "orterun", "prterun", "mpiexec.hydra", "hydra_pmi_proxy"];
/// How many of them stand one above the other at most.
const LAUNCHERS_ABOVE: usize = 4;

/// A terminal to which lines on standard error go.
pub(crate) struct Terminal(Option<File>);

impl Terminal {
    /// Columns that it has now, if it says so.
    pub(crate) fn columns(&self) -> Option<usize> {
        let size = match &self.0 {
            Some(file) => tcgetwinsize(file),
            None => tcgetwinsize(std::io::stderr()),
        };
        size.ok().map(|size| size.ws_col.into())
    }
}

/// The terminal to which lines on standard error go, if there is one that can move its cursor: this
/// process's own, or that of the launcher on this machine which passes them on.
pub(crate) fn terminal() -> Option<Terminal> {
    if std::env::var_os("TERM").is_none_or(|name| name == "dumb") {
        return None;
    }
    if std::io::stderr().is_terminal() {
        return Some(Terminal(None));
    }
    // What goes to a file is passed on by nobody.
    let kind = FileType::from_raw_mode(fstat(std::io::stderr()).ok()?.st_mode);
    if !by_launcher() || ![FileType::Fifo, FileType::Socket].contains(&kind) {
        return None;
    }
    let mut above = rustix::process::getppid()?.as_raw_nonzero().get() as u32;
    for _ in 0..LAUNCHERS_ABOVE {
        let (name, parent) = system::program_and_parent(above)?;
        if !LAUNCHERS.contains(&&*name) {
            return None;
        }
        if let Some(terminal) = system::terminal_of(above) {
            return Some(Terminal(Some(terminal)));
        }
        above = parent;
    }
    None
}

/// Passes on what starting MPI gave. Where that is an error, ranks with higher numbers return it
/// later: the launcher ends all of them after the first, so the error is printed once.
///
/// # Errors
/// `started`.
pub(crate) fn in_turn<T>(started: Result<T>) -> Result<T> {
    let rank = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"]
        .iter()
        .find_map(|name| number(name))
        .unwrap_or(0);
    if started.is_err() {
        std::thread::sleep(Duration::from_secs(2) * rank.min(8) as u32);
    }
    started
}

/// Sees that the variables of this program that are set say something.
///
/// # Errors
/// Exit 3: one doesn't.
pub(crate) fn check_variables() -> Result<()> {
    fn is_seconds(text: &str) -> bool {
        text.parse::<u32>().is_ok()
    }
    fn is_ports(text: &str) -> bool {
        let ports = text.split_once('-').map(|(first, last)| [first, last]);
        let ports = ports.map(|ports| ports.map(|port| port.trim().parse::<u16>().unwrap_or(0)));
        ports.is_some_and(|[first, last]| (1..=last).contains(&first))
    }
    type Says = fn(&str) -> bool;
    let all: [(&str, Says, &str); 9] = [
        ("REELSCALE_ADVICE_SECONDS", is_seconds, "whole seconds"),
        ("REELSCALE_MPI_INIT_SECONDS", is_seconds, "whole seconds"),
        ("REELSCALE_KEEP_SECONDS", is_seconds, "whole seconds"),
        ("REELSCALE_PROGRESS_SECONDS", is_seconds, "whole seconds"),
        ("REELSCALE_DEVICE_SECONDS", is_seconds, "whole seconds"),
        ("REELSCALE_HDF5_SECONDS", is_seconds, "whole seconds"),
        ("REELSCALE_WATCH_PORTS", is_ports, "first-last, such as 40000-40100"),
        ("REELSCALE_MANY_RANKS", |text| text.parse::<usize>().is_ok(), "a number of ranks"),
        ("REELSCALE_PROGRESS_THREAD", |text| ["0", "1"].contains(&text), "0 or 1"),
    ];
    for (name, says, expected) in all {
        let Some(found) = std::env::var_os(name) else { continue };
        if !found.to_str().is_some_and(|text| text.is_empty() || says(text)) {
            let found = found.to_string_lossy();
            let text = format!("{name}: found {found:?}, expected {expected}");
            return Err(Error::new(Exit::Launch, text));
        }
    }
    Ok(())
}

/// What the launcher of this process, if that is mpirun, has loaded of LLVM, which takes SIGUSR1
/// for itself: such a signal to mpirun never reaches the ranks. hwloc loads it with PoCL while it
/// looks for devices.
pub(crate) fn signal_trap() -> Option<String> {
    // One rank of each node reports it.
    number("OMPI_COMM_WORLD_LOCAL_RANK").filter(|rank| *rank == 0)?;
    let launcher = rustix::process::getppid()?.as_raw_nonzero();
    // Launcher daemons on other nodes get signals as messages, so they have no trap.
    let (name, maps) = system::program_and_maps(launcher.get() as u32)?;
    if ["orted", "prted"].contains(&&*name) {
        return None;
    }
    let library = llvm_of(&maps)?;
    Some(format!(
        "mpirun (pid {launcher}) has loaded {library}, which takes SIGUSR1 for itself: that signal \
         to mpirun doesn't reach the ranks; hint: HWLOC_COMPONENTS=-opencl mpirun ..."
    ))
}

/// The first file of LLVM, or of PoCL that holds it, in the list of mapped files.
fn llvm_of(maps: &str) -> Option<&str> {
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    paths.into_iter().find(|path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.starts_with("libLLVM") || name.starts_with("libpocl")
    })
}

/// Ranks on this node, as srun tells.
fn slurm_local_size() -> Option<usize> {
    let node = number("SLURM_NODEID")?;
    tasks_of(&std::env::var("SLURM_STEP_TASKS_PER_NODE").ok()?, node)
}

/// Ranks that are threads of this process; 0: none.
static RANKS_HERE: AtomicUsize = AtomicUsize::new(0);

/// Says that so many ranks are threads of this process, which share what it has.
pub(crate) fn ranks_are_threads(size: usize) {
    RANKS_HERE.store(size, Ordering::SeqCst);
}

/// Ranks on this node, as far as is known.
fn local_size() -> Option<usize> {
    let here = Some(RANKS_HERE.load(Ordering::SeqCst)).filter(|size| *size > 0);
    here.or_else(|| number("OMPI_COMM_WORLD_LOCAL_SIZE"))
        .or_else(|| number("MPI_LOCALNRANKS"))
        .or_else(slurm_local_size)
}

/// Cores that this rank may run on, and its share of those that the launcher which may have bound
/// it runs on itself, where that is known: the same number where nothing is bound.
pub(crate) fn bound_to() -> [usize; 2] {
    let own = cores();
    let launcher = || {
        let local = number("OMPI_COMM_WORLD_LOCAL_SIZE")?;
        let parent = rustix::process::getppid()?;
        Some(system::cores_of(parent)? / local.max(1))
    };
    [own, launcher().unwrap_or(own).max(1)]
}

/// Bytes of memory that this rank may count on: its share of what the node has free, of what its
/// control groups and Slurm allow, or what this process may take. `None` where nothing tells.
pub(crate) fn memory() -> Option<u64> {
    let share =
        share_of_node(system::memory_available().into_iter().chain(allowed_on_node()).min());
    let own = rustix::process::getrlimit(rustix::process::Resource::As).current;
    let own = own.map(|bytes| bytes / RANKS_HERE.load(Ordering::SeqCst).max(1) as u64);
    share.into_iter().chain(own).min()
}

/// Bytes of memory that control groups and Slurm allow this rank: beyond them it is ended.
pub(crate) fn memory_allowed() -> Option<u64> {
    share_of_node(allowed_on_node())
}

/// What one of a node's ranks has of what they have together.
fn share_of_node(bytes: Option<u64>) -> Option<u64> {
    bytes.map(|bytes| bytes / local_size().unwrap_or(1).max(1) as u64)
}

/// What control groups and Slurm allow the ranks of this node together.
fn allowed_on_node() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let limits = limit_files(&system::control_groups())
        .into_iter()
        .filter_map(|path| read(&path)?.trim().parse().ok());
    let megabytes = |name| Some((number(name)? as u64) << 20);
    // SLURM_MEM_PER_CPU is for each core of the task.
    let cores = number("SLURM_CPUS_ON_NODE").unwrap_or(1) as u64;
    let slurm = megabytes("SLURM_MEM_PER_NODE")
        .or_else(|| Some(megabytes("SLURM_MEM_PER_CPU")? * cores))
        .filter(|bytes| *bytes > 0);
    limits.chain(slurm).min()
}

/// The files that may hold a limit of memory of the control groups that the system lists for this
/// process: of version 2 (`0::/a/b`) of each group and those above it, of version 1 that of
/// `memory`.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(kind), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match kind {
            "" => ("/sys/fs/cgroup", "memory.max"),
            kind if kind.split(',').any(|kind| kind == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Within a container the group's own path may not be there: its root is then the group's.
        let above = std::path::Path::new(path).ancestors();
        let folders =
            above.map(|folder| folder.to_string_lossy().trim_end_matches('/').to_string());
        files.extend(folders.map(|folder| format!("{root}{folder}/{name}")));
    }
    files
}

/// Tasks on node `node` of a list such as `4(x2),3`: nodes 0 and 1 have four, node 2 three.
fn tasks_of(list: &str, node: usize) -> Option<usize> {
    let mut left = node;
    for part in list.split(',') {
        let (tasks, nodes) = match part.split_once("(x") {
            Some((tasks, nodes)) => (tasks, nodes.strip_suffix(')')?.parse().ok()?),
            None => (part, 1),
        };
        if left < nodes {
            return tasks.parse().ok();
        }
        left -= nodes;
    }
    None
}

/// Threads for this rank: `wanted`, or if 0 its share of the cores in its affinity mask (ranks that
/// aren't bound share a machine's cores), at most SLURM_CPUS_PER_TASK. Never more than the mask
/// has.
pub(crate) fn threads(wanted: usize) -> usize {
    let cores = cores();
    if wanted > cores {
        log::warn!(
            "run.threads: found {wanted}, the affinity mask has {cores} cores; using {cores}; \
             hint: mpirun --bind-to none, or srun --cpus-per-task={wanted}"
        );
    }
    if wanted > 0 {
        return wanted.min(cores);
    }
    // Ranks of one process share its cores, bound or not.
    let shared = cores >= online() || RANKS_HERE.load(Ordering::SeqCst) > 0;
    let local = local_size().filter(|_| shared).unwrap_or(1);
    let share = (cores / local.max(1)).max(1);
    number("SLURM_CPUS_PER_TASK").map_or(share, |cpus| share.min(cpus.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trap_is_known_by_the_files_that_are_mapped() {
        let line = |path: &str| format!("7f00-7f10 r-xp 00000000 08:01 123    {path}\n");
        let clean = line("/usr/lib/libopen-rte.so.40") + "7f10-7f20 rw-p 00000000 00:00 0\n";
        assert_eq!(llvm_of(&clean), None);
        let path = "/usr/lib/x86_64-linux-gnu/libLLVM-15.so.1";
        assert_eq!(llvm_of(&(clean + &line(path))), Some(path));
    }

    #[test]
    fn limits_are_looked_for_in_all_groups() {
        let two = "/sys/fs/cgroup";
        let found = limit_files("0::/job/step\n");
        let expected = ["/job/step", "/job", ""].map(|group| format!("{two}{group}/memory.max"));
        assert_eq!(found, expected);
        let found = limit_files("7:cpu:/a\n5:memory,x:/a\n");
        let expected = ["/a", ""].map(|g| format!("{two}/memory{g}/memory.limit_in_bytes"));
        assert_eq!(found, expected);
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn tasks_are_counted_by_node() {
        let found: Vec<Option<usize>> = (0..5).map(|node| tasks_of("4(x2),3,1", node)).collect();
        assert_eq!(found, [Some(4), Some(4), Some(3), Some(1), None]);
        assert_eq!(tasks_of("x(", 0), None);
    }
}
