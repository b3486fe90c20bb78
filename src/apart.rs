//! This program, started again as a process that stands apart from the run: for what may crash its
//! process, hang or change how it takes signals.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, setrlimit};

use crate::system;

/// Beginnings of the names of variables by which launchers tell a process that it is a rank.
const LAUNCHERS: [&str; 7] = ["OMPI_", "PMIX_", "PMI_", "SLURM_", "PRTE_", "HYDI_", "MPI_LOCAL"];

/// This program with these arguments, its streams piped. It ends with this process, is deaf to the
/// signals that a whole job gets, leaves no core, and is no rank.
///
/// # Errors
/// Nobody knows which program this is.
pub(crate) fn own_program(arguments: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(system::own_program()?);
    command.arg0("reelscale").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if LAUNCHERS.iter().any(|launcher| text.starts_with(launcher)) {
            command.env_remove(&name);
        }
    }
    let parent = getpid();
    // SAFETY: between fork and exec it makes system calls only.
    unsafe { command.pre_exec(move || stand_apart(parent)) };
    Ok(command)
}

/// Sees to it that what `command` starts is told to end (SIGTERM) when this process does, however
/// that ends: a launcher takes its ranks with it.
pub(crate) fn told_to_end_with_this_process(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec it makes system calls only.
    unsafe { command.pre_exec(move || system::end_with(parent, Signal::TERM)) };
}

fn stand_apart(parent: Pid) -> io::Result<()> {
    system::end_with(parent, Signal::KILL)?;
    for signal in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: to ignore a signal needs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(io::Error::from)
}
