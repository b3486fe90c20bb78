//! Parts of rows are dealt to ranks as these get free, so that a slow rank holds nobody up.
//!
//! By roll calls: each rank says how far it has come and how many rows it wants at hand, in an
//! all-gather that goes on while it works, and from what all have said every rank sees who gets
//! which parts, as all others do. Whether another roll call follows stands in the one before. So no
//! message is on its way when ranks have done all, stop or fail, and no rank answers others.

use std::time::{Duration, Instant};

use crate::comm::{Comm, Exchange};

/// How long a rank that has what it wants lets others wait for a roll call.
const EVERY: Duration = Duration::from_millis(50);

/// What a rank says of itself. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Rows that it has computed.
    pub rows: u64,
    /// Parts that it is through with, written and all.
    pub finished: u64,
    /// Rows that it wants to have at hand.
    pub wanted: u64,
    /// Whether it goes no further: it has failed or is told to stop.
    pub leaves: bool,
}

/// Parts that are dealt, as one rank sees them; all ranks see the same.
pub struct Dealing<'a> {
    comm: &'a Comm,
    table: Table,
    call: Option<Exchange<'a, [u64; 4]>>,
    /// When the last roll call ended.
    last: Option<Instant>,
    every: Duration,
}

/// Who has got which parts, and how far all have come.
struct Table {
    /// Rows of each part.
    rows: Vec<u64>,
    /// Parts that are dealt.
    dealt: usize,
    /// Rows that each rank has got.
    got: Vec<u64>,
    /// What each has said last.
    said: Vec<Standing>,
    over: bool,
}

impl Standing {
    fn words(self) -> [u64; 4] {
        [self.rows, self.finished, self.wanted, u64::from(self.leaves)]
    }

    fn of([rows, finished, wanted, leaves]: [u64; 4]) -> Standing {
        Standing { rows, finished, wanted, leaves: leaves != 0 }
    }
}

impl Table {
    fn new(rows: Vec<u64>, ranks: usize) -> Table {
        let (got, said) = (vec![0; ranks], vec![Standing::default(); ranks]);
        Table { rows, dealt: 0, got, said, over: false }
    }

    fn at_hand(&self, rank: usize) -> u64 {
        self.got[rank].saturating_sub(self.said[rank].rows)
    }

    /// Takes in a roll call, and gives the parts that fall to `own`: the next one goes to the rank
    /// that has least at hand of those that want more.
    fn take(&mut self, said: impl Iterator<Item = Standing>, own: usize) -> Vec<usize> {
        self.said = said.collect();
        let finished: u64 = self.said.iter().map(|one| one.finished).sum();
        let leaves = self.said.iter().any(|one| one.leaves);
        self.over = leaves || finished == self.rows.len() as u64;
        let mut parts = Vec::new();
        while !self.over && self.dealt < self.rows.len() {
            let ranks = 0..self.said.len();
            let wanting = ranks.filter(|rank| self.at_hand(*rank) < self.said[*rank].wanted);
            let Some(rank) = wanting.min_by_key(|rank| self.at_hand(*rank)) else { break };
            self.got[rank] += self.rows[self.dealt];
            if rank == own {
                parts.push(self.dealt);
            }
            self.dealt += 1;
        }
        parts
    }
}

