// Classification of graphs: ten folds, of each the test accuracy at the epoch with the lowest loss of the fold before it.
#pragma once

#include "figures_log.hpp"
#include "graph_pool_models.hpp"
#include "graph_sets.hpp"
#include "pictures.hpp"
#include "published.hpp"

#include <tenon/data/permutation.hpp>

namespace pyg_example {

struct FoldOutcome {
    double validation_loss = std::numeric_limits<double>::infinity(), test = std::nan(""), last = std::nan(""), seconds = 0;
    bool stopped = false;  // by Ctrl-C: no result
};

// Adam, 0.01 and half of it every 50 epochs, 128 graphs a step. each(epoch) after every epoch.
template <class Net, class Each>
FoldOutcome run_fold(const GraphSetData& d, const GraphSetting& setting, const graph::Split& split, long fold, long epochs,
                     std::uint64_t seed, Device device, Each&& each) {
    FoldOutcome outcome;
    const double begun = example::Progress::now();
    // A fold depends on the seed and its number alone, so that it does not matter in which run it was computed.
    const Key key = Key(seed).split(3).split(static_cast<std::uint64_t>(fold));
    const Net net = tenon::to(Net(setting, key.split(0)), device);
    auto opt = optim::adam(net, {.lr = 0.01});
    const auto all_of = [&](const Tensor<std::int64_t, 1>& rows) {
        return d.set.batch(std::vector<long>(rows.data(), rows.data() + rows.size())).to(device);
    };
    const graph::GraphSet validation = all_of(split.validation), test = all_of(split.test);
    const long count = split.train.size();
    for (long epoch = 1; epoch <= epochs; ++epoch) {
        opt.set_lr_scale(std::pow(0.5, static_cast<double>((epoch - 1) / 50)));
        const Key own = key.split(1).split(static_cast<std::uint64_t>(epoch));
        const std::vector<long> order = data::permutation(own.split(0), count);
        Epoch now;
        for (long begin = 0; begin < count; begin += 128) {
            if (example::interrupted()) {
                outcome.stopped = true;
                return outcome;
            }
            std::vector<long> rows;
            for (long i = begin; i < std::min(begin + 128, count); ++i)
                rows.push_back(static_cast<long>(split.train.data()[order[static_cast<std::size_t>(i)]]));
            const graph::GraphSet batch = d.set.batch(rows).to(device);
            const Tensor<float, 0> loss =
                cross_entropy(net(batch, {own.split(1).split(static_cast<std::uint64_t>(begin)), true}), batch.data.graph_y);
            loss.backward();
            opt.step();
            now.train_loss += static_cast<double>(loss.item()) * static_cast<double>(rows.size()) / static_cast<double>(count);
        }
        const no_grad none;
        const Tensor<float, 2> of_validation = net(validation, {key, false}), of_test = net(test, {key, false});
        now.validation_loss = static_cast<double>(Tensor<float, 0>(cross_entropy(of_validation, validation.data.graph_y)).item());
        now.validation = accuracy_of(of_validation, validation.data.graph_y);
        now.test = accuracy_of(of_test, test.data.graph_y);
        if (now.validation_loss < outcome.validation_loss) {
            outcome.validation_loss = now.validation_loss;
            outcome.test = now.test;
        }
        outcome.last = now.test;
        each(now);
    }
    outcome.seconds = example::Progress::now() - begun;
    return outcome;
}

struct GraphRow {
    std::string model;
    GraphSetting setting;
    std::vector<FoldOutcome> folds;
    double validation_loss() const {
        return example::over_seeds(folds, [](const FoldOutcome& o) { return o.validation_loss; }).mean;
    }
};

inline std::vector<long> nodes_of_each(const graph::GraphSet& set) {
    const Tensor<std::int64_t, 1> pointers = set.pointers.to(cpu);
    std::vector<long> sizes;
    for (long i = 0; i < set.size(); ++i) sizes.push_back(static_cast<long>(pointers.data()[i + 1] - pointers.data()[i]));
    return sizes;
}
// So many nodes have nine graphs of ten, at most; 10 at least.
inline long nodes_of_most(const graph::GraphSet& set) {
    std::vector<long> sizes = nodes_of_each(set);
    std::sort(sizes.begin(), sizes.end());
    return std::max(10l, sizes.empty() ? 0 : sizes[(sizes.size() * 9 + 9) / 10 - 1]);
}
// Without the few graphs that make dense matrices large: of more nodes than five times (REDDIT: one and a half times) the average.
inline GraphSetData without_large(const GraphSetData& d) {
    const std::vector<long> sizes = nodes_of_each(d.set);
    const double most = (d.name.rfind("REDDIT", 0) == 0 ? 1.5 : 5.0) * static_cast<double>(d.set.data.nodes) / static_cast<double>(d.set.size());
    std::vector<long> kept;
    for (std::size_t i = 0; i < sizes.size(); ++i)
        if (static_cast<double>(sizes[i]) <= most) kept.push_back(static_cast<long>(i));
    if (kept.size() == sizes.size()) return d;
    GraphSetData rest = d;
    rest.set = d.set.batch(kept);
    return rest;
}

// Depth and width that do well on a set, for those who do not want to wait for the whole grid.
inline GraphSetting fixed_setting(const std::string& set, const std::string& model) {
    GraphSetting s{.layers = 2, .hidden = 32};
    if (set == "MUTAG") {
        const bool gin = model == "gin-0" || model == "gin-eps";
        s.layers = gin ? 5 : 3;
        s.hidden = gin ? 64 : 32;
    }
    // So deep that there is a level behind the first.
    if (model == "top-k" || model == "graclus") s.layers = 3;
    if (model == "diffpool") s.layers = 4;
    return s;
}

// The folds of one network and setting, as far as it got.
template <class Net>
GraphRow run_folds(const std::string& model, const GraphSetData& d, const GraphSetting& setting,
                   const std::vector<Tensor<std::int64_t, 1>>& folds, const Options& options, const std::map<std::string, FoldOutcome>& earlier,
                   io::CsvLog& log, CurveLog& curves, Curve& curve) {
    GraphRow row{model, setting, {}};
    const long epochs = options.epochs > 0 ? options.epochs : 100, count = options.quick ? 1 : static_cast<long>(folds.size());
    example::Progress bar(d.name + " " + model + " L" + std::to_string(setting.layers) + "/H" + std::to_string(setting.hidden), count);
    for (long fold = 0; fold < count && !example::interrupted(); ++fold) {
        // A fold is what these make it.
        const std::string run = "seed " + std::to_string(options.seed) + " layers " + std::to_string(setting.layers) + " width " +
                                std::to_string(setting.hidden) + " fold " + std::to_string(fold) + " of " + std::to_string(epochs) + " epochs";
        if (const auto found = earlier.find(run); found != earlier.end()) {
            row.folds.push_back(found->second);
            if (auto before = curves.of(run, epochs); !before.empty()) curve.runs.push_back(std::move(before));
            bar.skip(1);
            continue;
        }
        std::vector<Epoch> history;
        const FoldOutcome o = run_fold<Net>(d, setting, graph::fold_split(folds, fold), fold, epochs, options.seed, options.place(),
                                            [&](const Epoch& e) { history.push_back(e); });
        if (o.stopped) break;
        curves.add(run, history);
        log.row(run, o.validation_loss, o.test, o.last, o.seconds);
        row.folds.push_back(o);
        curve.runs.push_back(std::move(history));
        bar.advance(("test " + example::number(100 * o.test, 1) + " %").c_str());
    }
    return row;
}

inline int classify_graphs(const Options& options, example::Result& result) {
    const std::vector<std::string> models = options.models_or({"mlp", "gcn", "sage", "gin-0", "gin-eps"});
    for (const std::string& model : models) with_graph_model(model, [](auto) {});
    const GraphSetData whole = read_graph_set(options.data_or("build/data/tu"), options.set.empty() ? "mutag" : options.set);
    std::printf("\ngraphs: %s, %ld graphs, %ld nodes, %ld edges (both directions), %ld features%s, %ld classes\n", whole.name.c_str(),
                whole.set.size(), whole.set.data.nodes, whole.set.data.edges(), whole.set.data.x.shape(1), whole.degrees ? " (degrees)" : "",
                whole.classes);
    std::printf("protocol: 10 folds, test accuracy at the epoch of the lowest loss of the validation fold; read-out: %s of the nodes; %s\n",
                options.readout.c_str(),
                options.paper ? "depth and width by the mean validation loss" : "one depth and width for each network");
    std::vector<GraphRow> rows;
    std::vector<Curve> curves;
    for (const std::string& model : models) {
        if (example::interrupted()) break;
        const GraphSetData d = model == "diffpool" ? without_large(whole) : whole;
        if (d.set.size() < whole.set.size())
            std::printf("%s: %ld graphs that are much larger than the others are left out\n", model.c_str(), whole.set.size() - d.set.size());
        const std::vector<Tensor<std::int64_t, 1>> folds = graph::stratified_folds(d.set.data.graph_y, 10, Key(options.seed).split(4));
        const std::string stem = options.out + "/" + d.name + "-" + model + "-" + options.readout;
        std::map<std::string, FoldOutcome> earlier;
        if (options.resume)
            for (const auto& [run, n] : figures_in(stem + ".csv", 4))
                earlier[run] = {.validation_loss = n[0], .test = n[1], .last = n[2], .seconds = n[3]};
        io::CsvLog log(stem + ".csv", {"run", "validation_loss", "test", "last", "seconds"}, log_mode(options.resume));
        CurveLog log_of_curves(stem + "-curves.csv", options.resume);
        std::vector<GraphSetting> settings;
        if (options.paper) {
            for (const long layers : {1, 2, 3, 4, 5})
                for (const long hidden : {16, 32, 64, 128}) settings.push_back({.layers = layers, .hidden = hidden});
        } else {
            settings.push_back(fixed_setting(d.name, model));
            if (options.layers > 0) settings[0].layers = options.layers;
            if (options.hidden > 0) settings[0].hidden = options.hidden;
        }
        GraphRow best;
        Curve best_curve;
        for (GraphSetting& s : settings) {
            s.features = d.set.data.x.shape(1), s.classes = d.classes, s.sum = options.readout == "sum";
            s.kept = model == "sort-conv" ? nodes_of_most(d.set) : 10;
            s.nodes = nodes_of_each(d.set).front();
            Curve curve{model, {}};
            with_graph_model(model, [&](auto type) {
                GraphRow row = run_folds<typename decltype(type)::type>(model, d, s, folds, options, earlier, log, log_of_curves, curve);
                if (row.folds.empty() || (!best.folds.empty() && !(row.validation_loss() < best.validation_loss()))) return;
                best = std::move(row);
                best_curve = std::move(curve);
            });
            if (example::interrupted()) break;
        }
        if (!best.folds.empty()) rows.push_back(std::move(best));
        if (!best_curve.runs.empty()) curves.push_back(std::move(best_curve));
    }
    if (!curves.empty())
        draw_curves(curves, &Epoch::test, "Test accuracy, " + whole.name + ", 10 folds", options.out + "/" + whole.name + "-accuracy.png");
    std::printf("\n%s: test accuracy in per cent, mean and deviation over the folds%s\n", whole.name.c_str(),
                options.quick ? " (--quick: one fold)" : "");
    example::Table table({"network", "layers/width", "folds", "here", "paper (grid)", "at the last epoch", "s per fold"});
    for (const GraphRow& row : rows) {
        const auto of = [&](auto&& get) { return example::over_seeds(row.folds, get); };
        const example::Spread test = of([](const FoldOutcome& o) { return o.test; });
        table.row({row.model, std::to_string(row.setting.layers) + "/" + std::to_string(row.setting.hidden),
                   std::to_string(row.folds.size()), example::percent(test), published_graph_cell(row.model, whole.name),
                   example::percent(of([](const FoldOutcome& o) { return o.last; })),
                   example::number(of([](const FoldOutcome& o) { return o.seconds; }).mean, 2)});
        result.add(row.model + "_" + whole.name, 100 * test.mean, 2);
    }
    table.print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace pyg_example
