//! What `--help` and the manual pages show of each command at work. A test has all of it parsed.

pub(crate) const CONVERT: &str = "Examples:
  reelscale convert --from tfrecord --features rgb:1024 --classes 3862 --output data *.tfrecord
  reelscale convert --from npz --features x --labels y --ids id --output data videos.npz
  reelscale convert --from csv --features f0..f511 --labels y --classes 20 --output data videos.csv
  reelscale convert --from hdf5 --features x --labels y --split train=0.9,test=0.1 --output d x.h5";

pub(crate) const SYNTHESIZE: &str = "Examples:
  reelscale synthesize --rows 100000 --classes 1000 --features 1152 --output data/train";

pub(crate) const TRAIN: &str = "Examples:
  mpirun -n 2 reelscale train job.toml --output runs/first
  reelscale train job.toml --output runs/wide --set experts.count=16
  reelscale train runs/first/job.toml --output runs/first    (goes on with a run that was stopped)";

pub(crate) const EVALUATE: &str = "Examples:
  reelscale evaluate --model runs/first/model --data 'data/test/*.h5'
  reelscale evaluate --model runs/first/model --data 'data/test/*.h5' --by-class classes.csv
  reelscale evaluate --predictions predictions.csv --labels labels.csv";

pub(crate) const ANNOTATE: &str = "Examples:
  reelscale annotate --model runs/first/model --data 'data/*.h5' --output predictions.csv
  mpirun -n 4 reelscale annotate --model runs/first/model --data 'data/*.h5' --output annotations/";

pub(crate) const EXPORT: &str = "Examples:
  reelscale export --to onnx --model runs/first --output model.onnx --top 20
  reelscale export --to numpy --model runs/first/model --output model.npz";

pub(crate) const INSPECT: &str = "Examples:
  reelscale inspect data/train
  reelscale inspect --hash data/train
  reelscale inspect runs/first/model
  reelscale inspect runs/first/model --class 42 --format json    (the classes nearest to it)";

pub(crate) const DOCTOR: &str = "Examples:
  mpirun -n 4 reelscale doctor
  srun -n 4 reelscale doctor";

pub(crate) const PLAN: &str = "Examples:
  reelscale plan job.toml --ranks 1024 --threads 16 --network 10GB/s,2us
  reelscale plan job.toml --ranks 64 --threads 16 --sbatch
  reelscale plan job.toml --ranks 1024 --threads 16 --rehearse
  reelscale plan job.toml --ranks 16 --threads 16 --device h200 --network 50GB/s,2us
  reelscale plan job.toml --calibrate rates.json";

pub(crate) const SCALING: &str = "Examples:
  reelscale scaling strong job.toml --ranks 1,2,4,8 --threads 4 --output strong
  reelscale scaling weak job.toml --ranks 1,2,4 --rows-per-rank 8192 --repeat 3 --output weak
  reelscale scaling weak job.toml --ranks 1,2 --rows-per-rank 8192 --rows-from data --output weak
  reelscale scaling strong job.toml --output strong    (in an allocation: 1, 2, 4, ... tasks)";

pub(crate) const REPORT: &str = "Examples:
  reelscale report runs/first --output report.html
  reelscale report runs/first runs/wide --output comparison.html";

pub(crate) const BENCH: &str = "Examples:
  reelscale bench mixture
  reelscale bench rank job.toml --ranks 1024 --threads 16 --steps experts --format json";

pub(crate) const BENCH_ANNOTATE: &str = "Examples:
  reelscale bench annotate --threads 2
  reelscale bench annotate --rows 65536 --experts 16 --threads 16 --device cuda";

pub(crate) const BENCH_GEMM: &str = "Examples:
  reelscale bench gemm
  reelscale bench gemm --rows 240 --depth 2048 --columns 4096 --kernel avx2";

pub(crate) const BENCH_INPUT: &str = "Examples:
  reelscale bench input
  reelscale bench input --data data/train/*.h5";

pub(crate) const BENCH_MIXTURE: &str = "Examples:
  reelscale bench mixture --threads 2
  reelscale bench mixture --stage 2 --experts 16 --rows 32768 --device cuda";

pub(crate) const BENCH_SUM: &str = "Examples:
  reelscale bench sum --ranks 4";

pub(crate) const BENCH_METRICS: &str = "Examples:
  reelscale bench metrics --rows 1000000 --classes 3862";

pub(crate) const BENCH_OVERLAP: &str = "Examples:
  mpirun -n 2 reelscale bench overlap
  mpirun -n 2 reelscale bench overlap --pieces 24 --mib 4";

pub(crate) const BENCH_RANK: &str = "Examples:
  reelscale bench rank job.toml --ranks 1024 --threads 16
  reelscale bench rank job.toml --ranks 1024 --threads 16 --steps experts --format json";

pub(crate) const BENCH_TRAIN: &str = "Examples:
  reelscale bench train
  reelscale bench train --rows 131072 --experts 16 --batch 2048 --threads 16 --device cuda";

pub(crate) const ALL: &str = "Examples:
  reelscale synthesize --rows 20000 --classes 400 --features 128 --output data
  mpirun -n 2 reelscale train job.toml --output runs/first
  reelscale evaluate --model runs/first --data 'data/test/*.h5'
  reelscale report runs/first --output report.html
  reelscale help train";

pub(crate) const STATUS: &str = "Examples:
  reelscale status runs/first
  reelscale status runs/first --format json";

pub(crate) const GENERATE: &str = "Examples:
  reelscale generate man | man -l -
  reelscale generate man --output ~/.local/share/man/man1
  reelscale generate complete-bash --output ~/.local/share/bash-completion/completions
  reelscale generate job-reference > every-key.toml";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory, Parser};

    use crate::commands::Arguments;

    /// Every example of every command is one that the program takes.
    #[test]
    fn all_examples_parse() {
        let program = Arguments::command();
        let commands = || program.get_subcommands().filter(|command| !command.is_hide_set());
        let of_bench = commands().find(|command| command.get_name() == "bench").unwrap();
        let named = |command| (Command::get_name(command), command);
        let mut all: Vec<(&str, &Command)> = commands().map(named).collect();
        all.extend(of_bench.get_subcommands().map(|command| ("bench", command)));
        // Those of the program itself are of any command.
        all.push(("", &program));
        let mut seen = 0;
        for (name, command) in all {
            let shown = command.get_after_help().or(command.get_after_long_help());
            let shown = shown.unwrap_or_else(|| panic!("{name}: no example")).to_string();
            let lines = shown.lines().skip(1).take_while(|line| line.starts_with("  "));
            let mut own = 0;
            for line in lines {
                let words = line.split_whitespace().map(|word| word.trim_matches('\''));
                let words: Vec<&str> = words.skip_while(|word| *word != "reelscale").collect();
                // What a shell does with the output, and what is said of the line.
                let ends = |word: &str| matches!(word, "|" | ">") || word.starts_with('(');
                let end = words.iter().position(|word| ends(word)).unwrap_or(words.len());
                let parsed = Arguments::try_parse_from(&words[..end]);
                assert!(name.is_empty() || words[1] == name, "{line}");
                let own_name = (name == "bench").then(|| command.get_name());
                assert!(own_name.is_none_or(|own| own == name || words[2] == own), "{line}");
                let help = words[1] == "help" && program.find_subcommand(words[2]).is_some();
                assert!(help || parsed.is_ok(), "{line}: {:?}", parsed.err());
                own += 1;
            }
            assert!(own > 0, "{name}: {shown}");
            seen += 1;
        }
        assert!(seen > 22, "{seen}");
    }
}
