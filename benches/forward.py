#!/usr/bin/env python3
"""Annotating beside PyTorch's forward: `reelscale bench annotate` (shards to parts on disk) and, in turns with it, what a user would write.

    python3 benches/forward.py [--rounds 3] [--program target/release/reelscale] [--forms naive,compile]

Prints one row of a Markdown table per shape: videos a second of a core, the share of the bare product's rate, core-hours for a billion
videos, and how many times as fast as each form the program is. The forms score rows in memory and take each row's 20 best, in mini-batches
that give them their best rate; they read nothing and write nothing. All is measured in time of
cores, which other work on the machine doesn't count in. Says so and does nothing where PyTorch is absent.
"""
import argparse, json, os, statistics, subprocess, sys, time

# Classes, experts, rows of a run of ours, rows of a mini-batch of theirs.
SHAPES = [(3862, 2, 7680, 2048), (3862, 16, 1920, 512), (4716, 64, 480, 240)]

def peer(form, K, E, B, d=1024):
    import torch
    torch.set_num_threads(1)
    torch.manual_seed(7)
    h = torch.nn.functional.normalize(torch.rand(B, d), dim=1)
    gates, experts, bias = torch.randn(d, K * (E + 1)) * 0.1, torch.randn(d, K * E) * 0.1, torch.zeros(K * E)
    def forward(h):
        g = torch.softmax((h @ gates).view(-1, K, E + 1), -1)
        s = torch.sigmoid((h @ experts + bias).view(-1, K, E))
        return torch.topk((g[..., :E] * s).sum(-1), 20)
    run = torch.compile(forward) if form == "compile" else forward
    with torch.no_grad():
        run(h)
        times = []
        for _ in range(3):
            start = time.process_time()
            run(h)
            times.append(time.process_time() - start)
    print(json.dumps(dict(rows_per_second=B / statistics.median(times))))

def run(command):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    output = subprocess.run([str(word) for word in command], env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])

def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--program", default="target/release/reelscale")
    arguments.add_argument("--forms", default="naive,compile")
    arguments.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.peer:
        return peer(options.peer[0], *map(int, options.peer[1:]))
    try:
        import torch
    except ImportError:
        print("PyTorch is not there: no comparison (pip install torch numpy)")
        return
    forms = options.forms.split(",")
    print(f"PyTorch {torch.__version__}, one thread, {options.rounds} interleaved rounds, medians; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| K x E | rows/s of a core | of the product | core-hours for 10^9 | " + " | ".join(f"times {form}" for form in forms) + " |")
    print("|" + "---|" * (4 + len(forms)))
    for K, E, rows, batch in SHAPES:
        ours, theirs = [], {form: [] for form in forms}
        for _ in range(options.rounds):
            ours.append(run([options.program, "bench", "annotate", "--classes", K, "--experts", E, "--rows", rows, "--repeat", 1, "--format", "json"]))
            for form in forms:
                theirs[form].append(run([sys.executable, __file__, "--peer", form, K, E, batch])["rows_per_second"])
        median = lambda key: statistics.median(one[key] for one in ours)
        ratios = [statistics.median(a["rows_per_core_second"] / b for a, b in zip(ours, theirs[form])) for form in forms]
        print(f"| {K} x {E} | {median('rows_per_core_second'):.0f} | {100 * median('share_of_product_by_core_time'):.0f} % | {median('core_hours_per_billion'):,.0f} | "
              + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)

if __name__ == "__main__":
    main()
