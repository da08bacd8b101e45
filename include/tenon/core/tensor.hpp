// Tensor<T, Rank>: a handle on a shared record {storage, shape, strides, offset, gradient record}.
//
// Copying a handle aliases; clone(x) copies. Const is shallow, as for a span. Element type and rank are known to the
// compiler, sizes and device at run time. What needs kernels (to, item, fill, copies, printing) is declared here and
// defined in ops/ and autograd/.
#pragma once

#include <tenon/core/shape.hpp>
#include <tenon/core/storage.hpp>

#include <type_traits>
#include <utility>

namespace tenon {

class Node;

namespace detail {

// What a handle points to. The sizes and strides (in elements) follow it in memory.
struct Record {
    int references;
    DType dtype;
    std::uint8_t rank;
    bool contiguous;
    bool is_view;
    unsigned recorded_writes;  // of the storage, when the record got its node
    short block_class;
    short slot;                // which output of the node this is
    Storage* storage;
    long offset;               // in bytes
    long size;                 // number of elements
    Node* node;                // null: no gradient wanted

    long* dims() { return reinterpret_cast<long*>(this + 1); }
    const long* dims() const { return reinterpret_cast<const long*>(this + 1); }
    long* strides() { return dims() + rank; }
    const long* strides() const { return dims() + rank; }
    char* data() const { return storage->data + offset; }
    Description description() const { return {dtype, rank, dims(), storage->device}; }
};

void release_node(Node* node) noexcept;

inline void retain(Record* record) noexcept { __atomic_add_fetch(&record->references, 1, __ATOMIC_RELAXED); }
TENON_NOINLINE inline void destroy(Record* record) noexcept {
    Node* node = record->node;
    release(record->storage);
    release_class(record, record->block_class);
    if (node != nullptr) release_node(node);
}
inline void release(Record* record) noexcept {
    if (__atomic_sub_fetch(&record->references, 1, __ATOMIC_ACQ_REL) == 0) destroy(record);
}

inline Record* allocate_record(DType dtype, int rank) {
    const int block_class = size_class(sizeof(Record) + 2 * sizeof(long) * static_cast<std::size_t>(rank));
    Record* r = static_cast<Record*>(allocate_class(block_class));
    r->references = 1;
    r->dtype = dtype;
    r->rank = static_cast<std::uint8_t>(rank);
    r->contiguous = true;
    r->is_view = false;
    r->recorded_writes = 0;
    r->block_class = static_cast<short>(block_class);
    r->slot = 0;
    r->offset = 0;
    r->node = nullptr;
    return r;
}

// A contiguous tensor over all of a storage, which it adopts.
inline Record* new_record_on(Storage* storage, DType dtype, int rank, const long* dims) {
    Record* r;
    try {
        r = allocate_record(dtype, rank);
    } catch (...) {
        release(storage);
        throw;
    }
    r->storage = storage;
    long stride = 1;
    for (int i = rank - 1; i >= 0; --i) {
        r->dims()[i] = dims[i];
        r->strides()[i] = stride;
        stride *= dims[i];
    }
    r->size = stride;
    return r;
}

// A fresh, uninitialised, contiguous tensor.
inline Record* new_record(DType dtype, int rank, const long* dims, Device device, const char* operation = "empty") {
    const long size = checked_size(operation, dims, rank);
    return new_record_on(new_storage(static_cast<std::size_t>(size) * static_cast<std::size_t>(size_of(dtype)), device), dtype, rank, dims);
}

inline bool is_contiguous(int rank, const long* dims, const long* strides) {
    long expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
        if (dims[i] != 1 && strides[i] != expected) {
            for (int j = 0; j < rank; ++j)
                if (dims[j] == 0) return true;
            return false;
        }
        expected *= dims[i];
    }
    return true;
}

// Another view of the storage, without gradient record.
inline Record* new_view(const Record* source, int rank, const long* dims, const long* strides, long offset_bytes) {
    Record* r = allocate_record(source->dtype, rank);
    r->storage = source->storage;
    retain(r->storage);
    r->offset = offset_bytes;
    r->is_view = true;
    long size = 1;
    for (int i = 0; i < rank; ++i) {
        r->dims()[i] = dims[i];
        r->strides()[i] = strides[i];
        size *= dims[i];
    }
    r->size = size;
    r->contiguous = is_contiguous(rank, dims, strides);
    return r;
}

// How a view arises from its source, so that the same can be done to a gradient: where each axis of the result comes
// from (-1: new), the step along it and the first index of each source axis.
struct ViewMap {
    int rank = 0;
    int axis[max_rank];       // source axis of each result axis, -1 for a new or expanded one
    long step[max_rank];      // step along the source axis, 0 where expanded
    long dims[max_rank];
    long start[max_rank];     // first index along each source axis
    bool reshape = false;     // the elements in row-major order under new sizes; the rest is unused
};

// A handle whose element type and rank are known at run time only.
class AnyTensor {
public:
    AnyTensor() noexcept = default;
    explicit AnyTensor(Record* adopted) noexcept : record_(adopted) {}
    AnyTensor(const AnyTensor& other) noexcept : record_(other.record_) {
        if (record_ != nullptr) retain(record_);
    }
    AnyTensor(AnyTensor&& other) noexcept : record_(other.record_) { other.record_ = nullptr; }
    AnyTensor& operator=(AnyTensor other) noexcept {
        std::swap(record_, other.record_);
        return *this;
    }
    ~AnyTensor() {
        if (record_ != nullptr) release(record_);
    }
    static AnyTensor share(Record* record) noexcept {
        retain(record);
        return AnyTensor(record);
    }
    Record* get() const noexcept { return record_; }
    Record* operator->() const noexcept { return record_; }
    explicit operator bool() const noexcept { return record_ != nullptr; }

private:
    Record* record_ = nullptr;
};

}  // namespace detail

