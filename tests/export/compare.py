"""Compares what annotate has written with exported models: with ONNX Runtime's scores and with those of the code of
docs/model-format.md, on the numbers of each format, and with those that the Python package predicts. Takes that
document and folders of cases."""

import os
import sys

import h5py
import numpy as np
import onnxruntime

import reelscale


def code_of(document):
    """The blocks of Python in a document: definitions, and the one that runs a graph."""
    blocks = [[]]
    for line in open(document).read().splitlines():
        if line.startswith("    ") or not line and blocks[-1]:
            blocks[-1].append(line[4:])
        elif blocks[-1]:
            blocks.append([])
    texts = ["\n".join(block) + "\n" for block in blocks]
    texts = [text for text in texts if text.strip() and not text.startswith("reelscale")]
    return "".join(texts[:-1]), texts[-1]


definitions, runs_a_graph = code_of(sys.argv[1])
exec(definitions, globals())


def rows_of(shard):
    with h5py.File(shard) as file:
        if "features" in file:
            return file["features"][:]
        frames, offsets = file["frames"], file["frame_offsets"][:]
        scale, offset = (np.float32(frames.attrs[name]) for name in ["scale", "offset"])
        numbers = frames[:].astype(np.float32) * scale + offset
        return [numbers[start:end] for start, end in zip(offsets, offsets[1:])]


def fed(rows):
    if isinstance(rows, np.ndarray):
        return {"features": rows}
    counts = np.array([len(row) for row in rows])
    frames = np.full((len(rows), max(counts.max(), 1), rows[0].shape[1]), np.nan, np.float32)
    for own, row in zip(frames, rows):
        own[: len(row)] = row
    return {"frames": frames, "counts": counts}


def compare(what, found, expected):
    assert found.dtype == np.float32 and found.shape == expected.shape, (what, found.dtype, found.shape)
    apart = np.abs(found.astype(np.float64) - expected)
    most, nearly_all = apart.max(), np.quantile(apart, 0.99)
    print(f"{what}: {found.shape[0]} x {found.shape[1]} scores, at most {most:.1e} apart, 99 % at most {nearly_all:.1e}")
    assert most <= 1e-5 and nearly_all <= 1e-6, what


for folder in sys.argv[2:]:
    os.chdir(folder)
    case = os.path.basename(folder)
    features = rows = rows_of("data.h5")
    with h5py.File("annotations.h5") as file:
        classes, best = file["classes"][:], file["scores"][:]
    expected = np.zeros(best.shape, np.float32)
    np.put_along_axis(expected, classes.astype(int), best, 1)
    assert expected.std() > 0.02, f"{case}: scores are all alike"

    models = {"numpy": np.load("model.npz"), "safetensors": of_safetensors("model.safetensors")}
    models["directory"] = of_directory("model")
    names = set(models["numpy"])
    assert names == set(models["safetensors"]) and names > set(models["directory"]), case
    for name in models["directory"]:
        first = models["numpy"][name]
        for model in models.values():
            other = model[name]
            if name == "shape":
                first, other = json.loads(first.item()), json.loads(other.item())
                first, other = ({**shape, "epsilon": 0} for shape in [first, other])
                assert first == other, case
                first = models["numpy"][name]
            else:
                assert first.dtype == other.dtype and np.array_equal(first, other), (case, name)
    compare(f"{case}, numpy", scores(models["numpy"], rows), expected)

    model = reelscale.load("model")
    compare(f"{case}, package", model.predict(rows), expected)
    compare(f"{case}, package on a file", reelscale.load("model.npz").predict(rows[1:2]), expected[1:2])
    if model.takes_frames:
        padded = fed(rows)
        compare(f"{case}, package on padded frames", model.predict(padded["frames"], padded["counts"]), expected)

    session = onnxruntime.InferenceSession("model.onnx")
    [found] = session.run(["scores"], fed(rows))
    compare(f"{case}, ONNX", found, expected)
    # Another number of rows and of frames.
    [alone] = session.run(["scores"], fed(rows[1:2]))
    compare(f"{case}, ONNX of one row", alone, expected[1:2])

    best_of = onnxruntime.InferenceSession("top.onnx")
    found_classes, found = best_of.run(["classes", "scores"], fed(rows))
    compare(f"{case}, ONNX of the best", found, best[:, : found.shape[1]])
    compare(f"{case}, classes of the best", np.take_along_axis(expected, found_classes, 1), found)
    if isinstance(rows, np.ndarray):
        names = dict(globals())
        exec(runs_a_graph, names)
        compare(f"{case}, ONNX as documented", names["scores"], expected)
