//! What is frozen travels: every class block passes every rank, whose rows stay at home.
//!
//! Shared step and evaluation. The owner broadcasts a block while those before it are worked on:
//! a rank holds one and those on their way besides its own. Blocks come in order: what a row sums
//! over them has the same bits whoever owns what.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::comm::{Comm, Exchange};
use crate::device::Pace;
use crate::model::Layout;
use crate::model::experts::Experts;

/// Blocks on their way, where nothing says that more are needed. A rank can only pass on a block to
/// one that has come to it: with one on its way, each waits for its neighbours at every block; with
/// two, a block's time has room for that.
pub const AHEAD: usize = 2;

/// Calls `visit` with the layout and the weights of each class block in order, on every rank, while
/// the next `ahead` ones, as many on all ranks, are on their way; a rank that has failed must take
/// part, too, since others go on. By polling the `Pace` that it is given, `visit` lets the next
/// blocks arrive meanwhile. Ranks have to agree afterwards: a block that arrived damaged is zeros
/// until then.
pub fn visit_blocks(
    comm: &Comm,
    experts: &Experts,
    ahead: usize,
    mut visit: impl FnMut(&Layout, &Arc<Vec<f32>>, &mut Pace),
) {
    let (count, stop) = (experts.layouts.len(), comm.stop());
    let stopped = || stop.asked();
    let own = |block: usize| &experts.parameters[block - experts.own().start];
    let mut visit = |block: usize, weights: &Arc<Vec<f32>>, poll: &mut dyn FnMut()| {
        visit(&experts.layouts[block], weights, &mut Pace::new(poll, &stopped));
    };
    if comm.size() == 1 {
        (0..count).for_each(|block| visit(block, own(block), &mut || ()));
        return;
    }
    let owned = experts.own();
    let start = |block: usize| -> Exchange<f32> {
        let room = match owned.contains(&block) {
            true => own(block).to_vec(),
            false => vec![0.0; experts.layouts[block].parameters()],
        };
        comm.start_broadcast(format!("class block {block}"), experts.owners.owner(block), room)
    };
    let mut arriving: VecDeque<_> = (0..count.min(ahead)).map(start).collect();
    for block in 0..count {
        let here = Arc::new(arriving.pop_front().expect("it has been started").wait());
        arriving.extend((block + ahead < count).then(|| start(block + ahead)));
        visit(block, &here, &mut || {
            // One that isn't here yet moves all that are on their way.
            arriving.iter_mut().all(Exchange::poll);
        });
    }
}

/// The mixtures of all classes on every rank, each block passed on once by its owner; copies beside
/// what its owner has. Ranks have to agree afterwards, as after `visit_blocks`.
pub(crate) fn gather_blocks(comm: &Comm, experts: &Experts) -> Experts {
    let mut parameters = Vec::with_capacity(experts.layouts.len());
    visit_blocks(comm, experts, AHEAD, |_, weights, _| parameters.push(weights.clone()));
    let layouts = experts.layouts.clone();
    let owners = Comm::serial().deal(layouts.len());
    Experts { layouts, owners, parameters }
}
