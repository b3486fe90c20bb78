//! What is fuzzed: each reader of bytes that others may have made. A target takes any bytes and
//! panics where a promise is broken: that the reader neither panics nor takes memory that the size
//! of its input doesn't explain, and that what it reads is written and read back the same.
//!
//! `tests/corpora.rs` runs the same functions on the inputs in `fuzz/corpus/`.

#[path = "whole_files.rs"]
mod whole_files;

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use reelscale::Job;
use reelscale::internals::artifact::Manifest;
use reelscale::internals::checkpoint::listing::Listing;
use reelscale::internals::example::{Example, FeaturePart, Values};
use reelscale::internals::folder::sums;
use reelscale::internals::formats::csv::{Records, field};
use reelscale::internals::formats::submission::{HEADER, Source, Video, read_both, write_line};
use reelscale::internals::formats::svmlight;
use reelscale::internals::formats::tf_example::{Parsed, Wanted, keys, parse};
use reelscale::internals::formats::tfrecord::{self, framed};
use reelscale::internals::packed::{Packed, put, take};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::whole_files::{parquet_rows, trailer};
use crate::memory::peak;
use crate::tfrecords;

pub type Target = fn(&[u8]);

/// Every target and the bytes that it may hold for each byte of its input, beside `MEMORY_MIN`.
pub const TARGETS: &[(&str, Target, usize)] = &[
    ("tfrecord", tfrecord_framing, 64),
    // Deflate makes at most 1032 bytes of one, and vectors grow by doubling.
    ("compressed", compressed, 4096),
    ("example", example, 64),
    ("sequence", sequence, 64),
    ("svmlight", svmlight_rows, 64 << 10),
    ("csv", csv, 256),
    // Pages of a chunk are opened whole, by codecs that make a thousand bytes of one.
    ("parquet", parquet_rows, 4096),
    ("submission", submission, 512),
    ("job", job, 1024),
    ("items", items, 256),
    ("listing", listing, 512),
    ("sums", sha256_sums, 64),
    ("manifest", manifest, 512),
    ("trailer", trailer, 64),
];

/// Bytes that any input may take: buffers, messages.
const MEMORY_MIN: usize = 4 << 20;

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target, factor) =
        TARGETS.iter().find(|target| target.0 == name).expect("the name of a target");
    let ((), held) = peak(|| target(bytes));
    let most = MEMORY_MIN + factor * bytes.len();
    assert!(held <= most, "{name}: {} bytes took {held} bytes of memory", bytes.len());
}

/// The records that these bytes frame, up to the first that is wrong.
fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    read(tfrecord::Records::new("input", bytes, bytes.len() as u64)).0
}

/// Its records, up to the first that is wrong, and whether there is none.
fn read(mut from: tfrecord::Records) -> (Vec<Vec<u8>>, bool) {
    let mut records = Vec::new();
    loop {
        match from.next() {
            Ok(Some(record)) => records.push(record.to_vec()),
            Ok(None) => return (records, true),
            Err(_) => return (records, false),
        }
    }
}

/// The same of a file that may be compressed.
fn read_compressed(bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let from = tfrecord::Records::of("input", bytes, bytes.len() as u64);
    from.map_or((Vec::new(), false), read)
}

fn compressed(bytes: &[u8]) {
    read_compressed(bytes);
    let pieces: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let whole: Vec<u8> = pieces.iter().flat_map(|piece| framed(piece)).collect();
    let level = Compression::new(bytes.len() as u32 % 10);
    let at = bytes.len() / 2;
    let mut gzip = GzEncoder::new(Vec::new(), level);
    gzip.write_all(&whole).expect("memory takes it");
    let mut zlib = ZlibEncoder::new(Vec::new(), level);
    zlib.write_all(&whole).expect("memory takes it");
    for packed in [gzip.finish(), zlib.finish()].map(|packed| packed.expect("memory takes it")) {
        assert_eq!(read_compressed(&packed), (pieces.clone(), true));
        let cut = read_compressed(&packed[..packed.len() - 1 - at % packed.len().min(20)]);
        assert!(!cut.1 && pieces.starts_with(&cut.0), "a cut stream is told");
        let mut changed = packed.clone();
        changed[at * 7 % packed.len()] ^= 1 << (bytes.len() % 8);
        // Some bytes of a header, such as the time, say nothing of what is within. Records may be
        // whole and in another order before the checksum at the end says so.
        let (found, good) = read_compressed(&changed);
        assert!(!good || found == pieces, "a changed byte is found at the end");
    }
}

