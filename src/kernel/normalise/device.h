// Rows scaled to length 1: src/kernel/normalise/, operation for operation. One thread a row.

KERNEL(32, 1)
normalise_rows(int rows, int stride, GLOBAL float *numbers) {
    const int row = GROUP_X * 32 + THREAD;
    if (row >= rows) return;
    GLOBAL float *own = numbers + (long)row * stride;
    float sums[LANES];
    UNROLL for (int lane = 0; lane < LANES; lane++) sums[lane] = 0.0f;
    for (int at = 0; at < stride; at += LANES) {
        UNROLL for (int lane = 0; lane < LANES; lane++)
            sums[lane] = FMA(own[at + lane], own[at + lane], sums[lane]);
    }
    UNROLL for (int step = LANES / 2; step > 0; step /= 2) {
        UNROLL for (int lane = 0; lane < step; lane++)
            sums[lane] = sums[lane] + sums[lane + step];
    }
    const float scale = 1.0f / SQRT(sums[0] > 1e-12f ? sums[0] : 1e-12f);
    for (int at = 0; at < stride; at++) own[at] = own[at] * scale;
}
