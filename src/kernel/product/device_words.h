// Words of product.h that all its forms share.

#define END_TO_END_K 0
#define END_TO_END_M 1
#define PANELS 0
#define ROWS 1
#define PUT 0
#define ADAGRAD 1
#define ADAM 2
#define PUT_TURNED 3

// What the sums of a product start from.
#define FROM_ZERO 0
#define FROM_OUT 1
#define FROM_BIAS 2

#ifdef ASYNC
#define COPY_ONE(to, from, held) copy_one(to, from)
#define COPY_QUAD(to, from, held) copy_quad(to, from)
#else
// Read here into registers, put into shared memory once the tile before is worked on.
#define COPY_ONE(to, from, held) (held).x = *(from)
#define COPY_QUAD(to, from, held) (held) = GLOBAL_QUAD(from)
#endif

// One k of the tile `read`.
#define MULTIPLY(k) { \
    float x[THREAD_M], y[THREAD_N]; \
    UNROLL for (int i = 0; i < THREAD_M; i += 4) { \
        const quad q = SHARED_QUAD(&as[read][k][m_first + i / 4 * (4 * LANES_M)]); \
        x[i] = q.x, x[i + 1] = q.y, x[i + 2] = q.z, x[i + 3] = q.w; \
    } \
    UNROLL for (int j = 0; j < THREAD_N; j += 4) { \
        const quad q = SHARED_QUAD(&bs[read][k][n_first + j / 4 * (4 * LANES_N)]); \
        y[j] = q.x, y[j + 1] = q.y, y[j + 2] = q.z, y[j + 3] = q.w; \
    } \
    UNROLL for (int i = 0; i < THREAD_M; i++) { \
        UNROLL for (int j = 0; j < THREAD_N; j++) sums[i][j] = FMA(x[i], y[j], sums[i][j]); \
    } \
}
