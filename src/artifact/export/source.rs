//! What is exported: a trained model whose mixtures pass by once, class after class, so that they
//! need not fit in memory.

use std::sync::Arc;

use crate::artifact::files::Visit;
use crate::artifact::model_folder::ModelFolder;
use crate::artifact::{Head, head};
use crate::error::Result;
use crate::model::annotator::Shape;
use crate::names::Names;

/// Bytes of mixtures that are read at once, unless one class has more.
const AT_ONCE: usize = 32 << 20;

/// A trained model.
pub(crate) struct Source<'a> {
    pub(crate) shape: Shape,
    /// Parameters of the shared layers.
    pub(crate) shared: Vec<f32>,
    /// Number of experts of each class.
    pub(crate) counts: Vec<usize>,
    /// The names of its classes, where they have some.
    pub(crate) names: Option<Arc<Names>>,
    /// Where it is known.
    pub(crate) content_hash: Option<String>,
    /// Hands over the mixtures of all classes, in order.
    pub(crate) mixtures: Box<Mixtures<'a>>,
}

pub(crate) type Mixtures<'a> = dyn Fn(&mut Visit) -> Result<()> + 'a;

impl Source<'_> {
    /// The model in a directory, which is whole.
    ///
    /// # Errors
    /// Exit 6: its files hold something else than its manifest says.
    pub(crate) fn of_folder(model: &ModelFolder) -> Result<Source<'_>> {
        let Head { layers, shared, files, counts, names } = head(model)?;
        let mixtures = move |visit: &mut Visit| {
            files.iter().try_for_each(|file| file.each(layers.outputs(), AT_ONCE, visit))?;
            model.unchanged()
        };
        Ok(Source {
            shape: model.manifest.shape.clone(),
            shared,
            counts,
            names,
            content_hash: Some(model.manifest.content_hash.clone()),
            mixtures: Box::new(mixtures),
        })
    }

    /// Number of gates and of experts of each class.
    pub(super) fn columns(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.counts.iter().map(|experts| (self.shape.dummy.gates(*experts), *experts))
    }

    /// What a reader should know of the model beside its numbers; what features are standardised
    /// by goes with these.
    pub(super) fn described(&self) -> Vec<(&'static str, String)> {
        let shape = Shape { standard: None, ..self.shape.clone() };
        let shape = serde_json::to_string(&shape).expect("a shape is plain data");
        let creator = concat!("reelscale ", env!("CARGO_PKG_VERSION")).to_string();
        let hash = self.content_hash.clone().map(|hash| ("content_hash", hash));
        let names = self.names.as_ref().map(|names| {
            ("class_names", serde_json::to_string(names.all()).expect("texts are plain data"))
        });
        let known = [("shape", shape), ("creator", creator)];
        known.into_iter().chain(hash).chain(names).collect()
    }
}
