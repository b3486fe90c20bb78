// What stands around a dense layer's products: src/kernel/dense/, operation for operation. Rows are
// held as by the host, `stride` numbers each, of which `width` aren't filling.

// As Activation.
#define IDENTITY 0
#define RELU 1
#define RELU6 2
#define SIGMOID 3
#define TANH 4

// y = f(z) of `count` numbers, in place.
KERNEL(128, 1)
activate(long count, int stride, int width, int activation, GLOBAL float *y) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const float z = y[at];
    float found = z;
    if (activation == RELU) found = z > 0.0f ? z : 0.0f;
    if (activation == RELU6) found = z > 6.0f ? 6.0f : z > 0.0f ? z : 0.0f;
    if (activation == SIGMOID) found = at % stride < width ? sigmoid_of(z) : 0.0f;
    if (activation == TANH) found = tanh_of(z);
    y[at] = found;
}

// dL/dz = dL/dy f'(z) of `count` numbers, in place, f' from y; both begin where they are said to.
KERNEL(128, 1)
activation_slopes(long count, int activation, GLOBAL const float *y, long y_from,
                  GLOBAL float *slopes, long slopes_from) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const float found = y[y_from + at];
    float slope = 1.0f;
    if (activation == RELU) slope = found > 0.0f ? 1.0f : 0.0f;
    if (activation == RELU6) slope = found > 0.0f && found < 6.0f ? 1.0f : 0.0f;
    if (activation == SIGMOID) slope = found * (1.0f - found);
    if (activation == TANH) slope = 1.0f - found * found;
    slopes[slopes_from + at] = slopes[slopes_from + at] * slope;
}

// The sum of each column of [rows][columns], plain and row after row, from 0 or from what is there,
// where `start` is 1.
KERNEL(64, 1)
column_sums(int rows, int columns, GLOBAL const float *numbers, long from, GLOBAL float *sums,
            long sums_from, int start) {
    const int column = GROUP_X * 64 + THREAD;
    if (column >= columns) return;
    GLOBAL float *sum = sums + sums_from + column;
    *sum = column_sum(start == 1 ? *sum : 0.0f, rows, columns, numbers + from + column);
}
