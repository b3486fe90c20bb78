// Streams and events: what may run before what, and when it does.

#include <stdlib.h>

#include "driver.h"

namespace stand_in {

std::mutex everything;
std::set<Stream *> streams;
std::set<Event *> events;
static std::condition_variable gone_on;

// As many launches as CUDA's driver queues before a call waits.
constexpr size_t PENDING_MAX = 1024;

// How a thread's streams go on while nobody waits for them.
struct Order {
    enum { LATE, AT_ONCE, DRAWN } kind;
    uint64_t state;

    explicit Order(const std::string &text) : kind(DRAWN), state(0) {
        if (text == "late") {
            kind = LATE;
        } else if (text == "now") {
            kind = AT_ONCE;
        } else {
            char *end;
            state = strtoull(text.c_str(), &end, 10) + (uint64_t)thread_number();
            if (*end) fault("order \"%s\": expected late, now or a seed", text.c_str());
            // Seeds that are near give draws that aren't.
            state *= 0x9e3779b97f4a7c15ull;
            state ^= state >> 29;
        }
    }

    uint64_t below(uint64_t bound) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        return (state >> 33) % bound;
    }
};

int thread_number() {
    static int threads = 0;
    static thread_local int own = -1;
    if (own < 0) own = threads++;
    return own;
}

static Order &own_order() {
    static thread_local Order own(settings().order);
    return own;
}

void order(const std::string &text) { own_order() = Order(text); }

Stream *stream_of(Context *context, void *handle, const char *call) {
    Stream *stream = (Stream *)handle;
    if (!stream) fault("%s: the default stream isn't there: one has to be made", call);
    if (!streams.count(stream)) fault("%s: no stream", call);
    if (stream->destroyed) fault("%s: a stream that was destroyed", call);
    if (stream->context != context) fault("%s: a stream of another context", call);
    return stream;
}

Event *event_of(Context *context, void *handle, const char *call) {
    Event *event = (Event *)handle;
    if (!events.count(event)) fault("%s: no event", call);
    if (event->destroyed) fault("%s: an event that was destroyed", call);
    if (event->context != context) fault("%s: an event of another context", call);
    return event;
}

static bool ready(const Stream *stream) {
    if (stream->busy || stream->pending.empty()) return false;
    const Operation &next = stream->pending.front();
    return !next.after || next.after->done >= next.until;
}

// Does what a stream that is ready has first.
static void step(Lock &lock, Stream *stream) {
    Operation operation = std::move(stream->pending.front());
    stream->pending.pop_front();
    stream->busy = true;
    // Nothing runs after a launch that failed.
    if (operation.work && !stream->context->failed) {
        lock.unlock();
        operation.work();
        lock.lock();
    }
    stream->busy = false;
    stream->done++;
    gone_on.notify_all();
}

void run(Lock &lock, Stream *stream, uint64_t until) {
    while (stream->done < until) {
        if (stream->busy) {
            gone_on.wait(lock);
        } else if (ready(stream)) {
            step(lock, stream);
        } else {
            const Operation &next = stream->pending.front();
            run(lock, next.after, next.until);
        }
    }
}

void go_on(Lock &lock, Stream *asked) {
    Order &own = own_order();
    std::vector<Stream *> mine;
    for (Stream *stream : streams)
        if (stream->owner == thread_number() && !stream->pending.empty()) mine.push_back(stream);
    if (own.kind == Order::AT_ONCE) {
        for (Stream *stream : mine) run(lock, stream, stream->asked);
    } else if (own.kind == Order::DRAWN && !mine.empty()) {
        // Mostly a few, at times many: streams come far before others and far behind them.
        const uint64_t most = own.below(8) == 0 ? 64 : 4;
        for (uint64_t left = own.below(most); left > 0; left--) {
            Stream *stream = mine[own.below(mine.size())];
            if (ready(stream)) step(lock, stream);
        }
    }
    // Who asks again and again comes to an end.
    while (asked && !asked->pending.empty() && !asked->busy) {
        if (ready(asked)) return step(lock, asked);
        asked = asked->pending.front().after;
    }
}

uint64_t append(Lock &lock, Stream *stream, Operation operation) {
    stream->pending.push_back(std::move(operation));
    const uint64_t length = ++stream->asked;
    go_on(lock, nullptr);
    while (stream->pending.size() > PENDING_MAX) run(lock, stream, stream->done + 1);
    return length;
}

void forget(Lock &lock, Context *context) {
    for (Stream *stream : streams) {
        if (stream->context != context) continue;
        while (stream->busy) gone_on.wait(lock);
        stream->done += stream->pending.size();
        stream->pending.clear();
    }
    gone_on.notify_all();
}

}  // namespace stand_in

using namespace stand_in;

API int cuStreamCreate(void **stream, unsigned flags) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    if (flags != 1) fault("cuStreamCreate: a stream that waits for the default stream");
    Stream *made = new Stream{context, thread_number(), false, false, {}, 0, 0};
    streams.insert(made);
    *stream = made;
    return SUCCESS;
}

API int cuStreamSynchronize(void *stream) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Stream *own = stream_of(context, stream, "cuStreamSynchronize");
    run(lock, own, own->asked);
    return context->failed;
}

// What it has left goes on.
API int cuStreamDestroy_v2(void *stream) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    stream_of(context, stream, "cuStreamDestroy")->destroyed = true;
    return SUCCESS;
}

API int cuStreamWaitEvent(void *stream, void *event, unsigned) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Stream *own = stream_of(context, stream, "cuStreamWaitEvent");
    const Event *mark = event_of(context, event, "cuStreamWaitEvent");
    // An event that was never recorded keeps nobody waiting.
    if (mark->stream && mark->stream != own) {
        Operation wait{"a wait", nullptr, mark->stream, mark->until};
        append(lock, own, std::move(wait));
    }
    return SUCCESS;
}

API int cuEventCreate(void **event, unsigned) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Event *made = new Event{context};
    events.insert(made);
    *event = made;
    return SUCCESS;
}

API int cuEventRecord(void *event, void *stream) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    Event *mark = event_of(context, event, "cuEventRecord");
    Stream *own = stream_of(context, stream, "cuEventRecord");
    mark->stream = own;
    mark->until = own->asked;
    go_on(lock, nullptr);
    return SUCCESS;
}

API int cuEventQuery(void *event) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    const Event *mark = event_of(context, event, "cuEventQuery");
    if (!mark->stream || mark->stream->done >= mark->until) return SUCCESS;
    go_on(lock, mark->stream);
    if (context->failed) return context->failed;
    return mark->stream->done >= mark->until ? SUCCESS : NOT_READY;
}

API int cuEventSynchronize(void *event) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    const Event *mark = event_of(context, event, "cuEventSynchronize");
    if (mark->stream) run(lock, mark->stream, mark->until);
    return context->failed;
}

API int cuEventDestroy_v2(void *event) {
    Lock lock(everything);
    Context *context;
    if (Result failed = enter(context)) return failed;
    event_of(context, event, "cuEventDestroy")->destroyed = true;
    return SUCCESS;
}

// For tests in one process with it: how the calling thread's streams go on.
API void stand_in_order(const char *text) {
    Lock lock(everything);
    order(text);
}
