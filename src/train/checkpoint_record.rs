//! What of a run goes into a checkpoint, and how it comes back: the model, the best ones so far,
//! where the run stands, and what the step under way learns with. Records are maps of named fields;
//! those of version 1 are read, too.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rounds::Standing;
use super::validation::Best;
use super::watch::BlockDigest;
use crate::checkpoint::{Contents, Family, Loaded, SavedItems};
use crate::comm::Comm;
use crate::error::Result;
use crate::model::Layout;
use crate::model::annotator::{Annotator, Shape};
use crate::model::experts::{Experts, layouts};
use crate::packed::{self, Numbers, put, take, take_numbers, unless};
use crate::partition::Owners;

/// The state of a step, beside the model.
pub(crate) trait Resumable<D> {
    /// Whether the step has begun, so that there is a state.
    fn begun(&self) -> bool {
        true
    }

    /// Writes what all ranks hold alike.
    fn put_common(&self, to: &mut dyn Write) -> io::Result<()>;

    /// Whether each class block has a state of its own, too.
    fn has_blocks(&self) -> bool {
        false
    }

    /// Has the states of this rank's class blocks here, where ranks have them between them, until
    /// they are hidden. Collective.
    ///
    /// # Errors
    /// The device is lost; exit 7 where ranks have counted otherwise.
    fn collect(&mut self, _device: &mut D) -> Result<()> {
        Ok(())
    }

    /// Writes the state of this rank's class block `index`, counted from its first.
    fn put_block(&self, _device: &D, _index: usize, _to: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Copies this rank's class blocks into the model, where only the device has them.
    fn show(&self, _device: &D, _experts: &mut Experts) -> Result<()> {
        Ok(())
    }

    /// Takes them out of the model again.
    fn hide(&mut self, _experts: &mut Experts) {}

    /// The class blocks that other ranks of this one's column have, too, if any.
    ///
    /// # Errors
    /// The device is lost.
    fn copies(&self, _device: &D, _threads: usize) -> Result<Vec<BlockDigest>> {
        Ok(Vec::new())
    }

    /// Whether this rank holds the shared layers as they are now, so that they must be those of
    /// all others that do.
    fn is_replica(&self) -> bool {
        true
    }

    /// The best model within the step, where it looks for one.
    fn best(&self) -> Option<&Best> {
        None
    }
}

/// Between two steps there is nothing.
impl<D> Resumable<D> for () {
    fn begun(&self) -> bool {
        false
    }

    fn put_common(&self, _to: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// What all ranks hold of a run alike.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckpointRecord<'a> {
    standing: Cow<'a, Standing>,
    pub(super) model: ModelRecord<'a>,
    /// The best model of the run.
    pub(super) best: BestRecord<'a>,
    /// The best model of the step under way.
    step_best: BestRecord<'a>,
    /// Whether the step under way has a record of its own, which is the next item.
    begun: bool,
}

/// What all ranks hold of a model alike.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelRecord<'a> {
    /// Number of experts of each class.
    pub(super) experts: Vec<usize>,
    /// Parameters of the shared layers.
    #[serde(with = "packed")]
    shared: Cow<'a, [f32]>,
}

/// The best model so far.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BestRecord<'a> {
    which: BestIs,
    score: Option<f64>,
    /// The best model, where it isn't the run's model as it is now.
    pub(super) model: Option<ModelRecord<'a>>,
}

/// Where the best model is to be found.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum BestIs {
    /// There is none yet.
    Nothing,
    /// The run's own model as it is now.
    Same,
    /// An earlier one, which is written beside the run's own model.
    Other,
}

/// What a class block of a model has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
struct WeightsRecord<V: Numbers> {
    #[serde(with = "packed")]
    weights: V,
}

