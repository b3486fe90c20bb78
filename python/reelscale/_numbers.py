"""Numbers as users have them to float32, of which none changes in silence."""

import numpy as np

# Up to here float32 holds every whole number.
_WHOLE_MAX = 1 << 24


def numbers(array, where):
    """As an array of numbers, of whatever type and shape."""
    try:
        array = np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if array.dtype.kind not in "fiu" and array.size:
        raise ValueError(f"{where}: found {array.dtype}, expected numbers")
    return array


def whole_rows(rows, width, where, many="rows"):
    """As numbers [rows, width]; bytes are refused, since they mean nothing without scale and offset."""
    array = numbers(rows, where)
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"{where}: found {list(array.shape)}, expected [{many}, {width}]")
    if array.dtype == np.uint8:
        raise ValueError(f"{where}: found bytes (uint8), expected numbers; hint: byte * scale + offset")
    return array


def finite(array, where, many="row"):
    """As float32, of which each number is finite and, if it was whole, what it was."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = array.astype(np.float32)
    wrong, expected = ~np.isfinite(found), "a finite number of float32"
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        expected = "a whole number that float32 can hold"
        large = np.argwhere((array > _WHOLE_MAX) | (array < -_WHOLE_MAX))
        changed = (place for place in map(tuple, large) if int(found[place]) != int(array[place]))
        for place in changed:
            wrong[place] = True
            break
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"{where}: {many} {row}, column {column}: found {array[row, column]}, expected {expected}")
    return found
