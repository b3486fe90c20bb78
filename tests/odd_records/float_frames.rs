//! Frames of floats, as MediaPipe's and those of most networks are: quantised by one range, and
//! the ways in which records hold them.

use super::common::place::{Place, warnings};
use super::common::reelscale;
use super::common::tfrecords::{entry, example, floats, integers, sequence, strings, video};
use super::dataset;
use reelscale::internals::labels::Labels;

const PARTS: [(&str, usize); 2] = [("rgb", 4), ("audio", 2)];
const FRAMES: usize = 3;
const VIDEOS: usize = 5;
const CONVERT: &str = "convert --from tfrecord --features rgb:4,audio:2 --classes 10";

/// From -2 to 2, both among those of each part.
fn number(video: usize, frame: usize, column: usize) -> f32 {
    ((video + frame + column * 19) % 41) as f32 / 10.0 - 2.0
}

/// The numbers of a part's frame.
fn numbers(video: usize, frame: usize, part: usize) -> Vec<f32> {
    let from = if part == 0 { 0 } else { PARTS[0].1 };
    (from..from + PARTS[part].1).map(|column| number(video, frame, column)).collect()
}

fn raw(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn context(video: usize) -> Vec<Vec<u8>> {
    let id = format!("v{video}");
    vec![entry("id", &strings(&[id.as_bytes()])), entry("labels", &integers(&[video as i64]))]
}

/// Videos of which each part has the entries that `of` makes of its frames.
fn records(of: impl Fn(Vec<Vec<f32>>) -> Vec<Vec<u8>>) -> Vec<u8> {
    let list = |video: usize, part: usize| {
        let frames = (0..FRAMES).map(|frame| numbers(video, frame, part)).collect();
        (PARTS[part].0, of(frames))
    };
    let one = |video: usize| sequence(&context(video), &[list(video, 0), list(video, 1)]);
    (0..VIDEOS).flat_map(one).collect()
}

fn a_frame_an_entry() -> Vec<u8> {
    records(|frames| frames.iter().map(|frame| floats(frame)).collect())
}

fn hash(place: &Place, folder: &str) -> String {
    reelscale("inspect --hash").path(&place.path(folder)).stdout().replace(folder, "")
}

#[test]
fn frames_of_floats_become_bytes_of_one_range() {
    let place = Place::new();
    place.write("a.tfrecord", &a_frame_an_entry());
    let command = |more: &str, folder: &str, files: &[&str]| {
        place.convert_as(&format!("{CONVERT} {more} --output"), folder, files)
    };
    let text = command("", "measured", &["a.tfrecord"]).stdout();
    assert!(text.contains("5 rows, 5 labels, 15 frames"), "{text}");
    // Half a step of 4 / 255; no number is nearer to both.
    assert!(text.contains("rgb: bytes of -2 to 2: error at most 7."), "{text}");
    assert!(text.contains("audio: bytes of -2 to 2: error at most 7."), "{text}");
    assert_eq!(text.matches("; 0.000 % clipped").count(), 2, "{text}");
    let mut expected = Vec::new();
    for frame in 0..FRAMES {
        let own = (0..6).map(|column| number(3, frame, column));
        expected.extend(own.map(|number| ((number + 2.0) / (4.0 / 255.0)).round() as u8));
    }
    assert_eq!(dataset(&place.path("measured")).reader().frames(3..4).unwrap()[0], expected);

    command("--range=-2..2", "told", &["a.tfrecord"]).stdout();
    assert_eq!(hash(&place, "told"), hash(&place, "measured"));
    let clipped = command("--range=-1..1", "clipped", &["a.tfrecord"]);
    let printed = warnings(&clipped);
    assert!(printed.contains("are beyond --range, and became its ends"), "{printed}");
    // A range of each part; those that aren't named have the one without a name.
    command("--range=rgb:-2..2,audio:-4..4", "parts", &["a.tfrecord"]).stdout();
    let shown = reelscale("inspect").path(&place.path("parts")).stdout();
    let expected = "(frames, rgb u8 * 0.015686275 + -2, audio u8 * 0.03137255 + -4)";
    assert!(shown.contains(expected), "{shown}");
    command("--range=-4..4,rgb:-2..2", "others", &["a.tfrecord"]).stdout();
    assert_eq!(hash(&place, "others"), hash(&place, "parts"));
    for (option, expected) in [
        ("--range=rgb:-2..2", "--range: found none of the part \"audio\""),
        ("--range=rgb:-2..2,rgb:0..1", "--range: found two of rgb"),
        ("--range=video:-2..2", "--range: found the part \"video\", expected rgb, audio"),
        ("--dtype f16 --range=-2..2", "expected --dtype u8, since floats have no range"),
    ] {
        let printed = command(option, "refused", &["a.tfrecord"]).fails_with(2);
        assert!(printed.contains(expected), "{option}: {printed}");
    }
}

#[test]
fn frames_of_floats_may_stay_floats() {
    let place = Place::new();
    place.write("a.tfrecord", &a_frame_an_entry());
    let command = |more: &str, folder: &str, file: &str| {
        place.convert_as(&format!("{CONVERT} {more} --output"), folder, &[file])
    };
    let text = command("--dtype f32", "f32", "a.tfrecord").stdout();
    assert_eq!(text.lines().count(), 1, "nothing is lost: {text}");
    let text = command("--dtype f16", "f16", "a.tfrecord").stdout();
    assert!(text.contains("rgb: 16-bit floats: error at most 3.91e-4"), "{text}");
    let all: Vec<f32> =
        (0..FRAMES).flat_map(|frame| (0..6).map(move |column| number(3, frame, column))).collect();
    let halves: Vec<u8> =
        all.iter().flat_map(|number| half::f16::from_f32(*number).to_le_bytes()).collect();
    for (folder, expected) in [("f32", raw(&all)), ("f16", halves)] {
        assert_eq!(dataset(&place.path(folder)).reader().frames(3..4).unwrap()[0], expected);
        let shown = reelscale("inspect").path(&place.path(folder)).stdout();
        assert!(shown.contains(&format!("(frames, {folder})")), "{shown}");
    }
    place
        .write("large.tfrecord", &records(|frames| vec![floats(&vec![65_520.0; frames[0].len()])]));
    let printed = command("--dtype f16", "out", "large.tfrecord").fails_with(4);
    let expected = "record 0: found 65520 at feature 0, which 16-bit floats can't hold";
    assert!(printed.contains(expected), "{printed}");
    let in_bytes = |frames: Vec<Vec<f32>>| {
        let byte = |number: &f32| *number as u8;
        frames.iter().map(|f| strings(&[&f.iter().map(byte).collect::<Vec<u8>>()])).collect()
    };
    place.write("bytes.tfrecord", &records(in_bytes));
    let printed = command("--dtype f16", "out", "bytes.tfrecord").fails_with(2);
    assert!(printed.contains("--dtype f16: found bytes, which stay bytes"), "{printed}");
}

/// Frames of floats and of bytes with ranges of their own train to the same bits on any number of
/// ranks; f32 frames to those of f16 where nothing is lost.
#[test]
fn frames_of_every_kind_train_to_the_same_bits_on_any_ranks() {
    if super::common::without_mpi() {
        return;
    }
    let place = Place::new();
    // Numbers that 16 bits hold.
    let eighths = |frames: Vec<Vec<f32>>| {
        let eighth = |number: &f32| (number * 8.0).round() / 8.0;
        let frame = |frame: &Vec<f32>| floats(&frame.iter().map(eighth).collect::<Vec<_>>());
        frames.iter().map(frame).collect()
    };
    place.write("a.tfrecord", &records(eighths));
    let mut hashes = Vec::new();
    for (name, options) in [
        ("f32", "--dtype f32"),
        ("f16", "--dtype f16"),
        ("parts", "--range=rgb:-2..2,audio:-4..4"),
        ("one", "--range=-2..2"),
    ] {
        let command = format!("{CONVERT} {options} --rows-per-shard 2 --output");
        place.convert_as(&command, name, &["a.tfrecord"]).stdout();
        let job = format!(
            "[data]\ntrain = [\"{}/*.h5\"]\n[model]\nframes = [{{ dense = 4 }}]\n\
             pooling = \"average\"\n[pretrain]\nepochs = 2\nbatch = 3\nframes = 2\n\
             [experts]\nepochs = 2\nbatch = 3\n[shared]\niterations = 2\n\
             [rounds]\ncount = 1\n[run]\nrow_blocks = 3\n",
            place.path(name).display()
        );
        let job = place.write(&format!("{name}.toml"), job.as_bytes());
        let run = |ranks: usize| {
            let folder = place.path(&format!("{name}-{ranks}"));
            let command = reelscale("train").path(&job).arg("--output").path(&folder);
            if ranks > 1 {
                command.ranks(ranks).stdout()
            } else {
                command.stdout()
            };
            let text = std::fs::read_to_string(folder.join("run.json")).unwrap();
            let record: serde_json::Value = serde_json::from_str(&text).unwrap();
            record["result_hash"].to_string()
        };
        let expected = run(1);
        assert_eq!([run(2), run(3)], [expected.clone(), expected.clone()], "{name}");
        hashes.push(expected);
    }
    assert_eq!(hashes[0], hashes[1], "the same numbers");
    hashes.dedup();
    assert_eq!(hashes.len(), 3, "other numbers");
}

#[test]
fn a_range_is_that_of_all_files_on_any_number_of_ranks() {
    if super::common::without_mpi() {
        return;
    }
    let place = Place::new();
    let all = a_frame_an_entry();
    // Long ids, so that files aren't all of one group.
    let long = |video: usize, number: f32| {
        let id = [vec![b'x'; 60_000], video.to_string().into_bytes()].concat();
        let id = entry("id", &strings(&[&id]));
        sequence(&[id], &[("rgb", vec![floats(&[number; 4])]), ("audio", vec![floats(&[0.0; 2])])])
    };
    place.write("a.tfrecord", &(0..140).flat_map(|video| long(video, 1.0)).collect::<Vec<_>>());
    place.write("b.tfrecord", &(140..280).flat_map(|video| long(video, -7.0)).collect::<Vec<_>>());
    place.write("c.tfrecord", &all);
    let files = ["a.tfrecord", "b.tfrecord", "c.tfrecord"];
    let command = format!("{CONVERT} --output");
    let text = place.convert_as(&command, "one", &files).stdout();
    assert!(text.contains("rgb: bytes of -7 to 2: "), "{text}");
    assert!(text.contains("audio: bytes of -2 to 2: "), "{text}");
    let expected = hash(&place, "one");
    for ranks in [2, 3] {
        let folder = format!("on-{ranks}");
        let found = place.convert_as(&command, &folder, &files).ranks(ranks).stdout();
        assert_eq!(hash(&place, &folder), expected, "{ranks} ranks");
        let losses = |text: &str| text.lines().skip(1).map(String::from).collect::<Vec<_>>();
        assert_eq!(losses(&found), losses(&text), "{ranks} ranks");
    }
}

#[test]
fn frames_lie_in_entries_as_others_write_them() {
    let place = Place::new();
    let convert = |name: &str, bytes: &[u8], more: &str| {
        place.write("in.tfrecord", bytes);
        let command = format!("{CONVERT} {more} --output");
        let text = place.convert_as(&command, name, &["in.tfrecord"]).stdout();
        assert!(text.contains("5 rows, 5 labels, 15 frames"), "{name}: {text}");
        hash(&place, name)
    };
    let expected = convert("each", &a_frame_an_entry(), "");
    let flat = |frames: Vec<Vec<f32>>| vec![floats(&frames.concat())];
    assert_eq!(convert("flat", &records(flat), "--flat-frames"), expected);
    let in_bytes = |frames: Vec<Vec<f32>>| frames.iter().map(|f| strings(&[&raw(f)])).collect();
    assert_eq!(convert("raw", &records(in_bytes), "--raw-floats"), expected);
    let both = |frames: Vec<Vec<f32>>| vec![strings(&[&raw(&frames.concat())])];
    assert_eq!(convert("both", &records(both), "--raw-floats --flat-frames"), expected);
    // Without feature lists.
    let plain = |video: usize| {
        let part = |part: usize| {
            let all: Vec<f32> = (0..FRAMES).flat_map(|frame| numbers(video, frame, part)).collect();
            entry(PARTS[part].0, &floats(&all))
        };
        example(&[context(video), vec![part(0), part(1)]].concat())
    };
    let plain: Vec<u8> = (0..VIDEOS).flat_map(plain).collect();
    assert_eq!(convert("plain", &plain, "--flat-frames"), expected);

    // Several byte strings in one entry: a frame each.
    let bytes = |frames: &[Vec<f32>]| -> Vec<Vec<u8>> {
        let byte = |number: &f32| (number * 10.0 + 100.0) as u8;
        frames.iter().map(|frame| frame.iter().map(byte).collect()).collect()
    };
    let single = |frames: Vec<Vec<f32>>| bytes(&frames).iter().map(|f| strings(&[f])).collect();
    let several = |frames: Vec<Vec<f32>>| {
        let all = bytes(&frames);
        vec![strings(&all.iter().map(|frame| &frame[..]).collect::<Vec<_>>())]
    };
    let expected = convert("single", &records(single), "");
    assert_eq!(convert("several", &records(several), ""), expected);
}

/// A video as MediaPipe writes it, with these frames of rgb, and of audio if there are any.
fn clip(video: usize, rgb: Vec<Vec<u8>>, audio: Option<Vec<Vec<u8>>>) -> Vec<u8> {
    let path = format!("clips/v{video}.mp4");
    let pictures = (1..=FRAMES).map(|size| strings(&[&vec![7; 100 * size]])).collect();
    let mut lists = vec![
        ("RGB/feature/timestamp", vec![integers(&[0]); FRAMES]),
        ("image/encoded", pictures),
        ("RGB/feature/floats", rgb),
    ];
    lists.extend(audio.map(|audio| ("AUDIO/feature/floats", audio)));
    let context = [
        entry("clip/data_path", &strings(&[path.as_bytes()])),
        entry("clip/label/index", &integers(&[video as i64, 9])),
        entry("clip/label/string", &strings(&[b"cat", b"dog"])),
    ];
    sequence(&context, &lists)
}

#[test]
fn records_of_mediapipe_are_found_by_the_names_of_their_streams() {
    let place = Place::new();
    let column = |video: usize, part: usize| -> Vec<Vec<u8>> {
        (0..FRAMES).map(|frame| floats(&numbers(video, frame, part))).collect()
    };
    let whole = |video: usize| clip(video, column(video, 0), Some(column(video, 1)));
    place.write("whole.tfrecord", &(0..VIDEOS).flat_map(whole).collect::<Vec<_>>());
    let command = format!("{CONVERT} --output");
    let text = place.convert_as(&command, "whole", &["whole.tfrecord"]).stdout();
    assert!(text.contains("5 rows, 10 labels, 15 frames"), "{text}");
    place.write("plain.tfrecord", &a_frame_an_entry());
    place.convert_as(&command, "plain", &["plain.tfrecord"]).stdout();
    let rows = |folder: &str| dataset(&place.path(folder)).reader();
    assert_eq!(rows("whole").frames(0..VIDEOS).unwrap(), rows("plain").frames(0..VIDEOS).unwrap());
    assert_eq!(rows("whole").ids(4..5).unwrap()[0], b"clips/v4.mp4");

    // What isn't there is told with what is, and the hint is followed.
    place.write(
        "rgb.tfrecord",
        &(0..VIDEOS).flat_map(|v| clip(v, column(v, 0), None)).collect::<Vec<_>>(),
    );
    let printed = place.convert_as(&command, "rgb", &["rgb.tfrecord"]).fails_with(4);
    let expected = "rgb.tfrecord: record 0: audio: not found; found the keys RGB/feature/floats \
                    (frames of 4 floats), RGB/feature/timestamp (frames of 1 whole number), \
                    clip/data_path (1 byte string of 12 bytes), clip/label/index (2 whole \
                    numbers), clip/label/string (2 byte strings of 6 bytes in all), image/encoded \
                    (frames of bytes of several sizes); hint: --features rgb:4";
    assert!(printed.contains(expected), "{printed}\n{expected}");
    let hint = printed.split("hint: ").nth(1).unwrap().lines().next().unwrap();
    let command = format!("convert --from tfrecord {hint} --classes 10 --output");
    let text = place.convert_as(&command, "rgb", &["rgb.tfrecord"]).stdout();
    assert!(text.contains("5 rows, 10 labels, 15 frames"), "{text}");
}

#[test]
fn frames_of_floats_and_of_bytes_do_not_mix() {
    let place = Place::new();
    let column = |frames: Vec<Vec<u8>>| [("rgb", frames.clone()), ("audio", frames)];
    let two = |id: &[u8], frames| sequence(&[entry("id", &strings(&[id]))], &column(frames));
    let command = "convert --from tfrecord --features rgb:2,audio:2 --classes 10 --output";
    let (of_floats, of_bytes) = (floats(&[1.0, 2.0]), strings(&[b"ab"]));
    // A record without frames fits either.
    let none = two(b"a", Vec::new());
    let records = [none.clone(), two(b"b", vec![of_floats.clone()]), none];
    place.write("a.tfrecord", &records.concat());
    let text = place.convert_as(command, "floats", &["a.tfrecord"]).stdout();
    assert!(text.contains("3 rows, 0 labels, 1 frames"), "{text}");
    place.write("b.tfrecord", &two(b"c", vec![of_bytes.clone()]));
    let printed = place.convert_as(command, "out", &["a.tfrecord", "b.tfrecord"]).fails_with(4);
    let expected = "b.tfrecord: record 0: found frames of bytes, expected floats as in ";
    assert!(printed.contains(expected) && printed.contains("a.tfrecord: record 1"), "{printed}");
    let lists = [("rgb", vec![of_floats]), ("audio", vec![of_bytes])];
    place.write("c.tfrecord", &sequence(&[entry("id", &strings(&[b"d"]))], &lists));
    let printed = place.convert_as(command, "out", &["c.tfrecord"]).fails_with(4);
    let expected = "audio: found frames of bytes, expected floats as rgb has";
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn features_of_videos_may_be_bytes_or_halves() {
    let place = Place::new();
    // 1, 2 and 3.
    place.write("a.tfrecord", &video(b"a", &[1]));
    let command = |options: &str, folder: &str| {
        let command = "convert --from tfrecord --features rgb:3 --classes 10";
        place.convert_as(&format!("{command} {options} --output"), folder, &["a.tfrecord"])
    };
    for (options, folder, shown) in [
        ("--dtype u8", "measured", "u8 * 0.007843138 + 1"),
        ("--dtype u8 --range=1..3", "told", "u8 * 0.007843138 + 1"),
        ("--dtype f16", "halves", "f16"),
        ("--dtype f32", "floats", "f32"),
    ] {
        command(options, folder).stdout();
        let text = reelscale("inspect").path(&place.path(folder)).stdout();
        assert!(text.contains(&format!("(features, {shown})")), "{folder}: {text}");
        let (mut found, mut labels) = (vec![0.0; 3], Labels::new());
        dataset(&place.path(folder)).reader().read(0..1, &mut found, &mut labels).unwrap();
        let near = found.iter().zip([1.0, 2.0, 3.0]).all(|(x, y)| (x - y).abs() < 0.004);
        assert!(near && (found == [1.0, 2.0, 3.0] || shown.starts_with("u8")), "{found:?}");
    }
    let printed = command("--range=0..1", "out").fails_with(2);
    assert!(printed.contains("--range: features of videos are stored as floats"), "{printed}");
    assert!(printed.contains("hint: --dtype u8"), "{printed}");
}
