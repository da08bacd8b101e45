// The caching allocator of device memory. A block that is given back is handed out again to the same stream at once,
// whose order keeps its last use before its next; nothing is returned to the driver before memory runs out.
#pragma once

#include <tenon/kernels/cuda/staging.cuh>

#include <pthread.h>

namespace tenon {
namespace cuda_detail {

// Sizes are rounded up to 512 bytes times 1, 2, 3, 4 and 2^k * {5, 6, 7, 8}: at most a quarter is lost.
inline constexpr std::size_t memory_unit = 512;
inline constexpr int memory_classes = 4 * 40;
inline constexpr std::size_t class_bytes(int index) {
    if (index < 4) return static_cast<std::size_t>(index + 1) * memory_unit;
    return (std::size_t(5 + index % 4) << (index / 4 - 1)) * memory_unit;
}
inline int class_of_bytes(std::size_t bytes) {
    const std::size_t units = bytes <= memory_unit ? 1 : (bytes + memory_unit - 1) / memory_unit;
    if (units <= 4) return static_cast<int>(units) - 1;
    const int top = 63 - __builtin_clzll(units - 1);
    return 4 * (top - 1) + static_cast<int>(((units - 1) >> (top - 2)) & 3);
}
inline constexpr std::size_t slab_bytes = std::size_t(2) << 20;  // small blocks are cut from slabs of this size
inline constexpr std::size_t small_block = slab_bytes / 4;

struct DeviceStatistics {
    long live = 0;          // bytes in use, rounded up
    long peak = 0;
    long cached = 0;        // bytes held for reuse
    long driver_calls = 0;  // how often memory was asked of the driver
};

// The free blocks of one stream on one device.
class MemoryPool {
public:
    MemoryPool(int device, cudaStream_t stream) : device_(device), stream_(stream) {}
    int device() const { return device_; }
    cudaStream_t stream() const { return stream_; }
    MemoryPool* next = nullptr;

    struct Free { void* data; Free* next; };
    Free* heads[memory_classes] = {};
    char* slab = nullptr;  // what is left of the newest one
    std::size_t slab_left = 0;

private:
    int device_;
    cudaStream_t stream_;
};

// The memory of a captured graph, whose launches use the same addresses again and again: while a capture runs, this thread's
// allocations come from here, and nothing of it serves anybody else before the graph is gone.
class GraphMemory {
public:
    struct Block {
        char* data;
        GraphMemory* graph;
        bool live;
        Block *next, *next_free;  // of those that share a place in the table; of a size class
    };
    Block* free[memory_classes] = {};  // to be handed out again within the capture, whose order keeps a block's last use before its next
    long blocks = 0;
    bool gone = false;  // the graph is; what is still held is freed when it is let go of
};

// All blocks of all graphs, by address.
class GraphBlocks {
public:
    using Block = GraphMemory::Block;
    bool empty() const { return count_ == 0; }
    void add(Block* b) {
        if (count_ >= size_) grow();
        put(b);
        ++count_;
    }
    Block* find(const void* data) const {
        if (count_ == 0) return nullptr;
        Block* b = table_[place(data)];
        while (b != nullptr && b->data != data) b = b->next;
        return b;
    }
    void remove(const Block* block) {
        Block** at = &table_[place(block->data)];
        while (*at != block) at = &(*at)->next;
        *at = block->next;
        --count_;
    }
    template <class F>
    void each(F f) const {  // which may remove the block
        for (std::size_t i = 0; i < size_; ++i)
            for (Block *b = table_[i], *next; b != nullptr; b = next) {
                next = b->next;
                f(b);
            }
    }

private:
    std::size_t place(const void* data) const { return (reinterpret_cast<std::uintptr_t>(data) / memory_unit * 0x9e3779b97f4a7c15ull >> 20) & (size_ - 1); }
    void put(Block* b) {
        Block*& head = table_[place(b->data)];
        b->next = head;
        head = b;
    }
    void grow() {
        Block** const old = table_;
        const std::size_t n = size_;
        table_ = new Block*[n == 0 ? 64 : 2 * n]();
        size_ = n == 0 ? 64 : 2 * n;
        for (std::size_t i = 0; i < n; ++i)
            for (Block *b = old[i], *next; b != nullptr; b = next) {
                next = b->next;
                put(b);
            }
        delete[] old;
    }

