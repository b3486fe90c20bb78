//! HDF5 files of others that crash HDF5 1.10.8, keep it for ever, or in which it makes up numbers:
//! another process meets with that first.

use std::fs;

use super::common::place::{Place, warnings};
use super::common::{TestCommand, without_mpi};
use super::hash;
use super::numpy::numpy;

/// What is damaged is where HDF5 keeps texts of any length, and chunks that say less than they
/// should.
const HOSTILE: &str = r#"
import h5py, struct, zlib
rows = np.arange(64, dtype=np.float32).reshape(16, 4)
def put(name, x, **how):
    with h5py.File(name, "w") as to:
        to["y"] = (np.arange(16) % 3).astype("i4")
        to.create_dataset("id", data=[f"v{i}" for i in range(16)], dtype=h5py.string_dtype())
        if x is not None: to.create_dataset("x", data=x, **how)
        else:
            made = to.create_dataset("x", (16, 4), "f4", chunks=(8, 4), compression="gzip")
            for row, size in ((0, 100), (8, 128)):
                made.id.write_direct_chunk((row, 0), zlib.compress(bytes(size)))
def patch(name, to, at, behind, bytes):
    whole = open(name, "rb").read()
    at = whole.index(at) + behind
    open(to, "wb").write(whole[:at] + bytes + whole[at + len(bytes):])
put("whole.h5", rows)
# The size of the first text: beyond the file's end, or such that the next one is where it is.
patch("whole.h5", "crash.h5", b"GCOL", 24, struct.pack("<Q", 2**32))
patch("whole.h5", "endless.h5", b"GCOL", 24, struct.pack("<Q", 2**64 - 16))
put("short.h5", None)
put("chunks.h5", rows, chunks=(8, 4))
patch("chunks.h5", "less.h5", struct.pack("<IIQ", 128, 0, 0), 0, struct.pack("<I", 16))
put("gzip.h5", rows, chunks=(5, 3), compression="gzip", shuffle=True, fletcher32=True)
put("sums.h5", rows.astype(">f8"), chunks=(16, 1), fletcher32=True)
put("offset.h5", rows.astype("i4"), chunks=(4, 4), scaleoffset=0)
"#;

const OPTIONS: &str = "--features x --labels y --ids id --classes 3";

fn convert(place: &Place, options: &str, files: &[&str]) -> TestCommand {
    let command = format!("convert --from hdf5 {OPTIONS} {options} --output");
    place.convert_as(&command, "out", files).env("REELSCALE_HDF5_SECONDS", "2").within(60)
}

#[test]
fn files_that_crash_hdf5_or_keep_it_for_ever_are_named() {
    let place = Place::new();
    if !numpy(&place.path(""), HOSTILE) {
        return;
    }
    let crash = "crash.h5: the HDF5 library stopped with signal 11 reading \"id\"; hint: ";
    let endless = "endless.h5: the HDF5 library gives no sign for 2 s reading \"id\"; hint: ";
    let short = "short.h5: x: the chunk at [0, 0]: found 100 of its 128 bytes";
    let less = "less.h5: x: the chunk 0: found 16 of its 128 bytes";
    for (file, text) in [("crash", crash), ("endless", endless), ("short", short), ("less", less)] {
        let file = format!("{file}.h5");
        let told = convert(&place, "", &[&file]).fails_with(4);
        assert!(told.contains(text), "{told}");
        assert!(!place.path("out").exists(), "{file}");
    }
    let all = ["crash.h5", "less.h5", "short.h5", "whole.h5"];
    // The lowest group's error, on any ranks.
    let mut commands = vec![convert(&place, "--comm threads=3", &all)];
    if !without_mpi() {
        commands.push(convert(&place, "", &all).ranks(3));
    }
    for command in commands {
        assert!(command.fails_with(4).contains(crash));
    }
    let skip = "--skip-damaged --comm threads=2";
    warnings(&convert(&place, skip, &["chunks.h5", "crash.h5", "endless.h5", "short.h5"]));
    let left_out = fs::read_to_string(place.path("out/damaged.txt")).unwrap();
    for text in [crash, endless, short] {
        assert_eq!(left_out.matches(text).count(), 1, "{left_out}");
    }
}

#[test]
fn whole_chunks_of_every_filter_are_read() {
    let place = Place::new();
    if !numpy(&place.path(""), HOSTILE) {
        return;
    }
    let mut hashes = Vec::new();
    for file in ["whole.h5", "chunks.h5", "gzip.h5", "sums.h5", "offset.h5"] {
        convert(&place, "", &[file]).stdout();
        hashes.push(hash(&place, "out"));
        fs::remove_dir_all(place.path("out")).unwrap();
    }
    assert!(hashes.iter().all(|one| *one == hashes[0]), "{hashes:?}");
}
