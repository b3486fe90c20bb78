//! How this process was started: by whom, among how many, on which cores.

use crate::error::{Error, Exit, Result};

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// Whether a launcher of MPI jobs started this process.
pub fn by_launcher() -> bool {
    ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
}

/// Refuses to go on if several tasks were started but each sees a world of one.
///
/// # Errors
/// Exit 3, naming the cure.
pub fn check_world(size: usize) -> Result<()> {
    // mpirun says itself how many it started, also within an allocation for more.
    let variables = match number("OMPI_COMM_WORLD_SIZE") {
        Some(_) => &["OMPI_COMM_WORLD_SIZE"][..],
        None => &["PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"][..],
    };
    for name in variables {
        if let Some(tasks) = number(name).filter(|tasks| *tasks > 1 && size == 1) {
            let text =
                format!("found a world of 1 rank beside {name}={tasks}, expected {tasks} ranks");
            return Err(Error::new(Exit::Launch, text).hint(
                "start with `srun --mpi=pmix` or `mpirun`; for one rank on purpose \
                 `srun --ntasks=1`",
            ));
        }
    }
    Ok(())
}

/// Ranks on this node, as srun tells.
fn slurm_local_size() -> Option<usize> {
    let node = number("SLURM_NODEID")?;
    tasks_of(&std::env::var("SLURM_STEP_TASKS_PER_NODE").ok()?, node)
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

/// Cores that this process may run on.
pub fn cores() -> usize {
    let mask = rustix::thread::sched_getaffinity(None);
    mask.map_or(1, |mask| mask.count() as usize).max(1)
}

/// Cores of this machine, whoever may run on them.
pub fn online() -> usize {
    let count = std::fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let ranges = count.as_deref().unwrap_or_default().trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
    });
    ranges.sum::<usize>().max(1)
}

/// Threads for this rank: `wanted`, or if 0 its share of the cores in its affinity mask (ranks that
/// aren't bound share a machine's cores), at most SLURM_CPUS_PER_TASK. Never more than the mask
/// has.
pub fn threads(wanted: usize) -> usize {
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
    let unbound = cores >= online();
    let local = number("OMPI_COMM_WORLD_LOCAL_SIZE").or_else(slurm_local_size);
    let local = local.filter(|_| unbound).unwrap_or(1);
    let share = (cores / local.max(1)).max(1);
    number("SLURM_CPUS_PER_TASK").map_or(share, |cpus| share.min(cpus.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_counted_by_node() {
        let found: Vec<Option<usize>> = (0..5).map(|node| tasks_of("4(x2),3,1", node)).collect();
        assert_eq!(found, [Some(4), Some(4), Some(3), Some(1), None]);
        assert_eq!(tasks_of("x(", 0), None);
    }
}
