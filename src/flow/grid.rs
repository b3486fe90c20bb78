//! The groups that ranks of a grid talk in, beside that of all ranks (docs/thousand-ranks.md,
//! section 3.2).

use std::rc::Rc;

use crate::comm::Comm;
use crate::partition::{Grid, Place};

/// The groups of this rank, made once a run.
pub struct Lanes<'a> {
    row: Option<Lane<'a>>,
    column: Option<Rc<ColumnLanes>>,
}

/// The ranks of a column, as two groups: exchanges of each have one order of their own, whatever is
/// under way in the other.
pub struct ColumnLanes {
    /// In which partial sums of gradients travel.
    pub sums: Comm,
    /// In which weights that have been stepped travel.
    pub weights: Comm,
}

/// A group that may be that of all ranks.
enum Lane<'a> {
    All(&'a Comm),
    Some(Comm),
}

impl<'a> Lanes<'a> {
    /// The groups of `grid`'s ranks among `all`. Where each rank is a column nothing is split:
    /// their row is all ranks, and nobody else has their class blocks. Collective.
    pub fn new(all: &'a Comm, grid: &Grid) -> Lanes<'a> {
        let (rows, columns) = (grid.rows(), grid.columns());
        if rows == 1 && columns == all.size() {
            return Lanes { row: Some(Lane::All(all)), column: None };
        }
        let own = grid.own();
        let of = |row: usize, column: usize| grid.rank(Place { row, column });
        // Those that are left over are a group by themselves, in which nothing travels.
        let left_over = || (rows * columns..all.size()).collect();
        let in_row = |place: Place| (0..columns).map(|column| of(place.row, column)).collect();
        let in_column = |place: Place| (0..rows).map(|row| of(row, place.column)).collect();
        let row = all.group(own.map_or_else(left_over, in_row));
        let row = own.map(|_| Lane::Some(row));
        let column = (rows > 1).then(|| {
            let members = || own.map_or_else(left_over, in_column);
            let [sums, weights] = [(); 2].map(|()| all.group(members()));
            Rc::new(ColumnLanes { sums, weights })
        });
        Lanes { row, column: column.filter(|_| own.is_some()) }
    }

    /// This rank's row of the grid, by columns, along which rows of a window travel. None: this
    /// rank is left over.
    pub fn row(&self) -> Option<&Comm> {
        self.row.as_ref().map(|lane| match lane {
            Lane::All(all) => all,
            Lane::Some(row) => row,
        })
    }

    /// This rank's column, by rows. None: nobody else has its class blocks, or it has none.
    pub fn column(&self) -> Option<&Rc<ColumnLanes>> {
        self.column.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::run_threads;

    #[test]
    fn rows_and_columns_of_a_grid_are_groups() {
        for (ranks, rows, columns) in [(1, 1, 1), (4, 2, 2), (7, 3, 2), (5, 1, 3), (3, 3, 1)] {
            let work = |comm: &Comm| {
                let grid = Grid::new((rows, columns), 12, ranks, comm.rank());
                let lanes = Lanes::new(comm, &grid);
                let of = |lane: Option<&Comm>| lane.map(|lane| (lane.rank(), lane.size()));
                let column = lanes.column();
                let found = [
                    of(lanes.row()),
                    of(column.map(|column| &column.sums)),
                    of(column.map(|column| &column.weights)),
                ];
                let place = grid.own();
                let column = place.filter(|_| rows > 1).map(|place| (place.row, rows));
                let expected = [place.map(|place| (place.column, columns)), column, column];
                assert_eq!(found, expected, "rank {} of {ranks}", comm.rank());
                Ok(())
            };
            run_threads(ranks, work).unwrap();
        }
    }

    #[test]
    fn where_each_rank_is_a_column_no_word_travels() {
        let work = |comm: &Comm| {
            let lanes = Lanes::new(comm, &Grid::new((1, 3), 1, 3, comm.rank()));
            assert!(std::ptr::eq(lanes.row().expect("a row"), comm) && lanes.column().is_none());
            Ok(comm.traffic().messages)
        };
        assert_eq!(run_threads(3, work).unwrap(), [0; 3]);
    }
}
