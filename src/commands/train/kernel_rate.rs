//! What the processor's kernel does on these ranks while nothing else is asked of them: what the
//! rate of the expert step is a share of, in the report at the end.

use std::time::Instant;

use crate::comm::Comm;
use crate::commands::bench::mixture::rate_of_core;
use crate::device::host::Instructions;
use crate::model::LANES;
use crate::model::annotator::Annotator;
use crate::model::experts::{Experts, layouts};

/// Numbers of the class block that it is measured on, about: a tenth of a second, where sixteen
/// classes don't have more.
const NUMBERS: usize = 1 << 18;

/// Floating-point operations a second of all threads of all ranks at once, in the gradient of the
/// expert step, on mixtures such as the first of `annotator`. Collective.
pub(super) fn measured(
    comm: &Comm,
    annotator: &Annotator,
    kernel: Instructions,
    threads: usize,
) -> f64 {
    let (counts, width) = (annotator.experts.counts(), annotator.layers.outputs());
    let of_class = (2 * counts.first().copied().unwrap_or(1) + 1) * (width + 1);
    let classes = (NUMBERS / of_class).next_multiple_of(LANES).min(counts.len());
    let cut = layouts(&counts[..classes], annotator.shape.dummy, width, 1);
    let owners = Comm::serial().deal(cut.len());
    let experts = &Experts::new(cut, owners, 7, 0);
    comm.barrier();
    let of_thread = || {
        let began = Instant::now();
        rate_of_core(kernel, 1, experts, 1, &|| began.elapsed().as_secs_f64())
    };
    let own: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(of_thread)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum()
    });
    comm.all_gather(&[own]).into_iter().sum()
}
