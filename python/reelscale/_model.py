"""A trained model as arrays, and scores by it: docs/model-format.md, sections "Tensors" and "Scores"."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from ._numbers import finite, whole_rows
from ._program import run

# Frames of a video that count.
FRAMES_MAX = 300
# Numbers of the largest array that scores of some rows take.
_AT_ONCE = 1 << 24


def load(path):
    """The model at `path`: the directory of a run (its best model so far, also while it goes on), of a model or of a
    checkpoint, or a file that `reelscale export --to numpy` wrote.

    The program proves and reads it: a ProgramError says what is damaged or missing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such run, model or checkpoint")
    if path.is_file():
        return Model(_arrays(path), str(path))
    with tempfile.TemporaryDirectory(prefix="reelscale-") as folder:
        numbers = os.path.join(folder, "model.npz")
        run("export", "--to", "numpy", "--model", path, "--output", numbers)
        return Model(_arrays(numbers), str(path))


def _arrays(path):
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (ValueError, OSError, TypeError) as error:
        hint = "hint: reelscale export --to numpy"
        raise ValueError(f"{path}: found no model in numpy's format ({error}); {hint}") from None


def _text(array):
    found = array.item()
    return found.decode() if isinstance(found, bytes) else str(found)


class Model:
    """A trained model.

    weights       dict of name -> array: the names, shapes and meanings of docs/model-format.md
    shape         dict: what the model is made of
    parts         list of (name, size): the features that it takes, in order
    width         number of features D
    takes_frames  whether a row is frames [T, D] rather than one vector [D]
    class_count   number of classes K
    classes       the K classes, as columns of a table are named: by its name, or by its number where it has none
    content_hash  what `reelscale inspect --hash` says of the model; None of a checkpoint
    """

    def __init__(self, weights, name="model"):
        texts = {key: _text(weights[key]) for key in ("shape", "creator", "content_hash", "class_names") if key in weights}
        if "shape" not in texts:
            raise ValueError(f"{name}: shape: found none, expected a model that reelscale exported")
        self.name = name
        self.weights = {key: array for key, array in weights.items() if key not in texts}
        self.shape = json.loads(texts["shape"])
        self.creator = texts.get("creator")
        self.content_hash = texts.get("content_hash")
        self.parts = [(part["name"], part["size"]) for part in self.shape["parts"]]
        self.width = sum(size for _, size in self.parts)
        self.takes_frames = "pooling" in self.shape
        self.class_count = self.shape["class_count"]
        names = json.loads(texts.get("class_names", "[]"))
        self.classes = [name or number for number, name in enumerate(names)] or range(self.class_count)
        self._check()
        self._groups = list(self._groups_of_classes())

    def __repr__(self):
        rows = "frames" if self.takes_frames else "rows"
        return f"<reelscale.Model {self.name}: {rows} of {self.width} features, {self.class_count} classes>"

    def predict(self, features, counts=None):
        """Scores [rows, K], float32, each from 0 to 1: those of `reelscale annotate` but for the last digits.

        A model of videos takes numbers [rows, D]. One of frames takes a list of arrays [T, D], or one array
        [rows, T, D] with the `counts` [rows] of frames that are each row's own; frames after the 300th don't count.
        Features that shards hold as bytes are `byte * scale + offset`. What has another shape or isn't finite is a
        ValueError.
        """
        if self.takes_frames:
            rows = self._frames(features, counts)
        elif counts is not None:
            raise ValueError(f"counts: {self.name} takes no frames, expected none")
        else:
            rows = finite(whole_rows(features, self.width, "features"), "features")
        largest = max(len(self.weights["experts.biases"]), len(self.weights["gates.weights"]), self.width, 1)
        step = max(1, _AT_ONCE // largest)
        scores = np.empty((len(rows), self.class_count), np.float32)
        with np.errstate(over="ignore", under="ignore"):
            for start in range(0, len(rows), step):
                scores[start : start + step] = self._scores(rows[start : start + step])
        return scores

    def _frames(self, features, counts):
        if counts is not None:
            whole = np.asarray(features)
            counts = np.asarray(counts)
            if whole.ndim != 3 or counts.shape != whole.shape[:1] or counts.dtype.kind not in "iu":
                found = f"found {counts.dtype} {list(counts.shape)} for frames {list(whole.shape)}"
                raise ValueError(f"counts: {found}, expected whole numbers [rows] for frames [rows, T, {self.width}]")
            beyond = np.flatnonzero((counts < 0) | (counts > whole.shape[1]))
            if len(beyond):
                found = f"row {beyond[0]}: found {counts[beyond[0]]}"
                raise ValueError(f"counts: {found}, expected 0 to {whole.shape[1]}")
            features = [frames[:count] for frames, count in zip(whole, counts)]
        if getattr(features, "ndim", 3) != 3:
            found = f"found an array {list(features.shape)}"
            raise ValueError(f"features: {found}, expected frames: a list of arrays [T, {self.width}], or [rows, T, D]")
        rows = []
        for row, frames in enumerate(features):
            where = f"features: row {row}"
            rows.append(finite(whole_rows(frames, self.width, where, "T")[:FRAMES_MAX], where, "frame"))
        return rows

    def _scores(self, rows):
        if self.takes_frames:
            layers = self.shape.get("frames", [])
            frames = [self._network("frames", layers, self._normalised(one)) for one in rows]
            x = np.stack([_POOLINGS[self.shape["pooling"]](one) for one in frames])
        else:
            x = self._normalised(rows)
        return self._mixtures(self._network("layers", self.shape["layers"], x))

    def _normalised(self, x):
        normalize = self.shape["normalize"]
        if normalize == "l2":
            return x / np.sqrt(np.maximum((x * x).sum(-1, keepdims=True), np.float32(1e-12)))
        if normalize == "standardise":
            return (x - self.weights["standard.means"]) * self.weights["standard.scales"]
        return x

    def _network(self, name, layers, x):
        for number, layer in enumerate(layers):
            z = x @ self.weights[f"{name}.{number}.weights"] + self.weights[f"{name}.{number}.biases"]
            x = _LAYERS[layer["kind"]](layer, x, z)
        return x

    def _mixtures(self, v):
        """Activations [rows, d] to scores [rows, K], classes of equally many gates and experts at once."""
        gates = v @ self.weights["gates.weights"].T
        experts = _sigmoid(v @ self.weights["experts.weights"].T + self.weights["experts.biases"])
        scores = np.empty((len(v), self.class_count), np.float32)
        for classes, gates_of, experts_of in self._groups:
            logits = gates[:, gates_of]
            if logits.shape[2] == 0:  # a single expert without dummy state
                logits = np.zeros((*logits.shape[:2], 1), np.float32)
            if self.shape["dummy"] == "zero":
                logits = np.pad(logits, ((0, 0), (0, 0), (1, 0)))
            shares = np.exp(logits - logits.max(2, keepdims=True))
            shares /= shares.sum(2, keepdims=True)
            count = experts_of.shape[1]
            scores[:, classes] = (shares[:, :, -count:] * experts[:, experts_of]).sum(2)
        return scores

    def _groups_of_classes(self):
        """Classes of equally many gates and experts: themselves, and rows of gates and of experts [classes, count]."""
        offsets = [self.weights[name] for name in ("gates.offsets", "experts.offsets")]
        sizes = np.stack([np.diff(one) for one in offsets], 1)
        for gates, experts in np.unique(sizes, axis=0):
            classes = np.flatnonzero((sizes == (gates, experts)).all(1))
            gates_of, experts_of = (
                one[classes, None] + np.arange(count) for one, count in zip(offsets, (gates, experts))
            )
            yield classes, gates_of, experts_of

    def _check(self):
        """Sees that the shape is one of this version's, and the weights are those of that shape."""
        shape, width = self.shape, self.width
        if len(self.classes) != self.class_count:
            raise ValueError(f"{self.name}: class_names: found {len(self.classes)}, expected {self.class_count}")
        self._known("normalize", shape["normalize"], ("l2", "standardise", "none"))
        self._known("dummy", shape["dummy"], ("learned", "zero", "none"))
        if self.takes_frames:
            self._known("pooling", shape["pooling"], _POOLINGS)
        if shape["normalize"] == "standardise":
            self._sized("standard.means", width)
            self._sized("standard.scales", width)
        for name in ("frames", "layers"):
            for number, layer in enumerate(shape.get(name, [])):
                self._known("layer", layer["kind"], _LAYERS)
                if layer["kind"] == "dense":
                    self._known("activation", layer["activation"], _ACTIVATIONS)
                outputs = layer.get("units", width)
                self._sized(f"{name}.{number}.weights", width, outputs)
                self._sized(f"{name}.{number}.biases", outputs)
                width = outputs
        for name in ("gates", "experts"):
            offsets = self._sized(f"{name}.offsets", self.class_count + 1, kind="i")
            if offsets[0] != 0 or (np.diff(offsets) < (name == "experts")).any():
                raise ValueError(f"{self.name}: {name}.offsets: found ones that fall, or don't begin with 0")
            self._sized(f"{name}.weights", offsets[-1], width)
        experts = np.diff(self.weights["experts.offsets"])
        own = {"learned": experts + 1, "zero": experts, "none": np.where(experts > 1, experts, 0)}[shape["dummy"]]
        if (np.diff(self.weights["gates.offsets"]) != own).any():
            raise ValueError(f"{self.name}: gates.offsets: found others than experts.offsets ask for")
        self._sized("experts.biases", offsets[-1])

    def _known(self, field, found, known):
        if found not in known:
            expected = f"expected {', '.join(known)}; hint: a newer reelscale wrote it"
            raise ValueError(f"{self.name}: {field}: found {found!r}, {expected}")

    def _sized(self, name, *sizes, kind="f"):
        array = self.weights.get(name)
        if array is None or array.shape != sizes or array.dtype.kind != kind:
            found = "none" if array is None else f"{array.dtype} {list(array.shape)}"
            raise ValueError(f"{self.name}: {name}: found {found}, expected {list(map(int, sizes))}")
        if not np.isfinite(array).all():
            raise ValueError(f"{self.name}: {name}: found NaN or infinity")
        return array


def _sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def _swap(x):
    weights = np.abs(x).sum(0)
    return (x * np.abs(x)).sum(0) / np.where(weights > 0, weights, 1)


def _of_frames(pool):
    return lambda x: pool(x) if len(x) else np.zeros(x.shape[1], x.dtype)


_ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "relu6": lambda z: np.clip(z, 0, 6),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
}
# From a layer, its inputs x and its products z.
_LAYERS = {
    "dense": lambda layer, x, z: _ACTIVATIONS[layer["activation"]](z),
    "gating": lambda layer, x, z: x * _sigmoid(z),
    "residual": lambda layer, x, z: x + np.maximum(z, 0),
}
# Frames [T, F] of one video to [F].
_POOLINGS = {
    "swap": _of_frames(_swap),
    "average": _of_frames(lambda x: x.mean(0)),
    "max": _of_frames(lambda x: x.max(0)),
    "l2": _of_frames(lambda x: np.sqrt((x * x).mean(0))),
}
