//! Shards: what is written comes back, equal content gives equal files, damage is found.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use reelscale::data::{Dataset, Kind, ShardHeader, ShardInfo, ShardReader, ShardWriter, find};
use reelscale::error::{Error, Exit};
use reelscale::example::{Example, FeaturePart, Values};
use reelscale::labels::Labels;

const WIDTH: usize = 700;

fn header(kind: Kind) -> ShardHeader {
    let part = |name: &str, size| FeaturePart { name: name.into(), size };
    let parts = vec![part("rgb", WIDTH - 3), part("audio", 3)];
    ShardHeader { parts, class_count: 50, kind, source: "a test".into() }
}

fn example(row: usize, kind: Kind) -> Example {
    let labels =
        (0u32..50).filter(|class| ((row as u32 + 1) * (class + 3)).is_multiple_of(17)).collect();
    let value = |at: usize| ((row * WIDTH + at) % 1009) as f32 * 0.25 - 100.0;
    let values = match kind {
        Kind::Video => Values::Video((0..WIDTH).map(value).collect()),
        Kind::Frames => Values::Frames((0..row % 4 * WIDTH).map(|at| (row + at) as u8).collect()),
    };
    Example { id: format!("v{row}").into_bytes(), labels, values }
}

fn write(path: &Path, rows: std::ops::Range<usize>, kind: Kind) {
    let mut writer = ShardWriter::create(path, &header(kind)).unwrap();
    rows.for_each(|row| writer.push(&example(row, kind)).unwrap());
    writer.finish().unwrap();
}

fn read_all(path: &Path) -> Result<(), Error> {
    let info = ShardInfo::read(path)?;
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

/// Runs a line of Python on a shard; false where there is no h5py.
fn python(path: &Path, code: &str) -> bool {
    let script = format!("import h5py, sys, numpy as np\nf = h5py.File(sys.argv[1], 'r+')\n{code}");
    let run = |python: &str| {
        let mut command = std::process::Command::new(python);
        command.arg("-c").arg(&script).arg(path).stderr(std::process::Stdio::piped()).output()
    };
    let probe = |python: &&&str| {
        let mut command = std::process::Command::new(python);
        let status =
            command.args(["-c", "import h5py"]).stderr(std::process::Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let Some(interpreter) = ["python3", "/usr/bin/python3"].iter().find(probe) else {
        println!("skipped: no python3 with h5py");
        return false;
    };
    let output = run(interpreter).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn h5py_reads_a_shard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    write(&path, 0..600, Kind::Video);
    python(
        &path,
        "assert f['features'].shape == (600, 700) and f['features'].dtype == np.float32\n\
         assert f['features'].fletcher32 and f['labels'].fletcher32 and f['ids'][7] == b'v7'\n\
         assert f['label_offsets'][-1] == len(f['labels'])\n\
         assert f['features'][3, 5] == ((3 * 700 + 5) % 1009) * 0.25 - 100\n\
         assert f.attrs['format'] == 'reelscale-shard' and f.attrs['class_count'] == 50",
    );
}

/// What is wrong, the Python that makes it so, and what the error says.
const FAULTS: [(&str, &str, &str); 11] = [
    ("missing dataset", "del f['labels']", "dataset \"labels\": is missing"),
    (
        "wrong type",
        "x = f['features'][:]; del f['features']; f['features'] = x.astype('f8')",
        "dataset \"features\": found float64 [5, 700], expected float32 or uint8 [5, 700]",
    ),
    (
        "wrong shape",
        "x = f['features'][:]; del f['features']; f['features'] = x[:, :9]",
        "found float32 [5, 9], expected float32 or uint8 [5, 700]",
    ),
    (
        "byte order",
        "x = f['features'][:]; del f['features']; f['features'] = x.astype('>f4')",
        "found big-endian numbers",
    ),
    (
        "not a number",
        "f['features'][2, 7] = np.nan",
        "row 2, column 7: found NaN, expected a number",
    ),
    ("label too large", "f['labels'][1] = 50", "found 50, expected below 50"),
    ("label twice", "f['labels'][1] = f['labels'][0]", "expected ascending"),
    ("falling offsets", "f['label_offsets'][2] = 0; f['label_offsets'][1] = 3", "expected no fall"),
    (
        "another format",
        "f.attrs['format'] = 'x'",
        "format: found \"x\", expected \"reelscale-shard\"",
    ),
    ("a newer version", "f.attrs.modify('version', np.uint64(9))", "this program reads 1"),
    (
        "another filter",
        "x = f['features'][:]; del f['features']; \
         f.create_dataset('features', data=x, compression='lzf')",
        "which isn't known",
    ),
];

#[test]
fn faults_are_told_with_dataset_found_and_expected() {
    let folder = tempfile::tempdir().unwrap();
    for (name, code, expected) in FAULTS {
        let path = folder.path().join(format!("{name}.h5"));
        write(&path, 0..5, Kind::Video);
        assert!(read_all(&path).is_ok());
        if !python(&path, code) {
            return;
        }
        let error = read_all(&path).unwrap_err();
        assert_eq!(error.exit, Exit::Input, "{name}: {error}");
        assert!(error.text.contains(expected), "{name}: {error}");
        assert!(error.text.contains(path.to_str().unwrap()), "{name}: {error}");
    }
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
    assert!(info.quantised.is_some());
    let mut features = vec![0.0; 700 * WIDTH];
    let mut reader = Dataset::new(vec![info]).unwrap().reader();
    reader.read(0..700, &mut features, &mut Labels::new()).unwrap();
    for (at, found) in features.iter().enumerate() {
        let expected = value(at / WIDTH + at % WIDTH);
        assert!((found - expected).abs() <= 0.5001 * 4.0 / 255.0, "{at}: {found}, {expected}");
    }
}
