#!/usr/bin/env python3
"""Measures `reelscale convert` from every format, on one rank and two.

    python3 benches/convert.py [--program target/release/reelscale] [--rows 20000] [--repeat 3]
    python3 benches/convert.py --formats npz csv       # some formats

Needs numpy, h5py and pyarrow. The same random rows (1,024 + 128 features, about 3 labels of 100
classes) are written in four files of each format; formats take turns, so that a machine that gets
busy slows all of them. Rows a second are medians, with the slowest and the fastest.
"""

import argparse
import csv
import gzip
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CLASSES, FILES = 100, 4
PARTS = [("rgb", 1024), ("audio", 128)]
WIDTH = sum(width for _, width in PARTS)
TABLE = ["--features", "features", "--labels", "labels", "--ids", "ids", "--parts", "rgb:1024,audio:128"]


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def record(name, features, labels):
    """A tf.train.Example of a video, framed; checksums of 0 aren't right, so they are computed."""
    kinds = {"id": field(1, field(1, name.encode()))}
    kinds["labels"] = field(3, field(1, b"".join(varint(int(label)) for label in labels)))
    begin = 0
    for part, width in PARTS:
        kinds["mean_" + part] = field(2, field(1, features[begin : begin + width].tobytes()))
        begin += width
    entries = b"".join(field(1, field(1, key.encode()) + field(2, value)) for key, value in kinds.items())
    data = field(1, entries)
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


TABLES = []


def crc32c(data):
    if not TABLES:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
            TABLES.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLES[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class Rows:
    """One file's rows."""

    def __init__(self, seed, count):
        random = np.random.default_rng(seed)
        self.features = random.standard_normal((count, WIDTH), dtype=np.float32)
        self.hot = (random.random((count, CLASSES)) < 0.03).astype(np.uint8)
        self.ids = np.array([f"v{seed}_{row:06}" for row in range(count)])

    def labels(self, row):
        return np.flatnonzero(self.hot[row])

    def arrays(self):
        return {"features": self.features, "labels": self.hot, "ids": self.ids}

    def hdf5(self, path, **storage):
        with h5py.File(path, "w") as file:
            file.create_dataset("features", data=self.features, **storage)
            file["labels"] = self.hot
            file["ids"] = self.ids.astype("S")

    def csv(self, path):
        with open(path, "w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["id", "labels"] + [f"f{column}" for column in range(WIDTH)])
            for row, name in enumerate(self.ids):
                labels = ";".join(map(str, self.labels(row)))
                out.writerow([name, labels] + [str(value) for value in self.features[row]])

    def parquet(self, path, listed):
        lists = [self.labels(row).tolist() for row in range(len(self.ids))]
        columns = {"ids": pa.array(self.ids.tolist()), "labels": pa.array(lists, pa.list_(pa.int64()))}
        if listed:
            flat = pa.array(self.features.reshape(-1))
            columns["features"] = pa.FixedSizeListArray.from_arrays(flat, WIDTH)
        else:
            columns |= {f"f{column}": self.features[:, column] for column in range(WIDTH)}
        pq.write_table(pa.table(columns), path)

    def records(self, path, squeeze):
        whole = b"".join(
            record(name, self.features[row], self.labels(row)) for row, name in enumerate(self.ids)
        )
        Path(path).write_bytes(gzip.compress(whole, 6) if squeeze else whole)

    def svmlight(self, path):
        with open(path, "w") as file:
            for row in range(len(self.ids)):
                pairs = " ".join(f"{at + 1}:{value!s}" for at, value in enumerate(self.features[row]))
                file.write(",".join(map(str, self.labels(row))) + " " + pairs + "\n")


LINES = ["--rows-from-lines", "--one-based", "--features", f"features:{WIDTH}"]
COLUMNS = ["--features", "f0..f1151", "--labels", "labels", "--ids"]
FORMATS = {
    "npz, stored": ("npz", "npz", lambda rows, path: np.savez(path, **rows.arrays()), TABLE),
    "npz, deflated": ("npz", "npz", lambda rows, path: np.savez_compressed(path, **rows.arrays()), TABLE),
    "HDF5": ("hdf5", "h5", lambda rows, path: rows.hdf5(path), TABLE),
    "HDF5, gzip": ("hdf5", "h5", lambda rows, path: rows.hdf5(path, compression=4, chunks=(64, WIDTH)), TABLE),
    "Parquet, a list": ("parquet", "parquet", lambda rows, path: rows.parquet(path, True), TABLE),
    "Parquet, a column each": ("parquet", "parquet", lambda rows, path: rows.parquet(path, False), [*COLUMNS, "ids"]),
    "TFRecord": ("tfrecord", "tfrecord", lambda rows, path: rows.records(path, False), None),
    "TFRecord, gzip": ("tfrecord", "tfrecord", lambda rows, path: rows.records(path, True), None),
    "csv, shortest digits": ("csv", "csv", lambda rows, path: rows.csv(path), [*COLUMNS, "id"]),
    "svmlight": ("svmlight", "txt", lambda rows, path: rows.svmlight(path), LINES),
}
RECORDS = ["--features", "mean_rgb:1024,mean_audio:128"]


def convert(arguments, name, ranks, folder, output):
    source, ending, _, options = FORMATS[name]
    command = ["mpirun", "-n", str(ranks), "--oversubscribe"] if ranks > 1 else []
    command += [arguments.program, "convert", "--from", source]
    command += RECORDS if options is None else options
    command += ["--classes", str(CLASSES), "--output", str(output), *map(str, sorted(folder.glob(f"*.{ending}")))]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default="target/release/reelscale")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for number, name in enumerate(arguments.formats):
            (scratch / str(number)).mkdir()
        for file in range(FILES):
            rows = Rows(file, arguments.rows // FILES)
            for number, name in enumerate(arguments.formats):
                _, ending, write, _ = FORMATS[name]
                write(rows, str(scratch / str(number) / f"{file}.{ending}"))
        seconds = {}
        for turn in range(arguments.repeat):
            for number, name in enumerate(arguments.formats):
                for ranks in arguments.ranks:
                    output = scratch / f"out-{turn}-{number}-{ranks}"
                    taken = convert(arguments, name, ranks, scratch / str(number), output)
                    seconds.setdefault((name, ranks), []).append(taken)
                    subprocess.run(["rm", "-r", str(output)], check=True)
        print("| from | read | " + " | ".join(f"rows/s, {ranks} ranks" for ranks in arguments.ranks) + " |")
        print("|---|---|" + "---|" * len(arguments.ranks))
        for number, name in enumerate(arguments.formats):
            size = sum(path.stat().st_size for path in (scratch / str(number)).iterdir())
            rates = []
            for ranks in arguments.ranks:
                found = sorted(arguments.rows / taken for taken in seconds[name, ranks])
                rates.append(f"{statistics.median(found):,.0f} ({found[0]:,.0f} to {found[-1]:,.0f})")
            print(f"| {name} | {size / 2**20:.0f} MiB | " + " | ".join(rates) + " |")


if __name__ == "__main__":
    main()
