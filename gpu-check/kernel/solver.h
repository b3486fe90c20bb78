// One parameter's step of AdaGrad and of Adam: src/kernel/adagrad/ and src/kernel/adam/, operation for
// operation. l2 is 0 where a parameter doesn't decay.

DEVICE float adagrad_step(float w, float gradient, float *squares,
                          float rate, float scale, float l2) {
    const float g = FMA(l2, w, gradient * scale);
    *squares = FMA(g, g, *squares);
    return w - rate * g / SQRT(*squares);
}

DEVICE float adam_step(float w, float gradient, float *first, float *second,
                       float rate, float scale, float l2) {
    const float g = FMA(l2, w, gradient * scale);
    *first = FMA(0.9f, *first, (1.0f - 0.9f) * g);
    *second = FMA(0.999f, *second, (1.0f - 0.999f) * (g * g));
    return w - rate * *first / (SQRT(*second) + 1e-8f);
}

// A step of `count` parameters, the first `decayed` of which decay.
KERNEL(128, 1)
adagrad(long count, long decayed, float rate, float scale, float l2, GLOBAL float *weights,
        long weights_from, GLOBAL const float *gradient, GLOBAL float *squares) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const long to = weights_from + at;
    float square = squares[to];
    weights[to] = adagrad_step(weights[to], gradient[to], &square, rate, scale,
                               at < decayed ? l2 : 0.0f);
    squares[to] = square;
}

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

// src/kernel/average/: the mean of the weights that the steps have led to.
KERNEL(128, 1)
average(long count, float share, GLOBAL const float *weights, GLOBAL float *mean) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    mean[at] = FMA(share, weights[at] - mean[at], mean[at]);
}
