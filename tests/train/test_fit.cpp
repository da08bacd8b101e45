// The training loop: it learns, writes what it says, and a run that was stopped anywhere ends with the bits of one that was not.
#include <catch2/catch.hpp>

#include <tenon/data/augment.hpp>
#include <tenon/tenon.hpp>
#include <tenon/train/fit.hpp>

#include "../io/files.hpp"

#include <cmath>
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
        if (options.batch == 128) options.batch = 8;
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

TEST_CASE("figures of an epoch that was interrupted go on from its sums, which means times weights may miss by a rounding") {
    // Nine batches of 29 rows, 15 of them right: the mean after three of them times 87 is not 45.
    const auto run = [](train::FitOptions options) {
        Net net(Key(5));
        auto optimiser = optim::sgd(net, {.lr = 0.01});
        options.epochs = 1, options.batch = 7, options.progress = false;
        return train::fit(net, optimiser, train_points, test_points, [&](const Points::Batch& batch, const nn::Context& context) {
            return train::Scored{train::classify(net, batch.x, batch.labels, context).loss, 29, 15};
        }, options);
    };
    const auto whole = run({});
    const files::Folder folder;
    long done = 0;
    CHECK(run({.out = folder.path, .interrupted = [&] { return ++done == 3; }}).interrupted);
    CHECK(same(run({.out = folder.path, .resume = true}).epochs, whole.epochs));
}

TEST_CASE("without shuffling batches come in the order of the set, in every epoch") {
    Net net(Key(5));
    auto optimiser = optim::sgd(net, {.lr = 0.1});
    std::vector<float> seen, expected;
    const auto step = [&](const Points::Batch& batch, const nn::Context& context) {
        if (context.training) seen.insert(seen.end(), batch.x.data(), batch.x.data() + batch.x.size());
        return train::classify(net, batch.x, batch.labels, context);
    };
    static_cast<void>(train::fit(net, optimiser, train_points, test_points, step, {.epochs = 2, .batch = 8, .shuffle = false, .progress = false}));
    for (int epoch = 0; epoch < 2; ++epoch) expected.insert(expected.end(), train_points.x.data(), train_points.x.data() + train_points.x.size());
    CHECK(seen == expected);
}

TEST_CASE("gradients are held to a norm") {
    const auto moved = [](double clip, double factor) {
        Net net(Key(5));
        std::vector<float> before, after;
        const auto weights = [&](std::vector<float>& to) {
            nn::for_each_tensor(net, [&](const char*, nn::Kind, const auto& t) { to.insert(to.end(), t.data(), t.data() + t.size()); });
        };
        weights(before);
        auto optimiser = optim::sgd(net, {.lr = 1});
        const auto step = [&](const Points::Batch& batch, const nn::Context& context) {
            train::Scored s = train::classify(net, batch.x, batch.labels, context);
            s.loss = Tensor<float, 0>(s.loss * static_cast<float>(factor));
            return s;
        };
        static_cast<void>(train::fit(net, optimiser, train_points, test_points, step, {.epochs = 1, .batch = 60, .clip_norm = clip, .progress = false}));
        weights(after);
        double squares = 0;
        for (std::size_t i = 0; i < after.size(); ++i) squares += std::pow(static_cast<double>(after[i]) - static_cast<double>(before[i]), 2);
        return std::sqrt(squares);
    };
    // One step of SGD with rate 1 moves by the gradient.
    const double free = moved(0, 100);
    CHECK(free > 1);
    CHECK(std::abs(moved(0.5, 100) - 0.5) < 1e-4);
    CHECK(moved(2 * free, 100) == free);
    Net net(Key(5));
    auto optimiser = optim::sgd(net, {.lr = 1});
    const auto step = [&](const Points::Batch& batch, const nn::Context& context) { return train::classify(net, batch.x, batch.labels, context); };
    CHECK_THROWS_AS(train::fit(net, optimiser, train_points, test_points, step, {.clip_norm = -1}), ValueError);
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