// An edge of the tape: one output of a node.
struct Edge {
    Node* node = nullptr;
    int slot = 0;
};

class HookHandle;

// What a backward pass leaves behind.
struct BackwardOptions {
    bool retain_graph = false;  // keeps what the nodes have saved, for another pass
    bool create_graph = false;  // records the pass itself, so that gradients can be differentiated; keeps the graph too
};

class Node;
// What few nodes have: hooks, and where they were recorded (autograd/hooks.hpp).
struct NodeExtras {
    virtual ~NodeExtras() = default;
    // Before the node's backward, when all gradients of its outputs have arrived; of a leaf, when a pass is through.
    virtual void arrived(Node&) {}
    virtual bool has_hooks() const { return false; }
    // Of a leaf with hooks: adds the gradient of a pass to what was there before it.
    virtual void merge(Node&, detail::AnyTensor&&, bool) {}
    virtual const char* note() const { return nullptr; }
};

// One recorded evaluation (or a leaf). Tensors hold the node that made them; a node holds the nodes of its inputs.
// Nodes are reference counted, and freed without recursion.
class Node {
public:
    // What is known of one output, and the gradient that has arrived for it.
    struct Slot {
        detail::AnyTensor gradient;  // contiguous; its memory is kept when has is false
        bool has = false;
        DType dtype = DType::float32;
        Device device;
        int rank = 0;
        long dims[max_rank];
    };

    Node(const char* operation, Slot* outputs, int output_count, Edge* edges, int edge_count)
        : name(operation), slots(outputs), inputs(edges), slot_count(output_count), input_count(edge_count) {}
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    virtual ~Node() {
        if (TENON_UNLIKELY(extras != nullptr)) delete extras;
    }

    // Names the node's class to whoever records a backward pass (autograd/recorded.hpp): &detail::node_kind<Class>. Null:
    // it has no second derivative.
    virtual const void* kind() const noexcept { return nullptr; }
    // Turns the gradients in slots into gradients of the inputs (adding to what is there).
    virtual void backward() = 0;
    // Lets go of saved tensors; backward cannot run again.
    virtual void release_saved() noexcept {}

    int references = 1;
    bool leaf = false, released = false, view = false;
    bool owned = false;          // a leaf: an optimiser holds its memory
    short block_class = -1;      // -1: made by new
    long depth = 0;              // longer than every input's: a topological order
    const char* name;
    Slot* slots;
    Edge* inputs;
    int slot_count, input_count;
    unsigned long queued_by = 0;  // the backward run that has this node in its queue
    Node* next = nullptr;         // in the list of nodes to free
    NodeExtras* extras = nullptr;
};

