// Modules are plain structs. A module's static visit(self, f) calls f("name", member) for every parameter (a tensor) and
// every module in it, f("name", buffer(member)) for state that is not trained, f("name", frozen(member)) for weights
// that stay as they are. Names join with dots, as in PyTorch's state dict; elements of a vector are "0", "1", ...
#pragma once

#include <tenon/ops/copy.hpp>

#include <type_traits>

namespace tenon::nn {

enum class Kind { parameter, buffer, frozen };

template <class X, Kind K>
struct Marked { X& value; };
// State that is saved but not trained: running statistics, counters.
template <class X>
Marked<X, Kind::buffer> buffer(X& value) { return {value}; }
// Weights that are saved, but that no optimiser touches.
template <class X>
Marked<X, Kind::frozen> frozen(X& value) { return {value}; }

namespace detail {

struct AnyVisitor {
    template <class X>
    void operator()(const char*, X&&) const {}
};
template <class X> inline constexpr bool is_tensor = false;
template <class T, int R> inline constexpr bool is_tensor<Tensor<T, R>> = true;

template <class M>
concept HasVisit = requires(M& m) { std::remove_cvref_t<M>::visit(m, AnyVisitor{}); };
template <class M>
concept Sequence = requires(M& m) { m.begin(); m.end(); m.size(); } && !is_tensor<std::remove_cvref_t<M>> && !HasVisit<M>;

// "a.b.c", without allocation.
class Path {
public:
    void push(const char* name) {
        if (length_ > 0) put('.');
        while (*name != '\0') put(*name++);
        text_[length_] = '\0';
    }
    void push(long index) {
        Message digits;
        digits << index;
        push(digits.text());
    }
    int mark() const { return length_; }
    void cut(int mark) { text_[length_ = mark] = '\0'; }
    const char* text() const { return text_; }

private:
    void put(char c) {
        if (length_ + 1 < static_cast<int>(sizeof text_)) text_[length_++] = c;
    }
    char text_[512] = {};
    int length_ = 0;
};

template <Kind K, class M, class F>
void walk(Path& path, M& m, F& f);

template <Kind K, class F>
struct Walker {
    Path& path;
    F& f;
    template <class X>
    void operator()(const char* name, X&& x) const { enter(name, x); }
    template <class X, Kind K2>
    void operator()(const char* name, Marked<X, K2> marked) const {
        const int mark = path.mark();
        path.push(name);
        walk<K2>(path, marked.value, f);
        path.cut(mark);
    }

private:
    template <class X>
    void enter(const char* name, X& x) const {
        const int mark = path.mark();
        path.push(name);
        walk<K>(path, x, f);
        path.cut(mark);
    }
};

template <Kind K, class M, class F>
void walk(Path& path, M& m, F& f) {
    using Plain = std::remove_cvref_t<M>;
    if constexpr (is_tensor<Plain>) {
        f(path.text(), K, m);
    } else if constexpr (HasVisit<M>) {
        Plain::visit(m, Walker<K, F>{path, f});
    } else if constexpr (Sequence<M>) {
        long index = 0;
        for (auto& element : m) {
            const int mark = path.mark();
            path.push(index++);
            walk<K>(path, element, f);
            path.cut(mark);
        }
    } else {
        static_assert(HasVisit<M>, "tenon: a member handed to visit is neither a tensor, nor a module (a struct with a static "
                                   "visit(self, f)), nor a vector of them");
    }
}

}  // namespace detail

// Calls f(name, kind, tensor) for every tensor of a module, in the order of its visits.
template <class M, class F>
void for_each_tensor(M& module, F&& f) {
    detail::Path path;
    detail::walk<Kind::parameter>(path, module, f);
}

// The number of trained numbers; tied tensors count once for each name.
template <class M>
long parameter_count(const M& module) {
    long count = 0;
    for_each_tensor(module, [&](const char*, Kind kind, const auto& x) {
        if (kind == Kind::parameter) count += x.size();
    });
    return count;
}

}  // namespace tenon::nn

namespace tenon {

namespace nn::detail {

// The module with every tensor replaced by what make(kind, tensor) gives, tied tensors by the same one.
template <class M, class F>
M replaced(const M& module, F make) {
    M copy = module;
    struct Pair {
        const tenon::detail::Record* from;
        tenon::detail::AnyTensor to;
    };
    Pair* pairs = nullptr;
    int count = 0, capacity = 0;
    struct Guard {
        Pair*& pairs;
        ~Guard() { delete[] pairs; }
    } guard{pairs};
    nn::for_each_tensor(copy, [&](const char*, nn::Kind kind, auto& x) {
        using X = std::remove_cvref_t<decltype(x)>;
        if (!x.has_value()) return;
        for (int i = 0; i < count; ++i)
            if (pairs[i].from == x.record()) {
                X tied(pairs[i].to);
                x = tied;
                return;
            }
        if (count == capacity) {
            capacity = capacity == 0 ? 16 : 2 * capacity;
            Pair* fresh = new Pair[static_cast<std::size_t>(capacity)];
            for (int i = 0; i < count; ++i) fresh[i] = pairs[i];
            delete[] pairs;
            pairs = fresh;
        }
        X own = make(kind, x);
        pairs[count].from = x.record();
        pairs[count++].to = own.any();
        x = own;
    });
    return copy;
}

// A leaf that wants a gradient where the tensor that it stands for does.
template <class X>
X leaf_like(const X& x, X own) {
    if constexpr (Floating<typename X::Scalar>)
        if (x.requires_grad()) own.require_grad();
    return own;
}

}  // namespace nn::detail

// A copy of a module with tensors of its own (`auto copy = net` shares them). Tensors tied in the original are tied in
// the copy. Parameters want gradients as the originals do.
template <class M>
    requires nn::detail::HasVisit<M>
[[nodiscard]] M clone(const M& module) {
    return nn::detail::replaced(module, [](nn::Kind, const auto& x) { return nn::detail::leaf_like(x, clone(x)); });
}

// The module on another device: new leaves, so build the optimiser after it.
template <class M>
    requires nn::detail::HasVisit<M>
[[nodiscard]] M to(const M& module, Device device) {
    return nn::detail::replaced(module, [&](nn::Kind, const auto& x) {
        const no_grad guard;
        return nn::detail::leaf_like(x, x.device() == device ? clone(x) : x.to(device));
    });
}

}  // namespace tenon
