// Prediction of links: auto-encoders of graphs (Kipf and Welling, "Variational graph auto-encoders", 2016), which learn from 85 % of the
// edges and are asked for the rest.
#pragma once

#include "node_classification.hpp"

#include <tenon/graph/links.hpp>
#include <tenon/graph/sampling/link_split.hpp>

namespace pyg_example {

// Where an encoder puts the nodes in a training step, and what its loss has beside that of the links; empty: nothing.
struct Encoded {
    Hidden z;
    Tensor<float, 0> loss;
};

struct Gae {
    graph::GCNConv<> conv1, conv2;
    Gae(long features, Key key) : conv1(features, 32, key.split(1)), conv2(32, 16, key.split(2)) {}
    Hidden operator()(const Features& x, const graph::Graph& g) const { return conv2(Hidden(relu(conv1(x, g))), g); }
    Encoded encode(const Features& x, const graph::Graph& g, Key) const { return {(*this)(x, g), {}}; }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
    }
};

// Nodes lie anywhere around a mean, which stands for them when links are predicted.
struct Vgae {
    graph::GCNConv<> conv1, conv_mean, conv_deviation;
    Vgae(long features, Key key) : conv1(features, 32, key.split(1)), conv_mean(32, 16, key.split(2)), conv_deviation(32, 16, key.split(3)) {}
    Hidden operator()(const Features& x, const graph::Graph& g) const { return conv_mean(Hidden(relu(conv1(x, g))), g); }
    Encoded encode(const Features& x, const graph::Graph& g, Key key) const {
        const Hidden h = relu(conv1(x, g));
        const graph::Latent<float> latent{conv_mean(h, g), conv_deviation(h, g)};
        return {graph::sample(latent, key), graph::kl_loss(latent) * (1 / static_cast<float>(g.nodes()))};
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv_mean", self.conv_mean);
        f("conv_deviation", self.conv_deviation);
    }
};

// f(type) with the network of that name. Throws ValueError.
template <class F>
void with_link_model(const std::string& name, F&& f) {
    if (name == "gae") f(std::type_identity<Gae>{});
    else if (name == "vgae") f(std::type_identity<Vgae>{});
    else fail<ValueError>("--models: \"", name.c_str(), "\", expected gae or vgae");
}

struct LinkOutcome {
    double auc = std::nan(""), precision = std::nan(""), seconds = 0;
    bool stopped = false;  // by Ctrl-C: no result
};

// Adam, 0.01, as many pairs without an edge as there are edges, drawn anew in every epoch among those that training does not know as
// edges; judged at the last epoch, along the edges of the training.
template <class Net>
LinkOutcome learn_links(const Data& d, const graph::LinkSplit& split, long epochs, std::uint64_t seed, Device device, Hidden& z) {
    LinkOutcome outcome;
    const double begun = example::Progress::now();
    const Key key = Key(seed).split(5);
    const Net net = tenon::to(Net(d.data.x.shape(1), key.split(0)), device);
    auto opt = optim::adam(net, {.lr = 0.01});
    const Features x = d.data.x.to(device);
    const graph::Graph g = split.train.graph.to(device);
    const Tensor<std::int64_t, 2> edges = split.train.positive.to(device);
    for (long epoch = 1; epoch <= epochs; ++epoch) {
        if (example::interrupted()) {
            outcome.stopped = true;
            return outcome;
        }
        const Key own = key.split(1).split(static_cast<std::uint64_t>(epoch));
        const Tensor<std::int64_t, 2> none = graph::negative_sampling(split.train.graph, edges.shape(1), own.split(0)).to(device);
        const Encoded e = net.encode(x, g, own.split(1));
        Tensor<float, 0> loss = graph::link_loss(graph::inner_product(e.z, edges), graph::inner_product(e.z, none));
        if (e.loss.has_value()) loss = loss + e.loss;
        loss.backward();
        opt.step();
    }
    const no_grad unrecorded;
    z = net(x, g);
    const Tensor<float, 1> positive = graph::inner_product(z, split.test.positive.to(device)),
                           negative = graph::inner_product(z, split.test.negative.to(device));
    outcome.auc = graph::link_auc(positive, negative);
    outcome.precision = graph::average_precision(positive, negative);
    outcome.seconds = example::Progress::now() - begun;
    return outcome;
}

