//! What the rows of a study come to: for each number of ranks the seconds, their spread, speedup,
//! efficiency and serial fraction.

use serde::Serialize;

use super::Kind;
use super::row::{Row, is_within};
use crate::report::median;

/// Of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Figures {
    /// `None` of none.
    fn of(mut values: Vec<f64>) -> Option<Figures> {
        let median = (!values.is_empty()).then(|| median(&mut values))?;
        Some(Figures { median, min: *values.first()?, max: *values.last()? })
    }

    /// (most - least) / median.
    pub(super) fn spread(&self) -> f64 {
        (self.max - self.min) / self.median
    }
}

/// One number of ranks beside the fewest.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scaled {
    /// strong: how many times as fast as one rank; weak: rows a second, in those of one rank.
    pub(super) speedup: f64,
    /// speedup / ranks; with the slowest and the fastest of the runs.
    pub(super) efficiency: f64,
    pub(super) efficiency_min: f64,
    pub(super) efficiency_max: f64,
    /// Of Karp and Flatt; none on the fewest ranks.
    pub(super) serial_fraction: Option<f64>,
}

/// One number of ranks.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Size {
    pub(super) ranks: usize,
    pub(super) runs: usize,
    pub(super) seconds: Figures,
    pub(super) spread: f64,
    #[serde(flatten)]
    pub(super) whole: Scaled,
    /// By the formulas of `reelscale plan`; nothing where they have none.
    pub(super) planned_seconds: Option<f64>,
    pub(super) planned_speedup: Option<f64>,
    pub(super) phases: Vec<Phase>,
}

/// A step, or another part of the seconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Phase {
    pub(super) phase: String,
    pub(super) seconds: Figures,
    /// Nothing of waits and checkpoints, which lie within the steps.
    #[serde(flatten)]
    pub(super) scaled: Option<Scaled>,
}

/// The serial fraction that explains this speedup over so many times the ranks (Karp and Flatt,
/// "Measuring parallel processor performance", 1990): (1 / S - 1 / P) / (1 - 1 / P). Below zero
/// where more ranks are better than so many times as fast.
pub(super) fn karp_flatt(speedup: f64, ranks: f64) -> Option<f64> {
    (ranks > 1.0).then(|| (1.0 / speedup - 1.0 / ranks) / (1.0 - 1.0 / ranks))
}

/// How many times as fast as one rank: `seconds` on `ranks`, against `base` seconds on `fewest`,
/// which are taken as perfect.
fn speedup(kind: Kind, (fewest, base): (usize, f64), (ranks, seconds): (usize, f64)) -> f64 {
    let work = match kind {
        Kind::Strong => fewest,
        Kind::Weak => ranks,
    };
    base / seconds * work as f64
}

impl Scaled {
    fn new(kind: Kind, base: (usize, f64), ranks: usize, seconds: Figures) -> Scaled {
        let by = |seconds: f64| speedup(kind, base, (ranks, seconds));
        let (fewest, count) = (base.0 as f64, ranks as f64);
        Scaled {
            speedup: by(seconds.median),
            efficiency: by(seconds.median) / count,
            efficiency_min: by(seconds.max) / count,
            efficiency_max: by(seconds.min) / count,
            serial_fraction: karp_flatt(by(seconds.median) / fewest, count / fewest),
        }
    }
}

