#!/usr/bin/env python3
"""The mixture kernel beside what a user would write in PyTorch, and the product rates of numpy's library: interleaved runs, medians, ratios.

    python3 benches/compare.py [--rounds 3] [--program target/release/reelscale]

Prints one row of a Markdown table per shape and stage: GFLOP/s (4 d K (2E+1) per row) of one thread, and how many times as fast as each
peer the program is. Run by `make bench`; says so and does nothing where PyTorch is absent.
"""
import argparse, json, os, statistics, subprocess, sys
from pathlib import Path

SHAPES = [(3862, 2, 2048), (3862, 16, 512), (487, 4, 2048), (1000, 64, 512)]
PEERS = ["naive", "compile", "chunked", "sgemm"]
HERE = Path(__file__).parent

# Debian's and PyPI's numpy carry OpenBLAS: the two products of a gradient of this shape, 512 rows at a time.
NUMPY = """
import json, sys, time, numpy
K, E, rows, d, stage = map(int, sys.argv[1:])
n = min(8192, K * (2 * E + 1))
r = numpy.random.default_rng(7)
w, x = r.random((d, n), 'f4'), r.random((512, d), 'f4')
def run():
    z = x @ w
    return z @ w.T if stage == 2 else x.T @ z
run(); run()
times = []
for _ in range(5):
    t = time.perf_counter(); run(); times.append(time.perf_counter() - t)
print(json.dumps(dict(gflops=4 * d * n * 512 / sorted(times)[2] / 1e9, peak_mib=0)))
"""

def run(command):
    one = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")} | one
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])

def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--program", default="target/release/reelscale")
    options = arguments.parse_args()
    try:
        import torch
    except ImportError:
        print("PyTorch is not there: no comparison (pip install torch numpy)")
        return
    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread, {options.rounds} interleaved rounds, medians")
    print("| K x E, rows | stage | reelscale | " + " | ".join(PEERS) + " | numpy | times " + " | times ".join(PEERS + ["numpy"]) + " | peak MiB, naive / reelscale |")
    print("|" + "---|" * (4 + 2 * len(PEERS) + 3))
    for classes, experts, rows in SHAPES:
        for stage in (1, 2):
            shape = ["--classes", classes, "--experts", experts, "--rows", rows, "--activations", 1024, "--stage", stage]
            commands = {"reelscale": [options.program, "bench", "mixture", "--threads", "1", "--format", "json", "--repeat", "3"] + shape}
            for form in PEERS:
                commands[form] = [sys.executable, HERE / "peer.py", "--form", form, "--repeat", "3"] + shape
            commands["numpy"] = [sys.executable, "-c", NUMPY, classes, experts, rows, 1024, stage]
            found = {name: [] for name in commands}
            for _ in range(options.rounds):
                for name, command in commands.items():
                    found[name].append(run([str(word) for word in command]))
            rate = {name: statistics.median(one["gflops"] for one in runs) for name, runs in found.items()}
            peak = {name: max(one["peak_mib"] for one in runs) for name, runs in found.items()}
            others = PEERS + ["numpy"]
            cells = [f"{classes} x {experts}, {rows}", stage, f"{rate['reelscale']:.1f}"] + [f"{rate[name]:.1f}" for name in others]
            cells += [f"{rate['reelscale'] / rate[name]:.2f}" for name in others]
            cells.append(f"{peak['naive']} / {peak['reelscale']} = {peak['naive'] / peak['reelscale']:.1f}")
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)

main()
