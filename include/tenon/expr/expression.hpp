// Expressions: formulas together with their data. A node owns its operands by value (tensor handles, numbers), so an
// expression may be kept, returned and evaluated later; it reads the values that its leaves have then. Shapes, element
// types and devices are checked when a node is built.
#pragma once

#include <tenon/core/tensor.hpp>
#include <tenon/expr/formula.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// What evaluation needs of an expression's leaves, in the order of its formula.
struct Collector {
    detail::Record* leaves[formula::max_leaves];
    alignas(8) char parameters[64 * 8];
    int leaf_count = 0, parameter_count = 0;
    // A product that may be computed together with what follows: the first leaf that offers itself leaves its place empty.
    bool fuse = false;
    int product_index = -1;
    const void* product = nullptr;
    int product_rank = 0;
    const long* product_dims = nullptr;  // of the whole expression, as is its type
    DType product_type = DType::float32;

    void add(detail::Record* record) { leaves[leaf_count++] = record; }
    template <class T>
    void add_number(T value) {
        __builtin_memcpy(parameters + 8 * parameter_count++, &value, sizeof value);
    }
};

namespace impl {

inline constexpr int max_nodes = 64;

// Broadcasts sizes `from` into `to` (aligned at the last axis); false and the axis where that fails.
inline bool merge_dims(long* to, int rank, const long* from, int from_rank, int* bad_axis) {
    for (int i = 0; i < from_rank; ++i) {
        const int at = rank - from_rank + i;
        if (to[at] == from[i] || from[i] == 1) continue;
        if (to[at] != 1) {
            *bad_axis = at;
            return false;
        }
        to[at] = from[i];
    }
    return true;
}

[[noreturn]] TENON_COLD inline void fail_broadcast(const char* operation, const detail::Description* operands, int count, int axis, int rank) {
    Message message;
    message << "tenon: " << operation << ": shapes cannot be broadcast";
    const char* names[] = {"first ", "second", "third "};
    for (int i = 0; i < count; ++i) {
        if (operands[i].rank < 0) continue;
        message << "\n  " << names[i] << "  " << operands[i];
    }
    message << "\n  sizes differ at axis " << axis - rank << " (counted from the end) and neither is 1";
    int fewest = 0;
    for (int i = 1; i < count; ++i)
        if (operands[i].rank >= 0 && operands[i].rank < operands[fewest].rank) fewest = i;
    if (operands[fewest].rank >= 1 && operands[fewest].rank < rank)
        message << "\n  hint: operands are aligned at their last axis; " << names[fewest]
                << " may want unsqueeze<-1>() to align at an earlier one";
    throw ShapeError(message.text());
}
[[noreturn]] TENON_COLD inline void fail_devices(const char* operation, Device a, Device b) {
    fail<DeviceError>(operation, ": operands are on different devices, ", a, " and ", b, "\n       hint: move one with x.to(device)");
}

// A tensor leaf.
template <class T, int R>
struct Leaf {
    using Scalar = T;
    using Formula = formula::In<T>;
    static constexpr int rank = R, nodes = 1;
    static constexpr bool is_number = false, has_product = false;
    Tensor<T, R> tensor;

    const long* dims() const { return tensor.record()->dims(); }
    Device device() const { return tensor.device(); }
    void collect(Collector& c) const { c.add(tensor.record()); }
};
// A number: takes the element type of the tensor beside it.
template <class T>
struct Number {
    using Scalar = T;
    using Formula = formula::Par<T>;
    static constexpr int rank = 0, nodes = 1;
    static constexpr bool is_number = true, has_product = false;
    formula::compute_t<T> value;

