//! What a run says of itself at its end, over all of its starts: where its time went, at which
//! rates, and what would help. Plain data, which `run.json` keeps as `report`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::advice::Advice;
use super::kernel_rate::KernelRates;
use crate::commands::allocator::Counted;
use crate::cost::flops;
use crate::human::{bytes, count, counted, duration};
use crate::job::Job;
use crate::report::{PHASES, Pieces, REPORTED_TIMER, Timer, name_of_phase};
use crate::train::LongerWindow;

/// What is within those.
const WITHIN: [&str; 4] = ["validation", "checkpoints", "input wait", "communication wait"];

/// What is known of a start beside its timers.
pub(super) struct Began<'a> {
    pub(super) started: SystemTime,
    /// Seconds until its report began: opening data, above all.
    pub(super) opening_seconds: f64,
    pub(super) nodes: usize,
    /// Experts of each class in the expert step, and the class blocks of each rank there.
    pub(super) experts: Rc<Vec<usize>>,
    pub(super) class_blocks: Vec<usize>,
    /// Row blocks of each rank.
    pub(super) row_blocks: Vec<usize>,
    pub(super) rows: usize,
    /// Whether ranks are a grid of several rows.
    pub(super) grid: bool,
    pub(super) longer_window: Option<LongerWindow>,
    pub(super) kernel_rates: KernelRates,
    /// What the rank that needs most was to hold, by plan.
    pub(super) planned_bytes: u64,
    /// What this process holds; nobody counts in a test's world.
    pub(super) counted: Option<&'a Counted>,
    /// What earlier starts have recorded of themselves.
    pub(super) earlier: Vec<Value>,
}

