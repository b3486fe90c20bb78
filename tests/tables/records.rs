//! HDF5 as MATLAB 7.3 and PyTables write it: texts and cells, tables of records.

use super::common::TestCommand;
use super::common::place::Place;
use super::numpy::numpy;
use super::{ROWS, hash};

/// The rows of `ROWS` as MATLAB has them: cells of texts in a column and in a row, a char matrix.
const MATLAB: &str = r##"
import h5py
names = [str(i) for i in ids]
words = [";".join("abcde"[k] for k in row) for row in lists]
def put(to, name, x, kind="double", **more):
    made = to.create_dataset(name, data=x, **more)
    made.attrs["MATLAB_class"] = np.bytes_(kind)
    return made
def text(to, name, value):
    units = np.frombuffer(value.encode("utf-16-le"), "<u2")
    if len(units): return put(to, name, units.reshape(-1, 1), "char").ref
    made = put(to, name, np.zeros(2, "u8"), "char")
    made.attrs["MATLAB_empty"] = np.uint8(1)
    return made.ref
def cells(to, name, values, shape):
    refs = [text(to, f"#refs#/{name}{i}", value) for i, value in enumerate(values)]
    put(to, name, np.array(refs, h5py.ref_dtype).reshape(shape), "cell", dtype=h5py.ref_dtype)
with h5py.File("a.mat", "w", userblock_size=512) as to:
    put(to, "rgb", rgb.astype("f8").T, compression="gzip")
    put(to, "audio", audio.T, "single")
    put(to, "hot", hot.astype("u1").T, "logical")
    cells(to, "column", names, (1, 70))
    cells(to, "row", names, (70, 1))
    cells(to, "words", words, (1, 70))
    cells(to, "square", names, (7, 10))
    padded = [i.ljust(12) for i in names]
    put(to, "chars", np.array([[ord(c) for c in i] for i in padded], "u2").T, "char")
    cells(to, "mixed", names, (1, 70))
    to["mixed"][0, 3] = put(to, "#refs#/number", np.ones((1, 1))).ref
    put(to, "classes", np.ones((70, 1)))
    put(to, "strings", np.zeros((1, 6), "u4"), "string").attrs["MATLAB_object_decode"] = np.int32(3)
    to["#subsystem#/MCOS"] = np.zeros((1, 3), "u4")
"##;

/// The same as tables of records: with records within them, an array's fields or many of them.
const RECORDS: &str = r#"
import h5py
inner = [("rgb", "<f8", (6,)), ("audio", ">f4", (3,))]
rows = np.zeros(70, [("id", "S40"), ("n", "i2"), ("f", inner), ("hot", "?", (5,))])
rows["id"] = [str(i).encode() for i in ids]
rows["f"]["rgb"], rows["f"]["audio"], rows["hot"] = rgb, audio, hot
columns = [(f"x{i}", "f4") for i in range(9)] + [(f"y{i}", "?") for i in range(5)]
wide = np.zeros(70, [("id", "S40")] + columns)
wide["id"] = rows["id"]
for i in range(9): wide[f"x{i}"] = np.concatenate([rgb, audio], axis=1)[:, i]
for i in range(5): wide[f"y{i}"] = hot[:, i]
with h5py.File("rows.h5", "w") as to:
    to.create_dataset("g/t", data=rows, chunks=(16,), compression="gzip", shuffle=True)
    to["other/x"] = rgb
    to["wide"] = wide
with h5py.File("some.h5", "w") as to: to["wide"] = wide[["id", "x0"]]
with h5py.File("any.h5", "w") as to:
    to["t"] = np.array([("a", 1.0)], [("id", h5py.string_dtype()), ("x", "f4")])
"#;

fn convert(place: &Place, options: &str, files: &[&str]) -> TestCommand {
    place.convert_as(&format!("convert --from hdf5 {options} --output"), "out", files)
}

fn npz(place: &Place) -> String {
    let options = "--features rgb,audio --labels labels --ids ids --parts rgb:6,audio:3";
    let command = format!("convert --from npz {options} --output");
    if !place.path("npz").exists() {
        place.convert_as(&command, "npz", &["a.npz"]).stdout();
    }
    hash(place, "npz")
}

pub fn same(place: &Place, ways: &[String], file: &str) {
    let expected = npz(place);
    for options in ways {
        convert(place, &format!("{options} --parts rgb:6,audio:3"), &[file]).stdout();
        assert_eq!(hash(place, "out"), expected, "{options}");
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
}

pub fn refused(place: &Place, cases: &[(&str, &[&str], &str)]) {
    for (options, files, expected) in cases {
        let text = convert(place, options, files).fails_with(4);
        assert!(text.contains(expected), "{options}: {text}");
    }
}

#[test]
fn texts_of_matlab_are_ids_and_names() {
    let place = Place::new();
    if !numpy(&place.path(""), &format!("{ROWS}{MATLAB}")) {
        return;
    }
    let features = "--features rgb,audio";
    let names = place.path("names.txt");
    same(
        &place,
        &[
            format!("{features} --labels hot --ids column"),
            format!("{features} --labels hot --ids row --comm threads=3"),
            format!("{features} --labels hot --ids chars"),
            format!("{features} --labels words --names {} --ids column", names.display()),
        ],
        "a.mat",
    );
    let mixed = "row 3: id: found a cell of MATLAB's class \"double\", expected a text (char)";
    let square = "square: found [7, 10] cells, expected one a row";
    let strings = "strings: found an array of MATLAB's class \"string\", which only MATLAB reads";
    let turned = "found rows 70 of rgb, 1 of classes, expected as many of each; hint: a row for";
    let file = &["a.mat"][..];
    refused(
        &place,
        &[
            ("--features rgb --classes 2 --ids mixed", file, mixed),
            ("--features rgb --classes 2 --ids square", file, square),
            ("--features rgb --classes 2 --ids strings", file, strings),
            ("--features rgb --labels classes --labels-as list --classes 2", file, turned),
        ],
    );
}

#[test]
fn fields_of_records_are_columns() {
    let place = Place::new();
    if !numpy(&place.path(""), &format!("{ROWS}{RECORDS}")) {
        return;
    }
    same(
        &place,
        &[
            "--features g/t/f/rgb,g/t/f/audio --labels g/t/hot --ids g/t/id".into(),
            "--features wide/x* --labels wide/y* --ids wide/id".into(),
            "--features wide/x0..wide/x8 --labels wide/y* --ids g/t/id --comm threads=2".into(),
        ],
        "rows.h5",
    );
    let wide = "--features wide/x* --classes 2 --ids wide/id";
    let fields = "g/t: found a table of records, expected one of its fields: g/t/id, g/t/n, g/t/f/";
    let lacking = "\"g/t/z\": not found; found g/t (not to be read), g/t/id (texts [rows])";
    let some = "some.h5: \"wide/x1\": found wide (not to be read), wide/id";
    let any = "t/x: found a table of records with parts of any length (\"id\")";
    refused(
        &place,
        &[
            ("--features g/t --classes 2", &["rows.h5"], fields),
            ("--features g/t/z --classes 2", &["rows.h5"], lacking),
            (wide, &["rows.h5", "some.h5"], some),
            ("--features t/x --classes 2", &["any.h5"], any),
        ],
    );
}
