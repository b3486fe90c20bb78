//! Rows dealt to the sides of a set, train and test for instance, by their ids alone: a row comes
//! to the same side from any format and file, on any number of ranks, and with whatever rows beside
//! it.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::data::UNFINISHED;
use crate::error::{Error, Result};

/// How far the shares' sum may be from 1, written in decimals as they are.
const TOLERANCE: f64 = 1e-6;

/// Into which sides rows go.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SplitOptions {
    /// Deal rows to folders of these names within --output: train=0.9,test=0.1. Which one a row
    /// goes to follows from its id and --seed.
    #[arg(long, value_delimiter = ',', value_parser = share, value_name = "NAME=SHARE")]
    split: Vec<Share>,
    /// Another number deals rows in another way. Without this option: 0.
    #[arg(long, requires = "split")]
    seed: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Share {
    name: String,
    share: f64,
}

fn share(text: &str) -> std::result::Result<Share, String> {
    let parsed = text.split_once('=').and_then(|(name, share)| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let named = !name.is_empty() && name.bytes().all(letter) && name != UNFINISHED;
        let share: f64 = share.parse().ok()?;
        (named && share > 0.0 && share < 1.0).then(|| Share { name: name.into(), share })
    });
    parsed.ok_or_else(|| {
        "expected a name of letters, digits, _ and -, and a share between 0 and 1: test=0.1".into()
    })
}

impl SplitOptions {
    /// # Errors
    /// Exit 2: shares that don't make a whole, a name that stands twice.
    pub(super) fn check(&self) -> Result<()> {
        let sum: f64 = self.split.iter().map(|side| side.share).sum();
        if !self.split.is_empty() && (sum - 1.0).abs() > TOLERANCE {
            let text = format!("--split: found shares whose sum is {sum}, expected 1");
            return Err(Error::usage(text).hint("--split train=0.9,test=0.1"));
        }
        for (place, side) in self.split.iter().enumerate() {
            // Some file systems don't tell capital letters from small ones.
            let same = |other: &Share| other.name.eq_ignore_ascii_case(&side.name);
            if self.split[..place].iter().any(same) {
                let text = format!("--split: found the name {:?} twice", side.name);
                return Err(Error::usage(text));
            }
        }
        Ok(())
    }

    /// These as text that ranks compare.
    pub(super) fn described(&self) -> String {
        let sides = self.split.iter().map(|side| format!("{}={},", side.name, side.share));
        let (sides, seed) = (sides.collect::<String>(), self.seed);
        format!("--split = {sides}\n--seed = {seed:?}\n")
    }

    /// The sides' names; none where all rows stay together.
    pub(super) fn names(&self) -> Vec<&str> {
        self.split.iter().map(|side| side.name.as_str()).collect()
    }

    /// The side that rows of this id go to.
    pub(super) fn side(&self, id: &[u8]) -> usize {
        let hash = xxh3_64_with_seed(id, self.seed.unwrap_or(0));
        let mut end = 0.0;
        let ends = self.split.iter().map(|side| {
            end += side.share;
            end
        });
        // Shares of 2^64; the last side takes what rounding leaves.
        let before = |end: &f64| (*end * 2f64.powi(64)) as u128 <= u128::from(hash);
        let side = ends.take_while(before).count();
        side.min(self.split.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(sides: &[&str], seed: Option<u64>) -> SplitOptions {
        SplitOptions { split: sides.iter().map(|text| share(text).unwrap()).collect(), seed }
    }

    #[test]
    fn rows_come_to_sides_by_their_shares_and_stay_there() {
        let split = options(&["train=0.7", "validation=0.2", "test=0.1"], None);
        split.check().unwrap();
        let mut counts = [0; 3];
        let other = options(&["train=0.7", "validation=0.2", "test=0.1"], Some(1));
        let mut moved = 0;
        for row in 0..20_000 {
            let id = format!("video-{row}");
            counts[split.side(id.as_bytes())] += 1;
            moved += i32::from(split.side(id.as_bytes()) != other.side(id.as_bytes()));
        }
        let near = |found: i32, share: f64| (f64::from(found) / 20_000.0 - share).abs() < 0.01;
        assert!(near(counts[0], 0.7) && near(counts[1], 0.2) && near(counts[2], 0.1), "{counts:?}");
        // Two independent ways agree on 0.49 + 0.04 + 0.01 of the rows.
        assert!(near(moved, 0.46), "{moved}");
    }

    /// Sets that were split once are split in the same way for ever: these hashes are those of
    /// `xxhash.xxh3_64_intdigest(id, seed=seed)` in Python.
    #[test]
    fn the_hash_is_the_published_one() {
        let known = [(&b""[..], 0, 0x2d06_8005_38d3_94c2), (b"a", 0, 0xe6c6_32b6_1e96_4e1f)];
        for (id, seed, hash) in known {
            assert_eq!(xxh3_64_with_seed(id, seed), hash, "{id:?}");
        }
        let split = options(&["a=0.1", "b=0.1", "c=0.8"], None);
        assert_eq!([split.side(b""), split.side(b"a")], [1, 2], "0x2d / 256 = 0.18, 0xe6: 0.9");
        assert_eq!(options(&[], None).side(b"a"), 0);
    }

    #[test]
    fn what_is_no_split_is_refused() {
        for text in ["train", "=1", "a/b=0.5", "..=0.5", "a=0", "a=1", "a=nan", "a=-1", "a=0.5x"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert!(share("reelscale-unfinished=0.5").is_err());
        assert!(options(&["a=0.1", "b=0.2", "c=0.7"], None).check().is_ok());
        assert!(options(&["a=0.5", "b=0.4"], None).check().is_err());
        assert!(options(&["a=0.5", "A=0.5"], None).check().is_err());
    }
}
