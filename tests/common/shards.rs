//! Small shards, and h5py to look at them and to change them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reelscale::internals::data::{Dataset, Kind, ShardHeader, ShardInfo, ShardWriter, find};
use reelscale::internals::example::{Example, FeaturePart, Values};
use reelscale::internals::labels::Labels;

pub const WIDTH: usize = 700;

pub fn header(kind: Kind) -> ShardHeader {
    let part = |name: &str, size| FeaturePart { name: name.into(), size };
    let parts = vec![part("rgb", WIDTH - 3), part("audio", 3)];
    ShardHeader { parts, class_count: 50, kind, source: "a test".into() }
}

pub fn example(row: usize, kind: Kind) -> Example {
    let labels =
        (0u32..50).filter(|class| ((row as u32 + 1) * (class + 3)).is_multiple_of(17)).collect();
    let value = |at: usize| ((row * WIDTH + at) % 1009) as f32 * 0.25 - 100.0;
    let values = match kind {
        Kind::Video => Values::Video((0..WIDTH).map(value).collect()),
        Kind::Frames => Values::Frames((0..row % 4 * WIDTH).map(|at| (row + at) as u8).collect()),
    };
    Example { id: format!("v{row}").into_bytes(), labels, values }
}

pub fn write(path: &Path, rows: std::ops::Range<usize>, kind: Kind) {
    let mut writer = ShardWriter::create(path, &header(kind)).unwrap();
    rows.for_each(|row| writer.push(&example(row, kind)).unwrap());
    writer.finish().unwrap();
}

/// The labels of the shards that `pattern` names, as `evaluate --labels` takes them.
pub fn labels_csv(pattern: &Path) -> String {
    let paths = find(&[pattern.display().to_string()]).unwrap();
    let infos = paths.iter().map(|path| ShardInfo::read(path).unwrap()).collect();
    let dataset = Dataset::new(infos).unwrap();
    let (mut own, mut reader) = (Labels::new(), dataset.reader());
    reader.labels(0..dataset.rows(), &mut own).unwrap();
    let mut text = String::from("VideoId,Labels\n");
    for (row, id) in reader.ids(0..dataset.rows()).unwrap().iter().enumerate() {
        let classes: Vec<String> = own.row(row).iter().map(u32::to_string).collect();
        text += &format!("{},{}\n", String::from_utf8_lossy(id), classes.join(" "));
    }
    text
}

/// A Python that has h5py, and numpy with it; none, and a line that says so, where there is none.
pub fn h5py() -> Option<&'static str> {
    let works = |python: &&str| {
        let mut command = Command::new(python);
        let status = command.args(["-c", "import h5py"]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(works);
    if found.is_none() {
        println!("skipped: no python3 with h5py");
    }
    found
}

/// Runs each code with the file that h5py has opened as `f` in `mode`, all in one process; false
/// where there is no h5py.
pub fn python(mode: &str, files: &[(PathBuf, String)]) -> bool {
    let Some(interpreter) = h5py() else { return false };
    let script = "import h5py, json, sys, numpy as np\n\
                  for path, code in zip(sys.argv[2::2], sys.argv[3::2]):\n    \
                      with h5py.File(path, sys.argv[1]) as f: exec(code, dict(globals()))";
    let mut command = Command::new(interpreter);
    command.args(["-c", script, mode]);
    for (path, code) in files {
        command.arg(path).arg(code);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// Changes shards as ones without proof: of version 1, whose writer is unknown.
pub fn change(files: &[(PathBuf, &str)]) -> bool {
    let code = |code| format!("f.attrs.modify('version', np.uint64(1))\n{code}");
    let files: Vec<_> = files.iter().map(|file| (file.0.clone(), code(file.1))).collect();
    python("r+", &files)
}
