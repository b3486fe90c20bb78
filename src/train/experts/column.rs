//! Class blocks that the ranks of a column have between them while they learn by mini-batches
//! (docs/thousand-ranks.md, section 3): each has all their weights, sums some slices of every
//! mini-batch, and steps a stretch of each block. One rank owns a block: it shows it and saves it,
//! as if it had it alone.

use std::io::{self, Cursor};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::early_stopping::EarlyStopping;
use super::held::{ByBatches, Held, put_record, take_all};
use crate::device::slices::totals;
use crate::device::{Apart, Batch, ClassBlock, Device, Learn, MiniBatches, Pace, Slices, Solving};
use crate::error::Result;
use crate::flow::column::{Column, Steps, Stretches, Whole, named};
use crate::flow::grid::ColumnLanes;
use crate::job::ExpertsJob;
use crate::model::Layout;
use crate::model::experts::Experts;
use crate::optim::MiniBatchSolver;
use crate::packed::{put, take};
use crate::partition::Owners;
use crate::train::first_error::FirstError;
use crate::train::held_blocks::{hide, show_run};
use crate::train::watch::{BlockDigest, digest};

/// The column that this rank stands in, and what it holds of a model.
pub(crate) struct InColumn {
    /// None: this rank is left over.
    pub(crate) lanes: Option<Rc<ColumnLanes>>,
    /// Slices of a mini-batch over the ranks of the column.
    pub(crate) slices: Owners,
    /// Its class blocks.
    pub(crate) layouts: Vec<Layout>,
    /// Which of them each of its ranks owns.
    pub(crate) owners: Vec<Range<usize>>,
    /// Parts in which a block's gradient travels, at most.
    pub(crate) parts: usize,
}

/// Class blocks of a column that learn, on the device.
pub(crate) struct ColumnBlocks<D: Device> {
    column: InColumn,
    /// What this rank steps; None: it is left over.
    stretches: Option<Stretches>,
    blocks: D::Blocks<Apart>,
    /// Early stopping of each block's classes, the same on all ranks of the column; empty where
    /// classes don't stop by themselves.
    stopping: Vec<EarlyStopping>,
    averaging: bool,
    /// `[groups][16]` losses of each block in the epoch that is over.
    losses: Vec<Vec<f64>>,
    /// The whole states of the blocks that this rank owns, for a checkpoint.
    collected: Vec<MiniBatches>,
}

/// What a checkpoint has of a class block.
pub(super) type Saved = (MiniBatches, Option<EarlyStopping>);

impl InColumn {
    /// This rank among those of the column.
    fn rank(&self) -> usize {
        self.lanes.as_ref().map_or(0, |lanes| lanes.weights.rank())
    }

    /// The blocks that this rank owns.
    pub(super) fn own(&self) -> Range<usize> {
        self.owners.get(self.rank()).cloned().unwrap_or(0..0)
    }

    /// What this rank steps of blocks of these weights.
    fn stretches(
        &self,
        weights: &[Arc<Vec<f32>>],
        (job, solver): (&ExpertsJob, MiniBatchSolver),
    ) -> Option<Stretches> {
        self.lanes.as_ref()?;
        let blocks = self.layouts.iter().zip(weights).map(|(layout, own)| (layout, &own[..]));
        let (blocks, how) = (blocks.collect::<Vec<_>>(), (solver, job.averaging));
        Some(Stretches::new(self.slices.clone(), &blocks, how, self.parts))
    }

    pub(super) fn slices(&self) -> Slices {
        Slices { count: self.slices.blocks(), own: self.slices.own() }
    }

    /// The blocks as a device takes them.
    pub(super) fn class_blocks(
        &self,
        weights: Vec<Arc<Vec<f32>>>,
        states: Vec<Apart>,
    ) -> Vec<ClassBlock<Apart>> {
        let held = self.layouts.iter().zip(weights).zip(states);
        let held = held.map(|((layout, weights), state)| ClassBlock {
            layout: layout.clone(),
            weights,
            state,
        });
        held.collect()
    }

    /// The early stopping of each block's classes, which owners have read of their blocks, to all
    /// ranks. Collective in the column.
    pub(super) fn deal_out_stopping(&self, own: &[EarlyStopping]) -> Vec<EarlyStopping> {
        let Some(lanes) = &self.lanes else { return Vec::new() };
        let mut bytes = Vec::new();
        put(&mut bytes, &own).expect("memory");
        let all = lanes.weights.all_gather_any(&bytes);
        let taken = |bytes: &Vec<u8>| -> Vec<EarlyStopping> {
            take(&mut Cursor::new(bytes)).expect("as its owner put it")
        };
        all.iter().flat_map(taken).collect()
    }

