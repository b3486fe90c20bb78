//! The page, of runs in any state, and as a browser shows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::common::{json, reelscale};
use super::older_runs::Copy;
use super::{Scratch, scratch};

/// The page about these runs.
fn page(scratch: &Scratch, runs: &[&str]) -> String {
    let output = scratch.path("report.html");
    let command =
        runs.iter().fold(reelscale("report"), |command, run| command.path(&scratch.path(run)));
    command.arg("--output").path(&output).stdout();
    fs::read_to_string(output).unwrap()
}

/// Nothing from elsewhere, nothing that runs.
fn stands_alone(page: &str) {
    for never in ["<script", "src=", "href=", "url(", "@import", "NaN"] {
        assert!(!page.contains(never), "{never}");
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
}

#[test]
fn runs_under_way_stopped_and_finished_have_a_page() {
    let scratch = scratch();
    scratch.train("wide").arg("--set").arg("experts.count=3").stdout();
    scratch.train("stopped").arg("--max-time").arg("0").stdout();
    let whole = page(&scratch, &["wide"]);
    stands_alone(&whole);
    let hash = json(&scratch.path("wide/run.json"), "result_hash");
    for expected in [
        "Finished: 1 round done.",
        hash.as_str().unwrap(),
        "precision against recall",
        "Calibration",
        "The 15 best classes",
        "The 15 worst classes",
        "Frequent and rare classes",
        "Where the time went",
        "rows a second",
        "node-hours",
        "memory held",
        "of which",
        "The model kept is that of ",
        "Timers of the last start",
        "class 7",
        "<rect x=",
        "loss of wide against",
    ] {
        assert!(whole.contains(expected), "{expected}: {whole}");
    }
    assert!(!whole.contains("What is missing"));

    let stopped = page(&scratch, &["stopped"]);
    stands_alone(&stopped);
    for expected in ["Stopped: told to stop", "What is missing", "validation.json: not there"] {
        assert!(stopped.contains(expected), "{expected}: {stopped}");
    }

    // As a run under way, or one that was killed, has it: no record, and half a line.
    let open = scratch.path("open");
    fs::create_dir(&open).unwrap();
    fs::copy(scratch.path("wide/job.toml"), open.join("job.toml")).unwrap();
    let events = fs::read_to_string(scratch.path("wide/metrics.jsonl")).unwrap();
    fs::write(open.join("metrics.jsonl"), &events[..events.len() - 20]).unwrap();
    let half = page(&scratch, &["open"]);
    stands_alone(&half);
    assert!(half.contains("Under way when this was written") && half.contains("<polyline"));

    // A threshold beyond float32 isn't shown as infinity.
    let found = fs::read_to_string(scratch.path("wide/validation.json")).unwrap();
    let beyond = found.replace("\"threshold\":0.5", "\"threshold\":1e308");
    assert!(beyond != found);
    fs::write(open.join("validation.json"), beyond).unwrap();
    let refused = page(&scratch, &["open"]);
    let text = "validation.json: threshold: found 1e308, expected a number within float32";
    assert!(refused.contains(text) && !refused.contains("precision at"), "{refused}");
    assert!(!refused.contains("validation.json: not there"), "{refused}");

    let both = page(&scratch, &["wide", "stopped", "open"]);
    stands_alone(&both);
    for expected in ["3 runs", "Settings that differ", "experts.count", "GAP@20 on validation"] {
        assert!(both.contains(expected), "{expected}");
    }
    assert!(!both.contains("All settings are the same"));
}

/// Beside newer events the record of an earlier start says neither which model is kept nor how the
/// run is computed; and a model that no run keeps isn't its best one.
#[test]
fn a_run_that_goes_on_is_told_by_its_events() {
    let scratch = scratch();
    scratch.train("run").stdout();
    let (record, events) = (scratch.path("run/run.json"), scratch.path("run/metrics.jsonl"));
    let within = "{\"step\":\"experts\",\"round\":1,\"epoch\":9,\
                  \"validation\":{\"gap_at_20\":0.9999}}\n";
    let mut text = fs::read_to_string(&events).unwrap();
    text += within;
    fs::write(&events, &text).unwrap();
    let ended = page(&scratch, &["run"]);
    assert!(ended.contains("of the best model that the run may keep"), "{ended}");
    assert!(!ended.contains("<dd>0.9999</dd>"), "{ended}");

    let mut stale: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert!(ended.contains("<dt>ranks × threads</dt>"), "{ended}");
    stale["finished"] = false.into();
    stale["kept"]["why"] = "of an earlier start".into();
    stale["report"]["advice"] = serde_json::json!([{ "text": "less <b>load</b>" }]);
    fs::write(&record, stale.to_string()).unwrap();
    let later = SystemTime::now() + Duration::from_secs(5);
    let lock = fs::File::options().write(true).open(scratch.path("run/lock")).unwrap();
    lock.set_modified(later).unwrap();
    let found = page(&scratch, &["run"]);
    stands_alone(&found);
    assert!(found.contains("The model it would keep so far is that of "), "{found}");
    assert!(!found.contains("of an earlier start"), "{found}");
    assert!(found.contains("A start that has left no record isn&#39;t in it"), "{found}");
    assert!(found.contains("Timers of the last start that left a record"), "{found}");
    assert!(!found.contains("ranks × threads"), "{found}");
    assert!(found.contains("What would help") && found.contains("less &lt;b&gt;load"), "{found}");
}

#[test]
fn what_stands_in_files_is_shown_and_never_taken_for_the_page() {
    let scratch = scratch();
    let odd = scratch.path("<b onload=x>");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("job.toml"), "[data]\ntrain = [\"</pre><script>x</script>\"]\n").unwrap();
    let record = "{\"finished\": true, \"reason\": \"<script>y</script>\", \"result_hash\": 7, \
                  \"timers\": {\"<i>\": [1, \"x\"]}, \"kept\": {\"why\": \"<img src=z>\"}}";
    fs::write(odd.join("run.json"), record).unwrap();
    fs::write(odd.join("validation.json"), "{\"format\": \"<script>\"").unwrap();
    let found = page(&scratch, &["<b onload=x>"]);
    assert!(!found.contains("<script") && !found.contains("<img") && !found.contains("<b "));
    assert!(found.contains("&lt;script&gt;y"), "{found}");

    let refused = reelscale("report").path(&scratch.path("data")).arg("--output");
    let text = refused.path(&scratch.path("report.html")).fails_with(6);
    assert!(text.contains("expected the directory of a run"), "{text}");
    fs::write(scratch.path("thesis.html"), "years of work").unwrap();
    let refused = reelscale("report").path(&odd).arg("--output");
    let text = refused.path(&scratch.path("thesis.html")).fails_with(2);
    assert!(text.contains("exists and is no report"), "{text}");
    // What has no end, or nobody writes to, is not waited for.
    let refused = reelscale("report").path(&odd).arg("--output").arg("/dev/zero");
    let text = refused.fails_with(2);
    assert!(text.contains("exists and is no report"), "{text}");
    assert_eq!(fs::read_to_string(scratch.path("thesis.html")).unwrap(), "years of work");
}

