// Layers with PyTorch Geometric's parameters, given by name, against its results and gradients (tests/golden/graph_layers.py).
#pragma once

#include "stored.hpp"

#include <tenon/graph/graph.hpp>

#include <set>

namespace stored_layers {

using namespace tenon;
using graph::Graph;

inline const golden::File& file() {
    static const golden::File all_cases = golden::read(TENON_TEST_DIR "/golden/graph_layers.safetensors");
    return all_cases;
}
inline const golden::Array& stored(const std::string& key) { return stored_in(file(), key); }
inline Graph edges() {
    const golden::Array& a = stored("edges");
    return Graph::from_edges(from<std::int64_t>({2, a.shape[1]}, a.integers.data()), 7);
}
inline Tensor<std::int64_t, 1> types() { return from<std::int64_t>({12}, stored("types").integers.data()); }
inline Segments clouds() { return Segments::from_sorted(from<std::int64_t>({13}, stored("batch").integers.data()), 2); }

template <int R>
Tensor<double, R> leaf(const std::string& key) {
    const golden::Array& a = stored(key);
    Shape<R> shape;
    INFO(key);
    REQUIRE(a.shape.size() == R);
    for (int i = 0; i < R; ++i) shape.dims[i] = a.shape[static_cast<std::size_t>(i)];
    const Tensor<double, R> x = empty<double>(shape);
    std::copy(a.reals.begin(), a.reals.end(), x.data());
    return Tensor<double, R>(x).require_grad();
}
// Within 1e-9 of the largest number stored (of 1 at least).
template <class X>
void check_close(const X& given, const std::string& key) {
    const golden::Array& expected = stored(key);
    double largest = 1;
    for (const double v : expected.reals) largest = std::max(largest, std::abs(v));
    INFO(key);
    CHECK(off_by(given, expected) <= 1e-9 * largest);
}
template <class M>
void load(const std::string& name, M& module) {
    nn::for_each_tensor(module, [&](const char* parameter, nn::Kind, auto& w) {
        const golden::Array& a = stored(name + "/" + parameter);
        INFO(name << "/" << parameter);
        REQUIRE(static_cast<int>(a.shape.size()) == std::remove_cvref_t<decltype(w)>::rank);
        for (int i = 0; i < static_cast<int>(a.shape.size()); ++i) REQUIRE(w.shape(i) == a.shape[static_cast<std::size_t>(i)]);
        if constexpr (std::is_same_v<typename std::remove_cvref_t<decltype(w)>::Scalar, double>)
            std::copy(a.reals.begin(), a.reals.end(), w.detach().data());
    });
}

// The result of call(module, leaves...), its gradients by the leaves and by every parameter, and buffers afterwards.
template <class M, class... Leaf, class Call>
void compare(const std::string& name, M module, Call call, const std::pair<const char*, Leaf>&... leaves) {
    INFO(name);
    load(name, module);
    const Tensor<double, 2> y = call(module, leaves.second...);
    check_close(y, name + "/y");
    Tensor<double, 2> weight = empty<double>(y.shape());
    for (long i = 0; i < weight.size(); ++i) weight.data()[i] = std::cos(static_cast<double>(i));
    tenon::sum(y * weight).backward();
    (check_close(leaves.second.grad(), name + "/d_" + leaves.first), ...);
    // Every parameter that is stored is one of ours.
    std::set<std::string> wanted;
    for (auto at = file().lower_bound(name + "/d_"); at != file().end() && at->first.compare(0, name.size() + 3, name + "/d_") == 0; ++at)
        wanted.insert(at->first.substr(name.size() + 3));
    (wanted.erase(leaves.first), ...);
    nn::for_each_tensor(module, [&](const char* parameter, nn::Kind kind, const auto& w) {
        INFO(parameter);
        if constexpr (std::is_same_v<typename std::remove_cvref_t<decltype(w)>::Scalar, double>) {
            if (kind == nn::Kind::parameter) {
                CHECK(wanted.erase(parameter) == 1);
                if (w.has_grad()) check_close(w.grad(), name + "/d_" + parameter);
                else
                    CHECK(std::all_of(stored(name + "/d_" + parameter).reals.begin(), stored(name + "/d_" + parameter).reals.end(),
                                      [](double v) { return v == 0; }));
            } else {
                check_close(w, name + "/after_" + parameter);
            }
        } else {
            const golden::Array& after = stored(name + "/after_" + parameter);
            REQUIRE(w.size() == after.size());
            for (long i = 0; i < w.size(); ++i)
                CHECK(static_cast<std::int64_t>(w.data()[i]) == after.integers[static_cast<std::size_t>(i)]);
        }
    });
    CHECK(wanted.empty());
}
// A leaf of the case, by name.
template <int R = 2>
std::pair<const char*, Tensor<double, R>> input(const std::string& name, const char* which) {
    return {which, leaf<R>(name + "/in_" + which)};
}

}  // namespace stored_layers
