//! Mini-batches where something stands between gradient and step: block by block, in turns that are
//! the same on all ranks.

use std::ops::Range;
use std::sync::Arc;
use std::thread::sleep;

use super::blocks::{Blocks, Place};
use super::failure;
use super::luggage::{Luggage, Which};
use super::part::{Part, Room};
use super::rows::Rows;
use super::waiting::MOMENT;
use crate::device::{Between, ClassBlock, Learn, MiniBatches, Pace, Solving, Turn};
use crate::error::Result;
use crate::kernel::vector::Instructions;
use crate::team::Team;

type Told<T> = std::result::Result<T, String>;

impl Blocks<MiniBatches> {
    /// As `learn`, where something stands between gradient and step. Of blocks that come and go
    /// only the gradient is made on the device, for which they come at each turn.
    pub(super) fn learn_in_turns(
        &mut self,
        rows: &Rows,
        how: &Learn,
        between: &mut dyn Between,
        pace: &mut Pace,
    ) -> Result<()> {
        let failed = failure(&self.queue);
        for from in (0..rows.count()).step_by(how.batch) {
            let batch = from..(from + how.batch).min(rows.count());
            let mut under_way: Option<(Turn, Vec<f64>)> = None;
            let wanting = self.wanting(rows.first + batch.end).into_iter();
            for block in wanting.map(Some).chain([None]) {
                let mut next = None;
                if let Some(block) = block {
                    let turn = Turn { block, rows: batch.clone() };
                    let losses = self.losses_of(block).map_err(&failed)?;
                    let gradient = self.gradient_of(rows, how, &turn).map_err(&failed)?;
                    pace.poll();
                    between.give(&turn, gradient, pace.stopped())?;
                    next = Some((turn, losses));
                }
                let Some((turn, losses)) = std::mem::replace(&mut under_way, next) else {
                    continue;
                };
                let Some(gradient) = between.summed(&turn, pace)? else {
                    self.set_losses_of(turn.block, losses).map_err(&failed)?;
                    if let Some((turn, losses)) = under_way {
                        between.summed(&turn, pace)?;
                        self.set_losses_of(turn.block, losses).map_err(&failed)?;
                    }
                    return Ok(());
                };
                self.step_by(turn, rows.first, how, &gradient).map_err(&failed)?;
            }
        }
        Ok(())
    }

    fn losses_of(&mut self, block: usize) -> Told<Vec<f64>> {
        match self.at_mut(block) {
            (Place::Here(part), own) => part.held().losses(own),
            (Place::Home(home), own) => Ok(home.of(own).state.losses.clone()),
        }
    }

    fn set_losses_of(&mut self, block: usize, losses: Vec<f64>) -> Told<()> {
        match self.at_mut(block) {
            (Place::Here(part), own) => part.held().set_losses(own, &losses)?,
            (Place::Home(home), own) => home.of_mut(own).state.losses = losses,
        }
        Ok(())
    }

    /// The gradient of a turn, on the host; its losses are added to the epoch's.
    fn gradient_of(&mut self, rows: &Rows, how: &Learn, turn: &Turn) -> Told<Vec<f32>> {
        let batch = turn.rows.clone();
        let home = matches!(self.at_mut(turn.block), (Place::Home(_), _));
        let room = if home { Some(self.room()?) } else { None };
        match (self.at_mut(turn.block), room) {
            ((Place::Home(home), own), Some(room)) => {
                let ClassBlock { layout, weights, state } = home.of_mut(own);
                let block =
                    ClassBlock { layout: layout.clone(), weights: Arc::default(), state: () };
                let (weights, losses) = (weights.clone(), state.losses.clone());
                let luggage = Luggage { weights, losses, ..Luggage::default() };
                let chains = (0..how.slices).map(Which::Losses);
                let what: Vec<Which> = [Which::Weights].into_iter().chain(chains).collect();
                let (mut part, mut trip) = Part::coming(room, vec![(block, luggage)], &what);
                while !trip.over() {
                    if !trip.up(&part)? {
                        sleep(MOMENT);
                    }
                }
                let gradient = part.gradient_of(rows, how, (0, batch))?;
                state.losses = part.held().losses(0)?;
                let (_, room) = part.leave();
                self.rooms.as_mut().expect("where it came from").give(room);
                Ok(gradient)
            }
            ((Place::Here(part), own), _) => part.gradient_of(rows, how, (own, batch)),
            _ => panic!("a room for those that come"),
        }
    }

    /// Memory for a block that comes for a turn; those that are there go home where there is none.
    fn room(&mut self) -> Told<Room> {
        let rooms = self.rooms.as_mut().expect("blocks that come and go");
        if let Some(room) = rooms.take()? {
            return Ok(room);
        }
        let mut poll = || ();
        let pace = &mut Pace::new(&mut poll, &|| false);
        self.send_home(pace)?;
        let rooms = self.rooms.as_mut().expect("as before");
        Ok(rooms.take()?.expect("all are free"))
    }

    /// The step of a turn by a gradient that the host has.
    fn step_by(&mut self, turn: Turn, first: usize, how: &Learn, gradient: &[f32]) -> Told<()> {
        match self.at_mut(turn.block) {
            (Place::Here(part), own) => {
                let next = part.next(own, how);
                part.step_by(own, gradient, next, (how, first, turn.rows))?;
            }
            (Place::Home(home), own) => {
                let (mut alone, instructions) = ((), Instructions::detect());
                let team = &mut Team::alone(&mut alone);
                home.of_mut(own).step(team, instructions, how, (first, turn.rows), gradient);
            }
        }
        Ok(())
    }
}

impl<S: Solving> Part<S> {
    /// A block's gradient over the rows of a mini-batch that it learns from, on the host.
    fn gradient_of(
        &mut self,
        rows: &Rows,
        how: &Learn,
        (block, batch): (usize, Range<usize>),
    ) -> Told<Vec<f32>> {
        let sum = self.gradient(rows, how, block..block + 1, batch)?;
        self.held().read(&self.gradients[sum], block)
    }
}
