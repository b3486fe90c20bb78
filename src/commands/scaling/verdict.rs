//! Whether the figures of a study can be believed, and if not, why.

use std::collections::BTreeSet;

use super::Kind;
use super::row::Row;
use super::sizes::Size;
use crate::human::counted;

/// Shorter runs are start and chance.
const SECONDS_MIN: f64 = 30.0;
/// (most - least) / median of the seconds of one number of ranks.
const SPREAD_MAX: f64 = 0.05;
/// Cores of a machine that may work for others: this share of them, at least so many. A quiet
/// system has some hundredths of a core to do.
const OTHERS_SHARE: f64 = 0.01;
const OTHERS_MAX: f64 = 0.1;
/// Digits of a hash that a line shows.
const SHOWN: usize = 12;

/// What a study is meant to measure.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) ranks: Vec<usize>,
    pub(super) repeats: usize,
}

/// A row and the threads that each of its ranks was to have.
pub(super) struct Study<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) threads: usize,
    pub(super) rows: &'a [Row],
    pub(super) sizes: &'a [Size],
}

/// All that speaks against the figures, a line each; nothing: they are valid.
pub(super) fn reasons(study: &Study) -> Vec<String> {
    let mut ranks: BTreeSet<usize> = study.wanted.ranks.iter().copied().collect();
    ranks.extend(study.rows.iter().map(|row| row.ranks));
    let each = ranks.into_iter().flat_map(|ranks| {
        let rows: Vec<&Row> = study.rows.iter().filter(|row| row.ranks == ranks).collect();
        let found = of_size(study, ranks, &rows);
        let of = counted(ranks as u64, "rank");
        found.into_iter().map(move |text| format!("{of}: {text}"))
    });
    each.chain(between_sizes(study)).collect()
}

/// What is wrong with one number of ranks.
fn of_size(study: &Study, ranks: usize, rows: &[&Row]) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(row) = rows.iter().find(|row| !row.is_measured()) {
        let text = row.error.as_deref().unwrap_or("it has no record");
        found.push(format!("run {} failed with exit {}: {text}", row.repeat, row.exit));
    }
    let measured: Vec<&Row> = rows.iter().copied().filter(|row| row.is_measured()).collect();
    if study.wanted.ranks.contains(&ranks) && measured.len() < study.wanted.repeats {
        let (count, all) = (measured.len(), study.wanted.repeats);
        found.push(format!("{count} of {all} runs measured"));
    }
    if let Some(size) = study.sizes.iter().find(|size| size.ranks == ranks) {
        let (seconds, spread) = (size.seconds, size.spread);
        if seconds.min < SECONDS_MIN {
            found.push(format!(
                "its shortest run took {:.1} s, expected {SECONDS_MIN:.0} s at least",
                seconds.min
            ));
        }
        match size.runs {
            1 => found.push("one run alone says nothing of the spread".into()),
            _ if spread > SPREAD_MAX => found.push(format!(
                "the spread is {:.1} %, expected {:.0} % at most",
                100.0 * spread,
                100.0 * SPREAD_MAX
            )),
            _ => {}
        }
    }
    found.extend(crowded(study.threads, &measured));
    found.extend(others(&measured));
    let hashes: BTreeSet<&str> = measured.iter().map(|row| &*row.result_hash).collect();
    if hashes.len() > 1 {
        found.push(format!("its runs have different results: {}", shown(&hashes)));
    }
    found
}

/// More threads than cores, or fewer threads than asked for.
fn crowded(threads: usize, rows: &[&Row]) -> Option<String> {
    let crowded = |row: &&&Row| row.node_ranks * threads > row.node_cores;
    if let Some(row) = rows.iter().find(crowded) {
        let (threads, cores) = (row.node_ranks * threads, row.node_cores);
        return Some(format!("{} on {}", counted(threads as u64, "thread"), {
            counted(cores as u64, "core")
        }));
    }
    let row = rows.iter().find(|row| row.threads != threads)?;
    Some(format!("a rank had {}, expected {threads}", counted(row.threads as u64, "thread")))
}

/// The most that others had of this machine.
fn others(rows: &[&Row]) -> Option<String> {
    let seen = rows.iter().flat_map(|row| {
        let before = row.others_before.map(|cores| (cores, "before", row));
        before.into_iter().chain(row.others_during.map(|cores| (cores, "during", row)))
    });
    let most = |row: &Row| OTHERS_MAX.max(OTHERS_SHARE * row.node_cores as f64);
    let worst = seen.max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((cores, when, row)) = worst.filter(|(cores, _, row)| *cores > most(row)) {
        let (repeat, most) = (row.repeat, most(row));
        return Some(format!(
            "other load: {cores:.2} cores worked for others {when} run {repeat}, expected at \
             most {most:.2}"
        ));
    }
    let unseen = rows.iter().any(|row| (row.others_before, row.others_during) == (None, None));
    unseen.then(|| "nothing says whether others worked on the machine meanwhile".into())
}

