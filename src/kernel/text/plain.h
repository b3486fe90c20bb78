// The device text as plain C++: the threads of a group are fibers, which run from barrier to
// barrier one after another, in an order that the caller chooses.

#include <string.h>

#define KERNEL(threads, groups) static void
#define DEVICE static inline
#define GLOBAL
#define SHARED alignas(16) static thread_local
#define UNROLL
#define UNROLL_BY_EIGHT
#define ROLLED
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#define SQRT(x) __builtin_sqrtf(x)
#define ABS(x) __builtin_fabsf(x)
#define LARGER(a, b) __builtin_fmaxf(a, b)
#define SMALLER(a, b) __builtin_fminf(a, b)
#define HIGH(a, b) ((uint)((unsigned long long)(a) * (b) >> 32))
typedef unsigned int uint;
static inline uint BITS(float x) {
    uint bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline float FLOAT(uint bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static thread_local int THREAD, GROUP_X, GROUP_Y;
static void next_barrier(int barrier);
// Barriers of the text are numbered as they stand in it, so that each can be left out.
#define BARRIER() next_barrier(__COUNTER__)

struct quad {
    float x, y, z, w;
};
#define SHARED_QUAD(place) (*(const quad *)(place))
#define GLOBAL_QUAD(place) (*(const quad *)(place))
#define PUT_SHARED_QUAD(place, numbers) (*(quad *)(place) = (numbers))
#define PUT_GLOBAL_QUAD(place, numbers) (*(quad *)(place) = (numbers))
#define QUAD(a, b, c, d) (quad{a, b, c, d})
