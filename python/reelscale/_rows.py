"""Rows as users have them, checked as `reelscale convert` does, to what a shard holds of them."""

import json
import operator
import warnings
from typing import NamedTuple

import numpy as np

from ._numbers import finite, numbers

CLASSES_MAX = 16_777_216
FEATURES_MAX = (1 << 24) - 1
PARTS_MAX = 1024
PART_NAME_MAX = 256
ID_MAX = 65_536
NAME_MAX = 1024
# A list of 0 and 1 that is longer is a vector, of which nobody meant the classes 0 and 1.
_VECTOR_MIN = 16


class Features(NamedTuple):
    """Videos [rows, D], as float32 or bytes, or a list of frames [T, D] of bytes; what bytes stand for."""

    stored: object
    width: int
    scaling: object
    takes_frames: bool


def features_of(features, value_range):
    """Features as they are to be stored: numbers, or bytes of one range of values."""
    arrays = np.asarray(features) if hasattr(features, "__array__") else features
    if not hasattr(arrays, "dtype") or arrays.dtype == object and arrays.ndim == 1:
        arrays = [numbers(row, f"features: row {number}") for number, row in enumerate(arrays)]
        arrays = _one_array(arrays)
    takes_frames = isinstance(arrays, list) or arrays.ndim == 3
    if not takes_frames and arrays.ndim != 2:
        expected = "[rows, D], [rows, T, D] or a list of arrays [T, D]"
        raise ValueError(f"features: found {list(arrays.shape)}, expected {expected}")
    if len(arrays) == 0:
        raise ValueError("features: found no row")
    width = arrays[0].shape[-1] if arrays[0].ndim else 0
    if not 1 <= width <= FEATURES_MAX:
        raise ValueError(f"features: found {width} columns, expected 1 to {FEATURES_MAX}")
    if not takes_frames:
        array = numbers(arrays, "features")
        found = array if array.dtype == np.uint8 else finite(array, "features")
        return _stored([found], width, value_range, takes_frames)
    rows = []
    for row, one in enumerate(arrays):
        where = f"features: row {row}"
        if one.ndim != 2 or one.shape[1] != width:
            raise ValueError(f"{where}: found {list(one.shape)}, expected [T, {width}]")
        one = numbers(one, where)
        rows.append(one if one.dtype == np.uint8 else finite(one, where, "frame"))
    return _stored(rows, width, value_range, takes_frames)


def _one_array(arrays):
    """Vectors as one array; a list of what has another number of axes."""
    if arrays and all(one.ndim == 1 for one in arrays):
        lengths = {len(one) for one in arrays}
        if len(lengths) > 1:
            raise ValueError(f"features: found rows of {min(lengths)} and of {max(lengths)} features")
        return np.stack(arrays)
    return arrays


def _stored(arrays, width, value_range, takes_frames):
    some = [one for one in arrays if one.size] or arrays[:1]
    kinds = {one.dtype == np.uint8 for one in some}
    if len(kinds) > 1:
        raise ValueError("features: found frames of bytes beside frames of numbers, expected one of them")
    [as_bytes] = kinds
    if as_bytes and value_range is None:
        hint = "hint: (-1.9921875, 2.0078125) if they are YouTube-8M's or AudioSet's, (0, 255) if they are numbers"
        raise ValueError(f"value_range: found bytes, expected what 0 and 255 mean; {hint}")
    scaling = None
    if value_range is not None or takes_frames:
        low, high = _range(some, value_range)
        scaling = (np.float32((high - low) / np.float32(255)) if high > low else np.float32(1), low)
        if not as_bytes:
            arrays = _to_bytes(arrays, (low, high), scaling)
        arrays = [one.astype(np.uint8, copy=False) for one in arrays]
    return Features(arrays if takes_frames else arrays[0], width, scaling, takes_frames)


def _range(arrays, value_range):
    """Lowest and highest number that bytes stand for: those of all features where nobody says."""
    if value_range is None:
        filled = [one for one in arrays if one.size]
        if not filled:
            return np.float32(0), np.float32(0)
        return min(one.min() for one in filled), max(one.max() for one in filled)
    low, high = map(np.float32, value_range)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"value_range: found {value_range}, expected (low, high)")
    return low, high


def _to_bytes(arrays, bounds, scaling):
    """Each number to the nearest byte, half ways up; numbers beyond the range to its ends."""
    low, high = bounds
    scale, offset = scaling
    beyond, stored = 0, []
    for one in arrays:
        beyond += int(((one < low) | (one > high)).sum())
        steps = np.clip((one - offset) / scale, 0, 255)
        whole = np.trunc(steps)
        stored.append((whole + (steps - whole >= 0.5)).astype(np.uint8))
    if beyond:
        warnings.warn(f"{beyond} numbers are beyond value_range, and became its ends", stacklevel=4)
    return stored


