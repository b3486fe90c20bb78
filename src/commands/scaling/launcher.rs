//! What starts the ranks of a run: mpirun, srun within an allocation, or what the user says.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use super::Args;
use super::load::Since;
use crate::error::{Error, Exit, Result};
use crate::{apart, launch};

/// Bytes of what a run has told, at most, that are kept of a failed one.
const TOLD_MAX: usize = 64 << 10;

fn number(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok()?;
    // Of a list such as `2(x3)` the first number.
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok().filter(|number| *number > 0)
}

/// Whether this process is in an allocation of Slurm.
fn in_allocation() -> bool {
    std::env::var_os("SLURM_JOB_ID").is_some()
}

/// Tasks of the allocation; `None` where there is none.
pub(super) fn tasks() -> Option<usize> {
    in_allocation().then(|| number("SLURM_NTASKS").unwrap_or(nodes() * tasks_of_node()))
}

fn nodes() -> usize {
    number("SLURM_JOB_NUM_NODES").unwrap_or(1)
}

fn tasks_of_node() -> usize {
    let spread = number("SLURM_NTASKS").map(|tasks| tasks.div_ceil(nodes()));
    number("SLURM_NTASKS_PER_NODE").or(spread).unwrap_or(1)
}

/// Cores that the allocation has for each task.
pub(super) fn cores_of_task() -> Option<usize> {
    number("SLURM_CPUS_PER_TASK").filter(|_| in_allocation())
}

/// How ranks are started.
pub(super) struct Launcher {
    /// With {ranks}, {threads} and {nodes}.
    words: Vec<String>,
    program: PathBuf,
    ranks_per_node: usize,
    node_cores: usize,
    /// What lets more ranks than cores start: the verdict will say that they are too many.
    more_ranks_than_cores: Option<&'static str>,
    /// Whether all ranks of this machine are processes that this one's own processes wait for.
    own: bool,
}

/// How a command has ended.
pub(super) struct Ended {
    /// As a shell has it: 128 and the signal.
    pub(super) code: i32,
    pub(super) told: String,
    pub(super) seconds: f64,
    pub(super) others: Option<f64>,
}

impl Launcher {
    /// As told, srun within an allocation, or mpirun.
    ///
    /// # Errors
    /// Exit 2: no word of a launcher; exit 3: which program this is nobody tells.
    pub(super) fn of(args: &Args) -> Result<Launcher> {
        let here = "mpirun -n {ranks} --bind-to none";
        let pmi = std::env::var("REELSCALE_SLURM_MPI").unwrap_or("pmix".into());
        let slurm = format!(
            "srun --mpi={pmi} --nodes={{nodes}} --ntasks={{ranks}} --cpus-per-task={{threads}} -K1"
        );
        let text = match &args.launcher {
            Some(text) => text.clone(),
            None if in_allocation() => slurm,
            None => here.into(),
        };
        let words: Vec<String> = text.split_whitespace().map(String::from).collect();
        let Some(first) = words.first() else {
            return Err(Error::usage("--launcher: found nothing").hint("\"mpirun -n {ranks}\""));
        };
        let counted = words.iter().any(|word| word.contains("{ranks}"));
        if !counted && args.launcher.is_some() && args.ranks != [1] {
            let text = format!("--launcher: found {text:?}, expected {{ranks}} in it");
            return Err(Error::usage(text).hint("\"mpiexec -n {ranks}\""));
        }
        let program = std::env::current_exe()
            .map_err(|error| Error::new(Exit::Launch, format!("this program: {error}")))?;
        let told = args.ranks_per_node.map(|ranks| ranks as usize);
        let by_slurm = in_allocation().then(tasks_of_node);
        let by_default = args.launcher.is_none() && first == "mpirun" && is_open_mpi();
        Ok(Launcher {
            more_ranks_than_cores: by_default.then_some("--oversubscribe"),
            own: !first.ends_with("srun"),
            program,
            ranks_per_node: told.or(by_slurm).unwrap_or(usize::MAX),
            node_cores: number("SLURM_CPUS_ON_NODE").unwrap_or_else(launch::cores),
            words,
        })
    }

    /// Ranks of the fullest node, and its cores.
    pub(super) fn node(&self, ranks: usize) -> (usize, usize) {
        (ranks.div_ceil(self.nodes(ranks)), self.node_cores)
    }

