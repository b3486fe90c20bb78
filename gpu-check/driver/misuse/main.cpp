// Does with the stand-in for CUDA's driver what a program mustn't do, one thing by its name, or
// what it may do: each is to end with a message, or not. tests/device/stand_in.rs runs all of them.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

typedef uint64_t Address;
extern "C" {
int cuInit(unsigned);
int cuDeviceGet(int *, int);
int cuDevicePrimaryCtxRetain(void **, int);
int cuDevicePrimaryCtxRelease_v2(int);
int cuCtxSetCurrent(void *);
int cuModuleLoadData(void **, const void *);
int cuModuleGetFunction(void **, void *, const char *);
int cuModuleUnload(void *);
int cuStreamCreate(void **, unsigned);
int cuStreamSynchronize(void *);
int cuStreamDestroy_v2(void *);
int cuStreamWaitEvent(void *, void *, unsigned);
int cuEventCreate(void **, unsigned);
int cuEventRecord(void *, void *);
int cuEventQuery(void *);
int cuEventDestroy_v2(void *);
int cuMemAllocAsync(Address *, size_t, void *);
int cuMemFreeAsync(Address, void *);
int cuMemsetD8Async(Address, unsigned char, size_t, void *);
int cuMemcpyHtoDAsync_v2(Address, const void *, size_t, void *);
int cuMemcpyDtoHAsync_v2(void *, Address, size_t, void *);
int cuMemHostAlloc(void **, size_t, unsigned);
int cuMemFreeHost(void *);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                   void *, void **, void **);
}

static void expect(int found, int expected, const char *what) {
    if (found == expected) return;
    printf("%s: %d, expected %d\n", what, found, expected);
    exit(1);
}
#define MUST(call) expect(call, 0, #call)
#define GIVES(expected, call) expect(call, expected, #call)

// mean += share (weights - mean): count, share, first, weights, mean.
#define PTX(last, end)                                                                      \
    "\n.version 9.0\n.target sm_80\n.visible .entry average(\n.param .u64 a,\n.param .f32 b,\n" \
    ".param .u64 c,\n.param .u64 d,\n.param " last " e\n)\n.maxntid 128, 1, 1\n{\n" end

static void *context, *stream, *other, *module, *average, *event;
static Address memory;
constexpr size_t BYTES = 1024;

static int launch(void *kernel, void *on, Address weights, Address mean, int64_t count = 8,
                  unsigned groups = 1, unsigned groups_y = 1, unsigned threads = 128) {
    float share = 0.5f;
    int64_t first = 0;
    void *arguments[] = {&count, &share, &first, &weights, &mean};
    return cuLaunchKernel(kernel, groups, groups_y, 1, threads, 1, 1, 0, on, arguments, nullptr);
}

static void begin() {
    MUST(cuInit(0));
    int device;
    MUST(cuDeviceGet(&device, 0));
    void *no;
    GIVES(201, cuStreamCreate(&no, 1));  // there is no current context
    MUST(cuDevicePrimaryCtxRetain(&context, device));
    MUST(cuCtxSetCurrent(context));
    MUST(cuModuleLoadData(&module, PTX(".u64", "}\n")));
    MUST(cuModuleGetFunction(&average, module, "average"));
    MUST(cuStreamCreate(&stream, 1));
    MUST(cuStreamCreate(&other, 1));
    MUST(cuEventCreate(&event, 2));
    MUST(cuMemAllocAsync(&memory, BYTES, stream));
}

// What may be done.
static void nothing() {
    std::vector<float> numbers(8, 3.0f), found(8);
    MUST(cuMemsetD8Async(memory, 0, BYTES, stream));
    MUST(cuMemcpyHtoDAsync_v2(memory + 64, numbers.data(), 32, stream));
    numbers.assign(8, 9.0f);  // it has been taken
    MUST(launch(average, stream, memory + 64, memory));
    MUST(cuMemcpyDtoHAsync_v2(found.data(), memory, 32, stream));
    expect((int)(found[7] * 2), 3, "half of three");
    // Another stream that waits for this one sees what it has done.
    MUST(cuMemsetD8Async(memory, 7, BYTES, stream));
    MUST(cuEventRecord(event, stream));
    MUST(cuStreamWaitEvent(other, event, 0));
    char byte;
    MUST(cuMemcpyDtoHAsync_v2(&byte, memory, 1, other));
    expect(byte, 7, "what an event waited for");
    int asked = 0;
    while (cuEventQuery(event) == 600)
        if (++asked > 10) expect(asked, 10, "an event that is asked for");
    // Pinned bytes may be taken as late as when somebody waits.
    void *pinned;
    MUST(cuMemHostAlloc(&pinned, BYTES, 0));
    memset(pinned, 1, BYTES);
    MUST(cuMemcpyHtoDAsync_v2(memory, pinned, BYTES, stream));
    memset(pinned, 2, BYTES);
    MUST(cuMemcpyDtoHAsync_v2(&byte, memory, 1, stream));
    printf("%s\n", byte == 1 ? "early" : "late");
    MUST(cuMemFreeHost(pinned));
    GIVES(500, cuModuleGetFunction(&average, module, "sweep"));
    GIVES(1, launch(average, stream, memory, memory, 8, 1, 65536));
    GIVES(1, launch(average, stream, memory, memory, 8, 1, 1, 256));
    GIVES(1, launch(average, stream, memory, memory, 8, 0));
    void *refused;
    GIVES(218, cuModuleLoadData(&refused, PTX(".u64", "cut")));
    GIVES(222, cuModuleLoadData(&refused, "\n.version 9.1\n.target sm_80\n}"));
    GIVES(209, cuModuleLoadData(&refused, "\n.version 9.0\n.target sm_100\n}"));
    MUST(cuMemFreeAsync(memory, stream));
    MUST(cuStreamSynchronize(stream));
    MUST(cuEventDestroy_v2(event));
    MUST(cuStreamDestroy_v2(other));
    MUST(cuStreamDestroy_v2(stream));
    MUST(cuModuleUnload(module));
    MUST(cuDevicePrimaryCtxRelease_v2(0));
}

