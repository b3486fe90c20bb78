//! Runs the program as a user would: `reelscale(...)`, on mpirun ranks if asked, with a time limit
//! after which everything it started is killed.

// Each test binary uses its own part of this.
#![allow(dead_code)]

#[cfg(target_os = "linux")]
pub mod denied;
pub mod launcher;
pub mod pinned_jobs;
pub mod pins;
pub mod place;
pub mod scratch;
pub mod shards;
pub mod stopped;
pub mod tapped;
pub mod tfrecords;

#[allow(unused_imports)]
pub use launcher::rank_of;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reelscale::internals::data::{Kind, ShardHeader, ShardInfo, ShardWriter};
use reelscale::internals::human::hex;
use reelscale::internals::synthetic::Planted;
use sha2::{Digest, Sha256};

/// Makes hosts on this machine and runs commands on them.
pub const HOSTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hosts/hosts.sh");

/// Whether the program is built without MPI: then a test that needs ranks under mpirun says that it
/// is skipped.
pub fn without_mpi() -> bool {
    if !cfg!(feature = "mpi") {
        println!("skipped: it needs mpirun, and this build has no MPI");
    }
    !cfg!(feature = "mpi")
}

/// Leaves a test that needs ranks under mpirun, where there are none.
#[allow(unused_macros)]
macro_rules! needs_mpi {
    () => {
        if crate::common::without_mpi() {
            return;
        }
    };
}
#[allow(unused_imports)]
pub(crate) use needs_mpi;

/// A command that can be run once or several times.
#[derive(Clone)]
pub struct TestCommand {
    arguments: Vec<String>,
    ranks: Option<usize>,
    launcher: String,
    hosts: Option<usize>,
    environment: Vec<(String, String)>,
    program: PathBuf,
    folder: Option<PathBuf>,
    limit: Duration,
}

