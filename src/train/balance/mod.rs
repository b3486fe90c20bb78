//! Shares by speed (`run.balance`, docs/thousand-ranks.md, section 5): before the first step and
//! between steps ranks measure what each computes a second, and own rows and class blocks in those
//! shares from then on; rows of a grid take slices of mini-batches by them. What is computed
//! doesn't change, only where.
//!
//! All that is decided follows from whole numbers that all ranks have gathered. Every table that a
//! run holds then is made anew at once: that of rows, of the grid, of the model, of the best model,
//! of the plan.

mod probe;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::checkpoint_record::{BestIs, which};
use super::data::Data;
use super::state::State;
use crate::device::Device;
use crate::error::Result;
use crate::flow::experts_travel::hand_over;
use crate::human;
use crate::job::MEASURED;
use crate::launch;
use crate::model::annotator::Annotator;
use crate::model::experts::Experts;
use crate::partition::Grid;
use crate::progress::phase;

/// Shares are whole numbers, that of the fastest rank is this one.
const FASTEST: u64 = 1000;
/// Blocks change hands where the model of a step's time falls by this factor at least.
const GAIN: f64 = 1.05;
/// How often the share of a rank without memory for it is cut by a tenth before shares are equal.
const CUTS: usize = 32;
/// What a probe is to take: the first one, a later one at least, and that as a part of the time
/// since the one before. Nothing is measured sooner than that makes up for the probe before.
const PROBE_MOST: Duration = Duration::from_secs(1);
const PROBE_LEAST: Duration = Duration::from_millis(50);
const PROBE_PART: u32 = 100;

/// What a rank is said to compute a second in place of a probe, in floating-point operations: asked
/// whenever shares are measured.
pub type Speeds<'a> = Box<dyn FnMut() -> u64 + 'a>;

/// What there is to tell of shares, and when they were dealt last.
pub(crate) struct Balance {
    /// Of each measurement, for the run's record.
    pub(crate) told: Vec<Value>,
    since: Option<Instant>,
    /// What this rank's last probe took.
    took: Duration,
    /// Bytes of the fullest rank as shares were when the run began.
    peak: usize,
}

impl Balance {
    pub(crate) fn new(peak: usize) -> Balance {
        Balance { told: Vec::new(), since: None, took: Duration::ZERO, peak }
    }
}

/// Shares of ranks that compute so much a second.
fn shares_of(rates: &[u64]) -> Vec<usize> {
    let most = u128::from(rates.iter().copied().max().unwrap_or(1).max(1));
    let share = |rate: &u64| (u128::from(*rate) * u128::from(FASTEST) / most).max(1);
    rates.iter().map(|rate| share(rate) as usize).collect()
}

/// How long the slowest rank takes for its part of all that ranks have.
fn slowest(parts: &[usize], rates: &[u64]) -> f64 {
    let all = parts.iter().sum::<usize>().max(1) as f64;
    let seconds = parts.iter().zip(rates).map(|(part, rate)| *part as f64 / *rate as f64);
    seconds.fold(0.0, f64::max) / all
}

