//! Parquet as pyarrow writes it: the same rows as from arrays, in whatever form and compression;
//! damage is found.

use std::fs;
use std::path::Path;

use super::common::TestCommand;
use super::common::files;
use super::common::place::{Place, warnings};
use super::packages;
use super::{ROWS, hash};

/// Runs `code`, which has numpy, pyarrow and `write(name, columns, **how)`.
pub fn pyarrow(folder: &Path, code: &str) -> bool {
    let needed = ["numpy==2.2.6", "pyarrow==21.0.0"];
    let python = packages::python("table-python", &needed, "numpy, pyarrow.compute");
    let Some(mut python) = python else { return false };
    let code = format!(
        "import numpy as np, pyarrow as pa, pyarrow.parquet as pq\n\
         def write(name, columns, **how): pq.write_table(pa.table(columns), name, **how)\n{code}"
    );
    let output = python.current_dir(folder).args(["-c", &code]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// The rows of `ROWS` in many forms.
const FORMS: &str = r#"
names = [str(i) for i in ids]
arrays = lambda x, size: pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), size)
write("fixed.parquet", {"rgb": arrays(rgb, 6), "audio": arrays(audio, 3), "id": names,
      "labels": pa.array(list(map(list, lists)), pa.list_(pa.int16()))}, row_group_size=32)
wide = {"id": pa.array([i.encode() for i in names])}
for i in range(9): wide[f"f{i}"] = np.concatenate([rgb, audio], axis=1)[:, i].astype(np.float64)
for i in range(5): wide[f"y{i}"] = hot[:, i]
write("wide.parquet", wide, compression="zstd", data_page_version="2.0", data_page_size=64)
both = {"rgb": rgb.tolist(), "audio": audio.tolist()}
write("text.parquet", {**both, "id": pa.array(names).dictionary_encode(),
      "labels": [";".join(map(str, row)) or None for row in lists]}, compression="gzip")
write("names.parquet", {"rgb": pa.array(rgb.tolist(), pa.list_(pa.field("x", pa.float32(), False))),
      "audio": pa.array(audio.tolist(), pa.large_list(pa.float32())), "id": names,
      "labels": [["abcde"[k] for k in row] for row in lists]},
      compression="none", use_dictionary=False)
floats = pa.list_(pa.float32())
pairs = [{"rgb": list(a), "audio": list(b)} for a, b in zip(rgb, audio)]
write("hot.parquet", {"x": pa.array(pairs, pa.struct([("rgb", floats), ("audio", floats)])),
      "labels": hot.astype(np.int8).tolist(), "id": names}, write_page_index=True)
plain = {name: pa.array(both[name], floats) for name in both}
write("split.parquet", {**plain,
      "labels": hot.tolist(), "id": names},
      use_dictionary=False, compression="zstd", column_encoding={"id": "DELTA_BYTE_ARRAY",
      **{f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in both}})
"#;

fn convert(place: &Place, output: &str, options: &str, file: &str) -> TestCommand {
    place.convert_as(&format!("convert --from parquet {options} --output"), output, &[file])
}

#[test]
fn columns_of_every_form_are_the_same_content() {
    let place = Place::new();
    if !pyarrow(&place.path(""), &format!("{ROWS}{FORMS}")) {
        return;
    }
    let parts = "--parts rgb:6,audio:3";
    let npz = format!("convert --from npz --features rgb,audio --labels labels --ids ids {parts}");
    place.convert_as(&format!("{npz} --output"), "npz", &["a.npz"]).stdout();
    let names = format!("--names {}", place.path("names.txt").display());
    let ways = [
        ("fixed", "--features rgb,audio --labels labels --classes 5", "--comm threads=2"),
        ("wide", "--features f* --labels y0..y4", ""),
        ("text", "--features rgb,audio --labels labels --classes 5", ""),
        ("names", "--features rgb,audio --labels labels", &names),
        ("hot", "--features x.rgb,x.audio --labels labels --labels-as multi-hot", ""),
        ("split", "--features rgb,audio --labels labels", ""),
    ];
    for (name, options, more) in ways {
        let options = format!("{options} {more} --ids id {parts}");
        let text = convert(&place, name, &options, &format!("{name}.parquet")).stdout();
        assert!(text.contains("70 rows"), "{name}: {text}");
        assert_eq!(hash(&place, name), hash(&place, "npz"), "{name}");
    }
}

