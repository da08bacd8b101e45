// The comparisons of Fey and Lenssen, "Fast graph representation learning with PyTorch Geometric" (2019): networks under one protocol,
// for nodes, graphs and clouds of points, and how long they take; and links, which auto-encoders predict.
#include "graph_classification.hpp"
#include "link_prediction.hpp"
#include "node_classification.hpp"
#include "point_clouds.hpp"
#include "run_times.hpp"

using namespace pyg_example;

namespace {

int run_tasks(const Options& options) {
    example::make_folder(options.out);
    const double begun = example::Progress::now();
    example::Result result;
    for (const std::string& task : options.tasks) {
        if (example::interrupted()) break;
        if (task == "nodes") classify_nodes(options, result);
        else if (task == "graphs") classify_graphs(options, result);
        else if (task == "points") classify_points(options, result);
        else if (task == "links") predict_links(options, result);
        else if (task == "times") measure_times(options, result);
    }
    if (example::interrupted()) std::printf("\ninterrupted: here is what was finished; the same command with --resume goes on\n");
    result.add("runs", std::to_string(options.runs)).add("interrupted", example::interrupted() ? "1" : "0");
    result.add("seconds", example::Progress::now() - begun, 1);
    result.print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    options.out = "out/pyg";
    CLI::App app("Graph networks under the protocols of Fey and Lenssen (2019)", "pyg");
    options.add_to(app);
    CLI::Option* const task =
        app.add_option("--task", options.tasks,
                       "nodes, graphs, points (made-up shapes without --data, a folder of ModelNet10), links, times, or all; without this "
                       "option nodes, times of Cora and points, and nodes alone where "
                       "--data, --set, --models, --splits, --batches or --runs say what to do with them")
            ->delimiter(',')
            ->check(CLI::IsMember({"nodes", "graphs", "points", "links", "times", "all"}));
    std::vector<CLI::Option*> of_nodes = {
        app.get_option("--data"),
        app.add_option(
            "--set", options.set,
            "nodes, links: cora, citeseer or pubmed (the last two from a folder of Planetoid's files, --data); graphs: mutag, proteins, ..., "
            "from a folder of the TU collection's or GIN's files"),
        app.add_option("--models", options.models,
                       "networks of nodes: mlp (does not see the graph), cheb, gcn, gat, sgc, arma, appnp; of graphs: mlp, gcn, sage, "
                       "gin-0, gin-eps, graclus, top-k, diffpool, sage-nojk, attention, set2set, sort, sort-conv; "
                       "of points: mpnn, pointnet++, edgecnn, splinecnn, pointcnn; of links: gae, vgae; times: gcn, gat, r-gcn")
            ->delimiter(','),
        app.add_option("--splits", options.splits, "nodes: fixed (the public one), random (new for each run)")
            ->delimiter(',')
            ->capture_default_str(),
        app.add_option("--batches", options.batches,
                       "nodes: train on the full graph, or in small batches: of sampled neighbours, of clusters (Cluster-GCN) or of walks "
                       "(saint: GraphSAINT)")
            ->check(CLI::IsMember(batching_names))
            ->capture_default_str(),
        app.add_option("--runs", options.runs, "nodes, links: runs of each network, with the seeds --seed, --seed + 1, ...")
            ->check(CLI::Range(1L, 10000L))
            ->capture_default_str()};
    app.add_option("--embedding", options.embedding, "nodes, links: how the picture of the nodes comes about, tsne or pca")
        ->check(CLI::IsMember({"tsne", "pca"}))
        ->capture_default_str();
    app.add_option("--readout", options.readout, "graphs: mean or sum of the nodes")
        ->check(CLI::IsMember({"mean", "sum"}))
        ->capture_default_str();
    app.add_option("--layers", options.layers, "graphs: layers of every network, 0: what does well on the set")
        ->check(CLI::Range(0L, 20L))
        ->capture_default_str();
    app.add_option("--hidden", options.hidden, "graphs: width of every network, 0: what does well on the set")
        ->check(CLI::Range(0L, 4096L))
        ->capture_default_str();
    app.add_option("--clouds", options.clouds, "points without --data: made-up clouds of each of ten shapes")
        ->check(CLI::Range(5L, 100000L))
        ->capture_default_str();
    app.add_option("--points", options.points, "points of a cloud, 0: 1024 of ModelNet10, 256 of the made-up ones")
        ->check(CLI::Range(0L, 100000L))
        ->capture_default_str();
    app.add_flag("--paper", options.paper,
                 "graphs: choose among 20 depths and widths, as published (20 times as long); points: all five networks");
    app.add_flag("--paper-table", options.paper_table, "print what was published, and end");
    return example::run(app, argc, argv, [&] {
        if (options.paper_table) {
            print_published();
            return example::success;
        }
        if (task->count() == 0 && std::any_of(of_nodes.begin(), of_nodes.end(), [](const CLI::Option* o) { return o->count() > 0; }))
            options.tasks = {"nodes"};
        options.brief = options.tasks.size() > 1 && task->count() == 0;
        if (std::find(options.tasks.begin(), options.tasks.end(), "all") != options.tasks.end())
            options.tasks = {"nodes", "links", "times", "points", "graphs"};
        if (options.tasks.size() > 1 && (!options.set.empty() || !options.models.empty() || !options.data.empty()))
            fail<ValueError>("--data, --set, --models: of which task? Name one by --task");
        if (options.quick) {
            options.runs = app.count("--runs") > 0 ? options.runs : 1;
            options.epochs = options.epochs > 0 ? options.epochs : 20;
            if (app.count("--embedding") == 0) options.embedding = "pca";
        }
        example::catch_interrupt();
        options.apply();
        example::print_machine("pyg", options.device.c_str());
        return run_tasks(options);
    });
}
