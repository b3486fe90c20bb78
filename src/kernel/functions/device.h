// exp, log and sigmoid: src/kernel/functions/, operation for operation.

DEVICE float exp_of(float x) {
    const float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    float clamped = x > 88.0f ? 88.0f : x;
    clamped = clamped < -87.0f ? -87.0f : clamped;
    const float shifted = FMA(clamped, 1.44269504088896340736f, round);
    const float n = shifted - round;
    float r = FMA(n, -0.6933594f, clamped);
    r = FMA(n, 2.1219444e-4f, r);
    float y = 1.9875691e-4f;
    y = FMA(y, r, 1.3981999e-3f);
    y = FMA(y, r, 8.333452e-3f);
    y = FMA(y, r, 4.1665796e-2f);
    y = FMA(y, r, 1.6666665e-1f);
    y = FMA(y, r, 5e-1f);
    y = FMA(y, r * r, r) + 1.0f;
    const float power = FLOAT((BITS(shifted) << 23) + (127u << 23));
    return x < -87.0f ? 0.0f : y * power;
}

DEVICE float log_of(float x) {
    const uint bits = BITS(x) - 0x3f3504f3u;  // bits of sqrt(1/2)
    const float n = (float)((int)bits >> 23);
    const float m = FLOAT((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float y = 7.0376836e-2f;
    y = FMA(y, m, -1.151461e-1f);
    y = FMA(y, m, 1.1676998e-1f);
    y = FMA(y, m, -1.2420141e-1f);
    y = FMA(y, m, 1.4249323e-1f);
    y = FMA(y, m, -1.6668057e-1f);
    y = FMA(y, m, 2.0000715e-1f);
    y = FMA(y, m, -2.4999994e-1f);
    y = FMA(y, m, 3.333333e-1f);
    const float square = m * m;
    y = y * m * square;
    y = FMA(n, -2.1219444e-4f, y);
    y = FMA(square, -0.5f, y) + m;
    return FMA(n, 0.6933594f, y);
}

// The smaller of sigmoid(z) and sigmoid(-z).
DEVICE float smaller_sigmoid(float z) {
    const float e = exp_of(-ABS(z));
    return e / (1.0f + e);
}

DEVICE float sigmoid_of(float z) {
    const float small = smaller_sigmoid(z);
    return z >= 0.0f ? 1.0f - small : small;
}

DEVICE float tanh_of(float z) {
    const float small = smaller_sigmoid(2.0f * z);
    const float size = 1.0f - 2.0f * small;
    return z >= 0.0f ? size : -size;
}

// What the check compares of each x: exp, log, smaller sigmoid, square root of |x|.
KERNEL(64, 1)
functions(long count, GLOBAL const float *x, GLOBAL float *found) {
    const long at = (long)GROUP_X * 64 + THREAD;
    if (at >= count) return;
    found[4 * at] = exp_of(x[at]);
    found[4 * at + 1] = log_of(x[at]);
    found[4 * at + 2] = smaller_sigmoid(x[at]);
    found[4 * at + 3] = SQRT(ABS(x[at]));
}