namespace detail {

// Its address identifies a class of nodes.
template <class N>
inline char node_kind = 0;

struct NodeGraveyard {
    Node* head;
    bool running;
};
inline constinit thread_local NodeGraveyard node_graveyard{};

// A chain of any length is freed without recursion: a node whose last reference goes while another is being freed
// waits in a list.
TENON_NOINLINE inline void bury_node(Node* node) noexcept {
    NodeGraveyard& yard = node_graveyard;
    node->next = yard.head;
    yard.head = node;
    if (yard.running) return;
    yard.running = true;
    while ((node = yard.head) != nullptr) {
        yard.head = node->next;
        for (int i = 0; i < node->input_count; ++i)
            if (node->inputs[i].node != nullptr) release_node(node->inputs[i].node);
        const short block_class = node->block_class;
        if (block_class < 0) {
            delete node;
        } else {
            node->~Node();
            release_class(node, block_class);
        }
    }
    yard.running = false;
}
inline void release_node(Node* node) noexcept {
    if (__atomic_sub_fetch(&node->references, 1, __ATOMIC_ACQ_REL) == 0) bury_node(node);
}
inline void retain(Node* node) noexcept { __atomic_add_fetch(&node->references, 1, __ATOMIC_RELAXED); }

// Set by autograd: records a view of a tensor that wants gradients.
inline void (*record_view)(Record* source, Record* view, const ViewMap& map) = nullptr;

inline constinit thread_local int no_grad_depth = 0;
inline bool grad_enabled() { return no_grad_depth == 0; }

inline AnyTensor finish_view(const Record* source, Record* view, const ViewMap& map) {
    AnyTensor result(view);
    if (source->node != nullptr && grad_enabled()) __atomic_load_n(&record_view, __ATOMIC_RELAXED)(const_cast<Record*>(source), view, map);
    return result;
}

// The view that a map describes, of a tensor with any strides.
inline Record* apply_map(const Record* source, const ViewMap& map) {
    long strides[max_rank], offset = 0;
    for (int i = 0; i < source->rank; ++i) offset += map.start[i] * source->strides()[i];
    for (int i = 0; i < map.rank; ++i) strides[i] = map.axis[i] < 0 ? 0 : source->strides()[map.axis[i]] * map.step[i];
    return new_view(source, map.rank, map.dims, strides, source->offset + offset * size_of(source->dtype));
}
inline AnyTensor make_view(const Record* source, const ViewMap& map) {
    return finish_view(source, apply_map(source, map), map);
}

inline ViewMap identity_map(const Record* source) {
    ViewMap map;
    map.rank = source->rank;
    for (int i = 0; i < source->rank; ++i) {
        map.axis[i] = i;
        map.step[i] = 1;
        map.start[i] = 0;
        map.dims[i] = source->dims()[i];
    }
    return map;
}

// One argument of x(...), whatever it was.
struct IndexArgument {
    bool is_integer;
    long index;
    Slice range;
    template <std::integral I>
    constexpr IndexArgument(I i) : is_integer(true), index(static_cast<long>(i)) {}
    constexpr IndexArgument(Slice s) : is_integer(false), index(0), range(s) {}
    constexpr IndexArgument(All) : is_integer(false), index(0) {}
};

inline AnyTensor index_view(const Record* source, const IndexArgument* arguments, int count) {
    ViewMap map;
    for (int i = 0; i < source->rank; ++i) {
        const long n = source->dims()[i];
        if (i < count && arguments[i].is_integer) {
            const long index = arguments[i].index < 0 ? arguments[i].index + n : arguments[i].index;
            if (index < 0 || index >= n)
                fail<IndexError>("index: ", arguments[i].index, " is outside of axis ", i, " of ", source->description());
            map.start[i] = index;
            continue;
        }
        const Slice range = i < count ? arguments[i].range : Slice{};
        if (range.step <= 0) fail<ValueError>("slice: step ", range.step, " is not positive");
        long start = range.start < 0 ? range.start + n : range.start;
        long stop = range.stop < 0 ? range.stop + n : range.stop;
        start = start < 0 ? 0 : start > n ? n : start;
        stop = stop < start ? start : stop > n ? n : stop;
        map.start[i] = start;
        map.axis[map.rank] = i;
        map.step[map.rank] = range.step;
        map.dims[map.rank++] = (stop - start + range.step - 1) / range.step;
    }
    for (int i = 0; i < source->rank; ++i)
        if (map.start[i] == source->dims()[i] && map.start[i] > 0) map.start[i] = 0;  // an empty slice at the end
    return make_view(source, map);
}

// Sizes with at most one -1 that stands for what is left.
inline void resolve_reshape(const Record* source, int rank, long* dims) {
    long known = 1;
    int open = -1;
    for (int i = 0; i < rank; ++i) {
        if (dims[i] == -1 && open < 0) open = i;
        else if (dims[i] < 0) fail<ShapeError>("reshape: negative size in ", Sizes{rank, dims}, " (one -1 stands for the rest)");
        else known *= dims[i];
    }
    if (open >= 0 && known > 0 && source->size % known == 0) dims[open] = source->size / known;
    long total = 1;
    for (int i = 0; i < rank; ++i) total *= dims[i];
    if (total != source->size || (open >= 0 && dims[open] < 0))
        fail<ShapeError>("reshape: ", source->description(), " has ", source->size, " elements, which do not fit ", Sizes{rank, dims});
}

// The strides under which a strided tensor has new sizes without a copy; false where there are none.
inline bool reshape_strides(const Record* source, int rank, const long* dims, long* strides) {
    if (source->contiguous || source->size == 0) {
        long stride = 1;
        for (int i = rank - 1; i >= 0; --i) {
            strides[i] = stride;
            stride *= dims[i];
        }
        return true;
    }
    int at = rank - 1;
    for (int i = source->rank - 1; i >= 0;) {
        // A run of source axes that are laid out as one.
        long run = source->dims()[i];
        const long base = source->strides()[i];
        while (i > 0 && (source->dims()[i - 1] == 1 || source->strides()[i - 1] == base * run)) run *= source->dims()[--i];
        --i;
        long stride = base;
        while (run > 1 && at >= 0) {
            if (run % dims[at] != 0) return false;
            strides[at] = stride;
            stride *= dims[at];
            run /= dims[at--];
        }
        if (run != 1) return false;
    }
    while (at >= 0) {
        if (dims[at] != 1) return false;
        strides[at--] = 1;
    }
    return true;
}

// Defined in ops/copy.hpp: a contiguous copy (recorded).
template <class Tag = void>
AnyTensor contiguous_copy(const Record* source);

template <class Tag = void>
AnyTensor reshape_any(const Record* source, int rank, long* dims) {
    resolve_reshape(source, rank, dims);
    long strides[max_rank];
    if (!reshape_strides(source, rank, dims, strides)) {
        AnyTensor copy = contiguous_copy<Tag>(source);
        return reshape_any<Tag>(copy.get(), rank, dims);
    }
    ViewMap map;
    map.rank = rank;
    map.reshape = true;
    for (int i = 0; i < rank; ++i) map.dims[i] = dims[i];
    return finish_view(source, new_view(source, rank, dims, strides, source->offset), map);
}

[[noreturn]] TENON_COLD inline void fail_empty_handle() {
    fail<Error>("this tensor handle is empty: it was default-constructed or moved from, and names no tensor");
}

template <class T>
struct is_expression : std::false_type {};

}  // namespace detail

