//! Which launcher started this process, and whether it is that of the MPI library that the program
//! is built with: another one starts programs that are each alone.

use crate::error::{Error, Exit, Result};

/// What starts ranks.
#[derive(Clone, Debug, PartialEq)]
enum Launcher {
    /// Its mpirun.
    OpenMpi,
    /// Hydra: the mpirun of MPICH and of those that descend from it (Intel MPI, MVAPICH).
    Mpich,
    /// srun, and what its --mpi says.
    Slurm(Option<String>),
    Nobody,
}

/// Libraries that find each other's ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    OpenMpi,
    Mpich,
    Other,
}

type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Launcher {
    /// By the variables that it sets. What mpirun starts within a step of Slurm inherits those of
    /// srun.
    fn found(variable: Variable) -> Launcher {
        let is_set = |name: &str| variable(name).is_some();
        if is_set("OMPI_COMM_WORLD_SIZE") {
            Launcher::OpenMpi
        } else if is_set("HYDI_CONTROL_FD") || is_set("MPI_LOCALNRANKS") {
            Launcher::Mpich
        } else if is_set("SLURM_STEP_ID") {
            Launcher::Slurm(variable("SLURM_MPI_TYPE"))
        } else {
            Launcher::Nobody
        }
    }

    fn name(&self) -> String {
        match self {
            Launcher::OpenMpi => "mpirun of Open MPI".into(),
            Launcher::Mpich => "mpirun of MPICH".into(),
            Launcher::Slurm(Some(kind)) => format!("srun --mpi={kind}"),
            Launcher::Slurm(None) => "srun".into(),
            Launcher::Nobody => "none".into(),
        }
    }
}

impl Family {
    /// By what the library says of itself.
    fn of(library: &str) -> Family {
        let says = |name: &str| library.contains(name);
        match () {
            () if says("Open MPI") => Family::OpenMpi,
            () if says("MPICH") || says("Intel(R) MPI") || says("MVAPICH") => Family::Mpich,
            () => Family::Other,
        }
    }
}

/// Who started this process, for people.
pub(crate) fn describe() -> String {
    let name = Launcher::found(&variable).name();
    match name.starts_with("mpirun") && variable("SLURM_STEP_ID").is_some() {
        true => format!("{name} within a step of Slurm"),
        false => name,
    }
}

/// Refuses to go on if several tasks were started but each sees a world of one. `library`: which
/// MPI the program is built with.
///
/// # Errors
/// Exit 3, naming launcher, library and the cure.
pub(crate) fn check_world(size: usize, library: Option<&str>) -> Result<()> {
    check(size, library, &variable)
}

fn check(size: usize, library: Option<&str>, variable: Variable) -> Result<()> {
    let launcher = Launcher::found(variable);
    // mpirun says itself how many it started, also within an allocation for more.
    let variables = match launcher {
        Launcher::OpenMpi => &["OMPI_COMM_WORLD_SIZE"][..],
        Launcher::Mpich => &["PMI_SIZE"],
        _ => &["PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"],
    };
    for name in variables {
        let tasks = variable(name).and_then(|text| text.trim().parse::<usize>().ok());
        if let Some(tasks) = tasks.filter(|tasks| *tasks > 1 && size == 1) {
            let who = match (&launcher, library) {
                (Launcher::Nobody, _) | (_, None) => String::new(),
                (launcher, Some(library)) => {
                    let library = library.split(',').next().unwrap_or_default();
                    format!(": {} started a program of {library}", launcher.name())
                }
            };
            let text = format!(
                "found a world of 1 rank beside {name}={tasks}, expected {tasks} ranks{who}"
            );
            return Err(Error::new(Exit::Launch, text).hint(cure(&launcher, library)));
        }
    }
    Ok(())
}

/// Processes that a launcher has started with this one, and this one. What Slurm has allocated is
/// no process yet.
pub(crate) fn processes() -> usize {
    let names = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
    names.into_iter().find_map(super::number).unwrap_or(1)
}

