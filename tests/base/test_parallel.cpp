// The thread pool: every task once, exceptions, nesting, two users at once, changes of the number of threads.
#include <tenon/base/parallel.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace tenon;

namespace {
struct Threads {  // puts the number of threads back
    int before = num_threads();
    explicit Threads(int n) { set_num_threads(n); }
    ~Threads() { set_num_threads(before); }
};
}  // namespace

TEST_CASE("every task runs exactly once, whatever the number of threads") {
    for (const int threads : {1, 2, 3, 8}) {
        Threads scope(threads);
        CHECK(num_threads() == threads);
        for (const long tasks : {0l, 1l, 2l, 3l, 7l, 100l, 10000l}) {
            std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks) + 1);
            parallel_for(tasks, [&](long i) { ++runs[static_cast<std::size_t>(i)]; });
            bool once = runs[static_cast<std::size_t>(tasks)] == 0;
            for (long i = 0; i < tasks; ++i) once = once && runs[static_cast<std::size_t>(i)] == 1;
            INFO(threads << " threads, " << tasks << " tasks");
            CHECK(once);
        }
    }
}

TEST_CASE("what the tasks wrote is visible after the call") {
    Threads scope(2);
    for (int round = 0; round < 2000; ++round) {
        long values[16] = {};
        parallel_for(16, [&](long i) { values[i] = i + round; });
        long sum = 0;
        for (const long v : values) sum += v;
        REQUIRE(sum == 120 + 16 * round);
    }
}

TEST_CASE("a second thread really works") {
    Threads scope(2);
    // Two tasks that wait for each other finish only when they run at the same time; the limit ends the test if not.
    bool met = false;
    for (int attempt = 0; attempt < 20 && !met; ++attempt) {
        std::atomic<int> here{0};
        std::atomic<bool> both{false};
        parallel_for(2, [&](long) {
            ++here;
            for (int spin = 0; spin < 20000 && !both; ++spin) {
                if (here == 2) both = true;
                std::this_thread::yield();
            }
        });
        met = both;
    }
    CHECK(met);
}

TEST_CASE("an exception of a task reaches the caller, once, and the pool lives on") {
    for (const int threads : {1, 2, 4}) {
        Threads scope(threads);
        for (const long tasks : {1l, 2l, 100l}) {
            try {
                parallel_for(tasks, [&](long i) {
                    if (i == tasks / 2) throw std::runtime_error("task " + std::to_string(i));
                });
                FAIL("the exception was lost");
            } catch (const std::runtime_error& error) {
                CHECK(error.what() == "task " + std::to_string(tasks / 2));
            }
            std::atomic<long> sum{0};
            parallel_for(tasks, [&](long i) { sum += i; });
            CHECK(sum == tasks * (tasks - 1) / 2);
        }
        // All tasks throw: one of them arrives.
        CHECK_THROWS_AS(parallel_for(50, [](long) { throw std::logic_error("each"); }), std::logic_error);
    }
}

TEST_CASE("a nested call runs its tasks in line") {
    Threads scope(2);
    std::vector<std::atomic<int>> runs(20 * 30);
    std::atomic<int> strangers{0};
    parallel_for(20, [&](long i) {
        const auto self = std::this_thread::get_id();
        parallel_for(30, [&](long j) {
            if (std::this_thread::get_id() != self) ++strangers;
            ++runs[static_cast<std::size_t>(i * 30 + j)];
        });
    });
    bool once = true;
    for (const auto& r : runs) once = once && r == 1;
    CHECK(once);
    CHECK(strangers == 0);
    // An exception from two levels down.
    CHECK_THROWS_AS(parallel_for(4, [](long) { parallel_for(4, [](long j) { if (j == 3) throw 5; }); }), int);
}

TEST_CASE("two user threads share the pool without waiting for each other") {
    Threads scope(2);
    std::atomic<long> sum{0};
    std::atomic<int> errors{0};
    const auto user = [&](long salt) {
        for (int round = 0; round < 2000; ++round) {
            std::vector<long> out(64);
            parallel_for(64, [&](long i) { out[static_cast<std::size_t>(i)] = i * salt; });
            for (long i = 0; i < 64; ++i)
                if (out[static_cast<std::size_t>(i)] != i * salt) ++errors;
            sum += 1;
            if (round % 100 == 0) {
                bool caught = false;
                try {
                    parallel_for(8, [&](long i) { if (i == 5) throw salt; });
                } catch (const long value) {
                    caught = value == salt;  // and not the other user's
                }
                if (!caught) ++errors;
            }
        }
    };
    std::thread other(user, 3l);
    user(7);
    other.join();
    CHECK(sum == 4000);
    CHECK(errors == 0);
}

TEST_CASE("the number of threads may change between calls, and nonsense is refused") {
    Threads scope(1);
    for (int round = 0; round < 200; ++round) {
        set_num_threads(1 + round % 5);
        std::atomic<long> sum{0};
        parallel_for(33, [&](long i) { sum += i; });
        REQUIRE(sum == 33 * 16);
    }
    CHECK_THROWS_AS(set_num_threads(0), ValueError);
    CHECK_THROWS_AS(set_num_threads(-1), ValueError);
    CHECK_THROWS_AS(set_num_threads(257), ValueError);
    CHECK(num_threads() == 1 + 199 % 5);
    try {
        set_num_threads(0);
    } catch (const ValueError& error) {
        CHECK(error.what() == std::string("tenon: set_num_threads: 0 threads asked for, expected 1 to 256"));
    }
}

TEST_CASE("sleeping workers wake up for the next call") {
    Threads scope(3);
    for (int round = 0; round < 20; ++round) {
        std::atomic<long> sum{0};
        parallel_for(100, [&](long i) { sum += i; });
        REQUIRE(sum == 4950);
        std::this_thread::sleep_for(std::chrono::milliseconds(2));  // long past the spinning
    }
}

TEST_CASE("subnormal numbers are kept or taken for zero as the caller says, in all threads") {
    struct Mode {  // puts the mode back
        bool before = flushes_denormal();
        ~Mode() { set_flush_denormal(before); }
    } scope;
    // How many of so many tasks see a result and an operand below the smallest normal number.
    constexpr long rounds = 200, tasks = 4;
    const auto kept = [](int count) {
        Threads threads(count);
        std::atomic<long> seen{0};
        for (long round = 0; round < rounds; ++round) {
            std::atomic<int> here{0};
            parallel_for(tasks, [&](long) {
                ++here;
                for (int spin = 0; spin < 100 && here < count; ++spin) std::this_thread::yield();
                volatile float smallest = 1.17549435e-38f, half = 0.5f, subnormal = 1e-40f, large = 1e20f;
                const float result = smallest * half, read = subnormal * large;
                if (result > 0 && read > 0) ++seen;
                if ((result > 0) != (read > 0)) seen += 1000000;
            });
        }
        return seen.load();
    };
    for (const int count : {1, 2}) {
        REQUIRE(set_flush_denormal(false));
        CHECK_FALSE(flushes_denormal());
        CHECK(kept(count) == rounds * tasks);
        if (!set_flush_denormal(true)) continue;
        CHECK(flushes_denormal());
        CHECK(kept(count) == 0);
        set_flush_denormal(false);
        CHECK(kept(count) == rounds * tasks);
    }
}