template <class E>
concept Expression = detail::is_expression<std::remove_cvref_t<E>>::value;

namespace detail {
template <class E, class Self>
concept OtherExpression = Expression<E> && !std::is_same_v<std::remove_cvref_t<E>, Self>;
// Defined in autograd/evaluate.hpp.
template <class T, int Rank, class E>
AnyTensor evaluate_expression(E&& e);
[[noreturn]] TENON_COLD inline void fail_assignment() {
    fail<GradError>("assignment: this tensor is a leaf that requires a gradient; assigning an expression would leave its gradient and its "
                    "optimiser behind\n       hint: write through it with x.copy_from(e)");
}
}  // namespace detail

template <Element T, int Rank>
class Tensor {
    static_assert(Rank >= 0 && Rank <= max_rank, "tenon: Tensor<T, Rank>: a tensor has 0 to 8 axes");

public:
    using Scalar = T;
    static constexpr int rank = Rank;

    // An empty handle: names no tensor until one is assigned.
    Tensor() noexcept = default;
    explicit Tensor(detail::AnyTensor any) noexcept : any_(static_cast<detail::AnyTensor&&>(any)) {}
    Tensor(const Tensor&) noexcept = default;
    Tensor(Tensor&&) noexcept = default;

    // Evaluates an expression: one loop.
    template <detail::OtherExpression<Tensor<T, Rank>> E>
    Tensor(E&& e) : any_(detail::evaluate_expression<T, Rank>(static_cast<E&&>(e))) {}