    const long* dims() const { return nullptr; }
    Device device() const { return {}; }
    void collect(Collector& c) const { c.add_number(value); }
};

template <class... A>
struct Pack {
    template <class F>
    void each(F&&) const {}
};
template <class A, class... R>
struct Pack<A, R...> {
    A head;
    Pack<R...> tail;
    template <class F>
    void each(F&& f) const {
        f(head);
        tail.each(f);
    }
};
template <class A>
inline Pack<A> pack(A&& a) { return {static_cast<A&&>(a), {}}; }
template <class A, class B>
inline Pack<A, B> pack(A&& a, B&& b) { return {static_cast<A&&>(a), {static_cast<B&&>(b), {}}}; }
template <class A, class B, class C>
inline Pack<A, B, C> pack(A&& a, B&& b, C&& c) { return {static_cast<A&&>(a), {static_cast<B&&>(b), {static_cast<C&&>(c), {}}}}; }

// What merging needs of an operand; numbers have rank -1.
struct OperandExtent {
    const long* dims;
    int rank;
    DType dtype;
    Device device;
};
[[noreturn]] TENON_COLD inline void fail_extents(const char* operation, const OperandExtent* operands, int count, int bad, int rank) {
    detail::Description descriptions[4];
    for (int k = 0; k < count; ++k) descriptions[k] = {operands[k].dtype, operands[k].rank, operands[k].dims, operands[k].device};
    fail_broadcast(operation, descriptions, count, bad, rank);
}
// Sizes and device of a node, merged from its operands.
TENON_NOINLINE inline Device merge_extents(const char* operation, const OperandExtent* operands, int count, long* sizes, int rank) {
    for (int i = 0; i < rank; ++i) sizes[i] = 1;
    Device where;
    bool placed = false;
    int bad = -1;
    for (int k = 0; k < count; ++k) {
        const OperandExtent& x = operands[k];
        if (x.rank < 0) continue;
        if (!merge_dims(sizes, rank, x.dims, x.rank, &bad)) fail_extents(operation, operands, count, bad, rank);
        if (placed && !(where == x.device)) fail_devices(operation, where, x.device);
        where = x.device;
        placed = true;
    }
    return where;
}
template <int R>
struct Extent {
    long sizes[R > 0 ? R : 1];
    Device where;

    template <class... A>
    Extent(const char* operation, const Pack<A...>& operands) {
        OperandExtent extents[sizeof...(A)];
        int count = 0;
        operands.each([&](const auto& x) {
            using X = std::remove_cvref_t<decltype(x)>;
            extents[count++] = {x.dims(), X::is_number ? -1 : X::rank, dtype_of<typename X::Scalar>, x.device()};
        });
        where = merge_extents(operation, extents, count, sizes, R);
    }
};

constexpr int largest(int a) { return a; }
template <class... I>
constexpr int largest(int a, int b, I... rest) { return largest(a > b ? a : b, rest...); }

}  // namespace impl

// A conversion that foreign calls in a formula run into.
template <class Self>
struct NotANumber {
    operator double() const {
        static_assert(sizeof(Self) == 0, "tenon: a formula is not a number: write tenon::sin(x) and friends instead of std::, "
                                         "and where(x > 0, a, b) instead of x > 0 ? a : b");
        return 0;
    }
};

// An elementwise operation on operands (leaves, numbers, other expressions).
template <class Fn, class... A>
class Operation : public NotANumber<Operation<Fn, A...>> {
public:
    using Formula = formula::Op<Fn, typename A::Formula...>;
    using Scalar = typename formula::Facts<Formula>::Type;
    static constexpr int rank = impl::largest(A::rank...);
    static constexpr int nodes = (1 + ... + A::nodes);
    static constexpr bool is_number = false;
    static constexpr bool has_product = (false || ... || A::has_product);
    static_assert(nodes <= impl::max_nodes, "tenon: this expression has more than 64 nodes: compute a part that is used several "
                                            "times once with let(part, [](auto v) { ... }), or evaluate it with eval(part)");

    explicit Operation(impl::Pack<A...>&& operands)
        : operands_(static_cast<impl::Pack<A...>&&>(operands)), extent_(Fn::name, operands_) {}

