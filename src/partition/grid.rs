//! Ranks as a grid for the expert step: who holds which class blocks, and who takes which slices of
//! a mini-batch (docs/thousand-ranks.md, section 3.2).

mod by_speed;

use super::Owners;

/// What the share of the fastest column is, where they are of unequal speed.
const FASTEST: usize = 1 << 20;

/// Where a rank stands in a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub row: usize,
    pub column: usize,
}

/// Ranks as a grid of R rows and C columns for the expert step: a column holds class blocks, each
/// of its ranks all of them, and a row of ranks takes a run of the slices of every mini-batch.
/// Rank c R + r stands in row r of column c; ranks from R C on are left over and hold rows only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    rows: usize,
    columns: usize,
    /// Slices of a mini-batch over rows of the grid; behind them an empty run, where this rank is
    /// left over.
    slices: Owners,
    ranks: usize,
    rank: usize,
}

/// Which column holds which class blocks, and which rank of a column owns which of those: it shows
/// and saves them, and takes them to the shared step. So what knows owners needs to know no grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Over C columns, and an empty run behind them, where this rank is left over.
    pub of_column: Owners,
    /// Over all ranks.
    pub owners: Owners,
}

impl Grid {
    /// R and C of "RxC", both at least 1; None of "auto".
    pub(crate) fn named(name: &str) -> std::result::Result<Option<(usize, usize)>, ()> {
        if name == "auto" {
            return Ok(None);
        }
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<usize>().ok().filter(|number| digits && *number > 0).ok_or(())
        };
        let (rows, columns) = name.split_once('x').ok_or(())?;
        Ok(Some((number(rows)?, number(columns)?)))
    }

    /// R x C of the grid's ranks and slices, as `rank` of `ranks` sees it.
    pub fn new((rows, columns): (usize, usize), slices: usize, ranks: usize, rank: usize) -> Grid {
        assert!((1..=slices).contains(&rows), "{rows} rows of a grid take {slices} slices");
        let needed = rows.checked_mul(columns).filter(|needed| (1..=ranks).contains(needed));
        assert!(needed.is_some() && rank < ranks, "{rows} x {columns} of {ranks} ranks");
        let starts = (0..=rows).map(|row| row * slices / rows).collect();
        let place = (rank < rows * columns).then_some(rank % rows);
        Grid { rows, columns, slices: with_left_over(starts, place), ranks, rank }
    }

    /// All ranks, those left over too.
    pub(crate) fn ranks(&self) -> usize {
        self.ranks
    }

    /// R.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// C.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether each rank is a column, so that all ranks take all rows.
    pub(crate) fn all_take_all(&self) -> bool {
        self.rows == 1 && self.columns == self.ranks
    }

    /// Where `rank` stands; None where it is left over.
    pub fn place(&self, rank: usize) -> Option<Place> {
        assert!(rank < self.ranks, "rank {rank} of {}", self.ranks);
        (rank < self.rows * self.columns)
            .then(|| Place { row: rank % self.rows, column: rank / self.rows })
    }

    /// Where this rank stands.
    pub fn own(&self) -> Option<Place> {
        self.place(self.rank)
    }

    /// The rank that stands there.
    pub fn rank(&self, place: Place) -> usize {
        assert!(place.row < self.rows && place.column < self.columns, "{place:?} of {self:?}");
        place.column * self.rows + place.row
    }

    /// Slices of a mini-batch over rows of the grid.
    pub fn slices(&self) -> &Owners {
        &self.slices
    }

    /// Deals class blocks of these costs to columns, and those of a column to its ranks. `shares`
    /// say how much each rank takes; a column is as fast as the rank that takes longest for its
    /// slices. Where each rank is a column, so that nothing is exchanged within one, blocks are
    /// dealt by their number, as whatever else ranks share.
    pub fn deal(&self, costs: &[usize], shares: &[usize]) -> Columns {
        assert_eq!(shares.len(), self.ranks, "a share for each rank");
        if self.rows == 1 && self.columns == self.ranks {
            let owners = Owners::in_shares(costs.len(), shares, self.rank);
            return Columns { of_column: owners.clone(), owners };
        }
        let starts = match self.shares_of_columns(shares) {
            None => least_largest(costs, &vec![1; self.columns]),
            Some(shares) => {
                // So that a cost for a share, a whole number, tells all shares apart.
                let costs: Vec<usize> =
                    costs.iter().map(|cost| cost.saturating_mul(FASTEST)).collect();
                least_largest(&costs, &shares)
            }
        };
        let mut owned = vec![0];
        for column in starts.windows(2) {
            let blocks = column[1] - column[0];
            owned.extend((1..=self.rows).map(|row| column[0] + row * blocks / self.rows));
        }
        owned.resize(self.ranks + 1, costs.len());
        let of_column = with_left_over(starts, self.own().map(|place| place.column));
        Columns { of_column, owners: Owners { starts: owned, rank: self.rank } }
    }

    /// What columns take whose ranks take so much each; None: all alike, also where each of them
    /// has a rank that is to take nothing.
    fn shares_of_columns(&self, shares: &[usize]) -> Option<Vec<usize>> {
        let slices: Vec<f64> = self.slices_of_rows().map(|count| count as f64).collect();
        let columns = shares[..self.rows * self.columns].chunks(self.rows);
        let speeds = columns.map(|column| {
            let rows = column.iter().zip(&slices).map(|(share, slices)| *share as f64 / slices);
            rows.fold(f64::INFINITY, f64::min)
        });
        let speeds: Vec<f64> = speeds.collect();
        let fastest = speeds.iter().copied().fold(0.0, f64::max);
        if speeds.iter().all(|speed| *speed == fastest) {
            return None;
        }
        let least = |speed: f64| usize::from(speed > 0.0);
        let share = |speed: f64| (speed / fastest * FASTEST as f64).round() as usize;
        Some(speeds.into_iter().map(|speed| share(speed).max(least(speed))).collect())
    }
}

