//! The subcommands: for each its arguments and what it runs. The only folder that names `clap` or
//! writes to standard output.

mod allocator;
mod annotate;
mod auto;
mod bench;
mod convert;
mod device;
mod doctor;
mod doctor_devices;
mod doctor_memory;
mod evaluate;
mod examples;
mod export;
mod find_devices;
mod generate;
mod inspect;
mod model_path;
mod new_set;
mod out;
mod plan;
mod program;
mod progress;
mod read_shards;
mod report;
mod scaling;
mod scoring;
mod status;
mod synthesize;
pub mod train;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use out::For;

use crate::comm::{
    Beside, Comm, abort_all, begin_ending, library, own_rank, run_threads, stand_aside,
};
use crate::error::{Exit, Result};
use crate::human::in_a_line;
use crate::job::STALL_SECONDS_MIN;
use crate::progress::set_phase;
use crate::report::{failure, install, thread_is};
use crate::{caught, launch, signals, tell};

pub use allocator::Allocator;
pub use bench::rank::{Pool, among_stand_ins};
pub use progress::Progress;
pub use read_shards::read_shards_by_this_program;

/// Trains video annotators too large for one machine.
#[derive(Debug, Parser)]
#[command(name = "reelscale", version, after_help = examples::ALL)]
pub struct Arguments {
    /// What ranks are: auto (MPI if a launcher of MPI started it), serial, mpi, or threads=N.
    #[arg(long, global = true, default_value = "auto", value_parser = Ranks::parse)]
    comm: Ranks,
    #[command(subcommand)]
    command: Command,
}

/// What ranks are.
#[derive(Clone, Copy, Debug)]
enum Ranks {
    Auto,
    Serial,
    Mpi,
    Threads(usize),
}

impl Ranks {
    fn parse(text: &str) -> std::result::Result<Ranks, String> {
        match (text, text.strip_prefix("threads=").map(str::parse)) {
            ("auto", _) => Ok(Ranks::Auto),
            ("serial", _) => Ok(Ranks::Serial),
            ("mpi", _) => Ok(Ranks::Mpi),
            (_, Some(Ok(count @ 1..=1024))) => Ok(Ranks::Threads(count)),
            _ => Err("expected auto, serial, mpi or threads=N".into()),
        }
    }
}

impl Arguments {
    /// Parses the arguments of this process. Where they ask for help or the version, or can't be
    /// understood, that is printed: then there is nothing to run, and the exit code comes back.
    pub fn of_process() -> std::result::Result<Arguments, ExitCode> {
        Arguments::try_parse().map_err(|message| {
            if message.use_stderr() {
                // The same message, of arguments as a line can show them.
                let shown = std::env::args_os().map(|one| in_a_line(&one.to_string_lossy()));
                // Whether it can be written or not, the code says that something is wrong.
                let _ = Arguments::try_parse_from(shown).err().unwrap_or(message).print();
                return ExitCode::from(Exit::Usage as u8);
            }
            exit_code(out::print_here(For::Reading, &message.render().to_string()))
        })
    }

    /// Runs the command on the ranks asked for.
    ///
    /// # Errors
    /// What the command gives; it comes back on every rank that has to end.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::ReadShards => return read_shards::run(),
            Command::FindDevices(args) => return find_devices::run(&args),
            Command::Generate(args) => return generate::run(&args),
            Command::Status(args) => return status::run(&args),
            Command::Scaling(args) => return scaling::run(&args),
            Command::Report(args) => return report::run(&args),
            _ => {}
        }
        // A plan of ranks has none itself, also within an allocation for them.
        let plans = matches!(self.command, Command::Plan(_));
        let mpi = matches!(self.comm, Ranks::Mpi)
            || matches!(self.comm, Ranks::Auto) && launch::by_launcher();
        signals::ignore_size_limit();
        if let Ranks::Threads(size) = self.comm {
            install(0, size);
            launch::ranks_are_threads(size);
            let run = |comm: &Comm| {
                thread_is(comm.rank());
                self.command.clone().run(comm)
            };
            return run_threads(size, run).map(drop);
        }
        // One that comes while MPI starts stops the run at its first boundary.
        if let Command::Train(_) | Command::Annotate(_) = self.command {
            signals::take_signals()?;
        }
        let comm = if mpi && !plans { launch::in_turn(Comm::mpi())? } else { Comm::serial() };
        let alone_is_fine =
            plans || matches!(self.command, Command::Inspect(_) | Command::Doctor(_));
        on_ranks(comm, |comm| {
            if !alone_is_fine {
                launch::in_turn(launch::check_world(comm.size(), library().as_deref()))?;
            }
            if matches!(self.command, Command::Inspect(_)) {
                comm.without_watch();
            } else {
                set_phase(self.command.name());
                program::same(comm)?;
                comm.watch_over(self.command.patience(), BESIDE);
            }
            self.command.run(comm)
        })
    }
}

/// Runs `body` on this rank and makes all ranks end together. An error that all have agreed on is
/// told by rank 0, which leaves with its code, while the others leave quietly; an error of one rank
/// alone is told by that rank, which then aborts the others.
///
/// # Errors
/// What `body` gives, where there is one rank only.
pub fn on_ranks(comm: Comm, body: impl FnOnce(&Comm) -> Result<()>) -> Result<()> {
    install(comm.rank(), comm.size());
    let outcome = settled(&comm, body);
    let Err(error) = &outcome else { return outcome };
    if comm.size() == 1 {
        return outcome;
    }
    let code = error.exit as i32;
    if !error.agreed {
        if !begin_ending() {
            stand_aside();
        }
        tell(&format!("rank {}: {error}", comm.rank()));
        comm.abort(code);
    }
    // mpirun ends all ranks, and loses what they wrote, when the first one leaves with a code: so
    // the rank that tells the error is the one that has the code.
    let code = if comm.is_root() {
        tell(&error.text);
        code
    } else {
        0
    };
    drop(comm);
    std::process::exit(code)
}

