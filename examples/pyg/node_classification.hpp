// Classification of nodes: the paper's networks on one graph, over splits and seeds.
#pragma once

#include "figures_log.hpp"
#include "options.hpp"
#include "pictures.hpp"
#include "published.hpp"

#include <tenon/graph/io/npz_graph.hpp>
#include <tenon/graph/io/planetoid.hpp>

#include <filesystem>

namespace pyg_example {

inline constexpr const char* set_names[] = {"Cora", "CiteSeer", "PubMed"};

inline const std::vector<std::string> set_keys = {"cora", "citeseer", "pubmed"};

// path: a folder with Planetoid's files, or what third_party/cora.sh makes. Throws ValueError, FileError.
inline Data read_data(const std::string& set, const std::string& path) {
    Data d;
    const auto found = std::find(set_keys.begin(), set_keys.end(), set);
    if (found == set_keys.end()) fail<ValueError>("--set: \"", set.c_str(), "\", expected cora, citeseer or pubmed");
    d.set = static_cast<Set>(found - set_keys.begin());
    if (std::filesystem::is_directory(path)) {
        d.data = graph::read_planetoid(path, set);
        d.fixed = {d.data.train, d.data.validation, d.data.test};
    } else {
        if (d.set != Set::cora)
            fail<ValueError>("--set ", set.c_str(), ": --data must be a folder with the files ind.", set.c_str(),
                             ".* of the Planetoid release");
        if (!std::filesystem::exists(path))
            fail<FileError>(
                "--data: no \"", path.c_str(),
                "\"\nhint: third_party/cora.sh makes build/data/cora.npz; a folder with Planetoid's files (ind.cora.*) will do, too");
        d.data = graph::read_npz_graph(path);
        if (d.data.nodes != 2708)
            fail<FileError>("--data: \"", path.c_str(), "\" has ", d.data.nodes, " nodes, expected Cora's 2708");
        // In Planetoid's order of nodes, the public split is this.
        d.fixed = {arange<std::int64_t>(140), arange<std::int64_t>(140, 640), arange<std::int64_t>(1708, 2708)};
    }
    d.normalized = graph::normalize_features(d.data.x);
    d.graph = d.data.graph();
    for (long i = 0; i < d.data.y.size(); ++i) d.classes = std::max(d.classes, static_cast<long>(d.data.y.data()[i]) + 1);
    return d;
}

struct Row {
    std::string model, split, name;
    std::vector<Outcome> runs;
};

inline Batching batching_of(const Options& options) {
    return static_cast<Batching>(std::find(batching_names.begin(), batching_names.end(), options.batches) - batching_names.begin());
}

template <class Net>
void run_model(const std::string& model, const Data& d, const Options& options, bool random, Row& row, Curve& curve) {
    const Setting setting{d.set, random, d.data.x.shape(1), d.classes};
    const Batching batching = batching_of(options);
    Protocol protocol = Net::protocol(setting);
    if (options.epochs > 0) protocol.epochs = options.epochs;
    const std::string stem = options.out + "/" + set_keys[static_cast<std::size_t>(d.set)] + "-" + row.split +
                             (batching == Batching::full ? "" : "-" + options.batches) + "-" + model;
    // A run is what its seed and its longest number of epochs make it.
    const auto name_of = [&](std::uint64_t seed) { return "seed " + std::to_string(seed) + " of " + std::to_string(protocol.epochs) + " epochs"; };
    std::map<std::string, Outcome> earlier;
    if (options.resume)
        for (const auto& [run, n] : figures_in(stem + ".csv", 4))
            earlier[run] = {.test = n[0], .last = n[1], .seconds = n[3], .epochs = static_cast<long>(n[2])};
    io::CsvLog log(stem + ".csv", {"run", "test", "last", "epochs", "seconds"}, log_mode(options.resume));
    CurveLog curves(stem + "-curves.csv", options.resume);
    example::Progress bar(row.name + " " + row.split, options.runs);
    for (long i = 0; i < options.runs && !example::interrupted(); ++i) {
        const std::uint64_t seed = options.seed + static_cast<std::uint64_t>(i);
        if (const auto found = earlier.find(name_of(seed)); found != earlier.end()) {
            row.runs.push_back(found->second);
            if (auto before = curves.of(found->first, found->second.epochs); !before.empty()) curve.runs.push_back(std::move(before));
            bar.skip(1);
            continue;
        }
        // The split of a run depends on its seed alone: every network sees the same ones.
        const graph::Split split = random ? graph::random_split(d.data.y, Key(seed).split(2)) : d.fixed;
        std::vector<Epoch> epochs;
        double lowest = std::numeric_limits<double>::infinity();
        Hidden best;
        const auto each = [&](int, const Epoch& e, const Hidden& logits) {
            epochs.push_back(e);
            if (i == 0 && e.validation_loss < lowest) lowest = e.validation_loss, best = logits;
        };
        const Outcome outcome = run_once<Net>(d, setting, protocol, split, batching, seed, options.place(), each);
        if (outcome.stopped) break;
        curves.add(name_of(seed), epochs);
        log.row(name_of(seed), outcome.test, outcome.last, outcome.epochs, outcome.seconds);
        row.runs.push_back(outcome);
        curve.runs.push_back(std::move(epochs));
        if (i == 0 && best.has_value()) {
            // Of probabilities: their logarithms' principal components would show the few nodes of which the network is surest.
            const bool by_tsne = options.embedding == "tsne";
            draw_nodes(by_tsne ? best : Hidden(softmax<1>(best)), d.data.y, d.classes, by_tsne, options.quick,
                       "What " + model + " makes of " + set_names[static_cast<int>(d.set)] + "'s nodes", stem + "-nodes.png");
        }
        bar.advance(("test " + example::number(100 * outcome.test, 1) + " %").c_str());
    }
}

inline int classify_nodes(const Options& options, example::Result& result) {
    const std::vector<std::string> models = options.models_or({"mlp", "cheb", "gcn", "gat", "sgc", "arma", "appnp"});
    for (const std::string& model : models) with_model(model, [](auto) {});
    for (const std::string& split : options.splits)
        if (split != "fixed" && split != "random") fail<ValueError>("--splits: \"", split.c_str(), "\", expected fixed or random");
    const Data d = read_data(options.set.empty() ? "cora" : options.set, options.data_or("build/data/cora.npz"));
    const char* const name = set_names[static_cast<int>(d.set)];
    std::printf("\nnodes: %s, %ld nodes, %ld edges (both directions), %ld features, %ld classes\n", name, d.data.nodes, d.data.edges(),
                d.data.x.shape(1), d.classes);
    const Batching batching = batching_of(options);
    std::printf("protocol: %s, Adam with L2 decay, test accuracy at the epoch of the lowest validation loss; seeds %llu to %llu\n",
                batching == Batching::full         ? "full batch"
                : batching == Batching::neighbours ? "batches of sampled neighbours (the paper: full)"
                : batching == Batching::clusters   ? "batches of clusters (the paper: full)"
                                                   : "batches of GraphSAINT's walks (the paper: full)",
                static_cast<unsigned long long>(options.seed),
                static_cast<unsigned long long>(options.seed) + static_cast<unsigned long long>(options.runs) - 1);
    std::vector<Row> rows;
    for (const std::string& split : options.splits) {
        std::vector<Curve> curves;
        for (const std::string& model : models) {
            if (example::interrupted()) break;
            Row row{model, split, batching == Batching::full ? model : model + " " + options.batches, {}};
            Curve curve{model, {}};
            with_model(model, [&](auto type) {
                run_model<typename decltype(type)::type>(model, d, options, split == "random", row, curve);
            });
            if (!row.runs.empty()) rows.push_back(std::move(row));
            if (!curve.runs.empty()) curves.push_back(std::move(curve));
        }
        if (!curves.empty())
            draw_curves(curves, &Epoch::test, std::string("Test accuracy, ") + name + ", " + split + " split",
                        options.out + "/" + set_keys[static_cast<std::size_t>(d.set)] + "-" + split +
                            (batching == Batching::full ? "" : "-" + options.batches) + "-accuracy.png");
    }
    std::printf("\n%s: test accuracy in per cent, mean and deviation over the runs\n", name);
    example::Table table({"method, split", "runs", "here", "paper (100 runs)", "at the last epoch", "epochs", "ms per epoch"});
    for (const Row& row : rows) {
        const auto of = [&](auto&& get) { return example::over_seeds(row.runs, get); };
        const example::Spread test = of([](const Outcome& o) { return o.test; });
        table.row({row.name + ", " + row.split, std::to_string(row.runs.size()), example::percent(test),
                   published_cell(row.model, static_cast<int>(d.set), row.split == "random"),
                   example::percent(of([](const Outcome& o) { return o.last; })),
                   example::number(of([](const Outcome& o) { return static_cast<double>(o.epochs); }).mean, 0),
                   example::number(1e3 * of([](const Outcome& o) { return o.seconds / static_cast<double>(o.epochs); }).mean, 2)});
        result.add(row.model + (batching == Batching::full ? "_" : "_" + options.batches + "_") + row.split, 100 * test.mean, 2);
    }
    table.print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace pyg_example
