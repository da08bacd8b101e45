// Messages: what an edge sends is a formula of what its source, its target and itself have.
//
//     auto y = aggregate<graph::sum>(g, [](auto h, auto w) { return w * relu(h.source - h.target); }, node(features), edge(weights));
//
// One loop over the edges computes and brings together the messages, its derived adjoint computes them again: nothing of size
// edges x features is stored, except what is given or asked for.
#pragma once

#include <tenon/autograd/custom.hpp>
#include <tenon/autograd/functional.hpp>
#include <tenon/graph/edges.hpp>
#include <tenon/kernels/cpu/graph/message.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/graph/message.cuh>
#endif

namespace tenon {
namespace graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

using kernels::cpu::Gather;
using kernels::cpu::MessageFold;

// In a formula, what one edge has of a field: the row of its source, its target or its own, [features...].
template <class T, int FieldRank, int R, Gather From>
struct EdgeOperand : NotANumber<EdgeOperand<T, FieldRank, R, From>> {
    using Scalar = T;
    using Formula = formula::In<T>;
    static constexpr int rank = R, nodes = 1;
    static constexpr bool is_number = false, has_product = false;
    Tensor<T, FieldRank> field;
    Shape<R> sizes;

    explicit EdgeOperand(const Tensor<T, FieldRank>& of) : field(of) {
        for (int i = 0; i < R; ++i) sizes.dims[i] = i + 1 < FieldRank ? field.shape(i + 1) : 1;
    }
    const long* dims() const { return sizes.dims; }
    Device device() const { return field.device(); }
    void collect(Collector& c) const { c.add(field.record()); }
};
// Of nodes: both ends.
template <class T, int FieldRank, int R>
struct NodeOperand {
    EdgeOperand<T, FieldRank, R, Gather::source> source;
    EdgeOperand<T, FieldRank, R, Gather::target> target;
};

enum class FieldOf : int { nodes, sources, targets, edges };
template <class T, int R, FieldOf Rows>
struct Field {
    static_assert(R >= 1 && R <= 3, "tenon: aggregate: a field is [rows], [rows, features] or [rows, heads, channels]");
    static constexpr int rank = R;
    Tensor<T, R> value;

