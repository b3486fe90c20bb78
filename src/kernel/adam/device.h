// Adam's step: src/kernel/adam/, operation for operation. l2 is 0 where a parameter doesn't decay.

DEVICE float adam_step(float w, float gradient, float *first, float *second,
                       float rate, float scale, float l2) {
    const float g = FMA(l2, w, gradient * scale);
    *first = FMA(0.9f, *first, (1.0f - 0.9f) * g);
    *second = FMA(0.999f, *second, (1.0f - 0.999f) * (g * g));
    return w - rate * *first / (SQRT(*second) + 1e-8f);
}

// A step of `count` parameters, the first `decayed` of which decay.
KERNEL(128, 1)
adam(long count, long decayed, float rate, float scale, float l2, GLOBAL float *weights,
     long weights_from, GLOBAL const float *gradient, GLOBAL float *first, GLOBAL float *second) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const long to = weights_from + at;
    float one = first[to], two = second[to];
    weights[to] = adam_step(weights[to], gradient[to], &one, &two, rate, scale,
                            at < decayed ? l2 : 0.0f);
    first[to] = one;
    second[to] = two;
}
