//! What is frozen travels: every class block passes every rank, whose rows stay at home.
//!
//! Shared step and evaluation. The owner broadcasts a block while the one before it is worked on,
//! so a rank holds two blocks besides its own. Blocks come in order, so what a row sums over them
//! has the same bits whoever owns what.

use crate::comm::Comm;
use crate::kernel::mixture::Block;
use crate::model::experts::Experts;

/// Calls `visit` with each class block in order, on every rank. `visit` calls the function it is
/// given between pieces of work, so that the next block gets on its way. Ranks have to agree
/// afterwards: a block that arrived damaged is zeros until then.
pub fn visit_blocks(
    comm: &Comm,
    experts: &Experts,
    mut visit: impl FnMut(Block, &mut dyn FnMut()),
) {
    let count = experts.layouts.len();
    if comm.size() == 1 {
        (0..count).for_each(|block| visit(experts.block(block), &mut || ()));
        return;
    }
    let own = experts.own();
    let fetch = |block: usize, during: &mut dyn FnMut(&mut dyn FnMut())| -> Vec<f32> {
        let mut arriving = match own.contains(&block) {
            true => experts.block(block).parameters.to_vec(),
            false => vec![0.0; experts.layouts[block].parameters()],
        };
        let what = format!("class block {block}");
        comm.broadcast_during(what, experts.owners.owner(block), &mut arriving, during);
        arriving
    };
    let mut here = fetch(0, &mut |_| ());
    for block in 0..count {
        let layout = &experts.layouts[block];
        let mut work = |poll: &mut dyn FnMut()| {
            visit(Block { layout, parameters: &here }, poll);
        };
        if block + 1 < count {
            let next = fetch(block + 1, &mut work);
            here = next;
        } else {
            work(&mut || ());
        }
    }
}
