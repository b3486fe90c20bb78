// Columns shifted and scaled: src/kernel/standardise/, operation for operation.

// Of `rows` rows of `stride` numbers the first `width`.
KERNEL(128, 1)
standardise(int rows, int stride, int width, GLOBAL const float *means, GLOBAL const float *scales,
            GLOBAL float *numbers) {
    const long item = (long)GROUP_X * 128 + THREAD;
    const long row = item / width;
    const int column = (int)(item % width);
    if (row >= rows) return;
    GLOBAL float *number = numbers + row * stride + column;
    const float distance = *number - means[column];
    *number = distance * scales[column];
}