    template <int MessageRank>
    auto operand() const {
        constexpr int r = MessageRank;
        if constexpr (Rows == FieldOf::nodes) return NodeOperand<T, R, r>{one<r, Gather::source>(), one<r, Gather::target>()};
        else if constexpr (Rows == FieldOf::sources) return one<MessageRank, Gather::source>();
        else if constexpr (Rows == FieldOf::targets) return one<MessageRank, Gather::target>();
        else return one<MessageRank, Gather::edge>();
    }
    template <int MessageRank, Gather From>
    auto one() const { return EdgeOperand<T, R, MessageRank, From>(value); }
    void check(const Graph& g) const {
        constexpr const char* which[] = {"nodes", "sources", "targets", "edges"};
        const long rows = Rows == FieldOf::nodes     ? g.nodes()
                          : Rows == FieldOf::edges   ? g.edges()
                          : Rows == FieldOf::sources ? g.sources()
                                                     : g.targets();
        check_nodes("aggregate", g, value.record(), rows, which[static_cast<int>(Rows)]);
    }
};
template <class X> inline constexpr bool is_field = false;
template <class T, int R, FieldOf Rows> inline constexpr bool is_field<Field<T, R, Rows>> = true;

template <FieldOf Rows, class X>
auto field(X&& given) {
    const auto x = contiguous(as_tensor(static_cast<X&&>(given)));
    using Own = std::remove_const_t<decltype(x)>;
    return Field<typename Own::Scalar, Own::rank, Rows>{x};
}

// Where the leaves of an expression read their rows, in the order of its formula.
template <Gather... G> struct Gathers {};
template <class... L> struct joined_gathers { using type = Gathers<>; };
template <Gather... A> struct joined_gathers<Gathers<A...>> { using type = Gathers<A...>; };
template <Gather... A, Gather... B, class... R>
struct joined_gathers<Gathers<A...>, Gathers<B...>, R...> : joined_gathers<Gathers<A..., B...>, R...> {};
template <class E> struct gathers_of { using type = Gathers<>; };
template <class T, int R> struct gathers_of<Leaf<T, R>> { using type = Gathers<Gather::whole>; };
template <class T, int F, int R, Gather From> struct gathers_of<EdgeOperand<T, F, R, From>> { using type = Gathers<From>; };
template <class Fn, class... A> struct gathers_of<Operation<Fn, A...>> : joined_gathers<typename gathers_of<A>::type...> {};
template <class Tag, class V, class B>
struct gathers_of<LetExpression<Tag, V, B>> : joined_gathers<typename gathers_of<V>::type, typename gathers_of<B>::type> {};
template <class Tag, class A, class V, class D>
struct gathers_of<CustomExpression<Tag, A, V, D>>
    : joined_gathers<typename gathers_of<A>::type, typename gathers_of<V>::type, typename gathers_of<D>::type> {};

template <class... T> struct LeafTypes {};
template <class... L> struct joined_types { using type = LeafTypes<>; };
template <class... A> struct joined_types<LeafTypes<A...>> { using type = LeafTypes<A...>; };
template <class... A, class... B, class... R>
struct joined_types<LeafTypes<A...>, LeafTypes<B...>, R...> : joined_types<LeafTypes<A..., B...>, R...> {};
template <class F> struct leaf_types_of { using type = LeafTypes<>; };
template <class T> struct leaf_types_of<formula::In<T>> { using type = LeafTypes<T>; };
template <class Fn, class... A> struct leaf_types_of<formula::Op<Fn, A...>> : joined_types<typename leaf_types_of<A>::type...> {};
template <class Tag, class V, class B>
struct leaf_types_of<formula::Let<Tag, V, B>> : joined_types<typename leaf_types_of<V>::type, typename leaf_types_of<B>::type> {};
template <class Tag, class Dy, class Y, class A, class F, class D>
struct leaf_types_of<formula::Custom<Tag, Dy, Y, A, F, D>>
    : joined_types<typename leaf_types_of<A>::type, typename leaf_types_of<F>::type, typename leaf_types_of<D>::type> {};

// A formula as the kernels take it.
template <class F, Gather... G>
struct MessageFormula {
    using T = typename formula::Facts<F>::Type;
    using A = formula::compute_t<T>;
    static constexpr int leaves = sizeof...(G), parameters = formula::Facts<F>::parameters;
    static_assert(leaves == formula::Facts<F>::leaves);
    static TENON_HD constexpr Gather gather(int k) {
        Gather found = Gather::whole;
        int at = 0;
        ((found = at++ == k ? G : found), ...);
        return found;
    }
    static constexpr bool one_type() {
        DType types[leaves + 1] = {};
        formula::Facts<F>::leaf_types(types);
        for (int k = 0; k < leaves; ++k)
            if (types[k] != dtype_of<T> &&
                (types[k] == DType::float32 || types[k] == DType::float64 || types[k] == DType::bfloat16 || types[k] == DType::float16))
                return false;
        return true;
    }

