//! Files that numpy writes, by Python.

use std::path::Path;
use std::process::Command;

/// Runs `code`, which has numpy as `np`, in `folder`. False, and a line that says so, where there
/// is no Python with numpy.
///
/// # Panics
/// What the code does wrong.
pub fn numpy(folder: &Path, code: &str) -> bool {
    for python in ["/usr/bin/python3", "python3"] {
        let found = Command::new(python).args(["-c", "import numpy"]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            continue;
        }
        let code = format!("import numpy as np\n{code}");
        let output = Command::new(python).current_dir(folder).args(["-c", &code]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return true;
    }
    println!("skipped: no python3 with numpy");
    false
}
