// A stand-in for CUDA's driver: a libcuda.so whose GPUs run the kernels of the device text as plain
// C++ (../../src/kernel/text/plain.cpp), so that the program's launcher for CUDA runs where no GPU
// is. README.md says what it shows and what it can't.
//
// What is queued on a stream runs when a call has to have waited for it, or earlier, in an order
// that is drawn among those that streams and events allow. What a program mustn't do ends it.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace stand_in {

// Those of CUDA's results that it gives.
enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    DEVICE_UNAVAILABLE = 46,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_PTX = 218,
    UNSUPPORTED_PTX_VERSION = 222,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
};

// Where a call of the driver's begins: no other thread is in one, except while it waits or works.
typedef std::unique_lock<std::mutex> Lock;

// An address on a device: none of the host's, and none comes twice.
typedef uint64_t Address;
constexpr Address FIRST_ADDRESS = 1ull << 60;

struct Stream;

// What a stream is to do. `work` runs without the lock.
struct Operation {
    std::string what;
    std::function<void()> work;
    // It begins when that stream has done so much.
    Stream *after = nullptr;
    uint64_t until = 0;
    // Pinned memory of the host that it reads or writes.
    const char *host = nullptr;
};

struct Memory {
    size_t bytes;
    // Where it lies on the host, once its stream has come to it; `mapping` has closed pages around.
    char *place, *mapping;
    size_t mapped;
    // By a call; its stream may come to that later.
    bool given_back;
};

// A device's primary context.
struct Context {
    int device;
    int retained = 0;
    // A launch that failed: every later call gives it.
    Result failed = SUCCESS;
    uint64_t held = 0;
    // By their first address.
    std::map<Address, Memory> memory;
    int lock_of_device = -1;
};

struct Stream {
    Context *context;
    // The number of the thread that made it.
    int owner;
    bool destroyed = false, busy = false;
    std::deque<Operation> pending;
    uint64_t asked = 0, done = 0;
};

struct Event {
    Context *context;
    bool destroyed = false;
    // What it was recorded after, if it was.
    Stream *stream = nullptr;
    uint64_t until = 0;
};

struct Kernel {
    std::string name;
    std::vector<int> parameters;
    int threads = 0;
    struct Module *module = nullptr;
};

struct Module {
    Context *context;
    bool destroyed = false;
    std::map<std::string, Kernel> kernels;
};

// What its variables say it is (settings.cpp).
struct Settings {
    int gpus;
    int capability;
    int pools;
    int version;
    uint64_t memory, full_at, fails_at;
    std::string at_start, at_context, exclusive, order;
    bool leaks;
    // Numbers of the GPUs that CUDA_VISIBLE_DEVICES leaves, in its order.
    std::vector<int> visible;
};

const Settings &settings();

// Ends the process: what a program mustn't do, or what this stand-in doesn't know.
[[noreturn]] void fault(const char *form, ...) __attribute__((format(printf, 1, 2)));

extern std::mutex everything;
extern bool started;
extern std::set<Stream *> streams;
extern std::set<Event *> events;
extern std::set<Module *> modules;

// The calling thread's current context. Gives why the call fails, if it does.
Result enter(Context *&context);

// Those that are in use; it is a fault where one isn't, or is another context's.
Stream *stream_of(Context *context, void *handle, const char *call);
Event *event_of(Context *context, void *handle, const char *call);

// Appends to a stream, and has this thread's streams go on as far as is drawn. Gives the stream's
// length then.
uint64_t append(Lock &lock, Stream *stream, Operation operation);
// Has a stream do what was appended to it before `until`.
void run(Lock &lock, Stream *stream, uint64_t until);
// Has this thread's streams go on as far as is drawn; one operation of `asked`, if it can.
void go_on(Lock &lock, Stream *asked);
// Forgets what streams of a context haven't done.
void forget(Lock &lock, Context *context);
// How a thread's streams go on from now on.
void order(const std::string &text);
int thread_number();

// Whether so many bytes lie in memory that nobody has given back by a call; a fault where not.
void within(Context *context, Address at, size_t bytes, const char *call);
// Where they are, for an operation that begins.
char *place_of(Context *context, Address at, size_t bytes, const std::string &what);
// The context's memory goes.
void give_back_all(Context *context);
// The beginning of the pinned memory that holds these bytes; null where none does.
const char *pinned(const void *at, size_t bytes, const char *call);
// Pinned memory of the host that is there, in bytes.
size_t pinned_bytes();

// Kernels that a text of PTX has, with their parameters.
Result kernels_of(const char *image, std::map<std::string, Kernel> &kernels);

}  // namespace stand_in

// plain.cpp.
extern "C" int plain_run(const char *name, int groups_x, int groups_y, int threads,
                         void *const *arguments, uint64_t order, int left_out);
extern "C" int plain_parameters(const char *name, int *bytes, int most);
