//! Shards: what is written comes back, equal content gives equal files, damage is found.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::shards::{WIDTH, example, header, python, write};
use proptest::prelude::*;
use reelscale::internals::data::{Dataset, Kind, ShardInfo, ShardReader, ShardWriter, find};
use reelscale::internals::encoding::Encoding;
use reelscale::internals::example::{Example, Values};
use reelscale::internals::flow::home_rows;
use reelscale::internals::kernel::vector::Instructions;
use reelscale::internals::labels::Labels;
use reelscale::internals::model::features::Features;
use reelscale::internals::names::Names;
use reelscale::{Error, Exit};

fn read_all(path: &Path) -> Result<(), Error> {
    read_rows(ShardInfo::read(path)?)
}

fn read_rows(info: ShardInfo) -> Result<(), Error> {
    let rows = info.rows;
    let mut reader = Dataset::new(vec![info])?.reader();
    reader.read(0..rows, &mut vec![0.0; rows * WIDTH], &mut Labels::new())?;
    reader.ids(0..rows).map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_written_comes_back(
        counts in prop::collection::vec(0usize..900, 1..4),
        cut in 0usize..2000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (mut infos, mut rows) = (Vec::new(), 0);
        for (index, count) in counts.iter().enumerate() {
            let path = folder.path().join(format!("s {index}.h5"));
            write(&path, rows..rows + count, Kind::Video);
            infos.push(ShardInfo::read(&path).unwrap());
            rows += count;
        }
        let dataset = Dataset::new(infos).unwrap();
        prop_assert_eq!(dataset.rows(), rows);
        let cut = cut.min(rows);
        let turned = dataset.subset(&[cut..rows, 0..cut]).subset(&[0..rows, 0..0]);
        let (mut features, mut labels) = (vec![0.0; rows * WIDTH], Labels::new());
        turned.reader().read(0..rows, &mut features, &mut labels).unwrap();
        let ids = turned.reader().ids(0..rows).unwrap();
        for (at, row) in (cut..rows).chain(0..cut).enumerate() {
            let expected = example(row, Kind::Video);
            let values = Values::Video(features[at * WIDTH..(at + 1) * WIDTH].to_vec());
            let labels = labels.row(at).to_vec();
            prop_assert_eq!(Example { id: ids[at].clone(), labels, values }, expected);
        }
    }
}

#[test]
fn frames_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.h5");
    write(&path, 0..9, Kind::Frames);
    let info = ShardInfo::read(&path).unwrap();
    assert_eq!((info.kind, info.rows, info.frames), (Kind::Frames, 9, 12));
    let dataset = Dataset::new(vec![info]).unwrap();
    for (row, bytes) in dataset.reader().frames(0..9).unwrap().into_iter().enumerate() {
        assert_eq!(Values::Frames(bytes), example(row, Kind::Frames).values);
    }
    let error = dataset.reader().read(0..1, &mut vec![0.0; WIDTH], &mut Labels::new()).unwrap_err();
    assert!(error.text.contains("expected video-level"), "{error}");
}

#[test]
fn equal_rows_give_equal_files_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.h5"), folder.path().join("b.h5"));
    write(&a, 0..600, Kind::Video);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    write(&b, 0..600, Kind::Video);
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap());
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let mut writer = ShardWriter::create(&path, &header(Kind::Video)).unwrap();
    writer.push(&example(0, Kind::Video)).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    write(&path, 0..1, Kind::Video);
    let error = ShardWriter::create(&path, &header(Kind::Video)).err().unwrap();
    assert_eq!(error.exit, Exit::Storage);
}

