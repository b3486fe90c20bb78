// Modules of PTX, of which kernels' names and parameters are read, and launches of the kernels of
// the same names in plain C++.

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"

namespace stand_in {

std::set<Module *> modules;
static uint64_t launches;
// The kernel that the calling thread runs.
static thread_local const char *running;

constexpr int PARAMETERS_MAX = 64;

// Bytes of `.u64` and its like.
static int bytes_of(const char *type) {
    const int bits = *type == '.' && strchr("usbf", type[1]) ? atoi(type + 2) : 0;
    if (bits != 8 && bits != 16 && bits != 32 && bits != 64)
        fault("a parameter of type %.8s in the PTX", type);
    return bits / 8;
}

// The number after a directive, or -1.
static double after(const char *text, const char *directive) {
    const char *at = strstr(text, directive);
    return at ? strtod(at + strlen(directive), nullptr) : -1;
}

Result kernels_of(const char *image, std::map<std::string, Kernel> &kernels) {
    const std::string text = image;
    const size_t last = text.find_last_not_of(" \t\r\n");
    // A text that no zero byte ends goes on with whatever follows it.
    if (last == std::string::npos || text[last] != '}') return INVALID_PTX;
    for (const char letter : text)
        if (letter <= 0 || (!isprint(letter) && !isspace(letter))) return INVALID_PTX;
    const double version = after(image, "\n.version"), target = after(image, "\n.target sm_");
    if (version < 0 || target < 0) return INVALID_PTX;
    // Of CUDA 13.0 is PTX 9.0, of 12.8 8.7: later ones have later.
    if (version > (settings().version >= 13000 ? 9.0 : 8.7)) return UNSUPPORTED_PTX_VERSION;
    if (target > settings().capability) return NO_BINARY_FOR_GPU;
    const std::string entry = ".entry ";
    for (size_t at = text.find(entry); at != std::string::npos; at = text.find(entry, at)) {
        at += entry.size();
        const size_t open = text.find('(', at), close = text.find(')', open);
        const size_t body = text.find('{', close);
        if (body == std::string::npos) return INVALID_PTX;
        Kernel kernel;
        kernel.name = text.substr(at, open - at);
        const std::string parameter = ".param ";
        for (size_t next = text.find(parameter, open); next < close;
             next = text.find(parameter, next + 1))
            kernel.parameters.push_back(bytes_of(text.c_str() + next + parameter.size()));
        const double threads = after(text.substr(close, body - close).c_str(), ".maxntid");
        kernel.threads = threads < 0 ? 1024 : (int)threads;
        kernels[kernel.name] = kernel;
        at = body;
    }
    return kernels.empty() ? INVALID_PTX : SUCCESS;
}

// The plain C++ kernel must take what the PTX says that it takes.
static void compare(const Kernel &kernel) {
    int plain[PARAMETERS_MAX];
    const int count = plain_parameters(kernel.name.c_str(), plain, PARAMETERS_MAX);
    if (count < 0) fault("%s: the text has no such kernel", kernel.name.c_str());
    if (count != (int)kernel.parameters.size())
        fault("%s: the PTX declares %zu parameters, the text %d", kernel.name.c_str(),
              kernel.parameters.size(), count);
    for (int i = 0; i < count; i++)
        if (plain[i] != kernel.parameters[i])
            fault("%s: parameter %d has %d bytes in the PTX, %d in the text", kernel.name.c_str(),
                  i, kernel.parameters[i], plain[i]);
}

static struct sigaction before;

// A kernel beyond its memory meets a closed page.
static void closed(int signal, siginfo_t *, void *) {
    if (running) {
        const char *parts[] = {"stand-in for CUDA: ", running, " leaves its memory\n"};
        for (const char *part : parts)
            if (write(2, part, strlen(part)) < 0) break;
        abort();
    }
    sigaction(signal, &before, nullptr);
}

static void watch() {
    static bool watched = false;
    if (watched) return;
    struct sigaction own = {};
    own.sa_sigaction = closed;
    own.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &own, &before);
    watched = true;
}

