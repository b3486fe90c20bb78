"""Shards: written by h5py and sealed by the program, read once it has proven them (hdf5-data/README.md)."""

import contextlib
import glob
import json
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from ._program import run
from ._rows import features_of, ids_of, labels_of, names_of, parts_of

# While this folder is there the program takes no shard beside it.
_UNFINISHED = "reelscale-unfinished"
# Bytes of features of a shard of several.
_SHARD_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
# Files that the program is told of at once.
_FILES = 200


class Shards(NamedTuple):
    """Rows of shards.

    features     [rows, D] float32, or of frames a list of arrays [T, D]
    labels       a list of arrays: the classes of each row
    ids          a list of texts; of bytes where they aren't UTF-8
    names        the names of all classes; None where they have none
    class_count  number of classes
    parts        list of (name, size): what features are made of
    """

    features: object
    labels: list
    ids: list
    names: list
    class_count: int
    parts: list

    def multi_hot(self):
        """The labels as an array [rows, classes] of bool."""
        found = np.zeros((len(self.labels), self.class_count), bool)
        for row, classes in zip(found, self.labels):
            row[classes] = True
        return found


def write_shards(
    path, features, labels, ids, names=None, *, class_count=None, parts=None, value_range=None, rows_per_shard=None
):
    """Writes rows as shards with a proof at their end, and returns the paths of those.

    path         `NAME.h5`: one new shard. Else a folder, new or empty, of shards of `rows_per_shard` rows each, which
                 appear there together; without it a shard has about 64 MiB
    features     numbers [rows, D]; or of frames a list of arrays [T, D], or one array [rows, T, D]
    labels       a list of lists of classes or of their names; an array [rows, classes] of 0 and 1; a class each; None
    ids          texts, bytes or whole numbers
    names        the names of all classes, which stand in the shards and by which labels may go
    class_count  number of classes, where neither names nor columns of labels say it
    parts        what features are made of: {"rgb": 1024, "audio": 128}
    value_range  (low, high): features are stored as bytes, of which 0 means low and 255 high. Arrays of uint8 are such
                 bytes already. Frames are always stored so, by default from their least number to their greatest

    The rules are those of `reelscale convert`: what isn't finite, isn't a class or doesn't fit is a ValueError with its
    row, repeated labels and ids are warnings. float64 is rounded to float32. Nothing that exists is replaced, and a
    call that fails leaves nothing.
    """
    found = features_of(features, value_range)
    rows = len(found.stored)
    names = None if names is None else names_of(names)
    offsets, classes, class_count = labels_of(labels, rows, names, class_count)
    ids = ids_of(ids, rows)
    parts = parts_of(parts, found.width)
    path = Path(path)
    whole = path.suffix in (".h5", ".hdf5")
    if rows_per_shard is not None and (whole or rows_per_shard < 1):
        raise ValueError(f"rows_per_shard: found {rows_per_shard} for {path}, expected 1 or more and a folder")
    if rows_per_shard is None:
        size = 1 if found.scaling else 4
        of_all = size * found.width * (sum(map(len, found.stored)) if found.takes_frames else rows)
        rows_per_shard = rows if whole else max(1, rows * _SHARD_BYTES // max(of_all, 1))
    with _new_file(path) if whole else _new_folder(path) as (place, put):
        for number, start in enumerate(range(0, rows, rows_per_shard)):
            own = slice(start, min(start + rows_per_shard, rows))
            name = path.name if whole else f"shard-{number:05}.h5"
            with h5py.File(place / name, "w") as shard:
                _describe(shard, class_count, parts)
                if names:
                    _write_names(shard, names)
                _write_features(shard, found, own)
                of_own = offsets[own.start : own.stop + 1]
                _dataset(shard, "label_offsets", of_own - of_own[0])
                _dataset(shard, "labels", classes[of_own[0] : of_own[-1]])
                _dataset(shard, "ids", np.array(ids[own], bytes))
            run("inspect", "--seal", place / name)
            put(name)
    return [path] if whole else sorted(path.glob("shard-*.h5"))


def _describe(shard, class_count, parts):
    try:
        version = metadata.version("reelscale")
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    texts = {"format": "reelscale-shard", "feature_parts": parts, "creator": f"reelscale {version}, in Python"}
    for name, text in {**texts, "source": "arrays of numpy"}.items():
        shard.attrs[name] = np.bytes_(text.encode())
    # Sealed it is of version 2.
    shard.attrs["version"] = np.uint64(1)
    shard.attrs["class_count"] = np.uint64(class_count)


def _write_names(shard, names):
    texts = [name.encode() for name in names]
    dtype = h5py.string_dtype("utf-8", max(1, *map(len, texts)))
    shard.create_dataset("class_names", data=np.array(texts, dtype))


def _write_features(shard, features, own):
    stored = features.stored[own]
    if features.takes_frames:
        counts = [len(frames) for frames in stored]
        _dataset(shard, "frame_offsets", np.cumsum([0, *counts], dtype=np.int64))
        stored = np.concatenate(stored)
    values = _dataset(shard, "frames" if features.takes_frames else "features", stored)
    if features.scaling:
        for name, number in zip(("scale", "offset"), features.scaling):
            values.attrs[name] = np.float32(number)


def _dataset(shard, name, array):
    if array.size == 0:
        return shard.create_dataset(name, data=array)
    items = max(1, _CHUNK_BYTES // (array.nbytes // len(array)))
    chunks = (min(items, len(array)), *array.shape[1:])
    return shard.create_dataset(name, data=array, chunks=chunks, fletcher32=True)


def _sync(folder):
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _new_file(path):
    """A folder to write a shard in, and what gives it its name beside that folder."""

    def put(name):
        os.link(Path(place) / name, path)
        _sync(path.parent)

    if path.exists():
        raise FileExistsError(f"{path}: exists already")
    with tempfile.TemporaryDirectory(prefix=".reelscale-", dir=path.parent) as place:
        yield Path(place), put


@contextlib.contextmanager
def _new_folder(path):
    """A folder to write shards in, which all get their names in `path` at the end; nothing of them where that fails."""
    made = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    unfinished, names, placed = path / _UNFINISHED, [], []
    if any(path.iterdir()):
        raise FileExistsError(f"{path}: found a folder that isn't empty; hint: choose another")
    unfinished.mkdir()
    try:
        # The program takes nothing that lies in an unfinished folder, or in one beside its shards.
        place = unfinished / "new" / "shards"
        place.mkdir(parents=True)
        yield place, names.append
        for name in names:
            os.link(place / name, path / name)
            placed.append(path / name)
        _sync(path)
    except BaseException:
        for one in placed:
            one.unlink()
        shutil.rmtree(unfinished)
        with contextlib.suppress(OSError):
            for one in made:
                one.rmdir()
        raise
    shutil.rmtree(unfinished)
    _sync(path)


def read_shards(paths, *, prove=True):
    """All rows of shards, as `Shards`: features, labels, ids, names, class_count, parts.

    `paths` is a shard, a glob, a folder of shards, or a list of such; rows come in the order of names. The program
    reads all of them first and proves every byte; `prove=False` takes them as they are, which only their own checksums
    guard. Sets that don't fit into memory are read shard by shard, as `glob.glob` names them.
    """
    files = _files(paths)
    if prove:
        for start in range(0, len(files), _FILES):
            run("inspect", *files[start : start + _FILES])
    shards, names = [_read(path) for path in files], None
    for shard, path in zip(shards, files):
        for field in ("class_count", "parts"):
            own, first = getattr(shard, field), getattr(shards[0], field)
            if own != first:
                raise ValueError(f"{path}: {field}: found {own}, expected {first} as in {files[0]}")
        if shard.names and names and shard.names != names:
            raise ValueError(f"{path}: names: found others than in a shard before it")
        names = names or shard.names
        if type(shard.features) is not type(shards[0].features):
            raise ValueError(f"{path}: found frames beside videos, in {files[0]}, or the other way round")
    if isinstance(shards[0].features, list):
        features = [row for shard in shards for row in shard.features]
    else:
        features = np.concatenate([shard.features for shard in shards])
    labels, ids = ([row for shard in shards for row in shard[place]] for place in (1, 2))
    return Shards(features, labels, ids, names, shards[0].class_count, shards[0].parts)


def _files(paths):
    files = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        path = os.fspath(path)
        if os.path.isdir(path):
            found = sorted(glob.glob(os.path.join(glob.escape(path), "*.h5")))
        elif os.path.exists(path):
            found = [path]
        else:
            found = sorted(glob.glob(path))
        if not found:
            raise FileNotFoundError(f"{path}: matches no shard")
        files += found
    if not files:
        raise FileNotFoundError("no shard is named")
    return files


def _read(path):
    with h5py.File(path, "r") as shard:
        if _text(shard.attrs.get("format", b"")) != "reelscale-shard":
            raise ValueError(f"{path}: format: found no shard")
        parts = [(part["name"], part["size"]) for part in json.loads(_text(shard.attrs["feature_parts"]))]
        offsets, classes = shard["label_offsets"][:], shard["labels"][:]
        labels = [classes[start:end] for start, end in zip(offsets, offsets[1:])]
        if "frames" in shard:
            frames, offsets = _numbers(shard["frames"], parts), shard["frame_offsets"][:]
            features = [frames[start:end] for start, end in zip(offsets, offsets[1:])]
        else:
            features = _numbers(shard["features"], parts)
        ids = [_id(one) for one in shard["ids"][:]]
        return Shards(features, labels, ids, class_names(shard), int(shard.attrs["class_count"]), parts)


def class_names(file):
    """The names of classes in a shard or a file of a model; None where it has none."""
    if "class_names" not in file:
        return None
    return [bytes(name).decode() for name in file["class_names"][:]]


def _numbers(dataset, parts):
    found = dataset[:]
    if found.dtype != np.uint8:
        return found.astype(np.float32, copy=False)
    scale, offset = (np.asarray(dataset.attrs[name], np.float32) for name in ("scale", "offset"))
    # One of all features, or one of each part.
    if scale.size > 1:
        scale, offset = (np.repeat(of_part, [size for _, size in parts]) for of_part in (scale, offset))
    return found.astype(np.float32) * scale + offset


def _text(found):
    return found if isinstance(found, str) else bytes(found).decode()


def _id(found):
    try:
        return bytes(found).decode()
    except UnicodeDecodeError:
        return bytes(found)
