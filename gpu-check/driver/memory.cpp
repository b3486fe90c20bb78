// Memory of the devices, each piece between two closed pages, memory of the host that is pinned,
// and copies.

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"

namespace stand_in {

// Memory ends at a closed page but for what brings its beginning to a multiple of this.
constexpr size_t ALIGNED = 16;
// No two pieces of memory are nearer than that.
constexpr Address APART = 1 << 20;

static Address next_address = FIRST_ADDRESS;
// By their beginnings.
static std::map<const char *, size_t> pinned_pieces;

static size_t page() {
    static const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    return bytes;
}

// `bytes` between two closed pages; nothing of it is a number.
static char *mapped(size_t bytes, char *&mapping, size_t &whole) {
    const size_t inside = (bytes + page() - 1) / page() * page();
    whole = inside + 2 * page();
    void *made = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) fault("no memory for %zu bytes", bytes);
    mapping = (char *)made;
    if (mprotect(mapping + page(), inside, PROT_READ | PROT_WRITE)) fault("no memory");
    char *place = mapping + page() + (inside - (bytes + ALIGNED - 1) / ALIGNED * ALIGNED);
    memset(place, 0xff, bytes);
    return place;
}

// The piece in which an address lies, given back or not.
static std::map<Address, Memory>::iterator piece(Context *context, Address at) {
    auto found = context->memory.upper_bound(at);
    if (found == context->memory.begin()) return context->memory.end();
    --found;
    return at - found->first <= found->second.bytes ? found : context->memory.end();
}

void within(Context *context, Address at, size_t bytes, const char *call) {
    if (at < FIRST_ADDRESS) fault("%s: %#lx is no address of a device", call, at);
    const auto found = piece(context, at);
    if (found == context->memory.end() || found->second.given_back)
        fault("%s: memory that was given back, or that never was", call);
    const size_t left = found->second.bytes - (at - found->first);
    if (bytes > left) fault("%s: %zu bytes where %zu are left", call, bytes, left);
}

char *place_of(Context *context, Address at, size_t bytes, const std::string &what) {
    Lock lock(everything);
    const auto found = piece(context, at);
    if (found == context->memory.end())
        fault("%s runs after its memory was given back", what.c_str());
    if (!found->second.place) fault("%s runs before its memory is there", what.c_str());
    if (bytes > found->second.bytes - (at - found->first)) fault("%s is too long", what.c_str());
    return found->second.place + (at - found->first);
}

static void give_back(Context *context, std::map<Address, Memory>::iterator found) {
    if (found->second.mapping) munmap(found->second.mapping, found->second.mapped);
    context->held -= found->second.bytes;
    context->memory.erase(found);
}

void give_back_all(Context *context) {
    while (!context->memory.empty()) give_back(context, context->memory.begin());
}

const char *pinned(const void *at, size_t bytes, const char *call) {
    const char *from = (const char *)at;
    auto found = pinned_pieces.upper_bound(from);
    if (found != pinned_pieces.begin()) {
        --found;
        if (from < found->first + found->second) {
            if (from + bytes > found->first + found->second)
                fault("%s: bytes beyond pinned memory", call);
            return found->first;
        }
    }
    return nullptr;
}

size_t pinned_bytes() {
    size_t bytes = 0;
    for (const auto &own : pinned_pieces) bytes += own.second;
    return bytes;
}

}  // namespace stand_in

using namespace stand_in;

API int cuMemGetInfo_v2(size_t *free, size_t *total) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    *total = settings().memory;
    *free = *total - context->held;
    return SUCCESS;
}

// A device has one pool, which is known by its context.
API int cuDeviceGetDefaultMemPool(void **pool, int device) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    if (context->device != device) fault("cuDeviceGetDefaultMemPool: of another device");
    if (!settings().pools) return INVALID_VALUE;
    *pool = context;
    return SUCCESS;
}

// How much a pool keeps of what is given back can't be seen here.
API int cuMemPoolSetAttribute(void *pool, int which, void *value) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    if (pool != context) fault("cuMemPoolSetAttribute: no pool of this context");
    if (which != 4) fault("cuMemPoolSetAttribute: attribute %d", which);
    return value ? SUCCESS : INVALID_VALUE;
}

