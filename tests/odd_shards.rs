//! Shards as other programs write them: what is odd but fine is taken, all else is an error that
//! names the field, what was found and what was expected.

mod common;

use std::path::Path;

use common::shards::{change, write};
use reelscale::internals::data::{Kind, ShardInfo, ShardReader};
use reelscale::{Error, Exit};

/// Reads all of a shard that has no proof.
fn read(path: &Path) -> Result<u128, Error> {
    assert!(ShardInfo::look(path)?.is_none(), "it has no proof");
    let info = ShardInfo::read_unproven(path)?;
    ShardReader::open(&info)?.check_in_full()
}

/// What is wrong, the Python that makes it so, and what the error says.
type Fault = (&'static str, &'static str, &'static str);

/// Makes each fault in a shard of five rows.
fn check(kind: Kind, faults: &[Fault]) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.h5"));
    faults.iter().for_each(|fault| write(&path(fault.0), 0..5, kind));
    let changes: Vec<_> = faults.iter().map(|fault| (path(fault.0), fault.1)).collect();
    if !change(&changes) {
        return;
    }
    for (name, _, expected) in faults {
        let error = read(&path(name)).expect_err(name);
        assert_eq!(error.exit, Exit::Input, "{name}: {error}");
        assert!(error.text.contains(expected), "{name}: {error}");
        assert!(error.text.contains(path(name).to_str().unwrap()), "{name}: {error}");
        assert!(error.text.len() < 600, "{name}: {error}");
    }
}

