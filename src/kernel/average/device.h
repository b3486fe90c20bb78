// The mean of the weights that steps have led to: src/kernel/average/.

// Of `count` numbers from `from` on.
KERNEL(128, 1)
average(long count, float share, long from, GLOBAL const float *weights, GLOBAL float *mean) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    mean[from + at] = FMA(share, weights[from + at] - mean[from + at], mean[from + at]);
}
