//! Reads the HDF5 files of a model that has been proven: the shared layers, and the mixtures of the
//! classes that a rank owns. What they say is compared with the manifest before room is made for
//! it.

use std::ops::Range;

use hdf5::Dataset;
use ndarray::s;

use super::files::{Rows, Visit, is_gate};
use super::model_folder::ModelFolder;
use crate::data::read_class_names;
use crate::error::{Error, Result};
use crate::folder::FolderFile;
use crate::kernel::mixture::layout::Layout;
use crate::model::experts::EXPERTS_MAX;
use crate::model::shared::SharedLayers;
use crate::model::spec::Dummy;
use crate::progress::tick;

fn damaged(file: &FolderFile, what: impl std::fmt::Display) -> Error {
    Error::run_directory(format!("{}: {what}", file.path().display()))
}

/// The dataset `name`, if it is of that shape and the file is long enough to hold it.
fn dataset<T>(
    file: &FolderFile,
    group: &hdf5::Group,
    name: &str,
    shape: &[usize],
) -> hdf5::Result<Dataset> {
    let dataset = group.dataset(name)?;
    let found = dataset.shape();
    if found != shape {
        return Err(format!("{name}: found {found:?}, expected {shape:?}").into());
    }
    let bytes = shape.iter().try_fold(size_of::<T>(), |bytes, side| bytes.checked_mul(*side));
    if bytes.is_none_or(|bytes| bytes as u64 > file.bytes()) {
        let found = format!("{name}: found {shape:?} in a file of {} bytes", file.bytes());
        return Err(found.into());
    }
    Ok(dataset)
}

/// Reads the shared layers' parameters.
///
/// # Errors
/// Exit 6: they are others than the shape says.
pub(crate) fn read_shared(file: &FolderFile, layers: &SharedLayers) -> Result<Vec<f32>> {
    let read = || -> hdf5::Result<Vec<f32>> {
        let mut parameters = vec![0.0; layers.parameters()];
        let open = hdf5::File::open(file.own_path())?;
        for (index, place) in layers.places.iter().enumerate() {
            let name = format!("layer_{index}");
            let group = open.group(&name)?;
            let shape = [place.inputs, place.outputs];
            let weights = dataset::<f32>(file, &group, "weights", &shape)?.read_2d::<f32>()?;
            let biases = dataset::<f32>(file, &group, "biases", &shape[1..])?.read_1d::<f32>()?;
            for ((input, output), weight) in weights.indexed_iter() {
                parameters[place.weight_at(input, output)] = *weight;
            }
            let to = place.biases().start;
            biases.iter().enumerate().for_each(|(output, bias)| parameters[to + output] = *bias);
        }
        Ok(parameters)
    };
    read().map_err(|error| damaged(file, error))
}

/// An experts file that is open, and where in it the rows of its classes lie.
pub(crate) struct ExpertsFile<'a> {
    file: &'a FolderFile,
    open: hdf5::File,
    classes: Range<usize>,
    /// One more than classes each.
    gates: Vec<usize>,
    experts: Vec<usize>,
}

impl<'a> ExpertsFile<'a> {
    /// Opens all experts files of a model.
    ///
    /// # Errors
    /// Exit 6: their offsets aren't those of its classes.
    pub(crate) fn all(model: &'a ModelFolder) -> Result<Vec<ExpertsFile<'a>>> {
        let dummy = model.manifest.shape.dummy;
        let files = model.expert_files().map(|(file, classes)| {
            ExpertsFile::open(file, classes, dummy).map_err(|error| damaged(file, error))
        });
        files.collect()
    }

    fn open(
        file: &'a FolderFile,
        classes: Range<usize>,
        dummy: Dummy,
    ) -> hdf5::Result<ExpertsFile<'a>> {
        let open = hdf5::File::open(file.own_path())?;
        let first: u64 = open.attr("first_class")?.read_scalar()?;
        if first != classes.start as u64 {
            return Err(format!("first_class: found {first}, expected {}", classes.start).into());
        }
        let [gates, experts] = ["gate_offsets", "expert_offsets"].map(|name| {
            let dataset = dataset::<i64>(file, &open, name, &[classes.len() + 1])?;
            rising(name, &dataset.read_raw::<i64>()?)
        });
        let (gates, experts) = (gates?, experts?);
        for class in 0..classes.len() {
            let [gates, experts] =
                [&gates, &experts].map(|offsets| span(offsets, class..class + 1));
            let (gates, experts) = (gates.len(), experts.len());
            let expected = dummy.gates(experts);
            if !(1..=EXPERTS_MAX).contains(&experts) || gates != expected {
                let found = format!("found {experts} experts and {gates} gates");
                return Err(format!("class {}: {found}", classes.start + class).into());
            }
        }
        Ok(ExpertsFile { file, open, classes, gates, experts })
    }

    /// Number of experts of each of its classes.
    pub(crate) fn counts(&self) -> impl Iterator<Item = usize> + '_ {
        self.experts.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// The names of its classes, if it has some.
    ///
    /// # Errors
    /// Exit 6: they are none.
    pub(crate) fn names(&self) -> Result<Option<Vec<String>>> {
        read_class_names(&self.open, self.file.bytes(), Some(self.classes.len()))
            .map_err(|text| damaged(self.file, format!("class_names: {text}")))
    }

