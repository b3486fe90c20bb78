//! Conversion of real data without loss: counts as published, values as in the bytes.

mod common;

use std::path::Path;

use common::{TestCommand, real_data, reelscale};
use reelscale::internals::data::{Dataset, ShardInfo, find};
use reelscale::internals::example::{FeaturePart, Values};
use reelscale::internals::formats::tf_example::{self, Wanted};
use reelscale::internals::formats::tfrecord;
use reelscale::internals::labels::Labels;

const YOUTUBE: &str =
    "convert --from tfrecord --features rgb:1024,audio:128 --classes 3862 --output";
const AUDIOSET: &str =
    "convert --from tfrecord --features audio_embedding:128 --classes 527 --output";

fn convert(how: &str, output: &Path, input: &Path) -> TestCommand {
    reelscale(how).path(output).path(input)
}

fn dataset(folder: &Path) -> Dataset {
    let paths = find(&[format!("{}/*.h5", folder.display())]).unwrap();
    let infos = paths.iter().map(|path| ShardInfo::read(path).unwrap()).collect();
    Dataset::new(infos).unwrap()
}

/// Every record of `files` stands in `dataset` as it was.
fn same(dataset: &Dataset, files: &[String], parts: &[FeaturePart], classes: usize) {
    let (mut reader, mut row) = (dataset.reader(), 0);
    let wanted = Wanted { parts, class_count: classes, ..Wanted::default() };
    for path in find(files).unwrap() {
        let mut records = tfrecord::Records::open(&path).unwrap();
        while let Some(data) = records.next().unwrap() {
            let expected = tf_example::parse(data, &wanted).unwrap().example;
            let (mut labels, ids) = (Labels::new(), reader.ids(row..row + 1).unwrap());
            assert_eq!(ids[0], expected.id, "row {row}");
            match expected.values {
                Values::Frames(bytes) => {
                    assert_eq!(reader.frames(row..row + 1).unwrap()[0], bytes);
                    reader.labels(row..row + 1, &mut labels).unwrap();
                }
                Values::FrameNumbers(_) => panic!("frames of YouTube-8M are bytes"),
                Values::Video(values) => {
                    let mut features = vec![0.0; dataset.width()];
                    reader.read(row..row + 1, &mut features, &mut labels).unwrap();
                    assert_eq!(features, values);
                }
            }
            assert_eq!(labels.row(0), expected.labels);
            row += 1;
        }
    }
    assert_eq!(row, dataset.rows());
}

#[test]
fn all_shards_of_youtube8m() {
    if common::without_mpi() {
        return;
    }
    let Some(real) = real_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let youtube = real.join("youtube8m");
    let text =
        convert(YOUTUBE, &path("all"), &youtube.join("validate*.tfrecord")).ranks(2).stdout();
    assert!(text.contains("90 files, 25953 rows, 78117 labels"), "{text}");
    let text = convert(YOUTUBE, &path("test"), &youtube.join("test0z.tfrecord")).stdout();
    assert!(
        text.contains("305 rows, 0 labels") && text.contains("305 rows without labels"),
        "{text}"
    );
    let part = |name: &str, size| FeaturePart { name: name.into(), size };
    let parts = [part("rgb", 1024), part("audio", 128)];
    let one = youtube.join("validate0007.tfrecord").to_str().unwrap().to_string();
    convert(YOUTUBE, &path("one"), Path::new(&one)).stdout();
    same(&dataset(&path("one")), &[one], &parts, 3862);
    // The split that models are compared on.
    let small: Vec<String> = (0..24)
        .map(|shard| {
            youtube.join(format!("validate{shard:04}.tfrecord")).to_str().unwrap().to_string()
        })
        .collect();
    let command = small.iter().fold(reelscale(YOUTUBE).path(&path("small")), TestCommand::arg);
    let text = command.stdout();
    assert!(text.contains("24 files, 7102 rows") && text.contains("2342 classes seen"), "{text}");
    // The same shards from any number of ranks.
    let hash = |name: &str| reelscale("inspect --hash").path(&path(name)).stdout();
    let command = small.iter().fold(reelscale(YOUTUBE).path(&path("again")), TestCommand::arg);
    command.ranks(3).stdout();
    assert_eq!(hash("small"), hash("again"));
    for shard in find(&[format!("{}/*.h5", path("small").display())]).unwrap() {
        let twin = path("again").join(shard.file_name().unwrap());
        assert!(std::fs::read(&shard).unwrap() == std::fs::read(twin).unwrap(), "{shard:?}");
    }
}

#[test]
fn all_files_of_audioset() {
    if common::without_mpi() {
        return;
    }
    let Some(real) = real_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let train = real.join("audioset/bal_train/*.tfrecord");
    let text = convert(AUDIOSET, &path("train"), &train).ranks(2).stdout();
    assert!(
        text.contains("4070 files, 22160 rows, 52882 labels, 220270 frames, 527 classes"),
        "{text}"
    );
    let eval = real.join("audioset/eval.tfrecord");
    let text = convert(AUDIOSET, &path("eval"), &eval).stdout();
    assert!(text.contains("1 files, 20371 rows, 51804 labels, 202439 frames"), "{text}");
    let part = FeaturePart { name: "audio_embedding".into(), size: 128 };
    let train = train.to_str().unwrap().to_string();
    same(&dataset(&path("train")), &[train], &[part], 527);
    // Names that begin with a dash, and the keys of AudioSet in a conversion of YouTube-8M.
    let dash = real.join("audioset/bal_train/-0.tfrecord");
    let text = convert(YOUTUBE, &path("wrong"), &dash).fails_with(4);
    assert!(text.contains("found the keys audio_embedding (frames of 128 bytes)"), "{text}");
    assert!(text.contains("hint: --features") && text.contains("audio_embedding:128"), "{text}");
}

#[test]
fn all_text_sets() {
    let Some(real) = real_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let table = [
        ("bibtex-test", 2515, 1836, 159),
        ("bibtex-train", 4880, 1836, 159),
        ("delicious-test", 3185, 500, 983),
        ("delicious-train", 12920, 500, 983),
        ("mediamill-reduced-test", 500, 120, 101),
        ("mediamill-reduced-train", 1500, 120, 101),
        ("scene-test", 1196, 294, 6),
        ("scene-train", 1211, 294, 6),
        ("yeast-test", 917, 103, 14),
        ("yeast-train", 1500, 103, 14),
    ];
    for (name, rows, features, classes) in table {
        let output = folder.path().join(name);
        let input = real.join(format!("svmlight/{name}.svm"));
        convert("convert --from svmlight --output", &output, &input).stdout();
        let dataset = dataset(&output);
        assert_eq!(
            (dataset.rows(), dataset.width(), dataset.class_count()),
            (rows, features, classes)
        );
    }
}