#[test]
fn h5py_reads_a_shard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    write(&path, 0..600, Kind::Video);
    let before = fs::read(&path).unwrap();
    // The format of HDF5 1.10, whatever library writes it.
    assert_eq!(before[8], 3);
    let videos = (
        path.clone(),
        "assert sorted(f) == ['features', 'ids', 'label_offsets', 'labels']\n\
         assert f['features'].shape == (600, 700) and f['features'].dtype == np.float32\n\
         assert all(f[name].fletcher32 for name in f) and f['ids'][7] == b'v7'\n\
         assert f['label_offsets'][-1] == len(f['labels'])\n\
         assert f['features'][3, 5] == ((3 * 700 + 5) % 1009) * 0.25 - 100\n\
         assert f.attrs['format'] == b'reelscale-shard' and f.attrs['class_count'] == 50\n\
         assert f.attrs['version'] == 2 and f.attrs['source'].decode() == 'a test'\n\
         assert f.attrs['creator'].startswith(b'reelscale ')\n\
         parts = json.loads(f.attrs['feature_parts'])\n\
         assert parts == [dict(name='rgb', size=697), dict(name='audio', size=3)]"
            .into(),
    );
    write(&folder.path().join("f.h5"), 0..9, Kind::Frames);
    let frames = (
        folder.path().join("f.h5"),
        "assert f['frames'].shape == (12, 700) and f['frames'].dtype == np.uint8\n\
         assert list(f['frame_offsets']) == [0, 0, 1, 3, 6, 6, 7, 9, 12, 12]\n\
         assert f['frames'].attrs['scale'] == np.float32(4 / 255)"
            .into(),
    );
    python("r", &[videos, frames]);
    assert!(fs::read(&path).unwrap() == before, "reading changes nothing");
}

/// Another program that opens a shard for writing cuts off its proof, even if it writes nothing.
#[test]
fn a_shard_without_its_proof_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    write(&path, 0..5, Kind::Video);
    if !python("r+", &[(path.clone(), String::new())]) {
        return;
    }
    assert!(ShardInfo::look(&path).unwrap().is_none());
    assert!(ShardInfo::read(&path).unwrap_err().text.contains("found a shard without proof"));
    let error = ShardInfo::read_unproven(&path).unwrap_err();
    assert!(error.text.contains("opened for writing by another program"), "{error}");
    assert!(error.text.contains("hint: reelscale inspect --seal"), "{error}");
}

#[test]
fn damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    write(&path, 0..600, Kind::Video);
    let whole = fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.h5");
    for length in [0, 1, 47, 48, 512, whole.len() / 2, whole.len() - 1] {
        fs::write(&damaged, &whole[..length]).unwrap();
        assert_eq!(read_all(&damaged).unwrap_err().exit, Exit::Input, "cut at {length}");
    }
    let needle: Vec<u8> =
        (20..24).flat_map(|at| (at as f32 * 0.25 - 100.0).to_le_bytes()).collect();
    let at =
        whole.windows(16).position(|bytes| bytes == needle).expect("the values lie in the file");
    let mut bytes = whole;
    bytes[at] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    let error = read_all(&damaged).unwrap_err();
    assert!(error.text.contains("dataset \"features\": can't be read"), "{error}");
}

#[test]
fn a_shard_that_changes_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    write(&path, 0..5, Kind::Video);
    let info = ShardInfo::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    write(&path, 0..6, Kind::Video);
    assert!(ShardReader::open(&info).err().unwrap().text.contains("changed"));
}

#[test]
fn all_missing_and_repeated_files_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    write(Path::new(&path("a [1].h5")), 0..1, Kind::Video);
    write(Path::new(&path("ä b.h5")), 0..1, Kind::Video);
    assert_eq!(find(&[path("*.h5")]).unwrap().len(), 2);
    let patterns = [path("no.h5"), path("x*.h5"), path("a [1].h5"), path("*.h5")];
    let error = find(&patterns).unwrap_err();
    assert_eq!(error.exit, Exit::Input);
    for text in ["no.h5: no such file", "x*.h5: matches no file", "a [1].h5: named twice"] {
        assert!(error.text.contains(text), "{error}");
    }
}

/// Features stored as bytes come back as byte x scale + offset, to half a byte of what they were.
#[test]
fn features_may_be_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes.h5");
    let mut writer = ShardWriter::create_bytes(&path, &header(Kind::Video)).unwrap();
    let value = |at: usize| (at * 31 % 400) as f32 * 0.01 - 1.99;
    for row in 0..700 {
        let values = Values::Video((0..WIDTH).map(|at| value(row + at)).collect());
        writer.push(&Example { values, ..example(row, Kind::Video) }).unwrap();
    }
    writer.finish().unwrap();
    let info = ShardInfo::read(&path).unwrap();
    assert_eq!(info.encoding, Encoding::of_youtube8m());
    let mut features = vec![0.0; 700 * WIDTH];
    let mut reader = Dataset::new(vec![info]).unwrap().reader();
    reader.read(0..700, &mut features, &mut Labels::new()).unwrap();
    for (at, found) in features.iter().enumerate() {
        let expected = value(at / WIDTH + at % WIDTH);
        assert!((found - expected).abs() <= 0.5001 * 4.0 / 255.0, "{at}: {found}, {expected}");
    }
}