    // A named tensor is rebound; a temporary (a view such as x(slice(0, 3))) is written through.
    Tensor& operator=(const Tensor& other) & {
        return rebind(Tensor(other));
    }
    Tensor& operator=(Tensor&& other) & { return rebind(static_cast<Tensor&&>(other)); }
    template <detail::OtherExpression<Tensor<T, Rank>> E>
    Tensor& operator=(E&& e) & {
        if (any_ && any_->node != nullptr && any_->node->leaf) detail::fail_assignment();
        return rebind(Tensor(static_cast<E&&>(e)));
    }
    template <Expression E>
    const Tensor& operator=(E&& e) const&& {
        write_through(static_cast<E&&>(e), true);
        return *this;
    }
    const Tensor& operator=(const Tensor& other) const&& {
        write_through(other, true);
        return *this;
    }
    const Tensor& operator=(T value) const&& {
        fill(value);
        return *this;
    }

    // Writes the values of e (broadcast to this shape) into the memory of this tensor, unrecorded. Throws GradError where
    // this is the result of recorded operations that a backward may still walk.
    template <Expression E>
    const Tensor& copy_from(E&& e) const;
    const Tensor& fill(T value) const;

    bool has_value() const noexcept { return static_cast<bool>(any_); }
    long size() const { return record()->size; }
    long shape(int axis) const {
        const int i = axis < 0 ? axis + Rank : axis;
        if (i < 0 || i >= Rank) fail<IndexError>("shape: axis ", axis, " is outside of ", record()->description());
        return record()->dims()[i];
    }
    Shape<Rank> shape() const {
        Shape<Rank> s;
        for (int i = 0; i < Rank; ++i) s.dims[i] = record()->dims()[i];
        return s;
    }
    long stride(int axis) const {
        const int i = axis < 0 ? axis + Rank : axis;
        if (i < 0 || i >= Rank) fail<IndexError>("stride: axis ", axis, " is outside of ", record()->description());
        return record()->strides()[i];
    }
    bool is_contiguous() const { return record()->contiguous; }
    Device device() const { return record()->storage->device; }
    static constexpr DType dtype() { return dtype_of<T>; }

    // The first element. Const is shallow. Whoever writes through it while a tape holds the tensor says so by touch().
    T* data() const { return reinterpret_cast<T*>(record()->data()); }
    const Tensor& touch() const {
        detail::note_write(record()->storage, "data()");
        return *this;
    }
    // The value of a tensor of one element.
    T item() const;
    Tensor<T, Rank> to(Device device) const;

    // x(slice(0, 128), all, 3): a view; an integer drops its axis, axes left out are whole. Throws IndexError.
    template <class... I>
        requires(sizeof...(I) >= 1 && (std::is_constructible_v<detail::IndexArgument, I> && ...))
    auto operator()(I... indices) const {
        static_assert(sizeof...(I) <= Rank, "tenon: x(...): more indices than the tensor has axes");
        constexpr int dropped = (0 + ... + (std::is_integral_v<I> ? 1 : 0));
        const detail::IndexArgument arguments[] = {detail::IndexArgument(indices)...};
        return Tensor<T, Rank - dropped>(detail::index_view(record(), arguments, sizeof...(I)));
    }

