//! `convert` of arrays of numpy and of csv: the same rows through each format are the same content,
//! and what isn't clear is refused.

mod common;
#[path = "tables/datasets.rs"]
mod datasets;
#[path = "tables/foreign.rs"]
mod foreign;
#[path = "common/numpy.rs"]
mod numpy;
#[path = "common/packages.rs"]
mod packages;
#[path = "tables/parquet.rs"]
mod parquet;
#[path = "tables/predictions.rs"]
mod predictions;
#[path = "tables/records.rs"]
mod records;
#[path = "tables/split.rs"]
mod split;
#[path = "tables/writers.rs"]
mod writers;

use std::fs;
use std::path::{Path, PathBuf};

use common::place::{Place, warnings};
use common::reelscale;
use numpy::numpy;

/// 70 rows of two parts and five classes, whose labels no class has alone: as an array for each
/// part, as csv, and as npz in several dtypes.
const ROWS: &str = r#"
rng = np.random.default_rng(7)
rgb = rng.normal(size=(70, 6)).astype(np.float32)
audio = rng.normal(size=(70, 3)).astype(np.float32)
hot = rng.random((70, 5)) < 0.3
ids = np.array([f"v\u00e4 {i},{i}" for i in range(70)])
np.savez("a.npz", rgb=rgb, audio=audio, labels=hot, ids=ids)
np.savez_compressed("b.npz", rgb=np.asfortranarray(rgb.astype(">f8")), audio=audio.astype("<f8"),
                    labels=hot.astype(np.float32), ids=np.array([i.encode() for i in ids]))
np.save("all.npy", np.concatenate([rgb, audio], axis=1))
np.save("hot.npy", hot.astype(np.int64))
np.save("ids.npy", ids)
lists = [np.flatnonzero(row) for row in hot]
padded = -np.ones((70, 5), np.int32)
for i, row in enumerate(lists): padded[i, :len(row)] = row
np.savez("lists.npz", rgb=rgb, audio=audio, labels=padded, ids=ids)
quoted = ['"' + i + '"' for i in ids]
short = lambda row: [np.format_float_positional(x, unique=True) for x in row]
with open("rows.csv", "w", encoding="utf-8-sig", newline="") as to:
    header = ["id"] + [f"f{i}" for i in range(9)] + ["classes"] + [f"y{i}" for i in range(5)]
    to.write(",".join(header) + "\r\n")
    for i in range(70):
        cells = [quoted[i]] + short(rgb[i]) + short(audio[i]) + [";".join(map(str, lists[i]))]
        to.write(",".join(cells + [str(int(x)) for x in hot[i]]) + "\r\n")
with open("labels.csv", "w", encoding="utf-8") as to:
    to.write("id,labels\n")
    for i in reversed(range(70)):
        if i % 2: to.write(quoted[i] + ',"' + ",".join(map(str, lists[i])) + '"\n')
        else:
            for k in lists[i]: to.write(quoted[i] + f",{k + 0}\n")
            if len(lists[i]) == 0: to.write(quoted[i] + ",\n")
with open("named.csv", "w", encoding="utf-8") as to:
    for i in range(70): to.write(quoted[i] + "," + ",".join("abcde"[k] for k in lists[i]) + "\n")
open("names.txt", "w").write("a\nb\nc\nd\ne\n")
"#;

fn hash(place: &Place, output: &str) -> String {
    reelscale(&format!("inspect --hash {}", place.path(output).display())).stdout()
}

/// Converts with these options and files into a new folder.
fn convert(place: &Place, options: &str, files: &[&str]) -> common::TestCommand {
    let output = place.path(&format!("to-{}", fs::read_dir(place.path("")).unwrap().count()));
    let mut command = reelscale(&format!("convert {options} --output")).path(&output);
    for file in files {
        command = command.path(&place.path(file));
    }
    command.in_folder(&place.path(""))
}

