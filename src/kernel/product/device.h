// One form of the matrix product on panels of sixteen columns, C = A B, C = bias + A B or C += A B,
// every element one chain of fused multiply-adds over k in order: to be included once for each
// form, with these words defined before.
//
//   PRODUCT                  the kernel's name
//   TILE_M TILE_N TILE_K     what of C a group makes, and the depth of what it holds of A and B
//   THREAD_M THREAD_N        what a thread makes of that: quads of rows times quads of columns
//   LANES_M                  threads of a warp along m (32 / LANES_M along n)
//   STAGES                   tiles of A and B in shared memory, one of them being worked on
//   GROUPS                   groups that a multiprocessor is to hold at least
//   LEFT                     END_TO_END_K: a[m * left_row + k]    END_TO_END_M: a[k * left_row + m]
//   RIGHT                    b[n / 16 * right_panel + k * right_row + n % 16]
//                            PANELS: right_row is 16    ROWS: right_panel is 16
//   FINISH                   PUT: C is written: c[m * out_row + n / 16 * out_panel + n % 16]
//                            PUT_TURNED: c[n * out_row + m], quads of m whole
//                            ADAGRAD, ADAM: C is a gradient that a step is taken with
//
// A is as high as `rows`, and where m lies end to end it can be read up to the next multiple of
// four. B has `columns` columns, whole panels of them. Nothing of how tiles are cut can be seen in
// the bits. The end of k is never padded by zeros: -0 + 0 x 0 is +0.

#define THREADS (32 * (TILE_M / (LANES_M * THREAD_M)) * (TILE_N / (32 / LANES_M * THREAD_N)))
#define LANES_N (32 / LANES_M)
#define WARP_M (LANES_M * THREAD_M)
#define WARP_N (LANES_N * THREAD_N)
#define PITCH_M (LEFT == END_TO_END_K ? TILE_M + 4 : TILE_M)
#define PITCH_N (RIGHT == PANELS ? TILE_N + 16 : TILE_N)
#define LEFT_COPIES (TILE_M * TILE_K / (LEFT == END_TO_END_K ? 1 : 4) / THREADS)
#define RIGHT_COPIES (TILE_N * TILE_K / 4 / THREADS)