#[test]
fn lists_of_lists_are_frames() {
    let place = Place::new();
    let made = pyarrow(
        &place.path(""),
        "x = np.linspace(-3, 5, 4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2)\n\
         y = np.array([0, 1, 2, 1])\n\
         np.savez('a.npz', x=x, y=y, id=np.array(list('abcd')))\n\
         write('a.parquet', {'x': x.tolist(), 'y': y, 'id': list('abcd')})\n\
         x = (np.arange(40, dtype=np.uint8).reshape(4, 5, 2) + 1).tolist()\n\
         x[1], x[2] = x[1][:3], []\n\
         write('b.parquet', {'x': pa.array(x, pa.list_(pa.list_(pa.uint8()))), 'y': y})\n\
         x[3][1] = [1, 2, 3, 4]\n\
         write('bad.parquet', {'x': pa.array(x, pa.list_(pa.list_(pa.uint8()))), 'y': y})\n",
    );
    if !made {
        return;
    }
    let options = "--features x --labels y --classes 3 --ids id";
    place.convert_as(&format!("convert --from npz {options} --output"), "npz", &["a.npz"]).stdout();
    convert(&place, "floats", options, "a.parquet").stdout();
    assert_eq!(hash(&place, "floats"), hash(&place, "npz"));
    let options = "--features x --labels y --classes 3 --range 0..255";
    let text = convert(&place, "bytes", options, "b.parquet").stdout();
    assert!(text.contains("4 rows") && text.contains("13 frames"), "{text}");
    let text = convert(&place, "bad", options, "bad.parquet").fails_with(4);
    let expected = "bad.parquet: row 3: column \"x\": found a list of 4 numbers, expected 2";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_is_missing_or_not_clear_is_told() {
    let place = Place::new();
    let made = pyarrow(
        &place.path(""),
        "x, y = [[1.0, 2.0], [3.0, None], None, [5.0, 6.0]], [0, None, 1, 1]\n\
         z = [1.0, 2.0, None, 4.0]\n\
         write('a.parquet', {'x': x, 'y': y, 'id': ['a', 'b', None, 'd'], 'z': z})\n\
         write('ragged.parquet', {'x': [[1.0, 2.0], [3.0]], 'y': [[0], [1, None]]})\n\
         write('times.parquet', {'x': pa.array([1, 2], pa.timestamp('s')), 'y': [0, 1]})\n\
         write('brotli.parquet', {'x': [1.0, 2.0], 'y': [0, 1]}, compression='brotli')\n\
         np.save('array.npy', np.ones((2, 2)))\n\
         data = open('ragged.parquet', 'rb').read()\n\
         open('cut.parquet', 'wb').write(data[:-5]); open('none.parquet', 'wb').write(b'')\n\
         open('secret.parquet', 'wb').write(b'PARE' + data[4:-4] + b'PARE')\n\
         open('footer.parquet', 'wb').write(data[:-8] + b'\\xff\\xff\\xff\\x7fPAR1')\n",
    );
    if !made {
        return;
    }
    let options = "--features x --labels y --classes 2";
    let missing = "row 1: found no number at feature 1; hint: --missing";
    let ids = format!("{options} --ids id --missing 0");
    let cases = [
        ("a", options, missing),
        ("a", "--features z --labels y --classes 2", "row 2: found no number at feature 0"),
        ("a", &ids, "row 2: id: found none"),
        ("a", "--features y --labels z --classes 9", "row 1: found no number at feature 0"),
        ("ragged", options, "row 1: found 1 features, expected 2"),
        ("ragged", "--features x.0 --classes 2", "found x (float64 [rows, ...]), y (int64"),
        ("times", options, "column \"x\": found the type Timestamp"),
        ("brotli", options, "column \"x\": found the compression BROTLI"),
        ("cut", options, "found no footer of Parquet at its end: the file is cut"),
        ("secret", options, "found an encrypted Parquet file"),
        ("footer", options, "found a footer of 2147483647 bytes"),
        ("none", options, "found no Parquet file (0 bytes)"),
    ];
    for (name, options, expected) in cases {
        let exit = if name == "ragged" && options.contains("x.0") { 2 } else { 4 };
        let text = convert(&place, "out", options, &format!("{name}.parquet")).fails_with(exit);
        assert!(text.contains(expected) && text.contains(name), "{name}: {text}");
        assert!(!place.path("out").exists());
    }
    let text = convert(&place, "out", options, "array.npy").fails_with(4);
    assert!(text.contains("found a NumPy array (npy), expected a Parquet file"), "{text}");
    // The number that is missing, the two of the list that is.
    let told = warnings(&convert(&place, "filled", &format!("{options} --missing 0"), "a.parquet"));
    assert!(told.contains("3 numbers were missing"), "{told}");
    let skip = format!("{options} --missing skip");
    let told = warnings(&convert(&place, "skipped", &skip, "a.parquet"));
    assert!(told.contains("2 rows in which a number is missing were left out"), "{told}");
    // Among the elements of a list nothing is no class.
    let lists = "--features x --labels y --classes 2 --missing 0";
    let whole = "write('lists.parquet', {'x': [[1.0], [3.0]], 'y': [[0], [1, None]]})";
    pyarrow(&place.path(""), whole);
    let text = convert(&place, "out", lists, "lists.parquet").fails_with(4);
    assert!(text.contains("row 1: labels: column \"y\": found nothing among"), "{text}");
}

/// A footer whose schema has so many groups within groups, and a number in the last one.
fn nested(groups: usize) -> Vec<u8> {
    // Thrift's compact protocol: name, then how many are within it; a number has a type first.
    let group = b"\x35\x00\x18\x01g\x15\x02\x00";
    let mut footer = b"\x15\x02\x19\xfc".to_vec();
    let mut count = groups + 2;
    while count > 127 {
        footer.push(count as u8 | 0x80);
        count >>= 7;
    }
    footer.push(count as u8);
    footer.extend(b"\x48\x01g\x15\x02\x00");
    footer.extend(group.repeat(groups));
    footer.extend(b"\x15\x08\x25\x00\x18\x01x\x00\x16\x00\x19\x0c\x00");
    let length = (footer.len() as u32).to_le_bytes();
    [b"PAR1", &footer[..], &length, b"PAR1"].concat()
}

#[test]
fn groups_within_groups_end_somewhere() {
    let place = Place::new();
    for (groups, expected) in [(90, "found no record"), (100_000, "found more than 100 groups")] {
        place.write("nested.parquet", &nested(groups));
        let text = convert(&place, "out", "--features g* --classes 2", "nested.parquet");
        let text = text.fails_with(4);
        assert!(text.contains(expected), "{groups}: {text}");
    }
}

/// Pages have checksums here; what no checksum covers, headers of pages and the footer, is held
/// together by what is said twice.
#[test]
fn damage_is_found_or_harmless() {
    let place = Place::new();
    let made = pyarrow(
        &place.path(""),
        "x = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)\n\
         ids = [f'v{i}' for i in range(40)]\n\
         write('a.parquet', {'x': x.tolist(), 'y': np.arange(40) % 4, 'id': ids},\n\
               write_page_checksum=True, store_schema=False, write_statistics=False,\n\
               row_group_size=16)\n",
    );
    if !made {
        return;
    }
    let options = "--features x --labels y --classes 4 --ids id";
    convert(&place, "whole", options, "a.parquet").stdout();
    let (expected, whole) = (hash(&place, "whole"), fs::read(place.path("a.parquet")).unwrap());
    let footer = whole.len() - 8;
    let length = u32::from_le_bytes(whole[footer..footer + 4].try_into().unwrap()) as usize;
    let pages = whole.len() - 8 - length;
    let mut found = 0;
    let flips: Vec<usize> = (0..8 * whole.len()).step_by(8 * whole.len() / 120 + 1).collect();
    for flip in &flips {
        let mut bytes = whole.clone();
        bytes[flip / 8] ^= 1 << (flip % 8);
        place.write("flipped.parquet", &bytes);
        let command = convert(&place, "flipped", options, "flipped.parquet").env("RUST_LOG", "off");
        let output = command.output();
        let told = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            // A field of another name is one that isn't there.
            Some(2) => assert!(flip / 8 >= pages, "{flip}: {told}"),
            Some(4) => assert!(told.contains("flipped.parquet: "), "{flip}: {told}"),
            Some(0) => {
                assert_eq!(hash(&place, "flipped"), expected, "{flip} of {pages}");
                fs::remove_dir_all(place.path("flipped")).unwrap();
            }
            code => panic!("{flip}: {code:?}: {told}"),
        }
        found += usize::from(output.status.code() != Some(0));
    }
    assert!(found * 2 > flips.len(), "{found} of {}", flips.len());
}

