//! What a run came to, as plain numbers: a digest of its weights and ten of its losses, held
//! against literals in `tests/pinned/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use reelscale::internals::artifact::load;
use reelscale::internals::comm::{Comm, run_threads};
use reelscale::internals::device::Device;
use reelscale::internals::disk::Disk;
use reelscale::internals::error::Result;
use reelscale::internals::human::hex;
use reelscale::internals::job::Job;
use reelscale::internals::model::annotator::Annotator;
use reelscale::internals::report::{Events, Report};
use reelscale::internals::train::{Data, Run, Setting, host_of};
use sha2::{Digest, Sha256};

/// Losses of a run that are held.
const LOSSES: usize = 10;

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// SHA-256 of the model's weights, see `weights`.
    pub weights: String,
    /// The bits of ten losses as f64, from the run's first to its last.
    pub losses: Vec<u64>,
}

impl Pin {
    /// Of a run with these weights, whose `metrics.jsonl` is `events`.
    pub fn new(weights: String, events: &str) -> Pin {
        let all = numbers(events, "loss");
        assert!(all.len() >= LOSSES, "a run of {} losses, expected {LOSSES} or more", all.len());
        let spread = |number: usize| all[number * (all.len() - 1) / (LOSSES - 1)].to_bits();
        Pin { weights, losses: (0..LOSSES).map(spread).collect() }
    }

    /// Of the finished run in this directory.
    pub fn of_directory(run: &Path) -> Pin {
        let hash = |comm: &Comm| Ok(weights(comm, &load(comm, &run.join("model"))?));
        let weights = run_threads(1, hash).unwrap().swap_remove(0);
        Pin::new(weights, &fs::read_to_string(run.join("metrics.jsonl")).unwrap())
    }

    /// Trains `job` on `ranks` thread ranks.
    pub fn of_run(job: &Job, ranks: usize) -> Pin {
        Pin::of_run_in_shares(job, &vec![1; ranks])
    }

    /// Trains `job` on thread ranks that own blocks in these shares, a rank for each.
    pub fn of_run_in_shares(job: &Job, shares: &[usize]) -> Pin {
        Pin::of_run_on(job, shares, |_| host_of(job))
    }

    /// The same on a device of each rank.
    pub fn of_run_on<D: Device>(
        job: &Job,
        shares: &[usize],
        device: impl Fn(&Comm) -> Result<D> + Sync,
    ) -> Pin {
        Pin::of_ranks(shares, |comm, report| on_device(job, comm, device(comm)?, report))
    }

    /// The same of ranks that each train by themselves, and give the weights' digest.
    pub fn of_ranks(
        shares: &[usize],
        train: impl Fn(&Comm, &mut Report) -> Result<String> + Sync,
    ) -> Pin {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let outcomes = run_threads(shares.len(), |comm| {
            comm.deal_in(shares.to_vec());
            let events = comm.is_root().then(|| Events::new(Disk::default(), &path));
            let mut report = Report::new(events);
            let weights = train(comm, &mut report)?;
            Ok(weights)
        });
        let weights = outcomes.unwrap().swap_remove(0);
        Pin::new(weights, &fs::read_to_string(&path).unwrap())
    }
}

/// Trains on a device; the digest of the weights. Collective.
pub fn on_device<D: Device>(
    job: &Job,
    comm: &Comm,
    device: D,
    report: &mut Report,
) -> Result<String> {
    let setting = Setting::new(comm, job, Data::open(comm, job)?)?;
    let trained = Run::begin(setting, device, report, None)?.finish()?;
    Ok(weights(comm, &trained.annotator))
}

/// Every number of this name in a JSON text. Not by way of a JSON reader, which may round the last
/// bit.
pub fn numbers(json: &str, name: &str) -> Vec<f64> {
    let name = format!("\"{name}\":");
    let texts = json.split(name.as_str()).skip(1);
    texts.map(|text| text[..text.find([',', '}']).unwrap()].parse().unwrap()).collect()
}