#[test]
fn the_same_rows_through_each_format_are_one_content() {
    let place = Place::new();
    if !numpy(&place.path(""), ROWS) {
        return;
    }
    let parts = "--parts rgb:6,audio:3";
    let npz = format!("--from npz --features rgb,audio --labels labels --ids ids {parts}");
    let csv = format!("--from csv --features f* --ids id {parts}");
    let npy = format!("--from npy --ids ids.npy {parts}");
    let ways = [
        (npz.clone(), "a.npz", 1),
        (npz.clone(), "a.npz", 2),
        (npz.clone(), "b.npz", 1),
        (format!("{npz} --labels-as list --classes 5"), "lists.npz", 1),
        (format!("{csv} --labels y0..y4"), "rows.csv", 1),
        (format!("{csv} --labels y*"), "rows.csv", 2),
        (format!("{csv} --labels classes --classes 5"), "rows.csv", 1),
        (format!("{csv} --labels labels.csv --classes 5"), "rows.csv", 1),
        (format!("{csv} --labels named.csv --names names.txt"), "rows.csv", 1),
        (format!("{npy} --labels hot.npy"), "all.npy", 1),
        (format!("{npy} --labels labels.csv --classes 5"), "all.npy", 1),
    ];
    let mut hashes = Vec::new();
    for (index, (options, file, ranks)) in ways.iter().enumerate() {
        let output = format!("out-{index}");
        let command = reelscale(&format!("convert {options} --output")).path(&place.path(&output));
        let printed = command.path(&place.path(file)).in_folder(&place.path(""));
        let printed = if *ranks > 1 { printed.ranks(*ranks) } else { printed }.stdout();
        assert!(printed.contains("70 rows"), "{options}: {printed}");
        hashes.push(hash(&place, &output));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn names_stand_for_classes_and_ids_for_rows() {
    let place = Place::new();
    fs::write(place.path("names.txt"), "cat\nbig dog\n7\n").unwrap();
    let write = |name: &str, text: &str| fs::write(place.path(name), text).unwrap();
    write("a.csv", "id\tx\ty\n5\t1\tbig dog;cat\n6\t2\t\n");
    let options = "--from csv --features x --labels y --ids id --names names.txt";
    let printed = convert(&place, options, &["a.csv"]).stdout();
    assert!(
        printed.contains("2 rows, 2 labels") && printed.contains("1 rows without"),
        "{printed}"
    );
    write("number.csv", "id,x,y\n5,1,2\n");
    let printed = convert(&place, options, &["number.csv"]).fails_with(4);
    assert!(printed.contains("line 2: labels: found \"2\", which names no class"), "{printed}");
    // A label that has no row is told; a row that has no label is an error, or wanted.
    write("labels.csv", "5,cat\n7,cat\n");
    let options = "--from csv --features x --ids id --names names.txt --labels labels.csv";
    let printed = convert(&place, options, &["a.csv"]).fails_with(4);
    assert!(printed.contains("found no line of the id \"6\", but of \"5\""), "{printed}");
    let printed = warnings(&convert(&place, &format!("{options} --unlabelled"), &["a.csv"]));
    assert!(printed.contains("1 of 2 ids of the labels' file are those of no row"), "{printed}");
}

#[test]
fn what_is_missing_is_an_error_or_what_is_said() {
    let place = Place::new();
    fs::write(place.path("a.csv"), "x,y,k\n1,2,0\n,4,1\n5,NA,1\n").unwrap();
    let options = "--from csv --features x,y --labels k --classes 2";
    let printed = convert(&place, options, &["a.csv"]).fails_with(4);
    assert!(printed.contains("a.csv: line 3: found no number at feature 0"), "{printed}");
    let printed = warnings(&convert(&place, &format!("{options} --missing 0"), &["a.csv"]));
    assert!(printed.contains("2 numbers were missing"), "{printed}");
    let command = convert(&place, &format!("{options} --missing skip"), &["a.csv"]);
    assert!(warnings(&command).contains("2 rows in which a number is missing"));
    fs::write(place.path("inf.csv"), "x,y,k\n1,inf,0\n").unwrap();
    let printed = convert(&place, &format!("{options} --missing 0"), &["inf.csv"]).fails_with(4);
    assert!(printed.contains("found \"inf\", expected a number"), "{printed}");
}

#[test]
fn frames_become_bytes_of_one_range() {
    let place = Place::new();
    let made = numpy(
        &place.path(""),
        "x = np.linspace(-3, 5, 4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2)\n\
         y = np.array([0, 1, 2, 1])\n\
         np.savez('a.npz', x=x, y=y)\n\
         np.savez('b.npz', x=x[:2], y=y[:2]); np.savez('c.npz', x=x[2:], y=y[2:])\n\
         x[1, 3:] = 0\n\
         np.savez('padded.npz', x=x, y=y, n=np.array([5, 3, 5, 5]))\n\
         np.savez('bytes.npz', x=np.arange(40, dtype=np.uint8).reshape(4, 5, 2) + 1, y=y)\n",
    );
    if !made {
        return;
    }
    let options = "--from npz --features x --labels y --classes 3";
    let into = |name: &str, options: &str, files: &[&str]| {
        let command = reelscale(&format!("convert {options} --output")).path(&place.path(name));
        files.iter().fold(command, |command, file| command.path(&place.path(file)))
    };
    let whole = into("whole", options, &["a.npz"]).stdout();
    assert!(whole.contains("4 rows") && whole.contains("20 frames"), "{whole}");
    // The range is that of all files, so it doesn't matter how rows are cut, nor on how many ranks.
    into("cut", options, &["b.npz", "c.npz"]).ranks(2).stdout();
    assert_eq!(rows_of(&place, "whole"), rows_of(&place, "cut"));
    let named = into("named", &format!("{options} --range=-3..5"), &["a.npz"]);
    named.stdout();
    assert_eq!(hash(&place, "whole"), hash(&place, "named"));
    let clipped = warnings(&into("clipped", &format!("{options} --range=-2..5"), &["a.npz"]));
    assert!(clipped.contains("numbers (12.5") && clipped.contains("beyond --range"), "{clipped}");
    let printed = into("padded", options, &["padded.npz"]).fails_with(4);
    assert!(printed.contains("zeros alone in the last 2 of 5 frames"), "{printed}");
    for (name, more) in [("lengths", "--lengths n"), ("drop", "--padding drop")] {
        let printed = into(name, &format!("{options} {more}"), &["padded.npz"]).stdout();
        assert!(printed.contains("18 frames"), "{printed}");
    }
    let printed = into("bytes", options, &["bytes.npz"]).fails_with(2);
    assert!(printed.contains("--range has to say"), "{printed}");
    into("bytes", &format!("{options} --range=-1.9921875..2.0078125"), &["bytes.npz"]).stdout();
    for dtype in ["f16", "f32"] {
        let floats = format!("{options} --dtype {dtype}");
        into(dtype, &floats, &["a.npz"]).stdout();
        let shown = reelscale("inspect").path(&place.path(dtype)).stdout();
        assert!(shown.contains(&format!("(frames, {dtype})")), "{shown}");
        let printed = into("refused", &floats, &["bytes.npz"]).fails_with(2);
        assert!(printed.contains("found bytes, which stay bytes"), "{printed}");
    }
}

/// What shards of a folder say of their values, as h5dump shows them.
fn rows_of(place: &Place, folder: &str) -> Vec<u8> {
    let mut shards: Vec<_> =
        fs::read_dir(place.path(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    shards.sort();
    let mut bytes = Vec::new();
    for shard in shards {
        let file = hdf5::File::open(shard).unwrap();
        bytes.extend(file.dataset("frames").unwrap().read_raw::<u8>().unwrap());
    }
    bytes
}

#[test]
fn what_is_not_clear_is_refused() {
    let place = Place::new();
    let made = numpy(
        &place.path(""),
        "x = np.ones((4, 3), np.float32)\n\
         np.savez('object.npz', x=np.array([1, 'a', None], dtype=object), y=np.arange(3))\n\
         np.savez('rows.npz', x=x, y=np.zeros(3, int))\n\
         np.savez('wide.npz', x=x, y=np.zeros((4, 5), int))\n\
         np.savez('soft.npz', x=x, y=np.full((4, 5), 0.5))\n\
         np.savez('parts.npz', rgb=x, audio=np.ones((4, 2), np.float32), y=np.zeros(4, int))\n\
         np.savez('large.npz', x=np.full((4, 3), 2**24 + 1), y=np.zeros(4, int))\n\
         np.savez('far.npz', x=np.full((4, 3), 1e39), y=np.zeros(4, int))\n\
         np.savez('beside.npz', x=x, y=np.arange(4), about=np.array([None]))\n\
         np.savez('fields.npz', x=np.zeros(4, dtype=[('a', 'f4'), ('b', 'f4')]), y=np.arange(4))\n\
         np.savez('good.npz', x=x, y=np.arange(4))\n\
         data = bytearray(open('good.npz', 'rb').read()); at = data.index(x.tobytes())\n\
         data[at + 5] ^= 1; open('flipped.npz', 'wb').write(data)\n\
         np.savez('none.npz', x=x, y=np.array([0, 1, -1, 0]))\n\
         deep = b'[' * 9000; length = len(deep).to_bytes(2, 'little')\n\
         open('deep.npy', 'wb').write(b'\\x93NUMPY\\x01\\x00' + length + deep)\n\
         open('empty.npz', 'wb').write(b'')\n\
         np.save('good.npy', x); data = open('good.npy', 'rb').read()\n\
         open('cut.npy', 'wb').write(data[:-1]); open('long.npy', 'wb').write(data + b'0')\n",
    );
    if !made {
        return;
    }
    let write = |name: &str, text: &str| fs::write(place.path(name), text).unwrap();
    write("ragged.csv", "x,y\n1,0\n2\n");
    write("numbers.csv", "1,0\n2,1\n");
    write("twice.csv", "x,x\n1,0\n");
    write("flags.csv", "a,1,0,0,1\n");
    write("ids.csv", "id,x\na,1\n");
    write("semicolons.csv", "x;y\n1;0\n");
    let npz = "--from npz --features x --labels y";
    let csv = "--from csv --features x --labels y --classes 2";
    let cases: &[(&str, &str, i32, &str)] = &[
        (&format!("{npz} --classes 4"), "object.npz", 4, "x: found a pickled array (dtype object)"),
        (&format!("{npz} --classes 4"), "fields.npz", 4, "x: found a structured array"),
        (&format!("{npz} --classes 2"), "rows.npz", 4, "found rows 4 of x, 3 of y"),
        (npz, "good.npz", 2, "--classes: expected the number of classes"),
        (
            &format!("{npz} --classes 4 --one-based"),
            "good.npz",
            4,
            "row 0: labels: found the class 0",
        ),
        (
            &format!("{npz} --classes 3"),
            "good.npz",
            4,
            "found the class 3, expected 0 to 2; hint: --one-based",
        ),
        (&format!("{npz} --classes 4"), "wide.npz", 2, "found 4 classes by --classes, 5 by labels"),
        (npz, "soft.npz", 4, "row 0: labels: found 0.5, expected a whole number"),
        (&format!("{npz} --classes 1"), "large.npz", 4, "found 16777217, which no float32 is"),
        (&format!("{npz} --classes 1"), "far.npz", 4, "beyond what a float32 can be"),
        (&format!("{npz} --classes 4"), "flipped.npz", 4, "x: found a wrong checksum"),
        ("--from npy --classes 2", "cut.npy", 4, "the file is cut"),
        ("--from npy --classes 2", "long.npy", 4, "found bytes behind the last row"),
        (
            "--from npz --features audio,rgb --labels y --classes 1 --parts rgb:3,audio:2",
            "parts.npz",
            2,
            "--parts: found rgb:3 at feature 0, the field has 3 from 2 on",
        ),
        (
            "--from npz --features r* --labels y --classes 1 --parts a:2",
            "parts.npz",
            2,
            "found 2 features, the fields have 3",
        ),
        (
            "--from npz --features z --labels y --classes 1",
            "parts.npz",
            2,
            "\"z\": not found; found audio (float32 [rows, 2])",
        ),
        (&format!("{npz} --classes 2"), "none.npz", 4, "row 2: labels: found the class -1"),
        ("--from npy --classes 2", "deep.npy", 4, "found no array of numpy (brackets"),
        (&format!("{npz} --classes 2"), "empty.npz", 4, "empty.npz: found no row"),
        (csv, "semicolons.csv", 4, "expected commas or tabs between columns"),
        (csv, "ragged.csv", 4, "line 3: found 1 cells, expected 2"),
        (csv, "numbers.csv", 4, "found a header of numbers, expected names; hint: --no-header"),
        (csv, "twice.csv", 4, "found the column \"x\" twice"),
        (
            "--from csv --features x --ids id --labels flags.csv --classes 5",
            "ids.csv",
            4,
            "found only 0 and 1 behind an id",
        ),
        ("--from csv --features x --labels ids.csv --classes 5", "ids.csv", 2, "expected --ids"),
        (
            "--from tfrecord --features a:1 --classes 2 --ids x",
            "ids.csv",
            2,
            "--ids: expected --from npy, npz, csv, hdf5 or parquet",
        ),
    ];
    // What nobody asks for may be anything.
    convert(&place, &format!("{npz} --classes 4"), &["beside.npz"]).stdout();
    fs::remove_dir_all(folders(&place.path("")).pop().unwrap()).unwrap();
    for (options, file, exit, expected) in cases {
        let printed = convert(&place, options, &[file]).fails_with(*exit);
        assert!(printed.contains(expected), "{options} {file}: {printed}");
        assert!(folders(&place.path("")).is_empty(), "{options} {file}: it leaves a folder");
    }
}

fn folders(within: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(within).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

/// Writes the rows of shards of `d/` as npz, in two files, and as csv.
const FROM_SHARDS: &str = r#"
import h5py, glob
all = {"rgb": [], "audio": [], "ids": [], "labels": []}
for path in sorted(glob.glob("tfrecord/*.h5")):
    with h5py.File(path) as shard:
        x, at, k = shard["features"][:], shard["label_offsets"][:], shard["labels"][:]
        all["rgb"].append(x[:, :1024]); all["audio"].append(x[:, 1024:])
        all["ids"].append(shard["ids"][:])
        all["labels"] += [k[at[i]:at[i + 1]] for i in range(len(x))]
rgb, audio, ids = (np.concatenate(all[name]) for name in ("rgb", "audio", "ids"))
width = max(map(len, all["labels"]))
labels = -np.ones((len(rgb), width), np.int16)
for i, row in enumerate(all["labels"]): labels[i, :len(row)] = row
for name, part in (("a", slice(0, 3000)), ("b", slice(3000, None))):
    np.savez(name + ".npz", rgb=rgb[part], audio=audio[part], ids=ids[part], labels=labels[part])
with h5py.File("all.h5", "w") as to:
    to["rgb"], to["audio"], to["ids"], to["labels"] = rgb, audio, ids, labels
with open("rows.csv", "w") as to:
    to.write("id,labels," + ",".join(f"f{i}" for i in range(1152)) + "\n")
    for i in range(len(rgb)):
        numbers = [str(x) for x in np.concatenate([rgb[i], audio[i]])]
        classes = ";".join(map(str, all["labels"][i]))
        to.write(",".join([ids[i].decode(), classes] + numbers) + "\n")
"#;

/// The same as Parquet.
const AS_PARQUET: &str = r#"
for name in "ab":
    rows = np.load(name + ".npz")
    lists = lambda x: pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
    labels = pa.array([row[row >= 0] for row in rows["labels"]])
    write(name + ".parquet", {"rgb": lists(rows["rgb"]), "audio": lists(rows["audio"]),
          "id": pa.array(list(rows["ids"])), "labels": labels}, row_group_size=1000)
"#;

#[test]
fn real_videos_are_the_same_through_each_format() {
    let Some(real) = common::real_data() else { return };
    let place = Place::new();
    let output = place.path("tfrecord");
    let from = "convert --from tfrecord --features rgb:1024,audio:128 --classes 3862 --output";
    let files = real.join("youtube8m/validate00[0-2]*.tfrecord");
    reelscale(from).path(&output).path(&files).stdout();
    if !numpy(&place.path(""), FROM_SHARDS) {
        return;
    }
    let parts = "--classes 3862 --parts rgb:1024,audio:128";
    let lists = "--features rgb,audio --ids ids --labels labels --labels-as list";
    let ways = [
        ("npz", lists, "?.npz"),
        ("hdf5", lists, "all.h5"),
        ("csv", "--features f0..f1151 --ids id --labels labels", "rows.csv"),
        ("parquet", "--features rgb,audio --ids id --labels labels", "?.parquet"),
    ];
    let made = parquet::pyarrow(&place.path(""), AS_PARQUET);
    for (format, options, file) in ways.into_iter().filter(|way| made || way.0 != "parquet") {
        let command = format!("convert --from {format} {options} {parts} --output");
        reelscale(&command).path(&place.path(format)).path(&place.path(file)).stdout();
        assert_eq!(hash(&place, format), hash(&place, "tfrecord"), "{format}");
    }
}
