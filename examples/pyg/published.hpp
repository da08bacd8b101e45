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
inline void print_published() {
    std::printf("\npublished (Fey and Lenssen, 2019): test accuracy in per cent, 100 runs\n");
    example::Table table({"method", "Cora fixed", "random", "CiteSeer fixed", "random", "PubMed fixed", "random"});
    for (const Published& p : published) table.row({p.name, p.cells[0], p.cells[1], p.cells[2], p.cells[3], p.cells[4], p.cells[5]});
    table.print();
}

}  // namespace pyg_example
