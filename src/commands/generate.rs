//! `reelscale generate`: manual pages, completions for shells, and the reference of job files, out
//! of what the program itself knows.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::out::{For, print_here};
use super::{Arguments, examples};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::job::documented;

const NAME: &str = "reelscale";

/// Prints a manual page, completions for a shell, or every key of a job file.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = examples::GENERATE)]
pub(crate) struct Args {
    /// What is written: man pages, completions for a shell, or every key of a job file with its
    /// meaning and default.
    #[arg(value_enum)]
    what: What,
    /// Directory for the file, or the man pages of all commands, under their usual names; it is
    /// made if it isn't there, and files of these names are replaced. Without it the text, of man
    /// the program's own page, goes to standard output.
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Man,
    CompleteBash,
    CompleteZsh,
    CompleteFish,
    JobReference,
}

/// Needs no ranks: it is this process's own business, wherever it was started.
pub(crate) fn run(args: &Args) -> Result<()> {
    let files = files(args.what)?;
    match &args.output {
        None => print_here(For::Reading, &files[0].1),
        Some(folder) => {
            let written = |path: &Path, outcome: std::io::Result<()>| {
                outcome.map_err(|error| Error::storage(format!("{}: {error}", path.display())))
            };
            let disk = Disk::default();
            written(folder, disk.create_dir_all(folder))?;
            files.iter().try_for_each(|(name, text)| {
                let path = folder.join(name);
                written(&path, disk.write_text(&path, text))
            })
        }
    }
}

/// Files by name, and what is in them.
fn files(what: What) -> Result<Vec<(String, String)>> {
    let completions = |shell, name: &str| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut shown(), NAME, &mut text);
        Ok(vec![(name.to_string(), readable(text)?)])
    };
    match what {
        What::Man => pages(shown()),
        What::CompleteBash => completions(Shell::Bash, NAME),
        What::CompleteZsh => completions(Shell::Zsh, "_reelscale"),
        What::CompleteFish => completions(Shell::Fish, "reelscale.fish"),
        What::JobReference => Ok(vec![("all-keys.toml".to_string(), documented())]),
    }
}

/// The program with the commands that are for people.
fn shown() -> clap::Command {
    let program = Arguments::command();
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    clap::Command::new(NAME)
        .version(super::program::VERSION)
        .about(program.get_about().cloned().unwrap_or_default())
        .args(program.get_arguments().cloned())
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(commands.collect::<Vec<_>>())
}

/// The page of the program, then those of its commands and of theirs.
fn pages(mut program: clap::Command) -> Result<Vec<(String, String)>> {
    program.build();
    let mut pages = Vec::new();
    let mut to_do = vec![(NAME.to_string(), program)];
    while let Some((name, command)) = to_do.pop() {
        let within = command.get_subcommands();
        to_do.extend(within.map(|one| (format!("{name}-{}", one.get_name()), one.clone())));
        let mut page = Vec::new();
        // The title has to last as long as the program.
        let title: &'static str = Box::leak(name.clone().into_boxed_str());
        let man = Man::new(command.name(title)).title(title.to_uppercase());
        man.render(&mut page).map_err(|error| Error::storage(format!("{name}: {error}")))?;
        pages.push((format!("{name}.1"), readable(page)?));
    }
    Ok(pages)
}

fn readable(text: Vec<u8>) -> Result<String> {
    String::from_utf8(text).map_err(|error| Error::storage(error.to_string()))
}
