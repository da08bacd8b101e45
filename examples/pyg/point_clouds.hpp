// Classification of clouds of points: Adam, 8 clouds a step (PointCNN on ModelNet: 32), the test accuracy of the last epoch.
#pragma once

#include "point_sets.hpp"
#include "published.hpp"

#include <tenon/train/fit.hpp>

namespace pyg_example {

struct PointRow {
    std::string model;
    example::Run epochs;
};

// Weights as He et al. (2015) begin them. PyTorch's own are less than half of that, and nets this deep without normalisation then spend
// their first hundreds of steps near one answer for all: little of ModelNet10's 100000 steps, much of those on a few hundred clouds.
template <class Net>
void begin_larger(Net& net, Key key) {
    std::uint64_t number = 0;
    nn::for_each_tensor(net, [&](const char*, nn::Kind kind, auto& x) {
        const Key own = key.split(number++);
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(x)>, Tensor<float, 2>>)
            if (kind == nn::Kind::parameter) nn::init::kaiming_uniform(x, own);
    });
    if constexpr (requires { net.begin_larger(key); }) net.begin_larger(key.split(number));
}

// How long a network trains, and how fast at first: of ModelNet10 as published. Of made-up shapes, which are few, so that the three that
// run without being asked for are done within three minutes; there the rate goes down to nothing, by a cosine.
struct PointTraining {
    long epochs = 200;
    double rate = 1e-3;
    long clouds = 8;  // a step
};
inline PointTraining training_of(const std::string& model, bool real) {
    if (real) return {.clouds = model == "pointcnn" ? 32 : 8};
    return model == "mpnn" || model == "splinecnn" ? PointTraining{16, 3e-3} : model == "pointnet++" ? PointTraining{20} : PointTraining{12};
}

template <class Net>
example::Run train_on_clouds(const std::string& model, const ShapeSets& sets, const PointTraining& training, const Options& options) {
    const Key key = Key(options.seed).split(11);
    const Device device = options.place();
    if constexpr (requires { Net::least_points; })
        if (sets.train.points < Net::least_points)
            fail<ValueError>("--points: ", sets.train.points, ", but ", model.c_str(), " needs ", Net::least_points, " or more");
    Net begun({.classes = sets.classes, .neighbours = sets.real ? 20 : 10, .eased = !sets.real}, key.split(0));
    if (!sets.real) begin_larger(begun, key.split(3));
    Net net = tenon::to(begun, device);
    auto opt = optim::adam(net, {.lr = training.rate});
    const long epochs = training.epochs;
    const long per_epoch = (sets.train.size() + training.clouds - 1) / training.clouds;
    const std::string description = model + ", " + std::to_string(epochs) + " epochs, " + std::to_string(sets.train.size()) +
                                    " clouds of " + std::to_string(sets.train.points) + " points, seed " + std::to_string(options.seed);
    const train::FitOptions fit{.epochs = static_cast<int>(epochs),
                                .batch = training.clouds,
                                .test_batch = training.clouds,
                                .key = key.split(1),
                                .schedule =
                                    [per_epoch, epochs, real = sets.real](long step) {
                                        if (real) return std::pow(0.5, static_cast<double>(step / (50 * per_epoch)));
                                        return 0.5 + 0.5 * std::cos(3.141592653589793 * static_cast<double>(step) / static_cast<double>(epochs * per_epoch));
                                    },
                                .name = model,
                                .out = options.out + "/points-" + model,
                                .resume = options.resume,
                                .description = description,
                                .interrupted = example::interrupted};
    // Every epoch sees other points of the meshes.
    const auto train_set = [&](int epoch) {
        ShapeSet set = sets.train;
        set.key = key.split(2).split(static_cast<std::uint64_t>(epoch));
        return set;
    };
    const auto step = [&](const CloudBatch& b, const nn::Context& c) {
        const Cloud cloud{{}, b.cloud.pos.to(device), b.cloud.clouds.to(device)};
        const Tensor<float, 2> logits = net(cloud, c);
        return train::Scored{cross_entropy(logits, b.labels.to(device)), b.labels.size(), train::count_correct(logits, b.labels)};
    };
    return train::fit(net, opt, train_set, sets.test, step, fit).epochs;
}

inline int classify_points(const Options& options, example::Result& result) {
    std::vector<std::string> own = {"mpnn", "pointnet++", "edgecnn"};
    if (options.paper) own.insert(own.end(), {"splinecnn", "pointcnn"});
    const std::vector<std::string> models = options.models_or(own);
    for (const std::string& model : models) with_point_model(model, [](auto) {});
    const ShapeSets sets = read_shapes(options);
    std::printf("\npoints: %s, %ld clouds of %ld points for training, %ld for testing, %ld classes\n",
                sets.real ? "ModelNet" : "shapes of our own making (their figures say nothing of real data)", sets.train.size(),
                sets.train.points, sets.test.size(), sets.classes);
    std::vector<PointRow> rows;
    for (const std::string& model : models) {
        if (example::interrupted()) break;
        PointRow row{model, {}};
        PointTraining training = training_of(model, sets.real);
        if (options.epochs > 0) training.epochs = options.epochs;
        with_point_model(model,
                         [&](auto type) { row.epochs = train_on_clouds<typename decltype(type)::type>(model, sets, training, options); });
        if (!row.epochs.empty()) rows.push_back(std::move(row));
    }
    std::printf("\n%s: test accuracy in per cent at the last epoch\n", sets.real ? "ModelNet" : "made-up shapes");
    example::Table table({"network", "epochs", "here", sets.real ? "paper (ModelNet10)" : "paper (ModelNet10, not these shapes)",
                          "training accuracy", "s per epoch"});
    io::Plot plot(
        {.title = sets.real ? "Test accuracy, ModelNet" : "Test accuracy, made-up shapes", .x_label = "epoch", .y_label = "accuracy (%)"});
    for (const PointRow& row : rows) {
        const train::Epoch& last = row.epochs.back();
        double seconds = 0;
        io::Series series{.name = row.model};
        for (std::size_t e = 0; e < row.epochs.size(); ++e) {
            seconds += row.epochs[e].seconds / static_cast<double>(row.epochs.size());
            series.x.push_back(static_cast<double>(e + 1));
            series.y.push_back(100 * row.epochs[e].test_accuracy);
        }
        plot.add(std::move(series));
        table.row({row.model, std::to_string(row.epochs.size()), example::number(100 * last.test_accuracy, 2),
                   published_points_cell(row.model), example::number(100 * last.train_accuracy, 2), example::number(seconds, 2)});
        result.add(row.model, 100 * last.test_accuracy, 2);
    }
    table.print();
    if (!rows.empty()) plot.save(options.out + "/points-accuracy.png");
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace pyg_example