    Block** table_ = nullptr;
    std::size_t size_ = 0, count_ = 0;  // the size is a power of two
};
inline constinit thread_local GraphMemory* graph_memory = nullptr;

class DeviceMemory {
public:
    // Throws MemoryError, naming what was asked, held and free.
    void* allocate(int device, std::size_t bytes) {
        if (bytes > (std::size_t(1) << 44)) fail_memory(device, bytes);
        const int index = class_of_bytes(bytes);
        const std::size_t size = class_bytes(index);
        const Guard guard(mutex_);
        if (TENON_UNLIKELY(graph_memory != nullptr)) return from_graph(device, index, caching_ ? size : bytes);
        if (!caching_) {
            void* exact = ask(device, bytes < 1 ? 1 : bytes);
            account(device, static_cast<long>(size));
            return exact;
        }
        MemoryPool& pool = pool_of(device, current_stream);
        void* data = take(pool, index);
        if (data == nullptr) data = from_driver(pool, device, size);
        account(device, static_cast<long>(size));
        return data;
    }
    // To be handed out again to the stream that uses it last, which is the current one.
    void release(int device, void* data, std::size_t bytes) noexcept {
        const int index = class_of_bytes(bytes);
        const Guard guard(mutex_);
        if (TENON_UNLIKELY(!graph_blocks_.empty()) && back_to_graph(device, data, index)) return;
        if (!caching_) {
            cudaFree(data);
            account(device, -static_cast<long>(class_bytes(index)));
            return;
        }
        MemoryPool& pool = pool_of(device, current_stream);
        MemoryPool::Free* block = nodes_;
        if (block != nullptr) nodes_ = block->next;
        else block = static_cast<MemoryPool::Free*>(std::malloc(sizeof(MemoryPool::Free)));
        if (block == nullptr) return;  // lost, as the host's memory is
        block->data = data;
        block->next = pool.heads[index];
        pool.heads[index] = block;
        statistics_[device].cached += static_cast<long>(class_bytes(index));
        account(device, -static_cast<long>(class_bytes(index)));
    }
    GraphMemory* new_graph() { return new GraphMemory; }
    // The graph will not be launched again; the device has finished with it.
    void drop_graph(GraphMemory* graph) noexcept {
        const Guard guard(mutex_);
        graph->gone = true;
        graph_blocks_.each([&](GraphMemory::Block* b) {
            if (b->graph == graph && !b->live) forget(b);
        });
        if (graph->blocks == 0) delete graph;
    }
    // Gives all blocks that are not in use back to the driver; waits for the device.
    void empty_cache(int device) {
        const Guard guard(mutex_);
        give_back(device);
    }
    DeviceStatistics statistics(int device) {
        const Guard guard(mutex_);
        return statistics_[device];
    }
    void reset_peak(int device) {
        const Guard guard(mutex_);
        statistics_[device].peak = statistics_[device].live;
    }

private:
    static constexpr int max_devices = 128;
    struct Guard {
        pthread_mutex_t& mutex;
        explicit Guard(pthread_mutex_t& m) : mutex(m) { pthread_mutex_lock(&mutex); }
        ~Guard() { pthread_mutex_unlock(&mutex); }
    };

