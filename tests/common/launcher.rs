//! What starts ranks in tests: Open MPI's mpirun, or that of the MPI which the program is built
//! with, as REELSCALE_MPIRUN names it (`make test-mpich`).

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::process::Command;

/// The launcher's name.
pub fn mpirun() -> String {
    std::env::var("REELSCALE_MPIRUN").unwrap_or_else(|_| "mpirun".into())
}

/// Whether this launcher is MPICH's; nothing where there is none of this name.
pub fn is_of_mpich(name: &str) -> Option<bool> {
    let output = Command::new(name).arg("--version").output().ok()?;
    Some(!String::from_utf8_lossy(&output.stdout).contains("Open MPI"))
}

/// Starts so many ranks of what follows, none bound to a core.
pub fn starts(name: &str, ranks: usize) -> Command {
    let mut command = Command::new(name);
    command.args(["-n", &ranks.to_string(), "--bind-to", "none"]);
    // MPICH starts more ranks than there are cores as it is.
    if !name.ends_with(".mpich") {
        command.arg("--oversubscribe");
    }
    command
}

/// What the program wrote, up to what its launcher or its MPI added.
pub fn without_its_lines(text: &str) -> &str {
    // Open MPI's mpirun; MPICH's library and mpirun.
    let starts = ["\n---", "\nAbort(", "\n==="];
    let end = starts.iter().filter_map(|start| text.find(start)).min();
    text[..end.unwrap_or(text.len())].trim_end()
}

/// The rank that a process is, as its launcher tells it.
pub fn rank_of(process: u32) -> Option<usize> {
    let variables = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let text = String::from_utf8_lossy(&variables).into_owned();
    let names = ["OMPI_COMM_WORLD_RANK=", "PMI_RANK="];
    let rank = |one: &str| names.iter().find_map(|name| one.strip_prefix(name)?.parse().ok());
    text.split('\0').find_map(rank)
}
