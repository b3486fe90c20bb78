//! The best model of a checkpoint, for whoever exports it: without the run's data, and class block
//! after class block, so that it need not fit in memory.

use std::io::Read;

use super::checkpoint_record::{BESTS, CheckpointRecord, ExpectedModels, MODEL, head, weights};
use crate::artifact::export::Source;
use crate::artifact::{Visit, to_rows};
use crate::checkpoint::Loaded;
use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::model::Layout;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::EXPERTS_MAX;

/// The best model so far of the run of which `loaded` is a checkpoint, or that of now where none
/// has been validated.
///
/// # Errors
/// Exit 6: the checkpoint is of a version that didn't write the model's shape, or holds what no run
/// comes to.
pub(crate) fn best_of_checkpoint(mut loaded: Loaded) -> Result<Source<'static>> {
    if loaded.about["shape"].is_null() {
        let error = loaded.common.refused("an earlier version wrote it, without the model's shape");
        return Err(error.hint("the run's own command goes on and writes one anew"));
    }
    let shape = serde_json::from_value::<Shape>(loaded.about["shape"].take());
    let shape = shape.map_err(|error| loaded.common.refused(format!("shape: {error}")))?;
    if let Some(what) = shape.fault() {
        return Err(loaded.common.refused(format!("shape: {what}")));
    }
    let record: CheckpointRecord = loaded.common.take()?;
    let (family, record) = match record.best.model {
        Some(best) => (BESTS[0], best),
        None => (MODEL, record.model),
    };
    let counts = record.experts.clone();
    let possible = |count: &usize| (1..=EXPERTS_MAX).contains(count);
    if counts.len() != shape.class_count || !counts.iter().all(possible) {
        return Err(loaded.common.refused("model: found numbers of experts that no model has"));
    }
    let owners = |layouts: &[Layout], _| Comm::serial().deal(layouts.len());
    let experts = [&counts[..], &counts[..]];
    let expected = ExpectedModels { shape: &shape, experts, rounds: 0, owners: &owners };
    let head = head(&loaded.common, record, &expected, false)?;
    let shared = head.shared.clone();
    let mixtures = move |visit: &mut Visit| each_block(&loaded, family, &head, visit);
    Ok(Source { shape, shared, counts, content_hash: None, mixtures: Box::new(mixtures) })
}

/// Hands the mixtures of the model whose head is `head` to `visit`.
fn each_block(loaded: &Loaded, family: &str, head: &Annotator, visit: &mut Visit) -> Result<()> {
    let layouts = head.experts.own_layouts();
    let mut refused: Option<Error> = None;
    let read = |index: usize, from: &mut dyn Read| {
        let layout = &layouts[index];
        let parameters = weights(loaded, family, layout, from)?;
        if refused.is_none() {
            let rows = to_rows(layout, &parameters);
            refused = visit(layout.classes.clone(), &rows).err();
        }
        Ok(())
    };
    loaded.blocks.each(family, &head.experts.owners, read)?;
    refused.map_or(Ok(()), Err)
}
