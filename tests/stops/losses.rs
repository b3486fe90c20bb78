//! Ranks that are lost without a word, killed or stopped for ever: the others end, and the run goes
//! on from its checkpoint to the same result.

use std::fs;
use std::time::{Duration, Instant};

use reelscale::internals::rng::{Purpose, Stream};

use super::common::{self, rank_of, reelscale, signal};
use super::{Scratch, printed};

/// Seeds of the killing test: 20, or what REELSCALE_KILL_SEEDS says.
fn seeds() -> u64 {
    std::env::var("REELSCALE_KILL_SEEDS").map_or(20, |text| text.parse().expect("a number"))
}

/// kill -9 of a random rank at a random time, again and again: all ranks are gone within 60
/// seconds, what is there can be gone on from on other ranks, and the result is the undisturbed
/// one.
#[test]
fn killed_runs_end_as_undisturbed_ones() {
    common::needs_mpi!();
    let scratch = Scratch::new(2000, 120);
    let started = Instant::now();
    scratch.train("whole").ranks(2).stdout();
    let (whole, expected) = (started.elapsed(), scratch.result("whole"));
    let (mut kills, mut starts, mut resumed) = (0, 0, 0);
    let (mut longest, mut launchers) = (Duration::ZERO, 0);
    // Beside other work the first run is slow, and too many of the others end before their kill:
    // more of them are drawn until enough were killed.
    let (least, enough) = (seeds(), |kills, resumed| kills >= seeds() / 2 && resumed > 0);
    let mut seed = 0;
    while seed < least || (seed < 4 * least && !enough(kills, resumed)) {
        let name = format!("seed{seed}");
        let mut draw = Stream::new(seed, Purpose::PlantedRows, 1 << 41);
        loop {
            starts += 1;
            let ranks = 1 + draw.below(4) as usize;
            let mut run = scratch.train(&name).ranks(ranks).within(300).spawn();
            std::thread::sleep(whole.mul_f64(draw.below(1000) as f64 / 700.0));
            let processes = run.processes();
            if !processes.is_empty() {
                signal("KILL", processes[draw.below(processes.len() as u64) as usize]);
                let (took, hung) = run.ranks_gone(Duration::from_secs(60));
                (longest, launchers) = (longest.max(took), launchers + usize::from(hung));
            }
            let output = run.finish();
            let text = printed(&output);
            resumed += usize::from(text.contains("going on from checkpoint"));
            assert!(!text.contains("no checkpoint of this run is whole"), "seed {seed}: {text}");
            assert!(!text.contains("trying the checkpoint before"), "seed {seed}: {text}");
            if output.status.success() {
                break;
            }
            let own = text.contains("reelscale: ") && !text.contains("reelscale: MPI_Init");
            assert!(!own, "seed {seed}: {text}");
            kills += 1;
        }
        assert_eq!(scratch.result(&name), expected, "seed {seed}");
        fs::remove_dir_all(scratch.path(&name)).unwrap();
        seed += 1;
    }
    println!("{kills} kills in {starts} starts of {seed} runs, {resumed} resumed");
    println!("ranks gone after {longest:?} at most; {launchers} launchers had to be killed");
    assert!(enough(kills, resumed), "{kills} kills, {resumed} resumed");
}

/// A rank that is stopped for ever is found by those that wait for it, whichever it is; the run
/// goes on from its checkpoint.
#[test]
fn a_stalled_rank_is_named_and_ends_the_run() {
    common::needs_mpi!();
    let scratch = Scratch::new(6000, 300);
    scratch.train("whole").ranks(2).stdout();
    for chosen in [0, 2] {
        let name = format!("stalled{chosen}");
        let command = scratch.train(&name).arg("--set").arg("run.stall_seconds=3").ranks(3);
        let mut run = command.within(60).spawn();
        run.wait_for(&scratch.path(&name).join("metrics.jsonl"), "\"step\":\"experts\"");
        // Signs of life are left twice a second.
        std::thread::sleep(Duration::from_secs(1));
        let processes = run.processes();
        let is_chosen = |process: &&u32| rank_of(**process) == Some(chosen);
        let process = *processes.iter().find(is_chosen).expect("it runs");
        signal("STOP", process);
        let stopped = Instant::now();
        let output = run.finish();
        let (text, took) = (printed(&output), stopped.elapsed());
        assert_eq!(output.status.code(), Some(8), "{text}");
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let expected = format!("rank {chosen} (host {}, pid {process}, after {{", host.trim());
        assert!(text.contains(&expected), "{expected}\n{text}");
        println!(
            "rank {chosen}: found after {:.1} s of at most 3 + 1.5 and two beats",
            took.as_secs_f64()
        );
        assert!(took < Duration::from_secs(10), "{took:?}");
        scratch.train(&name).ranks(2).stdout();
        assert_eq!(scratch.result(&name), scratch.result("whole"));
    }
}

/// A rank that is lost before MPI has started doesn't keep the others waiting.
#[test]
fn mpi_init_is_not_waited_for_without_end() {
    common::needs_mpi!();
    let command = reelscale("doctor --scratch /tmp").env("REELSCALE_MPI_INIT_SECONDS", "3");
    let mut run = command.ranks(3).within(60).spawn();
    // As soon as it is there, which is before it has found the others.
    let first = loop {
        if let Some(first) = run.processes().first() {
            break *first;
        }
    };
    signal("STOP", first);
    let stopped = Instant::now();
    while run.processes().len() < 3 {
        assert!(stopped.elapsed() < Duration::from_secs(10), "the others start");
    }
    while run.processes().len() > 1 && stopped.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    signal("KILL", first);
    run.ranks_gone(Duration::from_secs(10));
    let output = run.finish();
    assert!(printed(&output).contains("MPI_Init hasn't come back in 3 s"), "{}", printed(&output));
    assert!(!output.status.success() && stopped.elapsed() < Duration::from_secs(15));
}
