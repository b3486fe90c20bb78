// Runs kernels of the device text as plain C++ (plain.h): what tests compare without any driver,
// and where sanitizers and other orders of a group's threads look for races.

#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#include "all.h"

namespace {

constexpr int THREADS_MAX = 256;
constexpr size_t STACK_BYTES = 256 * 1024;

// A kernel, ready to be called by every thread of every group with its arguments.
struct Call {
    void (*invoke)(const void *kernel, void *const *arguments);
    const void *kernel;
    // Bytes of each of its parameters.
    const int *bytes;
    int parameters;
    void *const *arguments;
};

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
// What a thread waits with: where it is on its stack, on top of which are the registers that calls
// keep. A switch of ucontext's is two system calls, which took half of the time.
typedef void *Context;
extern "C" void plain_switch(Context *from, Context to);
asm(R"(
plain_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
void change(Context *from, Context *to) {
    plain_switch(from, *to);
}
void prepare(Context *context, char *stack, size_t bytes, void (*begin)()) {
    // A function begins as if it had been called with a stack of a multiple of 16 bytes.
    void **top = (void **)(stack + bytes) - 2;
    *top = (void *)begin;
    *context = top - 6;
}
#else
// Sanitizers follow these.
typedef ucontext_t Context;
void change(Context *from, Context *to) {
    swapcontext(from, to);
}
void prepare(Context *context, char *stack, size_t bytes, void (*begin)()) {
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = bytes;
    context->uc_link = nullptr;
    makecontext(context, begin, 0);
}
#endif

thread_local Context scheduler, fibers[THREADS_MAX];
thread_local bool ended[THREADS_MAX];
thread_local Call call_now;
thread_local char *stacks;
// The barrier that no thread waits at.
thread_local int barrier_left_out;

template <int... I> struct Places {};
template <int N, int... I> struct Count : Count<N - 1, N - 1, I...> {};
template <int... I> struct Count<0, I...> { typedef Places<I...> All; };

template <class... A, int... I>
void unpack(void (*kernel)(A...), void *const *arguments, Places<I...>) {
    kernel(*(A *)arguments[I]...);
}
template <class... A> void invoke(const void *kernel, void *const *arguments) {
    unpack((void (*)(A...))(uintptr_t)kernel, arguments, typename Count<sizeof...(A)>::All());
}
template <class... A> Call call_of(void (*kernel)(A...)) {
    static const int bytes[] = {(int)sizeof(A)...};
    const int parameters = (int)sizeof...(A);
    return Call{invoke<A...>, (const void *)(uintptr_t)kernel, bytes, parameters, nullptr};
}

// The kernel of this name; one that can't be invoked where there is none.
Call called(const char *name) {
    Call call = {};
#define IS(kernel) if (strcmp(name, #kernel) == 0) call = call_of(kernel);
    IS(functions) IS(product_turned) IS(product_turned_small) IS(product_turned_out)
    IS(product_straight) IS(product_gradient) IS(gradient_adagrad) IS(gradient_adam) IS(sweep)
    IS(class_losses) IS(row_losses) IS(bias_gradient) IS(adagrad) IS(adam) IS(add)
    IS(average) IS(best) IS(irprop)
    IS(block_losses) IS(add_losses) IS(order_rows) IS(turn) IS(turn_panels) IS(panel_squares)
    IS(scale_panels) IS(normalise_rows) IS(standardise) IS(activate) IS(activation_slopes)
    IS(column_sums) IS(gating) IS(gating_slopes) IS(residual) IS(residual_slopes)
    IS(from_stored) IS(pool_swap) IS(unpool_swap) IS(pool_average) IS(unpool_average)
    IS(pool_max) IS(unpool_max) IS(pool_l2) IS(unpool_l2)
#undef IS
    return call;
}

void fiber() {
    call_now.invoke(call_now.kernel, call_now.arguments);
    ended[THREAD] = true;
    change(&fibers[THREAD], &scheduler);
}

// The threads of one group, each from barrier to barrier. order 0: forward, 1: in reverse, else a
// new random order after each barrier, drawn from it.
void group(int threads, uint64_t &order) {
    int turn[THREADS_MAX];
    for (int i = 0; i < threads; i++) {
        turn[i] = order == 1 ? threads - 1 - i : i;
        ended[i] = false;
        prepare(&fibers[i], stacks + (size_t)i * STACK_BYTES, STACK_BYTES, fiber);
    }
    for (bool going = true; going;) {
        going = false;
        if (order > 1) {
            for (int i = threads - 1; i > 0; i--) {
                order = order * 6364136223846793005ull + 1442695040888963407ull;
                const int other = (int)((order >> 33) % (uint64_t)(i + 1)), held = turn[i];
                turn[i] = turn[other];
                turn[other] = held;
            }
            order |= 2;
        }
        for (int i = 0; i < threads; i++) {
            if (ended[turn[i]]) continue;
            THREAD = turn[i];
            change(&scheduler, &fibers[turn[i]]);
            going |= !ended[turn[i]];
        }
    }
}

}  // namespace

static void next_barrier(int barrier) {
    if (barrier != barrier_left_out) change(&fibers[THREAD], &scheduler);
}

// How many barriers the text has; their numbers begin with 0.
extern "C" int plain_barriers() {
    return __COUNTER__;
}

// Bytes of each parameter of a kernel, at most `most`. Gives how many it has, or -1 where no kernel
// has this name.
extern "C" int plain_parameters(const char *name, int *bytes, int most) {
    const Call call = called(name);
    if (!call.invoke) return -1;
    for (int i = 0; i < call.parameters && i < most; i++) bytes[i] = call.bytes[i];
    return call.parameters;
}

// Runs a kernel on a grid of groups, without the barrier of this number (-1: with all). Returns 0,
// or 1 where no kernel has this name.
extern "C" int plain_run(const char *name, int groups_x, int groups_y, int threads,
                         void *const *arguments, uint64_t order, int left_out) {
    const Call call = called(name);
    if (!call.invoke || threads > THREADS_MAX) return 1;
    if (!stacks) stacks = (char *)malloc(THREADS_MAX * STACK_BYTES);
    call_now = call;
    call_now.arguments = arguments;
    barrier_left_out = left_out;
    for (GROUP_Y = 0; GROUP_Y < groups_y; GROUP_Y++)
        for (GROUP_X = 0; GROUP_X < groups_x; GROUP_X++) group(threads, order);
    return 0;
}
