// Sums that several operations have, sixteen loads ahead.

// `sum` and a column whose rows are `step` numbers apart, row after row.
DEVICE float column_sum(float sum, int rows, long step, GLOBAL const float *column) {
    int row = 0;
    for (; row + 16 <= rows; row += 16) {
        float held[16];
        UNROLL for (int i = 0; i < 16; i++) held[i] = column[(row + i) * step];
        UNROLL for (int i = 0; i < 16; i++) sum = sum + held[i];
    }
    for (; row < rows; row++) sum = sum + column[row * step];
    return sum;
}
