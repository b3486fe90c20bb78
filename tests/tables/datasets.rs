//! HDF5 files of others: datasets, groups, MATLAB's order.

use super::common::place::{Place, warnings};
use super::common::reelscale;
use super::numpy::numpy;
use super::{ROWS, hash};

/// The rows of `ROWS` as HDF5 files of others have them.
const HDF5: &str = r#"
import h5py
names = [str(i) for i in ids]
with h5py.File("plain.h5", "w") as to:
    to.create_dataset("x/rgb", data=rgb.astype(">f4"), chunks=(16, 6), compression="gzip")
    to["x/audio"] = audio.astype(np.float64)
    to["y"] = hot
    to.create_dataset("id", data=names, dtype=h5py.string_dtype())
with h5py.File("group.h5", "w") as to: to["v/x"], to["v/y"] = rgb[0], hot[0]
with h5py.File("lists.h5", "w") as to:
    to["rgb"], to["audio"], to["id"] = rgb, audio, np.array([i.encode() for i in names])
    to.create_dataset("y", (70,), dtype=h5py.vlen_dtype(np.int32))
    for i, row in enumerate(lists): to["y"][i] = row
with h5py.File("groups.h5", "w") as to:
    for i in range(70):
        group = to.create_group(names[i])
        group["rgb"], group["audio"], group["y"] = rgb[i], audio[i], hot[i].astype(np.uint8)
with h5py.File("matlab.mat", "w", userblock_size=512) as to:
    for name, x in (("rgb", rgb.astype(np.float64)), ("audio", audio), ("y", hot.astype(np.uint8))):
        to[name] = np.ascontiguousarray(x.T)
        to[name].attrs["MATLAB_class"] = np.bytes_("logical" if name == "y" else "double")
with open("tail.h5", "wb") as to: to.write(open("plain.h5", "rb").read() + b"more")
with h5py.File("holes.h5", "w") as to:
    to.create_dataset("x", (70, 6), "f4", chunks=(10, 6))[:30] = 1
    to["y"] = hot
with h5py.File("lacking.h5", "w") as to:
    for i in range(3):
        to[f"{i}/rgb"] = rgb[i]
        if i != 1: to[f"{i}/y"] = hot[i]
with h5py.File("records.h5", "w") as to:
    to["table"] = np.zeros(4, dtype=[("a", "f4"), ("b", "i4")])
with h5py.File("packed.h5", "w") as to:
    to["x"] = np.arange(5 * 10 * 4, dtype=np.uint8).reshape(5, 10, 4) + 1
    to["y"], to["video_id"] = hot[:5], np.array([b"a", b"b", b"c", b"d", b"e"])
"#;

#[test]
fn hdf5_files_of_others_are_the_same_content() {
    let place = Place::new();
    if !numpy(&place.path(""), &format!("{ROWS}{HDF5}")) {
        return;
    }
    let parts = "--parts rgb:6,audio:3";
    let ways = [
        ("npz", "--features rgb,audio --labels labels --ids ids", "a.npz"),
        ("hdf5", "--features x/rgb,x/audio --labels y --ids id", "plain.h5"),
        ("hdf5", "--features x/rgb,x/audio --labels y --ids id", "tail.h5"),
        ("hdf5", "--features rgb,audio --labels y --ids id --classes 5", "lists.h5"),
    ];
    for (index, (format, options, file)) in ways.iter().enumerate() {
        let command = format!("convert --from {format} {options} {parts} --output");
        let output = format!("out-{index}");
        let command = reelscale(&command).path(&place.path(&output)).path(&place.path(file));
        let told = warnings(&command);
        let times = usize::from(*file == "tail.h5");
        assert_eq!(told.matches("4 bytes behind").count(), times, "{told}");
        assert_eq!(hash(&place, &output), hash(&place, "out-0"), "{file}");
    }
    // Groups come by their names, and MATLAB's rows have no ids here.
    let into = |name: &str, options: &str, file: &str| {
        let command = format!("convert --from hdf5 {options} --output");
        reelscale(&command).path(&place.path(name)).path(&place.path(file))
    };
    let text = into("groups", "--features */rgb,*/audio --labels */y", "groups.h5").stdout();
    assert!(text.contains("70 rows"), "{text}");
    let text = into("group", "--features */x --labels */y", "group.h5").stdout();
    assert!(text.contains("1 rows"), "{text}");
    let text = into("matlab", "--features rgb,audio --labels y", "matlab.mat").stdout();
    assert!(text.contains("70 rows"), "{text}");
    let frames = "--features x --labels y --ids video_id --range=-1.9921875..2.0078125";
    assert!(into("packed", frames, "packed.h5").stdout().contains("50 frames"));
    for (name, options, expected) in [
        ("holes.h5", "--features x --labels y", "x: 4 of 7 chunks were never written"),
        ("lacking.h5", "--features */rgb --labels */y", "1/y: is missing"),
        ("records.h5", "--features table --classes 2", "table: found a table of records"),
        ("names.txt", "--features x --classes 2", "names.txt"),
    ] {
        let printed = into("failed", options, name).fails_with(4);
        assert!(printed.contains(expected), "{name}: {printed}");
    }
    // What came through groups and through MATLAB's order are the numbers that were written.
    let code = "import h5py, glob\n\
        x = np.load('a.npz'); rows = np.concatenate([x['rgb'], x['audio']], axis=1)\n\
        order = sorted(range(70), key=lambda i: str(x['ids'][i]).encode())\n\
        for folder, wanted in (('groups', rows[order]), ('matlab', rows)):\n    \
            with h5py.File(glob.glob(folder + '/*.h5')[0]) as shard:\n        \
                assert (shard['features'][:] == wanted).all(), folder\n";
    assert!(numpy(&place.path(""), code));
}
