//! Class blocks that the ranks of a column have between them while their classes search by
//! themselves (docs/thousand-ranks.md, section 3.9): each rank has all their weights, sums some
//! slices of all rows, and takes the steps of some classes' searches. One rank owns a block: it
//! shows it and saves it, as if it had it alone.

use std::io;
use std::sync::Arc;

use super::column::{InColumn, copies_of};
use super::early_stopping::EarlyStopping;
use super::held::{ByPasses, Held, put_record, take_all};
use crate::device::host_arithmetic::{ClassPass, advance_search};
use crate::device::{AllRows, Apart, Device, FullBatches, Pace, searches};
use crate::error::Result;
use crate::flow::column::{Classes, Told};
use crate::flow::grid::ColumnLanes;
use crate::job::ExpertsJob;
use crate::model::experts::Experts;
use crate::optim::{ClassSolver, ClassState};
use crate::packed::put;
use crate::team::Team;
use crate::train::first_error::FirstError;
use crate::train::held_blocks::{hide, show_run};
use crate::train::watch::BlockDigest;

/// Class blocks of a column whose classes search, on the device.
pub(crate) struct ColumnSearches<D: Device> {
    column: InColumn,
    blocks: D::Blocks<Apart>,
    /// Which rank each class has its home at.
    classes: Classes,
    /// Of each block the searches that have their home here.
    searches: Vec<Vec<ClassState>>,
    /// Of each block what all its searches have come to, the same on all ranks of the column.
    told: Vec<Vec<Told>>,
    /// Early stopping of each block's classes, the same on all ranks of the column; empty where
    /// classes don't stop by themselves.
    stopping: Vec<EarlyStopping>,
    /// Whether a window of the pass under way has come.
    begun: bool,
    /// The searches of the blocks that this rank owns, for a checkpoint.
    collected: Vec<Vec<ClassState>>,
}

impl<D: Device> ColumnSearches<D> {
    /// Before the first pass. Collective in the column.
    ///
    /// # Errors
    /// The device is lost or full.
    pub(super) fn new(
        device: &mut D,
        (job, solver): (&ExpertsJob, ClassSolver),
        experts: &Experts,
        column: InColumn,
    ) -> Result<ColumnSearches<D>> {
        let stopping = EarlyStopping::of_all(&column.layouts, job.class_patience);
        let (weights, offered) = (column.gather(experts), job.offered());
        let classes = Classes::new(&column.slices, &column.layouts);
        let begun = column.layouts.iter().zip(&weights).enumerate();
        let begun = begun.map(|(index, (layout, weights))| {
            searches(layout, classes.own(index), weights, (solver, &offered))
        });
        let begun = begun.collect();
        ColumnSearches::hold(device, column, classes, weights, (begun, stopping))
    }

    /// With what each owner has read of its blocks in a checkpoint. Collective in the column.
    ///
    /// # Errors
    /// The device is lost or full.
    pub(super) fn restore(
        device: &mut D,
        job: &ExpertsJob,
        experts: &Experts,
        column: InColumn,
        saved: Vec<(FullBatches, Option<EarlyStopping>)>,
    ) -> Result<ColumnSearches<D>> {
        let weights = column.gather(experts);
        let classes = Classes::new(&column.slices, &column.layouts);
        let (own, early): (Vec<_>, Vec<_>) = saved.into_iter().unzip();
        let own: Vec<_> = own.into_iter().map(|block: FullBatches| block.classes).collect();
        let early: Vec<EarlyStopping> = early.into_iter().flatten().collect();
        let searches = match &column.lanes {
            Some(lanes) => classes.restore(lanes, &column.owners, own),
            None => Vec::new(),
        };
        let stopping = match job.class_patience {
            0 => Vec::new(),
            _ => column.deal_out_stopping(&early),
        };
        ColumnSearches::hold(device, column, classes, weights, (searches, stopping))
    }

