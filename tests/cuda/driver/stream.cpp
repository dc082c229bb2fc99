// Streams are threads with queues, events are marks in them. The per-thread default stream (handle 2) is one for each calling thread, and
// no stream waits for another unless it is told to, as for streams that are made non-blocking.
#include "driver.h"
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace {
using Clock = std::chrono::steady_clock;

struct Stream {
    std::mutex mutex;
    std::condition_variable more, idle;
    std::deque<emulated::Work> queue;
    bool busy = false, ends = false;

    void run() {
        std::unique_lock lock(mutex);
        for (;;) {
            more.wait(lock, [&] { return ends || !queue.empty(); });
            if (queue.empty()) return;
            {
                auto work = std::move(queue.front());
                queue.pop_front();
                busy = true;
                lock.unlock();
                work();
            }
            lock.lock();
            busy = false;
            if (queue.empty()) idle.notify_all();
        }
    }
    void push(emulated::Work work) {
        std::lock_guard lock(mutex);
        queue.push_back(std::move(work));
        more.notify_one();
    }
    void wait() {
        std::unique_lock lock(mutex);
        idle.wait(lock, [&] { return queue.empty() && !busy; });
    }
};

struct Event {
    std::mutex mutex;
    std::condition_variable changed;
    long recorded = 0, done = 0;
    Clock::time_point when;
};

// Never freed, and no destructor runs at the end: threads of streams go on until the process is gone.
std::mutex &all_mutex = *new std::mutex;
std::vector<Stream *> &all = *new std::vector<Stream *>;

Stream *make() {
    auto *stream = new Stream;
    std::thread([=] { stream->run(); }).detach();
    std::lock_guard lock(all_mutex);
    all.push_back(stream);
    return stream;
}

Stream *named(void *handle) {
    if (handle == (void *)2) {
        static thread_local Stream *mine = make();
        return mine;
    }
    if (handle == nullptr || handle == (void *)1) {
        static Stream *legacy = make();
        return legacy;
    }
    return (Stream *)handle;
}
} // namespace

void enqueue(void *stream, emulated::Work work) { named(stream)->push(std::move(work)); }
void synchronize(void *stream) { named(stream)->wait(); }
void synchronize_all() {
    std::vector<Stream *> streams;
    {
        std::lock_guard lock(all_mutex);
        streams = all;
    }
    for (auto *stream : streams) stream->wait();
}
void log_streams() { fprintf(stderr, "emulated GPU: %zu streams\n", all.size()); }

API void emulated_enqueue(void *stream, const char *name, emulated::Work *work) {
    static const long long slow = setting("SLOW_US", 0);
    count_launch(name);
    enqueue(stream, [work = *work] {
        if (slow > 0) std::this_thread::sleep_for(std::chrono::microseconds(slow));
        work();
    });
}

API CUresult cuStreamCreate(void **stream, unsigned) { return *stream = make(), SUCCESS; }
API CUresult cuStreamCreateWithPriority(void **stream, unsigned, int) { return *stream = make(), SUCCESS; }
// What is queued is still done.
API CUresult cuStreamDestroy_v2(void *handle) {
    auto *stream = (Stream *)handle;
    std::lock_guard lock(stream->mutex);
    stream->ends = true;
    stream->more.notify_one();
    return SUCCESS;
}
API CUresult cuStreamSynchronize(void *stream) { return synchronize(stream), SUCCESS; }
API CUresult cuStreamIsCapturing(void *, int *capturing) { return *capturing = 0, SUCCESS; }
API CUresult cuCtxSynchronize() { return synchronize_all(), SUCCESS; }
API CUresult cuLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
    return enqueue(stream, [=] { function(data); }), SUCCESS;
}

API CUresult cuEventCreate(void **event, unsigned) { return *event = new Event, SUCCESS; }
// Work that is queued may still name it, so it is not freed.
API CUresult cuEventDestroy_v2(void *) { return SUCCESS; }
API CUresult cuEventRecord(void *handle, void *stream) {
    auto *event = (Event *)handle;
    std::unique_lock lock(event->mutex);
    long nth = ++event->recorded;
    lock.unlock();
    enqueue(stream, [=] {
        std::lock_guard lock(event->mutex);
        event->done = std::max(event->done, nth);
        event->when = Clock::now();
        event->changed.notify_all();
    });
    return SUCCESS;
}
// Waits for what was recorded when it was called, be that recorded again.
API CUresult cuStreamWaitEvent(void *stream, void *handle, unsigned) {
    auto *event = (Event *)handle;
    std::unique_lock lock(event->mutex);
    long nth = event->recorded;
    lock.unlock();
    enqueue(stream, [=] {
        std::unique_lock lock(event->mutex);
        event->changed.wait(lock, [=] { return event->done >= nth; });
    });
    return SUCCESS;
}
API CUresult cuEventSynchronize(void *handle) {
    auto *event = (Event *)handle;
    std::unique_lock lock(event->mutex);
    event->changed.wait(lock, [=, nth = event->recorded] { return event->done >= nth; });
    return SUCCESS;
}
API CUresult cuEventQuery(void *handle) {
    auto *event = (Event *)handle;
    std::lock_guard lock(event->mutex);
    return event->done == event->recorded ? SUCCESS : NOT_READY;
}
API CUresult cuEventElapsedTime_v2(float *ms, void *from, void *to) {
    if (cuEventQuery(from) != SUCCESS || cuEventQuery(to) != SUCCESS) return NOT_READY;
    return *ms = std::chrono::duration<float, std::milli>(((Event *)to)->when - ((Event *)from)->when).count(), SUCCESS;
}
API CUresult cuEventElapsedTime(float *ms, void *from, void *to) { return cuEventElapsedTime_v2(ms, from, to); }
