//! Writes the jobs whose weights are pinned (tests/pinned.rs), and their shards, into a folder:
//! `jobs/*.toml`, to be run there. A bundle for machines with a GPU has them (gpu-check/bundle.sh).

// A part of it is for tests alone.
#[allow(dead_code)]
#[path = "../tests/common/pinned_jobs.rs"]
mod pinned_jobs;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pinned_jobs::{FRAMES, VIDEOS, sets, shards};

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    fs::create_dir_all(folder.join("jobs"))?;
    for (kind, jobs, frames) in [("videos", VIDEOS, 0), ("frames", FRAMES, 6)] {
        let data = Path::new("data").join(kind);
        fs::create_dir_all(folder.join(&data))?;
        shards(&folder.join(&data), frames);
        for (name, own) in jobs {
            // A job file has each key once; the last one counts.
            let lines = sets(own).map(|line| (line.split(" = ").next().expect("a key"), line));
            let lines = lines.collect::<BTreeMap<_, _>>().into_values();
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            let text = text.replace("DATA", data.to_str().expect("a UTF-8 path"));
            fs::write(folder.join("jobs").join(format!("{kind}-{name}.toml")), text)?;
        }
    }
    Ok(())
}
