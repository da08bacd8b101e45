// The thread pool: parallel_for(tasks, f) runs f(0) ... f(tasks - 1), the caller works too.
//
// Workers spin for some tens of microseconds after a job, then sleep on a futex. A call made while the pool is busy
// (nested, or from another user thread) runs its tasks in line. What a task computes must not depend on which thread
// runs it: the split into tasks comes from the shape alone, so that the bits do not depend on the number of threads.
#pragma once

#include <tenon/base/error.hpp>

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>
#include <type_traits>

namespace tenon {
namespace detail {

inline void cpu_relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

class ThreadPool {
public:
    using Task = void (*)(void* context, long index);

    static constexpr int max_threads = 256;

    static ThreadPool& instance() {
        // Never destroyed: workers may outlive static destructors, and sleeping threads end with the process.
        static ThreadPool* pool = new ThreadPool;
        return *pool;
    }

    int threads() const { return __atomic_load_n(&threads_, __ATOMIC_RELAXED); }

    void set_threads(int threads) {
        if (threads < 1 || threads > max_threads)
            fail<ValueError>("set_num_threads: ", threads, " threads asked for, expected 1 to ", int(max_threads));
        __atomic_store_n(&threads_, threads, __ATOMIC_RELAXED);
    }

    void run(long tasks, void* context, Task task) {
        const int threads = this->threads();
        if (tasks <= 1 || threads <= 1 || __atomic_exchange_n(&busy_, 1, __ATOMIC_ACQUIRE) != 0) {
            for (long i = 0; i < tasks; ++i) task(context, i);
            return;
        }
        start_workers(threads - 1);
        // No worker touches the job between the join of the last one and the epoch below.
        task_ = task;
        context_ = context;
        tasks_ = tasks;
        const unsigned helpers = static_cast<unsigned>(threads - 1 < started_ ? threads - 1 : started_);
        __atomic_store_n(&next_, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&pending_, static_cast<int>(helpers), __ATOMIC_RELAXED);
        __atomic_store_n(&epoch_, ((epoch_ & ~helper_mask) + helper_mask + 1) | helpers, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&sleepers_, __ATOMIC_SEQ_CST) != 0) wake(&epoch_, max_threads);
        work();
        for (int spin = 0; __atomic_load_n(&pending_, __ATOMIC_ACQUIRE) != 0;) {
            if (++spin < spins) {
                cpu_relax();
                continue;
            }
            // A worker has lost its core: sleep instead of burning the time slice it needs.
            __atomic_store_n(&caller_sleeps_, 1, __ATOMIC_SEQ_CST);
            const int left = __atomic_load_n(&pending_, __ATOMIC_SEQ_CST);
            if (left != 0) wait(&pending_, left);
            __atomic_store_n(&caller_sleeps_, 0, __ATOMIC_RELAXED);
        }
        std::exception_ptr error = error_;
        error_ = nullptr;
        __atomic_store_n(&failed_, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&busy_, 0, __ATOMIC_RELEASE);
        if (error) std::rethrow_exception(error);
    }

private:
    static constexpr int spins = 4000;  // about 40 us
    // The epoch word counts jobs above these bits and says in them how many workers the job takes, so that one read
    // tells a worker both.
    static constexpr unsigned helper_mask = 511;

    ThreadPool() {
        cpu_set_t set;
        int count = 1;
        if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
        if (const char* wish = std::getenv("TENON_NUM_THREADS")) {
            const int asked = std::atoi(wish);
            if (asked >= 1) count = asked;
        }
        threads_ = count < 1 ? 1 : count > max_threads ? max_threads : count;
    }

    template <class Word>
    static void wait(Word* word, Word value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0); }
    template <class Word>
    static void wake(Word* word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0); }

    void start_workers(int wanted) {
        while (started_ < wanted) {
            pthread_t thread;
            Start* start = new Start{this, static_cast<unsigned>(started_), epoch_};
            if (pthread_create(&thread, nullptr, &ThreadPool::entry, start) != 0) {
                delete start;
                return;
            }
            pthread_detach(thread);
            ++started_;
        }
    }

    struct Start {
        ThreadPool* pool;
        unsigned index, epoch;
    };

    static void* entry(void* argument) {
        const Start start = *static_cast<Start*>(argument);
        delete static_cast<Start*>(argument);
        start.pool->serve(start.index, start.epoch);
        return nullptr;
    }

    void serve(unsigned index, unsigned seen) {
        for (;;) {
            for (int spin = 0; __atomic_load_n(&epoch_, __ATOMIC_ACQUIRE) == seen; ++spin) {
                if (spin < spins) {
                    cpu_relax();
                    continue;
                }
                __atomic_add_fetch(&sleepers_, 1, __ATOMIC_SEQ_CST);
                if (__atomic_load_n(&epoch_, __ATOMIC_SEQ_CST) == seen) wait(&epoch_, seen);
                __atomic_sub_fetch(&sleepers_, 1, __ATOMIC_SEQ_CST);
                spin = 0;
            }
            // A worker that the job does not take may see several jobs pass.
            seen = __atomic_load_n(&epoch_, __ATOMIC_ACQUIRE);
            if (index >= (seen & helper_mask)) continue;
            work();
            if (__atomic_sub_fetch(&pending_, 1, __ATOMIC_SEQ_CST) == 0 && __atomic_load_n(&caller_sleeps_, __ATOMIC_SEQ_CST) != 0)
                wake(&pending_, 1);
        }
    }

    void work() {
        for (;;) {
            const long i = __atomic_fetch_add(&next_, 1, __ATOMIC_RELAXED);
            if (i >= tasks_) return;
            if (__atomic_load_n(&failed_, __ATOMIC_RELAXED) != 0) continue;
            try {
                task_(context_, i);
            } catch (...) {
                if (__atomic_exchange_n(&failed_, 1, __ATOMIC_ACQ_REL) == 0) error_ = std::current_exception();
            }
        }
    }

    int threads_ = 1, started_ = 0, busy_ = 0, failed_ = 0;
    Task task_ = nullptr;
    void* context_ = nullptr;
    long tasks_ = 0;
    std::exception_ptr error_;
    alignas(64) unsigned epoch_ = 0;
    int sleepers_ = 0;
    alignas(64) long next_ = 0;
    alignas(64) int pending_ = 0;
    int caller_sleeps_ = 0;
};

}  // namespace detail

// Number of threads that parallel_for may use, the caller included (default: the cores of this process, or
// TENON_NUM_THREADS).
inline int num_threads() { return detail::ThreadPool::instance().threads(); }
// Sets it, for the whole process; results do not depend on it, only the time does. Throws ValueError outside 1..256.
inline void set_num_threads(int threads) { detail::ThreadPool::instance().set_threads(threads); }

// Calls f(i) for i in [0, tasks), on several threads when that helps. The first exception of a task is rethrown.
template <class F>
void parallel_for(long tasks, F&& f) {
    if (tasks == 1) return f(0L);
    using Body = std::remove_reference_t<F>;
    detail::ThreadPool::instance().run(
        tasks, const_cast<void*>(static_cast<const volatile void*>(&f)),
        [](void* context, long index) { (*static_cast<Body*>(context))(index); });
}

}  // namespace tenon
