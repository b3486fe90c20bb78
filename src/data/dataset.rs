//! Many shards as rows 0..N.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::planned::PlannedRows;
use super::reader::ShardReader;
use super::relabelled::Relabelled;
use super::schema::{Kind, ShardInfo};
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::labels::Labels;
use crate::model::bounds::FeatureBounds;
use crate::model::features::{FrameForm, Frames};
use crate::model::spec::{Normalize, Standard};
use crate::names::Names;
use crate::progress::CallGuard;

/// Files kept open by a reader.
const OPEN_MAX: usize = 16;

/// Consecutive rows of one shard.
#[derive(Clone, Debug, PartialEq)]
struct Segment {
    shard: usize,
    /// First row within the shard.
    from: usize,
    /// First row within the dataset.
    at: usize,
    rows: usize,
}

/// Rows of shards that agree in features and classes, in the order of the shards.
#[derive(Clone, Debug)]
pub struct Dataset {
    shards: Arc<Vec<ShardInfo>>,
    segments: Vec<Segment>,
    rows: usize,
    /// How large features may be.
    bounds: Arc<FeatureBounds>,
    /// What frames are read as.
    frame_form: Arc<FrameForm>,
    /// Of the shards' classes, where any shard has some.
    names: Option<Arc<Names>>,
    /// The numbers that these classes go by, where those aren't the shards' own.
    relabelled: Option<Arc<Relabelled>>,
    /// What stands for rows that aren't here.
    pub(super) planned: Option<Arc<PlannedRows>>,
}

impl Dataset {
    /// All rows of `shards`.
    ///
    /// # Errors
    /// Exit 4: no shard, or shards that don't agree (all of them are listed).
    pub fn new(shards: Vec<ShardInfo>) -> Result<Dataset> {
        let Some(first) = shards.first() else { return Err(Error::input("no shard")) };
        let mut errors = Vec::new();
        let describe = |shard: &ShardInfo| {
            let part = |part: &FeaturePart| format!("{}:{}", part.name, part.size);
            let parts: Vec<String> = shard.parts.iter().map(part).collect();
            format!("{} {} of {} classes", shard.kind.level(), parts.join(","), shard.class_count)
        };
        for shard in &shards {
            let alike = shard.kind == first.kind
                && shard.parts == first.parts
                && shard.class_count == first.class_count;
            if !alike {
                errors.push(Error::input(format!(
                    "{}: found {}, expected {} as in {}",
                    shard.path.display(),
                    describe(shard),
                    describe(first),
                    first.path.display()
                )));
            }
        }
        Error::all(errors)?;
        let forms = shards.iter().map(|shard| (shard.encoding.size(), shard.runs()));
        let frame_form = Arc::new(FrameForm::of_all(first.width(), forms));
        agree_in_names(&shards)?;
        let bounds = Arc::new(FeatureBounds::none());
        let mut dataset = Dataset {
            segments: Vec::new(),
            rows: 0,
            shards: Arc::new(shards),
            bounds,
            frame_form,
            names: None,
            relabelled: None,
            planned: None,
        };
        for shard in 0..dataset.shards.len() {
            dataset.append(shard, 0, dataset.shards[shard].rows);
        }
        Ok(dataset)
    }

    /// The same rows, for what scales them like this: rows that it can't make numbers of are errors
    /// when they are read.
    pub(crate) fn scaled_by(self, normalize: Normalize, standard: Option<&Standard>) -> Dataset {
        let bounds = Arc::new(FeatureBounds::new(normalize, standard, self.width()));
        Dataset { bounds, ..self }
    }

    /// The same rows, with these names of their shards' classes.
    pub(crate) fn named(self, names: Option<Arc<Names>>) -> Dataset {
        Dataset { names, ..self }
    }

    /// The same rows, their classes by other numbers.
    pub(crate) fn relabelled(self, classes: Relabelled) -> Dataset {
        Dataset { relabelled: Some(Arc::new(classes)), ..self }
    }

    /// The names of the shards' classes, as the first shard that has some has them.
    ///
    /// # Errors
    /// Exit 4.
    pub(crate) fn names_of_shards(&self) -> Result<Option<Names>> {
        let first = self.shards.iter().find(|shard| shard.names.is_some());
        first.map_or(Ok(None), ShardInfo::class_names)
    }