impl<'a> ModelRecord<'a> {
    fn of(model: &'a Annotator) -> ModelRecord<'a> {
        ModelRecord { experts: model.experts.counts(), shared: Cow::Borrowed(&model.shared) }
    }
}

/// Families of class blocks: the model's weights, solvers' states, and the weights of the best
/// models of the run and of the step under way. The last one, `step_best` in records, has the name
/// of what it was made for first, the best epoch of an expert step; checkpoints keep that name, so
/// that older ones are read.
pub(super) const MODEL: &str = "model";
const LEARNING: &str = "learning";
pub(super) const BESTS: [&str; 2] = ["best", "epoch"];

/// How the best model so far relates to `model`, the one of now; all ranks get the same answer.
pub(crate) fn which(comm: &Comm, best: Option<&Best>, model: &Annotator) -> BestIs {
    let Some(best) = best.and_then(|best| best.model.as_ref()) else { return BestIs::Nothing };
    let same = best.shared == model.shared
        && best.experts.layouts == model.experts.layouts
        && best.experts.parameters.len() == model.experts.parameters.len()
        && best
            .experts
            .parameters
            .iter()
            .zip(&model.experts.parameters)
            .all(|(a, b)| Arc::ptr_eq(a, b));
    if comm.max(u64::from(!same)) == 0 { BestIs::Same } else { BestIs::Other }
}

fn family<'a>(name: &'static str, model: &'a Annotator) -> Family<'a> {
    let parameters = &model.experts.parameters;
    let put = Box::new(|index: usize, to: &mut dyn Write| {
        put(to, &WeightsRecord { weights: parameters[index].clone() })
    });
    Family { name, owners: &model.experts.owners, put }
}

/// Calls `write` with what a checkpoint is made of. Collective.
pub(crate) fn with_contents<D>(
    comm: &Comm,
    (standing, best): (&Standing, &Best),
    (model, course, device): (&Annotator, &dyn Resumable<D>, &D),
    about: serde_json::Value,
    events: &[u8],
    write: impl FnOnce(&Contents) -> Result<()>,
) -> Result<()> {
    let bests = [Some(best), course.best()];
    let which = bests.map(|best| which(comm, best, model));
    // Only what is written beside the model.
    let beside = |index: usize| match (which[index], bests[index]) {
        (BestIs::Other, Some(Best { model: Some(model), .. })) => Some(model),
        _ => None,
    };
    let best_record = |index: usize| BestRecord {
        which: which[index],
        score: bests[index].map(|best| best.score),
        model: beside(index).map(ModelRecord::of),
    };
    let common = |to: &mut dyn Write| {
        let record = CheckpointRecord {
            standing: Cow::Borrowed(standing),
            model: ModelRecord::of(model),
            best: best_record(0),
            step_best: best_record(1),
            begun: course.begun(),
        };
        put(to, &record)?;
        course.put_common(to)
    };
    let mut families = vec![family(MODEL, model)];
    for (index, name) in BESTS.into_iter().enumerate() {
        families.extend(beside(index).map(|model| family(name, model)));
    }
    if course.has_blocks() {
        let put = Box::new(|index: usize, to: &mut dyn Write| course.put_block(device, index, to));
        families.push(Family { name: LEARNING, owners: &model.experts.owners, put });
    }
    let events = |to: &mut dyn Write| to.write_all(events);
    write(&Contents { about, common: &common, events: &events, families })
}

/// What was saved, but for the state of the step, which is what comes next where it has `begun`.
pub(crate) struct Restored {
    pub(crate) standing: Standing,
    pub(crate) model: Annotator,
    pub(crate) best: Best,
    pub(crate) step_best: Best,
    pub(crate) begun: bool,
}

/// What a checkpoint's models are made by: their shape, the experts of each class while pretraining
/// and from then on, and the rounds of the job.
pub(crate) struct ExpectedModels<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) experts: [&'a [usize]; 2],
    pub(crate) rounds: usize,
    /// Who owns which of their class blocks, of pretraining (true) or of later.
    pub(crate) owners: &'a dyn Fn(&[Layout], bool) -> Owners,
}

/// Reads what `with_contents` has written.
///
/// # Errors
/// Exit 6: the checkpoint holds something else, or what no run of the job comes to.
pub(crate) fn restore(loaded: &mut Loaded, expected: &ExpectedModels) -> Result<Restored> {
    let record = match loaded.version {
        1 => CheckpointRecord::without_names(&mut loaded.common)?,
        _ => loaded.common.take()?,
    };
    let standing = record.standing.into_owned();
    if let Some(what) = standing.fault(expected.rounds) {
        return Err(loaded.common.refused(format!("standing: {what}")));
    }
    let small = standing.small(record.begun);
    let head = head(&loaded.common, record.model, expected, small)?;
    let model = with_blocks(loaded, MODEL, head)?;
    let mut bests = BESTS.map(|_| Best::default());
    let records = [record.best, record.step_best];
    for ((best, name), record) in bests.iter_mut().zip(BESTS).zip(records) {
        best.score = record.score.unwrap_or(best.score);
        // Minus infinity is the score where there is no best model yet.
        if best.score.is_nan() || best.score == f64::INFINITY {
            return Err(loaded.common.refused(format!("{name}: found the score {}", best.score)));
        }
        best.model = match (record.which, record.model) {
            (BestIs::Nothing, None) => None,
            (BestIs::Same, None) => Some(model.clone()),
            (BestIs::Other, Some(record)) => {
                let head = self::head(&loaded.common, record, expected, small)?;
                Some(with_blocks(loaded, name, head)?)
            }
            _ => {
                return Err(loaded
                    .common
                    .refused(format!("{name}: found a model too many or few")));
            }
        };
    }
    let [best, step_best] = bests;
    Ok(Restored { standing, model, best, step_best, begun: record.begun })
}

