// data::batches: a data set as a range of batches, in file order or shuffled by a key, put together by a thread in the
// background while the caller computes.
#pragma once

#include <tenon/base/error.hpp>
#include <tenon/data/permutation.hpp>

#include <pthread.h>

#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

namespace tenon::data {

// What batches() reads from: a number of rows, and a batch (any type; a struct of tensors can be taken apart by
// structured bindings) made of the rows named. batch is called from one thread at a time, not the caller's.
template <class D>
concept Dataset = requires(const D& dataset, const long* rows, long count) {
    { dataset.size() } -> std::convertible_to<long>;
    dataset.batch(rows, count);
};

// Whether to shuffle, and by which key: a key converts to it.
struct Shuffle {
    bool on = false;
    Key key;
    constexpr Shuffle() = default;
    constexpr Shuffle(Key by) : on(true), key(by) {}
};

struct BatchOptions {
    long size = 32;          // rows per batch
    Shuffle shuffle = {};    // none: the order of the data set
    bool drop_last = false;  // leave out a last batch that is not full
    int prefetch = 2;        // batches ready ahead of the caller; 0: no thread, batches are made as they are asked for
    long first = 0;          // the batch to begin with: the ones before it are those of a run that goes on from here
};

// The range that batches() gives. One loop at a time: begin() starts over, in the same order.
template <Dataset D>
class Batches {
public:
    using Batch = decltype(std::declval<const D&>().batch(static_cast<const long*>(nullptr), 0L));

    struct End {};
    class Iterator {
    public:
        explicit Iterator(Batches* batches) : batches_(batches) {}
        Batch& operator*() const { return *batches_->current_; }
        Batch* operator->() const { return &*batches_->current_; }
        Iterator& operator++() {
            batches_->advance();
            return *this;
        }
        void operator++(int) { batches_->advance(); }
        bool operator==(End) const { return !batches_->current_.has_value(); }

    private:
        Batches* batches_;
    };

    Batches(const D& dataset, BatchOptions options) : dataset_(dataset), options_(options), rows_(dataset.size()) {
        if (options.size < 1) fail<ValueError>("batches: size is ", options.size, ": expected at least 1");
        if (options.prefetch < 0) fail<ValueError>("batches: prefetch is ", options.prefetch, ": expected 0 or more");
        if (options.first < 0) fail<ValueError>("batches: first is ", options.first, ": expected 0 or more");
        const long full = rows_ / options.size;
        count_ = full + (!options.drop_last && rows_ % options.size != 0 ? 1 : 0);
        if (options.shuffle.on) {
            order_ = permutation(options.shuffle.key, rows_);
        } else {
            order_.resize(static_cast<std::size_t>(rows_ > 0 ? rows_ : 0));
            for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<long>(i);
        }
        pthread_mutex_init(&mutex_, nullptr);
        pthread_cond_init(&changed_, nullptr);
    }
    Batches(const Batches&) = delete;
    Batches& operator=(const Batches&) = delete;
    ~Batches() {
        stop();
        pthread_cond_destroy(&changed_);
        pthread_mutex_destroy(&mutex_);
    }

    // The number of batches (those before the first included), and of the rows of the data set.
    long size() const { return count_; }
    long rows() const { return rows_; }

    // Rethrows what the data set threw for the first batch; ++ does so for the others, in their place.
    Iterator begin() {
        stop();
        taken_ = made_ = given_ = options_.first < count_ ? options_.first : count_;
        stopping_ = false;
        const long left = count_ - taken_;
        const std::size_t ahead = static_cast<std::size_t>(options_.prefetch < left ? options_.prefetch : left);
        slots_.clear();
        slots_.resize(ahead);
        // Where the system grants no thread, batches are made as they are asked for.
        running_ = ahead > 0 && pthread_create(&thread_, nullptr, &Batches::entry, this) == 0;
        advance();
        return Iterator(this);
    }
    End end() const { return {}; }

private:
    struct Slot {
        std::optional<Batch> batch;
        std::exception_ptr error;
    };
    struct Lock {
        pthread_mutex_t& mutex;
        explicit Lock(pthread_mutex_t& m) : mutex(m) { pthread_mutex_lock(&mutex); }
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;
        ~Lock() { pthread_mutex_unlock(&mutex); }
    };

    Batch make(long index) const {
        const long first = index * options_.size, last = first + options_.size < rows_ ? first + options_.size : rows_;
        return dataset_.batch(order_.data() + first, last - first);
    }
    Slot& slot(long index) { return slots_[static_cast<std::size_t>(index) % slots_.size()]; }

    void advance() {
        current_.reset();
        if (taken_ >= count_) return;
        const long index = taken_++;
        if (!running_) {
            try {
                current_.emplace(make(index));
            } catch (...) {
                taken_ = count_;
                throw;
            }
            return;
        }
        std::exception_ptr error;
        {
            Lock lock(mutex_);
            while (made_ <= index) pthread_cond_wait(&changed_, &mutex_);
            error = slot(index).error;
            if (!error) current_ = std::move(slot(index).batch);
            slot(index) = Slot{};
            given_ = index + 1;
            pthread_cond_signal(&changed_);
        }
        if (!error) return;
        taken_ = count_;  // the range ends with what went wrong
        std::rethrow_exception(error);
    }

    static void* entry(void* self) {
        static_cast<Batches*>(self)->produce();
        return nullptr;
    }
    void produce() {
        const long first = options_.first < count_ ? options_.first : count_;
        for (long index = first; index < count_; ++index) {
            {
                Lock lock(mutex_);
                while (!stopping_ && index - given_ >= static_cast<long>(slots_.size())) pthread_cond_wait(&changed_, &mutex_);
                if (stopping_) return;
            }
            Slot made;
            try {
                made.batch.emplace(make(index));
            } catch (...) {
                made.error = std::current_exception();
            }
            const bool failed = made.error != nullptr;
            Lock lock(mutex_);
            slot(index) = std::move(made);
            made_ = index + 1;
            pthread_cond_signal(&changed_);
            if (failed) return;
        }
    }
    void stop() {
        current_.reset();
        if (!running_) return;
        {
            Lock lock(mutex_);
            stopping_ = true;
            pthread_cond_signal(&changed_);
        }
        pthread_join(thread_, nullptr);
        running_ = false;
        slots_.clear();
    }

    const D& dataset_;
    BatchOptions options_;
    long rows_, count_ = 0;
    std::vector<long> order_;
    std::optional<Batch> current_;
    long taken_ = 0;  // batches that the caller has asked for
    // Shared with the thread, under the mutex.
    pthread_mutex_t mutex_;
    pthread_cond_t changed_;
    std::vector<Slot> slots_;
    long made_ = 0, given_ = 0;
    bool stopping_ = false;
    // The caller's again.
    pthread_t thread_{};
    bool running_ = false;
};

// for (auto [images, labels] : data::batches(train, {.size = 128, .shuffle = Key{7}.split(epoch)})) ...
// The order is a function of the key, the contents of the data set: prefetch and threads change nothing. The data set
// must outlive the range. An exception of the data set reaches the caller at the batch that it belongs to. Throws
// ValueError when size < 1, prefetch < 0 or first < 0.
template <Dataset D>
Batches<D> batches(const D& dataset, BatchOptions options = {}) {
    return Batches<D>(dataset, options);
}
template <Dataset D>
Batches<D> batches(const D&& dataset, BatchOptions options = {}) = delete;  // would not live through the loop

}  // namespace tenon::data
