//! House rules that run as tests: floors and borders (ARCHITECTURE.md), sizes, openings.

use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each module; a module imports only from lower ones.
const FLOORS: &[(&[&str], u8)] = &[
    (&["commands"], 8),
    (&["train"], 7),
    (&["inference", "cost"], 6),
    (&["flow", "artifact", "checkpoint"], 5),
    (&["comm", "data", "device", "folder", "formats", "job", "report", "launch", "signals"], 4),
    (&["optim"], 3),
    (&["model", "metrics", "synthetic", "limits"], 2),
    (&["kernel", "partition"], 1),
    (
        &[
            "error", "rng", "team", "human", "packed", "tell", "disk", "clock", "progress",
            "labels", "example", "names", "system", "apart", "tree", "fields", "encoding",
            "caught", "stint",
        ],
        0,
    ),
];

/// Imports within a floor that are meant: which module may use which of its own floor.
const NEIGHBOURS: &[(&str, &str)] = &[
    // Which memory the scores of a wave take is known where they are made.
    ("cost", "inference"),
    // The planned model of synthesized data is a model.
    ("synthetic", "model"),
    // Who works or changes files says so.
    ("team", "progress"),
    ("disk", "progress"),
    // Who waits for what is made ahead says so.
    ("team", "stint"),
    // An error shows what others have named.
    ("error", "human"),
    // Which file this program is only the system knows.
    ("apart", "system"),
    // Features are stored by their parts.
    ("encoding", "example"),
    // The run record holds the job.
    ("report", "job"),
    // Events for TensorBoard are TFRecords.
    ("report", "formats"),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Path relative to the project, and text, of every Rust file below `folder`.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} holds files");
    let name = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|floor| floor.0.contains(&module)).map(|floor| floor.1)
}

/// `src/model/spec.rs` -> `model`.
fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap();
    inner.split(['/', '.']).next().unwrap()
}

