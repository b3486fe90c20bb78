//! `plan --rehearse`: ranks of each kind that the plan has, measured here one after the other with
//! stand-ins for all others, beside what is planned for them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Question;
use super::world::World;
use crate::commands::bench::rank::planned::without_validation;
use crate::commands::bench::rank::rehearse::Rehearsal;
use crate::commands::bench::rank::steps::{Step, Whole};
use crate::error::{Error, Result};
use crate::model::Layout;

/// Kinds of ranks that are measured, at most.
const KINDS_MAX: usize = 4;

/// A rank, and how many are like it.
struct Kind {
    rank: usize,
    ranks: usize,
}

/// What a rank has: parameters by slices in the expert step, parameters there, row blocks, and
/// parameters in pretraining where it takes part.
fn has(whole: &Whole, rank: usize) -> (usize, usize, usize, Option<usize>) {
    let parameters = |step| whole.own(step, rank).iter().map(Layout::parameters).sum::<usize>();
    let pretrains = (rank < whole.learners).then(|| parameters(Step::Pretrain));
    let experts = parameters(Step::Experts);
    (experts * whole.slices(rank), experts, whole.row_blocks(rank).len(), pretrains)
}

/// Ranks that have as much. The fullest ranks of all steps come first, then those of most work in
/// the expert step.
fn kinds(whole: &Whole) -> Vec<Kind> {
    let mut found = BTreeMap::new();
    for rank in 0..whole.ranks {
        found.entry(has(whole, rank)).or_insert(Kind { rank, ranks: 0 }).ranks += 1;
    }
    let mut kinds = Vec::new();
    for step in [Step::Experts, Step::Shared, Step::Pretrain] {
        let rank = whole.fullest(step);
        kinds.extend(found.remove(&has(whole, rank)).map(|kind| Kind { rank, ..kind }));
    }
    kinds.extend(found.into_values().rev());
    kinds
}

/// What is measured: each kind's ranks and steps, and what that can't see.
///
/// # Errors
/// Exit 2: a rank that isn't there; what `bench rank` gives.
pub(super) fn rehearse(
    question: &Question,
    world: &World,
    planned: &Value,
    (rank, seconds): (Option<usize>, f64),
) -> Result<Value> {
    let whole = &world.whole;
    let kinds = match rank {
        Some(rank) if rank >= whole.ranks => {
            let text = format!("--rank: found {rank}, expected below {}", whole.ranks);
            return Err(Error::usage(text));
        }
        Some(rank) => vec![Kind { rank, ranks: 1 }],
        None => kinds(whole),
    };
    let (mut rows, mut unseen) = (Vec::new(), Vec::new());
    let measured = without_validation(question.job.clone(), &question.name, question.threads)?;
    let memory = World::new(&measured, question.ranks, question)?.phases;
    for kind in kinds.iter().take(KINDS_MAX) {
        let steps = steps(world, kind.rank);
        if steps.is_empty() {
            continue;
        }
        let rehearsal = Rehearsal {
            job: &measured,
            name: &question.name,
            ranks: question.ranks,
            rank: kind.rank,
            threads: question.threads,
            network: question.network,
            pool: question.pool.clone(),
            steps: steps.clone(),
            seconds,
        };
        let (found, lines) = rehearsal.measure()?;
        for (step, found) in steps.into_iter().zip(found) {
            let phase = memory.iter().find(|phase| phase.name == phase_of(step));
            let fullest = has(whole, kind.rank) == has(whole, whole.fullest(step));
            let all = planned["steps"].as_array().into_iter().flatten();
            let mut plan = all.filter(|one| fullest && one["step"] == step.name());
            rows.push(json!({
                "rank": kind.rank,
                "ranks_like_it": kind.ranks,
                "step": step.name(),
                "of": found["of"],
                "planned_seconds": plan.next().map(|plan| plan["seconds"].clone()),
                "seconds": found["seconds"],
                "arithmetic_seconds": found["arithmetic_seconds"],
                "host_seconds": found["host_seconds"],
                "waiting_seconds": found["waiting_seconds"],
                "core_gflops": found["core_gflops"],
                "planned_peak_bytes": phase.map(|phase| phase.bytes()),
                "peak_bytes": found["peak_bytes"],
            }));
        }
        for line in lines {
            if !unseen.contains(&line) {
                unseen.push(line);
            }
        }
    }
    if kinds.len() > KINDS_MAX {
        unseen.push(format!("{} more kinds of ranks, which have less", kinds.len() - KINDS_MAX));
    }
    Ok(json!({ "steps": rows, "unseen": unseen }))
}

/// The steps of the job that this rank takes part in.
fn steps(world: &World, rank: usize) -> Vec<Step> {
    let (whole, job) = (&world.whole, &world.whole.job);
    let rounds = job.rounds.count > 0;
    let has_blocks = !whole.own(Step::Experts, rank).is_empty();
    let has_rows = !whole.row_blocks(rank).is_empty();
    let all = [
        (Step::Pretrain, job.pretrain.epochs > 0 && rank < whole.learners),
        (Step::Experts, rounds && has_blocks),
        (Step::Shared, rounds && job.shared.iterations > 0 && world.shared() > 0 && has_rows),
    ];
    all.into_iter().filter(|step| step.1).map(|step| step.0).collect()
}

/// As memory is planned.
fn phase_of(step: Step) -> &'static str {
    match step {
        Step::Pretrain => "pretraining",
        Step::Experts => "expert step",
        Step::Shared => "shared step",
    }
}