fn tfrecord_framing(bytes: &[u8]) {
    let found = records(bytes);
    let again: Vec<u8> = found.iter().flat_map(|record| framed(record)).collect();
    assert!(bytes.starts_with(&again), "records are framed as they were");
    // Checksums are beyond chance: pieces of the input, framed, one byte of it changed.
    let pieces: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let mut whole: Vec<u8> = pieces.iter().flat_map(|piece| framed(piece)).collect();
    assert_eq!(records(&whole), pieces);
    let at = bytes.len() * 7 % whole.len();
    whole[at] ^= 1 << (bytes.len() % 8);
    let mut changed = records(&whole);
    assert!(changed.len() < pieces.len(), "a changed byte is found");
    changed.push(pieces[changed.len()].clone());
    assert!(pieces.starts_with(&changed), "and nothing before it is lost");
}

fn part(name: &str, size: usize) -> FeaturePart {
    FeaturePart { name: name.into(), size }
}

fn example(bytes: &[u8]) {
    let parts = [part("rgb", 3)];
    parsed(bytes, &Wanted { parts: &parts, class_count: 10, ..Wanted::default() });
}

fn sequence(bytes: &[u8]) {
    let parts = [part("rgb", 2), part("audio", 1)];
    let labels_key = Some("label");
    let wanted = Wanted { parts: &parts, class_count: 300, labels_key, ..Wanted::default() };
    parsed(bytes, &wanted);
    segments(bytes, &Wanted { segments: true, ..wanted });
    parsed(bytes, &Wanted { flat_frames: true, raw_floats: true, ..wanted });
}

fn parsed(bytes: &[u8], wanted: &Wanted) {
    let listed = keys(bytes);
    let Ok(Parsed { example, .. }) = parse(bytes, wanted) else { return };
    assert!(listed.is_ok(), "what can be parsed can be listed");
    assert!(example.labels.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(example.labels.iter().all(|label| (*label as usize) < wanted.class_count));
    let again = parse(&encoded(&example, wanted), wanted).expect("as it is written");
    assert_eq!((again.example, again.repeated_labels), (example, 0));
}

fn segments(bytes: &[u8], wanted: &Wanted) {
    let Ok(Parsed { example, segments, .. }) = parse(bytes, wanted) else { return };
    for row in segments.iter().map(|segment| segment.row(&example, 3)) {
        let within = match (&example.values, &row.values) {
            (Values::Frames(all), Values::Frames(own)) => is_within(own, all),
            (Values::FrameNumbers(all), Values::FrameNumbers(own)) => is_within(own, all),
            _ => panic!("only of frames"),
        };
        assert!(within);
        assert!(row.labels.iter().all(|label| (*label as usize) < wanted.class_count));
    }
}

/// Whether these stand somewhere among all, one after the other.
fn is_within<T: PartialEq>(own: &[T], all: &[T]) -> bool {
    !own.is_empty() && all.windows(own.len()).any(|window| window == own)
}

/// An example as TensorFlow writes it, without its frame.
fn encoded(example: &Example, wanted: &Wanted) -> Vec<u8> {
    use tfrecords::{entry, field, floats, integers, lists, strings};
    let labels: Vec<i64> = example.labels.iter().map(|label| i64::from(*label)).collect();
    let key = wanted.labels_key.unwrap_or("labels");
    let mut context = vec![entry("id", &strings(&[&example.id])), entry(key, &integers(&labels))];
    let width: usize = wanted.parts.iter().map(|part| part.size).sum();
    let mut from = 0;
    let mut frames = Vec::new();
    for part in wanted.parts {
        let columns = from..from + part.size;
        from += part.size;
        match &example.values {
            Values::Video(values) => context.push(entry(&part.name, &floats(&values[columns]))),
            Values::Frames(values) => {
                let rows = values.chunks_exact(width);
                let column = rows.map(|row| strings(&[&row[columns.clone()]])).collect();
                frames.push((part.name.as_str(), column));
            }
            Values::FrameNumbers(values) => {
                let rows = values.chunks_exact(width);
                let column = rows.map(|row| floats(&row[columns.clone()])).collect();
                frames.push((part.name.as_str(), column));
            }
        }
    }
    match frames.is_empty() {
        true => field(1, &context.concat()),
        false => [field(1, &context.concat()), field(2, &lists(&frames))].concat(),
    }
}

fn rows_of(bytes: &[u8]) -> reelscale::Result<svmlight::Rows<'_>> {
    svmlight::Rows::new("input".into(), "row".into(), bytes)
}