    template <int L, class C, class V>
    static TENON_FUNCTOR void value(const C& c, long i, V& m) {
        formula::Frame<F, L, 0, 0> frame;
        frame.forward(c, i, formula::NoScope{});
        m = frame.y;
    }
    // derivative(message, d): the gradient of the result by the message.
    template <int L, class C, class D>
    static TENON_FUNCTOR void derive(const C& c, long i, D&& derivative) {
        formula::Frame<F, L, 0, 0> frame;
        frame.forward(c, i, formula::NoScope{});
        formula::lane_t<T, L> d;
        derivative(frame.y, d);
        frame.backward(c, i, formula::NoScope{}, d);
    }
    template <class X, int L>
    static TENON_ALWAYS_INLINE formula::lane_t<X, L> load(const char* p, long i, bool splat, long count) {
        if (splat || count < L) {
            X lane[L] = {};
            if constexpr (!std::is_same_v<X, bool>)
                if (splat) return formula::lane_t<X, L>(static_cast<formula::compute_t<X>>(*reinterpret_cast<const X*>(p)));
            if (splat)
                for (int k = 0; k < L; ++k) lane[k] = *reinterpret_cast<const X*>(p);
            else
                __builtin_memcpy(static_cast<void*>(lane), p + i * static_cast<long>(sizeof(X)),
                                 static_cast<std::size_t>(count) * sizeof(X));
            return formula::load<X, L>(reinterpret_cast<const char*>(lane), 0);
        }
        return formula::load<X, L>(p, i);
    }
#if TENON_CUDA
    // Of a thread of the device.
    static constexpr int one = 1 | formula::on_device;
    using One = formula::lane_t<T, one>;
    template <class X>
    static TENON_FUNCTOR formula::lane_t<X, one> load_one(const char* p) {
        if constexpr (std::is_same_v<X, bool>) return load_pack_mask<1>(reinterpret_cast<const bool*>(p), false);
        else return load_pack<X, 1>(reinterpret_cast<const X*>(p), false);
    }
#endif
};

// Sizes of messages and of their operands: [rows, outer, inner].
struct MessageSizes {
    long outer = 1, inner = 1;
    struct Operand {
        long rows, outer, inner;
    } operands[kernels::cpu::max_message_operands];
};
// Axes that all operands have together, or not at all, are one axis.
inline void merge_axes(MessageSizes& s, int leaves) {
    bool merge = s.outer > 1;
    for (int k = 0; k < leaves; ++k) {
        const auto& x = s.operands[k];
        merge = merge && (x.outer == s.outer || x.outer * x.inner == 1) && (x.inner == s.inner || x.outer * x.inner == 1);
    }
    if (!merge) return;
    for (int k = 0; k < leaves; ++k) s.operands[k].inner *= s.operands[k].outer, s.operands[k].outer = 1;
    s.inner *= s.outer;
    s.outer = 1;
}

template <class F, MessageFold Fold, class Gathers>
class MessageNode;
template <class F, MessageFold Fold, Gather... G>
class MessageNode<F, Fold, Gathers<G...>> final : public CustomNodeBase {
public:
    using M = MessageFormula<F, G...>;
    using T = typename M::T;
    using A = typename M::A;
    static constexpr int leaves = M::leaves;

    // What a pass over the edges reads.
    static kernels::cpu::MessageProblem problem(const Graph& g, const MessageSizes& sizes, const char* parameters) {
        kernels::cpu::MessageProblem p;
        p.a = csr_rows(g.in());
        p.outer = sizes.outer, p.inner = sizes.inner, p.targets = g.targets();
        p.parameters = parameters;
        DType types[leaves];
        formula::Facts<F>::leaf_types(types);
        for (int k = 0; k < leaves; ++k) {
            const auto& x = sizes.operands[k];
            p.operands[k] = {nullptr,
                             size_of(types[k]),
                             x.rows,
                             M::gather(k) == Gather::whole ? 0 : x.outer * x.inner,
                             x.outer > 1 ? x.inner : 0,
                             x.inner > 1 ? 1 : 0};
        }
        return p;
    }

    MessageNode(const Graph& g, const MessageSizes& sizes, const Collector& c, const char* operation, detail::AnyTensor chosen,
                detail::AnyTensor statistics)
        : CustomNodeBase(operation, &slot_, 1, edges_, leaves),
          graph_(g),
          sizes_(sizes),
          chosen_(static_cast<detail::AnyTensor&&>(chosen)),
          statistics_(static_cast<detail::AnyTensor&&>(statistics)) {
        __builtin_memcpy(parameters_, c.parameters, sizeof parameters_);
        for (int k = 0; k < leaves; ++k) {
            saved_[k].save(c.leaves[k]);
            if ((formula::Facts<F>::reached() >> k & 1u) == 0) continue;
            edges_[k] = detail::edge_to(c.leaves[k]);
            if (edges_[k].node == nullptr) continue;
            detail::retain(edges_[k].node);
            if (edges_[k].node->depth >= depth) depth = edges_[k].node->depth + 1;
        }
    }
    void set_result(detail::Record* r) {
        detail::set_slot(slot_, r);
        detail::attach(r, this, 0);
    }
    void release_saved() noexcept override {
        for (detail::Saved& s : saved_) s.tensor = detail::AnyTensor();
        chosen_ = statistics_ = detail::AnyTensor();
        graph_ = Graph();
    }
    void run(bool record) override { record ? written_out() : fused(); }

private:
    bool wanted(int k) const { return edges_[k].node != nullptr; }