static void misuse(const char *name) {
    char bytes[2 * BYTES] = {};
    void *no = bytes, *made;
    auto is = [name](const char *other) { return strcmp(name, other) == 0; };
    if (is("copy out of bounds")) cuMemcpyHtoDAsync_v2(memory + 1, bytes, BYTES, stream);
    if (is("copy down out of bounds")) cuMemcpyDtoHAsync_v2(bytes, memory, BYTES + 1, stream);
    if (is("fill out of bounds")) cuMemsetD8Async(memory + BYTES, 0, 1, stream);
    if (is("host address")) cuMemsetD8Async((Address)bytes, 0, 1, stream);
    if (is("given back twice")) {
        MUST(cuMemFreeAsync(memory, stream));
        cuMemFreeAsync(memory, stream);
    }
    if (is("copy to what was given back")) {
        MUST(cuMemFreeAsync(memory, stream));
        cuMemcpyHtoDAsync_v2(memory, bytes, 1, stream);
    }
    if (is("launch on what was given back")) {
        MUST(cuMemFreeAsync(memory, stream));
        launch(average, stream, memory, memory);
    }
    if (is("kernel out of bounds")) {
        MUST(launch(average, stream, memory, memory, BYTES / 4 + 4, 3));
        cuStreamSynchronize(stream);
    }
    if (is("memory that isn't there yet")) {
        MUST(cuMemsetD8Async(memory, 0, 1, other));
        cuStreamSynchronize(other);
    }
    if (is("given back too early")) {
        MUST(cuStreamSynchronize(stream));
        MUST(cuMemsetD8Async(memory, 0, 1, stream));
        MUST(cuMemFreeAsync(memory, other));
        MUST(cuStreamSynchronize(other));
        cuStreamSynchronize(stream);
    }
    if (is("no stream")) cuStreamSynchronize(no);
    if (is("default stream")) cuStreamSynchronize(nullptr);
    if (is("destroyed stream")) {
        MUST(cuStreamDestroy_v2(other));
        launch(average, other, memory, memory);
    }
    if (is("destroyed event")) {
        MUST(cuEventDestroy_v2(event));
        cuEventQuery(event);
    }
    if (is("unloaded module")) {
        MUST(cuModuleUnload(module));
        launch(average, stream, memory, memory);
    }
    if (is("context given back")) {
        void *kept = context;
        MUST(cuDevicePrimaryCtxRelease_v2(0));
        cuCtxSetCurrent(kept);
    }
    if (is("another context")) {
        MUST(cuDevicePrimaryCtxRetain(&made, 1));
        MUST(cuCtxSetCurrent(made));
        launch(average, stream, memory, memory);
    }
    if (is("other parameters")) {
        MUST(cuModuleLoadData(&made, PTX(".u32", "}\n")));
        cuModuleGetFunction(&average, made, "average");
    }
    if (is("other threads")) launch(average, stream, memory, memory, 8, 1, 1, 64);
    if (is("pinned memory in use")) {
        MUST(cuMemHostAlloc(&made, BYTES, 0));
        MUST(cuMemcpyHtoDAsync_v2(memory, made, BYTES, stream));
        cuMemFreeHost(made);
    }
    if (is("pinned out of bounds")) {
        MUST(cuMemHostAlloc(&made, 8, 0));
        cuMemcpyHtoDAsync_v2(memory, made, 16, stream);
    }
}

int main(int count, char **arguments) {
    begin();
    if (count > 1) {
        misuse(arguments[1]);
        return 2;
    }
    nothing();
    return 0;
}
