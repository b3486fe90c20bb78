//! What a run is and never changes: its ranks, its job, its rows, the model's shape, the plan of
//! its memory; and the prolog that makes it. Who owns which rows may change between steps.

use std::ops::Range;

use super::balance::Speeds;
use super::data::Data;
use super::experts::InColumn;
use super::fit::{tell_of_idle_ranks, warn_of_memory, warn_of_short_slices};
use super::grid::{RanksHave, grid};
use super::pretrain::{Learners, learners_of};
use crate::comm::{Comm, same_on_all};
use crate::cost::budget::{Phase, Plan};
use crate::cost::device_memory::DevicePlan;
use crate::cost::grid::parts;
use crate::cost::ranks::Ranks;
use crate::data::Kind;
use crate::device::Host;
use crate::error::{Error, Exit, Result};
use crate::flow::grid::Lanes;
use crate::flow::home_rows::HomeRows;
use crate::flow::own_rows::Room;
use crate::human;
use crate::job::Job;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::{Experts, layouts};
use crate::model::{Layout, initial, parameters};
use crate::partition::{Columns, Grid, Owners, Place};

/// The shape of the model of a job on these data.
pub fn shape_of(job: &Job, data: &Data) -> Shape {
    let dataset = data.train.dataset();
    Shape {
        parts: dataset.parts().to_vec(),
        class_count: dataset.class_count(),
        normalize: job.data.normalize,
        standard: data.standard.as_deref().cloned(),
        frames: job.model.frames.clone(),
        pooling: (dataset.kind() == Kind::Frames).then_some(job.model.pooling),
        layers: job.model.shared.clone(),
        dummy: job.model.dummy,
        epsilon: job.model.epsilon,
        class_blocks: job.run.class_blocks,
    }
}

/// What a job on these data may take of memory, on these ranks, and how it keeps to that.
///
/// # Errors
/// Exit 9, common to all ranks: the byte budget can't be kept.
pub fn plan(comm: &Comm, job: &Job, data: &Data, grid: &Grid) -> Result<Plan> {
    let have = RanksHave::processors(job.run.threads);
    planned(comm, job, data, (grid, learners_of(comm, job, data, (grid, have))))
}

/// The same, where so many ranks pretrain.
pub(super) fn planned(comm: &Comm, job: &Job, data: &Data, ranks: (&Grid, usize)) -> Result<Plan> {
    let plan = with_ranks(comm, data, ranks, |ranks| {
        Plan::new(job, &shape_of(job, data), &data.experts, ranks, 0..comm.size())
    });
    comm.agree(plan)
}

/// Whether ranks that are a grid, of which so many pretrain, keep to the byte budget.
pub(super) fn fit(
    comm: &Comm,
    job: &Job,
    (data, shape): (&Data, &Shape),
    ranks: (&Grid, usize),
) -> bool {
    let plan = |ranks: &Ranks| Plan::new(job, shape, &data.experts, ranks, 0..comm.size()).is_ok();
    // Without a budget any plan does.
    job.run.memory_gib == 0.0 || with_ranks(comm, data, ranks, plan)
}

/// Whether the devices of all ranks suffice, each of which may take `limit` bytes of its own.
pub(super) fn fit_on_devices(
    comm: &Comm,
    job: &Job,
    (data, shape): (&Data, &Shape),
    (ranks, limit): ((&Grid, usize), usize),
) -> bool {
    with_ranks(comm, data, ranks, |ranks| {
        DevicePlan::all_fit(job, shape, &data.experts, (ranks, comm.size()), limit)
    })
}

/// What a job on these data and this grid takes of a rank's device, of which that may take `limit`
/// bytes.
///
/// # Errors
/// Exit 9: it doesn't suffice.
fn device_plan(
    setting: &Setting,
    (data, grid): (&Data, &Grid),
    (rank, limit): (usize, usize),
) -> Result<DevicePlan> {
    let Setting { comm, job, shape, learners, .. } = setting;
    with_ranks(comm, data, (grid, learners.count()), |ranks| {
        DevicePlan::new(job, shape, &data.experts, (ranks, rank), limit)
    })
}