    void fused() {
        kernels::cpu::MessageProblem p = problem(graph_, sizes_, parameters_);
        constexpr bool reads_message = kernels::cpu::statistics_of(Fold) > 0;
        for (int k = 0; k < leaves; ++k) {
            if ((formula::Facts<F>::needed(reads_message) >> k & 1u) != 0) {
                p.operands[k].data = saved_[k].check(name)->data();
            } else {
                p.operands[k] = {saved_[k].tensor->data(), p.operands[k].size, 1, 0, 0, 0};
            }
        }
        detail::AnyTensor shares;
        if constexpr (Fold == MessageFold::mean) {
            shares = detail::AnyTensor(detail::new_record(dtype_of<T>, slot_.rank, slot_.dims, slot_.device));
            TENON_RUN(slot_.device, mean_share(graph_.targets(), p.a.pointers, p.columns(),
                                               reinterpret_cast<const T*>(slot_.gradient->data()), reinterpret_cast<T*>(shares->data())));
        }
        p.dy = shares ? shares->data() : slot_.gradient->data();
        if (chosen_) p.chosen = reinterpret_cast<std::int32_t*>(chosen_->data());
        if (statistics_) p.statistics = statistics_->data();
        pass<false>(p);
        p.a = csr_rows(graph_.out());
        pass<true>(p);
    }
    // Gradients that have the rows and columns that the kernel writes go where they belong; others are added up afterwards.
    template <bool BySource>
    void pass(kernels::cpu::MessageProblem& p) {
        detail::AnyTensor aside[leaves];
        bool direct[leaves] = {}, any = false;
        for (int k = 0; k < leaves; ++k) {
            p.gradients[k] = {};
            if (!wanted(k) || (M::gather(k) == Gather::source) != BySource) continue;
            any = true;
            const auto& x = sizes_.operands[k];
            // Without columns the kernel has nothing to do, and the gradients are zeros: sums of nothing.
            const bool none = p.columns() == 0, edge = M::gather(k) == Gather::edge, narrow = edge && x.inner == 1 && !none;
            direct[k] =
                !none && std::is_same_v<T, A> && M::gather(k) != Gather::whole && x.outer == p.outer && (narrow || x.inner == p.inner);
            for (int i = 0; i < k; ++i)
                if (direct[i] && edges_[i].node == edges_[k].node && edges_[i].slot == edges_[k].slot &&
                    (edge || M::gather(i) != M::gather(k)))
                    direct[k] = false;
            if (direct[k]) {
                const detail::GradientTarget to = detail::gradient_target(edges_[k]);
                p.gradients[k] = {to.record->data(), to.mode == 2, narrow};
            } else {
                const long dims[3] = {edge ? graph_.edges() : p.a.rows, p.outer, narrow ? 1 : p.inner};
                aside[k] = detail::AnyTensor(detail::new_record(dtype_of<A>, 3, dims, slot_.device));
                p.gradients[k] = {aside[k]->data(), false, narrow};
            }
        }
        if (!any) return;
        TENON_RUN(slot_.device, message_gradient<M, Fold, BySource>(p));
        for (int k = 0; k < leaves; ++k)
            if (aside[k]) deliver(edges_[k], sizes_.operands[k], aside[k].get());
    }
    // Adds up what lies aside, [rows, outer, inner], to the sizes of its operand.
    static void deliver(Edge edge, const MessageSizes::Operand& x, detail::Record* from) {
        const Device device = from->storage->device;
        const long dims[3] = {x.rows, x.outer, x.inner};
        detail::AnyTensor sum(detail::new_record(dtype_of<A>, 3, dims, device));
        Collector c;
        c.add(from);
        run_reduction(formula::table<formula::In<A>, false>, c, 3, from->dims(), sum.get(), dims, 1);
        if constexpr (!std::is_same_v<T, A>) {
            detail::AnyTensor rounded(detail::new_record(dtype_of<T>, 3, dims, device));
            Collector converted;
            converted.add(sum.get());
            detail::Record* to = rounded.get();
            run_forward(formula::table<formula::Op<fn::cast<T>, formula::In<A>>, false>, converted, 3, dims, &to);
            sum = rounded;
        }
        const detail::GradientTarget to = detail::gradient_target(edge);
        long strides[3];
        contiguous_strides(strides, 3, dims);
        const detail::AnyTensor place(detail::new_view(to.record, 3, dims, strides, to.record->offset));
        if (to.mode == 2) add_records(place.get(), sum.get());
        else copy_records(place.get(), sum.get());
    }

