//! What launches are given beside what the PTX declares: CUDA's driver is told no number of
//! arguments, it takes as many as that has.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use reelscale::internals::kernel::text::PTX;
use reelscale::internals::kernel::text::calls::{Argument, Launch};

/// Bytes of each argument of a launch, as the PTX is to declare them.
pub fn given(launch: &Launch) -> Vec<usize> {
    let bytes = |argument: &Argument| match argument {
        Argument::Int(_) | Argument::Word(_) | Argument::Float(_) => 4,
        Argument::Long(_) | Argument::Buffer(_) => 8,
    };
    launch.arguments.iter().map(bytes).collect()
}

/// Bytes of each parameter that the PTX declares for a kernel.
pub fn declared(kernel: &str) -> &'static [usize] {
    static ALL: OnceLock<BTreeMap<&str, Vec<usize>>> = OnceLock::new();
    let of = |entry: &'static str| {
        let (name, rest) = entry.split_once('(').unwrap();
        let parameters = rest.split(')').next().unwrap().split(".param .").skip(1);
        let bytes = parameters.map(|one| match &one[1..3] {
            "32" => 4,
            "64" => 8,
            _ => panic!("a parameter of {name}: {one}"),
        });
        (name, bytes.collect())
    };
    &ALL.get_or_init(|| PTX.split(".entry ").skip(1).map(of).collect())[kernel]
}
