//! A simulator: the real training on thread ranks of which one goes on at a time, chosen by a seed
//! at each call of comm, disk and clock; with stops, losses of ranks and of power, and a disk that
//! forgets what wasn't synced (docs/simulator.md).

#[path = "../common/mod.rs"]
mod common;

mod columns;
mod counts;
mod dealing;
mod draws;
mod exchanges;
mod expected;
mod files;
mod forgets;
mod held;
mod hooks;
mod meeting;
mod nodes;
mod plan;
mod plant;
mod ranks;
mod schedule;
mod state;
mod trace;
mod tree;
mod world;

use std::collections::BTreeSet;
use std::process::Command;

use counts::Counts;
use expected::Jobs;
use plan::{Plan, When};
use plant::Plant;

/// Failures after which no more are looked for.
const FAILURES_MAX: usize = 20;
/// Schedules within which a planted fault is found.
const UNTIL_FOUND: u64 = 60;
/// Renames of a start without checkpoints by count or time, and some.
const RENAMES: u64 = 24;
/// Calls of the disk until a run's directory is there, and some.
const FIRST_CALLS: u64 = 14;

/// Calls that may be left out, by file: how many of them, and why.
const NOT_NEEDED: &[(&str, usize, &str)] = &[
    ("src/artifact/files.rs", 1, "the manifest, written last, has the model's folder synced"),
    ("src/artifact/mod.rs", 1, "a run has written its record beside the model just before"),
    ("src/disk/mod.rs", 1, "a run has all folders above it synced, not only those it has made"),
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn jobs() -> Jobs {
    let _ = log::set_logger(&hooks::Warnings).map(|()| log::set_max_level(log::LevelFilter::Warn));
    Jobs::new()
}

/// Exchanges that are open at once, in several groups, in worlds that a seed decides.
#[test]
fn random_exchanges_end() {
    for seed in 0..150 {
        if let Err(text) = exchanges::run(seed) {
            panic!("seed {seed}: {text}");
        }
    }
}

/// Parts of rows that are annotated, dealt in worlds that a seed decides.
#[test]
fn parts_are_dealt_once_whoever_stops_or_fails() {
    let whole: Vec<bool> = (0..150)
        .map(|seed| dealing::run(seed).unwrap_or_else(|text| panic!("seed {seed}: {text}")))
        .collect();
    let all = whole.iter().filter(|all| **all).count();
    assert!((40..140).contains(&all), "{all} of 150 undisturbed");
}

/// Turns of a column of ranks, in worlds that a seed decides; and with a rank that leaves by
/// itself.
#[test]
fn a_column_leaves_at_the_same_turn_on_all_ranks() {
    let whole = |seed| columns::run(seed, false).unwrap_or_else(|text| panic!("{seed}: {text}"));
    let all = (0..100).filter(|seed| whole(*seed)).count();
    assert!((30..95).contains(&all), "{all} of 100 undisturbed");
    let found = (0..UNTIL_FOUND).any(|seed| columns::run(seed, true).is_err());
    assert!(found, "a rank that leaves a column by itself");
}

/// Schedules 1, 2, ... of `make simulate`; 300 in `make test`. SEED names one, whose points are
/// printed one by one.
#[test]
fn schedules_end_as_undisturbed_runs() {
    let jobs = jobs();
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    let one = number("REELSCALE_SIMULATE_SEED");
    let first = one.or(number("REELSCALE_SIMULATE_FIRST")).unwrap_or(1);
    let many = one.map_or(number("REELSCALE_SIMULATE").unwrap_or(300), |_| 1);
    for seed in first..first + many {
        let plan = Plan::new(seed, &jobs.sizes);
        match schedule::run(&jobs, seed, &plan, Plant::Nothing, one.is_some()) {
            Ok(ended) => {
                counts.add(&ended.counts);
                if one.is_some() {
                    println!("digest {:016x}", ended.digest);
                }
            }
            Err(failure) => failures.push(failure),
        }
        if failures.len() == FAILURES_MAX {
            break;
        }
    }
    println!("{counts}");
    for failure in &failures {
        println!("seed {}, start {}: {}", failure.seed, failure.start, failure.text);
    }
    if let Some(failure) = failures.first() {
        panic!("{failure}");
    }
    let never = counts.never();
    assert!(many < 1000 || never.is_empty(), "what never happened: {never:?}");
}

/// A seed gives the same points, also in another process.
#[test]
fn a_seed_replays() {
    let jobs = jobs();
    for seed in [3, 17, 40] {
        let digest = || {
            let plan = Plan::new(seed, &jobs.sizes);
            let ended = schedule::run(&jobs, seed, &plan, Plant::Nothing, false);
            ended.unwrap_or_else(|failure| panic!("{failure}")).digest
        };
        let expected = digest();
        assert_eq!(digest(), expected, "seed {seed}");
        let mut other = Command::new(std::env::current_exe().expect("this test"));
        other.args(["--exact", "schedules_end_as_undisturbed_runs", "--nocapture"]);
        let output = other.env("REELSCALE_SIMULATE_SEED", seed.to_string()).output();
        let text = String::from_utf8(output.expect("it starts").stdout).expect("UTF-8");
        let line = format!("digest {expected:016x}");
        assert!(text.contains(&line), "seed {seed}: {line}\n{text}");
    }
}

/// Starts that are killed where the next one may take for lasting what isn't.
fn killed() -> impl Iterator<Item = Plan> {
    let first = (1..=FIRST_CALLS).map(When::DiskCall);
    first.chain((1..=RENAMES).map(When::Renamed)).map(|when| Plan::killed(0, when))
}

/// The schedule that finds a planted fault, with what it says.
fn finds(jobs: &Jobs, plant: &Plant) -> Option<(u64, String)> {
    let drawn = |seed| (seed, Plan::new(seed, &jobs.sizes));
    let killed = killed().map(|plan| (0, plan));
    let all = (1..=5).map(drawn).chain(killed).chain((6..=UNTIL_FOUND).map(drawn));
    finds_among(jobs, plant, all)
}

fn finds_among(
    jobs: &Jobs,
    plant: &Plant,
    mut all: impl Iterator<Item = (u64, Plan)>,
) -> Option<(u64, String)> {
    all.find_map(|(seed, plan)| {
        let failure = schedule::run(jobs, seed, &plan, plant.clone(), false).err()?;
        Some((seed, failure.text))
    })
}

/// Schedules on grids of several rows.
fn in_columns(jobs: &Jobs) -> impl Iterator<Item = (u64, Plan)> {
    let kinds = jobs.in_columns();
    (1..=UNTIL_FOUND).map(move |seed| {
        let kind = kinds[seed as usize % kinds.len()];
        (seed, Plan::in_column(seed, kind, jobs.sizes[kind]))
    })
}

/// Ranks that deal with each other as they must not.
#[test]
fn ranks_that_do_not_agree_are_found() {
    let jobs = jobs();
    for plant in [
        Plant::LeavesAlone,
        Plant::AgreesAlone,
        Plant::OwnDue,
        Plant::NoBarrier,
        Plant::NoNews,
        Plant::NewsTwice,
        Plant::NewsLeft,
        Plant::StopUnseen,
    ] {
        let found = finds(&jobs, &plant).unwrap_or_else(|| panic!("{plant:?} isn't found"));
        println!("{plant:?}: schedule {}: {}", found.0, found.1);
    }
}

/// Ranks that share class blocks come to the weights of one rank.
#[test]
fn grids_end_as_one_rank() {
    let jobs = jobs();
    for kind in jobs.in_columns() {
        for (ranks, grid) in [(1, (1, 1)), (2, (2, 1)), (3, (3, 1)), (3, (2, 1)), (4, (2, 2))] {
            let mut plan = Plan::undisturbed(kind, ranks);
            plan.sessions[0].grid = Some(grid);
            for plan in [plan.clone(), plan.by_speed()] {
                let ended = schedule::run(&jobs, 0, &plan, Plant::Nothing, false);
                let ended = ended.unwrap_or_else(|failure| panic!("{failure}"));
                println!("job {kind}, {grid:?} of {ranks}: {:?}", ended.size);
            }
        }
    }
    for (seed, plan) in in_columns(&jobs).take(20) {
        let plan = if seed % 2 == 0 { plan.by_speed() } else { plan };
        let ended = schedule::run(&jobs, seed, &plan, Plant::Nothing, false);
        ended.unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// Ranks of a column that don't have the same, or don't do the same.
#[test]
fn what_differs_in_a_column_is_found() {
    let jobs = jobs();
    for (plant, expected) in [
        (Plant::CopyDiffers, "weights of the classes "),
        (Plant::WeightsDamaged, "exit 8: "),
        (Plant::SumsDamaged, "exit 8: "),
        (Plant::VotesAlone, ""),
        (Plant::VoteIgnored, ""),
        (Plant::StatesForgotten, ""),
    ] {
        let found = finds_among(&jobs, &plant, in_columns(&jobs));
        let (seed, text) = found.unwrap_or_else(|| panic!("{plant:?} isn't found"));
        println!("{plant:?}: schedule {seed}: {text}");
        assert!(text.contains(expected), "{plant:?}: {text}");
    }
}

/// Every call of the program that makes something last is left out, each in turn.
#[test]
fn every_sync_that_is_left_out_is_found() {
    let jobs = jobs();
    let mut sites = BTreeSet::new();
    for seed in 1..=20 {
        let plan = Plan::new(seed, &jobs.sizes);
        let ended = schedule::run(&jobs, seed, &plan, Plant::Nothing, false);
        let ended = ended.unwrap_or_else(|failure| panic!("{failure}"));
        sites.extend(ended.counts.syncs.into_keys());
    }
    for plan in killed() {
        let ended = schedule::run(&jobs, 0, &plan, Plant::Nothing, false);
        let ended = ended.unwrap_or_else(|failure| panic!("{failure}"));
        sites.extend(ended.counts.syncs.into_keys());
    }
    let mut missed = Vec::new();
    for site in &sites {
        match finds(&jobs, &Plant::Sync(site.clone())) {
            Some((seed, text)) => println!("{site}: schedule {seed}: {text}"),
            None => missed.push(site),
        }
    }
    assert!(sites.len() > 8, "{sites:?}");
    let of = |file: &str| missed.iter().filter(|site| site.contains(&format!(" {file}:"))).count();
    for (file, count, why) in NOT_NEEDED {
        assert_eq!(of(file), *count, "{file}: {why}: {missed:#?}");
    }
    let allowed: usize = NOT_NEEDED.iter().map(|one| one.1).sum();
    assert_eq!(missed.len(), allowed, "not found: {missed:#?}");
}