def labels_of(labels, rows, names, class_count):
    """Offsets [rows + 1] and classes of all rows, ascending and distinct in each, and the number of classes."""
    if names is not None and class_count not in (None, len(names)):
        raise ValueError(f"class_count: found {class_count} for {len(names)} names, expected as many")
    if labels is None:
        labels = [()] * rows
    if hasattr(labels, "__array__") and np.ndim(labels) == 2:
        labels, columns = _of_columns(np.asarray(labels))
        expected = len(names) if names is not None else class_count
        if expected not in (None, columns):
            raise ValueError(f"labels: found {columns} columns for {expected} classes, expected as many")
        class_count = columns
    class_count = len(names) if names is not None else class_count
    if class_count is None:
        raise ValueError("class_count: found none, expected the number of classes, or their names")
    if not 1 <= class_count <= CLASSES_MAX:
        raise ValueError(f"class_count: found {class_count}, expected 1 to {CLASSES_MAX}")
    if len(labels) != rows:
        raise ValueError(f"labels: found {len(labels)} rows, expected {rows} as of features")
    numbered = {name: number for number, name in enumerate(names or []) if name}
    found = [_classes(row, one, numbered, class_count) for row, one in enumerate(labels)]
    repeated = sum(count for _, count in found)
    if repeated:
        warnings.warn(f"{repeated} labels stood twice in their row and are kept once", stacklevel=3)
    offsets = np.cumsum([0, *(len(classes) for classes, _ in found)], dtype=np.int64)
    flat = [one for classes, _ in found for one in classes]
    return offsets, np.array(flat, np.uint32), class_count


def names_of(names):
    """Names of classes, each a text that no other class has; an empty one is none."""
    names = list(names)
    for number, name in enumerate(names):
        if not isinstance(name, str) or len(name.encode()) > NAME_MAX or "\0" in name:
            raise ValueError(f"names: class {number}: found {name!r}, expected a text of at most {NAME_MAX} bytes")
    seen = set()
    for name in filter(None, names):
        if name in seen:
            raise ValueError(f"names: found {name!r} twice")
        seen.add(name)
    return names


def _of_columns(array):
    """The columns of 1 in each row of an array of 0 and 1."""
    wrong = ~np.isin(array, (0, 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        hint = "hint: lists of classes are lists of lists"
        raise ValueError(f"labels: row {row}, column {column}: found {array[row, column]}, expected 0 or 1; {hint}")
    ones = array.astype(bool)
    return [np.flatnonzero(row) for row in ones], array.shape[1]


def _classes(row, labels, numbered, class_count):
    """A row's classes, sorted and each once, and how many stood there again."""
    if isinstance(labels, (str, bytes)) or not hasattr(labels, "__iter__"):
        labels = [labels]
    classes = []
    for label in labels:
        if isinstance(label, str):
            if label not in numbered:
                expected = "one of the names" if numbered else "a number; hint: names"
                raise ValueError(f"labels: row {row}: found {label!r}, expected {expected}")
            classes.append(numbered[label])
            continue
        try:
            number = None if isinstance(label, (bool, np.bool_)) else operator.index(label)
        except TypeError:
            number = None
        if number is None or not 0 <= number < class_count:
            raise ValueError(f"labels: row {row}: found {_shown(label)}, expected a whole number below {class_count}")
        classes.append(number)
    distinct = sorted(set(classes))
    if len(classes) > 2 and len(classes) >= min(class_count, _VECTOR_MIN) and set(classes) <= {0, 1}:
        found = f"found {len(classes)} labels that are all 0 or 1"
        raise ValueError(f"labels: row {row}: {found}, expected classes; hint: one array [rows, classes] of 0 and 1")
    return distinct, len(classes) - len(distinct)


def ids_of(ids, rows):
    """Ids as bytes: of texts in UTF-8, of whole numbers their digits."""
    found = [_id(row, one) for row, one in enumerate(ids)]
    if len(found) != rows:
        raise ValueError(f"ids: found {len(found)} rows, expected {rows} as of features")
    first = {}
    for row, one in enumerate(found):
        if first.setdefault(one, row) != row:
            warnings.warn(f"the same id twice: {one!r} in rows {first[one]} and {row}", stacklevel=3)
            break
    return found


def _id(row, given):
    if isinstance(given, str):
        found = given.encode()
    elif isinstance(given, bytes):
        found = bytes(given)
    else:
        try:
            found = str(operator.index(given)).encode()
        except TypeError:
            raise ValueError(f"ids: row {row}: found {_shown(given)}, expected a text or a whole number") from None
    if not 1 <= len(found) <= ID_MAX:
        raise ValueError(f"ids: row {row}: found {len(found)} bytes, expected 1 to {ID_MAX}")
    if found.endswith(b"\0"):
        raise ValueError(f"ids: row {row}: found NUL at its end, which shards can't keep")
    return found


def _shown(found):
    """Texts in quotes, and numbers as they are."""
    return repr(found) if isinstance(found, (str, bytes)) else found


def parts_of(parts, width):
    """What features are made of, as JSON: a dict or pairs of name and size, or one part of all."""
    pairs = [("features", width)] if parts is None else list(parts.items() if hasattr(parts, "items") else parts)
    if not 1 <= len(pairs) <= PARTS_MAX:
        raise ValueError(f"parts: found {len(pairs)}, expected 1 to {PARTS_MAX}")
    for name, size in pairs:
        printable = isinstance(name, str) and 1 <= len(name.encode()) <= PART_NAME_MAX
        if not printable or any(ord(one) < 32 or 127 <= ord(one) < 160 for one in name):
            raise ValueError(f"parts: found the name {name!r}, expected 1 to {PART_NAME_MAX} bytes that can be printed")
        if operator.index(size) < 1:
            raise ValueError(f"parts: {name}: found {size} features, expected at least 1")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("parts: found a name twice")
    total = sum(size for _, size in pairs)
    if total != width:
        raise ValueError(f"parts: found {total} features in all, expected {width}")
    return json.dumps([{"name": name, "size": operator.index(size)} for name, size in pairs], ensure_ascii=False)
