#!/usr/bin/env python3
"""Makes the tables of BENCHMARKS.md for more ranks than are here, by `reelscale bench rank`.

    python3 benches/ranks.py [--program target/release/reelscale] [--seconds 20] [--set KEY=VALUE ...]
    python3 benches/ranks.py --steps shared --jobs "E = 2" "E = 16"   # some steps of some jobs

A row for each number of ranks, a column for each job. In each cell the efficiency of the fullest
rank, and how its time divides: arithmetic, host work (of which one thread alone), waiting.
"""

import argparse
import json
import subprocess
import sys

# Videos, not frames, and 1,024 activations in all of them, so that columns can be compared.
VIDEOS = ["plan.frames=0", "model.frames=[]"]
NARROW = [*VIDEOS, "model.shared=[{ dense = 1024 }, { gating = true }]"]
UNIFORM = ["experts.positives_per_expert=0"]
JOBS = [
    ("E = 2", "jobs/youtube8m.toml", [*NARROW, "experts.count=2", *UNIFORM]),
    ("E = 16", "jobs/youtube8m.toml", [*NARROW, "experts.count=16", *UNIFORM]),
    ("Sports-1M, E = 200", "jobs/sports1m.toml", NARROW),
    ("x100, E = 64", "jobs/youtube8m-x100.toml", VIDEOS),
]
STEPS = {
    "experts": "Stage 1, an epoch",
    "shared": "Stage 2, an iteration",
    "pretrain": "Pretraining, an epoch",
}


def measure(arguments, job, overrides, ranks):
    command = [arguments.program, "bench", "rank", job, "--format", "json"]
    command += ["--ranks", str(ranks), "--threads", str(arguments.threads)]
    command += ["--network", arguments.network, "--seconds", str(arguments.seconds)]
    command += ["--steps", ",".join(arguments.steps)]
    for override in overrides + arguments.overrides:
        command += ["--set", override]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    found = json.loads(done.stdout)
    print(json.dumps(found), file=sys.stderr)
    return found


def cell(step):
    def share(key):
        return f"{100 * step[key] / step['seconds']:.0f}"

    parts = [share(key + "_seconds") for key in ("arithmetic", "host", "waiting")]
    alone = share("host_alone_seconds")
    efficiency = f"{100 * step['efficiency']:.3g}"
    return f"{efficiency} % ({parts[0]}, {parts[1]} [{alone}], {parts[2]})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default="target/release/reelscale")
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--network", default="10GB/s,2us")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--jobs", nargs="+", default=[name for name, _, _ in JOBS])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    found = {}
    jobs = [job for job in JOBS if job[0] in arguments.jobs]
    for ranks in arguments.ranks:
        for name, job, overrides in jobs:
            found[ranks, name] = measure(arguments, job, overrides, ranks)
    names = [name for name, _, _ in jobs]
    for step in arguments.steps:
        print(f"\n{STEPS[step]}:\n\n| ranks | " + " | ".join(names) + " |")
        print("|---" * (1 + len(names)) + "|")
        for ranks in arguments.ranks:
            steps = [found[ranks, name]["steps"] for name in names]
            cells = [cell(next(one for one in own if one["step"] == step)) for own in steps]
            print(f"| {ranks:,} | " + " | ".join(cells) + " |")
    print("\nPeak of a rank, GiB:\n\n| ranks | " + " | ".join(names) + " |")
    print("|---" * (1 + len(names)) + "|")
    for ranks in arguments.ranks:
        peaks = [found[ranks, name]["peak_bytes"] / 2**30 for name in names]
        print(f"| {ranks:,} | " + " | ".join(f"{peak:.2f}" for peak in peaks) + " |")


if __name__ == "__main__":
    main()
