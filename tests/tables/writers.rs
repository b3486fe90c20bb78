//! HDF5 as PyTables, pandas and hdf5storage (MATLAB 7.3) themselves write it.

use super::common::place::Place;
use super::packages;
use super::records::{refused, same};
use super::{ROWS, numpy::numpy};

/// The rows of `ROWS` in what PyTables has: arrays, compressed ones, lists, a table of records; in
/// pandas' table; as MATLAB's matrices and cells.
const WRITERS: &str = r##"
import tables, pandas, hdf5storage
texts = [str(i).encode() for i in ids]
zlib, blosc = tables.Filters(5, "zlib", shuffle=True), tables.Filters(5, "blosc")
with tables.open_file("py.h5", "w", title="rows") as to:
    to.create_array("/", "rgb", obj=rgb)
    to.create_carray("/", "audio", obj=audio, filters=zlib)
    to.create_array("/", "hot", obj=hot)
    to.create_earray("/", "ids", obj=np.array(texts), filters=zlib)
    to.create_carray("/", "blosc", obj=rgb, filters=blosc)
    made = to.create_vlarray("/", "lists", tables.Int32Atom())
    for row in lists: made.append(row)
    class Row(tables.IsDescription):
        id, n = tables.StringCol(40), tables.Int32Col()
        rgb, audio = tables.Float32Col(shape=(6,)), tables.Float32Col(shape=(3,))
        hot = tables.BoolCol(shape=(5,))
    made = to.create_table("/group", "rows", Row, createparents=True, filters=zlib)
    for i in range(70):
        made.row["id"], made.row["rgb"], made.row["audio"] = texts[i], rgb[i], audio[i]
        made.row["hot"] = hot[i]
        made.row.append()
frame = {f"x{i}": x for i, x in enumerate(np.concatenate([rgb, audio], axis=1).T)}
frame |= {f"y{i}": y.astype("u1") for i, y in enumerate(hot.T)} | {"id": [str(i) for i in ids]}
pandas.DataFrame(frame).to_hdf("frame.h5", key="all", format="table", data_columns=True)
matlab = {"rgb": rgb.astype("f8"), "audio": audio, "hot": hot}
matlab["ids"] = np.array([str(i) for i in ids], object)
hdf5storage.savemat("seven.mat", matlab, format="7.3")
five = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM" + bytes(500)
open("five.mat", "wb").write(five)
"##;

#[test]
fn files_of_other_programs_hold_the_same_rows() {
    let place = Place::new();
    let needed = [
        "numpy==2.4.6",
        "tables==3.11.1",
        "numexpr==2.14.2",
        "packaging==26.4",
        "py-cpuinfo==9.0.0",
        "blosc2==4.14.1",
        "ndindex==1.10.1",
        "msgpack==1.2.4",
        "typing_extensions==4.16.0",
        "pandas==3.1.1",
        "python-dateutil==2.9.0.post0",
        "six==1.17.0",
        "h5py==3.16.0",
        "hdf5storage==0.2.2",
    ];
    let imports = "numpy, tables, pandas, hdf5storage";
    let Some(mut python) = packages::python("writers-python", &needed, imports) else { return };
    if !numpy(&place.path(""), ROWS) {
        return;
    }
    let code = format!("import numpy as np\n{ROWS}{WRITERS}");
    let output = python.current_dir(place.path("")).args(["-c", &code]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    same(
        &place,
        &[
            "--features rgb,audio --labels hot --ids ids".into(),
            "--features rgb,audio --labels lists --classes 5 --ids ids".into(),
            "--features group/rows/rgb,group/rows/audio --labels group/rows/hot --ids ids".into(),
            "--features rgb,audio --labels hot --ids group/rows/id --comm threads=2".into(),
        ],
        "py.h5",
    );
    let frame = "--features all/table/x0..x8 --labels all/table/y* --ids all/table/id";
    same(&place, &[frame.into()], "frame.h5");
    same(&place, &["--features rgb,audio --labels hot --ids ids".into()], "seven.mat");
    let blosc = "blosc: found the filter 32001 (Blosc), which isn't there; hint: h5repack";
    let five =
        "five.mat: found a MATLAB file of version 7 or before, expected an HDF5 file; hint: save";
    refused(
        &place,
        &[
            ("--features blosc --classes 2", &["py.h5"], blosc),
            ("--features rgb --classes 2", &["five.mat"], five),
        ],
    );
}