/// Makes each change in a shard of five rows; the digests of content before and after.
fn digests(changes: &[(Kind, &'static str)]) -> Vec<(&'static str, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = |index: usize| folder.path().join(format!("{index}.h5"));
    let before: Vec<String> = (0..changes.len())
        .map(|index| {
            write(&path(index), 0..5, changes[index].0);
            ShardInfo::read(&path(index)).unwrap().digest.unwrap()
        })
        .collect();
    let files: Vec<_> = (0..changes.len()).map(|index| (path(index), changes[index].1)).collect();
    if !change(&files) {
        return Vec::new();
    }
    let after = |index: usize| {
        let code = changes[index].1;
        let found = read(&path(index)).unwrap_or_else(|error| panic!("{code}: {error}"));
        (code, before[index].clone(), format!("{found:032x}"))
    };
    (0..changes.len()).map(after).collect()
}

const DATASETS: &[Fault] = &[
    ("missing", "del f['labels']", "dataset \"labels\": is missing"),
    (
        "type",
        "x = f['features'][:]; del f['features']; f['features'] = x.astype('f8')",
        "dataset \"features\": found float64 [5, 700], expected float32 or uint8 [5, 700]",
    ),
    (
        "half",
        "x = f['features'][:]; del f['features']; f['features'] = x.astype('f2')",
        "dataset \"features\": found float16 [5, 700], expected float32 or uint8 [5, 700]",
    ),
    (
        "boolean",
        "x = f['features'][:]; del f['features']; f['features'] = x > 0",
        "found an enumeration or boolean [5, 700]",
    ),
    (
        "shape",
        "x = f['features'][:]; del f['features']; f['features'] = x[:, :9]",
        "found float32 [5, 9], expected float32 or uint8 [5, 700]",
    ),
    (
        "no dimension",
        "del f['features']; f['features'] = np.float32(1)",
        "found float32 [], expected float32 or uint8 [5, 700]",
    ),
    (
        "byte order",
        "x = f['features'][:]; del f['features']; f['features'] = x.astype('>f4')",
        "found big-endian numbers",
    ),
    (
        "filter",
        "x = f['features'][:]; del f['features']; \
         f.create_dataset('features', data=x, compression='lzf')",
        "which isn't known",
    ),
    (
        "objects as ids",
        "del f['ids']; f['ids'] = ['a', 'b', 'c', 'd', 'e']",
        "found a variable-length text [5], expected fixed-length bytes (1 to 65536) [5]; hint: ",
    ),
    (
        "long ids",
        "del f['ids']; f['ids'] = np.zeros(5, 'S65537')",
        "found fixed-length bytes (65537) [5], expected fixed-length bytes (1 to 65536) [5]",
    ),
    ("group", "del f['labels']; f.create_group('labels')", "found a group or type"),
    ("named type", "del f['labels']; f['labels'] = np.dtype('u4')", "found a group or type"),
    ("loop", "del f['labels']; f['labels'] = h5py.SoftLink('/labels')", "leads nowhere"),
    ("no target", "del f['labels']; f['labels'] = h5py.SoftLink('/x')", "leads nowhere"),
    (
        "other file",
        "o = h5py.File(path + '.o', 'w'); o['labels'] = f['labels'][:]; o.close(); \
         del f['labels']; f['labels'] = h5py.ExternalLink(path + '.o', '/labels')",
        "dataset \"labels\": found a link to another file",
    ),
    (
        "soft link to other file",
        "o = h5py.File(path + '.o', 'w'); o['labels'] = f['labels'][:]; o.close(); \
         del f['labels']; f['x'] = h5py.ExternalLink(path + '.o', '/'); \
         f['labels'] = h5py.SoftLink('/x/labels')",
        "dataset \"labels\": found a link to another file",
    ),
    (
        "raw file",
        "x = f['features'][:]; del f['features']; x.tofile(path + '.raw'); \
         f.create_dataset('features', x.shape, 'f4', external=[(path + '.raw', 0, 14000)])",
        "found rows in another file",
    ),
];

const VALUES: &[Fault] = &[
    ("NaN", "f['features'][2, 7] = np.nan", "row 2, column 7: found NaN, expected a number"),
    ("label too large", "f['labels'][1] = 50", "found 50, expected below 50"),
    ("label twice", "f['labels'][1] = f['labels'][0]", "expected ascending"),
    ("falling offsets", "f['label_offsets'][2] = 0; f['label_offsets'][1] = 3", "expected no fall"),
    ("negative offset", "f['label_offsets'][0] = -1", "found -1 to 15, expected 0 to 15"),
    ("last offset", "f['label_offsets'][5] = 2**62", "found 0 to 4611686018427387904"),
    (
        "no offset",
        "del f['label_offsets']; f['label_offsets'] = np.zeros(0, 'i8')",
        "found no number, expected one more than rows",
    ),
];

/// Chunks that HDF5 would fill up with zeros.
const UNWRITTEN: &[Fault] = &[
    (
        "chunks",
        "x = f['features'][:]; del f['features']; \
         d = f.create_dataset('features', x.shape, 'f4', chunks=(2, 700)); d[:2] = x[:2]",
        "dataset \"features\": 2 of 3 chunks were never written; hint: its writer was stopped",
    ),
    (
        "chunks of ids",
        "del f['ids']; f.create_dataset('ids', 5, 'S4', chunks=(2,), fletcher32=True)",
        "dataset \"ids\": 3 of 3 chunks were never written",
    ),
    (
        "contiguous",
        "x = f['features'][:]; del f['features']; f.create_dataset('features', x.shape, 'f4')",
        "dataset \"features\": was never written",
    ),
    (
        "more rows than bytes",
        "del f['labels']; f.create_dataset('labels', 2**40, 'u4', chunks=(2**20,))",
        "dataset \"labels\": 1048576 of 1048576 chunks were never written",
    ),
    (
        "source",
        "del f['features']; l = h5py.VirtualLayout((5, 700), 'f4'); \
         l[:] = h5py.VirtualSource('gone.h5', 'x', (5, 700)); \
         f.create_virtual_dataset('features', l)",
        "dataset \"features\": found a virtual dataset, expected its rows in this file",
    ),
    (
        "source that is there",
        "o = h5py.File(path + '.o', 'w'); o['x'] = f['features'][:]; o.close(); \
         del f['features']; l = h5py.VirtualLayout((5, 700), 'f4'); \
         l[:] = h5py.VirtualSource(path + '.o', 'x', (5, 700)); \
         f.create_virtual_dataset('features', l)",
        "found a virtual dataset",
    ),
    (
        "frames and features",
        "f['frames'] = f['features'][:].astype('u1')",
        "frames: found beside features, expected one of them",
    ),
    (
        "ids padded with spaces",
        "x = f['ids'][:]; del f['ids']; t = h5py.h5t.C_S1.copy(); t.set_size(99); \
         t.set_strpad(h5py.h5t.STR_SPACEPAD); h5py.h5d.create(f.id, b'ids', t, \
         h5py.h5s.create_simple((5,))).write(h5py.h5s.ALL, h5py.h5s.ALL, x.astype('S99'))",
        "dataset \"ids\": found bytes padded with spaces, expected NUL",
    ),
];

const ATTRIBUTES: &[Fault] = &[
    ("format", "f.attrs['format'] = 'x'", "format: found \"x\", expected \"reelscale-shard\""),
    ("long format", "f.attrs['format'] = 'x' * 60000", "format: found \"xxxxxx"),
    ("format isn't text", "f.attrs['format'] = 7", "format: found int64, expected a text"),
    ("texts", "f.attrs['format'] = ['a', 'b']", "format: found 2 values, expected one"),
    ("empty", "f.attrs['format'] = h5py.Empty('S1')", "format: found 0 values, expected one"),
    (
        "not UTF-8",
        "f.attrs['format'] = np.bytes_(b'\\xff')",
        "format: found a text that isn't UTF-8",
    ),
    ("missing", "del f.attrs['class_count']", "class_count: attribute is missing"),
    ("newer", "f.attrs['version'] = 9", "version: found 9, this program reads 1 to 3"),
    ("negative", "f.attrs['class_count'] = -5", "class_count: found -5, expected 1 to 16777216"),
    (
        "huge",
        "f.attrs['class_count'] = 2**40",
        "class_count: found 1099511627776, expected 1 to 16777216",
    ),
    ("none", "f.attrs['class_count'] = 0", "class_count: found 0, expected 1 to 16777216"),
    (
        "unsigned",
        "f.attrs['class_count'] = np.uint64(2**64 - 1)",
        "class_count: found 18446744073709551615, expected 1 to 16777216",
    ),
    ("real", "f.attrs['class_count'] = 5.0", "class_count: found float64, expected a whole number"),
    ("numbers", "f.attrs['class_count'] = [5, 6]", "class_count: found 2 values, expected one"),
    ("truth", "f.attrs['class_count'] = True", "class_count: found an enumeration or boolean"),
];

const PARTS: &[Fault] = &[
    ("JSON", "f.attrs['feature_parts'] = '['", "feature_parts: EOF"),
    ("deep", "f.attrs['feature_parts'] = '[' * 9999", "feature_parts: "),
    ("object", "f.attrs['feature_parts'] = '{}'", "feature_parts: invalid type"),
    ("none", "f.attrs['feature_parts'] = '[]'", "found 0 parts, expected 1 to 1024"),
    (
        "size 0",
        "f.attrs['feature_parts'] = '[{\"name\":\"a\",\"size\":0}]'",
        "part \"a\": found 0 features, expected at least 1",
    ),
    (
        "negative",
        "f.attrs['feature_parts'] = '[{\"name\":\"a\",\"size\":-1}]'",
        "feature_parts: invalid value",
    ),
    (
        "sum",
        "f.attrs['feature_parts'] = json.dumps([dict(name=n, size=2**64 - 1) for n in 'ab'])",
        "expected at least 1, and at most 16777215 of all parts",
    ),
    (
        "twice",
        "f.attrs['feature_parts'] = json.dumps([dict(name='a', size=350)] * 2)",
        "found the part \"a\" twice",
    ),
    (
        "many",
        "f.attrs['feature_parts'] = json.dumps([dict(name=str(i), size=1) for i in range(1025)])",
        "found 1025 parts, expected 1 to 1024",
    ),
    (
        "long name",
        "f.attrs['feature_parts'] = json.dumps([dict(name='x' * 40000, size=700)])",
        "part 0: found a name of 40000 bytes, expected 1 to 256",
    ),
    (
        "two lines",
        "f.attrs['feature_parts'] = json.dumps([dict(name='a\\nb', size=700)])",
        "part 0: found a name of 3 bytes, expected 1 to 256 that can be printed",
    ),
];

const BYTES: &[Fault] = &[
    ("no scale", "del f['frames'].attrs['scale']", "attribute scale: attribute is missing"),
    (
        "NaN",
        "f['frames'].attrs['scale'] = np.nan",
        "dataset \"frames\": attribute scale: found NaN, expected a finite number",
    ),
    (
        "infinite",
        "f['frames'].attrs['offset'] = np.float32(-np.inf)",
        "attribute offset: found -inf, expected a finite number",
    ),
    ("beyond f32", "f['frames'].attrs['scale'] = 1e300", "attribute scale: found inf"),
    ("beyond at 255", "f['frames'].attrs['scale'] = 1e38", "attribute scale: found 1"),
    ("nothing", "f['frames'].attrs['scale'] = 0.0", "attribute scale: found 0, expected"),
    ("too small", "f['frames'].attrs['scale'] = 1e-300", "attribute scale: found 0, expected"),
    (
        "text",
        "f['frames'].attrs['scale'] = '1'",
        "attribute scale: found a variable-length text, expected a number",
    ),
    (
        "floats",
        "x = f['frames'][:]; del f['frames']; f['frames'] = x.astype('f4')",
        "dataset \"frames\": found float32 [6, 700], expected uint8 [*, 700]",
    ),
    (
        "falling frames",
        "f['frame_offsets'][2] = 9",
        "dataset \"frame_offsets\": row 2: found 3 after 9, expected no fall",
    ),
];

#[test]
fn odd_datasets_are_told() {
    check(Kind::Video, DATASETS);
}

#[test]
fn odd_values_are_told() {
    check(Kind::Video, VALUES);
}

#[test]
fn rows_that_were_never_written_are_told() {
    check(Kind::Video, UNWRITTEN);
}

#[test]
fn odd_attributes_are_told() {
    check(Kind::Video, ATTRIBUTES);
    check(Kind::Video, PARTS);
}

#[test]
fn odd_bytes_are_told() {
    check(Kind::Frames, BYTES);
}

/// What other programs write otherwise, and means the same: the content is the same, too.
const SAME: &[(Kind, &str)] = &[
    (Kind::Video, "f.attrs['format'] = 'reelscale-shard'"),
    (Kind::Video, "f.attrs['format'] = np.array(['reelscale-shard'], 'S20')"),
    (Kind::Video, "f.attrs['source'] = np.bytes_('')"),
    (
        Kind::Video,
        "t = h5py.h5t.C_S1.copy(); t.set_size(20); t.set_strpad(h5py.h5t.STR_SPACEPAD); \
         del f.attrs['format']; s = h5py.h5s.create(h5py.h5s.SCALAR); \
         a = h5py.h5a.create(f.id, b'format', t, s); \
         a.write(np.array(b'reelscale-shard     ', 'S20'), t)",
    ),
    (
        Kind::Video,
        "del f.attrs['format']; \
         f.attrs.create('format', 'reelscale-shard', dtype=h5py.string_dtype('ascii'))",
    ),
    (Kind::Video, "f.attrs['version'] = np.array([1])"),
    (Kind::Video, "f.attrs['version'] = np.int8(1)"),
    (Kind::Video, "f.attrs['class_count'] = np.array([[50]], '>i2')"),
    (
        Kind::Video,
        "x = f['features'][:]; del f['features']; \
         f.create_dataset('features', data=x, chunks=(2, 300), compression=4, shuffle=True)",
    ),
    (Kind::Video, "x = f['features'][:]; del f['features']; f['features'] = x"),
    (Kind::Video, "x = f['ids'][:]; del f['ids']; f['ids'] = x.astype('S99')"),
    (Kind::Video, "f.move('labels', 'x'); f['labels'] = h5py.SoftLink('/x')"),
    (Kind::Frames, "a = f['frames'].attrs; a['scale'] = np.array([a['scale']], 'f8')"),
];

#[test]
fn odd_but_same_content_is_taken() {
    for (code, before, after) in digests(SAME) {
        assert_eq!(after, before, "{code}");
    }
}

/// What changes what is trained, and so the content.
const OTHER: &[(Kind, &str)] = &[
    (Kind::Video, "f['features'][4, 699] += np.float32(0.25)"),
    (Kind::Video, "f['ids'][4] = b'v'"),
    (Kind::Video, "f.attrs['class_count'] = 51"),
    (Kind::Video, "f['labels'][0] += 1"),
    (
        Kind::Video,
        "f.attrs['feature_parts'] = json.dumps([dict(name='rgb', size=698), \
         dict(name='audio', size=2)])",
    ),
    (
        Kind::Video,
        "f.attrs['feature_parts'] = json.dumps([dict(name='rgb', size=697), \
         dict(name='sound', size=3)])",
    ),
    (Kind::Frames, "f['frames'].attrs['scale'] = 0.5"),
    (Kind::Frames, "f['frames'].attrs['offset'] = 0.5"),
    (Kind::Frames, "f['frame_offsets'][1] = 1"),
    (Kind::Frames, "f['frames'][0, 0] += 1"),
];

#[test]
fn other_content_has_another_digest() {
    for (code, before, after) in digests(OTHER) {
        assert_ne!(after, before, "{code}");
    }
}
