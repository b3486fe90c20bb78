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
use crate::partition::Owners;

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

/// Numbers of class blocks that change hands at once.
const HANDED_OVER: usize = 1 << 22;

/// The same mixtures where `owners` own the blocks: whoever owned one before gives it to whoever
/// owns it then; others stay where they are. Ranks have to agree afterwards: a block that arrived
/// damaged is zeros until then. Collective.
pub(crate) fn hand_over(comm: &Comm, experts: Experts, owners: Owners) -> Experts {
    let Experts { layouts, owners: before, parameters } = experts;
    let (rank, count) = (comm.rank(), layouts.len());
    assert_eq!((owners.blocks(), parameters.len()), (count, before.own().len()), "class blocks");
    let handed = |block: usize| match before.owner(block) == owners.owner(block) {
        true => 0,
        false => layouts[block].parameters(),
    };
    let mut here = parameters.into_iter();
    let mut own = Vec::with_capacity(owners.own().len());
    let mut from = 0;
    while from < count {
        // As many blocks as may be on their way at once, one at least: the same on all ranks.
        let (mut to, mut numbers) = (from, 0);
        while to < count && (to == from || numbers + handed(to) <= HANDED_OVER) {
            (to, numbers) = (to + 1, numbers + handed(to));
        }
        let wave = from..to;
        let mut blocks: Vec<Option<Arc<Vec<f32>>>> = wave
            .clone()
            .map(|block| if before.owner(block) == rank { here.next() } else { None })
            .collect();
        if numbers > 0 {
            let mut send = Vec::new();
            let (mut gives, mut takes) = (vec![0; comm.size()], vec![0; comm.size()]);
            for block in wave.clone().filter(|block| handed(*block) > 0) {
                let (giver, taker) = (before.owner(block), owners.owner(block));
                if giver == rank {
                    let weights = blocks[block - from].take().expect("an own block");
                    send.extend_from_slice(&weights);
                    gives[taker] += weights.len();
                }
                takes[giver] += if taker == rank { handed(block) } else { 0 };
            }
            let what = "class blocks for their new owners";
            let arrived = comm.start_all_to_all_v(what, (&send, &gives), &takes, numbers).wait();
            // Givers have runs of blocks in the order of ranks: so they arrive in their own order.
            let mut arrived = &arrived[..];
            for block in wave.clone().filter(|block| handed(*block) > 0) {
                if owners.owner(block) == rank {
                    let (weights, rest) = arrived.split_at(handed(block));
                    (blocks[block - from], arrived) = (Some(Arc::new(weights.to_vec())), rest);
                }
            }
        }
        own.extend(blocks.into_iter().flatten());
        from = to;
    }
    Experts { layouts, owners, parameters: own }
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
