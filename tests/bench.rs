//! `reelscale bench`: every part runs, small, and says what scripts rely on.

mod common;

use common::reelscale;
use serde_json::Value;

fn rows(arguments: &str) -> Vec<Value> {
    let text = reelscale(&format!("bench {arguments} --repeat 1 --format json")).stdout();
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

#[test]
fn every_part_gives_its_figures() {
    let mixture = "mixture --classes 40 --experts 2 --rows 50 --activations 24 --threads 1";
    let mixture_keys = ["seconds", "rows_per_second", "gflops", "peak_mib"];
    let table: [(&str, &[&str]); 9] = [
        ("gemm --rows 30 --depth 20 --columns 40", &["seconds", "gflops"]),
        (mixture, &mixture_keys),
        (&format!("{mixture} --stage 2"), &mixture_keys),
        (&format!("{mixture} --kernel plain"), &mixture_keys),
        (
            "annotate --rows 600 --classes 40 --activations 24 --threads 2",
            &["rows_per_second", "share_of_product_by_core_time", "core_hours_per_billion"],
        ),
        ("input --rows 300 --features 8 --classes 9", &["rows_per_second", "cores_fed"]),
        ("sum --leaves 9 --length 100 --ranks 3", &["ordered_seconds", "price_of_same_bits"]),
        ("metrics --rows 200 --classes 30", &["seconds", "peak_mib", "gap_at_20"]),
        (
            "train --rows 600 --classes 20 --features 16 --batch 64",
            &["rows_per_second", "share_of_kernel"],
        ),
    ];
    for (arguments, keys) in table {
        let rows = rows(arguments);
        assert!(!rows.is_empty(), "{arguments}");
        for (row, key) in rows.iter().flat_map(|row| keys.iter().map(move |key| (row, key))) {
            assert!(
                row[key].as_f64().is_some_and(|figure| figure > 0.0),
                "{arguments}: {key}: {row}"
            );
        }
    }
    let text = reelscale("bench gemm --rows 6 --depth 8 --columns 16 --repeat 1").stdout();
    assert!(text.lines().next().is_some_and(|line| line.contains("gflops")), "{text}");
}

/// The loss of both stages and all kernels is one number, to the last digit.
#[test]
fn kernels_and_stages_agree() {
    let shape = "mixture --classes 40 --experts 3 --rows 50 --activations 24";
    let losses: Vec<Value> = reelscale::internals::kernel::vector::Instructions::available()
        .into_iter()
        .flat_map(|kernel| [1, 2].map(|stage| (kernel.name(), stage)))
        .map(|(name, stage)| rows(&format!("{shape} --kernel {name} --stage {stage}"))[0].take())
        .map(|mut row| row["loss"].take())
        .collect();
    assert!(losses[0].as_f64().is_some_and(|loss| loss > 0.0));
    assert!(losses.windows(2).all(|pair| pair[0] == pair[1]), "{losses:?}");
}

/// Both flows between ranks that rest, and the turns of a grid of them, where one is named.
#[test]
fn turns_of_a_grid_are_a_flow() {
    if common::without_mpi() {
        return;
    }
    let overlap = |more: &str| {
        let sizes = "--pieces 4 --mib 0.1 --polls 2 --repeat 1 --format json";
        reelscale(&format!("bench overlap {sizes} {more}")).ranks(3).within(60)
    };
    for (more, expected) in [("", 2), ("--grid 2x1", 3), ("--grid 3x1", 3)] {
        let text = overlap(more).stdout();
        let rows: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let flows: Vec<&Value> = rows.iter().map(|row| &row["flow"]).collect();
        assert_eq!(flows, ["experts travel", "rows travel", "turns"][..expected], "{more}");
        assert!(rows.iter().all(|row| row["traffic_seconds"].as_f64() > Some(0.0)), "{text}");
    }
    for grid in ["1x3", "2x2"] {
        let text = overlap(&format!("--grid {grid}")).fails_with(2);
        assert!(text.contains(&format!("--grid: found {grid}, expected")), "{text}");
    }
}

#[test]
fn bad_sizes_are_refused() {
    let text = reelscale("bench mixture --classes 0 --experts 0").fails_with(2);
    assert!(text.contains("--classes: found 0") && text.contains("--experts: found 0"), "{text}");
    let output = reelscale("bench gemm --kernel sse").output();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected auto or"), "says what");
}
