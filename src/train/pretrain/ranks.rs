//! The ranks that pretraining runs on: the first so many, of which the first speaks to the user and
//! writes common files. The others wait: they come to each boundary, and at the end of an epoch get
//! what has been learned.

use std::rc::Rc;

use crate::comm::Comm;
use crate::cost::grid::{Machine, NETWORK};
use crate::cost::pretraining::{MiniBatchWork, pretraining_ranks};
use crate::flow::grid::Lanes;
use crate::job::Job;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::model::features::FRAMES_MAX;
use crate::model::parameters;
use crate::model::shared::SharedLayers;
use crate::partition::{Blocks, Grid, Owners, groups};
use crate::train::Data;
use crate::train::grid::RanksHave;
use crate::train::setting::{fit, fit_on_devices, shape_of};

/// The ranks that pretrain, among all.
#[derive(Clone)]
pub(crate) struct Learners<'a> {
    all: &'a Comm,
    count: usize,
    /// They are a row of a grid that leaves the others over.
    lanes: Rc<Lanes<'a>>,
}

impl<'a> Learners<'a> {
    /// The first `count` of `all`. Collective.
    pub(crate) fn new(all: &'a Comm, count: usize) -> Learners<'a> {
        let grid = Grid::new((1, count), 1, all.size(), all.rank());
        Learners { all, count, lanes: Rc::new(Lanes::new(all, &grid)) }
    }

    pub(crate) fn all(&self) -> &'a Comm {
        self.all
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether some ranks wait.
    pub(crate) fn are_some(&self) -> bool {
        self.count < self.all.size()
    }

    /// The group in which pretraining's exchanges happen. None: this rank waits.
    pub(crate) fn comm(&self) -> Option<&Comm> {
        self.lanes.row()
    }

    /// Who of all ranks has which of so many class blocks or groups of rows.
    pub(crate) fn deal(&self, blocks: usize) -> Owners {
        self.all.deal_to_first(self.count, blocks)
    }

    /// Says so, once, where some wait.
    pub(crate) fn tell(&self) {
        if self.are_some() && self.all.is_root() {
            log::info!("pretraining on {} of {} ranks", self.count, self.all.size());
        }
    }
}

/// Multiply-adds of a row, of which so many frames are drawn, on its way through `layers`.
fn multiply_adds(layers: &SharedLayers, frames: usize) -> usize {
    let of_frames = layers.frame_network().len();
    let places = layers.places.iter().enumerate();
    let each = places.map(|(index, place)| {
        let times = if index < of_frames { frames } else { 1 };
        times * place.inputs * place.outputs
    });
    each.sum()
}

/// On how many of `ranks` ranks like `machine` this job pretrains, whose memory suffices for those
/// that `fits`.
pub(crate) fn learner_count(
    job: &Job,
    shape: &Shape,
    rows: (usize, usize),
    (ranks, machine): (usize, &Machine),
    fits: &dyn Fn(usize) -> bool,
) -> usize {
    match job.pretrain.ranks {
        _ if job.pretrain.epochs == 0 => ranks,
        0 => {
            let (rows, row_blocks) = rows;
            let layers = shape.shared_layers();
            // 0: all of them.
            let frames = match job.pretrain.frames {
                0 => FRAMES_MAX,
                drawn => drawn,
            };
            let small = vec![job.pretrain.experts; shape.class_count];
            let cut = layouts(&small, shape.dummy, layers.outputs(), shape.class_blocks);
            let blocks = parameters(&cut);
            let most = groups(job.pretrain.batch, job.pretrain.groups);
            let work = MiniBatchWork {
                blocks: &blocks,
                width: layers.outputs(),
                rows: job.pretrain.batch.min(rows),
                groups: Blocks::even(row_blocks, most).len(),
                shared: layers.parameters(),
                layers: multiply_adds(&layers, frames),
                features: shape.parts.iter().map(|part| part.size).sum(),
                frames: if shape.pooling.is_some() { frames } else { 0 },
            };
            pretraining_ranks(&work, ranks, &NETWORK, machine, fits)
        }
        count => count.min(ranks),
    }
}

/// The same on the ranks that are there, alike on all. Collective.
pub(crate) fn learners_of(
    comm: &Comm,
    job: &Job,
    data: &Data,
    (grid, have): (&Grid, RanksHave),
) -> usize {
    let shape = shape_of(job, data);
    let fits = |count: usize| {
        let of = (data, &shape);
        let on_devices = |limit| fit_on_devices(comm, job, of, ((grid, count), limit));
        fit(comm, job, of, (grid, count)) && have.device_limit.is_none_or(on_devices)
    };
    let rows = (data.train.rows(), data.train.blocks.len());
    let own = learner_count(job, &shape, rows, (comm.size(), &have.machine()), &fits);
    // Whatever ranks were told differently.
    comm.max(own as u64) as usize
}
