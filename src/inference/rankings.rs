//! Metrics over rows that are spread over ranks: exact, with the same bits for any number of ranks,
//! and without any rank holding all pairs.
//!
//! GAP orders the 20 best pairs of every row globally by a sample sort; MAP@20 walks through the
//! same order with counters for each class; full MAP counts where class blocks visit the rows.

use std::ops::Range;

use crate::comm::Comm;
use crate::labels::Labels;
use crate::metrics::{
    ClassCount, ExactSum, FullRanking, Metrics, Pair, RowSums, TopLists, class_counts,
    class_precisions, precision_terms, share,
};

/// Rows of this rank with their best classes.
pub struct Ranked<'a> {
    /// Number of the first of them among all rows.
    pub first_row: u64,
    pub top: &'a TopLists,
    pub labels: &'a Labels,
}

/// What is known from the visits of class blocks, if they have visited.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visited {
    pub map_full: Option<f64>,
    pub loss: Option<f64>,
}

/// All metrics of the rows of all ranks, `top_k` pairs a row for GAP and MAP.
pub fn metrics(
    comm: &Comm,
    ranked: &Ranked,
    class_count: usize,
    top_k: usize,
    visited: Visited,
) -> Metrics {
    let own = RowSums::of(ranked.top, ranked.labels);
    let mut parts = own.parts();
    comm.sum(&mut parts);
    let rows = RowSums::from_parts(parts, exact_total(comm, own.perr));
    let pairs = sorted_globally(comm, pairs_of(ranked, top_k));
    let (map_at_20, map_classes) = mean_average_precision(comm, ranked.labels, &pairs, class_count);
    let gap = global_precision(comm, &pairs);
    Metrics {
        gap_at_20: share(gap.value(), rows.positives),
        map_at_20,
        map_full: visited.map_full,
        map_classes,
        hit_at_1: share(rows.hits_at_1 as f64, rows.videos),
        hit_at_5: share(rows.hits_at_5 as f64, rows.videos),
        perr: share(rows.perr.value(), rows.videos),
        perr_labelled: share(rows.perr.value(), rows.labelled),
        loss: visited.loss,
        videos: rows.videos,
        positives: rows.positives,
    }
}

/// The sum over ranks.
pub(crate) fn exact_total(comm: &Comm, own: ExactSum) -> ExactSum {
    exact_totals(comm, &[own])[0]
}

/// The sum over ranks of each, of which every rank has as many.
pub(crate) fn exact_totals(comm: &Comm, own: &[ExactSum]) -> Vec<ExactSum> {
    let mut totals = vec![ExactSum::default(); own.len()];
    let words: Vec<[u64; 2]> = own.iter().map(|sum| sum.words()).collect();
    for words in comm.all_gather(&words).chunks_exact(own.len()) {
        let pairs = totals.iter_mut().zip(words);
        pairs.for_each(|(total, words)| total.merge(ExactSum::from_words(*words)));
    }
    totals
}

fn pairs_of(ranked: &Ranked, top_k: usize) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(ranked.top.rows() * top_k);
    for row in 0..ranked.top.rows() {
        let labels = ranked.labels.row(row);
        for (score, class) in ranked.top.row(row).iter().take(top_k) {
            let hit = labels.binary_search(class).is_ok();
            pairs.push(Pair::new(*score, *class, ranked.first_row + row as u64, hit));
        }
    }
    pairs
}

/// Precision at every hit among all pairs of all ranks, summed, of which these are this rank's run.
fn global_precision(comm: &Comm, pairs: &[Pair]) -> ExactSum {
    let hits = pairs.iter().filter(|pair| pair.hit()).count();
    let counts = comm.all_gather(&[pairs.len() as u64, hits as u64]);
    let before = &counts[..2 * comm.rank()];
    let positions = before.iter().step_by(2).sum();
    let hits = before.iter().skip(1).step_by(2).sum();
    exact_total(comm, precision_terms(pairs, positions, hits))
}

/// Sample sort: afterwards each rank holds a contiguous run of all pairs in order.
fn sorted_globally(comm: &Comm, mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_unstable();
    let size = comm.size();
    if size == 1 {
        return pairs;
    }
    // Pairs are distinct (a row names a class once), so regular samples bound every rank's share to
    // twice the mean, however many scores tie.
    let sample: Vec<Pair> =
        (0..size).filter_map(|part| pairs.get(part * pairs.len() / size).copied()).collect();
    let mut samples = comm.all_gather_any(&sample).concat();
    samples.sort_unstable();
    let splitters: Vec<Pair> =
        (1..size).filter_map(|part| samples.get(part * samples.len() / size).copied()).collect();
    let mut parts = vec![Vec::new(); size];
    for pair in pairs {
        parts[splitters.partition_point(|splitter| *splitter <= pair)].push(pair);
    }
    let mut received = comm.all_to_all(parts).concat();
    received.sort_unstable();
    received
}

