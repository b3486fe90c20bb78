#!/usr/bin/env python3
"""Holds `reelscale plan` to what jobs take: memory, seconds of each step (tests/plan.rs has checkpoints).

    python3 benches/plan.py [--program target/release/reelscale] [--rates FILE] [--jobs grid frames]
    python3 benches/plan.py --folder DIR     # keeps rates, shards, plans and runs there

The machine is measured first (`plan --calibrate`), then all jobs are planned, and only then is any
of them run. The jobs are fixed: they and their sizes stand below. A rank has one thread. Seconds of
ranks beyond the machine's cores are left out, since ranks then take turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BASE = """
[data]
train = ["{shards}/*.h5"]
[model]
shared = [{{ dense = 1024 }}]
[pretrain]
epochs = 1
learning_rate = 0.001
[experts]
count = 2
epochs = 4
[shared]
iterations = 3
[rounds]
count = 1
[checkpoint]
every = 100
[run]
threads = 1
"""

# Name: (ranks, keys of the job, rows, features, classes, frames).
WIDE = (300_000, 128, 128, 0)
WIDER = (600_000, 128, 128, 0)
ADAPTIVE = ["experts.count=8", "experts.positives_per_expert=1600", "experts.averaging=0.999"]
JOBS = {
    "one rank": (1, ["model.shared=[{ dense = 1024 }, { gating = true }]"], *WIDE),
    "two ranks": (2, ["experts.count=8"], *WIDER),
    "four ranks": (4, ["rounds.count=2"], *WIDER),
    "frames": (2, ["model.frames=[{ dense = 256 }]", "pretrain.frames=20"], 30_000, 256, 128, 100),
    "adaptive, averaged": (1, ADAPTIVE, *WIDE),
    "streamed": (1, ["run.memory_gib=1.0"], *WIDE),
    "grid": (2, ["run.grid=2x1", "experts.row_slices=2", "experts.batch=4096"], *WIDER),
}


def run(command, folder):
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def prepared(arguments, folder, name):
    """Shards and a job, with the command's options that both its plan and its run get."""
    ranks, keys, rows, features, classes, frames = JOBS[name]
    shards = folder / f"shards-{rows}-{features}-{classes}-{frames}"
    if not shards.exists():
        size = ["--rows", rows, "--features", features, "--classes", classes, "--frames", frames]
        run([arguments.program, "synthesize", *map(str, size), "--output", shards], folder)
    job = folder / f"{name}.toml"
    job.write_text(BASE.format(shards=shards))
    return ranks, [job, *(part for key in keys for part in ("--set", key))]


def planned(arguments, folder, name, rates):
    ranks, options = prepared(arguments, folder, name)
    command = [arguments.program, "plan", *options, "--ranks", str(ranks), "--rates", rates]
    command += ["--network", arguments.network]
    return json.loads(run([*command, "--format", "json"], folder))


def measured(arguments, folder, name):
    """The record of a run, and the median seconds of each step: an epoch or an iteration. Of an even
    number the lesser: a checkpoint is written in few of them."""
    ranks, options = prepared(arguments, folder, name)
    output = folder / f"{name} run"
    if not output.exists():
        mpirun = ["mpirun", "-n", str(ranks), "--oversubscribe"]
        mpirun += ["--bind-to", "core" if ranks <= os.cpu_count() else "none"]
        run([*mpirun, arguments.program, "train", *options, "--output", output], folder)
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    seconds = {}
    for line in lines:
        if "step" in line:
            seconds.setdefault(line["step"], []).append(line["timing"]["seconds"])
    steps = {step: statistics.median_low(all) for step, all in seconds.items()}
    return json.loads((output / "run.json").read_text()), steps


def ratio(found, expected):
    return f"{found / expected:.2f}"


def row(name, plan, record, steps):
    """Everything as a ratio of measured to planned."""
    memory = record["report"]["memory"]
    cells = [name, f"{plan['memory_bytes'] / 2**20:,.0f}"]
    cells.append(ratio(memory["held_bytes"], plan["memory_bytes"]))
    cells.append(f"{(memory['resident_bytes'] - memory['held_bytes']) / 2**20:,.0f}")
    busy = plan["ranks"] > os.cpu_count()
    for step in ["pretrain", "experts", "shared"]:
        expected = next((one["seconds"] for one in plan["steps"] if one["step"] == step), None)
        known = expected and step in steps and not busy
        cells.append(f"{expected:.1f} s, {ratio(steps[step], expected)}" if known else "")
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=Path, default="target/release/reelscale")
    parser.add_argument("--rates", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--network", default="3GB/s,5us", help="what ranks of one machine have between them")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=JOBS)
    arguments = parser.parse_args()
    arguments.program = arguments.program.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(exist_ok=True)
        first = arguments.jobs[0]
        ranks, options = prepared(arguments, folder, first)
        rates = (arguments.rates or folder / "rates.json").resolve()
        if not rates.exists():
            run([arguments.program, "plan", *options, "--ranks", str(ranks), "--calibrate", rates], folder)
        plans = {name: planned(arguments, folder, name, rates) for name in arguments.jobs}
        print("| job | planned MiB | held / planned | beside, MiB |", end="")
        print(" pretraining, an epoch | stage 1, an epoch | stage 2, an iteration |\n|" + "---|" * 7)
        for name in arguments.jobs:
            print(row(name, plans[name], *measured(arguments, folder, name)), flush=True)


if __name__ == "__main__":
    main()
