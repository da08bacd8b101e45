// The training loop: it learns, writes what it says, and a run that was stopped anywhere ends with the bits of one that was not.
#include <catch2/catch.hpp>

#include <tenon/data/augment.hpp>
#include <tenon/tenon.hpp>
#include <tenon/train/fit.hpp>

#include "../io/files.hpp"

#include <filesystem>
#include <limits>

using namespace tenon;

namespace {

// Points of three classes around three corners.
struct Points {
    Tensor<float, 2> x;
    Tensor<std::int64_t, 1> label;
    explicit Points(long n, Key key) : x(empty<float>({n, 2})), label(empty<std::int64_t>({n})) {
        const auto noise = randn<float>({n, 2}, key);
        for (long i = 0; i < n; ++i) {
            label.data()[i] = i % 3;
            for (long k = 0; k < 2; ++k) x.data()[2 * i + k] = noise.data()[2 * i + k] * 0.4f + (i % 3 == k ? 2.0f : 0.0f);
        }
    }
    struct Batch {
        Tensor<float, 2> x;
        Tensor<std::int64_t, 1> labels;
    };
    long size() const { return x.shape(0); }
    Batch batch(const long* rows, long count) const {
        Batch b{empty<float>({count, 2}), empty<std::int64_t>({count})};
        for (long i = 0; i < count; ++i) {
            b.labels.data()[i] = label.data()[rows[i]];
            for (long k = 0; k < 2; ++k) b.x.data()[2 * i + k] = x.data()[2 * rows[i] + k];
        }
        return b;
    }
};

struct Net {
    nn::Linear<float> hidden, out;
    nn::Dropout dropout;
    explicit Net(Key key) : hidden(2, 16, key.split(0)), out(16, 3, key.split(1)), dropout(0.1, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const nn::Context& context) const { return out(dropout(relu(hidden(x)), context)); }
    static void visit(auto& self, auto&& f) {
        f("hidden", self.hidden);
        f("out", self.out);
    }
};

const Points train_points(60, Key(1)), test_points(30, Key(2));

struct Run {
    Net net{Key(5)};
    train::Fitted fitted;
    explicit Run(train::FitOptions options, double lr = 0.05) {
        options.progress = false;
        options.batch = 8;
        auto optimiser = optim::adam(net, {.lr = lr});
        const auto step = [&](const Points::Batch& batch, const nn::Context& context) { return train::classify(net, batch.x, batch.labels, context); };
        fitted = train::fit(net, optimiser, train_points, test_points, step, options);
    }
    std::vector<float> weights() const {
        std::vector<float> all;
        nn::for_each_tensor(net, [&](const char*, nn::Kind, const auto& t) { all.insert(all.end(), t.data(), t.data() + t.size()); });
        return all;
    }
};
bool same(const std::vector<train::Epoch>& a, const std::vector<train::Epoch>& b) {
    bool equal = a.size() == b.size();
    for (std::size_t i = 0; equal && i < a.size(); ++i)
        equal = a[i].train_loss == b[i].train_loss && a[i].train_accuracy == b[i].train_accuracy && a[i].test_loss == b[i].test_loss && a[i].test_accuracy == b[i].test_accuracy;
    return equal;
}

}  // namespace

TEST_CASE("fit learns, and writes its files") {
    const files::Folder folder;
    const Run run({.epochs = 12, .out = folder.path, .keep_best = true});
    REQUIRE(run.fitted.epochs.size() == 12);
    CHECK(run.fitted.epochs.back().train_loss < 0.3 * run.fitted.epochs.front().train_loss);
    CHECK(run.fitted.epochs.back().test_accuracy > 0.9);
    CHECK_FALSE(run.fitted.interrupted);
    for (const char* file : {"log.csv", "loss.png", "accuracy.png", "best.safetensors", "checkpoints"}) CHECK(std::filesystem::exists(folder / file));
    bool events = false;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path)) events = events || entry.path().filename().string().starts_with("events.out.tfevents.");
    CHECK(events);
}

TEST_CASE("a run stopped after any number of steps goes on to the bits of one that was not stopped") {
    const Run whole({.epochs = 3});
    for (const long stop : {1L, 7L, 8L, 9L, 20L}) {
        const files::Folder folder;
        long steps = 0;
        const Run first({.epochs = 3, .out = folder.path, .description = "a", .interrupted = [&] { return ++steps == stop; }});
        CHECK(first.fitted.interrupted);
        const Run second({.epochs = 3, .out = folder.path, .resume = true, .description = "a"});
        CHECK_FALSE(second.fitted.interrupted);
        CHECK(second.weights() == whole.weights());
        CHECK(same(second.fitted.epochs, whole.fitted.epochs));
        // Once more: nothing is left to do.
        long more = 0;
        const Run third({.epochs = 3, .out = folder.path, .resume = true, .description = "a", .after_step = [&](long) { ++more; }});
        CHECK(more == 0);
        CHECK(third.weights() == whole.weights());
        CHECK(same(third.fitted.epochs, whole.fitted.epochs));
        CHECK_THROWS_AS(Run({.epochs = 3, .out = folder.path, .resume = true, .description = "b"}), ValueError);
    }
}

TEST_CASE("checkpoints between epochs' ends lead to the same bits") {
    const Run whole({.epochs = 2});
    const files::Folder folder;
    struct Crash {};
    long steps = 0;
    CHECK_THROWS_AS(Run({.epochs = 2, .out = folder.path, .checkpoint_every = 3, .after_step = [&](long) { if (++steps == 11) throw Crash(); }}), Crash);
    const Run second({.epochs = 2, .out = folder.path, .resume = true, .checkpoint_every = 3});
    CHECK(second.weights() == whole.weights());
    CHECK(same(second.fitted.epochs, whole.fitted.epochs));
}

TEST_CASE("fit stops early, and when the loss is no number") {
    const files::Folder folder;
    const Run run({.epochs = 200, .out = folder.path, .early_stopping = train::EarlyStoppingOptions{.patience = 3, .maximise = true}});
    CHECK(run.fitted.stopped_early);
    CHECK(run.fitted.epochs.size() < 100);
    const Run again({.epochs = 200, .out = folder.path, .resume = true, .early_stopping = train::EarlyStoppingOptions{.patience = 3, .maximise = true}});
    CHECK(again.fitted.stopped_early);
    CHECK(same(again.fitted.epochs, run.fitted.epochs));
    const Run wild({.epochs = 5}, 1e38);
    CHECK(wild.fitted.diverged);
    CHECK(wild.fitted.epochs.size() < 5);
}

TEST_CASE("a schedule is asked for every step, and a data set per epoch is made for every epoch") {
    Net net(Key(5));
    auto optimiser = optim::sgd(net, {.lr = 0.1});
    std::vector<long> asked;
    std::vector<int> made;
    const auto step = [&](const Points::Batch& batch, const nn::Context& context) { return train::classify(net, batch.x, batch.labels, context); };
    const auto per_epoch = [&](int epoch) {
        if (made.empty() || made.back() != epoch) made.push_back(epoch);
        return train_points;
    };
    const auto fitted = train::fit(net, optimiser, per_epoch, test_points, step,
                                   {.epochs = 2, .batch = 30, .schedule = [&](long at) { asked.push_back(at); return 0.5; }, .progress = false});
    CHECK(fitted.epochs.size() == 2);
    CHECK(made == std::vector<int>{1, 2});
    CHECK(asked == std::vector<long>{0, 1, 2, 3});
    CHECK_THROWS_AS(train::fit(net, optimiser, train_points, test_points, step, {.batch = 0}), ValueError);
}
