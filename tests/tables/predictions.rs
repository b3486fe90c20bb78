//! Annotations as Parquet beside pyarrow: what it reads of ours, and ours of what it writes.

use std::fs;

use super::common::place::Place;
use super::common::shards::labels_csv;
use super::common::{TestCommand, reelscale, shards};
use super::parquet::pyarrow;

/// The same rows in both files, to the bit; then others' forms of them.
const BOTH: &str = r#"
import csv
t, about = pq.read_table("a.parquet"), pq.read_metadata("a.parquet")
rows = list(csv.reader(open("a.csv", newline="")))
assert rows.pop(0) == ["VideoId", "Class", "Score"] and len(rows) == 300 * 7
assert t.schema.equals(pa.schema([pa.field("id", pa.string(), False),
    pa.field("class", pa.int32(), False), pa.field("score", pa.float32(), False)])), t.schema
assert t["id"].to_pylist() == [r[0] for r in rows]
assert t["class"].to_pylist() == [int(r[1]) for r in rows]
score = t["score"].to_numpy()
assert score.tobytes() == np.array([r[2] for r in rows], np.float32).tobytes()
assert about.metadata[b"reelscale.top"] == b"7" and len(about.metadata[b"reelscale.model"]) == 64
assert about.created_by.startswith("reelscale version "), about.created_by
write("wide.parquet", {"score": score.astype(np.float64), "rank": np.arange(2100),
      "class": t["class"].cast(pa.int64()), "id": t["id"].dictionary_encode()},
      row_group_size=500)
pq.write_table(t.filter(pa.array(np.arange(2100) % 7 != 6)), "six.parquet")
write("none.parquet", {"id": ["a", None], "class": [1, 2], "score": [0.5, 0.25]})
write("nan.parquet", {"id": ["a", "b"], "class": [1, 2], "score": [0.5, None]})
write("far.parquet", {"id": ["a", "b"], "class": [1, -2], "score": [0.5, 0.25]})
write("twice.parquet", {"id": ["a", "b", "a"], "class": [1, 2, 3], "score": [0.5, 0.25, 0.1]})
write("same.parquet", {"id": ["a", "a"], "class": [1, 1], "score": [0.5, 0.25]})
write("lists.parquet", {"id": ["a"], "class": [[1, 2]], "score": [[0.5, 0.25]]})
write("other.parquet", {"video": ["a"], "class": [1], "score": [0.5]})
"#;

#[test]
fn pyarrow_reads_what_annotate_writes_and_evaluate_what_pyarrow_does() {
    let place = Place::new();
    shards(&place.path("data"), 300, 20, 12);
    let job = "[data]\ntrain = [\"data/a.h5\"]\n[pretrain]\nepochs = 1\n[rounds]\ncount = 0\n";
    place.write("job.toml", job.as_bytes());
    let here = |command: &str| reelscale(command).in_folder(&place.path(""));
    here("train job.toml --output run").stdout();
    let annotate = "annotate --model run/model --data data/a.h5 --top 7 --output";
    here(&format!("{annotate} a.parquet")).stdout();
    here(&format!("{annotate} a.csv --format long")).stdout();
    here("annotate --model run/model --data data/a.h5 --top 6 --output six.csv --format long")
        .stdout();
    fs::write(place.path("labels.csv"), labels_csv(&place.path("data/a.h5"))).unwrap();
    if !pyarrow(&place.path(""), BOTH) {
        return;
    }
    let evaluate = |name: &str| -> TestCommand {
        here(&format!("evaluate --format json --predictions {name} --labels labels.csv"))
    };
    let expected = evaluate("a.csv").stdout();
    assert_eq!(evaluate("a.parquet").stdout(), expected);
    assert_eq!(evaluate("wide.parquet").stdout(), expected);
    // It keeps what our footer says, of rows that are others now: what it writes isn't ours.
    assert_eq!(evaluate("six.parquet").stdout(), evaluate("six.csv").stdout());
    for (name, text) in [
        ("none", "row 1: id: found none"),
        ("nan", "row 1: class 2: found the score NaN, expected a number"),
        ("far", "row 1: found the class -2, expected 0 to 16777215"),
        ("twice", "row 2: a: found a second time"),
        ("same", "row 1: a: found class 1 twice"),
        ("lists", "row 0: class: found 2, expected one"),
        ("other", "found the columns \"video, class, score\", expected \"id\", \"class\" and"),
    ] {
        let told = evaluate(&format!("{name}.parquet")).fails_with(4);
        assert!(told.contains(&format!("{name}.parquet: {text}")), "{told}");
    }
}