/// What `work` finds of these ranks, a grid of which so many pretrain, by what each of them owns.
fn with_ranks<T>(
    comm: &Comm,
    data: &Data,
    (grid, learners): (&Grid, usize),
    work: impl FnOnce(&Ranks) -> T,
) -> T {
    let (shares, validation) = (comm.shares(), data.validation.as_deref().map(HomeRows::owned));
    work(&Ranks {
        train: data.train.owned(),
        validation,
        deal: &|blocks| comm.deal(blocks),
        deal_small: &|blocks| comm.deal_to_first(learners, blocks),
        frame_number: data.frame_number(),
        grid: Some((grid, &shares[..])),
    })
}

/// The processor with the threads and the vector instructions that the job names.
///
/// # Errors
/// Exit 3 where this processor doesn't have them.
pub fn host_of(job: &Job) -> Result<Host> {
    let name = &job.run.kernel;
    Host::named(name, job.run.threads, job.model.epsilon).map_err(|expected| {
        Error::new(Exit::Launch, format!("run.kernel: found {name:?}, {expected}"))
    })
}

/// What a run is.
pub struct Setting<'a> {
    pub(crate) comm: &'a Comm,
    pub(crate) job: &'a Job,
    pub(crate) data: Data,
    /// What ranks keep in memory in each phase.
    pub(crate) plan: Plan,
    pub(crate) shape: Shape,
    /// The ranks that pretrain.
    pub(crate) learners: Learners<'a>,
    /// Who holds which class blocks in the expert step.
    pub(crate) grid: Grid,
    /// The groups that this rank is in there.
    pub lanes: Lanes<'a>,
    /// What a rank is said to compute a second, in place of a measurement.
    pub(crate) speeds: Option<Speeds<'a>>,
    /// By what they choose their grid.
    pub(crate) have: RanksHave,
}

