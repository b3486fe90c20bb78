// Numbers of frames that came as bytes: src/kernel/dequantise/. The product is rounded, and then
// the sum.

// `numbers` [frames][stride], zero beyond the width, of the frames from `first` on of `bytes`
// [..][width]. Frame f is one of row `rows[f]`, whose scale and offset are `scaling[2 row]` and
// after it. One thread a number.
KERNEL(128, 1)
from_bytes(int frames, int width, int stride, long first, GLOBAL const unsigned char *bytes,
           GLOBAL const int *rows, GLOBAL const float *scaling, GLOBAL float *numbers) {
    const long item = (long)GROUP_X * 128 + THREAD, frame = first + item / stride;
    const int at = (int)(item % stride);
    if (item / stride >= frames) return;
    float number = 0.0f;
    if (at < width) {
        const int row = rows[frame];
        const float product = (float)bytes[frame * width + at] * scaling[2 * row];
        number = product + scaling[2 * row + 1];
    }
    numbers[item] = number;
}
