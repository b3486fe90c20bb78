//! A plan for people, and as lines of a Slurm script.

use serde_json::{Value, json};

use super::Args;
use crate::commands::bench::table;
use crate::cost::budget::BESIDE_THE_PLAN;
use crate::human::{self, counted};

/// What is asked for beyond what is planned.
const MEMORY_MARGIN: f64 = 1.15;
const TIME_MARGIN: f64 = 1.25;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn bytes(value: &Value) -> String {
    human::bytes(value.as_u64().unwrap_or(0))
}

fn percent(value: &Value) -> String {
    format!("{:.0} %", 100.0 * number(value))
}

/// For people.
pub(super) fn text(found: &Value) -> String {
    let of = |key: &str| &found[key];
    let mut text = format!(
        "{} on {} of {} threads: {} rows of {} features, {} classes; grid {}, ranks that pretrain: \
         {}\n",
        of("job").as_str().unwrap_or(""),
        counted(of("ranks").as_u64().unwrap_or(0), "rank"),
        of("threads"),
        of("rows"),
        of("features"),
        of("classes"),
        of("grid").as_str().unwrap_or(""),
        of("pretraining_ranks"),
    );
    text += &format!(
        "about {} in all; model {}, checkpoint {} in {:.2} s; a rank takes {} of memory and reads \
         {}\n\n",
        human::duration(number(of("seconds"))),
        bytes(of("model_bytes")),
        bytes(of("checkpoint_bytes")),
        number(of("checkpoint_seconds")),
        bytes(of("memory_bytes")),
        match number(of("input_bytes_per_second")) as u64 {
            // No step computes while it reads.
            0 => "as fast as its disk".to_string(),
            rate => format!("{}/s at most", human::bytes(rate)),
        },
    );
    let steps: Vec<Value> = list(of("steps"))
        .map(|step| {
            let mut row = json!({
                "step": step["step"],
                "of": step["of"],
                "times": step["times"],
                "seconds": step["seconds"],
                "arithmetic": step["arithmetic_seconds"],
                "host": step["host_seconds"],
                "waiting": number(&step["waiting_seconds"])
                    + number(&step["input_waiting_seconds"]),
                "received": bytes(&step["bytes_received"]),
                "messages": step["messages"],
                "idle ranks": step["idle_ranks"],
                "efficiency": percent(&step["efficiency"]),
                "limited by": step["limited_by"],
            });
            if of("ranks_per_node").as_u64() > Some(1) {
                row["received by the node"] = bytes(&step["node_bytes_received"]).into();
            }
            row
        })
        .collect();
    text += &table(&steps);
    text += "\nmemory of the rank that has most\n";
    text += &phases(of("memory"));
    if let Some(name) = of("device")["name"].as_str() {
        let come = match of("device")["class_blocks_come_and_go"] == true {
            true => "; class blocks come and go with each window",
            false => "",
        };
        text += &format!("memory of its device, {name}{come}\n");
        text += &phases(&of("device")["memory"]);
    }
    let points: Vec<Value> = list(of("curve"))
        .map(|point| {
            json!({
                "ranks": point["ranks"],
                "time": human::duration(number(&point["seconds"])),
                "efficiency": percent(&point["efficiency"]),
                "memory": bytes(&point["memory_bytes"]),
            })
        })
        .collect();
    text += &format!("\n{}", table(&points));
    let pays = of("pays_up_to_ranks").as_u64().unwrap_or(0);
    let most = list(of("curve")).last().and_then(|point| point["ranks"].as_u64());
    text += &match most == Some(pays) {
        true => format!("{pays} ranks pay still: more haven't been looked at\n"),
        false => format!("beyond {} no doubling pays\n", counted(pays, "rank")),
    };
    text += &rehearsed(of("rehearsed"));
    for line in list(of("advice")).filter_map(Value::as_str) {
        text += &format!("would help: {line}\n");
    }
    for one in list(of("assumptions")) {
        let source = one["source"].as_str().unwrap_or("");
        let value = match one["value"].as_f64().filter(|value| value.fract() != 0.0) {
            // Four digits.
            Some(value) => format!("{value:.3e}").parse().unwrap_or(value).to_string(),
            None => one["value"].to_string(),
        };
        let name = one["name"].as_str().unwrap_or("");
        text += &format!("assumed: {name} = {value} ({source})\n");
    }
    text
}

/// Phases of a memory, each with its parts.
fn phases(found: &Value) -> String {
    let line = |phase: &Value| {
        let parts = list(&phase["parts"]).map(|part| {
            format!("{} {}", part["part"].as_str().unwrap_or(""), bytes(&part["bytes"]))
        });
        let parts: Vec<String> = parts.collect();
        let name = phase["phase"].as_str().unwrap_or("");
        format!("  {name}: {} = {}\n", bytes(&phase["bytes"]), parts.join(", "))
    };
    list(found).map(line).collect()
}

/// What was measured beside what is planned, where something was.
fn rehearsed(found: &Value) -> String {
    let rows: Vec<Value> = list(&found["steps"])
        .map(|step| {
            json!({
                "rank": step["rank"],
                "like it": step["ranks_like_it"],
                "step": step["step"],
                "of": step["of"],
                "planned": step["planned_seconds"],
                "seconds": step["seconds"],
                "arithmetic": step["arithmetic_seconds"],
                "host": step["host_seconds"],
                "waiting": step["waiting_seconds"],
                "planned memory": bytes(&step["planned_peak_bytes"]),
                "memory": bytes(&step["peak_bytes"]),
            })
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("\nmeasured here, a rank of each kind\n{}", table(&rows));
    for line in list(&found["unseen"]).filter_map(Value::as_str) {
        text += &format!("not seen: {line}\n");
    }
    text
}

/// What a Slurm script asks for.
pub(super) fn sbatch(found: &Value, args: &Args) -> String {
    let (ranks, node) = (args.ranks, args.ranks_per_node.min(args.ranks));
    let planned = number(&found["memory_bytes"]) * MEMORY_MARGIN;
    let memory = node * (planned as u64 + BESIDE_THE_PLAN);
    let minutes = (TIME_MARGIN * number(&found["seconds"]) / 60.0).ceil().max(1.0) as u64;
    let (days, hours) = (minutes / 1440, minutes / 60 % 24);
    let gpus = if found["device"].is_null() { "" } else { "#SBATCH --gpus-per-task=1\n" };
    format!(
        "\n#SBATCH --nodes={}\n#SBATCH --ntasks={ranks}\n#SBATCH --ntasks-per-node={node}\n\
         #SBATCH --cpus-per-task={}\n{gpus}\
         #SBATCH --mem={}M\n#SBATCH --time={days}-{hours:02}:{:02}:00\n",
        ranks.div_ceil(node),
        found["threads"],
        memory.div_ceil(1 << 20),
        minutes % 60
    )
}
