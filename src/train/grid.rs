//! Which grid of ranks the expert step runs on (`run.grid`): what the job names, or what the model
//! of `cost::grid` chooses, its slices dealt by what ranks do.

use super::data::Data;
use super::pretrain::{Learners, learners_of};
use super::setting::{Setting, fit};
use crate::comm::Comm;
use crate::cost::grid::{Machine, NETWORK, Work, choose, seconds_on};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::model::parameters;
use crate::partition::Grid;

/// What ranks compute with, by which they choose their grid and those that pretrain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RanksHave {
    /// The least of all ranks' threads.
    pub(crate) threads: usize,
    /// Bytes that any rank may take of its GPU, where each has one. None: processors.
    pub(crate) device_limit: Option<usize>,
}

impl RanksHave {
    pub(crate) fn processors(threads: usize) -> RanksHave {
        RanksHave { threads, device_limit: None }
    }

    /// A rank as the model of costs knows it.
    pub(crate) fn machine(&self) -> Machine {
        match self.device_limit {
            Some(_) => Machine::gpu(self.threads),
            None => Machine::host(self.threads),
        }
    }
}

/// The grid of the expert step on ranks like `machine`, as they deal now: what the job names, or
/// the one that takes least time by the model of `cost::grid`, within the memory that ranks have.
///
/// # Errors
/// Exit 2: the job names one of more ranks than there are.
pub(crate) fn grid(comm: &Comm, job: &Job, of: (&Data, &Shape), machine: &Machine) -> Result<Grid> {
    if let Some((rows, columns)) = named(job)
        && rows.saturating_mul(columns) > comm.size()
    {
        let (name, ranks) = (&job.run.grid, comm.size());
        return Err(Error::usage(format!("run.grid: found {name:?}, this run has {ranks} ranks")));
    }
    Ok(grid_on(comm, job, of, Some(machine)))
}

fn named(job: &Job) -> Option<(usize, usize)> {
    Grid::named(&job.run.grid).expect("the job was checked for it")
}

/// Whether ranks choose the shape of the grid.
fn chosen(job: &Job) -> bool {
    named(job).is_none() && job.experts.row_slices > 1
}

/// The grid on ranks of this machine, as they deal now; without one each is a column, unless the
/// job names a grid.
fn grid_on(
    comm: &Comm,
    job: &Job,
    (data, shape): (&Data, &Shape),
    machine: Option<&Machine>,
) -> Grid {
    let (slices, shares) = (job.experts.row_slices, &comm.shares()[..]);
    let costs = class_costs(data, shape);
    let new = |shape| Grid::by_speed(shape, slices, (&costs, shares), comm.rank());
    let Some(machine) = machine.filter(|_| chosen(job)) else {
        return new(named(job).unwrap_or((1, comm.size())));
    };
    let fits =
        |rows_and_columns| fit(comm, job, (data, shape), (&new(rows_and_columns), comm.size()));
    new(choose(&work(job, (data, shape), &costs, shares), &NETWORK, machine, &fits))
}

/// What the model knows of the expert step.
fn work<'a>(
    job: &Job,
    (data, shape): (&Data, &Shape),
    blocks: &'a [usize],
    shares: &'a [usize],
) -> Work<'a> {
    let (batch, passes) = job.experts.step_rows(data.train.rows());
    let (width, slices) = (shape.shared_layers().outputs(), job.experts.row_slices);
    let learned = f64::from(job.experts.negatives);
    Work { blocks, width, batch, passes, slices, learned, shares }
}

/// Parameters of each class block of the expert step.
fn class_costs(data: &Data, shape: &Shape) -> Vec<usize> {
    let width = shape.shared_layers().outputs();
    parameters(&layouts(&data.experts, shape.dummy, width, shape.class_blocks))
}

impl Setting<'_> {
    /// Chooses the grid, where ranks are to choose it, and the ranks that pretrain anew: for GPUs
    /// that each has beside its threads, of which any may take `device_limit` bytes, or for those
    /// threads alone. What is hidden behind a processor's arithmetic isn't behind that of a GPU.
    /// Collective.
    ///
    /// # Errors
    /// As `new`.
    pub(crate) fn choose_ranks(&mut self, device_limit: Option<usize>) -> Result<()> {
        let have = RanksHave { device_limit, ..self.have };
        self.have = have;
        let of = (&self.data, &self.shape);
        let grid = self.comm.agree(grid(self.comm, self.job, of, &have.machine()))?;
        let (rows, columns) = (grid.rows(), grid.columns());
        let count = learners_of(self.comm, self.job, &self.data, (&grid, have));
        let other_grid = (rows, columns) != (self.grid.rows(), self.grid.columns());
        if !other_grid && count == self.learners.count() {
            return Ok(());
        }
        let why = match device_limit {
            Some(_) => "as ranks have GPUs",
            None => "as ranks don't all keep their GPUs",
        };
        if other_grid {
            log::info!("expert step on a grid of {rows} x {columns}, {why}");
        }
        if count != self.learners.count() {
            log::info!("pretraining on {count} of {} ranks, {why}", self.comm.size());
            self.learners = Learners::new(self.comm, count);
        }
        self.take_data((self.data.clone(), grid), None).map(drop)
    }

    /// The grid on `data`, as ranks deal now, which compute so many floating-point operations a
    /// second in the mean; if that isn't known, what a run begins with. Not `free`: each is a
    /// column, unless the job names a grid.
    pub(crate) fn grid_anew(&self, data: &Data, mean: Option<f64>, free: bool) -> Grid {
        let measured = mean.map(|mean| Machine::measured(mean, self.have.threads));
        let machine = measured.unwrap_or_else(|| self.have.machine());
        grid_on(self.comm, self.job, (data, &self.shape), Some(&machine).filter(|_| free))
    }

    /// Seconds of a floating-point operation of the expert step on ranks that compute so many a
    /// second, dealt as they deal now, had all of them one: what the slowest takes for its part of
    /// all. Where ranks choose their grid, with what the model says of exchanges.
    pub(crate) fn class_seconds(&self, grid: &Grid, rates: &[f64]) -> f64 {
        let (shares, blocks) = (&self.comm.shares()[..], &class_costs(&self.data, &self.shape)[..]);
        let all = blocks.iter().map(|cost| *cost as f64).sum::<f64>();
        if !chosen(self.job) {
            let slices = self.job.experts.row_slices as f64;
            return grid.seconds(blocks, shares, rates) / all / slices;
        }
        let work = work(self.job, (&self.data, &self.shape), blocks, shares);
        let measured = |rate: &f64| Machine::measured(*rate, self.have.threads);
        let machines: Vec<Machine> = rates.iter().map(measured).collect();
        let seconds = seconds_on(&work, grid, &NETWORK, &machines).all();
        seconds / (4.0 * all * work.batch as f64)
    }
}