/// The program with these arguments, split at white space.
pub fn reelscale(arguments: &str) -> TestCommand {
    TestCommand {
        arguments: arguments.split_whitespace().map(String::from).collect(),
        ranks: None,
        launcher: launcher::mpirun(),
        hosts: None,
        environment: Vec::new(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_reelscale")),
        folder: None,
        limit: Duration::from_secs(300),
    }
}

impl TestCommand {
    /// Appends one argument as it is.
    pub fn arg(mut self, argument: impl Into<String>) -> TestCommand {
        self.arguments.push(argument.into());
        self
    }

    /// Appends arguments, split at white space.
    pub fn args(self, arguments: &str) -> TestCommand {
        arguments.split_whitespace().fold(self, |command, argument| command.arg(argument))
    }

    /// Appends a path as an argument.
    pub fn path(self, path: &Path) -> TestCommand {
        self.arg(path.to_str().expect("a UTF-8 path"))
    }

    /// Runs under `mpirun -n ranks`.
    pub fn ranks(mut self, ranks: usize) -> TestCommand {
        let has_mpi = cfg!(feature = "mpi");
        assert!(has_mpi, "a test without `common::without_mpi` needs mpirun");
        self.ranks = Some(ranks);
        self
    }

    /// Runs its ranks under another launcher.
    pub fn launcher(mut self, name: &str) -> TestCommand {
        self.launcher = name.into();
        self
    }

    /// Runs one rank on each of so many hosts, which tests/hosts/hosts.sh has made.
    pub fn hosts(mut self, hosts: usize) -> TestCommand {
        self.hosts = Some(hosts);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> TestCommand {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn program(mut self, program: PathBuf) -> TestCommand {
        self.program = program;
        self
    }

    /// Runs in this folder.
    pub fn in_folder(mut self, folder: &Path) -> TestCommand {
        self.folder = Some(folder.to_path_buf());
        self
    }

    /// Fails the test if the command takes longer.
    pub fn within(mut self, seconds: u64) -> TestCommand {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// The process that would be started, with streams of a test's own.
    pub fn command(&self) -> Command {
        let mut command = match (self.hosts, self.ranks) {
            (None, None) => Command::new(&self.program),
            (Some(hosts), _) => {
                let mut command = Command::new(HOSTS);
                command.args(["run", &hosts.to_string()]).arg(&self.program);
                command
            }
            (None, Some(ranks)) => {
                let mut command = launcher::starts(&self.launcher, ranks);
                command.arg(&self.program);
                command
            }
        };
        command.args(&self.arguments);
        command.current_dir(self.folder.as_deref().unwrap_or(Path::new(".")));
        for name in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] {
            command.env(name, "1");
        }
        command.env("OMPI_MCA_mpi_yield_when_idle", "1").env("RUST_BACKTRACE", "0");
        // Else mpirun loses SIGUSR1 where PoCL is installed.
        command.env("HWLOC_COMPONENTS", "-opencl");
        // A test may itself run within an allocation.
        for name in ["SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "PMI_SIZE"] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it.
    pub fn spawn(&self) -> Running {
        let mut command = self.command();
        // Several mpiruns at once would make and remove one another's session directory.
        let session = tempfile::tempdir().expect("a temporary directory");
        command.env("OMPI_MCA_orte_tmpdir_base", session.path());
        // A group of its own, so that all of it can be killed.
        command.process_group(0).stdin(Stdio::null());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stream.expect("piped").read_to_end(&mut bytes);
                bytes
            })
        };
        let stdout = read(child.stdout.take().map(|stream| Box::new(stream) as _));
        let stderr = read(child.stderr.take().map(|stream| Box::new(stream) as _));
        let (arguments, limit) = (self.arguments.clone(), self.limit);
        Running { child, started: Instant::now(), limit, arguments, stdout, stderr, session }
    }

    /// Runs it to its end.
    pub fn output(&self) -> Output {
        self.spawn().finish()
    }

    /// Runs it, demands success and returns what it printed.
    pub fn stdout(&self) -> String {
        let output = self.output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {}\n{stderr}", self.arguments, output.status);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs it, demands this exit code and one error line of the program; returns that line (with
    /// what follows it, if it lists several things), without what mpirun adds.
    pub fn fails_with(&self, code: i32) -> String {
        let output = self.output();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{:?}:\n{stderr}", self.arguments);
        let count = stderr.lines().filter(|line| line.starts_with("reelscale: ")).count();
        assert_eq!(count, 1, "one error line, not {count}:\n{stderr}");
        let from = stderr.find("reelscale: ").expect("counted");
        launcher::without_its_lines(&stderr[from..]).to_string()
    }
}

/// A command under way.
pub struct Running {
    child: Child,
    pub started: Instant,
    limit: Duration,
    arguments: Vec<String>,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    session: tempfile::TempDir,
}

impl Running {
    /// Waits for its end. What takes longer than its limit is killed and fails the test.
    pub fn finish(mut self) -> Output {
        let (mut wait, mut killed) = (Duration::from_millis(1), false);
        let status = loop {
            match self.child.try_wait().expect("it can be waited for") {
                Some(status) => break status,
                None if !killed && self.started.elapsed() > self.limit => {
                    let group = format!("-{}", self.child.id());
                    let _ = Command::new("kill").args(["-9", "--", &group]).status();
                    self.processes().iter().for_each(|process| signal("KILL", *process));
                    killed = true;
                }
                None => std::thread::sleep(wait),
            }
            wait = (wait * 2).min(Duration::from_millis(20));
        };
        let stdout = self.stdout.join().expect("read");
        let stderr = self.stderr.join().expect("read");
        let text = String::from_utf8_lossy(&stderr).into_owned();
        assert!(!killed, "{:?} took too long:\n{text}", self.arguments);
        drop(self.session);
        Output { status, stdout, stderr }
    }

    /// The process that was started: of several ranks their launcher.
    pub fn launcher(&self) -> u32 {
        self.child.id()
    }

    /// Waits until none of its ranks is left, then for its launcher, which is killed where it
    /// doesn't end by itself: Open MPI 4.1's doesn't always when a rank is lost in MPI_Init.
    /// Returns how long the ranks took and whether the launcher had to be killed.
    pub fn ranks_gone(&mut self, limit: Duration) -> (Duration, bool) {
        let started = Instant::now();
        while !self.processes().is_empty() {
            assert!(started.elapsed() < limit, "{:?}: ranks are left", self.arguments);
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = started.elapsed();
        while self.child.try_wait().expect("it can be asked").is_none() {
            if started.elapsed() > took + Duration::from_secs(20) {
                let _ = self.child.kill();
                return (took, true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        (took, false)
    }

    /// The processes that run the program with this command's arguments, its ranks.
    pub fn processes(&self) -> Vec<u32> {
        let wanted: Vec<&[u8]> = self.arguments.iter().map(|text| text.as_bytes()).collect();
        let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let runs = |process: &u32| {
            let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            let program = words.next().is_some_and(|word| word.ends_with(b"reelscale"));
            program && words.take(wanted.len()).eq(wanted.iter().copied())
        };
        let mut processes: Vec<u32> = ids.filter(runs).collect();
        processes.sort_unstable();
        processes
    }

    /// Waits until the file `path` holds `text`, or the command has ended.
    pub fn wait_for(&mut self, path: &Path, text: &str) {
        loop {
            let found = std::fs::read_to_string(path).unwrap_or_default();
            if found.contains(text) || self.child.try_wait().expect("it can be asked").is_some() {
                return;
            }
            assert!(self.started.elapsed() < self.limit, "{text:?} never came");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Sends a signal to a process.
pub fn signal(name: &str, process: u32) {
    let _ = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
}

/// One shard of rows from a planted model in `folder`.
pub fn shards(folder: &Path, rows: usize, classes: usize, features: usize) -> Vec<ShardInfo> {
    std::fs::create_dir_all(folder).unwrap();
    let planted = Planted::new(1, features, classes, 2);
    let path = folder.join("a.h5");
    let (parts, source) = (planted.parts(), "test".to_string());
    let header = ShardHeader { parts, class_count: classes, kind: Kind::Video, source };
    let mut writer = ShardWriter::create(&path, &header).unwrap();
    (0..rows as u64).for_each(|row| writer.push(&planted.example(row)).unwrap());
    writer.finish().unwrap();
    vec![ShardInfo::read(&path).unwrap()]
}

/// The folder of real data, if it is there. Says so if it isn't.
pub fn real_data() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("REELSCALE_DATA").map_or(default, PathBuf::from);
    if path.is_dir() {
        return path.canonicalize().ok();
    }
    println!("skipped: no real data in {}", path.display());
    None
}

pub fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

/// |found - expected| / |expected|.
pub fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let apart = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    apart / norm(&mut expected.iter().copied()).max(1e-30)
}

/// The value of `key` in the JSON file `path`.
pub fn json(path: &Path, key: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(path).expect("the file is there");
    let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    value[key].clone()
}

/// Copies the files of a folder to a new one.
pub fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The bytes of each file in a folder of files.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

/// Makes SHA256SUMS right again, as one would who means harm.
pub fn refit_sums(folder: &Path) {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "SHA256SUMS")
        .collect();
    names.sort();
    let line = |name: String| format!("{}  {name}\n", sha256(&folder.join(&name)));
    let lines: String = names.into_iter().map(line).collect();
    fs::write(folder.join("SHA256SUMS"), lines).unwrap();
}

/// The SHA-256 of a file, in hex digits.
pub fn sha256(path: &Path) -> String {
    hex(&Sha256::digest(fs::read(path).unwrap()))
}