/// Runs from one start to the next, as whoever has the run `own` sees them; None: an empty one is
/// behind them for whoever is left over.
fn with_left_over(mut starts: Vec<usize>, own: Option<usize>) -> Owners {
    let runs = starts.len() - 1;
    if own.is_none() {
        starts.push(starts[runs]);
    }
    Owners { starts, rank: own.unwrap_or(runs) }
}

/// Cuts items of these costs into one run for each of `shares`, of which one isn't 0, so that the
/// largest cost for its share is as small as can be, and otherwise by the shares as nearly as that
/// leaves room for. Where the i-th begins, and the end.
pub(super) fn least_largest(costs: &[usize], shares: &[usize]) -> Vec<usize> {
    let sums: Vec<u128> = std::iter::once(0)
        .chain(costs.iter().scan(0u128, |sum, cost| {
            *sum += *cost as u128;
            Some(*sum)
        }))
        .collect();
    let (all, share_of_all) = (sums[costs.len()], shares.iter().sum::<usize>() as u128);
    assert!(share_of_all > 0, "somebody takes something: {shares:?}");
    // How far a run that begins at `from` gets with what a share may cost. Runs are short beside
    // all: their ends are near.
    let end = |from: usize, share: usize, bound: u128| {
        let most = sums[from] + bound * share as u128;
        let steps = std::iter::successors(Some(1), |step| Some(2 * step));
        let mut beyond = steps.map(|step| from + step);
        let beyond = beyond.find(|at| sums.get(*at).is_none_or(|sum| *sum > most));
        let near = from..beyond.expect("the steps end").min(sums.len());
        from + sums[near].partition_point(|sum| *sum <= most) - 1
    };
    let fits = |bound: u128| {
        let reach = |from, share: &usize| {
            let to = end(from, *share, bound);
            if to == costs.len() { Err(()) } else { Ok(to) }
        };
        costs.is_empty() || shares.iter().try_fold(0, reach).is_err()
    };
    // The mean is the least that may be, or the largest item for the largest share. With one item
    // more than the mean every run gets what it is due at least.
    let largest = costs.iter().max().map_or(0, |largest| *largest as u128);
    let fastest = shares.iter().max().map_or(1, |share| *share as u128);
    let mean = all.div_ceil(share_of_all);
    let (mut low, mut bound) = (mean.max(largest.div_ceil(fastest)), mean + largest);
    if fits(low) {
        bound = low;
    }
    while low < bound {
        let middle = low + (bound - low) / 2;
        (low, bound) = if fits(middle) { (low, middle) } else { (middle + 1, bound) };
    }
    // From the right: where runs must begin at the latest for the rest to fit.
    let mut latest = vec![costs.len(); shares.len() + 1];
    for (index, share) in shares.iter().enumerate().rev() {
        let end = latest[index + 1];
        let most = sums[end].saturating_sub(bound * *share as u128);
        latest[index] = sums.partition_point(|sum| *sum < most);
    }
    let mut starts = vec![0];
    let mut so_far = 0;
    for (index, share) in shares.iter().enumerate() {
        so_far += *share as u128;
        let from = starts[index];
        let (least, most) = (latest[index + 1].max(from), end(from, *share, bound));
        // Where the shares so far would end, between two items at the nearer one.
        let due = all * so_far;
        let at = sums.partition_point(|sum| sum * share_of_all < due);
        let nearer = |at: usize| sums[at] * share_of_all - due > due - sums[at - 1] * share_of_all;
        let at = if at > 0 && nearer(at) { at - 1 } else { at };
        // A run of something has a block as long as there are enough for those behind it.
        let behind = shares.len() - index - 1;
        let room = costs.len().saturating_sub(behind).max(from);
        let least = least.max((from + usize::from(*share > 0)).min(room).min(most));
        starts.push(at.clamp(least, most.min(room).max(least)));
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers below what is asked for, the same each time.
    pub(super) fn draws() -> impl FnMut(u64) -> u64 {
        let mut state = 1u64;
        move |below| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        }
    }

    /// The largest cost for its share of the best of all cuts, each tried, times 2520.
    fn best(costs: &[usize], shares: &[usize]) -> Option<usize> {
        let Some((share, rest)) = shares.split_first() else {
            return costs.is_empty().then_some(0);
        };
        let cuts = (0..=costs.len()).filter_map(|cut| {
            let own: usize = costs[..cut].iter().sum();
            let own = if own == 0 { Some(0) } else { (own * 2520).checked_div(*share) }?;
            best(&costs[cut..], rest).map(|others| others.max(own))
        });
        cuts.min()
    }

    #[test]
    fn columns_are_cut_so_that_the_largest_is_least() {
        let mut draw = draws();
        for _ in 0..400 {
            let blocks = 1 + draw(8) as usize;
            // Costs of whole thousands, so that what whole bounds lose isn't seen.
            let costs: Vec<usize> = (0..blocks).map(|_| 2520 * (1 + draw(9) as usize)).collect();
            let mut shares: Vec<usize> = (0..1 + draw(4)).map(|_| draw(4) as usize).collect();
            shares[0] = shares[0].max(1);
            let starts = least_largest(&costs, &shares);
            assert!(starts.windows(2).all(|pair| pair[0] <= pair[1]), "{starts:?}");
            assert_eq!((starts[0], starts[shares.len()]), (0, blocks));
            let run = |index: usize| costs[starts[index]..starts[index + 1]].iter().sum::<usize>();
            let found = (0..shares.len()).map(|index| match run(index) {
                0 => 0,
                own => own * 2520 / shares[index],
            });
            let found = found.max().expect("a share");
            assert_eq!(Some(found), best(&costs, &shares), "{costs:?} {shares:?}: {starts:?}");
            if blocks >= shares.len() && shares.iter().all(|share| *share == 1) {
                assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{costs:?}: {starts:?}");
            }
        }
        // YouTube-8M's 75 blocks of 3 and 4 groups: none of 8 columns has more than it must.
        let costs: Vec<usize> = (0..75).map(|block| 3 + usize::from(block % 13 < 3)).collect();
        let starts = least_largest(&costs, &[1; 8]);
        let runs = starts.windows(2).map(|run| costs[run[0]..run[1]].iter().sum::<usize>());
        assert_eq!(runs.max(), Some(32), "{} in all", costs.iter().sum::<usize>());
    }

    #[test]
    fn every_place_of_a_grid_is_a_rank_and_every_block_has_one_owner_in_its_column() {
        for (ranks, slices, blocks) in [(1, 1, 3), (4, 4, 9), (7, 12, 5), (8, 3, 2), (13, 64, 31)] {
            for rows in 1..=slices.min(ranks) {
                for columns in 1..=ranks / rows {
                    let costs: Vec<usize> = (0..blocks).map(|block| 1 + block * 7 % 5).collect();
                    let on = |rank| Grid::new((rows, columns), slices, ranks, rank);
                    let grids: Vec<Grid> = (0..ranks).map(on).collect();
                    for (rank, grid) in grids.iter().enumerate() {
                        let Columns { of_column, owners } = grid.deal(&costs, &vec![1; ranks]);
                        assert_eq!((owners.blocks(), owners.ranks()), (blocks, ranks));
                        let place = grid.own();
                        assert_eq!(place.map(|place| grid.rank(place)), place.map(|_| rank));
                        assert_eq!(place.is_none(), rank >= rows * columns);
                        assert_eq!(place.is_none(), grid.slices().own().is_empty());
                        match place {
                            Some(place) => {
                                assert_eq!(of_column.own(), of_column.run(place.column));
                                let own = owners.own();
                                let held = of_column.own();
                                let within = held.start <= own.start && own.end <= held.end;
                                assert!(own.is_empty() || within, "{grid:?}");
                            }
                            None => assert!(of_column.own().is_empty() && owners.own().is_empty()),
                        }
                    }
                    let slices_of = |grid: &Grid| grid.slices().own().len();
                    let first_column = grids.iter().take(rows).map(slices_of).sum::<usize>();
                    assert_eq!(first_column, slices);
                }
            }
        }
    }

    #[test]
    fn columns_whose_ranks_are_to_take_nothing_take_alike() {
        let grid = Grid::new((2, 1), 4, 3, 0);
        let Columns { of_column, owners } = grid.deal(&[7; 5], &[0, 3, 1]);
        assert_eq!((of_column.own(), owners.runs()), (0..5, vec![0..2, 2..5, 5..5]));
    }

    /// What isn't exchanged within columns is dealt as ever.
    #[test]
    fn a_grid_of_one_row_owns_what_ranks_own_without_one() {
        for (blocks, shares) in [(31, vec![1; 8]), (3, vec![1; 8]), (9, vec![5, 0, 1, 2])] {
            for rank in 0..shares.len() {
                let grid = Grid::new((1, shares.len()), 1, shares.len(), rank);
                let dealt = grid.deal(&vec![7; blocks], &shares);
                assert_eq!(dealt.owners, Owners::in_shares(blocks, &shares, rank));
            }
        }
    }
}
