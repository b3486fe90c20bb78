// What stands around a residual block's products: src/kernel/residual/, operation for operation.

// Of W x + b in `added` what is added, r, and y = r + x, of `count` numbers.
KERNEL(128, 1)
residual(long count, GLOBAL const float *x, GLOBAL float *added, GLOBAL float *y) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const float z = added[at], r = z > 0.0f ? z : 0.0f;
    added[at] = r;
    y[at] = r + x[at];
}

// Of dL/dy in `slopes` dL/d(W x + b), and what passes by the product to `dx`. r begins at number
// `from`.
KERNEL(128, 1)
residual_slopes(long count, GLOBAL const float *added, long from, GLOBAL float *slopes,
                long slopes_from, GLOBAL float *dx) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const float dy = slopes[slopes_from + at];
    dx[at] = dy;
    slopes[slopes_from + at] = dy * (added[from + at] > 0.0f ? 1.0f : 0.0f);
}
