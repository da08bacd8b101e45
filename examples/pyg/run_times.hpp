// How long a training takes, counted as in the paper: a whole training first, then 200 epochs of training steps alone, without looking
// at validation or test nodes. Adam, 0.01, no decay.
#pragma once

#include "node_classification.hpp"
#include "synthetic_graphs.hpp"

#include <tenon/graph/conv/rgcn.hpp>

#include <ctime>

namespace pyg_example {

// Nodes without features of their own; 16 wide, 30 basis matrices.
struct Rgcn {
    graph::RGCNConv<> conv1, conv2;
    Rgcn(long nodes, long relations, long classes, Key key)
        : conv1(nodes, 16, relations, 30, key.split(1)), conv2(16, classes, relations, 30, key.split(2)) {}
    Hidden operator()(const graph::Graph& g, const Tensor<std::int64_t, 1>& type, const Tensor<float, 1>& norm) const {
        return conv2(Hidden(relu(conv1({}, g, type, norm))), g, type, norm);
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
    }
};

struct Time {
    // Seconds: of all epochs, of all threads' processors in them (which other work on the machine disturbs less), of one epoch.
    double total = 0, cpu = 0, fastest = std::numeric_limits<double>::infinity();
    long epochs = 0;
};

// step(epoch) makes one training step and returns its loss.
template <class Step>
Time time_epochs(long epochs, bool measured, Step&& step) {
    Time t;
    const std::clock_t processor = std::clock();
    const double begun = example::Progress::now();
    double before = begun;
    float last = 0;
    for (long epoch = 1; epoch <= epochs && !example::interrupted(); ++epoch) {
        last = step(epoch).item();  // waits for the device
        const double now = example::Progress::now();
        t.fastest = std::min(t.fastest, now - before);
        before = now;
        ++t.epochs;
    }
    t.total = before - begun;
    t.cpu = static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC;
    if (measured && !std::isfinite(last)) fail<Error>("pyg: a training that was timed has the loss ", static_cast<double>(last));
    return t;
}

template <class Net>
Time time_nodes(const Data& d, long epochs, const Options& options) {
    // The same number of heads and no decay on every set.
    const Setting setting{Set::cora, false, d.data.x.shape(1), d.classes};
    const Device device = options.place();
    const Features x = d.normalized.to(device);
    const graph::Graph g = d.graph.to(device);
    const Judge training(d.fixed.train, d.data.y, device);
    const auto train = [&](Key key, bool measured) {
        const Net net = tenon::to(Net(setting, key.split(0)), device);
        auto opt = optim::adam(net, {.lr = 0.01});
        return time_epochs(epochs, measured, [&](long epoch) {
            const Tensor<float, 0> loss = training.loss(net(x, g, {key.split(1).split(static_cast<std::uint64_t>(epoch)), true}));
            loss.backward();
            opt.step();
            return loss.detach();
        });
    };
    train(Key(options.seed).split(5), false);
    return train(Key(options.seed).split(6), true);
}

// As large as the graph of entities MUTAG (not the molecules): 23644 nodes, 148454 edges of 46 relations, 272 labelled nodes.
inline Time time_relations(long epochs, const Options& options) {
    constexpr long nodes = 23644, edges = 148454, relations = 46, classes = 2, labelled = 272;
    const Key key = Key(options.seed).split(7);
    const Device device = options.place();
    const graph::Graph g = graph::Graph::from_edges(synthetic_edges(nodes, edges, key.split(0)), nodes).to(device);
    const Tensor<std::int64_t, 1> type = synthetic_labels(g.edges(), relations, key.split(1)).to(device);
    const Tensor<float, 1> norm = graph::relation_norm<float>(g, type, relations);
    const Judge training(arange<std::int64_t>(labelled), synthetic_labels(nodes, classes, key.split(2)), device);
    const auto train = [&](Key own, bool measured) {
        const Rgcn net = tenon::to(Rgcn(nodes, relations, classes, own), device);
        auto opt = optim::adam(net, {.lr = 0.01});
        return time_epochs(epochs, measured, [&](long) {
            const Tensor<float, 0> loss = training.loss(net(g, type, norm));
            loss.backward();
            opt.step();
            return loss.detach();
        });
    };
    train(key.split(3), false);
    return train(key.split(4), true);
}

inline int measure_times(const Options& options, example::Result& result) {
    constexpr Sizes sizes[] = {{2708, 10556, 1433, 49216, 7}, {3327, 9104, 3703, 105165, 6}, {19717, 88648, 500, 988031, 3}};
    const long epochs = options.epochs > 0 ? options.epochs : 200;
    const std::vector<std::string> models = options.models_or({"gcn", "gat", "r-gcn"});
    for (const std::string& model : models)
        if (model != "gcn" && model != "gat" && model != "r-gcn")
            fail<ValueError>("--models: \"", model.c_str(), "\", expected gcn, gat or r-gcn");
    const auto wanted = [&](const char* model) { return std::find(models.begin(), models.end(), model) != models.end(); };
    std::printf("\ntimes: seconds of %ld epochs of training steps after a training that does not count\n", epochs);
    example::Table table({"set, network", "here", "of processors", "fastest epoch, ms", "DGL 0.2", "DGL 0.2 fused", "PyG 2019", "graph"});
    const std::string path_of_log = options.out + "/times.csv";
    std::map<std::string, Time> earlier;
    if (options.resume)
        for (const auto& [run, n] : figures_in(path_of_log, 3)) earlier[run] = {.total = n[0], .cpu = n[1], .fastest = n[2], .epochs = epochs};
    io::CsvLog log(path_of_log, {"run", "seconds", "cpu_seconds", "fastest_epoch"}, log_mode(options.resume));
    // measure() gives the Time, unless an earlier run of this program has measured the same.
    const auto add = [&](const std::string& set, const std::string& model, bool real, auto&& measure) {
        const std::string run = set + " " + model + (real ? " real" : " synthetic") + " " + std::to_string(epochs) + " epochs " + options.device + " " +
                                tenon::name(tenon::isa()) + " " + std::to_string(tenon::num_threads()) + " threads";
        const auto found = earlier.find(run);
        const Time t = found != earlier.end() ? found->second : measure();
        if (t.epochs < epochs) return;  // interrupted
        if (found == earlier.end()) log.row(run, t.total, t.cpu, t.fastest);
        const PublishedTime* const p = published_time(set, model);
        table.row({set + ", " + model, example::number(t.total, 2), example::number(t.cpu, 2), example::number(1e3 * t.fastest, 2),
                   p != nullptr ? example::number(p->degree_buckets, 2) : "-", p != nullptr ? example::number(p->fused, 2) : "-",
                   p != nullptr ? example::number(p->pyg, 2) : "-", real ? "real" : "synthetic"});
        result.add("time_" + model + "_" + set, t.total, 3);
    };
    for (std::size_t i = 0; i < 3 && !example::interrupted(); ++i) {
        if (!wanted("gcn") && !wanted("gat")) break;
        if (options.brief ? i != 0 : !options.set.empty() && options.set != set_keys[i]) continue;
        const std::string path = options.data_or("build/data/cora.npz");
        const bool files = std::filesystem::exists(path + "/ind." + set_keys[i] + ".allx");
        const bool real = files || (i == 0 && std::filesystem::is_regular_file(path));
        const Data d =
            real ? read_data(set_keys[i], path) : synthetic_data(static_cast<Set>(i), sizes[i], Key(options.seed).split(8).split(i));
        example::Progress bar(std::string("times ") + set_names[i], 2);
        if (wanted("gcn")) add(set_names[i], "gcn", real, [&] { return time_nodes<Gcn>(d, epochs, options); });
        bar.advance("gcn");
        if (wanted("gat")) add(set_names[i], "gat", real, [&] { return time_nodes<Gat>(d, epochs, options); });
        bar.advance("gat");
    }
    if (wanted("r-gcn") && options.set.empty() && !options.brief && !example::interrupted())
        add("MUTAG-RDF", "r-gcn", false, [&] { return time_relations(epochs, options); });
    table.print();
    std::printf("published: 200 epochs on a GTX 1080 Ti. synthetic: a made-up graph with as many nodes, edges, features and words.\n");
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace pyg_example