    fn hold(
        device: &mut D,
        column: InColumn,
        classes: Classes,
        weights: Vec<Arc<Vec<f32>>>,
        (searches, stopping): (Vec<Vec<ClassState>>, Vec<EarlyStopping>),
    ) -> Result<ColumnSearches<D>> {
        let slices = column.slices();
        let told = column.lanes.as_ref().map_or_else(Vec::new, |lanes| {
            let each = searches.iter().enumerate();
            each.map(|(index, own)| tell(&classes, lanes, index, own)).collect()
        });
        let state = |(layout, told): (_, &Vec<Told>)| {
            let mut state = Apart::new(layout, &slices);
            state.converged = converged(told);
            state
        };
        let states = column.layouts.iter().zip(&told).map(state).collect();
        let blocks = device.hold(column.class_blocks(weights, states))?;
        let (begun, collected) = (false, Vec::new());
        Ok(ColumnSearches { column, blocks, classes, searches, told, stopping, begun, collected })
    }

    /// The blocks of which a class still searches.
    fn searching(&self) -> Vec<usize> {
        let each = self.told.iter().enumerate();
        each.filter(|(_, told)| !converged(told)).map(|(index, _)| index).collect()
    }

    /// Has the device know whether a block still learns.
    fn set_converged(&mut self, device: &mut D, index: usize) -> Result<()> {
        let ends = converged(&self.told[index]);
        device.change_state(&mut self.blocks, index, &mut |state| state.converged = ends)
    }

    /// Puts the own classes of a block at these points, and all others where their homes put them.
    /// Collective in the column.
    fn put_points(
        &mut self,
        device: &mut D,
        lanes: &ColumnLanes,
        index: usize,
        own: Vec<Vec<f32>>,
    ) -> Result<()> {
        let (classes, points) = (&self.classes, self.classes.gather(lanes, index, own));
        device.change(&mut self.blocks, index, &mut |weights| classes.put(index, &points, weights))
    }
}

/// Whether no class searches any more.
fn converged(told: &[Told]) -> bool {
    told.iter().all(|(_, ends)| *ends)
}

/// What all searches of a block have come to. Collective in the column.
fn tell(classes: &Classes, lanes: &ColumnLanes, index: usize, own: &[ClassState]) -> Vec<Told> {
    let told = own.iter().map(|search| (search.value(), search.converged()));
    classes.tell(lanes, index, &told.collect::<Vec<_>>())
}

impl<D: Device> Held<D> for ColumnSearches<D> {
    fn show(&self, device: &D, experts: &mut Experts) -> Result<()> {
        show_run(device, &self.blocks, self.column.own(), experts)
    }

    /// Objectives at the last accepted points.
    fn class_losses(&mut self, _device: &mut D) -> Result<Vec<Vec<f64>>> {
        let own = self.told[self.column.own()].iter();
        Ok(own.map(|told| told.iter().map(|(value, _)| *value).collect()).collect())
    }

    fn left(&mut self, _device: &mut D) -> Result<usize> {
        Ok(self.searching().len())
    }

    fn put_back(&mut self, device: &mut D, experts: &mut Experts, all: bool) -> Result<()> {
        hide(experts);
        for (index, stopping) in self.stopping.iter().enumerate() {
            let layout = &self.column.layouts[index];
            device.change(&mut self.blocks, index, &mut |weights| {
                stopping.put_back(layout, all, weights);
            })?;
        }
        Ok(())
    }

    fn take_losses(&mut self, device: &mut D, experts: &mut Experts, losses: &[f64]) -> Result<()> {
        take_all(device, (&self.blocks, &self.column.layouts), &mut self.stopping, losses)?;
        self.put_back(device, experts, false)?;
        for index in 0..self.stopping.len() {
            let stopped = self.stopping[index].all();
            let weights = device.weights(&self.blocks, index)?;
            let points = self.classes.points(index, &weights);
            let own = self.classes.own(index).zip(&mut self.searches[index]).zip(points);
            for ((class, search), point) in own {
                if stopped[class] {
                    search.end_at(point);
                }
            }
            let told = self.told[index].iter_mut().zip(stopped);
            told.for_each(|(told, stopped)| told.1 |= stopped);
            self.set_converged(device, index)?;
        }
        Ok(())
    }

