// The sweep over logits, one thread a row and class. And the sums over rows, in their order: losses
// of each class in float64, gradients of biases.
//
// Several class blocks of one width lie end to end, panels after panels and groups after groups, so
// that a launch is over all of them. Of each group five numbers are given: its first panel, gates,
// experts, first class and number of classes.

#define GROUP_WORDS 5
#define SATURATED 40.0f

// Panels of a group whose logits go through shared memory at most, and threads of a sweep's group.
#define SWEEP_PANELS 40
#define SWEEP_THREADS 128
#define INFINITE FLOAT(0x7f800000u)

// As Dummy.
#define DUMMY_LEARNED 0
#define DUMMY_ZERO 1
#define DUMMY_NONE 2

DEVICE float gate_weight(float a, float largest, int exact) {
    const float below = a - largest;
    const int stopped = exact && below < -SATURATED && below > -1e29f;
    return exp_of(stopped ? -SATURATED : below);
}

// The logit of a row and column lies at row * row_step + column * lane_step; one of the steps is 1.
// Logits become their gradients where `gradients` is 1. Else p of every class of a row goes to
// `scores` [rows][scores_row], that of class c to place c - `class_from`. The losses
// [rows][groups][16] are 0 where a lane holds no class. `weights` are read only if `weighted`.
KERNEL(SWEEP_THREADS, 1)
sweep(int rows, int groups, long row_step, long lane_step, int dummy, float epsilon, int gradients,
      GLOBAL float *logits, GLOBAL const int *shapes, int first_group,
      GLOBAL const int *offsets, GLOBAL const uint *labels, int first_row,
      GLOBAL const float *weights, int weighted,
      GLOBAL float *losses, GLOBAL float *scores, long scores_row, int class_from) {
    SHARED float held[SWEEP_PANELS][SWEEP_THREADS];
    const long item = (long)GROUP_X * SWEEP_THREADS + THREAD;
    // Neighbours take what lies side by side: lanes, or rows.
    const long column = row_step == 1 ? item / rows : item % (groups * LANES);
    const long row = row_step == 1 ? item % rows : item / (groups * LANES);
    const int lane = (int)(column % LANES), group = (int)(column / LANES);
    if (row >= rows || group >= groups) return;
    GLOBAL const int *shape = shapes + (long)GROUP_WORDS * (first_group + group);
    const int gates = shape[1], experts = shape[2], own_class = shape[3] + lane;
    const float mask = lane < shape[4] ? 1.0f : 0.0f;
    const int first_panel = shape[0] - shapes[(long)GROUP_WORDS * first_group];
    GLOBAL float *own = logits + row * row_step + ((long)first_panel * LANES + lane) * lane_step;
    int positive = 0;
    if (lane < shape[4]) {
        for (int at = offsets[first_row + row]; at < offsets[first_row + row + 1]; at++)
            positive |= (int)labels[at] == own_class;
    }
    const int exact = epsilon == 0.0f;
    const int learned = dummy == DUMMY_LEARNED;
    // Nearly all groups fit into shared memory: each logit is then read once and written once.
    if (gates + experts <= SWEEP_PANELS) {
        UNROLL_BY_EIGHT for (int panel = 0; panel < gates + experts; panel++)
            held[panel][THREAD] = own[panel * (LANES * lane_step)];
#define NUMBER(panel) held[panel][THREAD]
#include "../sweep/device.h"
#undef NUMBER
        if (gradients) {
            UNROLL_BY_EIGHT for (int panel = 0; panel < gates + experts; panel++)
                own[panel * (LANES * lane_step)] = held[panel][THREAD];
        }
    } else {
#define NUMBER(panel) own[(panel) * (LANES * lane_step)]
#include "../sweep/device.h"
#undef NUMBER
    }
}

// Numbers that a chain of one thread has loaded ahead: a load takes far longer than an addition.
#define CHAIN_AHEAD 64

// `sum` and the losses of one class, whose rows are `lanes` numbers apart, row after row.
DEVICE double with_losses(double sum, int rows, int lanes, GLOBAL const float *losses) {
    int row = 0;
    for (; row + CHAIN_AHEAD <= rows; row += CHAIN_AHEAD) {
        float held[CHAIN_AHEAD];
        UNROLL for (int i = 0; i < CHAIN_AHEAD; i++) held[i] = losses[(long)(row + i) * lanes];
        UNROLL for (int i = 0; i < CHAIN_AHEAD; i++) sum += (double)held[i];
    }
    for (; row < rows; row++) sum += (double)losses[(long)row * lanes];
    return sum;
}

// Adds every class's losses [rows][lanes] to its sum, row after row.
KERNEL(32, 1)
class_losses(int rows, int lanes, GLOBAL const float *losses, GLOBAL double *sums, int first) {
    const int lane = GROUP_X * 32 + THREAD;
    if (lane >= lanes) return;
    sums[first + lane] = with_losses(sums[first + lane], rows, lanes, losses + lane);
}