/// What a start adds to the sums of its run: mean, least and most seconds over ranks of each phase.
pub(super) fn session(timers: &[Timer], seconds: f64, began: &Began) -> Value {
    let opening = ("opening".to_string(), vec![began.opening_seconds], 1);
    let all = || std::iter::once(&opening).chain(timers);
    let of = |name: &str| {
        let timer = all().find(|timer| timer.0 == name)?;
        let ranks = &timer.1;
        let mean = ranks.iter().sum::<f64>() / ranks.len().max(1) as f64;
        let least = ranks.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ranks.iter().copied().fold(0.0, f64::max);
        Some((name.to_string(), json!([rounded(mean), rounded(least), rounded(most)])))
    };
    let names = PHASES.iter().map(|phase| phase.0).chain(WITHIN).chain([REPORTED_TIMER]);
    let phases: serde_json::Map<String, Value> = names.filter_map(of).collect();
    let checkpoints = timers.iter().find(|timer| timer.0 == "checkpoints").map_or(0, |t| t.2);
    json!({
        "seconds": rounded(seconds + began.opening_seconds),
        "nodes": began.nodes,
        "phases": phases,
        "checkpoints": checkpoints,
    })
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// The starts as the newest checkpoint has them, each with what it had recorded itself where it
/// came to its end.
pub(super) fn with_what_they_recorded(sessions: &[Value], earlier: &[Value]) -> Vec<Value> {
    let recorded = |session: &Value| {
        // Starts of the same second have gone on from different checkpoints.
        let of = |one: &Value| [one["started_unix_seconds"].clone(), one["checkpoint"].clone()];
        let same = |one: &&Value| of(one) == of(session);
        let whole = earlier.iter().filter(same).find(|one| one["phases"].is_object());
        whole.unwrap_or(session).clone()
    };
    sessions.iter().map(recorded).collect()
}

/// The sums over all starts. Of one that was killed only the seconds up to its last checkpoint are
/// known; of those of earlier versions nothing.
pub(super) fn report(sessions: &[Value], rates: Value, advice: &[Advice]) -> Value {
    let seconds = |session: &Value| session["seconds"].as_f64();
    let total: f64 = sessions.iter().filter_map(seconds).sum();
    let hours = |session: &Value| Some(seconds(session)? * session["nodes"].as_f64()? / 3600.0);
    let node_hours: f64 = sessions.iter().filter_map(hours).sum();
    let mut phases: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    for session in sessions {
        for (name, three) in session["phases"].as_object().into_iter().flatten() {
            let sums = phases.entry(name).or_default();
            for (sum, at) in sums.iter_mut().zip(0..) {
                *sum += three[at].as_f64().unwrap_or(0.0);
            }
        }
    }
    let as_json = |[mean, least, most]: [f64; 3]| {
        let share = if total > 0.0 { mean / total } else { 0.0 };
        json!({ "seconds": rounded(mean), "least": rounded(least), "most": rounded(most),
            "share": (share * 1e4).round() / 1e4 })
    };
    let listed =
        PHASES.iter().map(|phase| phase.0).filter_map(|name| Some((name, *phases.get(name)?)));
    let known: f64 = listed.clone().map(|(_, three)| three[0]).sum();
    let other = (total - known).max(0.0);
    let listed = listed.chain([("other", [other; 3])]);
    let listed: serde_json::Map<String, Value> =
        listed.map(|(name, three)| (name.to_string(), as_json(three))).collect();
    let within: serde_json::Map<String, Value> = WITHIN
        .into_iter()
        .chain([REPORTED_TIMER])
        .filter_map(|name| Some((name.to_string(), as_json(*phases.get(name)?))))
        .collect();
    let checkpoints: u64 =
        sessions.iter().filter_map(|session| session["checkpoints"].as_u64()).sum();
    let largest = sessions.iter().filter_map(|one| one["checkpoint_bytes"].as_u64()).max();
    let memory = sessions.iter().map(|session| &session["memory"]);
    let memory = memory.max_by_key(|memory| memory["held_bytes"].as_u64());
    let unknown = sessions.iter().filter(|session| !session["phases"].is_object()).count();
    json!({
        "seconds": rounded(total),
        "starts": sessions.len(),
        "starts_without_phases": unknown,
        "node_hours": (node_hours * 1e6).round() / 1e6,
        "phases": listed,
        "within": within,
        "checkpoints": checkpoints,
        "checkpoint_bytes": largest,
        "memory": memory,
        "rates": rates,
        "advice": advice.iter().map(Advice::json).collect::<Vec<_>>(),
    })
}

/// Rows a second of each step, by the median time of its epochs or iterations, and what they make
/// of arithmetic where that is known: with all rows drawn; as a share of what the `kernel` does by
/// itself, where that was measured. The share of the peak is that of the probes of `run.balance`,
/// where there were some.
pub(super) fn rates(
    job: &Job,
    began: &Began,
    width: usize,
    events: &[Value],
    session: &Value,
) -> Value {
    let pieces = Pieces::of(events);
    let mut rates = serde_json::Map::new();
    // The model at hand may be that of pretraining.
    let columns: usize = began.experts.iter().map(|own| flops::columns(1, *own)).sum();
    let flop = flops::logits_and_gradient(1, width, columns);
    let probes = session["balance"].as_array().and_then(|told| told.last());
    let peak = probes.and_then(|told| told["flop_per_second"].as_array());
    let peak: Option<f64> = peak.map(|all| all.iter().filter_map(Value::as_f64).sum());
    for step in ["pretrain", "experts", "shared"] {
        let Some(seconds) = pieces.median(step, true).filter(|seconds| *seconds > 0.0) else {
            continue;
        };
        let rows_per_second = began.rows as f64 / seconds;
        let mut rate = json!({ "rows_per_second": rows_per_second.round() });
        let rounded = |share: f64| json!((share * 1e3).round() / 1e3);
        // Of an earlier start, on other ranks perhaps, nothing was measured.
        let ran = session["phases"][step][0].as_f64().is_some_and(|seconds| seconds > 0.0);
        if let Some(kernel) = began.kernel_rates.get(step).filter(|_| ran) {
            rate["share_of_kernel"] = rounded(rows_per_second / kernel);
        }
        if step == "experts" && job.experts.negatives == 1.0 {
            let made = flop * rows_per_second;
            rate["gflops"] = json!((made / 1e8).round() / 10.0);
            if let Some(peak) = peak.filter(|peak| *peak > 0.0) {
                rate["share_of_measured_peak"] = rounded(made / peak);
            }
        }
        rates.insert(step.into(), rate);
    }
    rates.into()
}

/// How many starts left no record of their own, where some did.
pub(crate) fn ended_by_force(report: &Value) -> Option<String> {
    let unknown = report["starts_without_phases"].as_u64().filter(|count| *count > 0)?;
    let starts = counted(unknown, "start");
    Some(format!("ended by force: {starts}, known only up to the last checkpoint, as other"))
}

/// The report for people.
pub(super) fn lines(report: &Value) -> Vec<String> {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let percent = |value: &Value| format!("{:.0} %", 100.0 * number(&value["share"]));
    let starts = counted(report["starts"].as_u64().unwrap_or(1), "start");
    let time = duration(number(&report["seconds"]));
    let hours = number(&report["node_hours"]);
    let mut lines = vec![format!("time: {time} in {starts}, {hours:.4} node-hours")];
    lines.extend(ended_by_force(report));
    let list = |of: &Value| -> Vec<String> {
        let all = of.as_object().into_iter().flatten();
        let one = |(name, three): (&String, &Value)| {
            let (least, most) = (number(&three["least"]), number(&three["most"]));
            let mut text = format!("{} {}", name_of_phase(name), percent(three));
            let [least, most] = [least, most].map(|seconds| format!("{seconds:.1}"));
            if least != most {
                text += &format!(" ({least} to {most} s over ranks)");
            }
            text
        };
        all.map(one).collect()
    };
    lines.push(format!("phases: {}", list(&report["phases"]).join(", ")));
    let mut within = list(&report["within"]).join(", ");
    within += &format!("; {}", counted(report["checkpoints"].as_u64().unwrap_or(0), "checkpoint"));
    lines.push(format!("within them: {within}"));
    let rates = report["rates"].as_object().into_iter().flatten().map(|(step, rate)| {
        let mut text =
            format!("{} {} rows/s", name_of_phase(step), count(number(&rate["rows_per_second"])));
        if let Some(gflops) = rate["gflops"].as_f64() {
            text += &format!(", {gflops} GFLOP/s");
        }
        if let Some(share) = rate["share_of_kernel"].as_f64() {
            text += &format!(", {:.0} % of what the kernel does here by itself", 100.0 * share);
        }
        if let Some(share) = rate["share_of_measured_peak"].as_f64() {
            text += &format!(", {:.0} % of what run.balance has measured", 100.0 * share);
        }
        text
    });
    let rates: Vec<String> = rates.collect();
    if !rates.is_empty() {
        lines.push(format!("rates: {}", rates.join("; ")));
    }
    lines.extend(memory_line(report));
    if let Some(cost) = report["within"].get(REPORTED_TIMER) {
        let seconds = number(&cost["seconds"]);
        lines.push(format!("experts.validate_every: {seconds:.1} s, {} of the run", percent(cost)));
    }
    let advice = report["advice"].as_array().into_iter().flatten();
    lines.extend(advice.filter_map(|one| Some(format!("advice: {}", one["text"].as_str()?))));
    lines
}

/// What ranks took of memory, where it was counted, and the largest checkpoint.
fn memory_line(report: &Value) -> Option<String> {
    let of = |value: &Value| value.as_u64().map(bytes);
    let memory = &report["memory"];
    let (planned, held) = (of(&memory["planned_bytes"])?, of(&memory["held_bytes"])?);
    let mut line = format!("memory of the fullest rank: planned {planned}, held {held}");
    if let Some(resident) = of(&memory["resident_bytes"]) {
        line += &format!(", {resident} with the program, MPI and HDF5");
    }
    if let Some(largest) = report["checkpoint_bytes"].as_u64().filter(|bytes| *bytes > 0) {
        line += &format!("; largest checkpoint {}", bytes(largest));
    }
    Some(line)
}
