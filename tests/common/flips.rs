//! Single bits of files, flipped one after the other and put back.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a flip came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// An error that says so.
    Found,
    /// The same numbers as without it.
    Harmless,
}

/// What flips of some files came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    pub flips: usize,
    pub found: usize,
    pub harmless: usize,
}

/// One of how many bits is flipped: all with `REELSCALE_FLIPS=all`, else one of `usual`, which had
/// better be a prime, so that it comes to each bit of a byte.
pub fn share(usual: usize) -> usize {
    match std::env::var("REELSCALE_FLIPS") {
        Ok(which) if which == "all" => 1,
        _ => usual,
    }
}

/// The files in `folder`, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Flips one of `share` bits of each of `files` and counts what `check` sees; it is told what was
/// flipped.
pub fn flips(
    files: &[PathBuf],
    share: usize,
    mut check: impl FnMut(&dyn Fn() -> String) -> Seen,
) -> Count {
    let mut count = Count::default();
    for path in files {
        let whole = fs::read(path).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        for number in (0..8 * whole.len()).step_by(share) {
            let (at, bit) = (number / 8, number % 8);
            file.write_all_at(&[whole[at] ^ 1 << bit], at as u64).unwrap();
            let what = || format!("{}: byte {at}, bit {bit}", path.display());
            match check(&what) {
                Seen::Found => count.found += 1,
                Seen::Harmless => count.harmless += 1,
            }
            count.flips += 1;
            file.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
        assert!(fs::read(path).unwrap() == whole, "{} is as it was", path.display());
    }
    count
}