    /// The weights of all blocks, of which each rank has its own ones. Collective in the column.
    pub(super) fn gather(&self, experts: &Experts) -> Vec<Arc<Vec<f32>>> {
        let Some(lanes) = &self.lanes else { return Vec::new() };
        let (comm, mut own) = (&lanes.weights, experts.parameters.iter());
        let mut all = Vec::new();
        for (rank, blocks) in self.owners.iter().enumerate() {
            for layout in &self.layouts[blocks.clone()] {
                let mine = (rank == comm.rank()).then(|| own.next().expect("an own block"));
                let mut counts = vec![0; comm.size()];
                counts[rank] = layout.parameters();
                let what = named("weights", layout);
                let sent = mine.map_or(Vec::new(), |weights| weights.to_vec());
                let come = comm.start_all_gather_v(what, sent, &counts).wait();
                all.push(mine.map_or_else(|| Arc::new(come), Arc::clone));
            }
        }
        all
    }
}

impl InColumn {
    /// Takes what owners have read of their blocks: vectors go by stretches, everything else to all
    /// ranks. Collective in the column.
    fn deal_out(
        &self,
        lanes: &ColumnLanes,
        stretches: &mut Stretches,
        saved: Vec<Saved>,
    ) -> (Vec<Apart>, Vec<EarlyStopping>) {
        let (mut bytes, mut own) = (Vec::new(), Vec::new());
        for (mut learning, stopping) in saved {
            let (solver, average) = (learning.solver.clone(), learning.average.clone());
            own.push(Whole { solver, average });
            learning.take_vectors();
            put(&mut bytes, &(learning, stopping)).expect("memory");
        }
        stretches.restore(lanes, &self.owners, own);
        let (all, slices) = (lanes.weights.all_gather_any(&bytes), self.slices());
        let (mut states, mut stopping) = (Vec::new(), Vec::new());
        for (blocks, bytes) in self.owners.iter().zip(&all) {
            let from = &mut Cursor::new(bytes);
            for layout in &self.layouts[blocks.clone()] {
                let (learning, early): Saved = take(from).expect("as its owner put it");
                states.push(learning.apart(layout, &slices));
                stopping.extend(early);
            }
        }
        (states, stopping)
    }
}

impl<D: Device> ColumnBlocks<D> {
    /// Before the first window. Collective in the column.
    ///
    /// # Errors
    /// The device is lost or full.
    pub(super) fn new(
        device: &mut D,
        (job, solver): (&ExpertsJob, MiniBatchSolver),
        experts: &Experts,
        column: InColumn,
    ) -> Result<ColumnBlocks<D>> {
        let stopping = EarlyStopping::of_all(&column.layouts, job.class_patience);
        let slices = column.slices();
        let states = column.layouts.iter().map(|layout| Apart::new(layout, &slices)).collect();
        let weights = column.gather(experts);
        let stretches = column.stretches(&weights, (job, solver));
        ColumnBlocks::hold(device, job, column, stretches, (weights, states, stopping))
    }

    /// With what each owner has read of its blocks in a checkpoint. Collective in the column.
    ///
    /// # Errors
    /// The device is lost or full.
    pub(super) fn restore(
        device: &mut D,
        how: (&ExpertsJob, MiniBatchSolver),
        experts: &Experts,
        column: InColumn,
        saved: Vec<Saved>,
    ) -> Result<ColumnBlocks<D>> {
        let weights = column.gather(experts);
        let mut stretches = column.stretches(&weights, how);
        let (mut states, mut stopping) = (Vec::new(), Vec::new());
        if let (Some(lanes), Some(stretches)) = (&column.lanes, &mut stretches) {
            (states, stopping) = column.deal_out(lanes, stretches, saved);
        }
        ColumnBlocks::hold(device, how.0, column, stretches, (weights, states, stopping))
    }

    fn hold(
        device: &mut D,
        job: &ExpertsJob,
        column: InColumn,
        stretches: Option<Stretches>,
        (weights, states, stopping): (Vec<Arc<Vec<f32>>>, Vec<Apart>, Vec<EarlyStopping>),
    ) -> Result<ColumnBlocks<D>> {
        Ok(ColumnBlocks {
            blocks: device.hold(column.class_blocks(weights, states))?,
            stretches,
            stopping,
            averaging: job.averaging > 0.0,
            losses: Vec::new(),
            collected: Vec::new(),
            column,
        })
    }

    /// What each block has beside its weights, to `look`.
    fn each_state(
        &mut self,
        device: &mut D,
        mut look: impl FnMut(usize, &mut Apart),
    ) -> Result<()> {
        (0..self.column.layouts.len()).try_for_each(|index| {
            device.change_state(&mut self.blocks, index, &mut |state| look(index, state))
        })
    }

    /// All slices' chains of losses of each block. Collective in the column, also where the device
    /// is lost.
    fn chains(&mut self, device: &mut D) -> Result<Vec<Vec<f64>>> {
        let own = self.column.slices.own().len();
        let mut mine: Vec<Vec<f64>> =
            self.column.layouts.iter().map(|layout| vec![0.0; own * layout.lanes()]).collect();
        let read = self.each_state(device, |index, state| mine[index].clone_from(&state.losses));
        let all = match (&self.stretches, &self.column.lanes) {
            (Some(stretches), Some(lanes)) => stretches.all_chains(lanes, &mine),
            _ => Vec::new(),
        };
        read.map(|()| all)
    }
}

