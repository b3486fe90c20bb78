// Numbers of frames that came as bytes, or as floats of 16 or 32 bits: src/kernel/dequantise/. Of
// bytes the product is rounded, and then the sum.

// A 16-bit float, exactly.
DEVICE float number_of_half(uint bits) {
    const float magnitude = FLOAT((bits & 0x7fffu) << 13) * 5192296858534827628530496329220096.0f;
    const uint infinite = (bits & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
    return FLOAT(BITS(magnitude) | infinite | (bits & 0x8000u) << 16);
}

// `numbers` [frames][stride], zero beyond the width, of the frames from `first` on of `stored`
// [..][width], whose numbers have `size` bytes. Feature i of bytes is of run `run_of[i]` of `runs`;
// frame f is one of row `rows[f]`, whose run r has its scale and offset at `scaling[2 (row runs +
// r)]` and after it. One thread a number.
KERNEL(128, 1)
from_stored(int frames, int width, int stride, long first, int size, int runs,
            GLOBAL const unsigned char *stored, GLOBAL const int *rows, GLOBAL const int *run_of,
            GLOBAL const float *scaling, GLOBAL float *numbers) {
    const long item = (long)GROUP_X * 128 + THREAD, frame = first + item / stride;
    const int at = (int)(item % stride);
    if (item / stride >= frames) return;
    float number = 0.0f;
    if (at < width) {
        const long place = frame * width + at;
        if (size == 4) {
            number = ((GLOBAL const float *)stored)[place];
        } else if (size == 2) {
            number = number_of_half(((GLOBAL const unsigned short *)stored)[place]);
        } else {
            const long run = 2 * ((long)rows[frame] * runs + run_of[at]);
            const float product = (float)stored[place] * scaling[run];
            number = product + scaling[run + 1];
        }
    }
    numbers[item] = number;
}
