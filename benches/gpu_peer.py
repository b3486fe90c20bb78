#!/usr/bin/env python3
"""What a user would write in PyTorch for the mixture of experts, on a GPU: steps of rows through
all classes, in f32 with TF32 off, as it stands and under `torch.compile`.

    python3 benches/gpu_peer.py --classes 3862 --experts 2 16 --rows 256 2048 8192 --seconds 200

stage 1    loss, gradients of gates, experts and biases, and torch.optim.Adagrad(foreach=True)
stage 2    loss and the gradient of the activations

Prints one JSON object per line: form, stage, shape, the median's seconds, TFLOP/s by 4 d K (2E + 1)
a row. No form is begun after --seconds. `product` is cuBLAS alone: rows x d times d x K (2E + 1).
"""
import argparse
import json
import time

import torch

from peer import loss_of


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=3862)
    parser.add_argument("--experts", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--rows", type=int, nargs="+", default=[256, 2048, 8192])
    parser.add_argument("--activations", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=300)
    return parser.parse_args()


def median(run, repeat):
    """Seconds of one run, the median of several, after two that aren't counted."""
    times = []
    for _ in range(repeat + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[2:])[repeat // 2]


def step(form, stage, given, classes, count, rows, d):
    """What runs once: one step of a mini-batch."""
    h = torch.nn.functional.normalize(torch.randn(rows, d, **given).relu(), dim=1)
    gates = torch.randn(d, classes * (count + 1), **given) * 0.1
    experts = torch.randn(d, classes * count, **given) * 0.1
    bias = torch.zeros(classes * count, **given)
    labels = torch.randint(classes, (rows, 3), device=given["device"])
    y = torch.zeros(rows, classes, **given).scatter_(1, labels, 1.0)
    learned = (gates, experts, bias) if stage == 1 else (h,)
    for tensor in learned:
        tensor.requires_grad_(True)
    optimizer = torch.optim.Adagrad(learned, lr=0.01, foreach=True) if stage == 1 else None
    loss = torch.compile(loss_of) if form == "compile" else loss_of

    def run():
        for tensor in learned:
            tensor.grad = None
        loss(h, gates, experts, bias, y, classes, count).backward()
        if optimizer:
            optimizer.step()

    return run


def main():
    asked = arguments()
    torch.manual_seed(7)
    torch.backends.cuda.matmul.allow_tf32 = False
    given = {"device": "cuda", "dtype": torch.float32}
    begun, d, classes = time.perf_counter(), asked.activations, asked.classes

    def tell(form, stage, count, rows, seconds):
        flops = 4 * d * classes * (2 * count + 1) * rows * (0.5 if stage == 0 else 1)
        print(json.dumps({
            "form": form, "stage": stage, "classes": classes, "experts": count, "rows": rows,
            "activations": d, "seconds": seconds, "tflops": round(flops / seconds * 1e-12, 1),
            "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1)}), flush=True)

    print(torch.__version__, torch.cuda.get_device_name(0), flush=True)
    for count in asked.experts:
        for rows in asked.rows:
            a = torch.randn(rows, d, **given)
            b = torch.randn(d, classes * (2 * count + 1), **given)
            tell("product", 0, count, rows, median(lambda: a @ b, asked.repeat))
            del a, b
            for stage in (1, 2):
                for form in ("naive", "compile"):
                    if time.perf_counter() - begun > asked.seconds:
                        print("no time left", flush=True)
                        return
                    torch._dynamo.reset()
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                    run = step(form, stage, given, classes, count, rows, d)
                    tell(form, stage, count, rows, median(run, asked.repeat))


if __name__ == "__main__":
    main()
