#!/usr/bin/env python3
"""What training one large mixture takes of each rank, in three ways, beside each other.

    python3 benches/joint.py [--program target/release/reelscale] [--rounds 3] [--modelled 16 64 256 1024]

alternation  this program's stage 1 (an epoch) and stage 2 (an iteration), each with the other's part frozen
pretraining  this program's joint training with the large mixture from the start: rows and classes divided over ranks
peer         data-parallel PyTorch, which divides rows alone: gloo, all gradients in one flat all-reduce a mini-batch, Adam

Two ranks of one thread are measured, the three in turns: seconds, bytes that a rank receives, peak memory. More ranks
are those of `reelscale bench rank` for this program, and of the formulas in `modelled` for the peer. All pass the same
rows once: 1,152 features, a dense layer of 1,024 and a gating layer, 3,862 classes x 16 experts.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time

FEATURES, WIDTH, CLASSES, EXPERTS, BATCH = 1152, 1024, 3862, 16, 1024
JOB = [
    "jobs/youtube8m.toml",
    *("--set", "plan.frames=0", "--set", "model.frames=[]"),
    *("--set", f"model.shared=[{{ dense = {WIDTH} }}, {{ gating = true }}]"),
    *("--set", "experts.positives_per_expert=0", "--set", f"experts.count={EXPERTS}"),
    *("--set", f"pretrain.experts={EXPERTS}", "--set", f"pretrain.batch={BATCH}"),
]
STEPS = {"alternation": ["experts", "shared"], "pretraining": ["pretrain"]}
PARAMETERS = (
    CLASSES * (WIDTH * (2 * EXPERTS + 1) + EXPERTS) + (FEATURES + 1) * WIDTH + (WIDTH + 1) * WIDTH
)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--program", default="target/release/reelscale")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement of the program")
    parser.add_argument("--batches", type=int, default=4, help="mini-batches of each of the peer's")
    parser.add_argument("--form", default="compile", choices=["naive", "compile"])
    parser.add_argument("--rows", type=int, default=16384, help="of an epoch on two ranks")
    parser.add_argument("--modelled", type=int, nargs="*", default=[16, 64, 256, 1024])
    parser.add_argument("--threads", type=int, default=16, help="of each of many ranks")
    parser.add_argument("--network", default="10GB/s,2us", help="of many ranks")
    parser.add_argument("--peer-rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def received_on_loopback():
    """Bytes that came over this machine's loopback so far, which is where two ranks of gloo talk."""
    with open("/proc/net/dev") as file:
        line = next(line for line in file if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


def peer_rank(options):
    """One of two ranks of the peer: the median mini-batch, as one line of JSON from rank 0."""
    import torch
    import torch.distributed as distributed

    torch.set_num_threads(1)
    torch.manual_seed(7)
    distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{options.port}", rank=options.peer_rank, world_size=2
    )

    class Annotator(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(FEATURES, WIDTH)
            self.gating = torch.nn.Linear(WIDTH, WIDTH)
            self.gates = torch.nn.Linear(WIDTH, CLASSES * (EXPERTS + 1), bias=False)
            self.experts = torch.nn.Linear(WIDTH, CLASSES * EXPERTS)

        def forward(self, x, y):
            h = torch.relu(self.dense(x))
            h = h * torch.sigmoid(self.gating(h))
            gates = torch.softmax(self.gates(h).view(-1, CLASSES, EXPERTS + 1), -1)
            experts = torch.sigmoid(self.experts(h).view(-1, CLASSES, EXPERTS))
            p = (gates[..., :EXPERTS] * experts).sum(-1)
            return -(y * torch.log(p + 1e-5) + (1 - y) * torch.log(1 - p + 1e-5)).sum() / len(x)

    model = Annotator()
    weights = list(model.parameters())
    count = sum(w.numel() for w in weights)
    assert count == PARAMETERS, (count, PARAMETERS)
    # All gradients lie end to end: the all-reduce takes them as they are.
    flat, at = torch.zeros(count), 0
    for w in weights:
        w.grad = flat[at : at + w.numel()].view_as(w)
        at += w.numel()
    loss_of = torch.compile(model) if options.form == "compile" else model
    adam = torch.optim.Adam(weights, lr=1e-3, fused=True)
    rows = BATCH // 2
    x = torch.nn.functional.normalize(torch.randn(rows, FEATURES), dim=1)
    y = torch.zeros(rows, CLASSES).scatter_(1, torch.randint(CLASSES, (rows, 3)), 1.0)

    def mini_batch():
        flat.zero_()
        loss_of(x, y).backward()
        distributed.barrier()
        started, before = time.perf_counter(), received_on_loopback()
        distributed.all_reduce(flat)
        seconds, moved = time.perf_counter() - started, received_on_loopback() - before
        flat.div_(2)
        adam.step()
        return seconds, moved

    mini_batch()
    found = []
    for _ in range(options.batches):
        started = time.perf_counter()
        reducing, moved = mini_batch()
        found.append((time.perf_counter() - started, reducing, moved))
    seconds, reducing, moved = (statistics.median(column) for column in zip(*found))
    if options.peer_rank == 0:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        batches = options.rows / BATCH
        # The loopback has what both ranks receive.
        print(json.dumps(dict(seconds=seconds * batches, waiting=reducing * batches,
                              received=moved / 2 * batches, peak=peak)))


def peer(options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--port", str(port), "--form", options.form]
    command += ["--batches", str(options.batches), "--rows", str(options.rows), "--peer-rank"]
    ranks = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in (1, 0)]
    texts = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        sys.exit("a rank of PyTorch failed")
    return json.loads(texts[1].strip().splitlines()[-1])


def program(options, way, ranks=None):
    """An epoch and, of the alternation, an iteration: on two ranks, or one of many."""
    steps = [program_step(options, step, ranks) for step in STEPS[way]]
    total = {key: sum(step[key] for step in steps) for key in ("seconds", "waiting", "received")}
    return dict(total, peak=max(step["peak"] for step in steps), gflops=steps[0]["gflops"])


def program_step(options, step, ranks):
    command = [options.program, "bench", "rank", *JOB, "--steps", step]
    command += ["--seconds", str(options.seconds), "--format", "json"]
    if ranks is None:
        command += ["--threads", "1", "--set", f"plan.rows={options.rows}"]
        command = ["mpirun", "-n", "2", "--oversubscribe", *command]
    else:
        command += ["--ranks", str(ranks), "--threads", str(options.threads)]
        command += ["--network", options.network]
    # On a noisy machine a core's rate may come out below what the step reaches; then all is measured anew.
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True)
        if "efficiency" not in done.stderr:
            break
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    print(done.stdout, file=sys.stderr, end="")
    found = json.loads(done.stdout)["steps"][0]
    return dict(
        seconds=found["seconds"],
        waiting=found["waiting_seconds"],
        received=found["bytes_received"],
        peak=found["peak_bytes"],
        gflops=found["core_gflops"],
    )