/// The frames of a row, between -2 and 2, and larger numbers in the last part.
fn numbers(row: usize) -> Vec<f32> {
    let number = |at: usize| {
        let own = (row * 37 + at * 7) % 401;
        if at % WIDTH < WIDTH - 3 { own as f32 / 100.0 - 2.0 } else { own as f32 / 2.0 }
    };
    (0..row % 4 * WIDTH).map(number).collect()
}

/// What each way to store frames makes of a number of the first and of the last part.
fn nearest(encoding: &Encoding, number: f32, last: bool) -> f32 {
    match encoding {
        Encoding::Floats => number,
        Encoding::Halves => half::f16::from_f32(number).to_f32(),
        Encoding::Bytes(scaling) => {
            let [scale, offset] = scaling[usize::from(last)];
            ((number - offset) / scale).round().clamp(0.0, 255.0) * scale + offset
        }
    }
}

/// Frames of floats, and bytes with a scale and offset of each part, come back as they should, to
/// this program and to h5py; earlier programs are told that they can't read them.
#[test]
fn frames_may_be_floats_or_bytes_of_several_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.h5"));
    let parts = Encoding::Bytes(vec![[4.0 / 255.0, -2.0], [0.8, 0.0]]);
    let all = [("f32", Encoding::Floats), ("f16", Encoding::Halves), ("u8", parts)];
    let (mut digests, mut checks) = (Vec::new(), Vec::new());
    for (name, encoding) in &all {
        let header = header(Kind::Frames);
        let mut writer =
            ShardWriter::create_encoded(&path(name), &header, encoding.clone()).unwrap();
        for row in 0..9 {
            let values = Values::FrameNumbers(numbers(row));
            writer.push(&Example { values, ..example(row, Kind::Frames) }).unwrap();
        }
        writer.finish().unwrap();
        let info = ShardInfo::read(&path(name)).unwrap();
        assert_eq!((info.rows, info.frames, &info.encoding), (9, 12, encoding));
        ShardReader::open(&info).unwrap().check_in_full().unwrap();
        let dataset = Dataset::new(vec![info.clone()]).unwrap();
        let (Features::Frames(frames), _) =
            home_rows::read_rows(&mut dataset.reader(), 0..9).unwrap()
        else {
            panic!("frames")
        };
        for row in 0..9 {
            let found = frames.numbers(Instructions::plain(), &(row..row + 1));
            for (at, number) in numbers(row).into_iter().enumerate() {
                let expected = nearest(encoding, number, at % WIDTH >= WIDTH - 3);
                let found = found.row(at / WIDTH)[at % WIDTH];
                assert_eq!(found.to_bits(), expected.to_bits(), "{name}, row {row}, {at}");
            }
        }
        digests.push(serde_json::to_value(&info).unwrap()["digest"].clone());
        let scaled = if *name == "u8" { "* s + o" } else { "" };
        checks.push((
            path(name),
            format!(
                "x, s, o = f['frames'], np.ones(1), np.zeros(1)\n\
                 assert x.dtype == '{}' and f.attrs['version'] == 3, x.dtype\n\
                 two = lambda name: np.repeat(x.attrs[name], [697, 3])\n\
                 if x.dtype == 'u1': s, o = two('scale'), two('offset')\n\
                 x, at = x[:].astype('f4') {scaled}, np.arange(3 * 700)\n\
                 own = (3 * 37 + at * 7) % 401\n\
                 own = np.where(at % 700 < 697, own / 100 - 2, own / 2).reshape(3, 700)\n\
                 near = np.abs(x[3:6] - own)\n\
                 assert near[:, :697].max() < 0.008 and near[:, 697:].max() < 0.41, near.max()",
                name.replace("u8", "u1").replace("f32", "f4").replace("f16", "f2")
            ),
        ));
    }
    digests.dedup();
    assert_eq!(digests.len(), 3, "each has a content of its own");
    python("r", &checks);

    // Shards of several kinds in one dataset: all become 32-bit floats, with the same numbers.
    let infos: Vec<ShardInfo> =
        all.iter().map(|(name, _)| ShardInfo::read(&path(name)).unwrap()).collect();
    let mixed = Dataset::new(infos.clone()).unwrap();
    let (Features::Frames(mixed), _) = home_rows::read_rows(&mut mixed.reader(), 0..27).unwrap()
    else {
        panic!("frames")
    };
    let (mut at, plain) = (0, Instructions::plain());
    for info in infos {
        let own = Dataset::new(vec![info]).unwrap();
        let (own, _) = home_rows::read_rows(&mut own.reader(), 0..9).unwrap();
        let Features::Frames(own) = own else { panic!("frames") };
        assert_eq!(own.numbers(plain, &(0..9)), mixed.numbers(plain, &(at..at + 9)));
        at += 9;
    }
}

