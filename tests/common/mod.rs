//! Runs the program as a user would: `reelscale(...)`, on mpirun ranks if asked, with a time limit
//! after which everything it started is killed.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

/// A command that can be run once or several times.
#[derive(Clone)]
pub struct TestCommand {
    arguments: Vec<String>,
    ranks: Option<usize>,
    environment: Vec<(String, String)>,
    program: PathBuf,
    limit: Duration,
}

/// The program with these arguments, split at white space.
pub fn reelscale(arguments: &str) -> TestCommand {
    TestCommand {
        arguments: arguments.split_whitespace().map(String::from).collect(),
        ranks: None,
        environment: Vec::new(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_reelscale")),
        limit: Duration::from_secs(300),
    }
}

impl TestCommand {
    /// Appends one argument as it is.
    pub fn arg(mut self, argument: impl Into<String>) -> TestCommand {
        self.arguments.push(argument.into());
        self
    }

    /// Appends a path as an argument.
    pub fn path(self, path: &Path) -> TestCommand {
        self.arg(path.to_str().expect("a UTF-8 path"))
    }

    /// Runs under `mpirun -n ranks`.
    pub fn ranks(mut self, ranks: usize) -> TestCommand {
        self.ranks = Some(ranks);
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

    /// Fails the test if the command takes longer.
    pub fn within(mut self, seconds: u64) -> TestCommand {
        self.limit = Duration::from_secs(seconds);
        self
    }

    fn command(&self) -> Command {
        let mut command = match self.ranks {
            None => Command::new(&self.program),
            Some(ranks) => {
                let mut command = Command::new("mpirun");
                command.args(["-n", &ranks.to_string(), "--oversubscribe", "--bind-to", "none"]);
                command.arg(&self.program);
                command
            }
        };
        command.args(&self.arguments);
        for name in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] {
            command.env(name, "1");
        }
        command.env("OMPI_MCA_mpi_yield_when_idle", "1").env("RUST_BACKTRACE", "0");
        // A test may itself run within an allocation.
        for name in ["SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "PMI_SIZE"] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    pub fn output(&self) -> Output {
        let mut command = self.command();
        // Several mpiruns at once would make and remove one another's session directory.
        let session = tempfile::tempdir().expect("a temporary directory");
        command.env("OMPI_MCA_orte_tmpdir_base", session.path());
        // A group of its own, so that all of it can be killed.
        command.process_group(0).stdin(Stdio::null());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let group = child.id();
        let started = Instant::now();
        let (finished, wait) = std::sync::mpsc::channel::<()>();
        let limit = self.limit;
        let watch = std::thread::spawn(move || {
            if wait.recv_timeout(limit).is_err() {
                let _ = Command::new("kill").args(["-9", "--", &format!("-{group}")]).status();
            }
        });
        let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stream.expect("piped").read_to_end(&mut bytes);
                bytes
            })
        };
        let stdout = read(child.stdout.take().map(|stream| Box::new(stream) as _));
        let stderr = read(child.stderr.take().map(|stream| Box::new(stream) as _));
        let status = child.wait().expect("it ends");
        let _ = finished.send(());
        watch.join().expect("the watch ends");
        let (stdout, stderr) = (stdout.join().expect("read"), stderr.join().expect("read"));
        let text = String::from_utf8_lossy(&stderr).into_owned();
        assert!(started.elapsed() < limit, "{:?} took too long:\n{text}", self.arguments);
        Output { status, stdout, stderr }
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
        let told = stderr.lines().filter(|line| line.starts_with("reelscale: ")).count();
        assert_eq!(told, 1, "one error line, not {told}:\n{stderr}");
        let from = stderr.find("reelscale: ").expect("counted");
        let text = &stderr[from..];
        text.split("\n---").next().expect("a first part").trim_end().to_string()
    }
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

/// The value of `key` in the JSON file `path`.
pub fn json(path: &Path, key: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(path).expect("the file is there");
    let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    value[key].clone()
}
