// The thread pool: parallel_for(tasks, f) runs f(0) ... f(tasks - 1), the caller works too.
//
// Workers spin for some tens of microseconds after a job, then sleep on a futex. A call made while the pool is busy
// (nested, or from another user thread) runs its tasks in line. What a task computes must not depend on which thread
// runs it: the split into tasks comes from the shape alone, so that the bits do not depend on the number of threads. For the same
// reason workers round, and flush subnormals (denormals.hpp), as the caller does.
#pragma once

#include <tenon/base/denormals.hpp>
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
        // Nobody is inside the last job any more, and nobody enters before it is announced as open.
        task_ = task;
        context_ = context;
        tasks_ = tasks;
        control_ = float_control();
        const unsigned long helpers = static_cast<unsigned long>(threads - 1 < started_ ? threads - 1 : started_);
        __atomic_store_n(&next_, 0, __ATOMIC_RELAXED);
        // A worker that comes too late may still try to enter.
        const unsigned long epoch = (__atomic_load_n(&state_, __ATOMIC_RELAXED) >> epoch_shift) + 1;
        __atomic_store_n(&state_, epoch << epoch_shift | helpers << helpers_shift | open_bit, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&announced_, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&sleepers_, __ATOMIC_SEQ_CST) != 0) wake(&announced_, static_cast<int>(helpers));
        work();
        // All tasks are taken: who has not come by now is not waited for.
        unsigned long state = __atomic_and_fetch(&state_, ~open_bit, __ATOMIC_SEQ_CST);
        for (int spin = 0; (state & active_mask) != 0; state = __atomic_load_n(&state_, __ATOMIC_ACQUIRE)) {
            if (++spin < spins) {
                cpu_relax();
                continue;
            }
            // A worker has lost its core: sleep instead of burning the time slice it needs.
            __atomic_store_n(&caller_sleeps_, 1, __ATOMIC_SEQ_CST);
            state = __atomic_load_n(&state_, __ATOMIC_SEQ_CST);
            if ((state & active_mask) != 0) wait(reinterpret_cast<unsigned*>(&state_), static_cast<unsigned>(state));
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
    // The state of a job in one word: whether it is open, how many workers are inside, how many may enter, its number.
    // The low half is what the caller sleeps on.
    static constexpr unsigned long open_bit = 1, active_one = 2, active_mask = 0x3feul << 0;
    static constexpr int helpers_shift = 10, epoch_shift = 32;
    static constexpr unsigned long helpers_mask = 0x1fful << helpers_shift;

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

    static void wait(unsigned* word, unsigned value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0); }
    static void wake(unsigned* word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0); }

    void start_workers(int wanted) {
        while (started_ < wanted) {
            pthread_t thread;
            if (pthread_create(&thread, nullptr, &ThreadPool::entry, this) != 0) return;
            pthread_detach(thread);
            ++started_;
        }
    }

    static void* entry(void* pool) {
        static_cast<ThreadPool*>(pool)->serve();
        return nullptr;
    }

    // Enters the job that is open, unless this worker has been in it.
    bool enter(unsigned long& seen) {
        unsigned long state = __atomic_load_n(&state_, __ATOMIC_ACQUIRE);
        for (;;) {
            if ((state & open_bit) == 0 || state >> epoch_shift == seen) return false;
            if ((state & active_mask) / active_one >= (state & helpers_mask) >> helpers_shift) return false;
            if (__atomic_compare_exchange_n(&state_, &state, state + active_one, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
                seen = state >> epoch_shift;
                return true;
            }
        }
    }

    void serve() {
        unsigned long seen = 0;
        for (int spin = 0;;) {
            if (enter(seen)) {
                if (float_control() != control_) set_float_control(control_);
                work();
                const unsigned long left = __atomic_sub_fetch(&state_, active_one, __ATOMIC_SEQ_CST);
                if ((left & active_mask) == 0 && __atomic_load_n(&caller_sleeps_, __ATOMIC_SEQ_CST) != 0)
                    wake(reinterpret_cast<unsigned*>(&state_), 1);
                spin = 0;
                continue;
            }
            if (++spin < spins) {
                cpu_relax();
                continue;
            }
            const unsigned announced = __atomic_load_n(&announced_, __ATOMIC_SEQ_CST);
            __atomic_add_fetch(&sleepers_, 1, __ATOMIC_SEQ_CST);
            // A job announced since then makes the wait return at once.
            const unsigned long state = __atomic_load_n(&state_, __ATOMIC_SEQ_CST);
            if ((state & open_bit) == 0 || state >> epoch_shift == seen) wait(&announced_, announced);
            __atomic_sub_fetch(&sleepers_, 1, __ATOMIC_SEQ_CST);
            spin = 0;
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
    unsigned control_ = 0;
    std::exception_ptr error_;
    alignas(64) unsigned long state_ = 0;
    alignas(64) unsigned announced_ = 0;
    int sleepers_ = 0, caller_sleeps_ = 0;
    alignas(64) long next_ = 0;
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

// What one thread does in less time than this is not worth a fork: a second core must be woken or at least told, fetches
// what it reads from the caches of the first and hands back what it writes.
inline constexpr double fork_nanoseconds = 15000;

// The same for tasks that take one thread about this long in all: run in line where a fork would not pay.
template <class F>
void parallel_for(long tasks, double nanoseconds, F&& f) {
    if (nanoseconds >= fork_nanoseconds) return parallel_for(tasks, static_cast<F&&>(f));
    for (long i = 0; i < tasks; ++i) f(i);
}

}  // namespace tenon
