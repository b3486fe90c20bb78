//! Processes that the system denies a call, as file systems without locks and containers do.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has `command`, and whatever that starts, get `errno` from the system's `calls`.
pub fn deny(command: &mut Command, calls: &[libc::c_long], errno: i32) {
    let step = |code: u32, jump: (u8, u8), k: u32| libc::sock_filter {
        code: code as u16,
        jt: jump.0,
        jf: jump.1,
        k,
    };
    // The number of the call lies first in what the filter is given.
    let mut filter = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0)];
    for (index, call) in calls.iter().enumerate() {
        let to_the_end = (calls.len() - index) as u8;
        filter.push(step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            (to_the_end, 0),
            *call as u32,
        ));
    }
    let answer = libc::BPF_RET | libc::BPF_K;
    filter.push(step(answer, (0, 0), libc::SECCOMP_RET_ALLOW));
    filter.push(step(answer, (0, 0), libc::SECCOMP_RET_ERRNO | errno as u32));
    let apply = move || {
        let program =
            libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: system calls alone, which a process that was just forked may make; the kernel
        // copies the filter, which lives as long as this closure.
        let outcome = unsafe {
            match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) {
                0 => {
                    libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
                }
                refused => refused,
            }
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: `apply` makes system calls only.
    unsafe { command.pre_exec(apply) };
}
