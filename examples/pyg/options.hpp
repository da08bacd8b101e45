// What can be chosen on the command line.
#pragma once

#include "../common/over_seeds.hpp"

#include <string>
#include <vector>

namespace pyg_example {

struct Options : example::CommonOptions {
    std::vector<std::string> tasks = {"nodes", "times", "points"};
    std::string set;                  // empty: cora, or mutag of graphs
    std::vector<std::string> models;  // empty: those of the task
    std::vector<std::string> splits = {"fixed"};
    std::string batches = "full";    // of nodes: batching_names
    std::string embedding = "tsne";  // or pca: how nodes are drawn
    long runs = 10;
    long layers = 0, hidden = 0;  // of graphs; 0: as the set has it
    std::string readout = "mean";
    long clouds = 40, points = 0;  // of points: made-up clouds of each shape; points of a cloud, 0: as the set has it
    bool brief = false;  // several tasks by default: times of Cora alone, so that all fits into five minutes
    bool paper = false, paper_table = false;

    std::string data_or(const char* own) const { return data.empty() ? own : data; }
    std::vector<std::string> models_or(std::vector<std::string> own) const { return models.empty() ? own : models; }
};

}  // namespace pyg_example