    // The same elements in row-major order under other sizes (one may be -1); a view where the strides allow it.
    template <std::size_t R>
    Tensor<T, static_cast<int>(R)> reshape(const Dim (&sizes)[R]) const {
        long dims[R];
        for (std::size_t i = 0; i < R; ++i) dims[i] = sizes[i].value;
        return Tensor<T, static_cast<int>(R)>(detail::reshape_any(record(), static_cast<int>(R), dims));
    }
    Tensor<T, 0> reshape(ScalarShape) const {
        long none = 0;
        return Tensor<T, 0>(detail::reshape_any(record(), 0, &none));
    }
    template <int R>
    Tensor<T, R> reshape(const Shape<R>& sizes) const {
        Shape<R> copy = sizes;
        return Tensor<T, R>(detail::reshape_any(record(), R, copy.dims));
    }
    // Axes swapped: a view. By default the last two.
    template <int A = -2, int B = -1>
    Tensor transpose() const {
        static_assert(A >= -Rank && A < Rank && B >= -Rank && B < Rank, "tenon: transpose<A, B>: an axis is outside of the tensor's rank");
        detail::ViewMap map = detail::identity_map(record());
        constexpr int a = detail::normal_axis<A, Rank>(), b = detail::normal_axis<B, Rank>();
        std::swap(map.axis[a], map.axis[b]);
        std::swap(map.dims[a], map.dims[b]);
        return Tensor(detail::make_view(record(), map));
    }
    // Axis i of the result is axis Axes[i] of this: a view.
    template <int... Axes>
    Tensor permute() const {
        static_assert(sizeof...(Axes) == Rank, "tenon: permute<Axes...>: one axis for each of the tensor's");
        static_assert(((Axes >= -Rank && Axes < Rank) && ...), "tenon: permute<Axes...>: an axis is outside of the tensor's rank");
        constexpr unsigned seen = (0u | ... | (1u << detail::normal_axis<Axes, Rank>()));
        static_assert(seen == (1u << Rank) - 1u, "tenon: permute<Axes...>: every axis must come once");
        const int axes[] = {detail::normal_axis<Axes, Rank>()...};
        detail::ViewMap map = detail::identity_map(record());
        for (int i = 0; i < Rank; ++i) {
            map.axis[i] = axes[i];
            map.dims[i] = record()->dims()[axes[i]];
        }
        return Tensor(detail::make_view(record(), map));
    }
    // Repeats axes of size 1 (and adds leading axes) without memory: a view with stride 0. -1 keeps a size.
    template <std::size_t R>
    Tensor<T, static_cast<int>(R)> expand(const Dim (&sizes)[R]) const {
        static_assert(static_cast<int>(R) >= Rank, "tenon: expand: the result has fewer axes than the tensor");
        constexpr int extra = static_cast<int>(R) - Rank;
        detail::ViewMap map;
        map.rank = static_cast<int>(R);
        for (int i = 0; i < Rank; ++i) map.start[i] = 0;
        const long* own = record()->dims();
        for (std::size_t i = 0; i < R; ++i) {
            const int axis = static_cast<int>(i) - extra;
            const long have = axis < 0 ? 1 : own[axis];
            const long want = sizes[i].value == -1 ? have : sizes[i].value;
            if (want < 0) fail<ShapeError>("expand: negative size ", want, " for axis ", i, " (-1 keeps a size)");
            if (have != want && have != 1)
                fail<ShapeError>("expand: axis ", axis, " of ", record()->description(), " has size ", have, " and cannot become ", want);
            map.axis[i] = axis < 0 || have != want ? -1 : axis;
            map.step[i] = 1;
            map.dims[i] = want;
        }
        return Tensor<T, static_cast<int>(R)>(detail::make_view(record(), map));
    }
    // Drops an axis of size 1. Throws ShapeError where it is larger.
    template <int Axis>
    Tensor<T, Rank - 1> squeeze() const {
        static_assert(Axis >= -Rank && Axis < Rank, "tenon: squeeze<Axis>: the axis is outside of the tensor's rank");
        constexpr int axis = detail::normal_axis<Axis, Rank>();
        if (record()->dims()[axis] != 1)
            fail<ShapeError>("squeeze: axis ", Axis, " of ", record()->description(), " has size ", record()->dims()[axis], ", expected 1");
        detail::ViewMap map = detail::identity_map(record());
        map.rank = Rank - 1;
        for (int i = axis; i < Rank - 1; ++i) {
            map.axis[i] = i + 1;
            map.dims[i] = record()->dims()[i + 1];
        }
        return Tensor<T, Rank - 1>(detail::make_view(record(), map));
    }
    // A new axis of size 1 before axis Axis of the result.
    template <int Axis>
    Tensor<T, Rank + 1> unsqueeze() const {
        static_assert(Axis >= -Rank - 1 && Axis <= Rank, "tenon: unsqueeze<Axis>: the axis is outside of the result's rank");
        constexpr int axis = detail::normal_axis<Axis, Rank + 1>();
        detail::ViewMap map = detail::identity_map(record());
        map.rank = Rank + 1;
        for (int i = Rank; i > axis; --i) {
            map.axis[i] = i - 1;
            map.step[i] = 1;
            map.dims[i] = record()->dims()[i - 1];
        }
        map.axis[axis] = -1;
        map.step[axis] = 1;
        map.dims[axis] = 1;
        return Tensor<T, Rank + 1>(detail::make_view(record(), map));
    }