impl CheckpointRecord<'_> {
    /// Reads a record of version 1: the same values without names, one after the other.
    fn without_names(from: &mut SavedItems) -> Result<CheckpointRecord<'static>> {
        let model = |from: &mut SavedItems| -> Result<ModelRecord<'static>> {
            Ok(ModelRecord { experts: from.take()?, shared: from.take_numbers()? })
        };
        let best = |from: &mut SavedItems| -> Result<BestRecord<'static>> {
            let (which, score) = from.take()?;
            let model = (which == BestIs::Other).then(|| model(from)).transpose()?;
            Ok(BestRecord { which, score, model })
        };
        Ok(CheckpointRecord {
            standing: Cow::Owned(from.take()?),
            model: model(from)?,
            best: best(from)?,
            step_best: best(from)?,
            begun: from.take()?,
        })
    }
}

/// A model without the weights of its class blocks. Where pretraining has as many experts as what
/// comes later, it is of pretraining if the run's model is (`small`).
pub(super) fn head(
    from: &SavedItems,
    record: ModelRecord,
    expected: &ExpectedModels,
    small: bool,
) -> Result<Annotator> {
    let (counts, shared, shape) = (record.experts, record.shared.into_owned(), expected.shape);
    if !expected.experts.contains(&&counts[..]) {
        return Err(from.refused("model: found other numbers of experts than the job gives"));
    }
    let layers = shape.shared_layers();
    if shared.len() != layers.parameters() {
        let (found, expected) = (shared.len(), layers.parameters());
        let text = format!("model: found {found} numbers of shared layers, expected {expected}");
        return Err(from.refused(text));
    }
    if let Some(layer) = layers.odd_layer(&shared) {
        return Err(from.refused(format!("model: layer {layer}: found NaN or infinity")));
    }
    let layouts = layouts(&counts, shape.dummy, layers.outputs(), shape.class_blocks);
    let [before, later] = expected.experts;
    let small = counts == before && (small || counts != later);
    let owners = (expected.owners)(&layouts, small);
    let experts = Experts { layouts, owners, parameters: Vec::new() };
    Ok(Annotator { shape: shape.clone(), layers, shared, experts, names: None })
}

/// The same with the weights of this rank's class blocks.
pub(super) fn with_blocks(loaded: &Loaded, family: &str, mut head: Annotator) -> Result<Annotator> {
    let own = head.experts.own_layouts();
    let read = |index: usize, from: &mut dyn io::Read| weights(loaded, family, &own[index], from);
    head.experts.parameters = loaded.blocks.each(family, &head.experts.owners, read)?;
    Ok(head)
}

/// The weights of a class block of this layout.
pub(super) fn weights(
    loaded: &Loaded,
    family: &str,
    layout: &Layout,
    from: &mut dyn io::Read,
) -> io::Result<Arc<Vec<f32>>> {
    let numbers: Arc<Vec<f32>> = match loaded.version {
        1 => take_numbers(from)?,
        _ => take::<WeightsRecord<_>>(from)?.weights,
    };
    let (found, expected) = (numbers.len(), layout.parameters());
    let fine = found == expected && numbers.iter().all(|number| number.is_finite());
    let fault = || format!("{family}: found {found} numbers, expected {expected} finite ones");
    unless(numbers, (!fine).then(fault))
}

/// Reads the step's state of each of this rank's class blocks by `read`.
pub(crate) fn learned_blocks<T>(
    loaded: &Loaded,
    experts: &Experts,
    read: impl FnMut(usize, &mut dyn io::Read) -> io::Result<T>,
) -> Result<Vec<T>> {
    loaded.blocks.each(LEARNING, &experts.owners, read)
}