    void* from_graph(int device, int index, std::size_t bytes) {
        GraphMemory& graph = *graph_memory;
        GraphMemory::Block* b = graph.free[index];
        if (b != nullptr) {
            graph.free[index] = b->next_free;
        } else {
            b = new GraphMemory::Block{static_cast<char*>(ask(device, bytes < 1 ? 1 : bytes)), &graph, true, nullptr, nullptr};
            graph_blocks_.add(b);
            ++graph.blocks;
        }
        b->live = true;
        account(device, static_cast<long>(class_bytes(index)));
        return b->data;
    }
    bool back_to_graph(int device, void* data, int index) noexcept {
        GraphMemory::Block* const b = graph_blocks_.find(data);
        if (b == nullptr) return false;
        GraphMemory& graph = *b->graph;
        b->live = false;
        account(device, -static_cast<long>(class_bytes(index)));
        if (graph.gone) {
            forget(b);
            if (graph.blocks == 0) delete &graph;
        } else if (caching_) {
            b->next_free = graph.free[index];
            graph.free[index] = b;
        }
        return true;
    }
    void forget(GraphMemory::Block* b) noexcept {
        graph_blocks_.remove(b);
        --b->graph->blocks;
        cudaFree(b->data);
        delete b;
    }
    MemoryPool& pool_of(int device, cudaStream_t stream) {
        for (MemoryPool* p = pools_; p != nullptr; p = p->next)
            if (p->device() == device && p->stream() == stream) return *p;
        MemoryPool* fresh = new MemoryPool(device, stream);
        fresh->next = pools_;
        return *(pools_ = fresh);
    }
    void* take(MemoryPool& pool, int index) {
        MemoryPool::Free* block = pool.heads[index];
        if (block == nullptr) return nullptr;
        pool.heads[index] = block->next;
        void* data = block->data;
        block->next = nodes_;
        nodes_ = block;
        statistics_[pool.device()].cached -= static_cast<long>(class_bytes(index));
        return data;
    }
    void* ask(int device, std::size_t bytes) {
        ++statistics_[device].driver_calls;
        void* data = nullptr;
        cudaError_t status = cudaMalloc(&data, bytes);
        if (status != cudaSuccess) {
            cudaGetLastError();
            give_back(device);
            status = cudaMalloc(&data, bytes);
        }
        if (status == cudaSuccess) return data;
        cudaGetLastError();
        if (status != cudaErrorMemoryAllocation) fail_cuda("cudaMalloc", status);
        fail_memory(device, bytes);
    }
    void* from_driver(MemoryPool& pool, int device, std::size_t size) {
        if (size > small_block) return ask(device, size);
        if (pool.slab_left < size) {
            // What is left is cut into blocks of the classes that fit.
            while (pool.slab_left >= memory_unit) {
                int fit = class_of_bytes(pool.slab_left);
                if (class_bytes(fit) > pool.slab_left) --fit;
                put(pool, fit, pool.slab);
                pool.slab += class_bytes(fit);
                pool.slab_left -= class_bytes(fit);
            }
            pool.slab = static_cast<char*>(ask(device, slab_bytes));
            pool.slab_left = slab_bytes;
        }
        void* data = pool.slab;
        pool.slab += size;
        pool.slab_left -= size;
        return data;
    }
    void put(MemoryPool& pool, int index, void* data) {
        MemoryPool::Free* block = static_cast<MemoryPool::Free*>(std::malloc(sizeof(MemoryPool::Free)));
        if (block == nullptr) return;
        block->data = data;
        block->next = pool.heads[index];
        pool.heads[index] = block;
        statistics_[pool.device()].cached += static_cast<long>(class_bytes(index));
    }
    // Large blocks only: a slab's pieces may be in use.
    void give_back(int device) {
        cudaDeviceSynchronize();
        for (MemoryPool* p = pools_; p != nullptr; p = p->next) {
            if (p->device() != device) continue;
            for (int index = class_of_bytes(small_block) + 1; index < memory_classes; ++index)
                while (void* data = take(*p, index)) cudaFree(data);
        }
    }
    void account(int device, long bytes) {
        DeviceStatistics& s = statistics_[device];
        s.live += bytes;
        if (s.live > s.peak) s.peak = s.live;
    }
    [[noreturn]] TENON_COLD void fail_memory(int device, std::size_t bytes) {
        std::size_t free = 0, total = 0;
        if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
        fail<MemoryError>("out of memory on cuda:", device, ": asked for ", bytes, " bytes; in use ", statistics_[device].live,
                          " bytes, cached for reuse ", statistics_[device].cached, " bytes, free on the device ", free, " of ", total, " bytes");
    }

    // TENON_CUDA_CACHE=0 gives every block an allocation of its own, for tools that watch memory.
    static bool caching_wanted() {
        const char* text = std::getenv("TENON_CUDA_CACHE");
        return text == nullptr || std::strcmp(text, "0") != 0;
    }
    const bool caching_ = caching_wanted();
    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
    MemoryPool* pools_ = nullptr;
    GraphBlocks graph_blocks_;
    MemoryPool::Free* nodes_ = nullptr;
    DeviceStatistics statistics_[max_devices];
};
// Never destroyed: tensors may live in static objects.
inline DeviceMemory& device_memory() {
    static DeviceMemory* memory = new DeviceMemory;
    return *memory;
}
inline int current_device() {
    int device = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    return device;
}

}  // namespace cuda_detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// Memory for the duration of a call; null for none.
template <class T>
class Scratch {
public:
    explicit Scratch(long count)
        : device_(cuda_detail::current_device()), bytes_(static_cast<std::size_t>(count < 1 ? 0 : count) * sizeof(T)),
          data_(bytes_ == 0 ? nullptr : static_cast<T*>(cuda_detail::device_memory().allocate(device_, bytes_))) {}
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() {
        if (data_ != nullptr) cuda_detail::device_memory().release(device_, data_, bytes_);
    }
    T* get() const { return data_; }

private:
    int device_;
    std::size_t bytes_;
    T* data_;
};

// Waits for the current stream and brings a value to the host.
template <class T>
T read_back(const T* data) {
    T value;
    cuda_detail::copy_out(cuda_detail::current_device(), &value, data, sizeof(T));
    return value;
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
