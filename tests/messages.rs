//! Messages prove themselves: one flipped bit in any message of any step ends the run with exit 8,
//! naming the rank that sent it; rows in a scratch file do so with exit 5.

mod common;

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use common::shards;
use common::tapped::{Tap, run_tapped};
use reelscale::{Comm, Data, Exit, Job, Report, Result, train};

/// Flips a bit of what rank `receiver` is given in one of its calls.
struct Flip {
    receiver: usize,
    chosen: usize,
    calls: AtomicUsize,
    /// Whose bit it was.
    sender: Mutex<Option<usize>>,
}

impl Tap for Flip {
    fn after(&self, rank: usize, arrived: &mut [u8], parts: &[(usize, Range<usize>)]) {
        if rank != self.receiver || self.calls.fetch_add(1, SeqCst) != self.chosen {
            return;
        }
        // Another place each time.
        let place = self.chosen.wrapping_mul(0x9e37_79b9) >> 7;
        let Some((sender, part)) = parts.get(place % parts.len().max(1)) else { return };
        arrived[part.start + place % part.len()] ^= 1 << (place % 8);
        *self.sender.lock().unwrap() = Some(*sender);
    }
}

/// Runs `body`, where a bit is flipped; returns the outcome, the rank that had sent it, if there
/// was one, and the number of calls.
fn flipped(
    (ranks, receiver): (usize, usize),
    chosen: usize,
    body: impl Fn(&Comm) -> Result<[u8; 32]> + Sync,
) -> (Result<[u8; 32]>, Option<usize>, usize) {
    let (calls, sender) = (AtomicUsize::new(0), Mutex::new(None));
    let flip = Arc::new(Flip { receiver, chosen, calls, sender });
    let outcome = run_tapped(ranks, flip.clone(), body);
    let sender = *flip.sender.lock().unwrap();
    (outcome.map(|hashes| hashes[0]), sender, flip.calls.load(SeqCst))
}

fn job(data: &Path, text: &str) -> Job {
    let rest = "[run]\nthreads = 2\nrow_blocks = 12\nclass_blocks = 4\n";
    let text = format!("[data]\ntrain = [\"{}/*.h5\"]\n{text}{rest}", data.display());
    Job::parse(&text, "job", &[]).unwrap()
}

const JOBS: [&str; 3] = [
    "validation_fraction = 0.2\n[model]\nshared = [{ dense = 8, activation = \"relu\" }]\n\
     [pretrain]\nranks = 4096\nepochs = 1\nbatch = 100\ndropout = 0.2\n\
     [experts]\ncount = 2\nepochs = 2\nbatch = 32\nwindow = 64\ndropout = 0.2\npatience = 2\n\
     [shared]\niterations = 2\n",
    "normalize = \"standardise\"\n[model]\nshared = [{ dense = 8 }]\n\
     [pretrain]\nepochs = 0\n\
     [experts]\ncount = 1\nepochs = 2\nsolver = \"lbfgs\"\nwindow = 64\n\
     [shared]\niterations = 1\n",
    "[model]\nshared = [{ dense = 8 }]\n[pretrain]\nepochs = 0\n\
     [experts]\ncount = 1\nepochs = 2\nsolver = \"adam\"\nbatch = 32\nwindow = 64\n\
     averaging = 0.9\nrow_slices = 4\n[shared]\niterations = 1\n",
];

/// Messages all over two runs.
#[test]
fn one_flipped_bit_of_any_message_is_found_and_its_sender_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    shards(&data, 240, 60, 16);
    let (mut named, mut flips) = (Vec::new(), 0);
    for (kind, text) in JOBS.into_iter().enumerate() {
        let mut job = job(&data, text);
        // Where mini-batches are cut into slices all ranks are a column.
        let grid = |ranks: usize| match job.experts.row_slices {
            1 => "auto".into(),
            _ => format!("{ranks}x1"),
        };
        let grids = [(2, 1), (3, 0)].map(|ranks| (ranks, grid(ranks.0)));
        for ((ranks, receiver), grid) in grids {
            job.run.grid = grid;
            let trained = |comm: &Comm| {
                let mut report = Report::new(None);
                let data = Data::open(comm, &job)?;
                train(comm, &job, data, &mut report, None)?;
                Ok(report.events_hash())
            };
            let (expected, _, calls) = flipped((ranks, receiver), usize::MAX, trained);
            let expected = expected.unwrap();
            for chosen in (receiver..calls).step_by([2, 1, 2][kind]) {
                flips += 1;
                let case = format!("job {kind}, call {chosen} of {calls}, {ranks} ranks");
                match flipped((ranks, receiver), chosen, trained) {
                    (outcome, None, _) => assert_eq!(outcome.expect(&case), expected, "{case}"),
                    // Beside the seal of f64 lie four bytes that nobody reads.
                    (Ok(hash), Some(_), _) => assert_eq!(hash, expected, "{case}"),
                    (Err(error), Some(sender), _) => {
                        assert_eq!(error.exit, Exit::Peer, "{case}: {error}");
                        let start = format!("rank {sender}: ");
                        let end = format!(": arrived damaged on rank {receiver}: found crc32c");
                        let names_it = error.text.starts_with(&start) && error.text.contains(&end);
                        assert!(names_it, "{case}: {error}");
                        let what = &error.text[start.len()..error.text.find(&end).unwrap()];
                        named.push(what.to_string());
                    }
                }
            }
        }
    }
    println!("{} of {flips} were found", named.len());
    assert!(10 * named.len() > 8 * flips, "{} of {flips} were found", named.len());
    let words = [
        "class block",
        "activations of row",
        "activations of a mini-batch",
        "gradient of activations",
        "gradient of the shared layers",
        "sums over class blocks",
        "moments of features",
        "gradients of the classes",
        "weights of the classes",
        "loss",
        "a message of src/",
    ];
    for word in words {
        assert!(named.iter().any(|what| what.starts_with(word)), "{word}");
    }
}

