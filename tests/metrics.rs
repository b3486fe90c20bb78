//! Metrics: the starter code's figures, an independent reference on ranks with heavy ties, the
//! oracle.

mod common;

use common::{json, real_data, reelscale};
use reelscale::internals::inference::rankings::{Ranked, Visited, full_precisions, metrics};
use reelscale::internals::labels::Labels;
use reelscale::internals::metrics::TopLists;
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::{Comm, Metrics, run_threads};

/// The metrics of dense scores, rows divided over the ranks of `comm`.
fn measure(comm: &Comm, scores: &[Vec<f32>], labels: &Labels, top_k: usize) -> Metrics {
    let mine = comm.deal(scores.len()).own();
    let classes = scores.first().map_or(1, Vec::len);
    let mut top = TopLists::new(mine.len(), classes);
    let mut own = Labels::new();
    for (at, row) in mine.clone().enumerate() {
        top.offer(at, 0, &scores[row]);
        own.push(labels.row(row));
    }
    let flat: Vec<f32> = mine.clone().flat_map(|row| scores[row].clone()).collect();
    let full = full_precisions(comm, mine.start as u64, &own, 0..classes, &flat);
    let known: Vec<f64> = full.into_iter().flatten().collect();
    let map_full = Some(known.iter().sum::<f64>() / known.len().max(1) as f64);
    let ranked = Ranked { first_row: mine.start as u64, top: &top, labels: &own };
    metrics(comm, &ranked, classes, top_k, Visited { map_full, loss: None })
}

fn dense_labels(rows: &[&[u8]]) -> Labels {
    let mut labels = Labels::new();
    for row in rows {
        let own: Vec<u32> = (0..row.len()).filter(|k| row[*k] == 1).map(|k| k as u32).collect();
        labels.push(&own);
    }
    labels
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

/// Figures computed by running the original code.
#[test]
fn the_starter_codes_vectors() {
    let mut scores = vec![
        vec![0.9, 0.8, 0.1, 0.05, 0.3],
        vec![0.2, 0.7, 0.6, 0.4, 0.1],
        vec![0.55, 0.15, 0.95, 0.35, 0.25],
        vec![0.45, 0.65, 0.02, 0.85, 0.75],
    ];
    let mut labels =
        dense_labels(&[&[1, 0, 0, 0, 1], &[0, 1, 1, 0, 0], &[0, 0, 1, 0, 0], &[0, 1, 0, 0, 1]]);
    let check = |scores: &[Vec<f32>], labels: &Labels, top_k, expected: [f64; 4]| {
        let found = measure(&Comm::serial(), scores, labels, top_k);
        near(found.hit_at_1, expected[0]);
        near(found.perr, expected[1]);
        near(found.gap_at_20, expected[2]);
        near(found.map_at_20, expected[3]);
    };
    check(&scores, &labels, 2, [0.75, 0.75, 0.568_707_483_0, 0.6875]);
    check(&scores, &labels, 5, [0.75, 0.75, 0.752_773_417_1, 0.895_833_333_3]);
    scores.push(vec![0.5, 0.31, 0.12, 0.99, 0.01]);
    labels.push(&[]);
    check(&scores, &labels, 2, [0.6, 0.6, 0.409_013_605_4, 0.6875]);
    check(&scores, &labels, 5, [0.6, 0.6, 0.566_751_700_7, 0.895_833_333_3]);
    let zeros = vec![vec![0.0, 0.0, 0.0, 0.9], vec![0.0; 4]];
    let found = measure(&Comm::serial(), &zeros, &dense_labels(&[&[1, 0, 0, 1], &[1, 1, 0, 0]]), 4);
    near(found.perr, 0.25);
    near(found.hit_at_1, 1.0);
}

/// One pass over everything in float64: (GAP, MAP@k, full MAP, PERR, Hit@1).
fn reference(scores: &[Vec<f32>], labels: &Labels, top_k: usize) -> [f64; 5] {
    let classes = scores[0].len();
    let hit = |row: usize, class: usize| labels.row(row).contains(&(class as u32));
    let order = |row: usize| {
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|a, b| scores[row][*b].total_cmp(&scores[row][*a]).then(a.cmp(b)));
        order
    };
    let precision = |pairs: &mut Vec<(f32, usize, usize)>, positives: usize| {
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(b.2.cmp(&a.2)));
        let (mut hits, mut sum) = (0, 0.0);
        for (index, (_, class, row)) in pairs.iter().enumerate() {
            if hit(*row, *class) {
                hits += 1;
                sum += f64::from(hits) / (index + 1) as f64;
            }
        }
        sum / positives.max(1) as f64
    };
    let (mut all, mut perr, mut hits) = (Vec::new(), 0.0, 0.0);
    for row in 0..scores.len() {
        let (order, count) = (order(row), labels.row(row).len());
        all.extend(order.iter().take(top_k).map(|class| (scores[row][*class], *class, row)));
        hits += f64::from(u8::from(hit(row, order[0])));
        let found = order[..count].iter().filter(|k| hit(row, **k) && scores[row][**k] > 0.0);
        perr += found.count() as f64 / count.max(1) as f64;
    }
    let of_class = |class: usize| (0..scores.len()).filter(|row| hit(*row, class)).count();
    let seen: Vec<usize> = (0..classes).filter(|class| of_class(*class) > 0).collect();
    let mean = |precision: &mut dyn FnMut(usize) -> f64| {
        seen.iter().map(|class| precision(*class)).sum::<f64>() / seen.len().max(1) as f64
    };
    let map = mean(&mut |class| {
        let mut own = all.iter().filter(|pair| pair.1 == class).copied().collect();
        precision(&mut own, of_class(class))
    });
    let full = mean(&mut |class| {
        let mut own = (0..scores.len()).map(|row| (scores[row][class], class, row)).collect();
        precision(&mut own, of_class(class))
    });
    let rows = scores.len() as f64;
    [precision(&mut all, labels.positives()), map, full, perr / rows, hits / rows]
}

