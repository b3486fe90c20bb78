// What the stand-in is, by variables of its process, which README.md lists.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

namespace stand_in {

void fault(const char *form, ...) {
    va_list arguments;
    va_start(arguments, form);
    fprintf(stderr, "stand-in for CUDA: ");
    vfprintf(stderr, form, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

static std::string text(const char *name, const char *otherwise) {
    const char *value = getenv((std::string("STAND_IN_") + name).c_str());
    return value ? value : otherwise;
}

static uint64_t number(const char *name, uint64_t otherwise) {
    const std::string value = text(name, "");
    if (value.empty()) return otherwise;
    char *end;
    const uint64_t found = strtoull(value.c_str(), &end, 10);
    if (*end) fault("STAND_IN_%s: found \"%s\", expected a number", name, value.c_str());
    return found;
}

// As CUDA has it, of numbers only: those up to the first that isn't one of a GPU.
static std::vector<int> visible(int gpus) {
    std::vector<int> found;
    const char *told = getenv("CUDA_VISIBLE_DEVICES");
    if (!told) {
        for (int gpu = 0; gpu < gpus; gpu++) found.push_back(gpu);
        return found;
    }
    while (*told) {
        char *end;
        const long gpu = strtol(told, &end, 10);
        if (end == told || gpu < 0 || gpu >= gpus) break;
        found.push_back((int)gpu);
        told = *end == ',' ? end + 1 : end;
    }
    return found;
}

const Settings &settings() {
    static const Settings found = [] {
        Settings all;
        all.gpus = (int)number("GPUS", 1);
        all.capability = (int)number("CAPABILITY", 90);
        all.pools = (int)number("POOLS", 1);
        all.version = (int)number("VERSION", 13000);
        all.memory = number("MEMORY", 8ull << 30);
        all.full_at = number("FULL_AT", UINT64_MAX);
        all.fails_at = number("FAILS_AT", 0);
        all.at_start = text("AT_START", "");
        all.at_context = text("AT_CONTEXT", "");
        all.exclusive = text("EXCLUSIVE", "");
        all.order = text("ORDER", "1");
        all.leaks = number("LEAKS", 0) != 0;
        all.visible = visible(all.gpus);
        return all;
    }();
    return found;
}

}  // namespace stand_in