    const long* dims() const { return extent_.sizes; }
    Device device() const { return extent_.where; }
    Shape<rank> shape() const {
        Shape<rank> s;
        for (int i = 0; i < rank; ++i) s.dims[i] = extent_.sizes[i];
        return s;
    }
    void collect(Collector& c) const {
        operands_.each([&](const auto& x) { x.collect(c); });
    }
    // The value of an expression of one element.
    Scalar item() const { return Tensor<Scalar, rank>(*this).item(); }

private:
    impl::Pack<A...> operands_;
    impl::Extent<rank> extent_;
};

// Stands for a value that an enclosing let or custom has computed.
template <class Tag, class T, int R>
struct Reference : NotANumber<Reference<Tag, T, R>> {
    using Scalar = T;
    using Formula = formula::Ref<Tag, T>;
    static constexpr int rank = R, nodes = 1;
    static constexpr bool is_number = false, has_product = false;
    Shape<R> sizes;
    Device where;

    const long* dims() const { return sizes.dims; }
    Device device() const { return where; }
    void collect(Collector&) const {}
};

template <class Tag, class Value, class Body>
class LetExpression : public NotANumber<LetExpression<Tag, Value, Body>> {
public:
    using Formula = formula::Let<Tag, typename Value::Formula, typename Body::Formula>;
    using Scalar = typename Body::Scalar;
    static constexpr int rank = impl::largest(Value::rank, Body::rank);
    static constexpr int nodes = 1 + Value::nodes + Body::nodes;
    static constexpr bool is_number = false, has_product = Value::has_product || Body::has_product;
    static_assert(nodes <= impl::max_nodes, "tenon: this expression has more than 64 nodes: evaluate a part of it with eval(part)");

    LetExpression(Value&& value, Body&& body)
        : operands_{static_cast<Value&&>(value), {static_cast<Body&&>(body), {}}}, extent_("let", operands_) {}
    const long* dims() const { return extent_.sizes; }
    Device device() const { return extent_.where; }
    void collect(Collector& c) const {
        operands_.each([&](const auto& x) { x.collect(c); });
    }

private:
    impl::Pack<Value, Body> operands_;
    impl::Extent<rank> extent_;
};

template <class F> struct YTag {};
template <class F> struct DyTag {};

template <class Tag, class Argument, class Value, class Derivative>
class CustomExpression : public NotANumber<CustomExpression<Tag, Argument, Value, Derivative>> {
public:
    using Formula = formula::Custom<Tag, DyTag<Tag>, YTag<Tag>, typename Argument::Formula, typename Value::Formula, typename Derivative::Formula>;
    using Scalar = typename Value::Scalar;
    static constexpr int rank = impl::largest(Argument::rank, Value::rank, Derivative::rank);
    static constexpr int nodes = 1 + Argument::nodes + Value::nodes + Derivative::nodes;
    static constexpr bool is_number = false, has_product = Argument::has_product;
    static_assert(nodes <= impl::max_nodes, "tenon: this expression has more than 64 nodes: evaluate a part of it with eval(part)");

    CustomExpression(Argument&& argument, Value&& value, Derivative&& derivative)
        : operands_{static_cast<Argument&&>(argument), {static_cast<Value&&>(value), {static_cast<Derivative&&>(derivative), {}}}},
          extent_("custom", operands_) {}
    const long* dims() const { return extent_.sizes; }
    Device device() const { return extent_.where; }
    void collect(Collector& c) const {
        operands_.each([&](const auto& x) { x.collect(c); });
    }

private:
    impl::Pack<Argument, Value, Derivative> operands_;
    impl::Extent<rank> extent_;
};

}  // namespace TENON_CONFIG_NAMESPACE

namespace detail {
template <class Fn, class... A> struct is_expression<Operation<Fn, A...>> : std::true_type {};
template <class Tag, class T, int R> struct is_expression<Reference<Tag, T, R>> : std::true_type {};
template <class Tag, class V, class B> struct is_expression<LetExpression<Tag, V, B>> : std::true_type {};
template <class Tag, class A, class V, class D> struct is_expression<CustomExpression<Tag, A, V, D>> : std::true_type {};
}  // namespace detail