    // Marks a leaf: backward will write its gradient. Throws GradError on a result of recorded operations or a view.
    Tensor& require_grad() & { mark(); return *this; }
    const Tensor& require_grad() const& { mark(); return *this; }
    Tensor require_grad() && { mark(); return *this; }
    bool requires_grad() const { return record()->node != nullptr; }
    bool has_grad() const;
    // The gradient that backward has written. It follows later writes; clone it to keep it. Throws GradError if absent.
    const Tensor grad() const;
    void zero_grad() const;
    // Gradients of this one-element tensor for every leaf that it was computed from.
    void backward() const;
    // The same for a tensor of any size, from the gradient of what follows.
    void backward(const Tensor& gradient) const;
    // The same, keeping the graph or recording the pass: y.backward({.create_graph = true}); defined in
    // autograd/functional.hpp. A recorded gradient holds the graph, the graph its leaves, and those their gradients:
    // zero_grad() ends that circle; grad(y, x) does without it.
    void backward(BackwardOptions options) const;
    void backward(const Tensor& gradient, BackwardOptions options) const;
    // Calls f with the gradient of this tensor whenever a backward pass has it whole: of a result before it is passed on, of
    // a leaf before it is added to .grad(). f takes a const Tensor& and returns nothing, or the gradient to go on with.
    // Hooks run in the order in which they came. Defined in autograd/hooks.hpp.
    template <class F>
    HookHandle register_hook(F f) const;
    // The same memory without gradient record.
    Tensor detach() const {
        const detail::Record* r = record();
        detail::AnyTensor same(detail::new_view(r, Rank, r->dims(), r->strides(), r->offset));
        same->is_view = r->is_view;  // of a whole tensor: may become a leaf of its own
        return Tensor(static_cast<detail::AnyTensor&&>(same));
    }

    // What a foreign function (std::sin(x)), a condition (x > 0 ? a : b) or an assignment to a number would call.
    operator double() const {
        static_assert(sizeof(T) == 0, "tenon: a tensor is not a number: write tenon::sin(x) and friends instead of std::, "
                                      "where(x > 0, a, b) instead of ?:, and x.item() for the value of a one-element tensor");
        return 0;
    }

    detail::Record* record() const {
        if (TENON_UNLIKELY(!any_)) detail::fail_empty_handle();
        return any_.get();
    }
    const detail::AnyTensor& any() const { return any_; }

private:
    Tensor& rebind(Tensor&& other) {
        any_ = static_cast<detail::AnyTensor&&>(other.any_);
        return *this;
    }
    void mark() const;
    template <class E>
    void write_through(E&& e, bool assignment) const;

    detail::AnyTensor any_;
};

namespace detail {
// Said here, so that nobody asks before it is.
template <class T, int R>
struct is_expression<Tensor<T, R>> : std::true_type {};
}  // namespace detail

}  // namespace tenon