impl<'a> Dealing<'a> {
    /// Of parts of so many rows each, to the ranks of `comm`, all of which begin it.
    pub(crate) fn new(comm: &'a Comm, rows: Vec<u64>) -> Dealing<'a> {
        Dealing::within(comm, rows, EVERY)
    }

    /// The same with another time that a rank lets others wait at most.
    pub fn within(comm: &'a Comm, rows: Vec<u64>, every: Duration) -> Dealing<'a> {
        let mut table = Table::new(rows, comm.size());
        table.over = table.rows.is_empty();
        Dealing { comm, table, call: None, last: None, every }
    }

    /// Whether all parts are finished, or a rank leaves: no roll call follows.
    pub fn over(&self) -> bool {
        self.table.over
    }

    /// Rows that all ranks have computed, as far as this one knows.
    pub(crate) fn rows(&self) -> u64 {
        self.table.said.iter().map(|one| one.rows).sum()
    }

    /// Moves the roll call on, which this rank comes to if it is time, and gives the parts that
    /// have fallen to it. Waits for nobody.
    pub fn poll(&mut self, own: Standing) -> Vec<usize> {
        if self.over() {
            return Vec::new();
        }
        if self.is_due(own) {
            self.come(own);
        }
        match self.call.as_mut().is_some_and(Exchange::poll) {
            true => self.take(),
            false => Vec::new(),
        }
    }

    /// The same of a rank that has nothing else to do: waits for the others.
    pub fn wait(&mut self, own: Standing) -> Vec<usize> {
        if self.over() {
            return Vec::new();
        }
        self.come(own);
        self.take()
    }

    /// Comes to the roll call, unless this rank has.
    fn come(&mut self, own: Standing) {
        let comm = self.comm;
        self.call.get_or_insert_with(|| comm.start_all_gather(&[own.words()]));
    }

    fn is_due(&self, own: Standing) -> bool {
        let table = &self.table;
        let before = table.said[self.comm.rank()];
        let wants = table.got[self.comm.rank()].saturating_sub(own.rows) < own.wanted;
        let news = own.leaves || wants && table.dealt < table.rows.len();
        let is_last = table.dealt == table.rows.len() && own.finished > before.finished;
        news || is_last || self.last.is_none_or(|last| last.elapsed() >= self.every)
    }

    /// Waits for the roll call.
    fn take(&mut self) -> Vec<usize> {
        let said = self.call.take().expect("it has been started").wait();
        self.last = Some(Instant::now());
        self.table.take(said.into_iter().map(Standing::of), self.comm.rank())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::comm::run_threads;
    use crate::rng::{Purpose, Stream};

    /// What ranks get that work at some speed, and may leave after some parts: the parts of each,
    /// and whether all were finished.
    fn dealt(
        sizes: &[u64],
        steps: &[u64],
        leaver: Option<(usize, u64)>,
    ) -> Vec<(Vec<usize>, bool)> {
        let found = run_threads(steps.len(), |comm| {
            // A tenth of a second of its work.
            let wanted = (10_000 / (steps[comm.rank()] + 1)).clamp(3, 40);
            let mut dealing = Dealing::new(comm, sizes.to_vec());
            let mut own = Standing { wanted, ..Standing::default() };
            let (mut all, mut queue, mut done) = (Vec::new(), VecDeque::new(), 0);
            while !dealing.over() {
                let new = match queue.is_empty() {
                    true => dealing.wait(own),
                    false => dealing.poll(own),
                };
                all.extend(&new);
                queue.extend(new);
                let Some(part) = queue.front() else { continue };
                std::thread::sleep(Duration::from_micros(10 * steps[comm.rank()]));
                let rows: u64 = sizes[*part];
                (own.rows, done) = (own.rows + 1, done + 1);
                if done == rows {
                    (own.finished, done) = (own.finished + 1, 0);
                    queue.pop_front();
                }
                own.leaves |= leaver == Some((comm.rank(), own.finished));
            }
            // All ranks have started as many roll calls, or this meets one of them.
            comm.barrier();
            Ok((all, dealing.rows() == sizes.iter().sum::<u64>()))
        });
        found.unwrap()
    }

    #[test]
    fn every_part_goes_to_one_rank_and_all_see_the_end() {
        let mut stream = Stream::new(3, Purpose::PlantedRows, 0);
        for (ranks, count) in [(1, 5), (2, 0), (2, 1), (3, 40), (5, 3), (4, 33)] {
            let sizes: Vec<u64> = (0..count).map(|_| 1 + stream.below(6)).collect();
            let steps: Vec<u64> = (0..ranks).map(|_| stream.below(20)).collect();
            let found = dealt(&sizes, &steps, None);
            let mut parts: Vec<usize> = found.iter().flat_map(|one| one.0.clone()).collect();
            parts.sort_unstable();
            assert!(parts.into_iter().eq(0..count), "{ranks} ranks, {count} parts");
            assert!(found.iter().all(|one| one.1));
        }
    }

    #[test]
    fn a_slow_rank_gets_less() {
        let found = dealt(&[2; 120], &[1, 400], None);
        assert!(found[0].0.len() > 2 * found[1].0.len(), "{found:?}");
    }

    #[test]
    fn a_rank_that_leaves_takes_all_with_it() {
        for leaver in 0..3 {
            for after in [0, 1, 3] {
                let found = dealt(&[4; 60], &[5, 9, 7], Some((leaver, after)));
                assert!(found.iter().all(|one| !one.1), "rank {leaver} after {after}");
            }
        }
    }
}