inline namespace TENON_CONFIG_NAMESPACE {

// --- operands ---------------------------------------------------------------------------------------------------------

// What an expression becomes as an operand. Types that are lazy in another way (products) add overloads.
template <class T, int R>
impl::Leaf<T, R> wrap(const Tensor<T, R>& x) {
    x.record();  // an empty handle fails here, where it is used
    return {x};
}
template <class T, int R>
impl::Leaf<T, R> wrap(Tensor<T, R>&& x) {
    x.record();
    return {static_cast<Tensor<T, R>&&>(x)};
}
template <class E>
    requires(Expression<E> && requires { typename std::remove_cvref_t<E>::Formula; })
std::remove_cvref_t<E> wrap(E&& e) {
    return static_cast<E&&>(e);
}
template <class E>
using wrap_t = decltype(wrap(std::declval<E>()));

template <class S>
concept NumberLike = std::is_arithmetic_v<std::remove_cvref_t<S>> || std::is_same_v<std::remove_cvref_t<S>, bf16> ||
                     std::is_same_v<std::remove_cvref_t<S>, half>;
template <class S>
concept Operand = Expression<S> || NumberLike<S>;

template <class T, class S>
impl::Number<T> wrap_number(S value) {
    static_assert(!std::is_same_v<T, bool> || std::is_same_v<S, bool>,
                  "tenon: a number beside a bool tensor: write cast<float>(mask) first, or compare with true or false");
    static_assert(!(std::is_integral_v<T> && std::is_floating_point_v<S>),
                  "tenon: a fractional number beside an integer tensor would be cut: write cast<float>(x) first");
    return {static_cast<formula::compute_t<T>>(value)};
}

// The operand e, where numbers take element type T.
template <class T, class E>
auto wrap_as(E&& e) {
    if constexpr (NumberLike<E>) return wrap_number<T>(e);
    else return wrap(static_cast<E&&>(e));
}
// The element type of the first operand that is an expression.
template <class A, class... R>
struct common_scalar : common_scalar<R...> {};
template <class A, class... R>
    requires Expression<A>
struct common_scalar<A, R...> { using type = typename std::remove_cvref_t<A>::Scalar; };
template <class... A>
using common_scalar_t = typename common_scalar<A...>::type;

template <class Fn, class... A>
auto operation(A&&... operands) {
    return Operation<Fn, A...>(impl::pack(static_cast<A&&>(operands)...));
}

namespace impl {
template <class Fn, class T>
constexpr void check_scalar() {
    static_assert(!Fn::floating_only || Floating<T>,
                  "tenon: this operation is defined for floating-point tensors only: write cast<float>(x) first");
    static_assert(!std::is_same_v<T, bool> || std::is_same_v<Fn, fn::equal> || std::is_same_v<Fn, fn::not_equal>,
                  "tenon: arithmetic on a bool tensor: write cast<float>(mask) first; masks combine with &&, || and !");
}
template <class Fn, class E>
auto unary(E&& e) {
    using T = typename std::remove_cvref_t<E>::Scalar;
    check_scalar<Fn, T>();
    return operation<Fn>(wrap(static_cast<E&&>(e)));
}
template <class Fn, class A, class B>
auto binary(A&& a, B&& b) {
    using T = common_scalar_t<A, B>;
    check_scalar<Fn, T>();
    if constexpr (Expression<A> && Expression<B>)
        static_assert(std::is_same_v<typename std::remove_cvref_t<A>::Scalar, typename std::remove_cvref_t<B>::Scalar>,
                      "tenon: the operands have different element types, and types do not promote: write cast<T>(x) on one of them");
    return operation<Fn>(wrap_as<T>(static_cast<A&&>(a)), wrap_as<T>(static_cast<B&&>(b)));
}
template <class Fn, class A, class B, class C>
auto ternary(A&& a, B&& b, C&& c) {
    using T = common_scalar_t<A, B, C>;
    check_scalar<Fn, T>();
    return operation<Fn>(wrap_as<T>(static_cast<A&&>(a)), wrap_as<T>(static_cast<B&&>(b)), wrap_as<T>(static_cast<C&&>(c)));
}
}  // namespace impl

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