/// Mean over classes with positives of the average precision of the pairs that name the class.
/// `pairs` are this rank's run of all pairs in order: a class's pairs are in order among them too,
/// so what it has before this run is all that is asked of other ranks.
fn mean_average_precision(
    comm: &Comm,
    labels: &Labels,
    pairs: &[Pair],
    class_count: usize,
) -> (f64, u64) {
    let counts = to_owners(comm, &class_counts(pairs, labels, class_count));
    let own = counts.len() / comm.size();
    let mut totals = vec![ClassCount::default(); own];
    let mut before = Vec::with_capacity(counts.len());
    for (at, count) in counts.iter().enumerate() {
        before.push(totals[at % own]);
        totals[at % own].add(*count);
    }
    let before = from_owners(comm, &before, class_count);
    let parts: Vec<[u64; 2]> =
        class_precisions(pairs, before).into_iter().map(ExactSum::words).collect();
    let parts = to_owners(comm, &parts);
    let (mut sum, mut classes) = (ExactSum::default(), 0);
    for (class, total) in totals.iter().enumerate().filter(|class| class.1.positives > 0) {
        let mut precision = ExactSum::default();
        let all = parts.iter().skip(class).step_by(own);
        all.for_each(|words| precision.merge(ExactSum::from_words(*words)));
        sum.add(precision.value() / total.positives as f64);
        classes += 1;
    }
    let mut classes = [classes];
    comm.sum(&mut classes);
    (share(exact_total(comm, sum).value(), classes[0]), classes[0])
}

/// Number of classes that fall to each rank.
fn class_shares(comm: &Comm, class_count: usize) -> Vec<usize> {
    comm.deal(class_count).runs().iter().map(Range::len).collect()
}

/// Given a value for each class: those of the classes that fall to this rank, [rank][class].
fn to_owners<T: bytemuck::Pod>(comm: &Comm, values: &[T]) -> Vec<T> {
    let shares = class_shares(comm, values.len());
    let from = vec![shares[comm.rank()]; comm.size()];
    let mut received = vec![T::zeroed(); from.iter().sum()];
    comm.all_to_all_v(values, &shares, &mut received, &from);
    received
}

/// The reverse of `to_owners`: gives every rank a value for each class back, of those that lie with
/// the classes' ranks.
fn from_owners<T: bytemuck::Pod>(comm: &Comm, values: &[T], class_count: usize) -> Vec<T> {
    let shares = class_shares(comm, class_count);
    let to = vec![shares[comm.rank()]; comm.size()];
    let mut received = vec![T::zeroed(); class_count];
    comm.all_to_all_v(values, &to, &mut received, &shares);
    received
}

/// Average precision over all rows of each class of a block that visits: `scores` are this rank's
/// `[rows][classes]`, `classes` the block's.
pub fn full_precisions(
    comm: &Comm,
    first_row: u64,
    labels: &Labels,
    classes: Range<usize>,
    scores: &[f32],
) -> Vec<Option<f64>> {
    let width = classes.len();
    let mut own = Vec::new();
    for row in 0..labels.rows() {
        let scores = &scores[row * width..(row + 1) * width];
        own.extend(positives_of(first_row + row as u64, labels.row(row), &classes, scores));
    }
    let mut ranking = full_ranking(comm, width, &own);
    for (row, scores) in scores.chunks_exact(width).enumerate() {
        ranking.count(first_row + row as u64, scores);
    }
    count_over_ranks(comm, &mut ranking);
    ranking.average_precisions()
}

/// A class of a block, counted from its first, the bits of the score of one of its positives, and
/// the row, as ranks tell each other.
pub(crate) type Positive = [u64; 3];

/// What the row `row` of these labels adds to the positives of the block of `classes`, given its
/// scores of all of them.
pub(crate) fn positives_of<'a>(
    row: u64,
    labels: &'a [u32],
    classes: &Range<usize>,
    scores: &'a [f32],
) -> impl Iterator<Item = Positive> + use<'a> {
    let classes = classes.clone();
    let within = labels.iter().map(|label| *label as usize).filter({
        let classes = classes.clone();
        move |label| classes.contains(label)
    });
    within.map(move |label| {
        let class = label - classes.start;
        [class as u64, u64::from(scores[class].to_bits()), row]
    })
}

/// The rankings of a block of `classes` classes, given this rank's positives; every rank then
/// counts each of its rows.
pub(crate) fn full_ranking(comm: &Comm, classes: usize, own: &[Positive]) -> FullRanking {
    let all = comm.all_gather_any(own).concat();
    let positives = all
        .iter()
        .map(|[class, score, row]| (*class as usize, f32::from_bits(*score as u32), *row));
    FullRanking::new(classes, positives)
}

/// Makes what each rank has counted of its rows what all have counted.
pub(crate) fn count_over_ranks(comm: &Comm, ranking: &mut FullRanking) {
    if !ranking.counters().is_empty() {
        comm.sum(ranking.counters());
    }
}
