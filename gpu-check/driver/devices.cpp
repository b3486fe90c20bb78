// Devices and their contexts, and what a process leaves when it ends.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "driver.h"

namespace stand_in {

bool started = false;

static std::map<int, Context> contexts;
static thread_local Context *current;

// What contexts left when they went.
struct Left {
    size_t memory, bytes, streams, events, modules;
};
static Left left_behind;

Result enter(Context *&context) {
    if (!started) return NOT_INITIALIZED;
    context = current;
    if (!context) return INVALID_CONTEXT;
    if (context->retained == 0) fault("a call in a context that was given back");
    return context->failed;
}

static void at_start(const std::string &what) {
    if (what == "crash") abort();
    if (what == "hang")
        while (true) pause();
}

static void count(const Context *context, Left &left) {
    for (const auto &own : context->memory)
        if (!own.second.given_back) left.memory++, left.bytes += own.second.bytes;
    for (const Stream *own : streams) left.streams += own->context == context && !own->destroyed;
    for (const Event *own : events) left.events += own->context == context && !own->destroyed;
    for (const Module *own : modules) left.modules += own->context == context && !own->destroyed;
}

// What an object outlives that goes with its context.
static void end(Lock &lock, Context *context) {
    count(context, left_behind);
    forget(lock, context);
    give_back_all(context);
    for (Stream *own : streams) own->destroyed |= own->context == context;
    for (Event *own : events) own->destroyed |= own->context == context;
    for (Module *own : modules) own->destroyed |= own->context == context;
    if (context->lock_of_device >= 0) close(context->lock_of_device);
    context->lock_of_device = -1;
    context->failed = SUCCESS;
    if (current == context) current = nullptr;
}

// A device in exclusive mode is one process's: who has its file's lock has it.
static bool taken(Context *context) {
    if (settings().exclusive.empty()) return false;
    const std::string path = settings().exclusive + "/gpu" + std::to_string(context->device);
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) fault("%s can't be opened", path.c_str());
    if (flock(file, LOCK_EX | LOCK_NB)) {
        close(file);
        return true;
    }
    context->lock_of_device = file;
    return false;
}

// At the end of the process.
static void report() {
    Left left = left_behind;
    int retained = 0;
    for (const auto &own : contexts) {
        if (own.second.retained == 0) continue;
        retained++;
        count(&own.second, left);
    }
    fprintf(stderr,
            "stand-in for CUDA: left %d contexts, %zu pieces of memory (%zu bytes), %zu streams, "
            "%zu events, %zu modules, %zu bytes pinned\n",
            retained, left.memory, left.bytes, left.streams, left.events, left.modules,
            pinned_bytes());
}

static bool there(int device) {
    for (const int gpu : settings().visible)
        if (gpu == device) return true;
    return false;
}

}  // namespace stand_in

using namespace stand_in;

API int cuInit(unsigned flags) {
    Lock lock(everything);
    if (flags) return INVALID_VALUE;
    at_start(settings().at_start);
    if (settings().visible.empty()) return NO_DEVICE;
    if (!started && settings().leaks) atexit(report);
    started = true;
    return SUCCESS;
}

API int cuDriverGetVersion(int *version) {
    *version = settings().version;
    return SUCCESS;
}

API int cuDeviceGetCount(int *count) {
    if (!started) return NOT_INITIALIZED;
    *count = (int)settings().visible.size();
    return SUCCESS;
}

// A device is known by its number among all of the machine.
API int cuDeviceGet(int *device, int ordinal) {
    if (!started) return NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= (int)settings().visible.size()) return INVALID_DEVICE;
    *device = settings().visible[ordinal];
    return SUCCESS;
}

API int cuDeviceGetName(char *name, int length, int device) {
    if (!there(device)) return INVALID_DEVICE;
    snprintf(name, (size_t)length, "stand-in of plain C++");
    return SUCCESS;
}

API int cuDeviceGetUuid_v2(char *uuid, int device) {
    if (!there(device)) return INVALID_DEVICE;
    memcpy(uuid, "stand-in-for-GPU", 16);
    uuid[15] = (char)('0' + device);
    return SUCCESS;
}

API int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    if (!there(device)) return INVALID_DEVICE;
    *bytes = settings().memory;
    return SUCCESS;
}

API int cuDeviceGetAttribute(int *value, int which, int device) {
    if (!there(device)) return INVALID_DEVICE;
    switch (which) {
        case 20:  // mode: 3 is for one process alone
            *value = settings().exclusive.empty() ? 0 : 3;
            return SUCCESS;
        case 75:
            *value = settings().capability / 10;
            return SUCCESS;
        case 76:
            *value = settings().capability % 10;
            return SUCCESS;
        case 115:  // memory pools
            *value = settings().pools;
            return SUCCESS;
        default:
            fault("cuDeviceGetAttribute: attribute %d", which);
    }
}

API int cuDevicePrimaryCtxRetain(void **context, int device) {
    Lock lock(everything);
    if (!started) return NOT_INITIALIZED;
    if (!there(device)) return INVALID_DEVICE;
    at_start(settings().at_context);
    Context *own = &contexts[device];
    own->device = device;
    if (own->retained == 0 && taken(own)) return DEVICE_UNAVAILABLE;
    own->retained++;
    *context = own;
    return SUCCESS;
}

API int cuDevicePrimaryCtxRelease_v2(int device) {
    Lock lock(everything);
    if (!started) return NOT_INITIALIZED;
    const auto found = contexts.find(device);
    if (found == contexts.end() || found->second.retained == 0) return INVALID_CONTEXT;
    if (--found->second.retained == 0) end(lock, &found->second);
    return SUCCESS;
}

API int cuCtxSetCurrent(void *context) {
    Lock lock(everything);
    if (!started) return NOT_INITIALIZED;
    Context *own = (Context *)context;
    if (own && own->retained == 0) fault("cuCtxSetCurrent: a context that was given back");
    current = own;
    return SUCCESS;
}

API int cuGetErrorString(int error, const char **text) {
    switch (error) {
        case INVALID_VALUE: *text = "invalid argument"; break;
        case OUT_OF_MEMORY: *text = "out of memory"; break;
        case NOT_INITIALIZED: *text = "initialization error"; break;
        case DEVICE_UNAVAILABLE: *text = "CUDA-capable device(s) is/are busy or unavailable"; break;
        case NO_DEVICE: *text = "no CUDA-capable device is detected"; break;
        case INVALID_DEVICE: *text = "invalid device ordinal"; break;
        case INVALID_CONTEXT: *text = "invalid device context"; break;
        case NO_BINARY_FOR_GPU: *text = "no kernel image is available for execution"; break;
        case INVALID_PTX: *text = "a PTX JIT compilation failed"; break;
        case UNSUPPORTED_PTX_VERSION:
            *text = "the provided PTX was compiled with an unsupported toolchain.";
            break;
        case NOT_FOUND: *text = "named symbol not found"; break;
        case NOT_READY: *text = "device not ready"; break;
        case ILLEGAL_ADDRESS: *text = "an illegal memory access was encountered"; break;
        default: return INVALID_VALUE;
    }
    return SUCCESS;
}