/// All numbers of ranks of which a run was measured, in order.
pub(super) fn sizes(kind: Kind, rows: &[Row], planned: &[(usize, f64)]) -> Vec<Size> {
    let mut counts: Vec<usize> =
        rows.iter().filter(|row| row.is_measured()).map(|row| row.ranks).collect();
    counts.sort_unstable();
    counts.dedup();
    let Some(fewest) = counts.first().copied() else { return Vec::new() };
    let of = |ranks: usize| rows.iter().filter(move |row| row.is_measured() && row.ranks == ranks);
    let seconds = |ranks: usize| Figures::of(of(ranks).filter_map(|row| row.seconds).collect());
    let phase = |ranks: usize, name: &str| {
        let one = |row: &Row| row.phases().into_iter().find(|phase| phase.0 == name);
        Figures::of(of(ranks).filter_map(one).map(|phase| phase.1).collect())
    };
    let plan = |ranks: usize| planned.iter().find(|it| it.0 == ranks).map(|it| it.1);
    let size = |ranks: usize| {
        let (base, whole) = ((fewest, seconds(fewest)?.median), seconds(ranks)?);
        let names = of(ranks).next()?.phases().into_iter().map(|phase| phase.0);
        let phases = names.filter_map(|name| {
            let base = (fewest, phase(fewest, &name)?.median);
            let seconds = phase(ranks, &name)?;
            let scaled = (!is_within(&name)).then(|| Scaled::new(kind, base, ranks, seconds));
            Some(Phase { phase: name, seconds, scaled })
        });
        let planned = plan(fewest).zip(plan(ranks));
        Some(Size {
            ranks,
            runs: of(ranks).count(),
            seconds: whole,
            spread: whole.spread(),
            whole: Scaled::new(kind, base, ranks, whole),
            planned_seconds: plan(ranks),
            planned_speedup: planned
                .map(|(base, seconds)| speedup(kind, (fewest, base), (ranks, seconds))),
            phases: phases.collect(),
        })
    };
    counts.into_iter().filter_map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ranks: usize, repeat: usize, seconds: f64) -> Row {
        let timers = [("experts".to_string(), seconds / 2.0)].into();
        Row { ranks, repeat, seconds: Some(seconds), timers, ..Row::default() }
    }

    /// Amdahl's law with a serial fraction f gives S = 1 / (f + (1 - f) / P): it comes back.
    #[test]
    fn the_serial_fraction_is_amdahls() {
        for (fraction, ranks) in [(0.0, 2.0), (0.1, 4.0), (0.25, 64.0), (1.0, 8.0)] {
            let speedup = 1.0 / (fraction + (1.0 - fraction) / ranks);
            let found = karp_flatt(speedup, ranks).unwrap();
            assert!((found - fraction).abs() < 1e-12, "{fraction}: {found}");
        }
        // (1 / 5 - 1 / 8) / (1 - 1 / 8) = 0.075 / 0.875
        assert!((karp_flatt(5.0, 8.0).unwrap() - 3.0 / 35.0).abs() < 1e-12);
        assert!(karp_flatt(2.5, 2.0).unwrap() < 0.0, "better than linear");
        assert_eq!(karp_flatt(1.0, 1.0), None);
    }

    #[test]
    fn strong_and_weak_are_measured_against_the_fewest_ranks() {
        let rows = [row(1, 1, 40.0), row(2, 1, 25.0), row(1, 2, 42.0), row(1, 3, 41.0)];
        let planned = [(1, 10.0), (2, 5.5)];
        let found = sizes(Kind::Strong, &rows, &planned);
        assert_eq!(found.len(), 2);
        let (one, two) = (&found[0], &found[1]);
        assert_eq!((one.runs, one.seconds.median, one.whole.efficiency), (3, 41.0, 1.0));
        assert!((one.spread - 2.0 / 41.0).abs() < 1e-12);
        assert_eq!((two.whole.speedup, two.whole.efficiency), (41.0 / 25.0, 41.0 / 50.0));
        assert_eq!(two.planned_speedup, Some(10.0 / 5.5));
        let experts = two.phases.iter().find(|phase| phase.phase == "experts").unwrap();
        assert_eq!(experts.scaled.as_ref().unwrap().efficiency, 20.5 / 25.0);
        // A failed run counts for nothing.
        let failed = Row { exit: 3, error: Some("no".into()), seconds: None, ..row(4, 1, 1.0) };
        assert_eq!(sizes(Kind::Strong, &[&rows[..], &[failed]].concat(), &[]).len(), 2);

        let rows = [row(2, 1, 40.0), row(8, 1, 50.0)];
        let weak = &sizes(Kind::Weak, &rows, &[])[1].whole;
        assert!((weak.efficiency - 0.8).abs() < 1e-12 && (weak.speedup - 6.4).abs() < 1e-12);
        // 3.2 times as many rows a second on 4 times the ranks.
        let expected = karp_flatt(3.2, 4.0).unwrap();
        assert!((weak.serial_fraction.unwrap() - expected).abs() < 1e-12);
        let strong = &sizes(Kind::Strong, &[row(2, 1, 40.0), row(8, 1, 12.5)], &[])[1].whole;
        assert!((strong.speedup - 6.4).abs() < 1e-12 && (strong.efficiency - 0.8).abs() < 1e-12);
    }
}
