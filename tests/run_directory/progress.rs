//! `--progress`: what commands tell on standard error while they work, in a log and on a terminal.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Output};

use super::Scratch;
use crate::common::{TestCommand, json, needs_mpi, reelscale};

/// Lines come at every look, every 20 ms.
const AT_ONCE: (&str, &str) = ("REELSCALE_PROGRESS_SECONDS", "0");
/// What a live line begins with.
const ANEW: &str = "\r\x1b[K";

/// A run of a second or so.
fn scratch() -> Scratch {
    let job = "[model]\nshared = [{ dense = 64 }]\n[pretrain]\nepochs = 2\nbatch = 64\n\
               [experts]\nepochs = 3\nbatch = 64\nwindow = 128\n[shared]\niterations = 4\n\
               [rounds]\ncount = 1\n[run]\nthreads = 1\nrow_blocks = 8\n";
    Scratch::of((20_000, 60, 64), job)
}

impl Scratch {
    fn told(&self, run: &str) -> TestCommand {
        self.train(run).env(AT_ONCE.0, AT_ONCE.1)
    }

    fn result(&self, run: &str) -> serde_json::Value {
        json(&self.path(run).join("run.json"), "result_hash")
    }
}

fn stderr_of(output: Output) -> String {
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// What lines of progress say behind the time of day.
fn told(stderr: &str) -> Vec<&str> {
    let time = |line: &str| {
        let form = line.chars().map(|c| if c.is_ascii_digit() { '0' } else { c });
        form.eq("0000-00-00T00:00:00Z".chars())
    };
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("INFO  ")?.split_once("  "));
    lines.filter(|line| time(line.0)).map(|line| line.1).collect()
}

/// The shares of such lines that begin so, in percent.
fn shares(lines: &[&str], beginning: &str) -> Vec<u32> {
    let rests = lines.iter().filter_map(|line| line.strip_prefix(beginning));
    rests.map(|rest| rest.split_once(" %").unwrap().0.trim().parse().unwrap()).collect()
}

#[test]
fn a_log_tells_how_far_every_step_has_come() {
    let scratch = scratch();
    // As if it were long, which has the kernel measured.
    let long = scratch.told("lines").env("REELSCALE_ADVICE_SECONDS", "0");
    let stderr = stderr_of(long.output());
    let lines = told(&stderr);
    for step in ["pretraining", "round 1/1, expert step", "round 1/1, shared step"] {
        let shares = shares(&lines, step);
        assert!(shares.len() > 1 && shares.is_sorted(), "{step}: {shares:?}\n{stderr}");
        assert!(shares.iter().any(|share| (1..100).contains(share)), "{step}: {shares:?}");
    }
    // Which they are, others that work meanwhile decide.
    let rates = [" rows/s", " % of the kernel's rate"];
    let parts = ["epoch 2/3 ", "iteration ", "; left 0:00:0", ", of run 0:00:0"];
    for part in rates.iter().chain(&parts) {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}\n{stderr}");
    }
    let report = json(&scratch.path("lines/run.json"), "report");
    for step in ["pretrain", "experts", "shared"] {
        let share = report["rates"][step]["share_of_kernel"].as_f64().unwrap();
        assert!(share > 0.0 && share < 1.5, "{step}: {report}");
    }
    // None of it is part of the job, or of what comes of it.
    let silent = stderr_of(scratch.told("off").arg("--progress").arg("off").output());
    assert!(told(&silent).is_empty() && !silent.contains('\x1b'), "{silent}");
    assert!(!silent.contains("kernel does here"), "measured only where a run is long: {silent}");
    assert_eq!(scratch.result("lines"), scratch.result("off"));
    let refused = scratch.train("no").arg("--progress").arg("loud").fails_with_usage();
    assert!(refused.contains("auto, live, lines, off"), "{refused}");
}

