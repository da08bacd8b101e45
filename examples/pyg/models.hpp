// The networks of the paper's comparison, each as wide and as regularised as there.
#pragma once

#include <tenon/graph/conv/appnp.hpp>
#include <tenon/graph/conv/arma.hpp>
#include <tenon/graph/conv/cheb.hpp>
#include <tenon/graph/conv/gat.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/conv/sg.hpp>
#include <tenon/graph/data.hpp>
#include <tenon/tenon.hpp>

#include <string>

namespace pyg_example {

using namespace tenon;
using Features = Csr<float>;
using Hidden = Tensor<float, 2>;

enum class Set { cora, citeseer, pubmed };

// How a network is trained.
struct Protocol {
    double lr = 0.01, weight_decay = 5e-4;
    int epochs = 200, patience = 10;
    bool normalize = true;  // rows of features
};
struct Setting {
    Set set = Set::cora;
    bool random = false;  // the split
    long features = 0, classes = 0;
};

// Words that are there are dropped, and the others scaled up: the same as dropping from all features, since most are 0.
inline Features drop(const Features& x, double p, const nn::Context& c, std::uint64_t tag) {
    return c.training ? x.with_values(dropout(x.values(), p, c.key.split(tag))) : x;
}
inline Hidden drop(const Hidden& x, double p, const nn::Context& c, std::uint64_t tag) {
    return c.training ? Hidden(dropout(x, p, c.key.split(tag))) : x;
}

// The benchmark's order: convolution, ReLU, dropout, convolution.
struct Gcn {
    graph::GCNConv<> conv1, conv2;
    static Protocol protocol(const Setting&) { return {}; }
    Gcn(const Setting& s, Key key) : conv1(s.features, 16, key.split(1)), conv2(16, s.classes, key.split(2)) {}
    Hidden operator()(const Features& x, const graph::Graph& g, const nn::Context& c) const {
        return conv2(drop(Hidden(relu(conv1(x, g))), 0.5, c, 1), g);
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
    }
};

struct Gat {
    graph::GATConv<> conv1, conv2;
    static Protocol protocol(const Setting& s) {
        return {.lr = s.set == Set::pubmed ? 0.01 : 0.005, .weight_decay = s.set == Set::pubmed ? 1e-3 : 5e-4, .epochs = 1000,
                .patience = 100};
    }
    Gat(const Setting& s, Key key)
        : conv1(s.features, 8, key.split(1), {.heads = 8, .dropout = 0.6}),
          conv2(64, s.classes, key.split(2), {.heads = s.set == Set::pubmed ? 8 : 1, .concat = false, .dropout = 0.6}) {}
    Hidden operator()(const Features& x, const graph::Graph& g, const nn::Context& c) const {
        const Hidden h = elu(conv1(drop(x, 0.6, c, 1), g, c.split(2)));
        return conv2(drop(h, 0.6, c, 3), g, c.split(4));
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
    }
};

// Linear throughout, so that the order does not matter: the words first, which are few, then what is left of them is propagated.
struct Sgc {
    graph::SGConv<> conv;
    static Protocol protocol(const Setting& s) {
        return {.lr = 0.1, .weight_decay = s.set == Set::citeseer ? 5e-3 : 5e-4, .normalize = false};
    }
    Sgc(const Setting& s, Key key) : conv(s.features, s.classes, s.set == Set::cora ? 3 : 2, key.split(1)) {}
    Hidden operator()(const Features& x, const graph::Graph& g, const nn::Context&) const {
        return conv.propagate(graph::project(x, conv.lin.weight), g) + conv.lin.bias;
    }
    static void visit(auto& self, auto&& f) { f("conv", self.conv); }
};

struct Appnp {
    nn::Linear<> lin1, lin2;
    graph::APPNP<> prop;
    static Protocol protocol(const Setting&) { return {}; }
    Appnp(const Setting& s, Key key) : lin1(s.features, 64, key.split(1)), lin2(64, s.classes, key.split(2)), prop(10, 0.1) {}
    Hidden operator()(const Features& x, const graph::Graph& g, const nn::Context& c) const {
        const Hidden h = relu(graph::project(drop(x, 0.5, c, 1), lin1.weight) + lin1.bias);
        return prop(lin2(drop(h, 0.5, c, 2)), g);
    }
    static void visit(auto& self, auto&& f) {
        f("lin1", self.lin1);
        f("lin2", self.lin2);
    }
};

struct Cheb {
    graph::ChebConv<> conv1, conv2;
    static Protocol protocol(const Setting&) { return {}; }
    static long terms(const Setting& s) { return s.set == Set::cora || (s.set == Set::citeseer && s.random) ? 3 : 2; }
    Cheb(const Setting& s, Key key) : conv1(s.features, 16, terms(s), key.split(1)), conv2(16, s.classes, terms(s), key.split(2)) {}
    Hidden operator()(const Features& x, const graph::Graph& g, const nn::Context& c) const {
        return conv2(drop(Hidden(relu(conv1(x, g))), 0.5, c, 1), g);
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
    }
};

// As it was when the paper's table was made.
struct Arma {
    graph::ARMAConv<> conv1, conv2;
    static Protocol protocol(const Setting&) { return {.epochs = 1000, .patience = 100}; }
    static graph::ArmaOptions options(const Setting& s) {
        const long stacks = s.set == Set::citeseer || (s.set == Set::cora && s.random) ? 3 : 2;
        const double skip = s.set == Set::pubmed ? (s.random ? 0.5 : 0.0) : 0.75;
        return {.stacks = stacks, .layers = 1, .shared_weights = s.set != Set::pubmed, .dropout = skip, .form_of_2019 = true};
    }
    Arma(const Setting& s, Key key) : conv1(s.features, 16, key.split(1), options(s)), conv2(16, s.classes, key.split(2), options(s)) {}
    Hidden operator()(const Features& x, const graph::Graph& g, const nn::Context& c) const {
        return conv2(drop(conv1(x, g, c.split(1)), 0.5, c, 2), g, c.split(3));
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
    }
};

// A GCN that does not see the graph.
struct Mlp {
    nn::Linear<> lin1, lin2;
    static Protocol protocol(const Setting&) { return {}; }
    Mlp(const Setting& s, Key key) : lin1(s.features, 16, key.split(1)), lin2(16, s.classes, key.split(2)) {
        lin1.weight = graph::glorot<float>({16, s.features}, key.split(1));
        lin2.weight = graph::glorot<float>({s.classes, 16}, key.split(2));
    }
    Hidden operator()(const Features& x, const graph::Graph&, const nn::Context& c) const {
        return lin2(drop(Hidden(relu(graph::project(x, lin1.weight) + lin1.bias)), 0.5, c, 1));
    }
    static void visit(auto& self, auto&& f) {
        f("lin1", self.lin1);
        f("lin2", self.lin2);
    }
};

// f(type) with the network of that name. Throws ValueError.
template <class F>
void with_model(const std::string& name, F&& f) {
    if (name == "gcn") f(std::type_identity<Gcn>{});
    else if (name == "gat") f(std::type_identity<Gat>{});
    else if (name == "sgc") f(std::type_identity<Sgc>{});
    else if (name == "appnp") f(std::type_identity<Appnp>{});
    else if (name == "cheb") f(std::type_identity<Cheb>{});
    else if (name == "arma") f(std::type_identity<Arma>{});
    else if (name == "mlp") f(std::type_identity<Mlp>{});
    else fail<ValueError>("--models: \"", name.c_str(), "\", expected cheb, gcn, gat, sgc, arma, appnp or mlp");
}

}  // namespace pyg_example
