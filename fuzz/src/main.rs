//! libFuzzer around one target: the one that `FUZZ_TARGET` names. `make fuzz` builds and runs it.

#![no_main]

mod memory;
mod targets;
#[path = "../../tests/common/tfrecords.rs"]
#[allow(dead_code)]
mod tfrecords;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use reelscale::internals::caught::is_catching;

static NAME: OnceLock<String> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        assert!(targets::TARGETS.iter().any(|target| target.0 == name), "no target {name:?}");
        NAME.set(name).expect("set once");
        // libFuzzer's own hook ends the process at every panic, also at those that are caught.
        let ends = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !is_catching() {
                ends(panic);
            }
        }));
    },
    |bytes: &[u8]| targets::run(NAME.get().expect("set"), bytes)
);
