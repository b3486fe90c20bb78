// Pooling over the frames of a video, element by element, and its way back: src/kernel/pooling/,
// operation for operation. Nothing is fused; sums begin with +0 and go over frames in order.

// The element's number in frame t.
#define X(t) x[(long)(t) * stride]

// swap: sum x |x| / sum |x|.
DEVICE float pooled_swap(int frames, int stride, GLOBAL const float *x, float *weights) {
    float sum = 0.0f, all = 0.0f;
    UNROLL_BY_EIGHT for (int t = 0; t < frames; t++) {
        sum += X(t) * ABS(X(t));
        all += ABS(X(t));
    }
    *weights = all;
    return all > 0.0f ? sum / all : 0.0f;
}
DEVICE float swap_of(int frames, int stride, GLOBAL const float *x) {
    float weights;
    return pooled_swap(frames, stride, x, &weights);
}
DEVICE void swap_back(int frames, int stride, GLOBAL const float *x, float slope,
                      GLOBAL float *to) {
    float weights;
    const float v = pooled_swap(frames, stride, x, &weights);
    const float factor = weights > 0.0f ? slope / weights : 0.0f;
    for (int t = 0; t < frames; t++) {
        const float sign = (X(t) > 0.0f ? 1.0f : 0.0f) - (X(t) < 0.0f ? 1.0f : 0.0f);
        to[(long)t * stride] = factor * (2.0f * ABS(X(t)) - v * sign);
    }
}

// average: sum x / T.
DEVICE float average_of(int frames, int stride, GLOBAL const float *x) {
    float sum = 0.0f;
    UNROLL_BY_EIGHT for (int t = 0; t < frames; t++) sum += X(t);
    return sum / (float)frames;
}
DEVICE void average_back(int frames, int stride, GLOBAL const float *x, float slope,
                         GLOBAL float *to) {
    const float factor = slope / (float)frames;
    for (int t = 0; t < frames; t++) to[(long)t * stride] = factor;
}

// max: the largest, and the first frame that has it; -0 isn't below 0.
DEVICE float largest(int frames, int stride, GLOBAL const float *x, int *first) {
    float found = FLOAT(0xff800000u);  // -infinity
    *first = 0;
    UNROLL_BY_EIGHT for (int t = 0; t < frames; t++) {
        if (X(t) > found) {
            found = X(t);
            *first = t;
        }
    }
    return found;
}
DEVICE float max_of(int frames, int stride, GLOBAL const float *x) {
    int first;
    return largest(frames, stride, x, &first);
}
DEVICE void max_back(int frames, int stride, GLOBAL const float *x, float slope,
                     GLOBAL float *to) {
    int first;
    largest(frames, stride, x, &first);
    for (int t = 0; t < frames; t++)
        to[(long)t * stride] = slope * (t == first ? 1.0f : 0.0f);
}

// l2: the root of the mean square.
DEVICE float l2_of(int frames, int stride, GLOBAL const float *x) {
    float sum = 0.0f;
    UNROLL_BY_EIGHT for (int t = 0; t < frames; t++) sum += X(t) * X(t);
    return SQRT(sum / (float)frames);
}
DEVICE void l2_back(int frames, int stride, GLOBAL const float *x, float slope,
                    GLOBAL float *to) {
    const float v = l2_of(frames, stride, x);
    const float factor = v > 0.0f ? slope / ((float)frames * v) : 0.0f;
    for (int t = 0; t < frames; t++) to[(long)t * stride] = factor * X(t);
}
#undef X

// A thread has one element of one video. Row r's frames are `offsets[r]` to before `offsets[r + 1]`
// of `frames` [..][stride]; a row of none is pooled to zeros. `pooled` and `slopes` [rows][stride]
// begin at number `at`.
#define POOLING(name)                                                                            \
    KERNEL(128, 1)                                                                               \
    pool_##name(int rows, int stride, GLOBAL const int *offsets, GLOBAL const float *frames,     \
                GLOBAL float *pooled, long at) {                                                 \
        const long item = (long)GROUP_X * 128 + THREAD, row = item / stride;                     \
        if (row >= rows) return;                                                                 \
        const int count = offsets[row + 1] - offsets[row];                                       \
        GLOBAL const float *x = frames + (long)offsets[row] * stride + item % stride;            \
        pooled[at + item] = count > 0 ? name##_of(count, stride, x) : 0.0f;                      \
    }                                                                                            \
    KERNEL(128, 1)                                                                               \
    unpool_##name(int rows, int stride, GLOBAL const int *offsets, GLOBAL const float *frames,   \
                  GLOBAL const float *slopes, long at, GLOBAL float *to) {                       \
        const long item = (long)GROUP_X * 128 + THREAD, row = item / stride;                     \
        if (row >= rows || offsets[row + 1] == offsets[row]) return;                             \
        const long from = (long)offsets[row] * stride + item % stride;                           \
        name##_back(offsets[row + 1] - offsets[row], stride, frames + from, slopes[at + item],   \
                    to + from);                                                                  \
    }
POOLING(swap)
POOLING(average)
POOLING(max)
POOLING(l2)
#undef POOLING