#[test]
fn modules_import_from_lower_floors_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let own = module_of(&path);
        if ["lib", "internals", "main"].contains(&own) {
            continue;
        }
        let floor = floor_of(own).unwrap_or_else(|| panic!("{path} has no floor"));
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for part in line.split("crate::").skip(1) {
                let names =
                    part.trim_start_matches('{').split(',').filter(|_| part.starts_with('{'));
                let first = part.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                let names: Vec<&str> =
                    names.chain(first).map(|n| n.trim().trim_end_matches("};")).collect();
                for name in names {
                    let Some(other) = floor_of(name) else { continue };
                    let meant = NEIGHBOURS.contains(&(own, name));
                    if name != own && other >= floor && !meant {
                        wrong.push(format!("{path}:{}: {own} imports {name}", index + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_are_listed_by_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("src/internals.rs")).unwrap();
    let (mut listed, mut floor) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("// floor ") {
            floor = Some(rest[..1].parse().unwrap());
        } else if let Some((_, module)) = line.split_once("mod ")
            && let Some(module) = module.strip_suffix(';')
        {
            assert_eq!(floor_of(module), floor, "{module}");
            listed.push(module);
        }
    }
    let missing: Vec<_> =
        FLOORS.iter().flat_map(|floor| floor.0).filter(|module| !listed.contains(module)).collect();
    assert!(missing.is_empty(), "src/internals.rs lacks {missing:?}");
}

/// What is named, and the places that may name it.
const BORDERS: &[(&str, &[&str])] = &[
    ("mpi::", &["src/comm/mpi/", "src/comm/communicator.rs", "src/comm/process.rs"]),
    ("hdf5::", &["src/data/", "src/artifact/"]),
    ("hdf5_sys::", &["src/data/"]),
    ("nix::", &["src/comm/", "src/signals/"]),
    // What only Linux has stands in one place, beside what does instead.
    ("\"/proc", &["src/system.rs"]),
    ("/proc/\"", &["src/system.rs"]),
    ("target_os", &["src/system.rs"]),
    ("clap::", &["src/commands/"]),
    ("use parquet::", &["src/formats/table/parquet/"]),
    ("cudarc::", &["src/device/gpu/cuda.rs"]),
    ("opencl3::", &["src/device/gpu/opencl.rs"]),
    // Within the library modules go by their own names, which floors are checked by.
    ("internals::", &["src/lib.rs", "src/main.rs"]),
    // Flows, training and inference compute through a device.
    (
        "crate::kernel",
        &[
            "src/kernel/",
            "src/model/",
            "src/metrics/top.rs",
            "src/synthetic.rs",
            "src/optim/",
            "src/device/",
            "src/data/",
            "src/artifact/",
            "src/cost/",
            "src/commands/bench/",
            "gpu-check/src/",
        ],
    ),
    // They panic where nobody takes what they print.
    ("println!", &["gpu-check/src/"]),
    ("print!", &[]),
    ("eprintln!", &["gpu-check/src/"]),
    ("eprint!", &[]),
    ("dbg!", &[]),
    // Who owns what is decided once; cost/ asks of ranks that are not there.
    ("Owners::even", &["src/partition/", "src/comm/", "src/cost/", "src/model/experts.rs"]),
    ("Owners::in_shares", &["src/partition/", "src/comm/", "src/cost/"]),
    ("rustix::stdio", &["src/tell.rs", "src/commands/out.rs"]),
];

/// What changes the file system; only `disk` does, and whoever keeps a scratch file that has no
/// name.
const CHANGES: &[&str] = &[
    "fs::write(",
    "fs::rename(",
    "fs::remove_file(",
    "fs::remove_dir(",
    "fs::remove_dir_all(",
    "fs::create_dir(",
    "fs::create_dir_all(",
    "fs::hard_link(",
    "File::create(",
    "File::create_new(",
];

/// Files that still change the file system by themselves.
const STILL: &[&str] =
    &["src/commands/bench/mod.rs", "src/commands/synthesize.rs", "src/flow/own_rows.rs"];

#[test]
fn only_the_disk_changes_files_and_arithmetic_knows_none() {
    for (path, text) in sources("src") {
        let own = module_of(&path);
        if own == "disk" {
            continue;
        }
        // Tests stand at the end of a file.
        let text = text.split("#[cfg(test)]").next().unwrap();
        for name in CHANGES {
            // Not HDF5's files and not types of other names.
            let before = |at: usize| text[..at].strip_suffix("::").unwrap_or(&text[..at]);
            let other = |at: usize| {
                before(at).ends_with("hdf5") || text[..at].ends_with(|c: char| c.is_alphanumeric())
            };
            let named = text.match_indices(name).any(|(at, _)| !other(at));
            assert!(!named || STILL.contains(&&*path), "{path} names {name}");
        }
        let small = ["labels", "example", "rng", "tree"];
        let arithmetic =
            small.contains(&own) || floor_of(own).is_some_and(|floor| (1..=3).contains(&floor));
        let names = ["std::fs", "crate::disk", "File::", "crate::clock"];
        let knows = names.iter().any(|name| text.contains(name));
        assert!(!arithmetic || !knows, "{path} knows files or clocks");
    }
}

#[test]
fn borders_hold() {
    for (path, text) in ["src", "gpu-check/src"].map(sources).concat() {
        for (name, places) in BORDERS {
            let names_it = |line: &str| {
                line.match_indices(name)
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            let named =
                text.lines().any(|line| !line.trim_start().starts_with("//") && names_it(line));
            let allowed = places.iter().any(|place| path.starts_with(place));
            assert!(!named || allowed, "{path} names {name}");
        }
    }
}

/// Clippy demands reasons of the library and the program; here also of tests, benches, examples and
/// fuzzing. Methods of a trait stand by what the trait says.
#[test]
fn nothing_unsafe_stands_without_its_reason() {
    let keyword = |next| format!("{} {next}", "unsafe");
    let [opens, implements, function] = ["{", "impl ", "fn "].map(keyword);
    let mut wrong = Vec::new();
    let folders = ["src", "tests", "examples", "benches", "fuzz/src", "gpu-check/src"];
    for (path, text) in folders.map(sources).concat() {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| !is_comment(line)) {
            let near = &lines[index.saturating_sub(4)..index];
            let reasoned = near.iter().any(|line| line.contains("// SAFETY: "));
            let documents = |line: &&&str| is_comment(line) || line.starts_with("#[");
            let mut docs = lines[..index].iter().rev().take_while(documents);
            let own = line.starts_with("pub") || line.starts_with("unsafe ");
            let block = line.contains(&opens) || line.contains(&implements);
            let fine = !block || reasoned;
            if !fine || own && line.contains(&function) && !docs.any(|doc| doc.contains("# Safety"))
            {
                wrong.push(format!("{path}:{}: {line}", index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "no reason is given:\n{}", wrong.join("\n"));
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn files_are_small_and_say_what_they_are_for() {
    for folder in ["src", "tests", "examples", "fuzz/src", "gpu-check/src"] {
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//! "), "{path} doesn't say what it answers for");
            let lines = text.lines().count();
            assert!(lines <= 400, "{path} has {lines} lines");
            let unfinished = ["todo", "unimplemented"].map(|name| format!("{name}!("));
            for (index, line) in text.lines().enumerate() {
                let width = line.chars().count();
                // Messages in tests and formats may not be broken by rustfmt.
                assert!(width <= 100, "{path}:{}: {width} columns", index + 1);
                assert!(!unfinished.iter().any(|word| line.contains(word)), "{path}:{}", index + 1);
            }
        }
    }
}

/// Tables, code and pictures can't be broken; all else in the documents can.
#[test]
fn prose_of_the_documents_is_narrow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["", "docs", "jobs", "hdf5-data", "slurm", "gpu-check", "tests/data"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            for (index, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
                let kept = ["|", "    ", "!["].iter().any(|start| line.starts_with(start));
                let width = line.chars().count();
                assert!(kept || width <= 120, "{}:{}: {width}", path.display(), index + 1);
            }
        }
    }
}

#[test]
fn the_catalogue_of_faults_names_tests_that_are_there() {
    let catalogue = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let all = [sources("tests"), sources("src")].concat();
    let is_there = |name: &str| {
        let (file, test) = name.rsplit_once("::").expect("file::test");
        let (file, test) = (format!("/{}.rs", file.replace("::", "/")), format!("fn {test}("));
        all.iter().any(|(path, text)| path.ends_with(&file) && text.contains(&test))
    };
    let mut faults = 0;
    for line in fs::read_to_string(catalogue).unwrap().lines() {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let number = columns.get(1).and_then(|number| number.parse::<usize>().ok());
        let Some(number) = number else { continue };
        faults += 1;
        assert_eq!(number, faults, "one row for each fault");
        columns[4].split(", ").for_each(|test| assert!(is_there(test), "{number}: no {test}"));
    }
    assert_eq!(faults, 35);
}