    fn collect(&mut self, _device: &mut D) -> Result<()> {
        if let Some(lanes) = &self.column.lanes {
            self.collected = self.classes.collect(lanes, &self.column.owners, &self.searches);
        }
        Ok(())
    }

    fn forget_collected(&mut self) {
        self.collected = Vec::new();
    }

    fn put_block(&self, _device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        let learning = |to: &mut dyn io::Write| put(to, &self.collected[index]);
        put_record(learning, self.stopping.get(self.column.own().start + index), to)
    }

    fn copies(&self, device: &D, threads: usize) -> Result<Vec<BlockDigest>> {
        copies_of(device, (&self.blocks, &self.column.layouts), threads)
    }
}

impl<D: Device> ByPasses<D> for ColumnSearches<D> {
    fn evaluate(
        &mut self,
        device: &mut D,
        rows: &D::Rows,
        (count, slices): (usize, usize),
        pace: &mut Pace,
    ) -> Result<()> {
        let all = AllRows { count, slices: self.column.slices() };
        assert_eq!(all.slices.count, slices, "slices of all rows");
        let begun = std::mem::replace(&mut self.begun, true);
        // Slices without rows are all in the first window of those that bring none.
        if self.column.lanes.is_none() || begun && all.slices.run(count).is_empty() {
            return Ok(());
        }
        device.evaluate_apart(&mut self.blocks, rows, &all, pace)
    }

    fn advance(&mut self, device: &mut D, rows: usize, job: &ExpertsJob) -> Result<()> {
        self.begun = false;
        let Some(lanes) = self.column.lanes.clone() else { return Ok(()) };
        let (offered, l2) = (job.offered(), f64::from(job.l2));
        let mut first_error = FirstError::none();
        for index in self.searching() {
            let nodes = first_error.keep(device.sums(&mut self.blocks, index));
            let sums = self.classes.sums(&lanes, index, nodes);
            let layout = &self.column.layouts[index];
            let weights = first_error.keep(device.weights(&self.blocks, index));
            let weights = weights.unwrap_or_else(|| Arc::new(vec![0.0; layout.parameters()]));
            let mut points = self.classes.points(index, &weights);
            let decayed = self.classes.own(index).map(|class| layout.places_of(class).1);
            let own = self.searches[index].iter_mut().zip(&mut points).zip(sums).zip(decayed);
            let mut members = vec![(); lanes.weights.threads()];
            Team::new(&mut members).for_each(own.collect::<Vec<_>>(), |(), item| {
                let (((search, point), (loss, gradient)), decayed) = item;
                let pass = ClassPass { loss, gradient: &gradient, decayed, rows, l2 };
                advance_search(search, point, &pass, &offered);
            });
            // Memory that others share is written anew.
            drop(weights);
            self.told[index] = tell(&self.classes, &lanes, index, &self.searches[index]);
            first_error.keep(self.put_points(device, &lanes, index, points));
            first_error.keep(self.set_converged(device, index));
        }
        first_error.outcome()
    }

    fn forget(&mut self, device: &mut D) -> Result<()> {
        self.begun = false;
        for index in self.searching() {
            // A device that is lost says so when it is next asked for something: a rank that stops
            // doesn't part from the others here.
            let _ = device.sums(&mut self.blocks, index);
        }
        Ok(())
    }

    fn settle(&mut self, device: &mut D) -> Result<()> {
        let Some(lanes) = self.column.lanes.clone() else { return Ok(()) };
        let mut first_error = FirstError::none();
        for index in 0..self.searches.len() {
            let own = self.searches[index].iter().map(|search| search.accepted().to_vec());
            let own = own.collect();
            first_error.keep(self.put_points(device, &lanes, index, own));
        }
        first_error.outcome()
    }
}