#[test]
fn ranks_agree_with_one_pass_over_everything_in_spite_of_ties() {
    for (seed, rows, classes, levels) in
        [(1, 97, 30, 4), (2, 5, 7, 1), (3, 200, 25, 1000), (4, 3, 40, 2)]
    {
        let mut stream = Stream::new(seed, Purpose::PlantedRows, 0);
        let mut labels = Labels::new();
        let scores: Vec<Vec<f32>> = (0..rows)
            .map(|_| {
                let own: Vec<u32> = (0..classes).filter(|_| stream.below(8) == 0).collect();
                labels.push(&own);
                (0..classes).map(|_| stream.below(levels) as f32 / levels as f32).collect()
            })
            .collect();
        let expected = reference(&scores, &labels, 20);
        let mut first: Option<Metrics> = None;
        for size in [1, 2, 3, 5, 8] {
            let all = run_threads(size, |comm| Ok(measure(comm, &scores, &labels, 20))).unwrap();
            let found = &all[0];
            assert!(all.iter().all(|other| other == found), "all ranks know the same");
            let values = [
                found.gap_at_20,
                found.map_at_20,
                found.map_full.unwrap(),
                found.perr,
                found.hit_at_1,
            ];
            values.iter().zip(expected).for_each(|(found, expected)| near(*found, expected));
            assert_eq!(
                first.get_or_insert_with(|| found.clone()),
                found,
                "same bits on {size} ranks"
            );
        }
    }
}

/// 1,806 real videos, and what YouTube-8M's own evaluator says of them.
#[test]
fn the_oracle_agrees() {
    if common::without_mpi() {
        return;
    }
    let Some(real) = real_data() else { return };
    let oracle = real.join("oracle");
    for ranks in [1, 2, 3] {
        let command = reelscale("evaluate --format json --predictions")
            .path(&oracle.join("predictions_top20.csv"))
            .arg("--labels")
            .path(&oracle.join("labels.csv"));
        let found: serde_json::Value =
            serde_json::from_str(&command.ranks(ranks).stdout()).unwrap();
        for (key, name, bound) in [
            ("hit_at_1", "hit_at_1", 1e-9),
            ("perr", "perr", 1e-9),
            ("map_at_20", "map", 1e-9),
            ("gap_at_20", "gap20", 1e-6),
        ] {
            let expected = json(&oracle.join("expected.json"), name).as_f64().unwrap();
            let error = (found[key].as_f64().unwrap() - expected).abs();
            assert!(error < bound, "{key}: {error}");
        }
        assert_eq!(
            (found["videos"].as_u64(), found["positives"].as_u64()),
            (Some(1806), Some(5463))
        );
        assert_eq!(found["map_classes"].as_u64(), Some(1182));
    }
}

#[test]
fn bad_csv_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("labels.csv"), "VideoId,Labels\na,1 2\nb,\n").unwrap();
    let table = [
        ("", "line 1: found nothing"),
        ("id,x\n", "line 1: found \"id,x\", expected \"VideoId,LabelConfidencePairs\""),
        ("VideoId,LabelConfidencePairs\na,1 0.5 2\n", "line 2: a: found class 2 without a score"),
        ("VideoId,LabelConfidencePairs\na,1 nan\n", "line 2: a: class 1: found the score \"nan\""),
        ("VideoId,LabelConfidencePairs\na,1 .5\na,2 .5\n", "line 3: a: found a second time"),
        ("VideoId,LabelConfidencePairs\na,1 .5 1 .6\n", "line 2: a: found class 1 twice"),
        ("VideoId,LabelConfidencePairs\nabc\n", "line 2: found \"abc\""),
    ];
    let run = |text: &str| {
        std::fs::write(path("p.csv"), text).unwrap();
        reelscale("evaluate --predictions")
            .path(&path("p.csv"))
            .arg("--labels")
            .path(&path("labels.csv"))
    };
    for (text, expected) in table {
        let printed = run(text).fails_with(4);
        assert!(printed.contains("p.csv: ") && printed.contains(expected), "{printed}");
    }
    // A labelled video without prediction predicts nothing, a prediction without labels counts as
    // unlabelled.
    let text = run("VideoId,LabelConfidencePairs\na,2 .5 7 .4\nc,1 .9\n")
        .arg("--format")
        .arg("json")
        .stdout();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((found["videos"].as_u64(), found["positives"].as_u64()), (Some(3), Some(2)));
    near(found["hit_at_1"].as_f64().unwrap(), 1.0 / 3.0);
    near(found["gap_at_20"].as_f64().unwrap(), 0.5 / 2.0);
}