/// SHA-256 of the numbers of a model alone, little-endian f32: each shared layer's weights
/// [inputs][outputs] and biases, then each class's gates (the dummy state's first), experts and
/// biases of experts. Neither how a model is described nor how it lies in memory or in files is
/// part of it. Collective.
pub fn weights(comm: &Comm, model: &Annotator) -> String {
    let mut whole = Sha256::new();
    for place in &model.layers.places {
        for input in 0..place.inputs {
            for output in 0..place.outputs {
                whole.update(model.shared[place.weight_at(input, output)].to_le_bytes());
            }
        }
        for bias in &model.shared[place.biases()][..place.outputs] {
            whole.update(bias.to_le_bytes());
        }
    }
    let mut own = Vec::new();
    for block in model.experts.own() {
        let block = model.experts.block(block);
        for class in 0..block.layout.classes.len() {
            let places = block.layout.places_of(class).0;
            own.extend(places.into_iter().flat_map(|place| block.parameters[place].to_le_bytes()));
        }
    }
    comm.all_gather_any(&own).iter().for_each(|bytes| whole.update(bytes));
    hex(&whole.finalize())
}

/// The literals of one file of `tests/pinned/`: a line `NAME weights HASH` and a line
/// `NAME losses BITS ...` for each job.
pub struct Literals {
    path: PathBuf,
    expected: BTreeMap<String, Pin>,
    seen: BTreeMap<String, Pin>,
    /// Whether they are made anew: REELSCALE_BLESS=1.
    bless: bool,
}

impl Literals {
    /// Those of `tests/pinned/FILE`.
    pub fn read(file: &str) -> Literals {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pinned").join(file);
        let bless = std::env::var_os("REELSCALE_BLESS").is_some();
        let text = if bless { String::new() } else { fs::read_to_string(&path).unwrap() };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let words: Vec<Vec<&str>> = lines.map(|line| line.split(' ').collect()).collect();
        let expected = words.chunks(2).map(|pair| {
            let (weights, losses) = (&pair[0], &pair[1]);
            assert_eq!([weights[0], weights[1], losses[1]], [losses[0], "weights", "losses"]);
            let bits = losses[2..].iter().map(|text| u64::from_str_radix(text, 16).unwrap());
            (weights[0].into(), Pin { weights: weights[2].into(), losses: bits.collect() })
        });
        Literals { path, expected: expected.collect(), seen: BTreeMap::new(), bless }
    }

    /// Compares what the job `name`, run as `how` says, came to with its literal.
    pub fn check(&mut self, name: &str, how: &str, found: Pin) {
        if self.bless {
            self.expected.entry(name.into()).or_insert_with(|| found.clone());
        }
        let expected = self.expected.get(name);
        assert!(
            Some(&found) == expected,
            "{name}, {how}: other results.\n   found {found:x?}\nexpected {expected:x?}\n\
             A literal of {} changes only with an entry in CHANGELOG.md that gives the reason; \
             REELSCALE_BLESS=1 writes the new ones.",
            self.path.display()
        );
        self.seen.insert(name.into(), found);
    }

    /// No literal is left over. Writes them where they are made anew.
    pub fn finish(self) {
        if self.bless {
            let mut text = String::from(
                "# A changed literal is an entry in CHANGELOG.md with a reason: CONTRIBUTING.md\n",
            );
            for (name, Pin { weights, losses }) in &self.seen {
                let bits: Vec<String> = losses.iter().map(|bits| format!("{bits:016x}")).collect();
                let bits = bits.join(" ");
                text += &format!("{name} weights {weights}\n{name} losses {bits}\n");
            }
            fs::write(&self.path, text).unwrap();
        }
        assert_eq!(self.seen, self.expected, "{}: jobs that no test runs", self.path.display());
    }
}
