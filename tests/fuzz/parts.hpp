// For readers of folders: a folder in memory whose files are the parts of the input, parted by a line "---".
#pragma once

#include "reader.hpp"

#include <tenon/graph/data.hpp>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace fuzz {

class Parts {
public:
    Parts(const std::uint8_t* bytes, std::size_t size, std::initializer_list<const char*> names) : names_(names) {
        char folder[] = "/dev/shm/fuzz-XXXXXX";
        if (::mkdtemp(folder) == nullptr) __builtin_trap();
        path = folder;
        std::string_view rest(reinterpret_cast<const char*>(bytes), size);
        for (const char* name : names_) {
            constexpr std::string_view mark = "---\n";
            const std::size_t end = rest.find(mark);
            const std::string_view part = rest.substr(0, end);
            // An absent part is an absent file.
            if (rest.data() != nullptr) {
                std::FILE* const file = std::fopen((path + "/" + name).c_str(), "wb");
                if (file == nullptr) __builtin_trap();
                if (!part.empty() && std::fwrite(part.data(), 1, part.size(), file) != part.size()) __builtin_trap();
                std::fclose(file);
            }
            rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + mark.size());
        }
    }
    Parts(const Parts&) = delete;
    Parts& operator=(const Parts&) = delete;
    ~Parts() {
        for (const char* name : names_) std::remove((path + "/" + name).c_str());
        ::rmdir(path.c_str());
    }
    std::string path;

private:
    std::vector<const char*> names_;
};

inline void touch(const tenon::Csr<float>& x) {
    if (!x.structure().has_value()) return;
    touch(tenon::io::Array(x.values()));
    touch(tenon::io::Array(x.structure().by_row().columns));
}
// Every field of a graph or of many.
template <class D>
void touch_graph(const D& data) {
    const auto look = [](const auto& field) {
        if constexpr (requires { field.has_value(); }) {
            if (field.has_value()) touch(tenon::io::Array(field));
        } else {
            touch(field);
        }
    };
    look(data.edge_index);
    std::apply([&](const auto&... field) { (look(data.*field.member), ...); }, D::fields());
    // What a reader gives is a graph.
    static_cast<void>(data.graph().in());
}

}  // namespace fuzz
