// What the paper has in its table of node classification: accuracy on the test nodes in per cent, mean and deviation of 100 runs.
#pragma once

#include "../common/example.hpp"

namespace pyg_example {

struct Published {
    const char* model;
    const char* name;
    const char* cells[6];  // Cora fixed, random, CiteSeer fixed, random, PubMed fixed, random
};
inline constexpr Published published[] = {
    {"cheb", "Cheby", {"81.4 ± 0.7", "77.8 ± 2.2", "70.2 ± 1.0", "67.7 ± 1.7", "78.4 ± 0.4", "75.8 ± 2.2"}},
    {"gcn", "GCN", {"81.5 ± 0.6", "79.4 ± 1.9", "71.1 ± 0.7", "68.1 ± 1.7", "79.0 ± 0.6", "77.4 ± 2.4"}},
    {"gat", "GAT", {"83.1 ± 0.4", "81.0 ± 1.4", "70.8 ± 0.5", "69.2 ± 1.9", "78.5 ± 0.3", "78.3 ± 2.3"}},
    {"sgc", "SGC", {"81.7 ± 0.1", "80.2 ± 1.6", "71.3 ± 0.2", "68.7 ± 1.6", "78.9 ± 0.1", "76.5 ± 2.4"}},
    {"arma", "ARMA", {"82.8 ± 0.6", "80.7 ± 1.4", "72.3 ± 1.1", "68.9 ± 1.6", "78.8 ± 0.3", "77.7 ± 2.6"}},
    {"appnp", "APPNP", {"83.3 ± 0.5", "82.2 ± 1.5", "71.8 ± 0.5", "70.0 ± 1.4", "80.1 ± 0.2", "79.4 ± 2.2"}},
};
// set: 0 Cora, 1 CiteSeer, 2 PubMed.
inline const char* published_cell(const std::string& model, int set, bool random) {
    for (const Published& p : published)
        if (model == p.model) return p.cells[2 * set + (random ? 1 : 0)];
    return "-";
}

// Accuracy on ten folds: the best of depths 1 to 5 and widths 16 to 128 by the validation loss.
struct PublishedGraphs {
    const char* model;
    const char* name;
    const char* cells[5];  // in the order of published_graph_sets
};
inline constexpr const char* published_graph_sets[] = {"MUTAG", "PROTEINS", "COLLAB", "IMDB-BINARY", "REDDIT-BINARY"};
inline constexpr PublishedGraphs published_graphs[] = {
    {"gcn", "GCN", {"74.6 ± 7.7", "73.1 ± 3.8", "80.6 ± 2.1", "72.6 ± 4.5", "89.3 ± 3.3"}},
    {"sage", "SAGE", {"74.9 ± 8.7", "73.8 ± 3.6", "79.7 ± 1.7", "72.4 ± 3.6", "89.1 ± 1.9"}},
    {"gin-0", "GIN-0", {"85.7 ± 7.7", "72.1 ± 5.1", "79.3 ± 2.7", "72.8 ± 4.5", "89.6 ± 2.6"}},
    {"gin-eps", "GIN-eps", {"83.4 ± 7.5", "72.6 ± 4.9", "79.8 ± 2.4", "72.1 ± 5.1", "90.3 ± 3.0"}},
    {"graclus", "Graclus", {"77.1 ± 7.2", "73.0 ± 4.1", "79.6 ± 2.0", "72.2 ± 4.2", "88.8 ± 3.2"}},
    {"top-k", "top-k", {"76.3 ± 7.5", "72.7 ± 4.1", "79.7 ± 2.2", "72.5 ± 4.6", "87.6 ± 2.4"}},
    {"diffpool", "DiffPool", {"85.0 ± 10.3", "75.1 ± 3.5", "78.9 ± 2.3", "72.6 ± 3.9", "92.1 ± 2.6"}},
    {"sage-nojk", "SAGE, last layer", {"73.7 ± 7.8", "72.7 ± 3.6", "79.6 ± 2.4", "72.1 ± 4.4", "87.9 ± 1.9"}},
    {"attention", "global attention", {"74.6 ± 8.0", "72.5 ± 4.5", "79.6 ± 2.2", "72.3 ± 3.8", "87.4 ± 2.5"}},
    {"set2set", "Set2Set", {"73.7 ± 6.9", "73.6 ± 3.7", "79.6 ± 2.3", "72.2 ± 4.2", "89.6 ± 2.4"}},
    {"sort", "SortPool", {"77.3 ± 8.9", "72.4 ± 4.1", "77.7 ± 3.1", "72.4 ± 3.8", "74.9 ± 6.7"}},
};
inline const char* published_graph_cell(const std::string& model, const std::string& set) {
    for (const PublishedGraphs& p : published_graphs)
        for (int i = 0; i < 5; ++i)
            if (model == p.model && set == published_graph_sets[i]) return p.cells[i];
    return "-";
}

// Seconds of 200 epochs of training on a GTX 1080 Ti.
struct PublishedTime {
    const char* set;
    const char* model;
    double degree_buckets, fused, pyg;  // DGL 0.2 by degrees, and with fused gather and scatter; PyTorch Geometric
};
inline constexpr PublishedTime published_times[] = {
    {"Cora", "gcn", 4.19, 0.32, 0.25},     {"Cora", "gat", 6.31, 5.36, 0.80},    {"CiteSeer", "gcn", 3.78, 0.34, 0.30},
    {"CiteSeer", "gat", 5.61, 4.91, 0.88}, {"PubMed", "gcn", 12.91, 0.36, 0.32}, {"PubMed", "gat", 18.69, 13.76, 2.42},
    {"MUTAG-RDF", "r-gcn", 18.81, 2.40, 2.14},
};
inline const PublishedTime* published_time(const std::string& set, const std::string& model) {
    for (const PublishedTime& p : published_times)
        if (set == p.set && model == p.model) return &p;
    return nullptr;
}

// Accuracy on ModelNet10's test shapes.
struct PublishedPoints {
    const char* model;
    const char* cell;
};
inline constexpr PublishedPoints published_points[] = {
    {"mpnn", "92.07"}, {"pointnet++", "92.51"}, {"edgecnn", "92.62"}, {"splinecnn", "92.65"}, {"pointcnn", "93.28"},
};
inline const char* published_points_cell(const std::string& model) {
    for (const PublishedPoints& p : published_points)
        if (model == p.model) return p.cell;
    return "-";
}

// Links held back from Cora, CiteSeer and PubMed: area under the ROC curve and average precision in per cent, means of 10 runs (Kipf and
// Welling, "Variational graph auto-encoders", 2016, with features).
struct PublishedLinks {
    const char* model;
    const char* auc[3];
    const char* precision[3];
};
inline constexpr PublishedLinks published_links[] = {
    {"gae", {"91.0", "89.5", "96.4"}, {"92.0", "89.9", "96.5"}},
    {"vgae", {"91.4", "90.8", "94.4"}, {"92.6", "92.0", "94.7"}},
};

inline void print_published() {
    std::printf("\npublished (Fey and Lenssen, 2019): test accuracy in per cent, 100 runs\n");
    example::Table table({"method", "Cora fixed", "random", "CiteSeer fixed", "random", "PubMed fixed", "random"});
    for (const Published& p : published) table.row({p.name, p.cells[0], p.cells[1], p.cells[2], p.cells[3], p.cells[4], p.cells[5]});
    table.print();
    std::printf("\ngraphs: test accuracy in per cent, 10 folds\n");
    const auto& g = published_graph_sets;
    example::Table graphs({"method", g[0], g[1], g[2], g[3], g[4]});
    for (const PublishedGraphs& p : published_graphs) graphs.row({p.name, p.cells[0], p.cells[1], p.cells[2], p.cells[3], p.cells[4]});
    graphs.print();
    std::printf("\npoint clouds: test accuracy in per cent, ModelNet10\n");
    example::Table points({"method", "ModelNet10"});
    for (const PublishedPoints& p : published_points) points.row({p.model, p.cell});
    points.print();
    std::printf("\nlinks (Kipf and Welling, 2016): area under the ROC curve and average precision in per cent, 10 runs\n");
    example::Table links({"method", "Cora AUC", "AP", "CiteSeer AUC", "AP", "PubMed AUC", "AP"});
    for (const PublishedLinks& p : published_links)
        links.row({p.model, p.auc[0], p.precision[0], p.auc[1], p.precision[1], p.auc[2], p.precision[2]});
    links.print();
    std::printf("\nseconds of 200 epochs of training, GTX 1080 Ti\n");
    example::Table times({"set, method", "DGL 0.2, by degrees", "DGL 0.2, fused", "PyTorch Geometric"});
    for (const PublishedTime& t : published_times)
        times.row({std::string(t.set) + ", " + t.model, example::number(t.degree_buckets, 2), example::number(t.fused, 2),
                   example::number(t.pyg, 2)});
    times.print();
}

}  // namespace pyg_example