// The same for each row block alone: row block b has the rows from `bounds[b]` to before
// `bounds[b + 1]`, of which some may lie among the `rows` from `first_row` on, whose losses
// [rows][lanes] these are. `sums` are [row blocks][sums_row]; `blocks` of them are looked at.
KERNEL(32, 1)
block_losses(int rows, int lanes, int first_row, GLOBAL const float *losses,
             GLOBAL const int *bounds, int first_block, int blocks, GLOBAL double *sums,
             int sums_row, int first) {
    const long item = (long)GROUP_X * 32 + THREAD;
    if (item >= (long)blocks * lanes) return;
    const int lane = (int)(item % lanes), block = first_block + (int)(item / lanes);
    int from = bounds[block] - first_row, to = bounds[block + 1] - first_row;
    from = from < 0 ? 0 : from;
    to = to > rows ? rows : to;
    GLOBAL double *sum = sums + (long)block * sums_row + first + lane;
    *sum = with_losses(*sum, to - from, lanes, losses + (long)from * lanes + lane);
}

// Adds each row block's sums of its classes [row blocks][lanes], one after the other, to its loss.
KERNEL(32, 1)
add_losses(int blocks, int lanes, GLOBAL const double *sums, GLOBAL double *losses) {
    const int block = GROUP_X * 32 + THREAD;
    if (block >= blocks) return;
    double sum = 0.0;
    for (int lane = 0; lane < lanes; lane++) sum += sums[(long)block * lanes + lane];
    losses[block] = losses[block] + sum;
}

// Adds to each row's sum what its classes of each group lose: sixteen lanes by halves, then group
// after group.
KERNEL(32, 1)
row_losses(int rows, int groups, GLOBAL const float *losses, GLOBAL double *sums) {
    const int row = GROUP_X * 32 + THREAD;
    if (row >= rows) return;
    double sum = sums[row];
    for (int group = 0; group < groups; group++) {
        GLOBAL const float *from = losses + ((long)row * groups + group) * LANES;
        float held[LANES];
        UNROLL for (int lane = 0; lane < LANES; lane++) held[lane] = from[lane];
        UNROLL for (int step = LANES / 2; step > 0; step /= 2) {
            UNROLL for (int lane = 0; lane < step; lane++)
                held[lane] = held[lane] + held[lane + step];
        }
        sum += (double)held[0];
    }
    sums[row] = sum;
}

// Column sums of the logits' gradients [rows][columns] of panels that `learned` says 1 of, added to
// `gradient` unless it starts from zero. Other panels' stay, or are zero.
KERNEL(64, 1)
bias_gradient(int rows, int panels, GLOBAL const float *slopes, GLOBAL const int *learned,
              int first_panel, GLOBAL float *gradient, int start) {
    const long columns = (long)panels * LANES, column = (long)GROUP_X * 64 + THREAD;
    if (column >= columns) return;
    const long to = (long)first_panel * LANES + column;
    float sum = start == FROM_OUT ? gradient[to] : 0.0f;
    if (learned[first_panel + column / LANES]) sum = column_sum(sum, rows, columns, slopes + column);
    gradient[to] = sum;
}

// The sum of squares in float64 of each of some panels of a gradient, `numbers` to a panel, one
// after the other.
KERNEL(32, 1)
panel_squares(int panels, int numbers, long first_panel, GLOBAL const float *gradient,
              GLOBAL double *squares) {
    const int panel = GROUP_X * 32 + THREAD;
    if (panel >= panels) return;
    GLOBAL const float *from = gradient + (first_panel + panel) * numbers;
    double sum = 0.0;
    int at = 0;
    for (; at + CHAIN_AHEAD <= numbers; at += CHAIN_AHEAD) {
        float held[CHAIN_AHEAD];
        UNROLL for (int i = 0; i < CHAIN_AHEAD; i++) held[i] = from[at + i];
        UNROLL for (int i = 0; i < CHAIN_AHEAD; i++) sum += (double)held[i] * (double)held[i];
    }
    for (; at < numbers; at++) sum += (double)from[at] * (double)from[at];
    squares[panel] = sum;
}

// Multiplies each of some panels of a gradient by a factor: one of panels that `learned` says 1 of,
// which are experts', and one of the others.
KERNEL(128, 1)
scale_panels(long count, int numbers, long first_panel, GLOBAL const int *learned, float gates,
             float experts, GLOBAL float *gradient) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const float factor = learned[first_panel + at / numbers] ? experts : gates;
    GLOBAL float *to = gradient + first_panel * numbers + at;
    *to = *to * factor;
}
