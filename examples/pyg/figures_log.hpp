// Figures of finished runs in a file, found again by a resumed program under the name of the run.
#pragma once

#include "protocol.hpp"

#include <tenon/io/csv.hpp>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace pyg_example {

// Rows "run,number,number,..."; the name of a run has no commas.
inline std::vector<std::pair<std::string, std::vector<double>>> figures_in(const std::string& path, std::size_t columns) {
    std::vector<std::pair<std::string, std::vector<double>>> rows;
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
        std::istringstream cells(line);
        std::string run, cell;
        std::vector<double> numbers;
        std::getline(cells, run, ',');
        while (std::getline(cells, cell, ',')) numbers.push_back(std::strtod(cell.c_str(), nullptr));
        if (numbers.size() == columns && !file.eof()) rows.emplace_back(run, std::move(numbers));  // the last row may be cut short
    }
    return rows;
}
inline io::CsvMode log_mode(bool resume) { return resume ? io::CsvMode::append : io::CsvMode::replace; }

// What the epochs of runs have given, so that the curves of a resumed program are those of all runs.
class CurveLog {
public:
    CurveLog(const std::string& path, bool resume)
        : earlier_(resume ? read(path) : Runs()), log_(path, {"run", "epoch", "train_loss", "validation_loss", "validation", "test"}, log_mode(resume)) {}
    // Those of an earlier run; none where it was not finished.
    std::vector<Epoch> of(const std::string& run, long epochs) const {
        const auto found = earlier_.find(run);
        return found != earlier_.end() && static_cast<long>(found->second.size()) == epochs ? found->second : std::vector<Epoch>();
    }
    void add(const std::string& run, const std::vector<Epoch>& epochs) {
        for (std::size_t e = 0; e < epochs.size(); ++e)
            log_.row(run, static_cast<long>(e + 1), epochs[e].train_loss, epochs[e].validation_loss, epochs[e].validation, epochs[e].test);
    }

private:
    using Runs = std::map<std::string, std::vector<Epoch>>;
    static Runs read(const std::string& path) {
        Runs runs;
        for (const auto& [run, n] : figures_in(path, 5)) {
            if (n[0] == 1) runs[run].clear();  // begun once more
            runs[run].push_back({n[1], n[2], n[3], n[4]});
        }
        return runs;
    }

    Runs earlier_;
    io::CsvLog log_;
};

}  // namespace pyg_example