    // The same from operations that have second derivatives; stores the messages.
    void written_out() {
        detail::GradTarget targets[leaves];
        int count = 0, of[leaves];
        for (int k = 0; k < leaves; ++k) {
            if (!detail::wanted_now(edges_[k])) continue;
            targets[count].node = edges_[k].node;
            targets[count].slot = edges_[k].slot;
            bool again = false;
            for (int i = 0; i < count; ++i)
                again = again || (targets[i].node == targets[count].node && targets[i].slot == targets[count].slot);
            if (!again) of[count++] = k;
        }
        const detail::AnyTensor y = [&] {
            const Recording recording;
            return again();
        }();
        if (count == 0 || y->node == nullptr) return;
        detail::BackwardRoot root{y->node, y->slot, recorded_gradient(*this)};
        run_grad(&root, 1, targets, count, false, true, true);
        for (int i = 0; i < count; ++i)
            if (targets[i].gradient) accumulate_recorded(edges_[of[i]], targets[i].gradient);
    }
    template <class X>
    detail::AnyTensor operand(int k) const {
        const auto& x = sizes_.operands[k];
        long flat[2] = {x.rows, x.outer * x.inner}, sizes[3] = {M::gather(k) == Gather::whole ? 1 : graph_.edges(), x.outer, x.inner};
        const Tensor<X, 2> rows(detail::reshape_any(saved_input(*this, k, saved_[k]).get(), 2, flat));
        const Gather from = M::gather(k);
        Tensor<X, 2> gathered = rows;
        if (from == Gather::source || from == Gather::target) {
            if constexpr (Floating<X>) gathered = from == Gather::source ? gather_sources(graph_, rows) : gather_targets(graph_, rows);
            else gathered = index_select<0>(rows, graph_.edge_index()(from == Gather::source ? 0 : 1));
        }
        return detail::reshape_any(gathered.record(), 3, sizes);
    }
    template <class... X>
    detail::AnyTensor messages(LeafTypes<X...>) {
        detail::AnyTensor held[leaves];
        int k = 0;
        ((held[k] = operand<X>(k), ++k), ...);
        Collector c;
        for (int i = 0; i < leaves; ++i) c.add(held[i].get());
        __builtin_memcpy(c.parameters, parameters_, sizeof parameters_);
        c.parameter_count = formula::Facts<F>::parameters;
        const long dims[3] = {graph_.edges(), sizes_.outer, sizes_.inner};
        detail::AnyTensor m;
        evaluate(formula::table<F, true>, c, 3, dims, slot_.device, &m);
        return m;
    }
    detail::AnyTensor again() {
        const Tensor<T, 3> m(messages(typename leaf_types_of<F>::type()));
        const Segments& s = target_segments(graph_);
        Tensor<T, 3> y;
        if constexpr (Fold == MessageFold::product) {
            fail<GradError>("create_graph: the product over the edges of a target has no second derivative");
        } else if constexpr (Fold == MessageFold::std_dev) {
            const Tensor<T, 3> average = segment_mean(m, s), apart = m - gather_targets(graph_, average);
            const Tensor<T, 3> variance = segment_mean(square(apart), s);
            // What the kernels take for no spread is none here, too.
            const Tensor<T, 3> least = square(T(kernels::cpu::spread_limit<A>()) * average.detach());
            y = where(variance > least, sqrt(where(variance > least, variance, T(1))), T(0));
        } else if constexpr (Fold == MessageFold::softmax_sum) {
            y = segment_sum(Tensor<T, 3>(segment_softmax(m, s) * m), s);
        } else {
            y = aggregate_edges(static_cast<Aggregation>(Fold), graph_, m);
        }
        return detail::reshape_any(y.record(), slot_.rank, slot_.dims);
    }

