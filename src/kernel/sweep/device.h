// The arithmetic of a sweep for one row and class, to be included where NUMBER(panel) is its logit
// of a panel of the group, wherever that lies: src/kernel/sweep/, operation for operation.
{
    float largest = dummy == DUMMY_ZERO ? 0.0f : -INFINITE;
    for (int gate = 0; gate < gates; gate++) {
        const float a = NUMBER(gate);
        largest = a > largest ? a : largest;
    }
    float absent = dummy == DUMMY_ZERO ? gate_weight(0.0f, largest, exact) : 0.0f;
    float total = absent;
    for (int gate = 0; gate < gates; gate++) {
        const float e = gate_weight(NUMBER(gate), largest, exact);
        NUMBER(gate) = e;
        total = total + e;
        if (gate < learned) absent = e;
    }
    if (gates == 0) total = 1.0f;

    float p = 0.0f, q = absent;
    float beyond_q = dummy == DUMMY_NONE ? INFINITE : 0.0f, beyond_p = INFINITE;
    for (int expert = 0; expert < experts; expert++) {
        const int at = gates + expert;
        float z = NUMBER(at);
        const float e = gates == 0 ? 1.0f : NUMBER(learned + expert);
        if (exact) {
            // An expert that its class doesn't have says nothing about the asymptote.
            const float present = e > 0.0f ? 0.0f : INFINITE;
            beyond_q = SMALLER(beyond_q, LARGER(z - SATURATED, 0.0f) + present);
            beyond_p = SMALLER(beyond_p, LARGER(-z - SATURATED, 0.0f) + present);
            z = z < -SATURATED ? -SATURATED : z > SATURATED ? SATURATED : z;
        }
        const float small = smaller_sigmoid(z), big = 1.0f - small;
        NUMBER(at) = z >= 0.0f ? small : -small;
        p = FMA(e, z >= 0.0f ? big : small, p);
        q = FMA(e, z >= 0.0f ? small : big, q);
    }
    const float share = 1.0f / total;
    p = p * share;
    q = q * share;
    const float truth = positive ? p : q;
    float loss = -log_of(truth + epsilon);
    if (exact) loss = loss + (positive ? beyond_p : beyond_q);
    float factor = share / (truth + epsilon) * mask;
    if (weighted) {
        loss = loss * weights[first_row + row];
        factor = factor * weights[first_row + row];
    }
    losses[(row * groups + group) * LANES + lane] = loss * mask;
    if (!gradients && lane < shape[4]) scores[row * scores_row + own_class - class_from] = p;

    const int dummy_gate = learned && gates > 0;
    // q - t = -p for a negative, p - s = p for a positive, since t = 1 and s = 0.
    if (dummy_gate && gradients) NUMBER(0) = NUMBER(0) * (positive ? p : -p) * factor;
    for (int expert = 0; expert < experts && gradients; expert++) {
        const int z_at = gates + expert, a_at = dummy_gate + expert;
        const float found = NUMBER(z_at), small = ABS(found), big = 1.0f - small;
        const float e = gates > 0 ? NUMBER(a_at) : 1.0f;
        // The sign bit, since a saturated expert's small one is 0 or -0.
        const float mine = (BITS(found) >> 31 == 0) == positive ? big : small;
        const float slope = e * (small * big) * factor;
        if (gates > 0) NUMBER(a_at) = e * (truth - mine) * factor;
        NUMBER(z_at) = positive ? -slope : slope;
    }
}
