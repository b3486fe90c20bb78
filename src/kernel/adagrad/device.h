// AdaGrad's step: src/kernel/adagrad/, operation for operation. l2 is 0 where a parameter doesn't decay.

DEVICE float adagrad_step(float w, float gradient, float *squares,
                          float rate, float scale, float l2) {
    const float g = FMA(l2, w, gradient * scale);
    *squares = FMA(g, g, *squares);
    return w - rate * g / SQRT(*squares);
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
