//! Standard output and standard error that nobody takes: they end no run, and a result that doesn't
//! arrive is an error.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::scratch::Scratch;
use common::{TestCommand, files, json, reelscale};

impl Scratch {
    fn new() -> Scratch {
        let job = "[pretrain]\nranks = 4096\nepochs = 3\npatience = 0\n[experts]\nepochs = 2\n\
                   [rounds]\ncount = 1\n[shared]\niterations = 1\n[run]\nthreads = 1\n";
        Scratch::of((200, 12, 8), job)
    }

    fn evaluate(&self) -> TestCommand {
        let model = self.path("whole/model");
        reelscale("evaluate --model").path(&model).arg("--data").path(&self.path("data/a.h5"))
    }

    /// That the run has ended as the undisturbed one did; how many lines nobody took.
    fn same_as_whole(&self, run: &str) -> u64 {
        let record = |run: &str, key: &str| json(&self.path(run).join("run.json"), key);
        assert_eq!(record(run, "finished"), true, "{run}");
        assert_eq!(record(run, "result_hash"), record("whole", "result_hash"), "{run}");
        assert!(self.path(run).join("model/manifest.json").exists());
        record(run, "log_lines_dropped").as_u64().unwrap()
    }
}

/// A pipe that nobody reads from any more.
fn closed_pipe() -> PipeWriter {
    pipe().unwrap().1
}

/// A pipe that is full, whose reader doesn't read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    // What a pipe of Linux holds.
    writer.write_all(&[b'.'; 65536]).unwrap();
    (reader, writer)
}

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// Runs the command with this standard output.
fn with_stdout(command: &TestCommand, stdout: impl Into<Stdio>) -> Output {
    command.command().stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).output().unwrap()
}

/// Runs the command with a stream that is closed.
fn with_closed(command: &TestCommand, stream: i32) -> Output {
    let inner = command.command();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {stream}>&-")).arg(inner.get_program());
    shell.args(inner.get_args()).env("RUST_BACKTRACE", "0");
    shell.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn one_line(output: &Output, code: i32, expected: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("reelscale: ")).collect();
    assert!(lines.len() == 1 && lines[0].contains(expected), "{text}");
}

#[test]
fn log_lines_that_nobody_takes_end_no_run() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    scratch.train("whole").stdout();
    assert_eq!(scratch.same_as_whole("whole"), 0);
    let run = |name: &str, stderr: Stdio| {
        let mut command = scratch.train(name).command();
        let status = command.stdin(Stdio::null()).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(0), "{name}");
        scratch.same_as_whole(name)
    };
    let lines = run("full", full_disk().into());
    assert!(lines > 5, "{lines} lines");
    assert_eq!(run("closed pipe", closed_pipe().into()), lines);
    let (reader, writer) = full_pipe();
    assert_eq!(run("full pipe", writer.into()), lines);
    drop(reader);
    assert_eq!(with_closed(&scratch.train("closed"), 2).status.code(), Some(0));
    assert_eq!(scratch.same_as_whole("closed"), lines);
    // On ranks it is the launcher that has the stream; one that is lost doesn't end a rank.
    let mut command = scratch.train("ranks").ranks(2).command();
    let mut child = command.process_group(0).stderr(full_disk()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    scratch.same_as_whole("ranks");
}

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    for stderr in [Stdio::from(full_disk()), closed_pipe().into()] {
        let command = reelscale("evaluate --model /no/such --data x");
        let status = command.command().stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(6));
    }
    assert_eq!(
        with_closed(&reelscale("evaluate --model /no/such --data x"), 2).status.code(),
        Some(6)
    );
    let status = reelscale("train --no-such").command().stderr(full_disk()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_result_that_does_not_arrive_is_an_error() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    scratch.train("whole").stdout();
    for format in ["table", "json"] {
        let evaluate = scratch.evaluate().arg("--format").arg(format);
        one_line(&with_stdout(&evaluate, full_disk()), 5, "standard output: No space left");
        one_line(&with_stdout(&evaluate, closed_pipe()), 5, "standard output: Broken pipe");
        one_line(&with_closed(&evaluate, 1), 5, "standard output: Bad file descriptor");
        let ranks = evaluate.clone().ranks(2);
        assert!(ranks.stdout().contains("0."), "on ranks");
    }
    let output = scratch.path("out.csv");
    let annotate = reelscale("annotate --model").path(&scratch.path("whole/model"));
    let annotate = annotate.arg("--data").path(&scratch.path("data/a.h5")).arg("--output");
    one_line(&with_stdout(&annotate.path(&output), full_disk()), 5, "standard output");
}

/// `| head`: who has read enough goes.
#[test]
fn readers_may_go() {
    let scratch = Scratch::new();
    let data: &Path = &scratch.path("data/a.h5");
    let commands = [
        reelscale("inspect").path(data),
        reelscale("inspect --hash").path(data),
        reelscale("bench gemm --repeat 1"),
        reelscale("--help"),
        reelscale("train --help"),
        reelscale("--version"),
    ];
    for command in commands {
        let output = with_stdout(&command, closed_pipe());
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        one_line(&with_stdout(&command, full_disk()), 5, "standard output: No space left");
        one_line(&with_closed(&command, 1), 5, "standard output: Bad file descriptor");
    }
    // What it finds on this machine is another matter.
    let doctor = reelscale("doctor");
    let found = with_stdout(&doctor, Stdio::piped()).status.code();
    assert_eq!(with_stdout(&doctor, closed_pipe()).status.code(), found);
    one_line(&with_stdout(&doctor, full_disk()), 5, "standard output: No space left");
}

/// Manual pages, completions and the reference: of what people are offered alone, the same under a
/// launcher, and to a folder as to standard output.
#[test]
fn what_is_generated_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let generated = |what: &str| reelscale("generate").arg(what).stdout();
    // The texts of the files by their names.
    let to_folder = |what: &str| {
        let path = folder.path().join(what);
        reelscale("generate").arg(what).arg("--output").path(&path).stdout();
        let text = |(name, bytes)| (name, String::from_utf8(bytes).unwrap());
        files(&path).into_iter().map(text).collect::<BTreeMap<String, String>>()
    };
    let page = generated("man");
    assert!(page.contains(".TH REELSCALE 1") && !page.contains("read-shards"), "{page}");
    let pages = to_folder("man");
    for name in ["reelscale.1", "reelscale-train.1", "reelscale-bench-rank.1"] {
        assert!(pages.contains_key(name), "{:?}", pages.keys());
    }
    assert!(!pages.keys().any(|name| name.contains("find-devices")), "{:?}", pages.keys());
    assert_eq!(pages["reelscale.1"], page);
    assert!(pages["reelscale-evaluate.1"].contains("Examples"));
    for (what, name, holds) in [
        ("complete-bash", "reelscale", "complete -F _reelscale"),
        ("complete-zsh", "_reelscale", "#compdef reelscale"),
        ("complete-fish", "reelscale.fish", "complete -c reelscale"),
        ("job-reference", "all-keys.toml", "[experts]"),
    ] {
        let text = generated(what);
        assert!(text.contains(holds) && !text.contains("find-devices"), "{what}: {text}");
        assert_eq!(to_folder(what), BTreeMap::from([(name.to_string(), text)]));
    }
    let script = folder.path().join("complete-bash/reelscale");
    assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success());
    // A process of a launcher needs no others for it.
    let alone = reelscale("generate job-reference").env("OMPI_COMM_WORLD_SIZE", "4");
    assert_eq!(alone.env("OMPI_COMM_WORLD_RANK", "3").stdout(), generated("job-reference"));
}
