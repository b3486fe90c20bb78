#!/usr/bin/env python3
"""Controlled comparisons: trains a job's variations with several seeds and prints a table of test metrics.

    jobs/study.py NAME [--seeds 3] [--ranks 1] [--program target/release/reelscale]
    jobs/study.py --list

Every variation differs from its job only in the settings shown. Cells are mean +- half of (largest - smallest).
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile

AUDIOSET = ("jobs/audioset.toml", "hdf5-data/audioset/eval/*.h5")
YOUTUBE = ("jobs/youtube8m-features.toml", "hdf5-data/youtube8m-small/test/*.h5")
ONE_ROUND = ["rounds.count=1", "shared.iterations=0"]

# Two million rows, and others of the same planted model to test on:
#   reelscale synthesize --rows 2020000 --classes 100 --features 64 --output hdf5-data/planted
PLANTED = ("jobs/youtube8m-features.toml", "hdf5-data/planted/synthetic-0020?.h5")
PLANTED_ROWS = ['data.train=["hdf5-data/planted/synthetic-00[01]??.h5"]', "experts.dropout=0"]


def by_batch():
    """Stage 1 by mini-batches of 256 to 16,384 rows: as many passes, the learning rate by the root of the
    batch and by the batch; and as many steps as a pass by 256 has, at one rate."""
    variations = {}
    for times in (1, 4, 16, 64):
        batch = [*PLANTED_ROWS, 'experts.solver="adagrad"', "experts.averaging=0", f"experts.batch={256 * times}"]
        # By 256 rows both rules are one.
        for rate, rule in {times**0.5: "root", times: "linear"}.items():
            variations[f"{256 * times}, {rule}"] = [*batch, "experts.epochs=6", f"experts.learning_rate={rate}"]
        variations[f"{256 * times}, steps"] = [*batch, f"experts.epochs={times}", "experts.learning_rate=1"]
    return variations


STUDIES = {
    # Metric against experts per class.
    "experts": (AUDIOSET, {f"{n} experts": [f"experts.count={n}", *ONE_ROUND] for n in (1, 2, 4, 8, 16, 64)}),
    # What each step gives.
    "steps": (AUDIOSET, {
        "pretrain only": ["rounds.count=0"],
        "+ stage 1": ONE_ROUND,
        "+ stage 2": ["rounds.count=1"],
        "2 rounds": ["rounds.count=2"],
        "3 rounds": ["rounds.count=3"],
    }),
    # New mixtures every round, or the last ones again.
    "restart": (AUDIOSET, {
        "restart": ["rounds.count=3"],
        "continue": ["rounds.count=3", "experts.restart=false"],
    }),
    # Fewer negatives in stage 1.
    "negatives": (AUDIOSET, {
        f"{share}": [f"experts.negatives={share}", *ONE_ROUND] for share in (1.0, 0.5, 0.2, 0.05)
    }),
    # When stage 1 stops: all classes at the best epoch by GAP@20, or each at its own by loss.
    "stopping": (AUDIOSET, {
        "at the end": ["experts.patience=0", *ONE_ROUND],
        "all at once": ONE_ROUND,
        "each class": ["experts.patience=0", "experts.class_patience=3", *ONE_ROUND],
    }),
    # The same number of experts in all: 527 x 4 = 2,108; one for every 20 positives, 16 at most, makes 2,109.
    "adaptive": (AUDIOSET, {
        "uniform, 4": ["experts.count=4", *ONE_ROUND],
        "adaptive, up to 16": ["experts.count=16", "experts.positives_per_expert=20", *ONE_ROUND],
    }),
    # About 1.4 million weights (1.409, 1.415, 1.433), in the frame network or in the mixtures.
    "breadth": (AUDIOSET, {
        "two layers of 608, 1 expert": ["model.frames=[{ dense = 608 }, { dense = 608 }]", "experts.count=1", *ONE_ROUND],
        "one layer of 512, 2 experts": ["model.frames=[{ dense = 512 }]", "experts.count=2", *ONE_ROUND],
        "one layer of 128, 10 experts": ["model.frames=[{ dense = 128 }]", "experts.count=10", *ONE_ROUND],
    }),
    # Stage 2 by iRprop+ or by Adam, 20 full-batch iterations of a gating layer.
    "shared-solver": (YOUTUBE, {
        name: ["model.shared=[{ gating = true }]", "pretrain.epochs=2", "experts.epochs=6", "rounds.count=1", *settings]
        for name, settings in (
            ("no stage 2", ["shared.iterations=0"]),
            ("iRprop+", ["shared.iterations=20"]),
            ("Adam, 1e-3", ["shared.iterations=20", 'shared.solver="adam"']),
            ("Adam, 1e-2", ["shared.iterations=20", 'shared.solver="adam"', "shared.learning_rate=1e-2"]),
        )
    }),
    "pooling": (AUDIOSET, {name: [f'model.pooling="{name}"', *ONE_ROUND] for name in ("swap", "average", "max", "l2")}),
    # Large mini-batches, which is what keeps many ranks busy.
    "batch": (PLANTED, by_batch()),
    "youtube-experts": (YOUTUBE, {f"{n} experts": [f"experts.count={n}"] for n in (1, 2, 4)}),
}


def run(program, ranks, job, data, settings, folder):
    launch = ["mpirun", "-n", str(ranks), "--oversubscribe", "--bind-to", "none"] if ranks > 1 else []
    sets = [word for setting in settings for word in ("--set", setting)]
    # mpirun would load OpenCL to look for devices, which may take SIGUSR1 for itself.
    environment = {"HWLOC_COMPONENTS": "-opencl", **os.environ}
    train = [*launch, program, "train", job, "--output", folder, *sets]
    subprocess.run(train, check=True, capture_output=True, env=environment)
    found = subprocess.run([program, "evaluate", "--format", "json", "--model", f"{folder}/model", "--data", data],
                           check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


def cell(values):
    spread = (max(values) - min(values)) / 2
    return f"{sum(values) / len(values):.4f} +- {spread:.4f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=sorted(STUDIES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="a setting of every variation")
    parser.add_argument("--program", default="target/release/reelscale")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list or args.name is None:
        for name, (task, variations) in STUDIES.items():
            print(f"{name:16} {task[0]}: {', '.join(variations)}")
        return
    (job, data), variations = STUDIES[args.name]
    print("| variation | GAP@20 | full mAP | Hit@1 |\n|---|---|---|---|", flush=True)
    for label, settings in variations.items():
        results = []
        for seed in range(1, args.seeds + 1):
            folder = tempfile.mkdtemp(prefix="reelscale-study-")
            try:
                settings_now = [*settings, *args.set, f"run.seed={seed}"]
                results.append(run(args.program, args.ranks, job, data, settings_now, f"{folder}/run"))
            finally:
                shutil.rmtree(folder)
        cells = [cell([metrics[key] for metrics in results]) for key in ("gap_at_20", "map_full", "hit_at_1")]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