API int cuMemAllocAsync(Address *at, size_t bytes, void *stream) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Stream *own = stream_of(context, stream, "cuMemAllocAsync");
    if (bytes == 0) return INVALID_VALUE;
    const uint64_t most = std::min(settings().memory, settings().full_at);
    if (context->held + bytes > most) {
        // What is on its way back comes back first.
        for (Stream *other : streams)
            if (other->context == context) run(lock, other, other->asked);
        if (context->failed) return context->failed;
        if (context->held + bytes > most) return OUT_OF_MEMORY;
    }
    context->held += bytes;
    const Address address = next_address;
    next_address += (bytes + APART - 1) / APART * APART + APART;
    context->memory[address] = Memory{bytes, nullptr, nullptr, 0, false};
    Operation make{"memory", [=] {
        char *mapping;
        size_t whole;
        char *place = mapped(bytes, mapping, whole);
        Lock lock(everything);
        Memory &memory = context->memory[address];
        memory.place = place;
        memory.mapping = mapping;
        memory.mapped = whole;
    }};
    append(lock, own, std::move(make));
    *at = address;
    return SUCCESS;
}

API int cuMemFreeAsync(Address at, void *stream) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Stream *own = stream_of(context, stream, "cuMemFreeAsync");
    const auto found = context->memory.find(at);
    if (found == context->memory.end() || found->second.given_back)
        fault("cuMemFreeAsync: memory that was given back, or that never was");
    found->second.given_back = true;
    Operation free{"memory goes back", [=] {
        place_of(context, at, 0, "giving memory back");
        Lock lock(everything);
        give_back(context, context->memory.find(at));
    }};
    append(lock, own, std::move(free));
    return SUCCESS;
}

API int cuMemsetD8Async(Address at, unsigned char with, size_t bytes, void *stream) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Stream *own = stream_of(context, stream, "cuMemsetD8Async");
    within(context, at, bytes, "cuMemsetD8Async");
    Operation fill{"filling", [=] {
        memset(place_of(context, at, bytes, "filling"), with, bytes);
    }};
    append(lock, own, std::move(fill));
    return SUCCESS;
}

API int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Stream *own = stream_of(context, stream, "cuMemcpyHtoDAsync");
    within(context, to, bytes, "cuMemcpyHtoDAsync");
    const char *held = pinned(from, bytes, "cuMemcpyHtoDAsync");
    // Pinned bytes are taken when the copy begins, others while the call lasts.
    std::vector<char> taken;
    if (!held) taken.assign((const char *)from, (const char *)from + bytes);
    Operation copy{"a copy up", [=, taken = std::move(taken)] {
        memcpy(place_of(context, to, bytes, "a copy up"), held ? from : taken.data(), bytes);
    }};
    copy.host = held;
    append(lock, own, std::move(copy));
    return SUCCESS;
}

API int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Stream *own = stream_of(context, stream, "cuMemcpyDtoHAsync");
    within(context, from, bytes, "cuMemcpyDtoHAsync");
    const char *held = pinned(to, bytes, "cuMemcpyDtoHAsync");
    Operation copy{"a copy down", [=] {
        memcpy(to, place_of(context, from, bytes, "a copy down"), bytes);
    }};
    copy.host = held;
    const uint64_t length = append(lock, own, std::move(copy));
    // To other memory than pinned the call lasts until the copy is over.
    if (!held) run(lock, own, length);
    return context->failed;
}

API int cuMemHostAlloc(void **to, size_t bytes, unsigned) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    char *mapping;
    size_t whole;
    char *place = mapped(bytes, mapping, whole);
    pinned_pieces[place] = bytes;
    *to = place;
    return SUCCESS;
}

// Its pages stay closed, so that nobody uses them any more without being seen.
API int cuMemFreeHost(void *at) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    const auto found = pinned_pieces.find((const char *)at);
    if (found == pinned_pieces.end()) fault("cuMemFreeHost: no pinned memory");
    for (const Stream *stream : streams)
        for (const Operation &operation : stream->pending)
            if (operation.host == found->first)
                fault("cuMemFreeHost: %s still uses it", operation.what.c_str());
    const uintptr_t first = (uintptr_t)at / page() * page();
    const size_t whole = ((uintptr_t)at + found->second - first + page() - 1) / page() * page();
    mprotect((void *)first, whole, PROT_NONE);
    pinned_pieces.erase(found);
    return SUCCESS;
}
