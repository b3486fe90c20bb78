// iRprop+'s step: src/kernel/irprop/, operation for operation.

// A step of `count` weights by the signs of their gradient: D, the gradient before and the last move
// are kept of each. `rose` says whether the loss did.
KERNEL(128, 1)
irprop(long count, float least, float most, int rose, GLOBAL float *weights,
       GLOBAL const float *gradient, GLOBAL float *sizes, GLOBAL float *gradients,
       GLOBAL float *moves) {
    const long at = (long)GROUP_X * 128 + THREAD;
    if (at >= count) return;
    const float g = gradient[at], before = gradients[at];
    float size = sizes[at];
    // Signs, not the product, which can underflow.
    if ((g > 0.0f && before < 0.0f) || (g < 0.0f && before > 0.0f)) {
        sizes[at] = LARGER(size * 0.5f, least);
        if (rose) weights[at] = weights[at] - moves[at];
        moves[at] = 0.0f;
        gradients[at] = 0.0f;
        return;
    }
    if (g != 0.0f && before != 0.0f) {
        size = SMALLER(size * 1.2f, most);
        sizes[at] = size;
    }
    const float move = g > 0.0f ? -size : g < 0.0f ? size : 0.0f;
    moves[at] = move;
    weights[at] = weights[at] + move;
    gradients[at] = g;
}
