//! The HDF5 files of a model directory: written block by block, so that no rank ever holds more
//! than its own blocks and one visitor.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::Dataset;
use hdf5::plist::file_access::LibraryVersion;
use ndarray::{ArrayView1, ArrayView2, s};
use sha2::{Digest, Sha256};

use super::manifest::{FileEntry, MANIFEST, Manifest, SHARED, experts_name};
use crate::comm::Comm;
use crate::data::write_class_names;
use crate::disk::{Disk, folder_of, there};
use crate::error::{Error, Result};
use crate::folder::sums::{self, SUMS};
use crate::human::hex;
use crate::kernel::mixture::Block;
use crate::kernel::mixture::layout::{Layout, Role};
use crate::model::annotator::Annotator;
use crate::model::shared::LayerPlace;
use crate::progress::{CallGuard, tick};

/// Numbers in a chunk of a matrix: 1 MiB.
const CHUNK: usize = 1 << 18;

fn storage(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> Error + '_ {
    move |error| Error::storage(format!("{}: {error}", path.display()))
}

/// Whether a model directory under way has a file of this name.
fn is_own(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    let fixed = [SHARED, MANIFEST, "manifest.json.tmp", SUMS, "SHA256SUMS.tmp"];
    let experts = name.strip_prefix("experts-").and_then(|rest| rest.strip_suffix(".h5"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    fixed.contains(&name) || experts.is_some_and(digits)
}

/// Makes a temporary directory for the model `path` and returns its name; refuses if `path` is
/// there. What an earlier try has left goes; a folder that holds anything else is left alone.
pub(crate) fn prepare(disk: &Disk, path: &Path) -> Result<PathBuf> {
    let failed = |error: io::Error| Error::file(path, &error);
    if there(path).map_err(failed)?.is_some() {
        return Err(Error::run_directory(format!("{}: exists already", path.display())));
    }
    disk.temporary_dir(path, is_own).map_err(failed)
}

/// Syncs the finished directory and gives it its name.
pub(crate) fn put_in_place(disk: &Disk, temporary: &Path, path: &Path) -> Result<()> {
    disk.sync_dir(temporary)
        .and_then(|()| disk.rename(temporary, path))
        .and_then(|()| disk.sync_dir(folder_of(path)))
        .map_err(|error| Error::file(path, &error))
}

/// Syncs a file and describes it.
fn entry(disk: &Disk, path: &Path, classes: Option<Range<usize>>) -> Result<FileEntry> {
    let described = disk.adopt(path).and_then(|file| file.sync()).and_then(|()| digest(path));
    let (bytes, sha256) = described.map_err(|error| Error::file(path, &error))?;
    let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
    Ok(FileEntry { name, bytes, sha256, classes })
}

/// Length and SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let _reading = CallGuard::on("reading", path);
    let (mut file, mut sha, mut bytes) = (fs::File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(&sha.finalize()))),
            read => {
                tick();
                sha.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Writes `manifest.json` and `SHA256SUMS`, and syncs them.
pub(crate) fn write_manifest(disk: &Disk, directory: &Path, manifest: &Manifest) -> Result<()> {
    let text = manifest.text();
    let digest = hex(&Sha256::digest(&text));
    let files = manifest.files.iter().map(|file| (file.name.as_str(), file.sha256.as_str()));
    let mut lines: Vec<String> =
        files.chain([(MANIFEST, digest.as_str())]).map(sums::line).collect();
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    for (name, text) in [(MANIFEST, text), (SUMS, lines.concat())] {
        let path = directory.join(name);
        disk.write_atomic(&path, |to| to.write_all(text.as_bytes()))
            .map_err(|error| Error::file(&path, &error))?;
    }
    Ok(())
}

/// Makes an HDF5 file in the format of HDF5 1.10, in which all metadata have checksums.
fn create(path: &Path) -> hdf5::Result<hdf5::File> {
    let mut builder = hdf5::File::with_options();
    builder.with_fapl(|access| access.libver_bounds(LibraryVersion::V110, LibraryVersion::V110));
    builder.create_excl(path)
}

/// Makes a checksummed matrix [rows, columns].
fn matrix(group: &hdf5::Group, name: &str, rows: usize, columns: usize) -> hdf5::Result<Dataset> {
    let builder = group.new_dataset::<f32>().shape((rows, columns));
    if rows * columns == 0 {
        return builder.create(name);
    }
    let chunk = (CHUNK / columns).clamp(1, rows);
    builder.chunk((chunk, columns)).fletcher32().create(name)
}

/// Writes a checksummed vector.
fn vector<T: hdf5::H5Type>(group: &hdf5::Group, name: &str, values: &[T]) -> hdf5::Result<()> {
    let builder = group.new_dataset_builder();
    if values.is_empty() {
        return builder.empty::<T>().shape(0).create(name).map(drop);
    }
    let chunk = values.len().min(CHUNK);
    builder.chunk(chunk).fletcher32().with_data(values).create(name).map(drop)
}

/// The weights [inputs, outputs] and biases [outputs] of a layer among all `parameters`.
pub(crate) fn weights_of(place: &LayerPlace, parameters: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut weights = Vec::with_capacity(place.inputs * place.outputs);
    for input in 0..place.inputs {
        let row = (0..place.outputs).map(|output| place.weight_at(input, output));
        weights.extend(row.map(|at| parameters[at]));
    }
    (weights, parameters[place.biases()][..place.outputs].to_vec())
}

/// Writes `shared.h5`.
pub(crate) fn write_shared(
    disk: &Disk,
    directory: &Path,
    annotator: &Annotator,
) -> Result<FileEntry> {
    let path = directory.join(SHARED);
    let write = || -> hdf5::Result<()> {
        let file = create(&path)?;
        for (index, place) in annotator.layers.places.iter().enumerate() {
            let group = file.create_group(&format!("layer_{index}"))?;
            let (weights, biases) = weights_of(place, &annotator.shared);
            let view = ArrayView2::from_shape((place.inputs, place.outputs), &weights);
            matrix(&group, "weights", place.inputs, place.outputs)?.write(view.expect("whole"))?;
            vector(&group, "biases", &biases)?;
            let layer = serde_json::to_string(&place.layer).expect("a layer is plain data");
            // In a heap that HDF5 doesn't checksum, but which only people read.
            let text: hdf5::types::VarLenUnicode = layer.parse().expect("JSON holds no NUL");
            group.new_attr::<hdf5::types::VarLenUnicode>().create("layer")?.write_scalar(&text)?;
        }
        file.close()
    };
    write().map_err(|error| storage(&path)(&error))?;
    entry(disk, &path, None)
}

/// The mixtures of some classes as files hold them: rows by class.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) gates: Vec<f32>,
    pub(crate) experts: Vec<f32>,
    pub(crate) biases: Vec<f32>,
}

impl Rows {
    pub(crate) fn are_finite(&self) -> bool {
        let mut all = self.gates.iter().chain(&self.experts).chain(&self.biases);
        all.all(|number| number.is_finite())
    }
}

/// Takes the mixtures of some consecutive classes.
pub(crate) type Visit<'a> = dyn FnMut(Range<usize>, &Rows) -> Result<()> + 'a;

/// Whether a column belongs to a gate, not to an expert.
pub(crate) fn is_gate(role: Role) -> bool {
    !matches!(role, Role::Expert(_))
}

/// A class block's weights, turned to rows.
pub(crate) fn to_rows(layout: &Layout, parameters: &[f32]) -> Rows {
    let mut rows = Rows::default();
    for (_, role, panel, lane) in layout.real_columns() {
        let to = if is_gate(role) { &mut rows.gates } else { &mut rows.experts };
        let places = (0..layout.width).map(|k| layout.weight_at(panel, lane, k));
        to.extend(places.map(|place| parameters[place]));
        if !is_gate(role) {
            rows.biases.push(parameters[layout.bias_at(panel, lane)]);
        }
    }
    rows
}

/// Number of gates and of experts of each class of a block.
fn counts(layout: &Layout) -> Vec<(usize, usize)> {
    let mut counts = vec![(0, 0); layout.classes.len()];
    for (class, role, _, _) in layout.real_columns() {
        let (gates, experts) = &mut counts[class];
        *(if is_gate(role) { gates } else { experts }) += 1;
    }
    counts
}

fn offsets(counts: impl Iterator<Item = usize>) -> Vec<i64> {
    let mut offsets = vec![0];
    counts.for_each(|count| offsets.push(offsets[offsets.len() - 1] + count as i64));
    offsets
}

/// Writes all experts files; returns their entries on every rank.
pub(crate) fn write_experts(
    comm: &Comm,
    disk: &Disk,
    directory: &Path,
    annotator: &Annotator,
    file_bytes: usize,
) -> Result<Vec<FileEntry>> {
    let experts = &annotator.experts;
    let mut cuts = vec![0];
    let mut bytes = 0;
    for (block, layout) in experts.layouts.iter().enumerate() {
        if bytes >= file_bytes {
            cuts.push(block);
            bytes = 0;
        }
        bytes += 4 * layout.parameters();
    }
    cuts.push(experts.layouts.len());
    let mut entries = Vec::new();
    for (index, cut) in cuts.windows(2).enumerate() {
        let path = directory.join(experts_name(index));
        let mine = write_experts_file(comm, disk, &path, annotator, cut[0]..cut[1])?;
        let text = serde_json::to_vec(&mine).expect("an entry is plain data");
        let writer = experts.owners.owner(cut[0]);
        let text = comm.all_gather_any(&text).swap_remove(writer);
        entries.push(serde_json::from_slice::<Option<FileEntry>>(&text).expect("as written"));
    }
    Ok(entries.into_iter().map(|entry| entry.expect("its writer has described it")).collect())
}

/// Writes one experts file on the rank that owns its first block; others send it theirs.
fn write_experts_file(
    comm: &Comm,
    disk: &Disk,
    path: &Path,
    annotator: &Annotator,
    blocks: Range<usize>,
) -> Result<Option<FileEntry>> {
    let experts = &annotator.experts;
    let writer = experts.owners.owner(blocks.start);
    let layouts = &experts.layouts[blocks.clone()];
    let classes = layouts[0].classes.start..layouts[layouts.len() - 1].classes.end;
    let names = annotator.names.as_ref().map(|names| &names.all()[classes.clone()]);
    let made = (comm.rank() == writer).then(|| NewExpertsFile::create(path, layouts, names));
    let mut file = comm.agree(made.transpose().map_err(|error| storage(path)(&error)))?;
    let mut outcome = Ok(());
    for block in blocks {
        let mut parts = vec![Vec::new(); comm.size()];
        if experts.own().contains(&block) {
            parts[writer] = experts.block(block).parameters.to_vec();
        }
        let sender = experts.owners.owner(block);
        let parameters = comm.all_to_all(parts).swap_remove(sender);
        if let (Some(file), Ok(())) = (&mut file, &outcome) {
            let layout = &experts.layouts[block];
            outcome = file.push(Block { layout, parameters: &parameters });
        }
    }
    let finished = match file {
        Some(file) => outcome
            .and_then(|()| file.close())
            .map_err(|error| storage(path)(&error))
            .and_then(|()| entry(disk, path, Some(classes)))
            .map(Some),
        None => Ok(None),
    };
    comm.agree(finished)
}

/// An experts file under way.
struct NewExpertsFile {
    file: hdf5::File,
    gates: Dataset,
    experts: Dataset,
    biases: Dataset,
    /// Gate and expert rows written so far.
    at: (usize, usize),
}

impl NewExpertsFile {
    fn create(
        path: &Path,
        layouts: &[Layout],
        names: Option<&[String]>,
    ) -> hdf5::Result<NewExpertsFile> {
        let counts: Vec<(usize, usize)> = layouts.iter().flat_map(counts).collect();
        let (gates, experts) = counts.iter().fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
        let width = layouts[0].width;
        let file = create(path)?;
        vector(&file, "gate_offsets", &offsets(counts.iter().map(|count| count.0)))?;
        vector(&file, "expert_offsets", &offsets(counts.iter().map(|count| count.1)))?;
        let first = layouts[0].classes.start as u64;
        file.new_attr::<u64>().create("first_class")?.write_scalar(&first)?;
        names.map_or(Ok(()), |names| write_class_names(&file, names))?;
        let biases = file.new_dataset::<f32>().shape(experts);
        Ok(NewExpertsFile {
            gates: matrix(&file, "gate_weights", gates, width)?,
            experts: matrix(&file, "expert_weights", experts, width)?,
            biases: biases.chunk(experts.min(CHUNK)).fletcher32().create("expert_biases")?,
            file,
            at: (0, 0),
        })
    }

    /// Closes the file, whose last bytes are only written once its datasets are closed.
    fn close(self) -> hdf5::Result<()> {
        drop((self.gates, self.experts, self.biases));
        self.file.close()
    }

    fn push(&mut self, block: Block) -> hdf5::Result<()> {
        let (rows, width) = (to_rows(block.layout, block.parameters), block.layout.width);
        let gates = rows.gates.len() / width;
        let (gate, expert) = self.at;
        let end = (gate + gates, expert + rows.biases.len());
        if gates > 0 {
            let view = ArrayView2::from_shape((gates, width), &rows.gates).expect("whole rows");
            self.gates.write_slice(view, s![gate..end.0, ..])?;
        }
        let view = ArrayView2::from_shape((rows.biases.len(), width), &rows.experts);
        self.experts.write_slice(view.expect("whole rows"), s![expert..end.1, ..])?;
        self.biases.write_slice(ArrayView1::from(&rows.biases), s![expert..end.1])?;
        self.at = end;
        Ok(())
    }
}