def modelled(ranks, rows, gflops, options):
    """The peer's epoch on many ranks, arithmetic at this program's own rate of a core."""
    bytes_per_second, message = options.network.split(",")
    bytes_per_second = float(bytes_per_second.removesuffix("GB/s")) * 1e9
    message = float(message.removesuffix("us")) * 1e-6
    batches = rows / BATCH
    # A ring: what each rank gives and takes is 2 (P - 1) parts of 1 / P of all gradients.
    received = 8 * PARAMETERS * (ranks - 1) / ranks
    waiting = 2 * (ranks - 1) * message + received / bytes_per_second
    # Forward, and the gradients of weights and of activations.
    flop = 6 * PARAMETERS * -(-BATCH // ranks)
    seconds = waiting + flop / (gflops * 1e9 * options.threads)
    # Weights, gradients, two moments.
    return dict(seconds=seconds * batches, waiting=waiting * batches, received=received * batches,
                peak=16 * PARAMETERS)


def row(name, found):
    cells = [f"{found['seconds']:,.1f}", f"{found['waiting']:,.1f}", f"{found['received'] / 1e9:,.2f}",
             f"{found['peak'] / 2**30:.2f}"]
    print("| " + " | ".join([name, *cells]) + " |", flush=True)


def main():
    options = arguments()
    if options.peer_rank is not None:
        return peer_rank(options)
    head = "| way | seconds | of which waiting | GB received | GiB at most |\n|---|---|---|---|---|"
    try:
        import torch
    except ImportError:
        torch = None
        print("PyTorch is not there: the peer is left out (pip install torch)")
    ways = {way: lambda way=way: program(options, way) for way in STEPS}
    if torch:
        ways[f"PyTorch {torch.__version__}, {options.form}"] = lambda: peer(options)
    found = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, measure in ways.items():
            found[way].append(measure())
    print(f"Two ranks, one thread each, {options.rows} rows, medians of {options.rounds}:\n\n{head}")
    for way, runs in found.items():
        row(way, {key: statistics.median(run[key] for run in runs) for key in ("seconds", "waiting", "received", "peak")})
    rows = 3888919
    for ranks in options.modelled:
        print(f"\n{ranks} ranks, {options.threads} threads each, {options.network}, {rows:,} rows:\n\n{head}")
        runs = {way: program(options, way, ranks) for way in STEPS}
        for way, run in runs.items():
            row(way, run)
        row("data-parallel, a model", modelled(ranks, rows, runs["pretraining"]["gflops"], options))


if __name__ == "__main__":
    main()