#[test]
fn large_files_are_cut_into_the_same_shards_on_any_number_of_ranks() {
    let place = Place::new();
    let made = pyarrow(
        &place.path(""),
        "x = np.random.default_rng(1).normal(size=(3000, 1000)).astype(np.float32)\n\
         np.save('x.npy', x)\n\
         lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 1000)\n\
         write('list.parquet', {'x': lists}, row_group_size=700)\n\
         columns = {f'x{i}': x[:, i].astype(np.float64) for i in range(1000)}\n\
         write('wide.parquet', columns, data_page_version='2.0', data_page_size=1000)\n",
    );
    if !made {
        return;
    }
    let code = "f['x'] = np.load(sys.argv[2][:-2] + 'npy'); f['y'] = np.zeros((3000, 1))";
    let ways = [
        ("npy", "--classes 4", "x.npy"),
        ("hdf5", "--features x --classes 4", "x.h5"),
        ("parquet", "--features x --classes 4", "list.parquet"),
        ("parquet", "--features x* --classes 4", "wide.parquet"),
    ];
    let made = super::common::shards::python("w", &[(place.path("x.h5"), code.into())]);
    for (format, options, file) in ways.into_iter().filter(|way| made || way.0 != "hdf5") {
        let how = format!("convert --from {format} {options} --rows-per-shard 500 --dtype u8");
        let parts = "--parts x:1000";
        for ranks in ["1", "3"] {
            let how = format!("{how} {parts} --comm threads={ranks} --output");
            place.convert_as(&how, &format!("{file}-{ranks}"), &[file]).stdout();
        }
        let shards = |ranks: u8| files(&place.path(&format!("{file}-{ranks}")));
        // 8 MiB are some 2,000 rows, of wide.parquet half as many.
        assert!(shards(1).contains_key("shard-00001-0000.h5"), "{file}");
        assert_eq!(shards(1).len(), 6, "{file}: shards of 500 rows");
        assert!(shards(1) == shards(3), "{file}");
    }
}
