//! What the system denies: locks of files, reading another process's memory.
#![cfg(target_os = "linux")]

mod common;

use std::process::Output;

use common::denied::deny;
use common::reelscale;
use common::scratch::Scratch;

fn told(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    streams.concat()
}

/// Only a lock that another process has is somebody else's run.
#[test]
fn a_file_system_without_locks_is_told_and_can_be_gone_on_with() {
    let job = "[pretrain]\nepochs = 1\n[rounds]\ncount = 0\n[run]\nthreads = 1\nrow_blocks = 2\n";
    let scratch = Scratch::of((60, 6, 4), job);
    for (errno, words) in [
        (libc::ENOLCK, "No locks available"),
        (libc::ENOSYS, "Function not implemented"),
        (libc::EOPNOTSUPP, "Operation not supported"),
    ] {
        let denied = |arguments: &[&str]| {
            let mut command = scratch.train(&format!("run{errno}")).command();
            deny(command.args(arguments), &[libc::SYS_flock], errno);
            command.output().unwrap()
        };
        let output = denied(&[]);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(5), "{text}");
        let expected = format!("run{errno}: the file system gives no locks ({words})");
        assert!(text.contains(&expected) && text.contains("give --no-lock"), "{text}");
        assert!(!text.contains("another process"), "{text}");
        // What the hint says works.
        let output = denied(&["--no-lock"]);
        let text = told(&output);
        assert!(output.status.success(), "{text}");
        assert!(text.contains(&format!("goes on without a lock ({words})")), "{text}");
        assert!(scratch.path(&format!("run{errno}/model/manifest.json")).exists());
    }
}

/// As containers without SYS_PTRACE do, of which Open MPI tells with many lines.
#[test]
fn the_doctor_tells_ranks_that_may_not_read_each_others_memory() {
    common::needs_mpi!();
    let doctor = |denied: bool, ranks: usize, variable: Option<(&str, &str)>| {
        let mut command = reelscale("doctor --device host").ranks(ranks).command();
        command.envs(variable);
        if denied {
            let calls = [libc::SYS_process_vm_readv, libc::SYS_process_vm_writev];
            deny(&mut command, &calls, libc::EPERM);
        }
        let output = command.output().unwrap();
        (output.status.success(), told(&output))
    };
    let problem = "one rank may not read another's memory (Operation not permitted; Docker?)";
    let cure = ["OMPI_MCA_btl_vader_single_copy_mechanism", "none"];
    let (healthy, text) = doctor(true, 2, None);
    assert!(!healthy && text.contains(problem), "{text}");
    assert!(text.matches(problem).count() == 1 && text.contains("--cap-add=SYS_PTRACE"), "{text}");
    // An older library, whose cure is known here, is well with it.
    if text.contains(&cure.join("=")) {
        let (healthy, text) = doctor(true, 2, Some((cure[0], cure[1])));
        assert!(healthy && !text.contains(problem), "{text}");
    }
    // Ranks alone don't, and are told.
    let (healthy, text) = doctor(true, 1, None);
    assert!(healthy && text.contains(&format!("on 2 ranks {problem}")), "{text}");
    let (healthy, text) = doctor(false, 2, None);
    assert!(healthy && !text.contains("another's memory"), "{text}");
}
