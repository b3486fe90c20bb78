//! What is frozen travels: every class block passes every rank, whose rows stay at home.
//!
//! Shared step and evaluation. The owner broadcasts a block while the one before it is worked on,
//! so a rank holds two blocks besides its own. Blocks come in order, so what a row sums over them
//! has the same bits whoever owns what.

use std::sync::Arc;

use crate::comm::Comm;
use crate::device::Pace;
use crate::model::Layout;
use crate::model::experts::Experts;

/// Calls `visit` with the layout and the weights of each class block in order, on every rank; a
/// rank that has failed must take part, too, since others go on. By polling the `Pace` that it is
/// given, `visit` lets the next block arrive meanwhile. Ranks have to agree afterwards: a block
/// that arrived damaged is zeros until then.
pub fn visit_blocks(
    comm: &Comm,
    experts: &Experts,
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
    let fetch = |block: usize, during: &mut dyn FnMut(&mut dyn FnMut())| -> Arc<Vec<f32>> {
        let mut arriving = match owned.contains(&block) {
            true => own(block).to_vec(),
            false => vec![0.0; experts.layouts[block].parameters()],
        };
        let what = format!("class block {block}");
        comm.broadcast_during(what, experts.owners.owner(block), &mut arriving, during);
        Arc::new(arriving)
    };
    let mut here = fetch(0, &mut |_| ());
    for block in 0..count {
        let mut work = |poll: &mut dyn FnMut()| visit(block, &here, poll);
        if block + 1 < count {
            here = fetch(block + 1, &mut work);
        } else {
            work(&mut || ());
        }
    }
}
