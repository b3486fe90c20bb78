//! The recipes in packaging/, as far as they can be read here: that they say what Cargo.toml says.
//! `make test-dist` runs the container's steps.

use std::process::Command;

use serde_json::Value;

use super::{project, read};

/// Reads package.py as Python does and tells its calls, values and functions as JSON.
const READ: &str = "
import ast, json, sys
tree = ast.parse(open(sys.argv[1]).read())
package = next(node for node in tree.body if isinstance(node, ast.ClassDef))
calls = [node for node in ast.walk(package) if isinstance(node, ast.Call)]
named = [call for call in calls if isinstance(call.func, ast.Name)]
plain = lambda node: node.value if isinstance(node, ast.Constant) else ast.unparse(node)
print(json.dumps({
    'name': package.name,
    'bases': [base.id for base in package.bases],
    'imports': [node.module for node in tree.body if isinstance(node, ast.ImportFrom)],
    'functions': [node.name for node in package.body if isinstance(node, ast.FunctionDef)],
    'calls': [[call.func.id, [plain(value) for value in call.args],
               {word.arg: plain(word.value) for word in call.keywords}] for call in named],
}))
";

fn package() -> Value {
    let path = project("packaging/spack/spack_repo/reelscale/packages/reelscale/package.py");
    let told = Command::new("python3").args(["-c", READ]).arg(path).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).unwrap()
}

/// The value of a line of Cargo.toml: `rust-version = "1.89"`.
fn cargo(key: &str) -> String {
    let text = read("Cargo.toml");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
    line.unwrap_or_else(|| panic!("Cargo.toml has {key}")).trim_matches('"').to_string()
}

#[test]
fn spacks_recipe_says_what_cargo_does() {
    let package = package();
    assert_eq!(package["name"], "Reelscale");
    assert_eq!(package["bases"], serde_json::json!(["CargoPackage"]));
    let modules = ["pathlib", "spack_repo.builtin.build_systems.cargo", "spack.package"];
    assert_eq!(package["imports"], serde_json::json!(modules));
    let calls = |name: &str| -> Vec<&Value> {
        let all = package["calls"].as_array().unwrap().iter();
        all.filter(|call| call[0] == name).collect()
    };
    let needs: Vec<&str> =
        calls("depends_on").iter().map(|call| call[1][0].as_str().unwrap()).collect();
    let rust = format!("rust@{}:", cargo("rust-version"));
    assert!(needs.contains(&&*rust), "{needs:?}");
    for name in ["mpi", "llvm+clang", "hdf5@1.10.4:1.14 +shared~mpi", "cmake@3.26:"] {
        assert!(needs.contains(&name), "{name}: {needs:?}");
    }
    assert_eq!(calls("license")[0][1][0], cargo("license"));
    // A variant is a feature of the same name, and on where Cargo has it on.
    let default = cargo("default");
    for variant in calls("variant") {
        let name = variant[1][0].as_str().unwrap();
        assert!(!cargo(name).is_empty());
        assert_eq!(variant[2]["default"], default.contains(&format!("\"{name}\"")), "{name}");
        let used = package["calls"].to_string().contains(&format!("\"+{name}\""));
        assert!(used, "nothing asks for {name}");
    }
    assert_eq!(calls("variant").len(), 2);
}

#[test]
fn the_containers_recipe_is_whole() {
    let text = read("packaging/apptainer.def");
    let stages: Vec<&str> = text.split("\nBootstrap: ").skip(1).collect();
    assert_eq!(stages.len(), 2);
    for (stage, name) in stages.iter().zip(["build", "final"]) {
        assert!(stage.starts_with("docker\nFrom: debian:trixie-slim\n"), "{stage}");
        assert!(stage.contains(&format!("\nStage: {name}\n")), "{stage}");
    }
    let section = |stage: &str, name: &str| -> Vec<String> {
        let lines = stage.lines().skip_while(|line| *line != name).skip(1);
        lines.take_while(|line| !line.starts_with('%')).map(|line| line.trim().into()).collect()
    };
    for (stage, mpi) in stages.iter().flat_map(|stage| ["openmpi", "mpich"].map(|mpi| (stage, mpi)))
    {
        for name in ["%post", "%runscript", "%test", "%environment"] {
            let script = section(stage, name).join("\n").replace("{{ MPI }}", mpi);
            let read = Command::new("sh").args(["-n", "-c", &script]).output().unwrap();
            assert!(read.status.success(), "{name}: {read:?}");
        }
        assert!(section(stage, "%post")[0] == "set -eu", "a step that fails ends the build");
    }
    // What is copied is there, and is all that Cargo wants to be there.
    let copied: Vec<String> = section(stages[0], "%files")
        .iter()
        .filter_map(|line| line.split(' ').next())
        .map(String::from)
        .collect();
    for path in copied.iter().filter(|path| !path.is_empty()) {
        assert!(project(path).exists(), "{path}");
    }
    for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches", "examples", "Makefile"]
    {
        assert!(copied.iter().any(|path| path == needed), "{needed}: {copied:?}");
    }
}

#[test]
fn the_scripts_of_packages_can_be_read() {
    for path in ["packaging/dist.sh", "tests/packages/bare.sh", "tests/packages/apptainer.sh"] {
        let read = Command::new("bash").arg("-n").arg(project(path)).output().unwrap();
        assert!(read.status.success(), "{path}: {read:?}");
    }
}