/// Runs `body`, and sees to it that no news of a stop is left on its way where all ranks come back
/// from it: MPI can't end before such a message is taken in.
///
/// # Errors
/// What `body` gives.
pub fn settled(comm: &Comm, body: impl FnOnce(&Comm) -> Result<()>) -> Result<()> {
    let outcome = body(comm);
    // An error of one rank alone ends the others wherever they are.
    if outcome.as_ref().err().is_none_or(|error| error.agreed) {
        comm.settle_stop();
    }
    outcome
}

/// Tells an error in one line and gives the exit code of the process.
pub fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error.text);
            ExitCode::from(error.exit as u8)
        }
    }
}

/// The patience with ranks where nobody says another.
const PATIENCE_SECONDS: f64 = 60.0;

/// The one error line.
fn tell(text: &str) {
    tell::line(&format!("reelscale: {text}"));
    if launch::by_launcher() {
        tell::passed_on();
    }
}

/// Makes a panic on any rank end all of them: one that unwinds would wait in MPI_Finalize for
/// others that wait for it.
pub fn end_all_ranks_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if caught::is_catching() {
            return;
        }
        if !begin_ending() {
            stand_aside();
        }
        default(panic);
        let text = panic.to_string().replace('\n', " ");
        failure::record(own_rank(), Exit::Bug, &text);
        if launch::by_launcher() {
            tell::passed_on();
        }
        abort_all(Exit::Bug as i32);
    }));
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Convert(convert::Args),
    Synthesize(synthesize::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Annotate(annotate::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
    Plan(plan::Args),
    Status(status::Args),
    Scaling(scaling::Args),
    Report(report::Args),
    Generate(generate::Args),
    /// Reads shards for another process of this program.
    #[command(hide = true)]
    ReadShards,
    /// Looks for devices for another process of this program.
    #[command(hide = true)]
    FindDevices(find_devices::Args),
}

/// What is done beside watching.
const BESIDE: Beside = Beside {
    each_tick: signals::look_again,
    record: |rank, line| failure::record(rank, Exit::Peer, line),
    goes_on: failure::may_go_on,
};

/// How long ranks may hang or give no sign of life.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Patience {
    /// Ends the run when a rank gives no sign of life, or gets on with nothing, for so long while
    /// others wait for it; at least 2, 0: never.
    #[arg(long, global = true, default_value_t = PATIENCE_SECONDS, value_parser = seconds)]
    stall_seconds: f64,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let taken = |seconds: &f64| *seconds == 0.0 || (STALL_SECONDS_MIN..1e9).contains(seconds);
    let found = text.parse::<f64>().ok().filter(taken);
    found.ok_or_else(|| format!("expected seconds: 0, or at least {STALL_SECONDS_MIN}"))
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Convert(_) => "convert",
            Command::Synthesize(_) => "synthesize",
            Command::Train(_) => "train",
            Command::Evaluate(_) => "evaluate",
            Command::Annotate(_) => "annotate",
            Command::Export(_) => "export",
            Command::Inspect(_) => "inspect",
            Command::Doctor(_) => "doctor",
            Command::Bench(_) => "bench",
            Command::Plan(_) => "plan",
            Command::Status(_) => "status",
            Command::Scaling(_) => "scaling",
            Command::Report(_) => "report",
            Command::Generate(_) => "generate",
            Command::ReadShards => "read-shards",
            Command::FindDevices(_) => "find-devices",
        }
    }

    /// Of `train` until it has read its job.
    fn patience(&self) -> Duration {
        let seconds = match self {
            Command::Convert(args) => args.patience.stall_seconds,
            Command::Synthesize(args) => args.patience.stall_seconds,
            Command::Evaluate(args) => args.patience.stall_seconds,
            Command::Annotate(args) => args.patience.stall_seconds,
            Command::Export(args) => args.patience.stall_seconds,
            Command::Bench(args) => args.patience.stall_seconds,
            Command::Train(_)
            | Command::Inspect(_)
            | Command::Doctor(_)
            | Command::Plan(_)
            | Command::Status(_)
            | Command::Scaling(_)
            | Command::Report(_)
            | Command::Generate(_)
            | Command::ReadShards
            | Command::FindDevices(_) => PATIENCE_SECONDS,
        };
        Duration::from_secs_f64(seconds)
    }

    /// Runs the command on this rank.
    fn run(self, comm: &Comm) -> Result<()> {
        comm.agree(launch::check_variables())?;
        match self {
            Command::Convert(args) => convert::run(comm, args),
            Command::Synthesize(args) => synthesize::run(comm, args),
            Command::Train(args) => train::run(comm, args),
            Command::Evaluate(args) => evaluate::run(comm, args),
            Command::Annotate(args) => annotate::run(comm, args),
            Command::Export(args) => export::run(comm, args),
            Command::Inspect(args) => inspect::run(comm, args),
            Command::Doctor(args) => doctor::run(comm, args),
            Command::Bench(args) => bench::run(comm, args),
            Command::Plan(args) => plan::run(comm, args),
            Command::Status(args) => status::run(&args),
            Command::Scaling(args) => scaling::run(&args),
            Command::Report(args) => report::run(&args),
            Command::Generate(args) => generate::run(&args),
            Command::ReadShards => read_shards::run(),
            Command::FindDevices(args) => find_devices::run(&args),
        }
    }
}
