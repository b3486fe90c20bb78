// What stands around context gating's products: src/kernel/gating/, operation for operation.

// Of W x + b in `gate` the gate s, and y = s x, of `count` numbers in rows of `stride`, of which
// `width` aren't filling.
KERNEL(128, 1)
gating(long count, int stride, int width, GLOBAL const float *x, GLOBAL float *gate,
       GLOBAL float *y) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const float s = at % stride < width ? sigmoid_of(gate[at]) : 0.0f;
    gate[at] = s;
    y[at] = s * x[at];
}

// Of dL/dy in `slopes` dL/d(W x + b), and what passes by the product to `dx`. x and s begin at
// number `from`.
KERNEL(128, 1)
gating_slopes(long count, GLOBAL const float *x, GLOBAL const float *gate, long from,
              GLOBAL float *slopes, long slopes_from, GLOBAL float *dx) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const float dy = slopes[slopes_from + at], s = gate[from + at];
    dx[at] = dy * s;
    slopes[slopes_from + at] = dy * x[from + at] * (s * (1.0f - s));
}
