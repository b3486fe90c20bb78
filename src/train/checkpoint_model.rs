//! The models of a checkpoint, for whoever has not the run's data: this rank's share, or class
//! block after class block, so that it need not fit in memory.

use std::io::Read;
use std::sync::Arc;

use super::checkpoint_record::{
    BESTS, CheckpointRecord, ExpectedModels, MODEL, head, weights, with_blocks,
};
use crate::artifact::export::Source;
use crate::artifact::{Visit, to_rows};
use crate::checkpoint::Loaded;
use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::model::Layout;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::EXPERTS_MAX;
use crate::names::Names;
use crate::partition::Owners;

/// Which model of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointModel {
    /// The best one so far, or that of now where none has been validated.
    Best,
    /// The one that the run stood at.
    Last,
}

impl CheckpointModel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            CheckpointModel::Best => "best",
            CheckpointModel::Last => "last",
        }
    }
}

/// A model of the run of which `loaded` is a checkpoint, with this rank's share of its class
/// blocks. Collective.
///
/// # Errors
/// Exit 6: the checkpoint is of a version that didn't write the model's shape, or holds what no run
/// comes to; common to all ranks.
pub(crate) fn model_of_checkpoint(
    comm: &Comm,
    mut loaded: Loaded,
    which: CheckpointModel,
) -> Result<Annotator> {
    let mut read = || {
        let (family, head) = head_of(&mut loaded, which, &|blocks| comm.deal(blocks))?;
        with_blocks(&loaded, family, head)
    };
    comm.agree(read())
}

/// The same for whoever writes it to somewhere else: its class blocks pass by on this rank alone.
///
/// # Errors
/// As `model_of_checkpoint`.
pub(crate) fn source_of_checkpoint(
    mut loaded: Loaded,
    which: CheckpointModel,
) -> Result<Source<'static>> {
    let deal = |blocks: usize| Comm::serial().deal(blocks);
    let (family, mut head) = head_of(&mut loaded, which, &deal)?;
    let counts = head.experts.counts();
    let (shape, shared, names) = (head.shape.clone(), head.shared.clone(), head.names.take());
    let mixtures = move |visit: &mut Visit| each_block(&loaded, family, &head, visit);
    Ok(Source { shape, shared, counts, names, content_hash: None, mixtures: Box::new(mixtures) })
}

/// A model without its class blocks, dealt by `deal`, and the family that these are.
fn head_of(
    loaded: &mut Loaded,
    which: CheckpointModel,
    deal: &dyn Fn(usize) -> Owners,
) -> Result<(&'static str, Annotator)> {
    if loaded.about["shape"].is_null() {
        let error = loaded.common.refused("an earlier version wrote it, without the model's shape");
        return Err(error.hint("the run's own command goes on and writes one anew"));
    }
    let names = names(loaded)?;
    let shape = serde_json::from_value::<Shape>(loaded.about["shape"].take());
    let shape = shape.map_err(|error| loaded.common.refused(format!("shape: {error}")))?;
    if let Some(what) = shape.fault() {
        return Err(loaded.common.refused(format!("shape: {what}")));
    }
    if names.as_ref().is_some_and(|names| names.count() != shape.class_count) {
        return Err(loaded.common.refused("class_names: expected one of each class"));
    }
    let record: CheckpointRecord = loaded.common.take()?;
    let (family, record) = match (which, record.best.model) {
        (CheckpointModel::Best, Some(best)) => (BESTS[0], best),
        _ => (MODEL, record.model),
    };
    let counts = record.experts.clone();
    let possible = |count: &usize| (1..=EXPERTS_MAX).contains(count);
    if counts.len() != shape.class_count || !counts.iter().all(possible) {
        return Err(loaded.common.refused("model: found numbers of experts that no model has"));
    }
    let owners = |layouts: &[Layout], _| deal(layouts.len());
    let experts = [&counts[..], &counts[..]];
    let expected = ExpectedModels { shape: &shape, experts, rounds: 0, owners: &owners };
    let head = head(&loaded.common, record, &expected, false)?;
    Ok((family, Annotator { names, ..head }))
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
