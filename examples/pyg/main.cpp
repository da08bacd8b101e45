// The comparison of graph networks on citation graphs under one protocol of Fey and Lenssen, "Fast graph representation learning
// with PyTorch Geometric" (2019): their table of node classification, from the same data, splits and rules.
#include "../common/over_seeds.hpp"
#include "pictures.hpp"
#include "published.hpp"

#include <tenon/graph/io/npz_graph.hpp>
#include <tenon/graph/io/planetoid.hpp>
#include <tenon/io/csv.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>

using namespace pyg_example;

namespace {

struct Options : example::CommonOptions {
    std::string set = "cora";
    std::vector<std::string> models = {"mlp", "gcn", "gat", "sgc", "appnp"}, splits = {"fixed"};
    long runs = 10;
    bool paper_table = false;
};

const char* const set_names[] = {"Cora", "CiteSeer", "PubMed"};

Data read_data(const Options& options) {
    Data d;
    const std::vector<std::string> keys = {"cora", "citeseer", "pubmed"};
    const auto found = std::find(keys.begin(), keys.end(), options.set);
    if (found == keys.end()) fail<ValueError>("--set: \"", options.set.c_str(), "\", expected cora, citeseer or pubmed");
    d.set = static_cast<Set>(found - keys.begin());
    if (std::filesystem::is_directory(options.data)) {
        d.data = graph::read_planetoid(options.data, options.set);
        d.fixed = {d.data.train, d.data.validation, d.data.test};
    } else {
        if (d.set != Set::cora) fail<ValueError>("--set ", options.set.c_str(), ": --data must be a folder with the files ind.", options.set.c_str(), ".* of the Planetoid release");
        if (!std::filesystem::exists(options.data))
            fail<FileError>("--data: no \"", options.data.c_str(), "\"\nhint: third_party/cora.sh makes build/data/cora.npz; a folder with the Planetoid files (ind.cora.*) will do as well");
        d.data = graph::read_npz_graph(options.data);
        if (d.data.nodes != 2708) fail<FileError>("--data: \"", options.data.c_str(), "\" has ", d.data.nodes, " nodes, expected Cora's 2708");
        // In Planetoid's order of nodes, the public split is this.
        d.fixed = {arange<std::int64_t>(140), arange<std::int64_t>(140, 640), arange<std::int64_t>(1708, 2708)};
    }
    d.normalized = graph::normalize_features(d.data.x);
    d.graph = d.data.graph();
    for (long i = 0; i < d.data.y.size(); ++i) d.classes = std::max(d.classes, static_cast<long>(d.data.y.data()[i]) + 1);
    return d;
}

// What earlier runs have left in a log of ours.
std::vector<Outcome> finished(const std::string& path) {
    std::vector<Outcome> runs;
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
        Outcome o;
        char comma;
        std::istringstream row(line);
        if (row >> o.seed >> comma >> o.test >> comma >> o.last >> comma >> o.epochs >> comma >> o.seconds) runs.push_back(o);
    }
    return runs;
}

struct Row {
    std::string model, split;
    std::vector<Outcome> runs;
};

template <class Net>
void run_model(const std::string& model, const Data& d, const Options& options, bool random, Row& row, Curve& curve) {
    const Setting setting{d.set, random, d.data.x.shape(1), d.classes};
    Protocol protocol = Net::protocol(setting);
    if (options.epochs > 0) protocol.epochs = options.epochs;
    const std::string stem = options.out + "/" + options.set + "-" + row.split + "-" + model;
    if (options.resume) row.runs = finished(stem + ".csv");
    io::CsvLog log(stem + ".csv", {"seed", "test", "last", "epochs", "seconds"}, options.resume ? io::CsvMode::append : io::CsvMode::replace);
    example::Progress bar(model + " " + row.split, options.runs);
    for (long i = 0; i < options.runs && !example::interrupted(); ++i) {
        const std::uint64_t seed = options.seed + static_cast<std::uint64_t>(i);
        if (std::any_of(row.runs.begin(), row.runs.end(), [&](const Outcome& o) { return o.seed == seed; })) continue;
        // The split of a run depends on its seed alone: every network sees the same ones.
        const graph::Split split = random ? graph::random_split(d.data.y, Key(seed).split(2)) : d.fixed;
        std::vector<Epoch> epochs;
        double lowest = std::numeric_limits<double>::infinity();
        Hidden best;
        const Outcome outcome = train<Net>(d, setting, protocol, split, seed, options.place(), [&](int, const Epoch& e, const Hidden& logits) {
            epochs.push_back(e);
            if (i == 0 && e.validation_loss < lowest) lowest = e.validation_loss, best = logits;
        });
        if (outcome.stopped) break;
        log.row(static_cast<long>(seed), outcome.test, outcome.last, outcome.epochs, outcome.seconds);
        row.runs.push_back(outcome);
        curve.runs.push_back(std::move(epochs));
        if (i == 0 && best.has_value())
            draw_nodes(best, d.data.y, d.classes, "What " + model + " makes of " + set_names[static_cast<int>(d.set)] + "'s nodes", stem + "-nodes.png");
        bar.advance(("test " + example::number(100 * outcome.test, 1) + " %").c_str());
    }
}

