//! libFuzzer around one target: the one that `FUZZ_TARGET` names. `make fuzz` builds and runs it.

#![no_main]

mod memory;
mod targets;
#[path = "../../tests/common/tfrecords.rs"]
#[allow(dead_code)]
mod tfrecords;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static NAME: OnceLock<String> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        assert!(targets::TARGETS.iter().any(|target| target.0 == name), "no target {name:?}");
        NAME.set(name).expect("set once");
    },
    |bytes: &[u8]| targets::run(NAME.get().expect("set"), bytes)
);