/// How ranks of this library find each other.
fn cure(launcher: &Launcher, library: Option<&str>) -> &'static str {
    match (launcher, library.map(Family::of)) {
        (Launcher::OpenMpi, Some(Family::Mpich)) => {
            "start it with the mpirun of its MPICH (Debian: mpirun.mpich), or build it with Open \
             MPI's mpicc"
        }
        (Launcher::Mpich, Some(Family::OpenMpi)) => {
            "start it with the mpirun of its Open MPI (Debian: mpirun.openmpi), or build it with \
             MPICC=mpicc.mpich"
        }
        (Launcher::OpenMpi | Launcher::Mpich, _) => {
            "start it with the mpirun of the MPI that it is built with: that of another \
             installation can't reach it"
        }
        (_, Some(Family::Mpich)) => {
            "start with `srun --mpi=pmi2` (REELSCALE_SLURM_MPI=pmi2 for the scripts in slurm/) or \
             MPICH's `mpirun`; for one rank on purpose `srun --ntasks=1`"
        }
        _ => "start with `srun --mpi=pmix` or `mpirun`; for one rank on purpose `srun --ntasks=1`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_MPI: &str = "Open MPI v4.1.4, package: Debian OpenMPI";
    const MPICH: &str = "MPICH 4.0.2";

    fn told(size: usize, library: Option<&str>, set: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = set.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.to_string())
        };
        check(size, library, &variable).err().map(|error| error.text)
    }

    #[test]
    fn a_launcher_of_another_library_is_named_with_its_cure() {
        let open_mpi = [("OMPI_COMM_WORLD_SIZE", "2"), ("SLURM_NTASKS", "8")];
        let mpich = [("PMI_SIZE", "3"), ("MPI_LOCALNRANKS", "3")];
        let srun = |kind| [("SLURM_STEP_ID", "0"), ("SLURM_MPI_TYPE", kind), ("SLURM_NTASKS", "4")];
        let none = [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4")];
        for (library, set, who, cure) in [
            (
                MPICH,
                &open_mpi[..],
                "mpirun of Open MPI started a program of MPICH 4",
                "mpirun.mpich",
            ),
            (
                OPEN_MPI,
                &mpich,
                "mpirun of MPICH started a program of Open MPI v4.1.4;",
                "mpirun.openmpi",
            ),
            (MPICH, &srun("pmix"), "srun --mpi=pmix started a program of MPICH", "--mpi=pmi2"),
            (
                OPEN_MPI,
                &srun("pmi2"),
                "srun --mpi=pmi2 started a program of Open MPI",
                "--mpi=pmix",
            ),
            (MPICH, &none, "srun started a program of MPICH", "--mpi=pmi2"),
            (OPEN_MPI, &open_mpi, "mpirun of Open MPI started", "another installation"),
        ] {
            let text = told(1, Some(library), set).unwrap();
            assert!(text.contains(who) && text.contains(cure), "{text}");
            assert_eq!(told(2, Some(library), set), None, "ranks that found each other");
        }
        let text = told(1, None, &[("SLURM_NTASKS", "4")]).unwrap();
        assert!(text.contains("expected 4 ranks; hint: start with `srun --mpi=pmix`"), "{text}");
    }

    #[test]
    fn one_rank_on_purpose_is_fine() {
        let of_four = [("OMPI_COMM_WORLD_SIZE", "1"), ("SLURM_NTASKS", "4")];
        assert_eq!(told(1, Some(OPEN_MPI), &of_four), None);
        let of_four = [("HYDI_CONTROL_FD", "7"), ("PMI_SIZE", "1"), ("SLURM_NTASKS", "4")];
        assert_eq!(told(1, Some(MPICH), &of_four), None);
        assert_eq!(told(1, None, &[]), None);
    }
}
