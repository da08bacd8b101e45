// Citation networks in the text files of the LINQS group (Sen et al., "Collective classification in network data", AI Magazine
// 29(3), 2008): <name>.content and <name>.cites, and the tab-separated form of PubMed. Needs zlib (-lz).
#pragma once

#include <tenon/graph/data.hpp>
#include <tenon/graph/io/line_reader.hpp>

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace tenon::graph {

// Papers in the order of the file, which is not that of the Planetoid files: their public split is none here.
struct LinqsData {
    GraphData<Csr<float>> data;         // an edge runs from the paper that cites to the one it cites, in the order of the file
    std::vector<std::string> ids;       // of the papers
    std::vector<std::string> classes;   // names, sorted; data.y numbers them
    long unknown = 0;                   // citations of papers without content: left out
};

}  // namespace tenon::graph
namespace tenon::graph_detail {

class LinqsPapers {
public:
    void begin(LineReader& lines, std::string_view id) {
        if (!number_.emplace(std::string(id), static_cast<long>(ids_.size())).second) lines.broken("a paper that was there before");
        ids_.emplace_back(id);
        pointers_.push_back(static_cast<std::int64_t>(columns_.size()));
    }
    void word(long column, float value) {
        if (value == 0) return;
        columns_.push_back(column);
        values_.push_back(value);
    }
    void label(std::string_view name) { labels_.emplace_back(name); }
    void cite(std::string_view citing, std::string_view cited) {
        const auto from = number_.find(std::string(citing)), to = number_.find(std::string(cited));
        if (from == number_.end() || to == number_.end()) {
            ++unknown_;
            return;
        }
        sources_.push_back(from->second);
        targets_.push_back(to->second);
    }
    graph::LinqsData finish(long width) {
        graph::LinqsData result;
        result.ids = std::move(ids_);
        result.unknown = unknown_;
        pointers_.push_back(static_cast<std::int64_t>(columns_.size()));
        graph::GraphData<Csr<float>>& data = result.data;
        data.nodes = static_cast<long>(result.ids.size());
        data.x = Csr<float>::from_pointers(tensor_of(pointers_), tensor_of(columns_), tensor_of(values_), width);
        result.classes = labels_;
        std::sort(result.classes.begin(), result.classes.end());
        result.classes.erase(std::unique(result.classes.begin(), result.classes.end()), result.classes.end());
        data.y = empty<std::int64_t>({data.nodes});
        for (long i = 0; i < data.nodes; ++i)
            data.y.data()[i] = std::lower_bound(result.classes.begin(), result.classes.end(), labels_[static_cast<std::size_t>(i)]) - result.classes.begin();
        data.edge_index = edge_index_of(sources_, targets_);
        return result;
    }

private:
    std::unordered_map<std::string, long> number_;
    std::vector<std::string> ids_, labels_;
    std::vector<std::int64_t> pointers_, columns_, sources_, targets_;
    std::vector<float> values_;
    long unknown_ = 0;
};

}  // namespace tenon::graph_detail
namespace tenon::graph {

// content: lines "id word word ... class", one number for each word of the vocabulary; cites: lines "cited citing". Throws
// FileError with the file and the line.
inline LinqsData read_linqs(const std::string& content, const std::string& cites) {
    constexpr const char* operation = "read_linqs";
    graph_detail::LinqsPapers papers;
    long width = -1;
    {
        graph_detail::LineReader lines(operation, content, ' ');
        while (lines.next_filled()) {
            papers.begin(lines, lines.word("a paper"));
            // What follows is numbers, and the class last of all.
            std::string_view field = lines.word("a class");
            long column = 0;
            while (!lines.at_end()) {
                papers.word(column++, lines.parse_real(field, "a number"));
                field = lines.word("a class");
            }
            if (width >= 0 && column != width) lines.broken("a paper with more or fewer words than those before");
            width = column;
            papers.label(field);
        }
        if (width < 0) lines.truncated("a paper");
    }
    graph_detail::LineReader lines(operation, cites, ' ');
    while (lines.next_filled()) {
        const std::string_view cited = lines.word("a paper"), citing = lines.word("a paper");
        lines.end();
        papers.cite(citing, cited);
    }
    return papers.finish(width);
}

// PubMed's form: two heading lines, of which the second declares the words ("numeric:w-rat:0.0"), then a paper a line, its id,
// "label=1" and the words it has, "w-rat=0.09", parted by tabs; citations behind two heading lines as "number paper:A | paper:B",
// A citing B. Throws FileError with the file and the line.
inline LinqsData read_linqs_tab(const std::string& papers_path, const std::string& cites_path) {
    constexpr const char* operation = "read_linqs_tab";
    graph_detail::LinqsPapers papers;
    std::unordered_map<std::string, long> column_of;
    {
        graph_detail::LineReader lines(operation, papers_path, '\t');
        if (!lines.next() || !lines.next()) lines.truncated("two heading lines");
        while (!lines.at_end()) {
            const std::string_view field = lines.word("a declaration");
            constexpr std::string_view numeric = "numeric:";
            if (field.substr(0, numeric.size()) != numeric) continue;
            const std::string_view name = field.substr(numeric.size(), field.rfind(':') > numeric.size() ? field.rfind(':') - numeric.size() : std::string_view::npos);
            if (!column_of.emplace(std::string(name), static_cast<long>(column_of.size())).second) lines.broken("a word that is declared twice");
        }
        bool any = false;
        while (lines.next_filled()) {
            any = true;
            papers.begin(lines, lines.word("a paper"));
            std::vector<std::pair<long, float>> words;
            std::string label;
            while (!lines.at_end()) {
                const std::string_view field = lines.word("a word");
                const std::size_t equals = field.find('=');
                if (equals == std::string_view::npos) lines.broken_field("name=value", field);
                const std::string name(field.substr(0, equals));
                const std::string_view value = field.substr(equals + 1);
                if (name == "label") label = std::string(value);
                else if (name == "summary") continue;
                else if (const auto found = column_of.find(name); found != column_of.end()) words.emplace_back(found->second, lines.parse_real(value, "a number"));
                else lines.broken_field("a word that was declared", field);
            }
            if (label.empty()) lines.broken("a paper without a label");
            std::sort(words.begin(), words.end());
            for (std::size_t i = 0; i < words.size(); ++i) {
                if (i > 0 && words[i].first == words[i - 1].first) lines.broken("a word that is there twice");
                papers.word(words[i].first, words[i].second);
            }
            papers.label(label);
        }
        if (!any) lines.truncated("a paper");
    }
    graph_detail::LineReader lines(operation, cites_path, ' ');
    if (!lines.next() || !lines.next()) lines.truncated("two heading lines");
    const auto paper = [&](std::string_view field) {
        constexpr std::string_view prefix = "paper:";
        if (field.substr(0, prefix.size()) != prefix) lines.broken_field("paper:<id>", field);
        return field.substr(prefix.size());
    };
    while (lines.next_filled()) {
        static_cast<void>(lines.word("a number"));
        const std::string_view citing = paper(lines.word("a paper"));
        if (const std::string_view bar = lines.word("|"); bar != "|") lines.broken_field("|", bar);
        const std::string_view cited = paper(lines.word("a paper"));
        lines.end();
        papers.cite(citing, cited);
    }
    return papers.finish(static_cast<long>(column_of.size()));
}

}  // namespace tenon::graph