    Slot slot_;
    Edge edges_[leaves];
    detail::Saved saved_[leaves];
    Graph graph_;
    MessageSizes sizes_;
    detail::AnyTensor chosen_, statistics_;
    alignas(8) char parameters_[8 * (formula::Facts<F>::parameters > 0 ? formula::Facts<F>::parameters : 1)];
};


// The formula as the kernels name it: on the device without the types of the user's lambdas.
#if TENON_CUDA
template <class F>
using kernel_formula = formula::canonical_t<F, formula::NoRenames, 0>;
#else
template <class F>
using kernel_formula = F;
#endif

template <Aggregation How, int R, class Message>
auto aggregate_messages(const Graph& g, const Message& message) {
    using T = typename Message::Scalar;
    using Own = Tensor<T, R + 1>;
    using Places = typename gathers_of<Message>::type;
    constexpr MessageFold fold = static_cast<MessageFold>(How);
    constexpr const char* name = "aggregate";
    static_assert(Floating<T>, "tenon: aggregate: messages must be floating-point numbers: write cast<float>(x)");
    static_assert(Message::rank <= R,
                  "tenon: aggregate: a tensor that the formula captures has more axes than the fields have behind their rows");
    using Node = MessageNode<kernel_formula<typename Message::Formula>, fold, Places>;
    using A = typename Node::A;
    static_assert(Node::leaves >= 1 && Node::leaves <= kernels::cpu::max_message_operands,
                  "tenon: aggregate: a message reads one to eight fields and captured tensors");
    static_assert(Node::M::one_type(),
                  "tenon: aggregate: the fields and captured tensors must have the element type of the message (or be integers)");
    check_device(name, g.device());
    if (!(message.device() == g.device())) fail_devices(name, g.device(), message.device());
    long dims[max_rank] = {g.targets()};
    for (int i = 0; i < R; ++i) dims[i + 1] = i < R - Message::rank ? 1 : message.dims()[i - (R - Message::rank)];
    Collector c;
    message.collect(c);
    MessageSizes sizes;
    detail::AnyTensor held[Node::leaves];
    if constexpr (R >= 1) sizes.inner = dims[R];
    if constexpr (R == 2) sizes.outer = dims[1];
    for (int k = 0; k < Node::leaves; ++k) {
        detail::Record* x = c.leaves[k];
        const bool whole = Node::M::gather(k) == Gather::whole;
        if (!x->contiguous) c.leaves[k] = (held[k] = recorded_copy_any(x)).get(), x = held[k].get();
        // Captured tensors are aligned at their last axis, fields at their first.
        long own[2] = {1, 1};
        const int axes = whole ? x->rank : x->rank - 1, first = whole ? R - axes : 0;
        for (int i = 0, at = 2 - R + first; i < axes && at < 2; ++i, ++at) own[at] = x->dims()[i + (whole ? 0 : 1)];
        sizes.operands[k] = {whole ? 1 : x->dims()[0], own[0], own[1]};
    }
    merge_axes(sizes, Node::leaves);
    bool recorded = false;
    for (int k = 0; k < Node::leaves; ++k)
        recorded =
            recorded || ((formula::Facts<typename Message::Formula>::reached() >> k & 1u) != 0 && detail::wants_gradient(c.leaves[k]));
    detail::AnyTensor y(detail::new_record(dtype_of<T>, R + 1, dims, g.device(), name)), chosen, statistics;
    const long kept[3] = {kernels::cpu::statistics_of(fold), g.targets(), sizes.outer * sizes.inner};
    if (recorded && kernels::cpu::is_extreme(fold)) chosen = detail::AnyTensor(detail::new_record(DType::int32, 2, kept + 1, g.device()));
    if (recorded && kept[0] > 0) statistics = detail::AnyTensor(detail::new_record(dtype_of<A>, 3, kept, g.device()));
    kernels::cpu::MessageProblem p = Node::problem(g, sizes, c.parameters);
    for (int k = 0; k < Node::leaves; ++k) p.operands[k].data = c.leaves[k]->data();
    p.y = y->data();
    if (chosen) p.chosen = reinterpret_cast<std::int32_t*>(chosen->data());
    if (statistics) p.statistics = statistics->data();
    TENON_RUN(g.device(), message_aggregate<typename Node::M, fold>(p));
    if (recorded)
        (new Node(g, sizes, c, name, static_cast<detail::AnyTensor&&>(chosen), static_cast<detail::AnyTensor&&>(statistics)))
            ->set_result(y.get());
    return Own(static_cast<detail::AnyTensor&&>(y));
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace graph

namespace detail {
template <class T, int F, int R, kernels::cpu::Gather From>
struct is_expression<graph::impl::EdgeOperand<T, F, R, From>> : std::true_type {};
}  // namespace detail

namespace graph {
inline namespace TENON_CONFIG_NAMESPACE {

// Fields of a formula over edges. node(x): of nodes, read at both ends as h.source and h.target. source(x), target(x): of one end's
// nodes, of a bipartite graph say. edge(x): of edges, as they are in edge_index. [rows], [rows, F] or [rows, H, C]; what has
// fewer axes than others holds for all of their features.
template <Expression X>
[[nodiscard]] auto node(X&& x) { return impl::field<impl::FieldOf::nodes>(static_cast<X&&>(x)); }
template <Expression X>
[[nodiscard]] auto source(X&& x) { return impl::field<impl::FieldOf::sources>(static_cast<X&&>(x)); }
template <Expression X>
[[nodiscard]] auto target(X&& x) { return impl::field<impl::FieldOf::targets>(static_cast<X&&>(x)); }
template <Expression X>
[[nodiscard]] auto edge(X&& x) { return impl::field<impl::FieldOf::edges>(static_cast<X&&>(x)); }

// aggregate<graph::sum>(g, f, fields...): row i of the result is the sum (mean, max, min, product, std_dev, softmax_sum) over the edges
// j -> i of the messages f(fields...), [targets, ...]; 0 where there are no edges. f is called once, with a placeholder for each field
// that stands for what one edge has, [F] or [H, C], and returns an expression; tensors that it captures broadcast against that. Up to
// eight leaves of one element type, besides integers and masks. Of extremes the first edge in the order (source, position) counts, a NaN
// is larger (for min smaller) than everything; std_dev divides by the number of edges, its derivative at 0 is 0; softmax_sum is the sum
// of the messages weighted by their softmax over the edges, feature by feature. 16-bit types compute in float. Throws ShapeError.
// What a message needs of all features of an edge at once comes as a field: edge(sddmm(g, u, v)) holds the dot products of both ends.
// Derivatives of fields and captured tensors, derived from f; messages are computed again for it. In a recorded pass (create_graph) they
// are stored, and a product throws GradError.
template <Aggregation How, class F, class... Fields>
    requires(!Expression<F> && sizeof...(Fields) >= 1 && (impl::is_field<Fields> && ...))
[[nodiscard]] auto aggregate(const Graph& g, F&& f, const Fields&... fields) {
    constexpr int rank = tenon::impl::largest(Fields::rank...) - 1;
    (fields.check(g), ...);
    return impl::aggregate_messages<How, rank>(g, wrap(f(fields.template operand<rank>()...)));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace graph
}  // namespace tenon
