//! Every single flipped bit of a shard is found, or changes no number; so is every file that was
//! cut: a share of them here, all of them with `make test-flips` (figures in docs/trust.md).

mod common;

#[path = "common/flips.rs"]
mod flips;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flips::{Count, Seen, share};
use reelscale::internals::data::trailer::{Chunk, Trailer, digest};
use reelscale::internals::data::{Dataset, Kind, ShardHeader, ShardInfo, ShardReader, ShardWriter};
use reelscale::internals::encoding::Encoding;
use reelscale::internals::example::{Example, FeaturePart, Values};
use reelscale::internals::labels::Labels;
use reelscale::{Error, Exit};

const WIDTH: usize = 5;
const ROWS: usize = 7;

/// Features as floats and as bytes, and frames, as bytes of one scale and of two.
#[derive(Clone, Copy, Debug)]
enum Stored {
    Floats,
    Bytes,
    Frames,
    Parts,
}

const ALL: [Stored; 4] = [Stored::Floats, Stored::Bytes, Stored::Frames, Stored::Parts];

fn write(path: &Path, stored: Stored) {
    let frames = matches!(stored, Stored::Frames | Stored::Parts);
    let kind = if frames { Kind::Frames } else { Kind::Video };
    let part = |name: &str, size| FeaturePart { name: name.into(), size };
    let parts = vec![part("rgb", 3), part("audio", 2)];
    let header = ShardHeader { parts, class_count: 9, kind, source: "flips".into() };
    let mut writer = match stored {
        Stored::Bytes => ShardWriter::create_bytes(path, &header).unwrap(),
        Stored::Parts => {
            let parts = Encoding::Bytes(vec![[0.5, -1.0], [2.0, 3.0]]);
            ShardWriter::create_encoded(path, &header, parts).unwrap()
        }
        _ => ShardWriter::create(path, &header).unwrap(),
    };
    for row in 0..ROWS {
        let values = match kind {
            Kind::Video => Values::Video(
                (0..WIDTH)
                    .map(|at| if row == 3 { -2.0 } else { (row * at) as f32 * 0.07 })
                    .collect(),
            ),
            Kind::Frames => Values::Frames(vec![row as u8 + 1; row % 3 * WIDTH]),
        };
        let labels = (0..9).filter(|class| (row + class) % 4 == 0).map(|class| class as u32);
        let id = format!("v{row}").into_bytes();
        writer.push(&Example { id, labels: labels.collect(), values }).unwrap();
    }
    writer.finish().unwrap();
}

/// All that comes of a shard: what stands for all rows, and each row's bits.
#[derive(PartialEq)]
struct Everything {
    info: String,
    values: Vec<u8>,
    labels: Labels,
    ids: Vec<Vec<u8>>,
}

/// Reads as training and annotating do, not as a full check.
fn read(path: &Path) -> Result<Everything, Error> {
    let info = ShardInfo::read(path)?;
    let (rows, kind) = (info.rows, info.kind);
    let text = serde_json::to_string(&info).unwrap();
    let mut reader = Dataset::new(vec![info])?.reader();
    let mut labels = Labels::new();
    let values = match kind {
        Kind::Video => {
            let mut features = vec![0.0f32; rows * WIDTH];
            reader.read(0..rows, &mut features, &mut labels)?;
            bytemuck::cast_slice(&features).to_vec()
        }
        Kind::Frames => {
            reader.labels(0..rows, &mut labels)?;
            reader.frames(0..rows)?.concat()
        }
    };
    Ok(Everything { info: text, values, labels, ids: reader.ids(0..rows)? })
}

fn seen(path: &Path, whole: &Everything, what: &dyn Fn() -> String) -> Seen {
    match read(path) {
        Ok(found) => {
            assert!(found == *whole, "{}: other numbers in silence", what());
            Seen::Harmless
        }
        Err(error) => {
            assert_eq!(error.exit, Exit::Input, "{}: {error}", what());
            assert!(error.text.contains(path.to_str().unwrap()), "{}: {error}", what());
            Seen::Found
        }
    }
}