/// The first rows of a shard are the shard that whoever has no others would have written.
#[test]
fn the_first_rows_of_a_shard_are_a_shard() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let classes = (0..50).map(|class| format!("class {class}")).collect();
    let names = Arc::new(Names::new(classes).unwrap());
    let parts = Encoding::Bytes(vec![[4.0 / 255.0, -2.0], [0.8, 0.0]]);
    let ways = [
        (Kind::Video, Encoding::Floats),
        (Kind::Video, Encoding::of_youtube8m()),
        (Kind::Frames, Encoding::Halves),
        (Kind::Frames, parts),
    ];
    for (way, (kind, encoding)) in ways.into_iter().enumerate() {
        let named = Some(names.clone()).filter(|_| way % 2 == 0);
        let write = |path: &Path, rows: usize| {
            let writer = ShardWriter::create_encoded(path, &header(kind), encoding.clone());
            let mut writer = writer.unwrap().named(named.clone());
            for row in 0..rows {
                let example = example(row, kind);
                let values = match kind {
                    Kind::Video => example.values.clone(),
                    Kind::Frames => Values::FrameNumbers(numbers(row)),
                };
                writer.push(&Example { values, ..example }).unwrap();
            }
            writer.finish().unwrap();
            ShardInfo::read(path).unwrap()
        };
        let all = write(&path(&format!("{way}-all.h5")), 600);
        for rows in [1, 256, 300, 600] {
            let (own, first) = (path(&format!("{way}-{rows}")), path(&format!("{way}-{rows}f")));
            write(&own, rows);
            all.write_first(rows, &first).unwrap();
            assert!(fs::read(own).unwrap() == fs::read(first).unwrap(), "{way}: {rows}");
        }
    }
    // What is damaged is told, and leaves nothing.
    let (whole, first) = (path("0-all.h5"), path("first"));
    let info = ShardInfo::read(&whole).unwrap();
    let mut bytes = fs::read(&whole).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&whole, bytes).unwrap();
    let error = info.write_first(600, &first).unwrap_err();
    assert!(error.exit == Exit::Input && error.text.contains("is damaged"), "{error}");
    let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("first")));
}

/// What 16-bit floats can't hold is no number when it is read, and named with its place.
#[test]
fn frames_that_are_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    for (encoding, number) in [(Encoding::Halves, 70_000.0), (Encoding::Floats, f32::NAN)] {
        let mut writer =
            ShardWriter::create_encoded(&path, &header(Kind::Frames), encoding).unwrap();
        let mut values = vec![0.5; 2 * WIDTH];
        values[WIDTH + 7] = number;
        let values = Values::FrameNumbers(values);
        writer.push(&Example { values, ..example(0, Kind::Frames) }).unwrap();
        writer.finish().unwrap();
        let info = ShardInfo::read(&path).unwrap();
        let error = ShardReader::open(&info).unwrap().check_in_full().unwrap_err();
        assert!(error.text.contains("\"frames\": frame 1, column 7: found"), "{error}");
        let dataset = Dataset::new(vec![info]).unwrap();
        let error = home_rows::read_rows(&mut dataset.reader(), 0..1).unwrap_err();
        assert!(error.text.contains("row 0, frame 1, column 7: found"), "{error}");
        fs::remove_file(&path).unwrap();
    }
}
