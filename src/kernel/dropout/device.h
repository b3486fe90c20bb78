// A window's rows put in order as they arrived rank by rank, less what dropout leaves out: the row
// order of src/device/host/rows.rs, src/kernel/dropout/ and the Philox4x32-10 of rng.rs.

#define PURPOSE_DROPOUT 7u

DEVICE void philox(uint counter[4], uint key_0, uint key_1) {
    UNROLL for (int round = 0; round < 10; round++) {
        const uint a = counter[0], c = counter[2];
        const uint low_high = HIGH(a, 0xD2511F53u), high_high = HIGH(c, 0xCD9E8D57u);
        counter[0] = high_high ^ counter[1] ^ key_0;
        counter[1] = c * 0xCD9E8D57u;
        counter[2] = low_high ^ counter[3] ^ key_1;
        counter[3] = a * 0xD2511F53u;
        key_0 += 0x9E3779B9u;
        key_1 += 0xBB67AE85u;
    }
}

// Row i of `to` [rows][stride] is what begins at `arrived[places[i]]`. Dropout of
// bound / 256 of the numbers (none where `bound` is 0) draws for row i from stream
// `streams[2 i]` + 2^32 `streams[2 i + 1]`. One thread sixteen numbers, which are one draw.
KERNEL(64, 1)
order_rows(int rows, int stride, GLOBAL const float *arrived, GLOBAL const long *places,
           GLOBAL float *to, GLOBAL const uint *streams,
           uint seed_low, uint seed_high, uint bound, float scale) {
    const long item = (long)GROUP_X * 64 + THREAD;
    const int panels = stride / LANES, panel = (int)(item % panels);
    const long row = item / panels;
    if (row >= rows) return;
    GLOBAL const float *from = arrived + places[row] + panel * LANES;
    uint block[4] = {(uint)panel, 0u, 0u, 0x5eedu};
    if (bound > 0) {
        block[1] = PURPOSE_DROPOUT | streams[2 * row + 1] << 16;
        block[2] = streams[2 * row];
        philox(block, seed_low, seed_high);
    }
    for (int lane = 0; lane < LANES; lane++) {
        float number = from[lane];
        if (bound > 0) {
            const uint byte = block[lane / 4] >> (lane % 4 * 8) & 255u;
            number = number * (byte < bound ? 0.0f : scale);
        }
        to[row * stride + panel * LANES + lane] = number;
    }
}