int compare(const Options& options) {
    for (const std::string& model : options.models) with_model(model, [](auto) {});
    for (const std::string& split : options.splits)
        if (split != "fixed" && split != "random") fail<ValueError>("--splits: \"", split.c_str(), "\", expected fixed or random");
    const Data d = read_data(options);
    example::make_folder(options.out);
    const char* const name = set_names[static_cast<int>(d.set)];
    std::printf("data: %s, %ld nodes, %ld edges (both directions), %ld features, %ld classes\n", name, d.data.nodes, d.data.edges(), d.data.x.shape(1), d.classes);
    std::printf("protocol: full batch, Adam with L2 decay, test accuracy at the epoch of the lowest validation loss; seeds %llu to %llu\n", static_cast<unsigned long long>(options.seed),
                static_cast<unsigned long long>(options.seed) + static_cast<unsigned long long>(options.runs) - 1);
    const double begun = example::Progress::now();
    std::vector<Row> rows;
    for (const std::string& split : options.splits) {
        std::vector<Curve> curves;
        for (const std::string& model : options.models) {
            if (example::interrupted()) break;
            Row row{model, split, {}};
            Curve curve{model, {}};
            with_model(model, [&](auto type) { run_model<typename decltype(type)::type>(model, d, options, split == "random", row, curve); });
            if (!row.runs.empty()) rows.push_back(std::move(row));
            if (!curve.runs.empty()) curves.push_back(std::move(curve));
        }
        if (!curves.empty()) draw_curves(curves, &Epoch::test, std::string("Test accuracy, ") + name + ", " + split + " split", options.out + "/" + options.set + "-" + split + "-accuracy.png");
    }
    if (example::interrupted()) std::printf("\ninterrupted: here is what was finished; the same command with --resume goes on\n");
    std::printf("\ntest accuracy in per cent, mean and deviation over the runs\n");
    example::Table table({"method, split", "runs", "here", "paper (100 runs)", "at the last epoch", "epochs", "ms per epoch"});
    example::Result result;
    for (const Row& row : rows) {
        const auto of = [&](auto&& get) { return example::over_seeds(row.runs, get); };
        const example::Spread test = of([](const Outcome& o) { return o.test; });
        table.row({row.model + ", " + row.split, std::to_string(row.runs.size()), example::percent(test), published_cell(row.model, static_cast<int>(d.set), row.split == "random"),
                   example::percent(of([](const Outcome& o) { return o.last; })), example::number(of([](const Outcome& o) { return static_cast<double>(o.epochs); }).mean, 0),
                   example::number(1e3 * of([](const Outcome& o) { return o.seconds / static_cast<double>(o.epochs); }).mean, 2)});
        result.add(row.model + "_" + row.split, 100 * test.mean, 2);
    }
    table.print();
    result.add("runs", std::to_string(options.runs)).add("interrupted", example::interrupted() ? "1" : "0").add("seconds", example::Progress::now() - begun, 1);
    result.print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    options.data = "build/data/cora.npz";
    options.out = "out/pyg";
    CLI::App app("Graph networks on citation graphs under the protocol of Fey and Lenssen (2019)", "pyg");
    options.add_to(app);
    app.add_option("--set", options.set, "data set: cora, citeseer or pubmed (the last two from a folder of Planetoid's files, --data)")->capture_default_str();
    app.add_option("--models", options.models, "networks: mlp (does not see the graph), cheb, gcn, gat, sgc, arma, appnp")->delimiter(',')->capture_default_str();
    app.add_option("--splits", options.splits, "fixed (the public one), random (new for each run)")->delimiter(',')->capture_default_str();
    app.add_option("--runs", options.runs, "runs of each, with the seeds --seed, --seed + 1, ...")->check(CLI::Range(1L, 10000L))->capture_default_str();
    app.add_flag("--paper-table", options.paper_table, "print what was published, and end");
    return example::run(app, argc, argv, [&] {
        if (options.paper_table) {
            print_published();
            return example::success;
        }
        if (options.quick) {
            options.runs = app.count("--runs") > 0 ? options.runs : 1;
            options.epochs = options.epochs > 0 ? options.epochs : 20;
        }
        example::catch_interrupt();
        options.apply();
        example::print_machine("pyg", options.device.c_str());
        return compare(options);
    });
}