impl<D: Device> Held<D> for ColumnBlocks<D> {
    fn show(&self, device: &D, experts: &mut Experts) -> Result<()> {
        show_run(device, &self.blocks, self.column.own(), experts)
    }

    fn class_losses(&mut self, device: &mut D) -> Result<Vec<Vec<f64>>> {
        let chains = self.chains(device)?;
        let each = self.column.layouts.iter().zip(&chains);
        self.losses = each.map(|(layout, chains)| totals(chains, layout.lanes())).collect();
        Ok(self.losses[self.column.own()].to_vec())
    }

    fn left(&mut self, device: &mut D) -> Result<usize> {
        let mut left = 0;
        self.each_state(device, |_, state| left += usize::from(!state.converged))?;
        Ok(left)
    }

    fn put_back(&mut self, device: &mut D, experts: &mut Experts, all: bool) -> Result<()> {
        hide(experts);
        for (index, stopping) in self.stopping.iter().enumerate() {
            let layout = &self.column.layouts[index];
            device.change(&mut self.blocks, index, &mut |weights| {
                stopping.put_back(layout, all, weights);
                if let Some(stretches) = &mut self.stretches {
                    stretches.set_weights(index, weights);
                }
            })?;
        }
        Ok(())
    }

    fn take_losses(&mut self, device: &mut D, experts: &mut Experts, losses: &[f64]) -> Result<()> {
        take_all(device, (&self.blocks, &self.column.layouts), &mut self.stopping, losses)?;
        self.put_back(device, experts, false)?;
        for (index, stopping) in self.stopping.iter().enumerate() {
            let all = stopping.all().iter().all(|stopped| *stopped);
            device.change_state(&mut self.blocks, index, &mut |state| state.converged |= all)?;
        }
        Ok(())
    }

    fn collect(&mut self, device: &mut D) -> Result<()> {
        let mut first_error = FirstError::none();
        let chains = first_error.keep(self.chains(device));
        let (Some(stretches), Some(lanes)) = (&self.stretches, &self.column.lanes) else {
            return first_error.outcome();
        };
        let whole = first_error.keep(stretches.collect(lanes, &self.column.owners));
        let mut collected = Vec::new();
        if let (Some(chains), Some(whole)) = (chains, whole) {
            let own = self.column.own();
            let mut whole = whole.into_iter();
            first_error.keep(self.each_state(device, |index, state| {
                if own.contains(&index) {
                    let Whole { solver, average } = whole.next().expect("a state of each");
                    let losses = chains[index].clone();
                    collected.push(MiniBatches::of(state, losses, solver, average));
                }
            }));
        }
        self.collected = collected;
        first_error.outcome()
    }

    fn forget_collected(&mut self) {
        self.collected = Vec::new();
    }

    fn put_block(&self, _device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        let learning = |to: &mut dyn io::Write| self.collected[index].put(to);
        put_record(learning, self.stopping.get(self.column.own().start + index), to)
    }

    fn copies(&self, device: &D, threads: usize) -> Result<Vec<BlockDigest>> {
        copies_of(device, (&self.blocks, &self.column.layouts), threads)
    }
}

/// Digests of the weights of these blocks.
pub(super) fn copies_of<D: Device>(
    device: &D,
    (blocks, layouts): (&D::Blocks<Apart>, &[Layout]),
    threads: usize,
) -> Result<Vec<BlockDigest>> {
    let of = |(index, layout): (usize, &Layout)| {
        let weights = device.weights(blocks, index)?;
        Ok(BlockDigest::of(&layout.classes, digest(threads, &weights)))
    };
    layouts.iter().enumerate().map(of).collect()
}

impl<D: Device> ByBatches<D> for ColumnBlocks<D> {
    fn learn(
        &mut self,
        device: &mut D,
        rows: &D::Rows,
        positions: Range<usize>,
        how: &Learn,
        pace: &mut Pace,
    ) -> Result<()> {
        let (Some(stretches), Some(lanes)) = (&mut self.stretches, &self.column.lanes) else {
            return Ok(());
        };
        let batches = Batch::of_window(&positions, how.batch, stretches.slices());
        let steps = Steps { learning_rate: how.learning_rate, l2: how.l2 };
        let mut column = Column::new(lanes, stretches, steps);
        device.learn_apart(&mut self.blocks, (rows, &batches), how, &mut column, pace)
    }

    fn swap_averages(&mut self, device: &mut D) -> Result<()> {
        let (Some(stretches), Some(lanes), true) =
            (&mut self.stretches, &self.column.lanes, self.averaging)
        else {
            return Ok(());
        };
        let (blocks, mut first_error) = (&mut self.blocks, FirstError::none());
        stretches.swap_averages(lanes, &mut |index, new| {
            let put = &mut |weights: &mut [f32]| weights.copy_from_slice(&new);
            first_error.keep(device.change(blocks, index, put));
        });
        first_error.outcome()
    }

    fn end_epoch(&mut self, device: &mut D, tolerance: f64) -> Result<()> {
        let losses = std::mem::take(&mut self.losses);
        self.each_state(device, |index, state| state.end_epoch(&losses[index], tolerance))
    }
}