impl<D: Device> State<'_, D> {
    /// Deals rows and class blocks anew where the job wants that and it pays, those of `model` and
    /// of the best model, too. To be called where no step is under way. Collective.
    ///
    /// # Errors
    /// What the device gives while it is measured; a message that arrived damaged; common to all
    /// ranks.
    pub(crate) fn balance(&mut self, model: Option<&mut Annotator>) -> Result<()> {
        let comm = self.setting.comm;
        if self.setting.job.run.balance != MEASURED || comm.size() == 1 {
            return Ok(());
        }
        let passed = self.balance.since.map(|since| since.elapsed());
        let due = passed.is_none_or(|passed| passed >= self.balance.took * PROBE_PART);
        if comm.max(u64::from(due)) == 0 {
            return Ok(());
        }
        let rates = self.rates(passed)?;
        let before = comm.shares();
        let now = self.estimate((&self.setting.data, &self.setting.grid), &rates);
        let (data, grid) = self.dealt_where_it_fits(&rates);
        let then = self.estimate((&data, &grid), &rates);
        let gain = now / then;
        let pays = gain >= GAIN;
        match pays {
            true => self.take_shares((data, grid), model)?,
            false => comm.deal_in(before),
        }
        self.tell_of_shares(&rates, gain, pays);
        self.balance.since = Some(Instant::now());
        Ok(())
    }

    /// What each rank computes a second, in floating-point operations; so much time has `passed`
    /// since they measured it last.
    fn rates(&mut self, passed: Option<Duration>) -> Result<Vec<u64>> {
        let comm = self.setting.comm;
        let part = passed.map_or(PROBE_MOST, |passed| passed / PROBE_PART);
        let seconds = part.clamp(PROBE_LEAST, PROBE_MOST);
        // Ranks of a node are measured beside one another, as they will work.
        comm.barrier();
        let began = Instant::now();
        let rate = match &mut self.setting.speeds {
            Some(said) => Ok(said()),
            None => probe::rate(&self.setting, &mut self.device, seconds),
        };
        self.balance.took = match self.setting.speeds {
            Some(_) => Duration::ZERO,
            None => began.elapsed(),
        };
        Ok(comm.all_gather(&[comm.agree(rate)?.max(1)]))
    }

    /// Seconds of an operation on all rows, and of one on all class blocks of the expert step, as
    /// both are dealt now: of the slowest rank.
    fn estimate(&self, (data, grid): (&Data, &Grid), rates: &[u64]) -> f64 {
        let rows = data.train.owned();
        let rows: Vec<usize> = (0..rates.len()).map(|rank| rows.items(rank)).collect();
        let numbers: Vec<f64> = rates.iter().map(|rate| *rate as f64).collect();
        slowest(&rows, rates) + self.setting.class_seconds(grid, &numbers)
    }

    /// The data and the grid, dealt in shares by what ranks compute as far as every rank has memory
    /// for its own; equally where that doesn't come out. Ranks deal so from now on. A grid whose
    /// shape is chosen has one row where another one's class blocks don't fit.
    fn dealt_where_it_fits(&self, rates: &[u64]) -> (Data, Grid) {
        let (comm, mut shares) = (self.setting.comm, shares_of(rates));
        let mean = rates.iter().map(|rate| *rate as f64).sum::<f64>() / rates.len() as f64;
        for cuts in 0..CUTS {
            comm.deal_in(shares.clone());
            let data = self.setting.data.dealt_anew(comm);
            let grid = self.setting.grid_anew(&data, Some(mean), cuts == 0);
            let fits = comm.all_gather(&[u8::from(self.fits((&data, &grid)))]);
            if fits.iter().all(|fits| *fits == 1) {
                return (data, grid);
            }
            // A rank without room for its part of several rows may have it for that of one.
            if cuts == 0 && grid.rows() > 1 {
                continue;
            }
            for (share, fits) in shares.iter_mut().zip(fits) {
                *share = if fits == 1 { *share } else { (*share * 9 / 10).max(1) };
            }
        }
        comm.deal_in(vec![1; comm.size()]);
        let data = self.setting.data.dealt_anew(comm);
        let grid = self.setting.grid_anew(&data, None, true);
        (data, grid)
    }

    /// Whether this rank has memory for what it has of `data` on a grid, here and on its device.
    fn fits(&self, dealt: (&Data, &Grid)) -> bool {
        let room = launch::memory().unwrap_or(u64::MAX);
        let room = usize::try_from(room).unwrap_or(usize::MAX).max(self.balance.peak);
        self.setting.own_peak(dealt, self.device.own_memory()).is_ok_and(|peak| peak <= room)
    }

    /// Goes on with data and grid, dealt as ranks deal now; models follow.
    fn take_shares(&mut self, dealt: (Data, Grid), model: Option<&mut Annotator>) -> Result<()> {
        let comm = self.setting.comm;
        let limit = self.device.own_memory();
        if let Some(plan) = self.setting.take_data(dealt, limit)? {
            self.device.divide(plan.room);
        }
        let Some(model) = model else { return Ok(()) };
        let same = which(comm, Some(&self.best), model) == BestIs::Same;
        let best = self.best.model.take().filter(|_| !same);
        self.hand_over(model);
        self.best.model = match same {
            true => Some(model.clone()),
            false => best.map(|mut best| {
                self.hand_over(&mut best);
                best
            }),
        };
        comm.agree(Ok(()))
    }

    fn hand_over(&self, model: &mut Annotator) {
        let Experts { layouts, owners, parameters } = &mut model.experts;
        let (layouts, owners) = (std::mem::take(layouts), owners.clone());
        let counts = layouts.iter().flat_map(|layout| &layout.experts);
        let small = counts.eq(&self.setting.small_experts())
            && (self.standing.round == 0
                || *self.setting.data.experts != self.setting.small_experts());
        let anew = self.setting.owners(&layouts, small);
        let experts = Experts { layouts, owners, parameters: std::mem::take(parameters) };
        model.experts = hand_over(self.setting.comm, experts, anew);
    }

    /// One line for whoever looks on, and all numbers for the record.
    fn tell_of_shares(&mut self, rates: &[u64], gain: f64, pays: bool) {
        let shares = self.setting.comm.shares();
        let row_blocks: Vec<usize> =
            self.setting.data.train.block_runs().iter().map(ExactSizeIterator::len).collect();
        let [least, most] = [rates.iter().min(), rates.iter().max()];
        let [least, most] = [least, most].map(|rate| human::count(*rate.expect("a rank") as f64));
        let all: usize = shares.iter().sum();
        let percent = |share: &usize| format!("{:.1}", *share as f64 * 100.0 / all as f64);
        let ranks = first_of(&shares, percent);
        let grid = &self.setting.grid;
        let slices: Vec<usize> = grid.slices_of_rows().collect();
        let on = match grid.rows() {
            1 => String::new(),
            rows => {
                let list = first_of(&slices, usize::to_string);
                format!(" on a grid of {rows} x {}, slices {list}", grid.columns())
            }
        };
        let why = match pays {
            true => format!("new shares, {gain:.2} times as fast by the model"),
            false => "shares stay".into(),
        };
        log::info!("run.balance: ranks compute {least} to {most} flop/s: {why}: {ranks} %{on}");
        self.balance.told.push(json!({
            "before": phase(), "flop_per_second": rates, "gain": gain, "taken": pays,
            "shares": shares, "row_blocks": row_blocks,
            "grid": [grid.rows(), grid.columns()], "slices": slices,
        }));
    }
}

/// The first sixteen of them, for people.
fn first_of(numbers: &[usize], tell: impl Fn(&usize) -> String) -> String {
    let mut told: Vec<String> = numbers.iter().take(16).map(tell).collect();
    told.extend((numbers.len() > 16).then(|| "...".into()));
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_thousandths_of_the_fastest_and_never_nothing() {
        assert_eq!(shares_of(&[5, 5, 20, 80]), [62, 62, 250, 1000]);
        assert_eq!(shares_of(&[1, u64::MAX, u64::MAX / 2]), [1, 1000, 499]);
        assert_eq!(shares_of(&[7]), [1000]);
    }

    #[test]
    fn the_slowest_rank_says_how_long_all_take() {
        let rates = [1, 1, 4, 16];
        let [equal, by_speed] = [[22, 22, 22, 22], [4, 4, 16, 64]].map(|p| slowest(&p, &rates));
        assert_eq!((equal, by_speed), (0.25, 1.0 / 22.0));
        assert_eq!(slowest(&[0, 0, 0, 0], &rates), 0.0);
    }
}