fn svmlight_rows(bytes: &[u8]) {
    let Ok(mut rows) = rows_of(bytes) else { return };
    let header = rows.header;
    // Rows are dense: their size is that of the header's word.
    if header.features > 1 << 12 {
        return;
    }
    let mut found = Vec::new();
    let whole = loop {
        match rows.next() {
            Ok(Some(example)) => found.push(example),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(!whole || found.len() == header.rows, "as many rows as the header says");
    let mut text = format!("{} {} {}\n", found.len(), header.features, header.classes);
    for example in &found {
        let labels: Vec<String> = example.labels.iter().map(u32::to_string).collect();
        let Values::Video(values) = &example.values else { panic!("video-level rows") };
        let values = values.iter().enumerate().map(|(index, value)| format!("{index}:{value}"));
        let values: Vec<String> = values.collect();
        text.push_str(&format!("{} {}\n", labels.join(","), values.join(" ")));
    }
    let mut again = rows_of(text.as_bytes()).expect("a header");
    for example in found {
        assert_eq!(again.next().expect("a row"), Some(example));
    }
}

/// The records of these bytes, if all are well-formed.
fn csv_records(bytes: &[u8]) -> Option<Vec<Vec<Vec<u8>>>> {
    let mut from = Records::new(bytes);
    let mut records = Vec::new();
    while let Some(record) = from.next().ok()? {
        assert!(!record.fields.is_empty() && record.line > 0);
        records.push(record.fields);
    }
    Some(records)
}

fn csv(bytes: &[u8]) {
    let Some(records) = csv_records(bytes) else { return };
    let mut text = Vec::new();
    for fields in &records {
        let fields: Vec<_> = fields.iter().map(|bytes| field(bytes)).collect();
        text.extend(fields.join(&b','));
        text.push(b'\n');
    }
    // The mark of UTF-8 before the first field is taken for one of the file.
    if !text.starts_with("\u{feff}".as_bytes()) {
        assert_eq!(csv_records(&text), Some(records));
    }
}

/// What stands between the two files of an input.
const BETWEEN: &[u8] = b"\n----\n";

/// All videos of the text of both files.
fn videos_of(predictions: &[u8], labels: &[u8]) -> reelscale::Result<Vec<Video>> {
    let labels = Source::new("labels", labels);
    read_both(Source::new("predictions", predictions), labels).map(|both| both.videos)
}

fn submission(bytes: &[u8]) {
    let cut = bytes.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    let (predictions, labels) = match cut {
        Some(at) => (&bytes[..at + 1], &bytes[at + BETWEEN.len()..]),
        None => (bytes, &b"VideoId,Labels\n"[..]),
    };
    let Ok(videos) = videos_of(predictions, labels) else { return };
    let once = |videos: &[Video]| {
        let mut text = [format!("{HEADER}\n").into_bytes(), b"VideoId,Labels\n".to_vec()];
        for video in videos {
            write_line(&mut text[0], &video.id, &video.scores).expect("memory takes it");
            let classes: Vec<String> = video.labels.iter().map(u32::to_string).collect();
            text[1].extend([&field(&video.id)[..], b",", classes.join(" ").as_bytes()].concat());
            text[1].push(b'\n');
        }
        videos_of(&text[0], &text[1]).expect("as it was written")
    };
    // Scores are rounded to six figures when they are written: once is as often as twice.
    let (first, second) = (once(&videos), once(&once(&videos)));
    assert_eq!(first, second);
    let ids = |videos: &[Video]| -> Vec<_> {
        videos.iter().map(|video| (video.id.clone(), video.labels.clone())).collect()
    };
    assert_eq!(ids(&first), ids(&videos));
}

/// Lines that begin with this are options, the others the job file.
const SET: &str = "--set ";

fn job(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (options, lines): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with(SET));
    let options: Vec<String> = options.iter().map(|line| line[SET.len()..].to_string()).collect();
    match Job::parse(&lines.join("\n"), "job.toml", &options) {
        Err(error) => assert!(!error.text.is_empty()),
        Ok(job) => {
            let text = job.to_toml();
            assert!(!job.computed().is_empty());
            let changes = job.changes_since(&text).expect("a job's own record");
            assert!(changes.harmless.is_empty() && changes.forbidden.is_empty(), "{changes:?}");
        }
    }
}

/// Items of the types that checkpoints hold, in an order that the first byte says.
fn items(bytes: &[u8]) {
    let Some((first, mut from)) = bytes.split_first() else { return };
    let item: [fn(&mut &[u8]) -> bool; 6] = [
        item::<Vec<usize>>,
        item::<Packed<Vec<f32>>>,
        item::<Packed<Vec<f64>>>,
        item::<(f64, f64, Option<usize>)>,
        item::<(bool, String, [u8; 4])>,
        item::<Vec<(Packed<Vec<f32>>, Option<f64>)>>,
    ];
    let mut kinds = (usize::from(*first)..).map(|kind| item[kind % item.len()]);
    while kinds.next().expect("without end")(&mut from) {}
}

/// Takes an item of this type; false where there is none. It can be written in several ways; ours
/// is read as it is written.
fn item<T: Serialize + DeserializeOwned>(from: &mut &[u8]) -> bool {
    let Ok(found) = take::<T>(from) else { return false };
    let written = |item: &T| {
        let mut bytes = Vec::new();
        put(&mut bytes, item).expect("memory takes it");
        bytes
    };
    let once = written(&found);
    let mut rest = &once[..];
    let again = take::<T>(&mut rest).expect("as it was written");
    assert!(rest.is_empty() && written(&again) == once);
    true
}

fn listing(bytes: &[u8]) {
    let path = Path::new("state.json");
    let Ok(Ok(listing)) = Listing::parse(path, bytes) else { return };
    let again = Listing::parse(path, listing.text().as_bytes()).expect("as it is written");
    assert_eq!(again.expect("of this version"), listing);
    let mut files: Vec<String> = listing.parts.iter().map(|part| part.file.clone()).collect();
    files.sort();
    if let Ok(families) = listing.families(path, files.iter()) {
        for parts in families.values() {
            let mut next = 0;
            for part in parts {
                assert_eq!(part.first, next, "end to end");
                next += part.lengths.len();
            }
        }
    }
}

fn sha256_sums(bytes: &[u8]) {
    let Ok(found) = sums::parse(Path::new("SHA256SUMS"), bytes) else { return };
    let text: String = found.iter().map(|(name, sum)| sums::line((name, sum))).collect();
    assert_eq!(text.len(), bytes.len(), "nothing is passed over");
    let again = sums::parse(Path::new("SHA256SUMS"), text.as_bytes());
    assert_eq!(again.expect("as it is written"), found);
}

fn manifest(bytes: &[u8]) {
    let path = Path::new("manifest.json");
    let Ok(manifest) = Manifest::parse(path, bytes) else { return };
    let again = Manifest::parse(path, manifest.text().as_bytes()).expect("as it is written");
    assert_eq!(again, manifest);
    assert!(!manifest.described().is_empty());
}