    /// The parameters of the class block `layout`, if it lies in this file.
    ///
    /// # Errors
    /// Exit 6: the file holds something else.
    pub(crate) fn block(&self, layout: &Layout) -> Option<Result<Vec<f32>>> {
        let (all, own) = (&self.classes, &layout.classes);
        let here = all.start <= own.start && own.end <= all.end;
        here.then(|| self.read_block(layout).map_err(|error| damaged(self.file, error)))
    }

    fn read_block(&self, layout: &Layout) -> hdf5::Result<Vec<f32>> {
        let (first, width) = (self.classes.start, layout.width);
        let classes = layout.classes.start - first..layout.classes.end - first;
        let rows = self.read_rows(classes, width)?;
        let mut parameters = layout.empty_parameters();
        let (mut gate, mut expert) = (0, 0);
        for (_, role, panel, lane) in layout.real_columns() {
            let (of, row) =
                if is_gate(role) { (&rows.gates, gate) } else { (&rows.experts, expert) };
            for (k, weight) in of[row * width..(row + 1) * width].iter().enumerate() {
                parameters[layout.weight_at(panel, lane, k)] = *weight;
            }
            if is_gate(role) {
                gate += 1;
            } else {
                parameters[layout.bias_at(panel, lane)] = rows.biases[expert];
                expert += 1;
            }
        }
        Ok(parameters)
    }

    /// The mixture of a class on `width` activations, if it lies in this file.
    ///
    /// # Errors
    /// Exit 6: the file holds something else, or NaN or infinity.
    pub(crate) fn mixture(&self, class: usize, width: usize) -> Option<Result<Rows>> {
        let own = self.classes.contains(&class).then(|| class - self.classes.start)?;
        let rows = self.read_rows(own..own + 1, width);
        Some(rows.map_err(|error| damaged(self.file, error)).and_then(
            |rows| match rows.are_finite() {
                true => Ok(rows),
                false => Err(damaged(self.file, format!("class {class}: found NaN or infinity"))),
            },
        ))
    }

    /// The mixtures of some classes, counted from the file's first, on `width` activations.
    fn read_rows(&self, classes: Range<usize>, width: usize) -> hdf5::Result<Rows> {
        let rows = |name: &str, offsets: &[usize]| -> hdf5::Result<Vec<f32>> {
            let shape = [offsets[offsets.len() - 1], width];
            let rows = span(offsets, classes.clone());
            let dataset = dataset::<f32>(self.file, &self.open, name, &shape)?;
            let rows = dataset.read_slice_2d::<f32, _>(s![rows, ..])?;
            Ok(rows.into_raw_vec_and_offset().0)
        };
        let (gates, experts) =
            (rows("gate_weights", &self.gates)?, rows("expert_weights", &self.experts)?);
        let biases = [self.experts[self.experts.len() - 1]];
        let biases = dataset::<f32>(self.file, &self.open, "expert_biases", &biases)?;
        let biases = biases.read_slice_1d::<f32, _>(s![span(&self.experts, classes)])?;
        Ok(Rows { gates, experts, biases: biases.into_raw_vec_and_offset().0 })
    }

    /// Hands the mixtures of its classes, on `width` activations, to `visit` in order: about
    /// `at_once` bytes of them at a time, a class at least.
    ///
    /// # Errors
    /// Exit 6: the file holds something else, or NaN or infinity; what `visit` gives.
    pub(crate) fn each(&self, width: usize, at_once: usize, visit: &mut Visit) -> Result<()> {
        let rows_max = at_once / (width * size_of::<f32>());
        let rows_before = |class: usize| self.gates[class] + self.experts[class];
        let mut from = 0;
        while from < self.classes.len() {
            let end = rows_before(from) + rows_max;
            let further = (from + 2..=self.classes.len()).take_while(|to| rows_before(*to) <= end);
            let to = further.last().unwrap_or(from + 1);
            let rows =
                self.read_rows(from..to, width).map_err(|error| damaged(self.file, error))?;
            let classes = self.classes.start + from..self.classes.start + to;
            if !rows.are_finite() {
                let text = format!("classes {classes:?}: found NaN or infinity");
                return Err(damaged(self.file, text));
            }
            visit(classes, &rows)?;
            tick();
            from = to;
        }
        Ok(())
    }
}

/// The rows of some classes, counted from the file's first.
fn span(offsets: &[usize], classes: Range<usize>) -> Range<usize> {
    offsets[classes.start]..offsets[classes.end]
}

/// Offsets, which begin with 0 and never fall.
fn rising(name: &str, found: &[i64]) -> hdf5::Result<Vec<usize>> {
    if found[0] != 0 || found.windows(2).any(|pair| pair[1] < pair[0]) {
        return Err(format!("{name}: found offsets that don't begin with 0 or fall").into());
    }
    Ok(found.iter().map(|offset| *offset as usize).collect())
}