KERNEL(THREADS, GROUPS)
PRODUCT(int rows, int depth, int columns,
        GLOBAL const float *left, long left_from, long left_row,
        GLOBAL const float *right, long right_from, long right_row, long right_panel,
        GLOBAL float *out, long out_from, long out_row, long out_panel
#if FINISH == PUT || FINISH == PUT_TURNED
        , GLOBAL const float *bias, long bias_from, int start
#else
        , float rate, float scale, float l2, GLOBAL float *first
#if FINISH == ADAM
        , GLOBAL float *second
#endif
#endif
) {
    // Every thread copies as much, and whole steps along both sides.
    typedef char tile_fits[TILE_M * TILE_K % (LEFT == END_TO_END_K ? THREADS : 4 * THREADS) == 0
                           && TILE_N * TILE_K % (4 * THREADS) == 0
                           && (RIGHT == ROWS ? 4 * THREADS % TILE_N : THREADS % (4 * TILE_K)) == 0
                           && (LEFT == END_TO_END_M ? 4 * THREADS % TILE_M
                                                    : TILE_M % (THREADS / 8)) == 0
                           && TILE_K % 8 == 0 && STAGES >= 2 ? 1 : -1];
    SHARED float as[STAGES][TILE_K][PITCH_M];
    SHARED float bs[STAGES][TILE_K][PITCH_N];
    const int lane_m = THREAD % 32 / LANES_N, lane_n = THREAD % LANES_N;
    const int warp_m = THREAD / 32 % (TILE_M / WARP_M), warp_n = THREAD / 32 / (TILE_M / WARP_M);
    const int m_first = warp_m * WARP_M + lane_m * 4, n_first = warp_n * WARP_N + lane_n * 4;
    const int m_tile = GROUP_X * TILE_M, n_tile = GROUP_Y * TILE_N;
    left += left_from;
    right += right_from;
    out += out_from;

    float sums[THREAD_M][THREAD_N];
    UNROLL for (int i = 0; i < THREAD_M; i++) {
        UNROLL for (int j = 0; j < THREAD_N; j++) sums[i][j] = 0.0f;
    }
#if FINISH == PUT || FINISH == PUT_TURNED
    if (start == FROM_BIAS) {
        UNROLL for (int j = 0; j < THREAD_N; j++) {
            const int n = n_tile + n_first + j / 4 * (4 * LANES_N) + j % 4;
            const float number = n < columns ? bias[bias_from + n] : 0.0f;
            UNROLL for (int i = 0; i < THREAD_M; i++) sums[i][j] = number;
        }
    }
#endif
#if FINISH == PUT
    if (start == FROM_OUT) {
        UNROLL for (int i = 0; i < THREAD_M; i++) {
            const int m = m_tile + m_first + i / 4 * (4 * LANES_M) + i % 4;
            UNROLL for (int j = 0; j < THREAD_N; j += 4) {
                const int n = n_tile + n_first + j / 4 * (4 * LANES_N);
                if (m < rows && n < columns) {
                    const long at = m * out_row + n / LANES * out_panel + n % LANES;
                    const quad c = GLOBAL_QUAD(out + at);
                    sums[i][j] = c.x, sums[i][j + 1] = c.y;
                    sums[i][j + 2] = c.z, sums[i][j + 3] = c.w;
                }
            }
        }
    }
#endif

    // Which numbers of a tile this thread brings: its first, and the steps to its others.
#if LEFT == END_TO_END_K
    // Eight k and four m a warp: whole sectors of memory, and all banks.
    const int left_k = THREAD % 8, left_m = THREAD / 8;
    GLOBAL const float *left_at = left + (long)(m_tile + left_m) * left_row + left_k;
#else
    const int left_k = THREAD / (TILE_M / 4), left_m = THREAD % (TILE_M / 4) * 4;
    GLOBAL const float *left_at = left + left_k * left_row + m_tile + left_m;
#endif
#if RIGHT == PANELS
    const int right_k = THREAD / 4 % TILE_K;
    const int right_n = THREAD / (4 * TILE_K) * LANES + THREAD % 4 * 4;
    GLOBAL const float *right_at = right + (long)(n_tile + right_n) / LANES * right_panel
                                   + (long)right_k * LANES + right_n % LANES;
#else
    const int right_k = THREAD / (TILE_N / 4), right_n = THREAD % (TILE_N / 4) * 4;
    GLOBAL const float *right_at = right + n_tile + right_n + right_k * right_row;
#endif

#ifndef ASYNC
    quad left_held[LEFT_COPIES], right_held[RIGHT_COPIES];
#endif
    const int tiles = (depth + TILE_K - 1) / TILE_K;
    // Stages are unrolled, so that the compiler knows which is read and which is written. The first
    // turn only fetches.
    for (int turn = -STAGES; turn < tiles; turn += STAGES) {
        UNROLL for (int read = 0; read < STAGES; read++) {
            const int tile = turn + read, write = (read + STAGES - 1) % STAGES;
            if (tile < 1 - STAGES || tile >= tiles) continue;
            if (tile >= 0) {
                WAIT(STAGES - 2);
                BARRIER();
            }
            const int next = tile + STAGES - 1;
            const int live = next < tiles ? depth - next * TILE_K : 0;
            // What lies beyond A, B or the end of k is neither read nor used.
            UNROLL for (int i = 0; i < LEFT_COPIES; i++) {
#if LEFT == END_TO_END_K
                const int unit = i * (THREADS / 8);
                const int k = left_k + unit / TILE_M * 8, m = left_m + unit % TILE_M;
                GLOBAL const float *from = left_at + (long)(unit % TILE_M) * left_row
                                           + unit / TILE_M * 8;
                if (k < live && m_tile + m < rows) COPY_ONE(&as[write][k][m], from, left_held[i]);
#else
                const int k = left_k + i * (4 * THREADS / TILE_M), m = left_m;
                GLOBAL const float *from = left_at + (long)(i * (4 * THREADS / TILE_M)) * left_row;
                if (k < live && m_tile + m < rows) COPY_QUAD(&as[write][k][m], from, left_held[i]);
#endif
            }
            UNROLL for (int i = 0; i < RIGHT_COPIES; i++) {
#if RIGHT == PANELS
                const int panel = i * (THREADS / (4 * TILE_K));
                const int k = right_k, n = right_n + panel * LANES;
                GLOBAL const float *from = right_at + panel * right_panel;
                if (k < live && n_tile + n < columns)
                    COPY_QUAD(&bs[write][k][n], from, right_held[i]);
#else
                const int k = right_k + i * (4 * THREADS / TILE_N), n = right_n;
                GLOBAL const float *from = right_at + i * (4 * THREADS / TILE_N) * right_row;
                if (k < live && n_tile + n < columns)
                    COPY_QUAD(&bs[write][k][n], from, right_held[i]);
#endif
            }
            COMMIT();
            left_at += LEFT == END_TO_END_K ? TILE_K : TILE_K * left_row;
            right_at += TILE_K * right_row;

            const int here = tile < 0 ? 0 : depth - tile * TILE_K;
            if (here >= TILE_K) {
                UNROLL for (int k = 0; k < TILE_K; k++) MULTIPLY(k);
            } else {
                ROLLED for (int k = 0; k < here; k++) MULTIPLY(k);
            }

#ifndef ASYNC
            UNROLL for (int i = 0; i < LEFT_COPIES; i++) {
#if LEFT == END_TO_END_K
                const int unit = i * (THREADS / 8);
                const int k = left_k + unit / TILE_M * 8, m = left_m + unit % TILE_M;
                if (k < live && m_tile + m < rows) as[write][k][m] = left_held[i].x;
#else
                const int k = left_k + i * (4 * THREADS / TILE_M), m = left_m;
                if (k < live && m_tile + m < rows) PUT_SHARED_QUAD(&as[write][k][m], left_held[i]);
#endif
            }
            UNROLL for (int i = 0; i < RIGHT_COPIES; i++) {
#if RIGHT == PANELS
                const int k = right_k, n = right_n + i * (THREADS / (4 * TILE_K)) * LANES;
#else
                const int k = right_k + i * (4 * THREADS / TILE_N), n = right_n;
#endif
                if (k < live && n_tile + n < columns)
                    PUT_SHARED_QUAD(&bs[write][k][n], right_held[i]);
            }
#endif
        }
    }

#if FINISH == PUT_TURNED
    UNROLL for (int j = 0; j < THREAD_N; j++) {
        const int n = n_tile + n_first + j / 4 * (4 * LANES_N) + j % 4;
        UNROLL for (int i = 0; i < THREAD_M; i += 4) {
            const int m = m_tile + m_first + i / 4 * (4 * LANES_M);
            if (m < rows && n < columns)
                PUT_GLOBAL_QUAD(out + n * out_row + m,
                                QUAD(sums[i][j], sums[i + 1][j], sums[i + 2][j], sums[i + 3][j]));
        }
    }
#else
    UNROLL for (int i = 0; i < THREAD_M; i++) {
        const int m = m_tile + m_first + i / 4 * (4 * LANES_M) + i % 4;
        UNROLL for (int j = 0; j < THREAD_N; j += 4) {
            const int n = n_tile + n_first + j / 4 * (4 * LANES_N);
            if (m < rows && n < columns) {
                const long at = m * out_row + n / LANES * out_panel + n % LANES;
#if FINISH == PUT
                PUT_GLOBAL_QUAD(out + at, QUAD(sums[i][j], sums[i][j + 1],
                                               sums[i][j + 2], sums[i][j + 3]));
#else
                const quad w = GLOBAL_QUAD(out + at), one = GLOBAL_QUAD(first + out_from + at);
                float weights[4] = {w.x, w.y, w.z, w.w}, firsts[4] = {one.x, one.y, one.z, one.w};
#if FINISH == ADAM
                const quad two = GLOBAL_QUAD(second + out_from + at);
                float seconds[4] = {two.x, two.y, two.z, two.w};
#endif
                UNROLL for (int q = 0; q < 4; q++) {
#if FINISH == ADAGRAD
                    weights[q] = adagrad_step(weights[q], sums[i][j + q], &firsts[q],
                                              rate, scale, l2);
#else
                    weights[q] = adam_step(weights[q], sums[i][j + q], &firsts[q], &seconds[q],
                                           rate, scale, l2);
#endif
                }
                PUT_GLOBAL_QUAD(out + at, QUAD(weights[0], weights[1], weights[2], weights[3]));
                PUT_GLOBAL_QUAD(first + out_from + at,
                                QUAD(firsts[0], firsts[1], firsts[2], firsts[3]));
#if FINISH == ADAM
                PUT_GLOBAL_QUAD(second + out_from + at,
                                QUAD(seconds[0], seconds[1], seconds[2], seconds[3]));
#endif
#endif
            }
        }
    }
#endif
}

#undef THREADS
#undef LANES_N
#undef WARP_M
#undef WARP_N
#undef PITCH_M
#undef PITCH_N
#undef LEFT_COPIES
#undef RIGHT_COPIES
#undef PRODUCT
#undef LEFT
#undef RIGHT
#undef FINISH
#ifndef KEEP_TILE
#undef TILE_M
#undef TILE_N
#undef TILE_K
#undef THREAD_M
#undef THREAD_N
#undef LANES_M
#undef STAGES
#undef GROUPS
#endif
