//! Models in the formats of others (docs/model-format.md): the same numbers as safetensors and as
//! numpy's arrays, and as a graph of ONNX that computes scores. Each is written as the mixtures
//! pass by, class after class, to places that are known before, so memory doesn't grow with them.

mod file;
mod numpy;
mod onnx;
mod safetensors;
mod source;
mod tensors;

use std::path::Path;

pub(crate) use onnx::OnnxCut;
pub(crate) use source::Source;

use crate::disk::Disk;
use crate::error::Result;

/// What a model is exported to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ExportFormat {
    Safetensors,
    Numpy,
    /// A graph that gives the scores of all classes, or those of so many best ones.
    Onnx {
        top: Option<usize>,
        cut: OnnxCut,
    },
}

/// Writes the model to the file `path`, which isn't there yet; returns how many bytes it has, those
/// of a second file `PATH.data` of ONNX included.
///
/// # Errors
/// Exit 2: there is something of that name; exit 5: the file system refuses; what the source gives.
pub(crate) fn export(disk: &Disk, source: &Source, to: ExportFormat, path: &Path) -> Result<u64> {
    let bytes = match to {
        ExportFormat::Safetensors => safetensors::write(disk, source, path)?,
        ExportFormat::Numpy => numpy::write(disk, source, path)?,
        ExportFormat::Onnx { top, cut } => onnx::write(disk, source, path, (top, cut))?,
    };
    disk.lasts(path);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::artifact::{ModelFolder, save};
    use crate::comm::Comm;
    use crate::disk::FaultKind;
    use crate::example::FeaturePart;
    use crate::model::annotator::{Annotator, Shape};
    use crate::model::experts::{Experts, layouts};
    use crate::model::initial;
    use crate::model::spec::{Dummy, Layer, Normalize};

    fn model() -> Annotator {
        let shape = Shape {
            parts: vec![FeaturePart { name: "rgb".into(), size: 5 }],
            class_count: 30,
            normalize: Normalize::L2,
            standard: None,
            frames: Vec::new(),
            pooling: None,
            layers: vec![Layer::Gating],
            dummy: Dummy::Learned,
            epsilon: 1e-5,
            class_blocks: 0,
        };
        let (layers, counts) = (shape.shared_layers(), (0..30).map(|class| 1 + class % 16));
        let layouts = layouts(&counts.collect::<Vec<_>>(), shape.dummy, 5, 0);
        let experts = Experts::new(layouts.clone(), Comm::serial().deal(layouts.len()), 1, 1);
        Annotator { shared: initial::shared(&layers, 1), layers, shape, experts, names: None }
    }

    /// Whichever call of the file system fails: exit 5, and neither a file nor a part of one.
    #[test]
    fn a_disk_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        save(&Comm::serial(), &folder.path().join("model"), &model()).unwrap();
        let model = ModelFolder::open(&folder.path().join("model")).unwrap();
        let source = Source::of_folder(&model).unwrap();
        let cut = OnnxCut { inside_max: 0, piece_max: 4000 };
        let formats =
            [ExportFormat::Safetensors, ExportFormat::Numpy, ExportFormat::Onnx { top: None, cut }];
        for format in formats {
            let path = folder.path().join("exported");
            let mut calls = 0;
            loop {
                let disk = Disk::failing_after(calls, FaultKind::Once);
                let outcome = export(&disk, &source, format, &path);
                let count = fs::read_dir(folder.path()).unwrap().count();
                match outcome {
                    Ok(_) => break assert!(!disk.has_failed() && count > 1),
                    Err(error) => assert_eq!((error.exit as i32, count), (5, 1), "call {calls}"),
                }
                calls += 1;
            }
            assert!(calls > 8, "{calls}");
            fs::remove_file(&path).unwrap();
            let _ = fs::remove_file(folder.path().join("exported.data"));
        }
    }
}
