// Runs the blocks of a launch one after the other, and the threads of a block as fibres.
//
// A fibre runs threads of a warp in a loop until one of them has to wait; only then is another fibre needed, so a kernel without barriers
// is a plain loop. A warp runs until all of its threads wait at a barrier of the block (or are done), with warp operations completed by the
// last lane that arrives.
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "../emulator/control.hpp"
#include "../emulator/shared.hpp"
#include "../emulator/warp.hpp"
#include "access.hpp"
#include "fibre.hpp"
#include "host.hpp"
#include "memory.hpp"
#include "races.hpp"
#include "running.hpp"

// Declared const in types.hpp, for the code of kernels.
uint3 thread_index asm("threadIdx");
uint3 block_index asm("blockIdx");
uint3 block_size asm("blockDim");
uint3 grid_size asm("gridDim");

namespace cuda_emulator {

Running running;
thread_local bool in_kernel __attribute__((tls_model("initial-exec"))) = false;

namespace {

enum class Status : unsigned char { unstarted, runnable, at_warp, at_block, done };

struct Thread {
    Status status;
    uint3 index;
    unsigned number;
    Fibre* fibre;
    fcontext_t context;
    // What it waits for.
    Warp operation;
    unsigned mask;
    int lane, width;
    Block barrier;
    int predicate;
    Place place;
    unsigned long long value, result;
};

struct WarpState {
    unsigned exited, waiting, epoch;
};

struct SharedArray {
    const void* key;
    size_t bytes;
    uintptr_t address;
    bool ready;
};

constexpr size_t static_limit = 48 << 10, red_zone = 256;
constexpr unsigned max_threads = 1024;

// The block that runs.
Thread threads[max_threads];
WarpState warps[max_threads / 32];
unsigned thread_count, warp_count, finished;
Thread* current;
fcontext_t scheduler;
bool aborted;
cudaError_t abort_error;
uint32_t epoch = 1;
Launch* launched;
std::vector<SharedArray>& shared_arrays = *new std::vector<SharedArray>;
uintptr_t shared_end;
size_t shared_static_bytes;
const char dynamic_key = 0;

Order order = Order::forward;
unsigned long long seed = 1, random_state = 1;

unsigned long long next_random() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

__attribute__((constructor)) void read_environment() {
    if (const char* races = getenv("TENON_EMULATOR_RACES")) check_races = strcmp(races, "0") != 0;
    const char* text = getenv("TENON_EMULATOR_ORDER");
    if (text == nullptr) return;
    if (strcmp(text, "reverse") == 0) set_order(Order::reverse);
    if (strncmp(text, "random", 6) == 0) {
        set_order(Order::random, text[6] == ':' ? strtoull(text + 7, nullptr, 10) : static_cast<unsigned long long>(time(nullptr)));
        // Wrong results are no fault that would print it.
        fprintf(stderr, "cuda emulator: TENON_EMULATOR_ORDER=random:%llu\n", seed);
    }
}

// Fills order_of with 0 .. count - 1 in the order of the day.
void arrange(unsigned* order_of, unsigned count) {
    for (unsigned i = 0; i < count; ++i) order_of[i] = order == Order::reverse ? count - 1 - i : i;
    if (order == Order::random)
        for (unsigned i = count; i > 1; --i) std::swap(order_of[i - 1], order_of[next_random() % i]);
}

std::string where(const Thread& thread) {
    return text("kernel %s, block (%u, %u, %u), thread (%u, %u, %u)%s",
                function_name(reinterpret_cast<const void*>(launched->kernel)).c_str(), block_index.x, block_index.y, block_index.z,
                thread.index.x, thread.index.y, thread.index.z, order_text().c_str());
}

// A fault that the scheduler finds, between threads.
void scheduler_fault(cudaError_t error, const Thread& thread, const std::string& what) {
    in_kernel = false;
    keep_fault(what + ", in " + where(thread));
    aborted = true;
    abort_error = error;
}

std::string state_of_thread(const Thread& thread) {
    switch (thread.status) {
        case Status::done: return "has left the kernel";
        case Status::at_block: return text("waits at the barrier of %s:%d", thread.place.file, thread.place.line);
        case Status::at_warp:
            return text("waits in a warp operation of mask %#x at %s:%d", thread.mask, thread.place.file, thread.place.line);
        default: return "runs";
    }
}

void enter(Thread& thread, Fibre* fibre) {
    current = &thread;
    thread.fibre = fibre;
    thread_index = thread.index;
    running.stack_low = fibre->stack_low;
    running.stack_high = fibre->stack_high;
    running.stamp = race_stamp(epoch, thread.number, warps[thread.number / 32].epoch);
    running.accesses = 0;
}

void leave(Thread& thread) {
    thread.status = Status::done;
    ++finished;
    warps[thread.number / 32].exited |= 1u << thread.number % 32;
}

unsigned lane_order[32];

void fibre_main(transfer_t from) {
    scheduler = from.fctx;
    Fibre* self = static_cast<Fibre*>(from.data);
    for (;;) {
        for (Thread* thread = current; thread != nullptr;) {
            // The fault leaves the fibre for good, so not from within a handler.
            const char* thrown = nullptr;
            static char message[512];
            try {
                launched->call(launched->kernel, launched->arguments.data());
            } catch (const std::exception& error) {
                snprintf(message, sizeof message, ": %s", error.what());
                thrown = message;
            } catch (...) {
                thrown = "";
            }
            if (thrown != nullptr) kernel_fault(cudaErrorLaunchFailure, "an exception left the kernel%s", thrown);
            thread = current;
            leave(*thread);
            Thread* warp = threads + thread->number / 32 * 32;
            thread = nullptr;
            for (unsigned i = 0; i < 32; ++i) {
                Thread& next = warp[lane_order[i]];
                if (next.status == Status::unstarted && next.number < thread_count) {
                    thread = &next;
                    break;
                }
            }
            if (thread != nullptr) enter(*thread, self);
        }
        current = nullptr;
        transfer_t again = jump_fcontext(scheduler, self);
        scheduler = again.fctx;
    }
}

// Runs a thread until it waits, or until its fibre has no more threads to run.
void resume(Thread& thread) {
    Fibre* fibre = thread.status == Status::unstarted ? take_fibre(fibre_main) : thread.fibre;
    fcontext_t target = thread.status == Status::unstarted ? fibre->context : thread.context;
    enter(thread, fibre);
    in_kernel = true;
    transfer_t back = jump_fcontext(target, fibre);
    in_kernel = false;
    if (aborted) return;
    if (current != nullptr) {
        current->context = back.fctx;
    } else {
        fibre->context = back.fctx;
        return_fibre(fibre);
    }
}

void wait(Thread& thread, Status status) {
    thread.status = status;
    transfer_t again = jump_fcontext(scheduler, nullptr);
    scheduler = again.fctx;
}

const char* name_of(Warp operation) {
    const char* names[] = {"__syncwarp",        "__shfl_sync",       "__shfl_up_sync",    "__shfl_down_sync",  "__shfl_xor_sync",
                           "__ballot_sync",     "__any_sync",        "__all_sync",        "__reduce_add_sync", "__reduce_min_sync",
                           "__reduce_min_sync", "__reduce_max_sync", "__reduce_max_sync", "__reduce_and_sync", "__reduce_or_sync",
                           "__reduce_xor_sync", "__match_any_sync"};
    return names[static_cast<int>(operation)];
}

// The lane that a shuffle reads.
int source_lane(const Thread& thread, int lane) {
    const int low = lane & ~(thread.width - 1), high = low + thread.width;
    switch (thread.operation) {
        case Warp::shuffle: return low + (thread.lane & (thread.width - 1));
        case Warp::shuffle_up: return lane - thread.lane < low ? lane : lane - thread.lane;
        case Warp::shuffle_down: return lane + thread.lane >= high ? lane : lane + thread.lane;
        default: return (lane ^ thread.lane) >= high ? lane : lane ^ thread.lane;
    }
}

unsigned long long reduce(Warp operation, unsigned long long a, unsigned long long b) {
    const unsigned x = static_cast<unsigned>(a), y = static_cast<unsigned>(b);
    const int i = static_cast<int>(x), j = static_cast<int>(y);
    switch (operation) {
        case Warp::add: return x + y;
        case Warp::min_signed: return static_cast<unsigned>(std::min(i, j));
        case Warp::max_signed: return static_cast<unsigned>(std::max(i, j));
        case Warp::min: return std::min(x, y);
        case Warp::max: return std::max(x, y);
        case Warp::bit_and: return x & y;
        case Warp::bit_or: return x | y;
        default: return x ^ y;
    }
}

// Completes the warp operation that thread waits in, if all the lanes of its mask are there.
bool complete(Thread& thread) {
    WarpState& warp = warps[thread.number / 32];
    Thread* lanes = threads + thread.number / 32 * 32;
    const unsigned group = thread.mask & ~warp.exited;
    if ((group & ~warp.waiting) != 0) return false;
    for (unsigned rest = group; rest != 0; rest &= rest - 1) {
        Thread& other = lanes[__builtin_ctz(rest)];
        if (other.mask != thread.mask || other.operation != thread.operation) return false;
    }
    switch (thread.operation) {
        case Warp::sync: ++warp.epoch; break;
        case Warp::shuffle:
        case Warp::shuffle_up:
        case Warp::shuffle_down:
        case Warp::shuffle_xor:
            for (unsigned rest = group; rest != 0; rest &= rest - 1) {
                const int lane = __builtin_ctz(rest), source = source_lane(lanes[lane], lane);
                if ((group >> source & 1) == 0) {
                    in_kernel = false;
                    scheduler_fault(cudaErrorLaunchFailure, lanes[lane],
                                    text("%s at %s:%d: lane %d reads lane %d, which takes no part", name_of(thread.operation),
                                         lanes[lane].place.file, lanes[lane].place.line, lane, source));
                    return true;
                }
                lanes[lane].result = lanes[source].value;
            }
            break;
        case Warp::match_any:
            for (unsigned rest = group; rest != 0; rest &= rest - 1) {
                Thread& lane = lanes[__builtin_ctz(rest)];
                lane.result = 0;
                for (unsigned others = group; others != 0; others &= others - 1)
                    if (lanes[__builtin_ctz(others)].value == lane.value) lane.result |= others & -others;
            }
            break;
        case Warp::ballot:
        case Warp::any:
        case Warp::all: {
            unsigned votes = 0;
            for (unsigned rest = group; rest != 0; rest &= rest - 1)
                if (lanes[__builtin_ctz(rest)].value != 0) votes |= rest & -rest;
            const unsigned result = thread.operation == Warp::ballot ? votes : thread.operation == Warp::any ? votes != 0 : votes == group;
            for (unsigned rest = group; rest != 0; rest &= rest - 1) lanes[__builtin_ctz(rest)].result = result;
            break;
        }
        default: {
            unsigned long long total = lanes[__builtin_ctz(group)].value;
            for (unsigned rest = group & (group - 1); rest != 0; rest &= rest - 1)
                total = reduce(thread.operation, total, lanes[__builtin_ctz(rest)].value);
            for (unsigned rest = group; rest != 0; rest &= rest - 1) lanes[__builtin_ctz(rest)].result = total;
        }
    }
    warp.waiting &= ~group;
    for (unsigned rest = group; rest != 0; rest &= rest - 1) lanes[__builtin_ctz(rest)].status = Status::runnable;
    return true;
}

// Until none of its threads can go on.
void run_warp(unsigned warp) {
    Thread* lanes = threads + warp * 32;
    const unsigned count = std::min(32u, thread_count - warp * 32);
    for (bool ran = true; ran && !aborted;) {
        ran = false;
        if (order == Order::random) arrange(lane_order, 32);
        unsigned mine[32];
        memcpy(mine, lane_order, sizeof mine);
        for (unsigned i = 0; i < 32 && !aborted; ++i) {
            Thread& thread = lanes[mine[i]];
            if (mine[i] >= count || (thread.status != Status::unstarted && thread.status != Status::runnable)) continue;
            resume(thread);
            ran = true;
        }
        if (ran || aborted) continue;
        // Lanes that left the kernel need not be waited for.
        for (unsigned i = 0; i < count && !ran && !aborted; ++i)
            if (lanes[i].status == Status::at_warp && complete(lanes[i])) ran = true;
    }
}

// Releases the barrier, if all threads are there.
bool complete_barrier() {
    const Thread& first = threads[0];
    for (unsigned i = 1; i < thread_count; ++i) {
        const Thread& thread = threads[i];
        const bool same_file = thread.place.file == first.place.file || strcmp(thread.place.file, first.place.file) == 0;
        if (thread.place.line == first.place.line && same_file && thread.barrier == first.barrier) continue;
        scheduler_fault(cudaErrorLaunchFailure, thread,
                        text("divergent barriers: it waits at %s:%d, and thread (%u, %u, %u) at %s:%d", thread.place.file,
                             thread.place.line, first.index.x, first.index.y, first.index.z, first.place.file, first.place.line));
        return false;
    }
    unsigned votes = 0;
    for (unsigned i = 0; i < thread_count; ++i) votes += threads[i].predicate != 0;
    const unsigned result = first.barrier == Block::any ? votes != 0 : first.barrier == Block::all ? votes == thread_count : votes;
    for (unsigned i = 0; i < thread_count; ++i) {
        threads[i].status = Status::runnable;
        threads[i].result = result;
    }
    ++epoch;
    return true;
}

void run_block() {
    running.block_epoch = ++epoch;
    running.block_acquired = false;
    finished = 0;
    for (unsigned i = 0; i < thread_count; ++i) threads[i].status = Status::unstarted;
    for (unsigned i = 0; i < warp_count; ++i) {
        const unsigned count = std::min(32u, thread_count - i * 32);
        warps[i] = {count == 32 ? 0 : ~0u << count, 0, 0};
    }
    for (SharedArray& array : shared_arrays) array.ready = false;
    unsigned warp_order[max_threads / 32];
    arrange(lane_order, 32);
    while (finished < thread_count) {
        arrange(warp_order, warp_count);
        for (unsigned i = 0; i < warp_count; ++i) {
            run_warp(warp_order[i]);
            if (aborted) return;
        }
        if (finished == thread_count) return;
        unsigned at_barrier = 0;
        Thread *waits = nullptr, *missing = nullptr, *in_warp = nullptr;
        for (unsigned i = 0; i < thread_count; ++i) {
            Thread& thread = threads[i];
            if (thread.status == Status::at_block) {
                ++at_barrier;
                if (waits == nullptr) waits = &thread;
            } else if (missing == nullptr || thread.status == Status::at_warp) {
                missing = &thread;
            }
            if (thread.status == Status::at_warp && in_warp == nullptr) in_warp = &thread;
        }
        if (at_barrier == thread_count) {
            if (!complete_barrier()) return;
            continue;
        }
        if (in_warp != nullptr) {
            // Which lane of the mask is the one that never comes?
            const Thread* lanes = threads + in_warp->number / 32 * 32;
            std::string who;
            for (unsigned lane = 0; lane < 32 && who.empty(); ++lane) {
                if ((in_warp->mask & ~warps[in_warp->number / 32].exited) >> lane & 1) {
                    const Thread& other = lanes[lane];
                    if (other.status != Status::at_warp || other.mask != in_warp->mask || other.operation != in_warp->operation)
                        who = text("lane %u %s", lane, state_of_thread(other).c_str());
                }
            }
            scheduler_fault(cudaErrorLaunchTimeout, *in_warp,
                            text("divergent warp operation: %s with mask %#x at %s:%d is not reached by all of its lanes: %s",
                                 name_of(in_warp->operation), in_warp->mask, in_warp->place.file, in_warp->place.line, who.c_str()));
            return;
        }
        scheduler_fault(cudaErrorLaunchTimeout, *waits,
                        text("divergent barrier: %u of %u threads reach the barrier at %s:%d; thread (%u, %u, %u) %s", at_barrier,
                             thread_count, waits->place.file, waits->place.line, missing->index.x, missing->index.y, missing->index.z,
                             state_of_thread(*missing).c_str()));
        return;
    }
}

}  // namespace

void set_order(Order new_order, unsigned long long new_seed) {
    std::lock_guard lock(mutex());
    order = new_order;
    seed = new_seed;
    random_state = new_seed * 0x9e3779b97f4a7c15 + 1;
    if (random_state == 0) random_state = 1;
}

std::string order_text() {
    return order == Order::forward ? "" : order == Order::reverse ? ", order reverse" : text(", order random:%llu", seed);
}

void kernel_fault(cudaError_t error, const char* format, ...) {
    in_kernel = false;
    char what[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    scheduler_fault(error, *current, what);
    // The rest of the thread never runs; neither do destructors, which device code does not rely on.
    jump_fcontext(scheduler, nullptr);
    __builtin_unreachable();
}

void endless() {
    kernel_fault(cudaErrorLaunchTimeout,
                 "endless: the thread has made %u accesses without a barrier; blocks and threads run one after the other, so "
                 "it must not wait for another's",
                 access_limit);
}

int block_barrier(Block barrier, int predicate, Place place) {
    if (!in_kernel) {
        keep_fault(text("host code calls __syncthreads at %s:%d", place.file, place.line));
        return 0;
    }
    Thread& thread = *current;
    thread.barrier = barrier;
    thread.predicate = predicate;
    thread.place = place;
    wait(thread, Status::at_block);
    return static_cast<int>(thread.result);
}

unsigned long long warp_operation(Warp operation, unsigned mask, unsigned long long value, int lane, int width, Place place) {
    if (!in_kernel) {
        keep_fault(text("host code calls a warp operation at %s:%d", place.file, place.line));
        return value;
    }
    Thread& thread = *current;
    WarpState& warp = warps[thread.number / 32];
    if ((mask >> thread.number % 32 & 1) == 0)
        kernel_fault(cudaErrorLaunchFailure, "wrong mask: %s at %s:%d is called by lane %u, which its mask %#x leaves out",
                     name_of(operation), place.file, place.line, thread.number % 32, mask);
    if (width < 1 || width > 32 || (width & (width - 1)) != 0)
        kernel_fault(cudaErrorLaunchFailure, "%s at %s:%d: width %d is not a power of two up to 32", name_of(operation), place.file,
                     place.line, width);
    thread.operation = operation;
    thread.mask = mask;
    thread.value = value;
    thread.lane = lane;
    thread.width = width;
    thread.place = place;
    thread.status = Status::at_warp;
    warp.waiting |= 1u << thread.number % 32;
    if (!complete(thread)) {
        wait(thread, Status::at_warp);
    } else if (aborted) {
        jump_fcontext(scheduler, nullptr);
    } else {
        running.stamp = race_stamp(epoch, thread.number, warp.epoch);
    }
    return thread.result;
}

unsigned active_mask() { return in_kernel ? ~warps[current->number / 32].exited : 1; }

void* shared_bytes(size_t bytes, size_t alignment, const void* key) {
    if (!in_kernel) {
        keep_fault("host code asks for shared memory");
        return nullptr;
    }
    OutsideKernel outside;
    SharedArray* array = nullptr;
    for (SharedArray& other : shared_arrays)
        if (other.key == key) array = &other;
    if (array == nullptr) {
        shared_static_bytes += key == &dynamic_key ? 0 : (bytes + alignment - 1) / alignment * alignment;
        if (shared_static_bytes > static_limit)
            kernel_fault(cudaErrorLaunchOutOfResources, "%zu bytes of static shared memory: the limit is %zu", shared_static_bytes,
                         static_limit);
        if (shared_static_bytes + launched->dynamic_shared > properties().sharedMemPerBlockOptin)
            kernel_fault(cudaErrorLaunchOutOfResources, "%zu bytes of static and %zu bytes of dynamic shared memory: the limit is %zu",
                         shared_static_bytes, launched->dynamic_shared, properties().sharedMemPerBlockOptin);
        const size_t step = std::max(alignment, size_t(128));
        uintptr_t address = (shared_end + step - 1) / step * step;
        shared_end = address + bytes + red_zone;
        shared_arrays.push_back({key, bytes, address, false});
        array = &shared_arrays.back();
    }
    if (array->bytes != bytes)
        kernel_fault(cudaErrorLaunchFailure, "a shared array has %zu bytes in one thread and %zu in another", array->bytes, bytes);
    if (!array->ready) {
        array->ready = true;
        __real_memset(state_of(array->address), unwritten, bytes);
        // Not a number in every floating-point type.
        __real_memset(reinterpret_cast<void*>(array->address), 0xff, bytes);
    }
    return reinterpret_cast<void*>(array->address);
}

void* shared_dynamic_bytes(size_t alignment) {
    return shared_bytes(in_kernel ? launched->dynamic_shared : 0, std::max(alignment, size_t(16)), &dynamic_key);
}

std::string describe_shared(uintptr_t address) {
    const SharedArray* nearest = nullptr;
    for (const SharedArray& array : shared_arrays)
        if (array.address <= address && (nearest == nullptr || array.address > nearest->address)) nearest = &array;
    if (nearest == nullptr) return text("shared memory before the first array (%#zx)", size_t(address));
    const char* kind = nearest->key == &dynamic_key ? "dynamic shared memory" : "a shared array";
    const size_t offset = address - nearest->address;
    return offset < nearest->bytes ? text("byte %zu of the %zu bytes of %s", offset, nearest->bytes, kind)
                                   : text("%zu bytes past the end of the %zu bytes of %s", offset - nearest->bytes, nearest->bytes, kind);
}

cudaError_t run_launch(Launch& launch) {
    launched = &launch;
    block_size = launch.block;
    grid_size = launch.grid;
    thread_count = launch.block.x * launch.block.y * launch.block.z;
    warp_count = (thread_count + 31) / 32;
    for (unsigned i = 0; i < thread_count; ++i) {
        threads[i].number = i;
        threads[i].index = {i % launch.block.x, i / launch.block.x % launch.block.y, i / launch.block.x / launch.block.y};
    }
    shared_arrays.clear();
    shared_end = shared_base;
    shared_static_bytes = 0;
    aborted = false;
    running.launch_epoch = ++epoch;
    running.arguments_low = reinterpret_cast<uintptr_t>(launch.arguments.data());
    running.arguments_high = running.arguments_low + launch.arguments.size();
    const unsigned long long blocks = static_cast<unsigned long long>(launch.grid.x) * launch.grid.y * launch.grid.z;
    std::vector<unsigned> block_order;
    if (order == Order::random) {
        block_order.resize(blocks);
        arrange(block_order.data(), static_cast<unsigned>(blocks));
    }
    for (unsigned long long i = 0; i < blocks && !aborted; ++i) {
        const unsigned long long block = order == Order::random ? block_order[i] : order == Order::reverse ? blocks - 1 - i : i;
        block_index = {static_cast<unsigned>(block % launch.grid.x), static_cast<unsigned>(block / launch.grid.x % launch.grid.y),
                       static_cast<unsigned>(block / launch.grid.x / launch.grid.y)};
        run_block();
    }
    __real_memset(state_of(shared_base), inaccessible, shared_end - shared_base);
    if (!aborted) return cudaSuccess;
    reset_fibres();
    set_sticky(abort_error);
    return abort_error;
}

}  // namespace cuda_emulator

// assert() of kernels; of host code it does what it always does.
extern "C" void __assert_fail(const char* expression, const char* file, unsigned line, const char* function) noexcept {
    if (cuda_emulator::in_kernel)
        cuda_emulator::kernel_fault(cudaErrorAssert, "assertion failed: %s, %s:%u", expression, file, line);
    fprintf(stderr, "%s:%u: %s: Assertion `%s' failed.\n", file, line, function, expression);
    abort();
}