/// Flips a bit of every row of the scratch files of this process, once there are any.
#[derive(Default)]
struct Scratched(AtomicUsize);

impl Tap for Scratched {
    fn before(&self, _: usize, _: usize) {
        for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if !target.to_string_lossy().contains("/messages-scratch-test/") {
                continue;
            }
            let file = fs::File::options().read(true).write(true).open(entry.path());
            let Ok(file) = file else { continue };
            let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            if !bytes.is_empty() && self.0.fetch_add(1, SeqCst) == 0 {
                bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 16);
                file.write_all_at(&bytes, 0).unwrap();
            }
        }
    }
}

#[test]
fn rows_that_are_damaged_in_a_scratch_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (data, scratch) = (folder.path().join("data"), folder.path().join("messages-scratch-test"));
    shards(&data, 2000, 60, 64);
    fs::create_dir(&scratch).unwrap();
    let job = |memory: &str| {
        let text = format!(
            "[data]\ntrain = [\"{}/*.h5\"]\n[pretrain]\nepochs = 0\n[experts]\nwindow = 64\n\
             batch = 32\n[run]\nthreads = 1\nmemory_gib = {memory}\nscratch = \"{}\"\n",
            data.display(),
            scratch.display()
        );
        Job::parse(&text, "job", &[]).unwrap()
    };
    for ranks in 1..4 {
        let outcome = |memory: &str| {
            run_tapped(ranks, Arc::new(Scratched::default()), |comm| {
                let job = job(memory);
                let data = Data::open(comm, &job)?;
                train(comm, &job, data, &mut Report::new(None), None).map(drop)
            })
        };
        let least = outcome("1e-9").expect_err("too little").text;
        let (_, least) = least.split_once("needs ").expect("the least");
        let error = outcome(least.split(' ').next().unwrap()).expect_err("damaged rows");
        assert_eq!(error.exit, Exit::Storage, "{ranks} ranks: {error}");
        let names_it = error.text.contains("messages-scratch-test: activations of row ");
        assert!(names_it && error.text.contains("found crc32c"), "{ranks} ranks: {error}");
    }
}

/// Gives a rank another gradient of the shared layers than the others, with the right seal: as if
/// its memory had failed after it was checked.
struct Altered {
    rank: usize,
    /// Bytes of the message that brings it.
    length: usize,
    calls: AtomicUsize,
}

impl Tap for Altered {
    fn after(&self, rank: usize, arrived: &mut [u8], parts: &[(usize, Range<usize>)]) {
        if rank != self.rank || arrived.len() != self.length {
            return;
        }
        // The third one, and that only.
        if self.calls.fetch_add(1, SeqCst) == 2 {
            let part = &mut arrived[parts[0].1.clone()];
            let (numbers, seal) = part.split_at_mut(part.len() - 4);
            let chosen = numbers.chunks_exact_mut(4).find(|number| number[3] != 0);
            chosen.expect("a slope that isn't 0")[3] ^= 0x80;
            seal.copy_from_slice(&crc32c::crc32c(numbers).to_le_bytes());
        }
    }
}

#[test]
fn a_rank_whose_shared_layers_differ_is_named_or_both_are() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    shards(&data, 240, 60, 16);
    for (steps, step) in [
        ("[pretrain]\nranks = 4096\nepochs = 2\nbatch = 100\n[rounds]\ncount = 0\n", "pretrain"),
        ("[pretrain]\nepochs = 0\n[experts]\nepochs = 1\n[shared]\niterations = 5\n", "shared"),
    ] {
        let model = "[model]\nshared = [{ dense = 8, activation = \"tanh\" }]\n";
        let job = job(&data, &format!("{model}{steps}"));
        let run = |ranks: usize, rank: usize, length: usize| {
            let altered = Altered { rank, length, calls: AtomicUsize::new(0) };
            run_tapped(ranks, Arc::new(altered), |comm| {
                let data = Data::open(comm, &job)?;
                let trained = train(comm, &job, data, &mut Report::new(None), None)?;
                Ok(trained.annotator.layers.parameters())
            })
        };
        let parameters = run(1, 0, usize::MAX).unwrap()[0];
        for (ranks, rank, expected) in [
            (2, 1, "ranks 0, 1: shared layers differ from each other, which are wrong can't"),
            (3, 2, "rank 2: shared layers differ from those of the other ranks"),
            (4, 0, "rank 0: shared layers differ from those of the other ranks"),
        ] {
            let error = run(ranks, rank, 4 * (parameters + ranks)).expect_err("they differ");
            assert_eq!(error.exit, Exit::Numeric, "{error}");
            assert!(error.text.starts_with(expected), "{step}: {error}");
        }
    }
}
