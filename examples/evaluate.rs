//! Says how good a model is on some videos, on two ranks, threads of this process:
//! `cargo run --release --example evaluate -- model 'hdf5-data/quickstart/test/*.h5'`.

use reelscale::{Error, Exit, Host, Result, evaluate, load, open_rows, run_threads};

fn main() -> Result<()> {
    let usage = || Error::new(Exit::Usage, "found no model and shards");
    let mut arguments = std::env::args().skip(1);
    let (model, shards) = arguments.next().zip(arguments.next()).ok_or_else(usage)?;
    let metrics = run_threads(2, |comm| {
        let annotator = load(comm, model.as_ref())?;
        let rows = open_rows(comm, &annotator, "shards", std::slice::from_ref(&shards))?;
        let mut processor = Host::detected(1, annotator.shape.epsilon);
        evaluate(comm, &annotator, &rows, &mut processor)
    })?;
    println!("GAP@20 {:.5}, MAP {:.5}", metrics[0].gap_at_20, metrics[0].map_full.unwrap_or(0.0));
    Ok(())
}
