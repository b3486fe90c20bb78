"""Holds the Python package to the program, in an environment that has both and nothing of this project's folders: what
it writes to what `convert` writes of the same rows, what it reads and predicts to what the program does, and the
examples of README.md and hdf5-data/README.md to what they say. Takes the project's folder and how many videos of how
many features to train on; works in the current folder, which is empty."""

import os
import re
import subprocess
import sys
import time
import warnings

import h5py
import numpy as np

import reelscale

PROJECT, VIDEOS, FEATURES = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
CLASSES = 20
random = np.random.default_rng(7)


def example(document, heading, first):
    """The example of a section that has `first` in its first line."""
    text = open(os.path.join(PROJECT, document), encoding="utf-8").read()
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, f"{document}: no section {heading}"
    blocks = [[]]
    for line in section.group(1).splitlines():
        if line.startswith("    ") or (not line and blocks[-1]):
            blocks[-1].append(line[4:])
        elif blocks[-1]:
            blocks.append([])
    [found] = [block for block in blocks if block and first in block[0]]
    return "\n".join(found).rstrip() + "\n"


def shell(commands):
    folder = os.path.dirname(reelscale.program())
    path = os.pathsep.join([folder, os.path.dirname(sys.executable), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-ec", commands], env={**os.environ, "PATH": path}, capture_output=True, encoding="utf-8"
    )
    assert ended.returncode == 0, f"{commands}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def content(path):
    return shell(f"reelscale inspect --hash {path}").strip()


def refused(expected, call, *arguments, error=ValueError, **options):
    try:
        call(*arguments, **options)
    except error as raised:
        assert expected in str(raised), f"{expected!r} isn't in {raised}"
        return
    raise AssertionError(f"taken: {expected}")


def warned(expected, call, *arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*arguments, **options)
    assert any(expected in str(one.message) for one in caught), [str(one.message) for one in caught]
    return result


def planted(rows):
    """Videos that are points in few dimensions, whose classes are half spaces, and some noise; each with an id."""
    axes = np.random.default_rng(3).normal(size=(6, FEATURES + CLASSES))
    points = random.normal(size=(rows, len(axes)))
    features = points @ axes[:, :FEATURES] + 0.1 * random.normal(size=(rows, FEATURES))
    hot = points @ axes[:, FEATURES:] > 1.3 * np.sqrt(len(axes))
    return features.astype(np.float32), hot, [f"v\u00e4 {row}" for row in range(rows)]


def lists_of(hot):
    return [np.flatnonzero(row) for row in hot]


def written_as_convert_does():
    features, hot, ids = planted(70)
    frames = random.normal(size=(70, 4, FEATURES)).astype(np.float32)
    np.savez("rows.npz", features=features, labels=hot, ids=ids)
    np.savez("frames.npz", features=frames, labels=hot, ids=ids)
    convert = "reelscale convert --from npz --features features --labels labels --ids ids"
    shell(
        f"{convert} --output by-convert/videos rows.npz\n"
        f"{convert} --dtype u8 --range=-2..2 --output by-convert/bytes rows.npz\n"
        f"{convert} --output by-convert/frames frames.npz"
    )
    write, parts = reelscale.write_shards, {"features": FEATURES}
    assert write("videos.h5", features, hot, ids) == [reelscale._shards.Path("videos.h5")]
    names = [f"class {one}" for one in range(CLASSES)]
    named = [[names[one] for one in reversed(row)] for row in lists_of(hot)]
    write("named", features.astype(np.float64), named, ids, names, parts=parts, rows_per_shard=30)
    assert reelscale.read_shards("named").names == names and reelscale.read_shards("videos.h5").names is None
    assert sorted(os.listdir("named")) == [f"shard-{number:05}.h5" for number in range(3)]
    options = {"class_count": CLASSES, "value_range": (-2, 2)}
    warned("beyond value_range", write, "bytes.h5", features, lists_of(hot), ids, **options)
    write("frames", list(frames), hot, [one.encode() for one in ids])
    for own, other in [("videos.h5", "videos"), ("named", "videos"), ("bytes.h5", "bytes"), ("frames", "frames")]:
        assert content(own) == content(f"by-convert/{other}"), own

    for paths in ["videos.h5", "named", "by-convert/videos/*.h5", ["videos.h5"]]:
        rows = reelscale.read_shards(paths)
        assert rows.features.dtype == np.float32 and np.array_equal(rows.features, features), paths
        assert np.array_equal(rows.multi_hot(), hot) and rows.ids == ids, paths
        assert (rows.class_count, rows.parts) == (CLASSES, [("features", FEATURES)]), paths
        assert all(np.array_equal(*pair) for pair in zip(rows.labels, lists_of(hot))), paths
    found = reelscale.read_shards("bytes.h5").features
    assert np.abs(found - np.clip(features, -2, 2)).max() < 4 / 255
    found = reelscale.read_shards("frames").features
    assert isinstance(found, list) and np.abs(np.stack(found) - frames).max() < 12 / 255

    # As convert alone writes them: 16-bit and 32-bit floats, bytes with a range of each part.
    np.savez("parts.npz", rgb=features[:, :1], audio=features[:, 1:], labels=hot, ids=ids)
    of_parts = convert.replace("--features features", "--features rgb,audio")
    shell(
        f"{of_parts} --dtype u8 --range rgb:-10..10,audio:-16..16 --output by-convert/parts parts.npz\n"
        f"{of_parts} --dtype f16 --output by-convert/half parts.npz\n"
        f"{convert} --dtype f32 --output by-convert/whole frames.npz"
    )
    found = np.abs(reelscale.read_shards("by-convert/parts").features - features)
    assert found[:, :1].max() <= 10.1 / 255 < found[:, 1:].max() <= 16.1 / 255
    found = reelscale.read_shards("by-convert/half").features
    assert found.dtype == np.float32 and np.array_equal(found, features.astype(np.float16).astype(np.float32))
    assert np.array_equal(np.stack(reelscale.read_shards("by-convert/whole").features), frames)

    # Without labels, of one class each, of bytes, of videos of 0 to 3 frames; ids of numbers.
    odd = [one[: row % 4] for row, one in enumerate(frames)]
    write("odd.h5", odd, np.arange(70) % CLASSES, range(70), class_count=CLASSES, parts=[("rgb", FEATURES)])
    found = reelscale.read_shards("odd.h5")
    assert [len(row) for row in found.features] == [row % 4 for row in range(70)]
    assert found.ids == [str(row) for row in range(70)] and [list(one) for one in found.labels[:2]] == [[0], [1]]
    as_bytes = random.integers(0, 256, (70, FEATURES)).astype(np.uint8)
    write("whole.h5", as_bytes, None, ids, class_count=3, value_range=(0, 255))
    assert np.array_equal(reelscale.read_shards("whole.h5").features, as_bytes)
    repeated = [[2, 0, 2], *lists_of(hot)[1:]]
    warned("1 labels stood twice", write, "twice.h5", features, repeated, ids, class_count=CLASSES)
    warned("the same id twice", write, "same.h5", features, hot, ["a", *ids[1:-1], "a"])


def refuses_what_convert_refuses():
    features, hot, ids = planted(5)
    labels = lists_of(hot)
    there = sorted(os.listdir("."))

    def write(expected, features=features, labels=labels, ids=ids, path="no.h5", error=ValueError, **options):
        options = {"class_count": CLASSES, **options}
        refused(expected, reelscale.write_shards, path, features, labels, ids, error=error, **options)

    odd = features.copy()
    odd[3, 1] = np.nan
    write("features: row 3, column 1: found nan", odd)
    write("features: row 3, column 1: found 1e+39", np.where(np.isnan(odd), 1e39, features.astype(np.float64)))
    write("row 1, column 0: found 16777217", np.array([[1], [16_777_217], [2], [3], [4]]))
    write("features: found rows of 2 and of 3", [[1, 2], [1, 2, 3], [1, 2], [1, 2], [1, 2]])
    write("found <U1, expected numbers", np.full((5, 2), "a"))
    write("features: found [5]", np.arange(5.0))
    write("features: found 0 columns", [1.0] * 5)
    write("features: found no row", np.zeros((0, 3)), [], [])
    write("row 2: found [1, 3]", [np.zeros((1, 4))] * 2 + [np.zeros((1, 3))] * 3)
    write("found bytes, expected what 0 and 255 mean", features.astype(np.uint8))
    write("expected (low, high)", value_range=(2, -2))
    write("labels: found 4 rows", labels=labels[1:])
    write("labels: row 4: found 20", labels=[*labels[:-1], [20]])
    write("labels: row 0: found -1", labels=[[-1], *labels[1:]])
    write("labels: row 0: found 1.5", labels=[[1.5], *labels[1:]])
    write("labels: row 0: found 'cat', expected a number", labels=[["cat"], *labels[1:]])
    write("labels: row 0: found 'cow', expected one of", labels=[["cow"]] * 5, names=["cat"], class_count=None)
    write("names: found 'cat' twice", names=["cat", "cat"], class_count=None)
    write("found 16 labels that are all 0 or 1", labels=[[0, 1] * 8] * 5)
    write("column 2: found 2", labels=np.array([[0, 1, 2]] * 5))
    write("found 20 columns for 3 classes", labels=hot, class_count=3)
    write("class_count: found none", class_count=None)
    write("ids: found 4 rows", ids=ids[1:])
    write("ids: row 0: found 0 bytes", ids=["", *ids[1:]])
    write("ids: row 0: found NUL at its end", ids=["a\0", *ids[1:]])
    write("ids: row 0: found 1.5", ids=[1.5, *ids[1:]])
    write("parts: found 3 features in all", parts={"rgb": 3})
    write("rows_per_shard: found 2", rows_per_shard=2)
    write("exists already", path="videos.h5", error=FileExistsError)
    write("isn't empty", path="named", error=FileExistsError)
    # What only the program refuses, in the second shard of a folder: nothing is left.
    seals = reelscale._shards._write_features

    def damaged(shard, found, own):
        seals(shard, found, own)
        if own.start:
            del shard["features"]

    reelscale._shards._write_features = damaged
    write("features", path="no/folder", rows_per_shard=3, error=reelscale.ProgramError)
    reelscale._shards._write_features = seals
    assert sorted(os.listdir(".")) == there

    # The proof: a byte of a shard is changed.
    shell("cp videos.h5 damaged.h5")
    with open("damaged.h5", "r+b") as file:
        file.seek(-200, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-200, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    refused("damaged.h5", reelscale.read_shards, "damaged.h5", error=reelscale.ProgramError)
    refused("matches no shard", reelscale.read_shards, "nothing/*.h5", error=FileNotFoundError)
    unlike = ["videos.h5", "whole.h5"]
    refused("of 3 classes, expected", reelscale.read_shards, unlike, error=reelscale.ProgramError)
    refused("class_count: found 3, expected 20", reelscale.read_shards, unlike, prove=False)


def names_go_with_rows_and_models():
    """A model that has learned of named classes names its columns by them."""
    features, hot, ids = planted(70)
    names = [f"Katze \u00e4 {one}" for one in range(CLASSES)]
    reelscale.write_shards("cats", features, hot, ids, names)
    with open("cats.toml", "w") as job:
        job.write('data.train = ["cats/*.h5"]')
    shell("reelscale train cats.toml --output runs/cats")
    model = reelscale.load("runs/cats")
    assert list(model.classes) == names and model.predict(features).shape == hot.shape
    shell("reelscale export --to numpy --model runs/cats --output cats.npz")
    assert list(reelscale.load("cats.npz").classes) == names
    rows = reelscale.read_shards("cats")
    reelscale.write_shards("again.h5", **rows._asdict())
    assert content("again.h5") == content("cats") and reelscale.read_shards("again.h5").names == names
    other = [*names[:-1], "dog"]
    reelscale.write_shards("dog.h5", features, hot, ids, other)
    refused("names: found others", reelscale.read_shards, ["again.h5", "dog.h5"], prove=False)


def documented_shard():
    """The example of hdf5-data/README.md, sealed, is a shard of the rows that it names."""
    text = example(os.path.join("hdf5-data", "README.md"), "Shards", "import h5py, json")
    names = {}
    exec(text, names)
    shell("reelscale inspect --seal mine.h5")
    found = reelscale.read_shards("mine.h5")
    assert np.array_equal(found.features, names["features"]) and found.ids == ["a", "b", "c"]
    assert [list(one) for one in found.labels] == [list(one) for one in names["labels"]]
    assert shell("reelscale inspect mine.h5").count("of all bytes")


def from_files_to_predictions():
    """The commands of README.md, on rows of this test's size."""
    text = example("README.md", "From Python", "reelscale convert")
    assert len([line for line in text.splitlines() if not line.startswith("    ")]) <= 6, text
    rows = {}
    for name, count in [("train", VIDEOS * 4 // 5), ("test", VIDEOS // 5)]:
        features, hot, ids = planted(count)
        ids = [f"{name} {one}" for one in ids]
        np.savez(f"{name}.npz", features=features, ids=ids)
        rows[name] = features, hot, ids
    with open("labels.csv", "w", encoding="utf-8") as lines:
        for features, hot, ids in rows.values():
            for video, classes in zip(ids, lists_of(hot)):
                print(video, *(classes if len(classes) else [""]), sep=",", file=lines)
    with open("my.toml", "w", encoding="utf-8") as job:
        job.write(example("README.md", "From Python", "data.train"))
    with open("predict.py", "w", encoding="utf-8") as script:
        script.write(example("README.md", "From Python", "import"))
    began = time.monotonic()
    told = shell(text)
    print(f"{VIDEOS} videos of {FEATURES} features, files to predictions: {time.monotonic() - began:.1f} s")
    gap = float(re.search(r"GAP@20\s+([0-9.]+)", told).group(1))
    assert gap > 0.5, told
    return rows["test"]


def predictions_are_those_of_annotate(test):
    features, _, ids = test
    shell("reelscale annotate --model runs/mine/model --data 'data/test/*.h5' --top 20 --output best.h5")
    with h5py.File("best.h5") as best:
        expected = np.zeros((len(ids), CLASSES), np.float32)
        np.put_along_axis(expected, best["classes"][:].astype(int), best["scores"][:], 1)
        assert [one.decode() for one in best["ids"][:]] == ids
    # Of a run, of its model, of a file: the same numbers.
    shell("reelscale export --to numpy --model runs/mine/model --output mine.npz")
    models = [reelscale.load(path) for path in ["runs/mine", "runs/mine/model", "mine.npz"]]
    for model in models:
        found = model.predict(features)
        assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-5
    model = models[0]
    assert np.abs(model.predict(features.astype(np.float64)[:3]) - expected[:3]).max() < 1e-5
    assert model.predict(features[:0]).shape == (0, CLASSES) and list(model.classes) == list(range(CLASSES))
    assert model.content_hash == shell("reelscale inspect --hash runs/mine/model").strip()
    with np.load("mine.npz") as arrays:
        assert set(arrays) - set(model.weights) == {"shape", "creator", "content_hash"}
        assert all(np.array_equal(arrays[name], model.weights[name]) for name in model.weights)
    try:
        import onnxruntime
    except ImportError:
        print("skipped: no onnxruntime")
    else:
        session = onnxruntime.InferenceSession("mine.onnx")
        [found] = session.run(["scores"], {"features": features})
        assert np.abs(found - expected).max() < 1e-5

    import pandas

    saved = pandas.read_csv("predictions.csv", index_col=0)
    assert list(saved.index) == ids and np.abs(saved.to_numpy() - expected).max() < 1e-5
    refused(f"found [3, {FEATURES - 1}], expected [rows, {FEATURES}]", model.predict, features[:3, 1:])
    refused("found bytes", model.predict, features.astype(np.uint8))
    refused("counts: ", model.predict, features, [1] * len(features))
    odd = features.copy()
    odd[2, 5] = np.inf
    refused("row 2, column 5: found inf", model.predict, odd)
    refused("no such run", reelscale.load, "nothing", error=FileNotFoundError)
    refused("found no model in numpy's format", reelscale.load, "labels.csv")
    refused("shape: found none", reelscale.load, "test.npz")
    refused("named", reelscale.load, "named", error=reelscale.ProgramError)
    with np.load("mine.npz") as arrays:
        text = str(reelscale._model._text(arrays["shape"]))
    newer = {**model.weights, "shape": np.array(text.replace('"l2"', '"l3"'))}
    refused("hint: a newer reelscale wrote it", reelscale.Model, newer)
    cut = {**model.weights, "shape": np.array(text), "experts.biases": model.weights["experts.biases"][1:]}
    refused("experts.biases: found float32", reelscale.Model, cut)


def metrics_are_those_of_the_run():
    import pandas

    events = reelscale.metrics("runs/mine")
    frame = reelscale.metrics("runs/mine/metrics.jsonl", frame=True)
    assert len(frame) == len(events) and {"step", "epoch", "loss", "timing.seconds"} <= set(frame.columns)
    losses = [one["loss"] for one in events if "loss" in one]
    assert losses and losses == list(frame["loss"].dropna()) and isinstance(frame, pandas.DataFrame)
    with open("cut.jsonl", "w") as file:
        file.write('{"step":"pretrain","loss":1.5}\n{"step":"pre')
    assert reelscale.metrics("cut.jsonl") == [{"step": "pretrain", "loss": 1.5}]
    with open("cut.jsonl", "a") as file:
        file.write("\n")
    refused("cut.jsonl: line 2: ", reelscale.metrics, "cut.jsonl")


assert not os.path.abspath(reelscale.__file__).startswith(os.path.abspath(PROJECT)), reelscale.__file__
written_as_convert_does()
refuses_what_convert_refuses()
names_go_with_rows_and_models()
documented_shard()
test = from_files_to_predictions()
predictions_are_those_of_annotate(test)
metrics_are_those_of_the_run()
print("the Python package agrees with", reelscale.program())
