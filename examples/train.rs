//! Trains a small model on two ranks, threads of this process, and saves it:
//! `cargo run --release --example train -- 'hdf5-data/quickstart/train/*.h5' model`.

use reelscale::{Data, Error, Exit, Job, Report, Result, run_threads, save, train};

/// What a job file would say; every key: jobs/all-keys.toml.
const JOB: &str = "
[model]
shared = [{ dense = 64, activation = 'relu' }]
[pretrain]
epochs = 2
batch = 256
[experts]
count = 4
epochs = 2
[shared]
iterations = 2
[run]
threads = 1
";

fn main() -> Result<()> {
    let usage = || Error::new(Exit::Usage, "found no shards and model");
    let mut arguments = std::env::args().skip(1);
    let (shards, model) = arguments.next().zip(arguments.next()).ok_or_else(usage)?;
    let job = Job::parse(&format!("data.train = [{shards:?}]\n{JOB}"), "the example's job", &[])?;
    let hashes = run_threads(2, |comm| {
        let data = Data::open(comm, &job)?;
        let trained = train(comm, &job, data, &mut Report::silent(), None)?;
        save(comm, model.as_ref(), &trained.annotator)
    })?;
    println!("{}", hashes[0]);
    Ok(())
}
