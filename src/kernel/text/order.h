// Rows put in order: what src/device/host/rows.rs leaves on the host.

// Row i of `to` [rows][stride] is what begins at `arrived[places[i]]`. One thread sixteen numbers.
KERNEL(64, 1)
order_rows(int rows, int stride, GLOBAL const float *arrived, GLOBAL const long *places,
           GLOBAL float *to) {
    const long item = (long)GROUP_X * 64 + THREAD;
    const int panels = stride / LANES, panel = (int)(item % panels);
    const long row = item / panels;
    if (row >= rows) return;
    GLOBAL const float *from = arrived + places[row] + panel * LANES;
    for (int lane = 0; lane < LANES; lane++) to[row * stride + panel * LANES + lane] = from[lane];
}