// Addresses of the device among the arguments become those of the host.
static void launch(Context *context, const Kernel &kernel, std::vector<uint64_t> words, int x,
                   int y, uint64_t order) {
    void *places[PARAMETERS_MAX];
    for (size_t i = 0; i < words.size(); i++) {
        if (kernel.parameters[i] == 8 && words[i] >= FIRST_ADDRESS && words[i] >> 63 == 0)
            words[i] = (uint64_t)place_of(context, words[i], 0, kernel.name);
        places[i] = &words[i];
    }
    running = kernel.name.c_str();
    plain_run(running, x, y, kernel.threads, places, order, -1);
    running = nullptr;
}

}  // namespace stand_in

using namespace stand_in;

API int cuModuleLoadData(void **module, const void *image) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Module *made = new Module{context, false, {}};
    if (Result refused = kernels_of((const char *)image, made->kernels)) {
        delete made;
        return refused;
    }
    for (auto &kernel : made->kernels) kernel.second.module = made;
    modules.insert(made);
    *module = made;
    return SUCCESS;
}

API int cuModuleGetFunction(void **function, void *module, const char *name) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Module *own = (Module *)module;
    if (!modules.count(own) || own->destroyed) fault("cuModuleGetFunction: no module");
    if (own->context != context) fault("cuModuleGetFunction: a module of another context");
    const auto found = own->kernels.find(name);
    if (found == own->kernels.end()) return NOT_FOUND;
    compare(found->second);
    *function = &found->second;
    return SUCCESS;
}

API int cuModuleUnload(void *module) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Module *own = (Module *)module;
    if (!modules.count(own) || own->destroyed) fault("cuModuleUnload: no module");
    own->destroyed = true;
    return SUCCESS;
}

API int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads,
                       unsigned threads_y, unsigned threads_z, unsigned shared_bytes, void *stream,
                       void **arguments, void **extra) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Stream *own = stream_of(context, stream, "cuLaunchKernel");
    const Kernel &kernel = *(const Kernel *)function;
    if (!modules.count(kernel.module) || kernel.module->destroyed)
        fault("cuLaunchKernel: a kernel of a module that was unloaded");
    if (kernel.module->context != context) fault("cuLaunchKernel: a kernel of another context");
    if (extra || z != 1 || threads_y != 1 || threads_z != 1 || shared_bytes)
        fault("cuLaunchKernel: more than the text's kernels want");
    if (x == 0 || y == 0 || threads == 0 || x > 0x7fffffff || y > 65535 || threads > 1024)
        return INVALID_VALUE;
    if (threads > (unsigned)kernel.threads) return INVALID_VALUE;
    if (threads < (unsigned)kernel.threads)
        fault("%s: %u threads a group, the text has %d", kernel.name.c_str(), threads,
              kernel.threads);
    std::vector<uint64_t> words;
    for (size_t i = 0; i < kernel.parameters.size(); i++) {
        if (!arguments[i]) fault("%s: no argument %zu", kernel.name.c_str(), i);
        words.push_back(0);
        memcpy(&words.back(), arguments[i], (size_t)kernel.parameters[i]);
        if (kernel.parameters[i] == 8 && words[i] >= FIRST_ADDRESS && words[i] >> 63 == 0)
            within(context, words[i], 0, kernel.name.c_str());
    }
    watch();
    // A group's threads take turns in another order in each launch.
    const uint64_t order = own->asked;
    Operation operation{kernel.name, nullptr};
    if (++launches == settings().fails_at)
        operation.work = [=] {
            Lock lock(everything);
            context->failed = ILLEGAL_ADDRESS;
        };
    else
        operation.work = [=, &kernel] {
            launch(context, kernel, words, (int)x, (int)y, order);
        };
    append(lock, own, std::move(operation));
    return SUCCESS;
}
