// Rows and panels turned, as products read them fastest.

// to [width][to_row] = from [rows][from_row] turned.
KERNEL(256, 1)
turn(int rows, int width, GLOBAL const float *from, long from_at, long from_row, GLOBAL float *to,
     long to_row) {
    SHARED float held[32][33];
    const int x = THREAD % 32, y = THREAD / 32, row = GROUP_X * 32, column = GROUP_Y * 32;
    for (int i = y; i < 32; i += 8)
        if (row + i < rows && column + x < width)
            held[i][x] = from[from_at + (row + i) * from_row + column + x];
    BARRIER();
    for (int i = y; i < 32; i += 8)
        if (row + x < rows && column + i < width) to[(column + i) * to_row + row + x] = held[x][i];
}

// W' in panels [width / 16][columns][16], zero beyond the width, of W in panels
// [columns / 16][width][16]. A group turns a square of sixteen.
KERNEL(256, 1)
turn_panels(int width, long columns, GLOBAL const float *from, long from_at, GLOBAL float *to) {
    SHARED float held[LANES][LANES + 1];
    const int x = THREAD % LANES, y = THREAD / LANES, k = GROUP_Y * LANES + y;
    const long panel = GROUP_X;
    if (k < width) held[y][x] = from[from_at + (panel * width + k) * LANES + x];
    BARRIER();
    to[(GROUP_Y * columns + panel * LANES + y) * LANES + x] =
        GROUP_Y * LANES + x < width ? held[x][y] : 0.0f;
}