inline int predict_links(const Options& options, example::Result& result) {
    const std::vector<std::string> models = options.models_or({"gae", "vgae"});
    for (const std::string& model : models) with_link_model(model, [](auto) {});
    const Data d = read_data(options.set.empty() ? "cora" : options.set, options.data_or("build/data/cora.npz"));
    const char* const name = set_names[static_cast<int>(d.set)];
    const std::size_t set = static_cast<std::size_t>(d.set);
    // As published, the runs differ in their first weights and share the split.
    const graph::LinkSplit split =
        graph::random_link_split(d.graph, Key(options.seed).split(6), {.validation = 0.05, .test = 0.1, .undirected = true});
    const long epochs = options.epochs > 0 ? options.epochs : 200;
    std::printf("\nlinks: %s, %ld pairs of nodes with an edge for training, %ld held back for validation, %ld for testing, and as many without\n",
                name, split.train.positive.shape(1), split.validation.positive.shape(1), split.test.positive.shape(1));
    std::printf("protocol: full batch, Adam, the last of %ld epochs; one split, seeds %llu to %llu\n", epochs,
                static_cast<unsigned long long>(options.seed),
                static_cast<unsigned long long>(options.seed) + static_cast<unsigned long long>(options.runs) - 1);
    example::Table table({"network", "runs", "AUC", "paper (10 runs)", "average precision", "paper", "ms per epoch"});
    for (const std::string& model : models) {
        if (example::interrupted()) break;
        const std::string stem = options.out + "/links-" + set_keys[set] + "-" + model;
        std::map<std::string, LinkOutcome> earlier;
        if (options.resume)
            for (const auto& [run, n] : figures_in(stem + ".csv", 3)) earlier[run] = {.auc = n[0], .precision = n[1], .seconds = n[2]};
        io::CsvLog log(stem + ".csv", {"run", "auc", "average_precision", "seconds"}, log_mode(options.resume));
        example::Progress bar(model, options.runs);
        std::vector<LinkOutcome> runs;
        for (long i = 0; i < options.runs && !example::interrupted(); ++i) {
            const std::uint64_t seed = options.seed + static_cast<std::uint64_t>(i);
            // A run is what these make it.
            const std::string run = "split " + std::to_string(options.seed) + " seed " + std::to_string(seed) + " of " +
                                    std::to_string(epochs) + " epochs";
            if (const auto found = earlier.find(run); found != earlier.end()) {
                runs.push_back(found->second);
                bar.skip(1);
                continue;
            }
            LinkOutcome o;
            Hidden z;
            with_link_model(model, [&](auto type) {
                o = learn_links<typename decltype(type)::type>(d, split, epochs, seed, options.place(), z);
            });
            if (o.stopped) break;
            log.row(run, o.auc, o.precision, o.seconds);
            runs.push_back(o);
            if (i == 0)
                draw_nodes(z, d.data.y, d.classes, options.embedding == "tsne", options.quick,
                           "Where " + model + ", which learned links alone, puts " + name + "'s nodes", stem + "-nodes.png");
            bar.advance(("AUC " + example::number(100 * o.auc, 1)).c_str());
        }
        if (runs.empty()) continue;
        const auto of = [&](auto&& get) { return example::over_seeds(runs, get); };
        const example::Spread auc = of([](const LinkOutcome& o) { return o.auc; });
        const example::Spread precision = of([](const LinkOutcome& o) { return o.precision; });
        const auto paper = std::find_if(std::begin(published_links), std::end(published_links),
                                        [&](const PublishedLinks& p) { return model == p.model; });
        table.row({model, std::to_string(runs.size()), example::percent(auc), paper->auc[set], example::percent(precision), paper->precision[set],
                   example::number(1e3 * of([](const LinkOutcome& o) { return o.seconds; }).mean / static_cast<double>(epochs), 2)});
        result.add(model + "_auc", 100 * auc.mean, 2).add(model + "_ap", 100 * precision.mean, 2);
    }
    std::printf("\n%s: links that were held back for testing among as many pairs without, in per cent, mean and deviation over the runs\n", name);
    table.print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace pyg_example
