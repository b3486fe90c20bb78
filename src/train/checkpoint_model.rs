//! The best model of a checkpoint, for whoever exports it: without the run's data, and class block
//! after class block, so that it need not fit in memory.

use std::io::Read;
use std::sync::Arc;

use super::checkpoint_record::{BESTS, CheckpointRecord, ExpectedModels, MODEL, head, weights};
use crate::artifact::export::Source;
use crate::artifact::{Visit, to_rows};
use crate::checkpoint::Loaded;
use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::model::Layout;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::EXPERTS_MAX;
use crate::names::Names;

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
    let names = names(&mut loaded)?;
    let shape = serde_json::from_value::<Shape>(loaded.about["shape"].take());
    let shape = shape.map_err(|error| loaded.common.refused(format!("shape: {error}")))?;
    if let Some(what) = shape.fault() {
        return Err(loaded.common.refused(format!("shape: {what}")));
    }
    if names.as_ref().is_some_and(|names| names.count() != shape.class_count) {
        return Err(loaded.common.refused("class_names: expected one of each class"));
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
    Ok(Source { shape, shared, counts, names, content_hash: None, mixtures: Box::new(mixtures) })
}

/// The names of the classes, where the run's shards had some.
fn names(loaded: &mut Loaded) -> Result<Option<Arc<Names>>> {
    let names = serde_json::from_value::<Option<Vec<String>>>(loaded.about["class_names"].take())
        .map_err(|error| error.to_string())
        .and_then(|names| names.map(Names::new).transpose())
        .map_err(|text| loaded.common.refused(format!("class_names: {text}")))?;
    Ok(names.map(Arc::new))
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