#[test]
fn flips_of_a_shard_are_found() {
    let folder = tempfile::tempdir().unwrap();
    for stored in ALL {
        let path = folder.path().join(format!("{stored:?}.h5"));
        write(&path, stored);
        let whole = read(&path).unwrap();
        let count =
            flips::flips(std::slice::from_ref(&path), share(61), |what| seen(&path, &whole, what));
        println!("shard of {stored:?}: {count:?}");
        assert_eq!(count.found, count.flips, "all bytes are proven");
    }
}

/// Files that were cut, or that others were put behind.
#[test]
fn cut_shards_are_found() {
    let folder = tempfile::tempdir().unwrap();
    for stored in ALL {
        let path = folder.path().join(format!("{stored:?}.h5"));
        write(&path, stored);
        let whole = fs::read(&path).unwrap();
        let info = ShardInfo::read(&path).unwrap();
        for length in (0..whole.len()).rev().step_by(share(7)) {
            File::options().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
            assert_eq!(ShardInfo::read(&path).unwrap_err().exit, Exit::Input, "cut at {length}");
            assert_eq!(ShardReader::open(&info).err().unwrap().exit, Exit::Input);
        }
        // Longer ones: what a shard may be followed by when files are put together.
        for tail in [&[0u8][..], &[0; 32], &[0; 4096], &whole] {
            fs::write(&path, [&whole, tail].concat()).unwrap();
            assert_eq!(ShardInfo::read(&path).unwrap_err().exit, Exit::Input);
        }
    }
}

/// The proof made right again after each flip of a byte that isn't in a chunk, as one would who
/// means harm: what is left to find it are checksums of HDF5's metadata. Not of every HDF5 library
/// is it known that it survives this, so only `make test-flips` does it.
#[test]
fn flips_under_a_right_proof_change_no_number() {
    if share(2) != 1 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for stored in ALL {
        let path = folder.path().join(format!("{stored:?}.h5"));
        write(&path, stored);
        let bytes = fs::read(&path).unwrap();
        let whole = read(&path).unwrap();
        let trailer = Trailer::read(&bytes[..], bytes.len() as u64).unwrap().unwrap();
        let in_chunk = |at: u64| {
            trailer.chunks.iter().any(|chunk| (chunk.at..chunk.at + chunk.bytes).contains(&at))
        };
        let file = File::options().write(true).open(&path).unwrap();
        let mut count = Count::default();
        for at in (0..trailer.hdf5_bytes).filter(|at| !in_chunk(*at)) {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at as usize] ^= 1 << bit;
                let end = trailer.hdf5_bytes;
                let refit =
                    Trailer::new(&flipped[..], end, trailer.chunks.clone(), trailer.content);
                flipped.truncate(end as usize);
                flipped.extend(refit.unwrap().to_bytes());
                file.write_all_at(&flipped, 0).unwrap();
                let what = || format!("{stored:?}: byte {at}, bit {bit}");
                let mut now = read(&path);
                if let Ok(now) = &mut now {
                    // The proof's own digest is another one.
                    now.info.clone_from(&whole.info);
                }
                match now {
                    Ok(now) => {
                        assert!(now == whole, "{}: other numbers in silence", what());
                        count.harmless += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.exit, Exit::Input, "{}: {error}", what());
                        count.found += 1;
                    }
                }
                count.flips += 1;
            }
        }
        println!("shard of {stored:?}, proof made right: {count:?}");
    }
}

/// A disk that gives ones for zeros: what Fletcher-32 doesn't see.
#[test]
fn damage_that_fletcher_is_blind_to_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    write(&path, Stored::Bytes);
    let bytes = fs::read(&path).unwrap();
    let trailer = Trailer::read(&bytes[..], bytes.len() as u64).unwrap().unwrap();
    let Chunk { at, bytes: length, digest: expected } = trailer.chunks[0];
    let (from, to) = (at as usize, (at + length) as usize);
    assert_eq!(digest(&bytes[from..to]), expected);
    // Sums of 16-bit words modulo 65535: 0x0000 and 0xffff are the same to it.
    let word = (from..to - 4).step_by(2).find(|at| bytes[*at..at + 2] == [0, 0]);
    let at = word.expect("features of 0");
    let mut damaged = bytes.clone();
    damaged[at..at + 2].fill(0xff);
    fs::write(&path, damaged).unwrap();
    let error = read(&path).err().unwrap();
    assert!(error.text.contains("wrong digest of"), "{error}");
}
