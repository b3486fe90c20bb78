// Each row's best classes, kept from one class block to the next: src/kernel/best/. Their order is
// total, so how they are found can't be seen.

#define BEST_THREADS 32
// Pairs of a list at most.
#define BEST_MOST 128

DEVICE int comes_before(float score, int own_class, float other, int other_class) {
    return score > other || (score == other && own_class < other_class);
}

// Merges `scores` [rows][classes], those of the classes from `first_class` on, each 0 or more, with
// the rows' lists [..][limit], best first, from `first_list` on; a place that nothing has filled
// holds -infinity. They are empty where `begins`, whatever they hold. `odd` of a list is the first
// `visit`, counted from 1, that had a score which is no number, or 0.
//
// A group is for a row. Each thread has every 32nd class and offers the best that it hasn't offered
// yet, if that would come into the list; until nobody offers any.
KERNEL(BEST_THREADS, 1)
best(int classes, GLOBAL const float *scores, int first_class, int limit, int first_list,
     int begins, int visit, GLOBAL float *list_scores, GLOBAL int *list_classes,
     GLOBAL int *odd) {
    SHARED float held[2][BEST_MOST];
    SHARED int held_classes[2][BEST_MOST];
    SHARED float offered[BEST_THREADS];
    SHARED int offered_classes[BEST_THREADS], odd_ones[BEST_THREADS];
    GLOBAL const float *row = scores + (long)GROUP_X * classes;
    const long list = (long)first_list + GROUP_X, first = list * limit;
    for (int at = THREAD; at < limit; at += BEST_THREADS) {
        held[0][at] = begins ? -INFINITE : list_scores[first + at];
        held_classes[0][at] = begins ? 0 : list_classes[first + at];
    }
    BARRIER();
    int now = 0, offers = 1, going = 1, none = 0;
    float last = INFINITE;
    int last_class = -1;
    while (going) {
        float score = -INFINITE;
        int own_class = 0;
        for (int at = THREAD; offers && at < classes; at += BEST_THREADS) {
            const float p = row[at];
            none |= !(p == p);
            if (p > score && comes_before(last, last_class, p, first_class + at)) {
                score = p;
                own_class = first_class + at;
            }
        }
        offers = comes_before(score, own_class, held[now][limit - 1], held_classes[now][limit - 1]);
        offered[THREAD] = offers ? score : -INFINITE;
        offered_classes[THREAD] = own_class;
        odd_ones[THREAD] = none;
        last = score;
        last_class = own_class;
        BARRIER();
        going = 0;
        UNROLL for (int i = 0; i < BEST_THREADS; i++) going |= offered[i] > -INFINITE;
        if (going) {
            // Each goes to the place that as many come before.
            for (int at = THREAD; at < limit; at += BEST_THREADS) {
                const float own = held[now][at];
                const int its_class = held_classes[now][at];
                int place = at;
                UNROLL for (int i = 0; i < BEST_THREADS; i++)
                    place += comes_before(offered[i], offered_classes[i], own, its_class);
                if (place < limit) {
                    held[1 - now][place] = own;
                    held_classes[1 - now][place] = its_class;
                }
            }
            int place = offers ? 0 : limit;
            if (offers) {
                UNROLL for (int i = 0; i < BEST_THREADS; i++)
                    place += comes_before(offered[i], offered_classes[i], score, own_class);
            }
            for (int at = 0; place < limit && at < limit; at++) {
                if (!comes_before(held[now][at], held_classes[now][at], score, own_class)) break;
                place++;
            }
            if (place < limit) {
                held[1 - now][place] = score;
                held_classes[1 - now][place] = own_class;
            }
            now = 1 - now;
        }
        BARRIER();
    }
    for (int at = THREAD; at < limit; at += BEST_THREADS) {
        list_scores[first + at] = held[now][at];
        list_classes[first + at] = held_classes[now][at];
    }
    if (THREAD == 0) {
        int found = 0;
        UNROLL for (int i = 0; i < BEST_THREADS; i++) found |= odd_ones[i];
        const int before = begins ? 0 : odd[list];
        odd[list] = before == 0 && found ? visit : before;
    }
}
