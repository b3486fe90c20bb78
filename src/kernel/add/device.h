// Partial sums are added: src/kernel/add/.

// Of `count` numbers from `from` on the right ones are added to the left ones.
KERNEL(128, 1)
add(long count, long from, GLOBAL float *left, GLOBAL const float *right) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    left[from + at] = left[from + at] + right[from + at];
}
