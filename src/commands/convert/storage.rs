//! What `reelscale convert` stores numbers as: floats, or bytes of ranges that it is told or has
//! measured.

use super::Format;
use crate::comm::Comm;
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::example::{FeaturePart, Values, by_part};

/// Options of how numbers are stored.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StorageOptions {
    /// Tables and TFRecords: store features as floats of 32 or 16 bits, or as bytes. Without this
    /// option frames become bytes, features of videos 32-bit floats.
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Tables and TFRecords: what the bytes 0 and 255 stand for: -2..2, or of each part:
    /// rgb:-2..2,audio:0..255. Without this option floats are looked through first; features that
    /// are bytes already want it, but for those of TFRecords, which are taken for YouTube-8M's.
    #[arg(long, value_parser = range, value_delimiter = ',', allow_hyphen_values = true)]
    range: Vec<PartRange>,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Dtype {
    F32,
    F16,
    U8,
}

/// The least and greatest number of a part; without a name of all that aren't named.
#[derive(Clone, Debug, PartialEq)]
struct PartRange {
    part: Option<String>,
    low: f32,
    high: f32,
}

fn range(text: &str) -> std::result::Result<PartRange, String> {
    let (part, numbers) = match text.rsplit_once(':') {
        Some((part, numbers)) => (Some(part.to_string()), numbers),
        None => (None, text),
    };
    let parsed = numbers.split_once("..").and_then(|(low, high)| {
        let (low, high): (f32, f32) = (low.parse().ok()?, high.parse().ok()?);
        let fits = low < high && (high - low).is_finite();
        fits.then_some(PartRange { part, low, high })
    });
    parsed.ok_or_else(|| {
        "expected the lowest and the highest number, such as -2..2 or rgb:-2..2".into()
    })
}

/// What the features of files are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) frames: bool,
    /// Whether they are bytes already.
    pub(super) bytes: bool,
    /// Whether they are TFRecords', whose bytes are YouTube-8M's where nobody says otherwise.
    pub(super) of_records: bool,
}

impl Given {
    /// What these values of a TFRecord are; None where they are no frames.
    pub(super) fn of_record(values: &Values) -> Option<Given> {
        let (frames, bytes) = match values {
            Values::Frames(bytes) if bytes.is_empty() => return None,
            Values::Frames(_) => (true, true),
            Values::FrameNumbers(_) => (true, false),
            Values::Video(_) => (false, false),
        };
        Some(Given { frames, bytes, of_records: true })
    }
}

impl StorageOptions {
    /// These as text that ranks compare.
    pub(super) fn described(&self) -> String {
        let StorageOptions { dtype, range } = self;
        format!("--dtype = {dtype:?}\n--range = {range:?}\n")
    }

    /// # Errors
    /// Exit 2: one of them, and files whose numbers are stored in one way; ranges that contradict
    /// each other or floats.
    pub(super) fn check(&self, format: Format) -> Result<()> {
        let given = [("--dtype", self.dtype.is_some()), ("--range", !self.range.is_empty())];
        if let Some((name, _)) = given.iter().find(|option| option.1 && format == Format::Svmlight)
        {
            let text = "expected --from tfrecord, npy, npz, csv, hdf5 or parquet";
            return Err(Error::usage(format!("{name}: {text}")));
        }
        for (at, range) in self.range.iter().enumerate() {
            if self.range[..at].iter().any(|other| other.part == range.part) {
                let part = range.part.as_deref().unwrap_or("all parts");
                return Err(Error::usage(format!("--range: found two of {part}")));
            }
        }
        match self.dtype {
            Some(Dtype::F32 | Dtype::F16) if !self.range.is_empty() => {
                Err(Error::usage("--range: expected --dtype u8, since floats have no range"))
            }
            _ => Ok(()),
        }
    }

