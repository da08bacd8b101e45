// Pickles as Python 2 wrote them for the Planetoid files: protocol 2, names and dtypes named again through the memo.
#pragma once

#include "../io/files.hpp"

namespace pickles {

using files::Bytes;

class Writer {
public:
    Bytes bytes = {0x80, 2};
    Writer& text(const std::string& s) {
        bytes.insert(bytes.end(), s.begin(), s.end());
        return *this;
    }
    Writer& little(std::uint32_t value, int count) {
        for (int i = 0; i < count; ++i) bytes.push_back(static_cast<unsigned char>(value >> 8 * i));
        return *this;
    }
    Writer& integer(long value) {
        if (value >= 0 && value < 256) return text("K").little(static_cast<std::uint32_t>(value), 1);
        if (value >= 0 && value < 65536) return text("M").little(static_cast<std::uint32_t>(value), 2);
        return text("J").little(static_cast<std::uint32_t>(value), 4);
    }
    Writer& string(const std::string& s) {
        return s.size() < 256 ? text("U").little(static_cast<std::uint32_t>(s.size()), 1).text(s) : text("T").little(static_cast<std::uint32_t>(s.size()), 4).text(s);
    }
    Writer& name(const std::string& module, const std::string& what) { return text("c" + module + "\n" + what + "\n"); }
    // numpy.dtype, stored under a number of the memo the first time.
    Writer& dtype(const std::string& type, int memo) {
        if (known_[memo]) return text("h").little(static_cast<std::uint32_t>(memo), 1);
        known_[memo] = true;
        name("numpy", "dtype").string(type).integer(0).integer(1).text("\x87R").text("q").little(static_cast<std::uint32_t>(memo), 1);
        return text("(").integer(3).string("<").text("NNN").text("J").little(0xffffffffu, 4).text("J").little(0xffffffffu, 4).integer(0).text("tb");
    }
    template <class T>
    Writer& array(const std::vector<T>& values, std::vector<long> shape = {}) {
        if (shape.empty()) shape = {static_cast<long>(values.size())};
        name("numpy.core.multiarray", "_reconstruct").name("numpy", "ndarray").integer(0).text("\x85").string("b").text("\x87R");
        text("(").integer(1);
        for (long size : shape) integer(size);
        text(shape.size() == 1 ? "\x85" : "\x86").dtype(std::is_same_v<T, float> ? "f4" : "i4", std::is_same_v<T, float> ? 50 : 51).text("\x89");
        return string(std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))).text("tb");
    }
    Bytes end() {
        text(".");
        return bytes;
    }

private:
    bool known_[64] = {};
};

inline Bytes csr(long columns, const std::vector<std::int32_t>& pointers, const std::vector<std::int32_t>& indices, const std::vector<float>& values) {
    Writer w;
    w.name("scipy.sparse.csr", "csr_matrix").text(")\x81q").little(1, 1).text("}(");
    w.string("_shape").integer(static_cast<long>(pointers.size()) - 1).integer(columns).text("\x86");
    w.string("format").string("csr").string("maxprint").integer(50);
    w.string("indices").array(indices).string("indptr").array(pointers).string("data").array(values).text("ub");
    return w.end();
}
inline Bytes labels(const std::vector<std::int32_t>& values, long classes) {
    Writer w;
    w.array(values, {static_cast<long>(values.size()) / classes, classes});
    return w.end();
}
inline Bytes adjacency(const std::vector<std::vector<long>>& neighbours) {
    Writer w;
    w.name("collections", "defaultdict").name("__builtin__", "list").text("\x85Rq").little(0, 1).text("(");
    for (std::size_t i = 0; i < neighbours.size(); ++i) {
        w.integer(static_cast<long>(i)).text("]");
        if (neighbours[i].size() == 1) w.integer(neighbours[i][0]).text("a");
        else if (!neighbours[i].empty()) {
            w.text("(");
            for (long n : neighbours[i]) w.integer(n);
            w.text("e");
        }
    }
    w.text("u");
    return w.end();
}

}  // namespace pickles