impl TestCommand {
    /// Runs it, demands that its arguments are refused, and returns what it says.
    fn fails_with_usage(&self) -> String {
        let output = self.output();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Text that makes some shards, in files that a rank takes one after the other.
fn text_files(folder: &Path) -> Vec<String> {
    let row = |row: usize| {
        let values = (0..60).map(|feature| format!(" {feature}:0.{}", (row * 7 + feature) % 1000));
        format!("{} {}\n", row % 10, values.collect::<String>())
    };
    let text: String = (0..20_000).map(row).collect();
    let names = (0..2).map(|file| folder.join(format!("{file}.txt")));
    let write = |path: std::path::PathBuf| {
        fs::write(&path, format!("20000 60 10\n{text}")).unwrap();
        path.to_str().unwrap().to_string()
    };
    names.map(write).collect()
}

#[test]
fn other_commands_tell_it_beside_their_results() {
    let scratch = scratch();
    // A run that is done before its first line is due has none.
    let short = scratch.train("run").env(AT_ONCE.0, "600");
    let usual = stderr_of(short.output());
    assert!(told(&usual).is_empty(), "{usual}");
    let shards = fs::read_dir(scratch.path("data")).unwrap().map(|entry| entry.unwrap().path());
    let shards: Vec<_> = shards.collect();
    let many = scratch.path("many");
    fs::create_dir(&many).unwrap();
    for (number, shard) in (0..8).flat_map(|copy| shards.iter().map(move |shard| (copy, shard))) {
        let name = shard.file_name().unwrap().to_str().unwrap();
        fs::copy(shard, many.join(format!("{number}-{name}"))).unwrap();
    }
    let at_once = |command: TestCommand| command.env(AT_ONCE.0, AT_ONCE.1);
    let both = |command: TestCommand, name: &str| {
        let output = at_once(command).output();
        let stdout = String::from_utf8(output.stdout.clone()).unwrap();
        let stderr = stderr_of(output);
        let shares = shares(&told(&stderr), name);
        assert!(!shares.is_empty() && shares.is_sorted(), "{name}: {shares:?}\n{stderr}");
        assert!(shares.iter().any(|share| (1..100).contains(share)), "{name}: {shares:?}");
        stdout
    };
    let (model, data) = (scratch.path("run/model"), many.join("*.h5"));
    let scored = |command: &str| {
        let command = reelscale(&format!("{command} --threads 1 --model")).path(&model);
        command.arg("--data").path(&data)
    };
    let metrics = both(scored("evaluate --format json"), "scoring");
    serde_json::from_str::<serde_json::Value>(&metrics).expect("metrics alone");
    let folder = format!("{}/", scratch.path("annotations").display());
    let stdout = both(scored("annotate --part-rows 100").arg("--output").arg(folder), "annotating");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let convert = reelscale("convert --from svmlight --output").path(&scratch.path("converted"));
    let files = text_files(&scratch.path("data"));
    let convert = files.into_iter().fold(convert, TestCommand::arg);
    let stdout = both(convert, "converting");
    assert!(stdout.contains("40000 rows"), "{stdout}");
}

/// What a terminal is shown of this command, which a shell runs on it.
fn on_a_terminal(command: &TestCommand, redirected: &str) -> String {
    let given = command.command();
    let words = std::iter::once(given.get_program()).chain(given.get_args());
    let words = words.map(|word| format!("'{}'", word.to_str().unwrap()));
    let line = format!("{} {redirected}", words.collect::<Vec<_>>().join(" "));
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let values = given.get_envs().filter_map(|(name, value)| Some((name, value?)));
    terminal.envs(values).env("TERM", "xterm");
    let output = terminal.stdin(std::process::Stdio::null()).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}");
    shown
}

/// What `shown` holds of lines that stay: each is on a line of its own, and nothing of the live
/// line stays at the end.
fn lines_that_stay(shown: &str) -> Vec<String> {
    let stays = |line: &str| line.rsplit(ANEW).next().unwrap().trim_end().to_string();
    shown.split('\n').map(stays).filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_terminal_has_one_live_line_below_all_others() {
    let scratch = scratch();
    let shown = on_a_terminal(&scratch.told("run"), "");
    let live: Vec<&str> = shown.split(ANEW).filter(|text| text.contains(" %")).collect();
    for step in ["pretraining ", "round 1/1, expert step ", "round 1/1, shared step "] {
        assert!(live.iter().any(|line| line.starts_with(step)), "{step}: {shown:?}");
    }
    let lines = lines_that_stay(&shown);
    assert!(
        lines.iter().all(|line| line.starts_with("INFO  ") || !line.contains('%')),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.starts_with("INFO  pretrain  epoch 1")), "{lines:?}");
    assert!(told(&lines.join("\n")).is_empty(), "{lines:?}");
    // What goes elsewhere has none of it.
    let model = format!("evaluate --format json --model {}", scratch.path("run").display());
    let evaluate = reelscale(&model).arg("--data").path(&scratch.path("data/*.h5"));
    let file = scratch.path("metrics.json");
    on_a_terminal(&evaluate.clone().env(AT_ONCE.0, AT_ONCE.1), &format!("> {}", file.display()));
    serde_json::from_str::<serde_json::Value>(&fs::read_to_string(file).unwrap()).unwrap();
    let evaluate = evaluate.arg("--progress").arg("lines").env(AT_ONCE.0, AT_ONCE.1);
    let plain = on_a_terminal(&evaluate, "");
    assert!(!plain.contains('\x1b'), "{plain:?}");
}

#[test]
fn mpirun_shows_it_on_its_terminal_and_tells_it_once_in_a_log() {
    needs_mpi!();
    let scratch = scratch();
    let shown = on_a_terminal(&scratch.told("live").ranks(2), "");
    let live: Vec<&str> = shown.split(ANEW).filter(|text| text.contains(" %")).collect();
    assert!(live.iter().any(|line| line.starts_with("round 1/1, expert step ")), "{shown:?}");
    // What stays are the log's own lines; the last of them tell of shares, too.
    let logged = |line: &String| line.starts_with("INFO  ") || !line.contains(" %");
    let lines = lines_that_stay(&shown);
    assert!(lines.iter().all(logged) && told(&lines.join("\n")).is_empty(), "{shown:?}");
    let stderr = stderr_of(scratch.told("lines").ranks(2).output());
    let lines = told(&stderr);
    let shares = shares(&lines, "round 1/1, expert step");
    assert!(shares.len() > 1 && shares.is_sorted() && !stderr.contains('\x1b'), "{stderr}");
    assert_eq!(scratch.result("live"), scratch.result("lines"));
}

/// A terminal: its end for who shows it, and its end for who writes.
fn terminal() -> (File, File) {
    // SAFETY: plain calls; the descriptor is open, and nobody else has it.
    let shows = unsafe {
        let number = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        assert!(number >= 0 && libc::grantpt(number) == 0 && libc::unlockpt(number) == 0);
        OwnedFd::from_raw_fd(number)
    };
    let mut name = [0; 64];
    // SAFETY: it writes so many bytes at most.
    let named = unsafe { libc::ptsname_r(shows.as_raw_fd(), name.as_mut_ptr(), name.len()) };
    assert_eq!(named, 0);
    let name: Vec<u8> = name.iter().take_while(|byte| **byte != 0).map(|b| *b as u8).collect();
    let path = String::from_utf8(name).unwrap();
    let writes = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path);
    (File::from(shows), writes.unwrap())
}

#[test]
fn a_terminal_that_goes_or_takes_nothing_ends_no_run() {
    let scratch = scratch();
    let results = [true, false].map(|goes| {
        let run = format!("run-{goes}");
        let (mut shows, writes) = terminal();
        let mut command = scratch.told(&run).env("TERM", "xterm").command();
        let mut child = command.stderr(writes).spawn().unwrap();
        drop(command);
        // It is on its way.
        let mut some = [0; 512];
        assert!(shows.read(&mut some).unwrap() > 0);
        // One that stays is never read again.
        let stays = (!goes).then_some(shows);
        let status = child.wait().unwrap();
        drop(stays);
        assert!(status.success(), "{status}");
        scratch.result(&run)
    });
    assert!(results[0] == results[1] && results[0] != "", "{results:?}");
}