    /// Scale and offset of each part's bytes, where it is told.
    ///
    /// # Errors
    /// Exit 2: a part that isn't there, or of which nothing is told.
    pub(super) fn scaling(&self, parts: &[FeaturePart]) -> Result<Option<Vec<[f32; 2]>>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let names = || parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ");
        for name in self.range.iter().filter_map(|range| range.part.as_ref()) {
            if !parts.iter().any(|part| part.name == *name) {
                let text = format!("--range: found the part {name:?}, expected {}", names());
                return Err(Error::usage(text));
            }
        }
        let of = |part: Option<&str>| self.range.iter().find(|own| own.part.as_deref() == part);
        let scaling = parts.iter().map(|part| match of(Some(&part.name)).or(of(None)) {
            Some(range) => Ok(scaled((range.low, range.high))),
            None => Err(Error::usage(format!("--range: found none of the part {:?}", part.name))),
        });
        scaling.collect::<Result<_>>().map(Some)
    }

    /// What features such as these become, as far as it is known before they are looked through;
    /// None: bytes of ranges to be measured.
    ///
    /// # Errors
    /// Exit 2: what doesn't go with them.
    pub(super) fn told(&self, given: Given, parts: &[FeaturePart]) -> Result<Option<Encoding>> {
        let Given { frames, bytes, of_records } = given;
        let scaling = self.scaling(parts)?;
        let as_bytes = !matches!(self.dtype, Some(Dtype::F32 | Dtype::F16));
        if bytes && !of_records && scaling.is_none() && as_bytes {
            let text = "features are bytes (uint8), of which --range has to say what they mean";
            let hint = "--range=-1.9921875..2.0078125 if they are YouTube-8M's or AudioSet's, \
                        --range 0..255 if they are numbers";
            return Err(Error::usage(text).hint(hint));
        }
        let floats = match self.dtype {
            Some(Dtype::F32) => Some(Encoding::Floats),
            Some(Dtype::F16) => Some(Encoding::Halves),
            None if !frames && !bytes => Some(Encoding::Floats),
            _ => None,
        };
        match (floats, scaling) {
            (Some(floats), _) if bytes => {
                let name = floats.name();
                Err(Error::usage(format!("--dtype {name}: found bytes, which stay bytes")))
            }
            (Some(_), Some(_)) if of_records => {
                let error = Error::usage("--range: features of videos are stored as floats");
                Err(error.hint("--dtype u8 stores them as bytes"))
            }
            (Some(floats), _) => Ok(Some(floats)),
            (None, Some(scaling)) => Ok(Some(Encoding::of_parts(scaling))),
            (None, None) if bytes => Ok(Some(Encoding::of_youtube8m())),
            (None, None) => Ok(None),
        }
    }

    /// What features become. Where they are bytes and nobody has said a range it is that of each
    /// part's numbers in all files, of which `widen` adds those of one, or of a run of its rows;
    /// `own` are this rank's. Collective.
    ///
    /// # Errors
    /// Common to all ranks: those of `told` and of `widen`.
    pub(super) fn encoding<T>(
        &self,
        comm: &Comm,
        (given, parts): (Given, &[FeaturePart]),
        mut own: impl Iterator<Item = T>,
        mut widen: impl FnMut(T, &mut Bounds) -> Result<()>,
    ) -> Result<Encoding> {
        if let Some(told) = comm.agree(self.told(given, parts))? {
            return Ok(told);
        }
        let mut bounds = Bounds::of(parts);
        comm.agree(own.try_for_each(|run| widen(run, &mut bounds)))?;
        let all = comm.all_gather_any(&bounds.lowest_and_highest).concat();
        for other in all.chunks_exact(parts.len()) {
            for (own, [lowest, highest]) in bounds.lowest_and_highest.iter_mut().zip(other) {
                *own = [own[0].min(*lowest), own[1].max(*highest)];
            }
        }
        Ok(Encoding::of_parts(bounds.scaling()))
    }
}

/// The least and the greatest number of each part so far.
pub(super) struct Bounds {
    parts: Vec<FeaturePart>,
    lowest_and_highest: Vec<[f32; 2]>,
}

impl Bounds {
    fn of(parts: &[FeaturePart]) -> Bounds {
        let nothing = [f32::INFINITY, f32::NEG_INFINITY];
        Bounds { parts: parts.to_vec(), lowest_and_highest: vec![nothing; parts.len()] }
    }

    /// To the numbers of rows or frames.
    pub(super) fn widen(&mut self, numbers: &[f32]) {
        for (part, numbers) in by_part(&self.parts, numbers) {
            let bounds = &mut self.lowest_and_highest[part];
            for number in numbers.iter().filter(|number| number.is_finite()) {
                *bounds = [bounds[0].min(*number), bounds[1].max(*number)];
            }
        }
    }

    fn scaling(&self) -> Vec<[f32; 2]> {
        let of =
            |[low, high]: &[f32; 2]| scaled(if low <= high { (*low, *high) } else { (0.0, 0.0) });
        self.lowest_and_highest.iter().map(of).collect()
    }
}

/// Scale and offset of bytes from `low` to `high`.
fn scaled((low, high): (f32, f32)) -> [f32; 2] {
    if high > low { [(high - low) / 255.0, low] } else { [1.0, low] }
}