impl<'a> Setting<'a> {
    /// Compares the data of all ranks, plans the memory, and has rows kept as planned. Writes
    /// nothing. Collective.
    ///
    /// # Errors
    /// Exit 4 where ranks have other data than others; exit 9 where memory doesn't suffice; exit 5
    /// where the scratch file that it takes can't be made; common to all ranks.
    pub fn new(comm: &'a Comm, job: &'a Job, data: Data) -> Result<Setting<'a>> {
        same_on_all(comm, Exit::Input, "data", &data.described())?;
        let shape = shape_of(job, &data);
        // The least of all ranks' threads is the largest of what is left out.
        let have = RanksHave::processors(!comm.max(!(job.run.threads as u64)) as usize);
        let grid = comm.agree(grid(comm, job, (&data, &shape), &have.machine()))?;
        let told = format!("{} x {}", grid.rows(), grid.columns());
        same_on_all(comm, Exit::Usage, "run.grid", &told)?;
        let learners = Learners::new(comm, learners_of(comm, job, &data, (&grid, have)));
        let plan = planned(comm, job, &data, (&grid, learners.count()))?;
        let place = if plan.scratch() { ", activations in a scratch file" } else { "" };
        log::info!("memory planned {}{place}", human::bytes(plan.peak as u64));
        warn_of_memory(comm, plan.peak as u64);
        tell_of_idle_ranks(&learners, job, &data, &shape);
        learners.tell();
        if job.rounds.count > 0 {
            warn_of_short_slices(comm, &job.experts);
        }
        comm.use_threads(job.run.threads);
        if grid.rows() > 1 {
            let (rows, columns) = (grid.rows(), grid.columns());
            log::info!("expert step on a grid of {rows} x {columns} of {} ranks", comm.size());
        }
        let (lanes, speeds) = (Lanes::new(comm, &grid), None);
        let setting = Setting { comm, job, data, plan, shape, learners, grid, lanes, speeds, have };
        setting.keep_activations()?;
        Ok(setting)
    }

    /// Has rows kept as planned.
    ///
    /// # Errors
    /// Exit 5, common to all ranks: a scratch file that it takes can't be made.
    fn keep_activations(&self) -> Result<()> {
        let scratch = match self.job.run.scratch.as_str() {
            "" => std::env::temp_dir(),
            folder => folder.into(),
        };
        let plan = &self.plan;
        let room = Room { scores_max: plan.scores_max, scratch, ..Room::unlimited() };
        self.comm.agree(if plan.scratch() { room.check() } else { Ok(()) })?;
        self.data.keep_activations(plan, &room);
        Ok(())
    }

    /// The same, whose rank is said to compute so much a second, whenever `run.balance` asks.
    #[doc(hidden)]
    pub fn with_speeds(self, speeds: Speeds<'a>) -> Setting<'a> {
        Setting { speeds: Some(speeds), ..self }
    }

    /// What each phase takes of the memory of the rank that takes most in it.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let ranks = (&self.grid, self.learners.count());
        with_ranks(self.comm, &self.data, ranks, |ranks| {
            let all = 0..self.comm.size();
            self.plan.phases(self.job, &self.shape, &self.data.experts, ranks, all)
        })
    }

    /// Bytes that this rank takes of memory for what it has of `data` on a grid, as ranks deal now.
    ///
    /// # Errors
    /// Exit 9: they aren't within its budget, or its device may take `limit` bytes and needs more.
    pub(crate) fn own_peak(
        &self,
        (data, grid): (&Data, &Grid),
        limit: Option<usize>,
    ) -> Result<usize> {
        let Setting { comm, job, shape, .. } = self;
        let rank = comm.rank();
        let plan = with_ranks(comm, data, (grid, self.learners.count()), |ranks| {
            Plan::new(job, shape, &data.experts, ranks, rank..rank + 1)
        })?;
        limit.map(|limit| device_plan(self, (data, grid), (rank, limit))).transpose()?;
        Ok(plan.peak)
    }

    /// Goes on with `data` on a grid, as ranks deal now, on a device that may take `limit` bytes of
    /// its own memory; gives the plan of that. Collective.
    ///
    /// # Errors
    /// As `new` and `plan_device`.
    pub(crate) fn take_data(
        &mut self,
        (data, grid): (Data, Grid),
        limit: Option<usize>,
    ) -> Result<Option<DevicePlan>> {
        self.plan = planned(self.comm, self.job, &data, (&grid, self.learners.count()))?;
        if (grid.rows(), grid.columns()) != (self.grid.rows(), self.grid.columns()) {
            self.lanes = Lanes::new(self.comm, &grid);
        }
        (self.data, self.grid) = (data, grid);
        self.keep_activations()?;
        self.plan_device(limit)
    }

    /// Sees whether this rank's device suffices, which may take `limit` bytes of its memory.
    ///
    /// # Errors
    /// Exit 9: it doesn't.
    pub(crate) fn fits(&self, limit: usize) -> Result<()> {
        self.device_plan_of(self.comm.rank(), limit).map(drop)
    }

    /// What a rank takes of its device, which may take `limit` bytes of its memory.
    ///
    /// # Errors
    /// Exit 9: it doesn't suffice.
    pub(crate) fn device_plan_of(&self, rank: usize, limit: usize) -> Result<DevicePlan> {
        device_plan(self, (&self.data, &self.grid), (rank, limit))
    }

    /// Plans the memory of this rank's device, which may take `limit` bytes of it, if it has one.
    /// Waves of the shared step become as short as the device with least room needs. Collective.
    ///
    /// # Errors
    /// Exit 9, common to all ranks: a device's memory doesn't suffice.
    pub fn plan_device(&mut self, limit: Option<usize>) -> Result<Option<DevicePlan>> {
        let plan = limit.map(|limit| self.device_plan_of(self.comm.rank(), limit));
        let plan = self.comm.agree(plan.transpose())?;
        let wave = plan.as_ref().map_or(usize::MAX, |plan| plan.wave);
        // The least of all is the largest of what is left out.
        let wave = !self.comm.max(!(wave as u64)) as usize;
        self.plan.wave = self.plan.wave.min(wave);
        Ok(plan)
    }

    /// The model before any training. Collective.
    ///
    /// # Errors
    /// Exit 6, common to all ranks: the model that it is to begin with can't be read.
    pub(crate) fn initial(&self) -> Result<Annotator> {
        let layers = self.shape.shared_layers();
        let shared = match &self.data.initial {
            Some(model) => model.shared(self.comm)?,
            None => initial::shared(&layers, self.job.run.seed),
        };
        let mut experts = self.new_experts(&self.small_experts(), 0);
        if self.job.pretrain.epochs > 0 {
            self.put_initial_mixtures(&mut experts)?;
        }
        Ok(Annotator { shared, experts, layers, shape: self.shape.clone(), names: None })
    }

    /// Puts mixtures of the model that the run begins with, if there is one, into the new ones of
    /// the first step. Collective.
    ///
    /// # Errors
    /// Exit 6, common to all ranks: they can't be read.
    pub(crate) fn put_initial_mixtures(&self, experts: &mut Experts) -> Result<()> {
        let initial = self.data.initial.as_ref();
        initial.map_or(Ok(()), |model| model.put_mixtures(self.comm, experts))
    }

    /// Experts of each class while pretraining.
    pub(crate) fn small_experts(&self) -> Vec<usize> {
        vec![self.job.pretrain.experts; self.shape.class_count]
    }

    /// Newly initialised mixtures with so many experts for each class.
    pub(crate) fn new_experts(&self, counts: &[usize], generation: u64) -> Experts {
        let width = self.shape.shared_layers().outputs();
        let layouts = layouts(counts, self.shape.dummy, width, self.shape.class_blocks);
        let owners = self.owners(&layouts, generation == 0);
        let mut experts = Experts::new(layouts, owners, self.job.run.seed, generation);
        if !self.data.biases.is_empty() {
            experts.set_biases(&self.data.biases);
        }
        experts
    }

    /// Who owns which of these class blocks, in pretraining (`small`) or later.
    pub(crate) fn owners(&self, layouts: &[Layout], small: bool) -> Owners {
        if small {
            return self.learners.deal(layouts.len());
        }
        self.grid.deal(&parameters(layouts), &self.comm.shares()).owners
    }

    /// What this rank's column holds of the class blocks of `experts`; None: each rank has those
    /// that it owns alone.
    pub(crate) fn in_column(&self, experts: &Experts) -> Option<InColumn> {
        let grid = &self.grid;
        if grid.rows() == 1 {
            return None;
        }
        let layouts = &experts.layouts;
        let Columns { of_column, owners } = grid.deal(&parameters(layouts), &self.comm.shares());
        let held = of_column.own();
        let of_row = |column: usize, row: usize| {
            let blocks = owners.run(grid.rank(Place { row, column }));
            blocks.start - held.start..blocks.end - held.start
        };
        let column = grid.own().map(|place| place.column);
        let owned = column.map(|at| (0..grid.rows()).map(|row| of_row(at, row)).collect());
        let most = of_column.runs().iter().map(Range::len).max().unwrap_or(0);
        let panels = layouts.iter().map(|layout| layout.panels).max().unwrap_or(0);
        Some(InColumn {
            lanes: self.lanes.column().cloned(),
            slices: grid.slices().clone(),
            layouts: layouts[held].to_vec(),
            owners: owned.unwrap_or_default(),
            parts: parts(most, panels),
        })
    }
}
