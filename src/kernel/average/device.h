// The mean of the weights that steps have led to: src/kernel/average/.

KERNEL(128, 1)
average(long count, float share, GLOBAL const float *weights, GLOBAL float *mean) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    mean[at] = FMA(share, weights[at] - mean[at], mean[at]);
}