/// What must be the same for all.
fn between_sizes(study: &Study) -> Vec<String> {
    let measured = || study.rows.iter().filter(|row| row.is_measured());
    let mut found = Vec::new();
    let hashes: BTreeSet<&str> = measured().map(|row| &*row.result_hash).collect();
    if study.wanted.kind == Kind::Strong && hashes.len() > 1 {
        found.push(format!("numbers of ranks have different results: {}", shown(&hashes)));
    }
    let processors: BTreeSet<&str> = measured().map(|row| &*row.processor).collect();
    if processors.len() > 1 {
        let all: Vec<&str> = processors.into_iter().collect();
        found.push(format!("runs on different processors: {}", all.join(", ")));
    }
    found
}

fn shown(hashes: &BTreeSet<&str>) -> String {
    let all = hashes.iter().map(|hash| hash.get(..SHOWN).unwrap_or(hash));
    all.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::sizes::sizes;
    use super::*;

    fn wanted(kind: Kind) -> Wanted {
        Wanted { kind, ranks: vec![1, 2], repeats: 2 }
    }

    /// Two runs each on 1 and 2 ranks with two threads on four cores: nothing speaks against them.
    fn rows() -> Vec<Row> {
        let row = |ranks: usize, repeat: usize| Row {
            ranks,
            repeat,
            seconds: Some(80.0 / ranks as f64 + repeat as f64 / 10.0),
            result_hash: "ab".repeat(32),
            threads: 2,
            node_ranks: ranks,
            node_cores: 4,
            processor: "P".into(),
            others_before: Some(0.02),
            others_during: Some(0.05),
            ..Row::default()
        };
        vec![row(1, 1), row(2, 1), row(1, 2), row(2, 2)]
    }

    fn found(kind: Kind, rows: &[Row]) -> Vec<String> {
        let (wanted, sizes) = (wanted(kind), sizes(kind, rows, &[]));
        reasons(&Study { wanted: &wanted, threads: 2, rows, sizes: &sizes })
    }

    /// What is found after a change of one row.
    fn after(kind: Kind, change: impl Fn(&mut Row)) -> Vec<String> {
        let mut rows = rows();
        change(&mut rows[3]);
        found(kind, &rows)
    }

    #[test]
    fn quiet_runs_of_the_same_result_are_valid() {
        assert_eq!(found(Kind::Strong, &rows()), Vec::<String>::new());
        assert_eq!(found(Kind::Weak, &rows()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_told_with_its_size() {
        let one = |change: &dyn Fn(&mut Row), expected: &str| {
            let found = after(Kind::Strong, change);
            assert_eq!(found, [expected], "{found:?}");
        };
        one(
            &|row| row.others_during = Some(0.8),
            "2 ranks: other load: 0.80 cores worked for others during run 2, expected at most 0.10",
        );
        one(&|row| row.node_ranks = 3, "2 ranks: 6 threads on 4 cores");
        one(&|row| row.threads = 1, "2 ranks: a rank had 1 thread, expected 2");
        one(&|row| row.seconds = Some(44.0), "2 ranks: the spread is 9.3 %, expected 5 % at most");
        one(&|row| row.processor = "Q".into(), "runs on different processors: P, Q");
        let text = "2 ranks: its shortest run took 29.5 s, expected 30 s at least";
        let mut short = rows();
        (short[1].seconds, short[3].seconds) = (Some(29.5), Some(29.6));
        assert_eq!(found(Kind::Strong, &short), [text]);
        assert_eq!(found(Kind::Strong, &rows()[..3])[0], "2 ranks: 1 of 2 runs measured");
    }

    #[test]
    fn a_run_that_failed_is_told_with_its_exit_and_text() {
        let found = after(Kind::Strong, |row| {
            (row.exit, row.error, row.seconds) = (4, Some("no shard".into()), None);
        });
        let expected = [
            "2 ranks: run 2 failed with exit 4: no shard",
            "2 ranks: 1 of 2 runs measured",
            "2 ranks: one run alone says nothing of the spread",
        ];
        assert_eq!(found, expected);
    }

    /// strong: the same result on any number of ranks; weak: of one number of ranks.
    #[test]
    fn results_are_compared_where_they_must_be_the_same() {
        let mut rows = rows();
        for row in &mut rows {
            row.result_hash = format!("{:02}", row.ranks).repeat(32);
        }
        let text = "numbers of ranks have different results: 010101010101, 020202020202";
        assert_eq!(found(Kind::Strong, &rows), [text]);
        assert_eq!(found(Kind::Weak, &rows), Vec::<String>::new());
        rows[3].result_hash = "ff".repeat(32);
        let text = "2 ranks: its runs have different results: 020202020202, ffffffffffff";
        assert_eq!(found(Kind::Weak, &rows), [text]);
    }

    #[test]
    fn a_large_machine_may_have_more_to_do_beside() {
        let found =
            after(Kind::Strong, |row| (row.node_cores, row.others_before) = (64, Some(0.5)));
        assert_eq!(found, Vec::<String>::new());
    }
}