#[test]
fn runs_of_earlier_versions_have_a_page_that_says_what_is_missing() {
    let copy = Copy::new();
    let output = copy.path("report.html");
    let runs = ["runs/adagrad", "runs/adam-experts"].map(|run| copy.path(run));
    let command = runs.iter().fold(reelscale("report"), |command, run| command.path(run));
    command.arg("--output").path(&output).stdout();
    let page = fs::read_to_string(output).unwrap();
    stands_alone(&page);
    assert!(page.contains("is of an earlier version") && page.contains("<polyline"), "{page}");
}

/// Chromium without a window, with a home of its own.
fn browser(folder: &Path) -> Option<Command> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path);
    let program = places.find_map(|place| {
        let program = place.join("chromium");
        program.exists().then_some(program)
    });
    let Some(program) = program else {
        println!("skipped: there is no chromium here");
        return None;
    };
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ]);
    command.arg(format!("--user-data-dir={}", folder.join("browser").display()));
    Some(command)
}

/// Bytes of a picture of the page at this size.
fn picture(folder: &Path, page: &Path, (width, height): (u32, u32)) -> Option<usize> {
    let output: PathBuf = folder.join("picture.png");
    let mut command = browser(folder)?;
    command.arg(format!("--window-size={width},{height}"));
    command.arg(format!("--screenshot={}", output.display()));
    let done = command.arg(format!("file://{}", page.display())).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = fs::read(&output).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    Some(bytes.len())
}

/// On a telephone nothing is wider than the screen, pictures have a size and letters can be read;
/// on a desk there is more than an empty page.
#[test]
fn a_browser_shows_the_page_on_a_telephone_and_on_a_desk() {
    let scratch = scratch();
    let folder = scratch.path("");
    if browser(&folder).is_none() {
        return;
    }
    scratch.train("run").stdout();
    scratch.train("other-run-of-a-long-name").arg("--set").arg("experts.count=3").stdout();
    let found = page(&scratch, &["run", "other-run-of-a-long-name"]);
    let pictures = found.matches("<svg").count();
    assert!(pictures >= 16, "{pictures}");

    // The page in a frame as wide as a telephone, which a script measures.
    let inner = found.replace('&', "&amp;").replace('"', "&quot;");
    let measure = "const d = document.querySelector('iframe').contentDocument;\
        const boxes = [...d.querySelectorAll('svg')].map(s => s.getBoundingClientRect());\
        const letters = [...d.querySelectorAll('svg text')].map(t => \
            t.getBoundingClientRect().height).filter(h => h > 0);\
        const seen = boxes.filter(b => b.width > 300 && b.height > 150 && b.right <= 390).length;\
        document.body.innerHTML = `<p>width ${d.documentElement.scrollWidth} seen ${seen} \
            least ${Math.min(...letters).toFixed(1)} end</p>`;";
    let framed = format!(
        "<!DOCTYPE html><body><iframe width='390' height='800' style='border:0' srcdoc=\"{inner}\">\
         </iframe><script>onload = () => {{{measure}}}</script></body>"
    );
    fs::write(scratch.path("framed.html"), framed).unwrap();
    let mut command = browser(&folder).unwrap();
    command.arg("--dump-dom").arg(format!("file://{}", scratch.path("framed.html").display()));
    let done = command.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    let line = text.split("<p>width ").nth(1).and_then(|rest| rest.split(" end").next());
    let line = line.unwrap_or_else(|| panic!("{text} {}", String::from_utf8_lossy(&done.stderr)));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("390", pictures.to_string().as_str()), "{line}");
    assert!(words[4].parse::<f64>().unwrap() >= 9.0, "{line}");

    let empty = scratch.path("empty.html");
    fs::write(&empty, "<!DOCTYPE html><body></body>").unwrap();
    let desk = (1100, 1600);
    let of_nothing = picture(&folder, &empty, desk).unwrap();
    let of_page = picture(&folder, &scratch.path("report.html"), desk).unwrap();
    assert!(of_page > 8 * of_nothing, "{of_page} {of_nothing}");
}