    fn nodes(&self, ranks: usize) -> usize {
        ranks.div_ceil(self.ranks_per_node)
    }

    /// The words that start so many ranks, before the program.
    fn words(&self, ranks: usize, threads: usize) -> Vec<String> {
        let nodes = self.nodes(ranks);
        let filled = |word: &String| {
            word.replace("{ranks}", &ranks.to_string())
                .replace("{threads}", &threads.to_string())
                .replace("{nodes}", &nodes.to_string())
        };
        let mut words: Vec<String> = self.words.iter().map(filled).collect();
        words
            .extend(self.more_ranks_than_cores.filter(|_| ranks > launch::cores()).map(Into::into));
        words
    }

    /// Runs this program with these arguments on so many ranks, to their end. They end with this
    /// process.
    ///
    /// # Errors
    /// Exit 3: there is no such launcher.
    pub(super) fn run(
        &self,
        (ranks, threads): (usize, usize),
        arguments: &[String],
    ) -> Result<Ended> {
        let words = self.words(ranks, threads);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(&self.program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // README.md, "When something is wrong", says why.
        if std::env::var_os("HWLOC_COMPONENTS").is_none() {
            command.env("HWLOC_COMPONENTS", "-opencl");
        }
        apart::told_to_end_with_this_process(&mut command);
        let since = Since::now();
        let began = std::time::Instant::now();
        let output = command.output().map_err(|error| {
            let text = format!("{}: {error}", words[0]);
            Error::new(Exit::Launch, text).hint("--launcher \"mpiexec -n {ranks}\"")
        })?;
        let others = since.others().filter(|_| self.own);
        Ok(Ended {
            code: code_of(output.status),
            told: end_of(&String::from_utf8_lossy(&output.stderr)),
            seconds: began.elapsed().as_secs_f64(),
            others,
        })
    }
}

/// Whether mpirun is Open MPI's, which refuses more ranks than cores unless it is told.
fn is_open_mpi() -> bool {
    let told = Command::new("mpirun").arg("--version").stdin(Stdio::null()).output();
    told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).contains("Open MPI"))
}

/// As a shell has it.
fn code_of(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// The last part of a text.
fn end_of(text: &str) -> String {
    let mut from = text.len().saturating_sub(TOLD_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_string()
}

/// The line that says why a run has failed: the program's own, else the launcher's first one that
/// has letters.
pub(super) fn why(told: &str) -> String {
    let own = told.lines().find_map(|line| line.strip_prefix("reelscale: "));
    let says = |line: &&str| line.chars().any(char::is_alphabetic);
    let any = told.lines().filter(|line| !line.starts_with("INFO")).find(says);
    own.or(any).unwrap_or("it told nothing").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_launcher_are_filled() {
        let launcher = |text: &str, ranks_per_node, more_ranks_than_cores| Launcher {
            words: text.split(' ').map(String::from).collect(),
            program: "reelscale".into(),
            ranks_per_node,
            node_cores: 8,
            more_ranks_than_cores,
            own: true,
        };
        let slurm = launcher("srun --nodes={nodes} -n{ranks} -c{threads}", 2, None);
        assert_eq!(slurm.words(3, 4), ["srun", "--nodes=2", "-n3", "-c4"]);
        assert_eq!(slurm.node(3), (2, 8));
        let here = launcher("mpirun -n {ranks}", usize::MAX, Some("--oversubscribe"));
        assert_eq!(here.words(1, 1), ["mpirun", "-n", "1"]);
        assert_eq!(here.node(3), (3, 8));
        let many = launch::cores() + 1;
        assert_eq!(here.words(many, 1).last().unwrap(), "--oversubscribe");
    }

    #[test]
    fn a_failed_run_is_told_in_one_line() {
        let told = "INFO  a job\n-----\nreelscale: job.toml: no\n----\nPrimary job ended\n";
        assert_eq!(why(told), "job.toml: no");
        assert_eq!(why("-----\nThere are not enough slots\n"), "There are not enough slots");
        assert_eq!(why(""), "it told nothing");
        assert_eq!(end_of(&"é".repeat(TOLD_MAX)).len(), TOLD_MAX);
    }
}