    /// The names of the shards' classes, where they are known.
    pub(crate) fn names(&self) -> Option<&Arc<Names>> {
        self.names.as_ref()
    }

    fn append(&mut self, shard: usize, from: usize, rows: usize) {
        if rows > 0 {
            self.segments.push(Segment { shard, from, at: self.rows, rows });
            self.rows += rows;
        }
    }

    /// The rows of `ranges` of this dataset, in that order, as a dataset.
    pub fn subset(&self, ranges: &[Range<usize>]) -> Dataset {
        let mut subset = Dataset { segments: Vec::new(), rows: 0, ..self.clone() };
        for range in ranges {
            self.pieces(range)
                .for_each(|(shard, rows)| subset.append(shard, rows.start, rows.len()));
        }
        subset
    }

    /// The pieces of shards that make up `rows`, in order: (shard, rows of it).
    fn pieces(&self, rows: &Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        assert!(rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        let first =
            self.segments.partition_point(|segment| segment.at + segment.rows <= rows.start);
        let rows = rows.clone();
        self.segments[first..].iter().take_while(move |segment| segment.at < rows.end).map({
            let rows = rows.clone();
            move |segment| {
                let from = rows.start.max(segment.at) - segment.at + segment.from;
                let to = rows.end.min(segment.at + segment.rows) - segment.at + segment.from;
                (segment.shard, from..to)
            }
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The shards that `rows` lie in, each once, in order.
    pub(crate) fn shards_of(&self, rows: &Range<usize>) -> Vec<usize> {
        let shards: BTreeSet<usize> = self.pieces(rows).map(|piece| piece.0).collect();
        shards.into_iter().collect()
    }

    /// The shard of a row, and the row's number in it.
    pub(crate) fn place_of(&self, row: usize) -> (usize, usize) {
        let (shard, rows) = self.pieces(&(row..row + 1)).next().expect("a row of the dataset");
        (shard, rows.start)
    }

    /// Number of features D.
    pub fn width(&self) -> usize {
        self.shards[0].width()
    }

    pub fn class_count(&self) -> usize {
        match &self.relabelled {
            Some(relabelled) => relabelled.class_count,
            None => self.shards[0].class_count,
        }
    }

    pub(crate) fn parts(&self) -> &[FeaturePart] {
        &self.shards[0].parts
    }

    pub(crate) fn kind(&self) -> Kind {
        self.shards[0].kind
    }

    pub(crate) fn shards(&self) -> &[ShardInfo] {
        &self.shards
    }

    /// What frames are read as.
    pub(crate) fn frame_form(&self) -> &FrameForm {
        &self.frame_form
    }

    /// Whether no row of its shards has a label.
    pub(crate) fn is_unlabelled(&self) -> bool {
        self.shards.iter().all(|shard| shard.positives == 0)
    }

    /// A reader of its own; files are opened when they are needed.
    pub fn reader(&self) -> Reader {
        Reader { dataset: self.clone(), open: Vec::new() }
    }
}

/// Sees that no two shards name a class differently. Those without names say nothing.
///
/// # Errors
/// Exit 4: the first shard of each other list of names, with the first class that differs.
fn agree_in_names(shards: &[ShardInfo]) -> Result<()> {
    let mut named = shards.iter().filter(|shard| shard.names.is_some());
    let Some(first) = named.next() else { return Ok(()) };
    let (mut seen, mut errors) = (BTreeSet::from([&first.names]), Vec::new());
    for shard in named.filter(|shard| seen.insert(&shard.names)) {
        let (found, expected) = (shard.class_names()?, first.class_names()?);
        let (found, expected) = (found.unwrap_or_default(), expected.unwrap_or_default());
        let class = found.first_other(&expected).unwrap_or(0);
        errors.push(Error::input(format!(
            "{}: class_names: class {class}: found {:?}, expected {:?} as in {}",
            shard.path.display(),
            found.of(class),
            expected.of(class),
            first.path.display()
        )));
    }
    Error::all(errors).map_err(|error| error.hint("convert all shards of a set with one --names"))
}

/// Reads rows of a dataset.
pub struct Reader {
    dataset: Dataset,
    /// The shards read last, the latest at the end.
    open: Vec<(usize, ShardReader)>,
}

impl Reader {
    fn shard(&mut self, shard: usize) -> Result<&mut ShardReader> {
        match self.open.iter().position(|open| open.0 == shard) {
            Some(at) => {
                let open = self.open.remove(at);
                self.open.push(open);
            }
            None => {
                if self.open.len() == OPEN_MAX {
                    self.open.remove(0);
                }
                let reader = {
                    let Dataset { shards, bounds, .. } = &self.dataset;
                    ShardReader::within(&shards[shard], bounds.clone())?
                };
                self.open.push((shard, reader));
            }
        }
        Ok(&mut self.open.last_mut().expect("just pushed").1)
    }

    fn each(
        &mut self,
        rows: &Range<usize>,
        mut visit: impl FnMut(&mut ShardReader, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let pieces: Vec<_> = self.dataset.pieces(rows).collect();
        for (shard, rows) in pieces {
            let shards = self.dataset.shards.clone();
            let reader = self.shard(shard)?;
            let _reading = CallGuard::on("reading", &shards[shard].path);
            visit(reader, rows)?;
        }
        Ok(())
    }

    /// Features of `rows` into `features` [rows][D] and their labels appended to `labels`.
    ///
    /// # Errors
    /// Exit 4: damaged or wrong values, with file, dataset, row.
    pub fn read(
        &mut self,
        rows: Range<usize>,
        features: &mut [f32],
        labels: &mut Labels,
    ) -> Result<()> {
        let width = self.dataset.width();
        assert_eq!(features.len(), rows.len() * width);
        if let Some(planned) = &self.dataset.planned {
            planned.read(rows.clone(), features, width);
            return self.labels(rows, labels);
        }
        let (mut at, relabelled) = (0, self.dataset.relabelled.clone());
        self.each(&rows, |shard, rows| {
            let end = at + rows.len() * width;
            shard.features(rows.clone(), &mut features[at..end])?;
            at = end;
            add_labels(shard, rows, relabelled.as_deref(), labels)
        })
    }

    /// As `read` for frame-level shards: frames as they are stored, appended to `frames`, which
    /// have the dataset's form.
    ///
    /// # Errors
    /// As `read`.
    pub(crate) fn read_frames(
        &mut self,
        rows: Range<usize>,
        frames: &mut Frames,
        labels: &mut Labels,
    ) -> Result<()> {
        if let Some(planned) = &self.dataset.planned {
            planned.read_frames(rows.clone(), frames);
            return self.labels(rows, labels);
        }
        let relabelled = self.dataset.relabelled.clone();
        self.each(&rows, |shard, rows| {
            for row in rows.clone() {
                shard.push_frames(row, frames)?;
            }
            add_labels(shard, rows, relabelled.as_deref(), labels)
        })
    }

    /// The dataset that it reads.
    pub(crate) fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Appends the labels of `rows` to `labels`.
    pub fn labels(&mut self, rows: Range<usize>, labels: &mut Labels) -> Result<()> {
        if let Some(planned) = &self.dataset.planned {
            planned.read_labels(rows, labels);
            return Ok(());
        }
        let relabelled = self.dataset.relabelled.clone();
        self.each(&rows, |shard, rows| add_labels(shard, rows, relabelled.as_deref(), labels))
    }

    /// The ids of `rows`.
    pub fn ids(&mut self, rows: Range<usize>) -> Result<Vec<Vec<u8>>> {
        let mut ids = Vec::new();
        self.each(&rows, |shard, rows| {
            ids.extend(shard.ids(rows)?);
            Ok(())
        })?;
        Ok(ids)
    }

    /// The frames of each of `rows`, as they are stored.
    pub fn frames(&mut self, rows: Range<usize>) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        self.each(&rows, |shard, rows| {
            for row in rows {
                frames.push(shard.frames(row)?);
            }
            Ok(())
        })?;
        Ok(frames)
    }
}

/// Appends the labels of some rows of a shard, by the numbers that they go by.
fn add_labels(
    shard: &mut ShardReader,
    rows: Range<usize>,
    relabelled: Option<&Relabelled>,
    labels: &mut Labels,
) -> Result<()> {
    let Some(relabelled) = relabelled else { return shard.labels(rows, labels) };
    let mut found = Labels::new();
    shard.labels(rows, &mut found)?;
    relabelled.add(&found, labels);
    Ok(())
}
