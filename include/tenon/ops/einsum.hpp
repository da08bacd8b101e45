// einsum<"bij,bjk->bik">(a, b): products and sums by named axes. The string is read by the compiler; at run time there are
// only views, matrix products and sums.
#pragma once

#include <tenon/ops/linear_view.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon {

namespace detail {

// A string as a template argument.
template <std::size_t N>
struct Text {
    char characters[N];
    consteval Text(const char (&text)[N]) {
        for (std::size_t i = 0; i < N; ++i) characters[i] = text[i];
    }
};

enum class EinsumError { none, character, operands, rank, ellipsis, two_ellipses, result_twice, result_unknown, result_rank, arrow };

inline constexpr int einsum_max_operands = 4;

// The labels of the operands' axes and of the result's. Axes of an ellipsis are named '0', '1', ... from the right.
struct EinsumSpec {
    EinsumError error = EinsumError::none;
    int operands = 0;
    int ranks[einsum_max_operands] = {};
    char labels[einsum_max_operands][max_rank] = {};
    int result_rank = 0;
    char result[max_rank] = {};

    constexpr bool has(int operand, char label) const {
        for (int i = 0; i < ranks[operand]; ++i)
            if (labels[operand][i] == label) return true;
        return false;
    }
    constexpr int uses(char label) const {
        int count = 0;
        for (int k = 0; k < operands; ++k)
            for (int i = 0; i < ranks[k]; ++i) count += labels[k][i] == label ? 1 : 0;
        return count;
    }
};

constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

template <std::size_t N>
constexpr EinsumSpec parse_einsum(const Text<N>& text, const int* ranks, int count) {
    EinsumSpec s;
    const auto fail_with = [&](EinsumError error) {
        s.error = error;
        return s;
    };
    if (count > einsum_max_operands) return fail_with(EinsumError::operands);
    std::size_t at = 0;
    const std::size_t end = N - 1;
    const auto is_dots = [&] { return at + 2 < end && text.characters[at] == '.' && text.characters[at + 1] == '.' && text.characters[at + 2] == '.'; };
    int most = 0;  // axes of the widest ellipsis
    int operand = 0;
    for (;; ++operand) {
        if (operand == count) return fail_with(EinsumError::operands);
        // Letters before the dots and after them.
        char letters[2][2 * max_rank] = {};
        int seen[2] = {}, part = 0;
        for (; at < end && text.characters[at] != ',' && text.characters[at] != '-'; ++at) {
            const char c = text.characters[at];
            if (c == ' ') continue;
            if (c == '.') {
                if (!is_dots()) return fail_with(EinsumError::character);
                if (part == 1) return fail_with(EinsumError::two_ellipses);
                part = 1;
                at += 2;
                continue;
            }
            if (!is_letter(c)) return fail_with(EinsumError::character);
            if (seen[part] == 2 * max_rank) return fail_with(EinsumError::rank);
            letters[part][seen[part]++] = c;
        }
        const int rest = ranks[operand] - seen[0] - seen[1];
        if (rest < 0 || (rest > 0 && part == 0)) return fail_with(EinsumError::rank);
        int axis = 0;
        for (int i = 0; i < seen[0]; ++i) s.labels[operand][axis++] = letters[0][i];
        for (int i = rest - 1; i >= 0; --i) s.labels[operand][axis++] = static_cast<char>('0' + i);
        for (int i = 0; i < seen[1]; ++i) s.labels[operand][axis++] = letters[1][i];
        s.ranks[operand] = axis;
        most = rest > most ? rest : most;
        s.operands = operand + 1;
        if (at < end && text.characters[at] == ',') {
            ++at;
            continue;
        }
        break;
    }
    if (s.operands != count) return fail_with(EinsumError::operands);
    const auto add = [&](char label) {
        if (s.result_rank == max_rank) {
            s.error = EinsumError::result_rank;
            return;
        }
        for (int i = 0; i < s.result_rank; ++i)
            if (s.result[i] == label) s.error = EinsumError::result_twice;
        s.result[s.result_rank++] = label;
    };
    if (at == end) {
        // Without an arrow: the ellipsis, then the labels that come once, in alphabetical order.
        for (int i = most - 1; i >= 0; --i) add(static_cast<char>('0' + i));
        for (int c = 'A'; c <= 'z'; ++c)
            if (is_letter(static_cast<char>(c)) && s.uses(static_cast<char>(c)) == 1) add(static_cast<char>(c));
        return s;
    }
    if (at + 1 >= end || text.characters[at + 1] != '>') return fail_with(EinsumError::arrow);
    bool dots = false;
    for (at += 2; at < end; ++at) {
        const char c = text.characters[at];
        if (c == ' ') continue;
        if (c == '.') {
            if (!is_dots()) return fail_with(EinsumError::character);
            if (dots) return fail_with(EinsumError::two_ellipses);
            dots = true;
            for (int i = most - 1; i >= 0; --i) add(static_cast<char>('0' + i));
            at += 2;
            continue;
        }
        if (!is_letter(c)) return fail_with(c == ',' || c == '-' ? EinsumError::arrow : EinsumError::character);
        if (s.uses(c) == 0) return fail_with(EinsumError::result_unknown);
        add(c);
        if (s.error != EinsumError::none) return s;
    }
    if (most > 0 && !dots) return fail_with(EinsumError::ellipsis);
    return s;
}

}  // namespace detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// A tensor whose axes have names.
struct EinsumTerm {
    detail::AnyTensor tensor;
    int rank = 0;
    char labels[max_rank];

    int find(char label) const {
        for (int i = 0; i < rank; ++i)
            if (labels[i] == label) return i;
        return -1;
    }
};

// The term with its axes in the order of `labels`; what it lacks becomes an axis of size 1. A recorded view.
inline detail::AnyTensor einsum_view(const EinsumTerm& term, const char* labels, int count) {
    detail::ViewMap map;
    map.rank = count;
    bool same = count == term.rank;
    for (int i = 0; i < term.rank; ++i) map.start[i] = 0;
    for (int i = 0; i < count; ++i) {
        map.axis[i] = term.find(labels[i]);
        map.step[i] = 1;
        map.dims[i] = map.axis[i] < 0 ? 1 : term.tensor->dims()[map.axis[i]];
        same = same && map.axis[i] == i;
    }
    return same ? term.tensor : detail::make_view(term.tensor.get(), map);
}

// Lists of labels.
struct EinsumLabels {
    char labels[2 * max_rank];
    int count = 0;
    void add(char label) { labels[count++] = label; }
    bool has(char label) const {
        for (int i = 0; i < count; ++i)
            if (labels[i] == label) return true;
        return false;
    }
};

[[noreturn]] TENON_COLD inline void fail_einsum_rank(const char* text) {
    fail<ShapeError>("einsum \"", text, "\": an intermediate result would have more than 8 axes\n       hint: contract the operands in two steps");
}

// Sums over the axes that nothing else needs.
template <class T>
void einsum_reduce(EinsumTerm& term, const EinsumLabels& needed) {
    long kept[max_rank], result[max_rank];
    int rank = 0;
    char labels[max_rank];
    for (int i = 0; i < term.rank; ++i) {
        const bool stays = needed.has(term.labels[i]);
        kept[i] = stays ? term.tensor->dims()[i] : 1;
        if (!stays) continue;
        labels[rank] = term.labels[i];
        result[rank++] = term.tensor->dims()[i];
    }
    if (rank == term.rank) return;
    Collector c;
    c.add(term.tensor.get());
    term.tensor = evaluate_sum(formula::table<formula::In<T>, true>, c, term.rank, term.tensor->dims(), kept, rank, result, term.tensor->storage->device, 1,
                               "einsum");
    term.rank = rank;
    for (int i = 0; i < rank; ++i) term.labels[i] = labels[i];
}

// The axes in [begin, begin + count) of a view as one (a copy only where the strides do not allow it).
inline detail::AnyTensor einsum_merge(detail::AnyTensor x, const int* groups, int group_count) {
    long dims[max_rank];
    int at = 0;
    bool same = group_count == x->rank;
    for (int g = 0; g < group_count; ++g) {
        dims[g] = 1;
        for (int i = 0; i < groups[g]; ++i) dims[g] *= x->dims()[at++];
        same = same && groups[g] == 1;
    }
    return same ? x : detail::reshape_any(x.get(), group_count, dims);
}

// a and b become one term. preferred: the order of the final result, if this is the last step.
template <class T>
EinsumTerm einsum_contract(EinsumTerm a, EinsumTerm b, const EinsumLabels& needed, const char* preferred, int preferred_count, const char* text) {
    const auto rank_of_label = [&](char label) {
        for (int i = 0; i < preferred_count; ++i)
            if (preferred[i] == label) return i;
        return preferred_count;
    };
    EinsumLabels batch, summed, free_a, free_b;
    for (int i = 0; i < a.rank; ++i) {
        const char label = a.labels[i];
        if (b.find(label) < 0) free_a.add(label);
        else (needed.has(label) ? batch : summed).add(label);
    }
    for (int i = 0; i < b.rank; ++i)
        if (a.find(b.labels[i]) < 0) free_b.add(b.labels[i]);
    // The matrices' order follows the result, and so does that of the axes within each group.
    const auto sort = [&](EinsumLabels& list) {
        for (int i = 1; i < list.count; ++i)
            for (int j = i; j > 0 && rank_of_label(list.labels[j - 1]) > rank_of_label(list.labels[j]); --j) std::swap(list.labels[j - 1], list.labels[j]);
    };
    sort(batch);
    sort(free_a);
    sort(free_b);
    if (free_a.count > 0 && free_b.count > 0 && rank_of_label(free_a.labels[0]) > rank_of_label(free_b.labels[0])) {
        std::swap(a, b);
        std::swap(free_a, free_b);
    }
    EinsumTerm result;
    if (batch.count + free_a.count + free_b.count > max_rank) fail_einsum_rank(text);
    for (const EinsumLabels* list : {&batch, &free_a, &free_b})
        for (int i = 0; i < list->count; ++i) result.labels[result.rank++] = list->labels[i];
    const Device device = a.tensor->storage->device;

    if (summed.count == 0 || (free_a.count == 0 && free_b.count == 0)) {
        // One loop over everything: a product that broadcasts, summed as it goes.
        char all[2 * max_rank];
        int count = 0;
        if (summed.count == 0)
            for (int i = 1; i < result.rank; ++i)
                for (int j = i; j > 0 && rank_of_label(result.labels[j - 1]) > rank_of_label(result.labels[j]); --j) std::swap(result.labels[j - 1], result.labels[j]);
        for (int i = 0; i < result.rank; ++i) all[count++] = result.labels[i];
        for (int i = 0; i < summed.count; ++i) all[count++] = summed.labels[i];
        if (count > max_rank) fail_einsum_rank(text);
        const detail::AnyTensor left = einsum_view(a, all, count), right = einsum_view(b, all, count);
        long dims[max_rank], kept[max_rank];
        for (int i = 0; i < count; ++i) {
            dims[i] = left->dims()[i] == 1 ? right->dims()[i] : left->dims()[i];
            kept[i] = i < result.rank ? dims[i] : 1;
        }
        Collector c;
        c.add(left.get());
        c.add(right.get());
        const formula::Table& table = formula::table<formula::Op<fn::mul, formula::In<T>, formula::In<T>>, true>;
        if (summed.count == 0) evaluate(table, c, count, dims, device, &result.tensor);
        else result.tensor = evaluate_sum(table, c, count, dims, kept, result.rank, dims, device, 1, "einsum");
        return result;
    }
    // [batch..., m, k] times [batch..., k, n].
    EinsumLabels left, right;
    int left_groups[max_rank], right_groups[max_rank], groups = 0;
    if (batch.count + 2 > max_rank || batch.count + free_a.count + summed.count > max_rank || batch.count + free_b.count + summed.count > max_rank)
        fail_einsum_rank(text);
    for (int i = 0; i < batch.count; ++i) {
        left.add(batch.labels[i]);
        right.add(batch.labels[i]);
        left_groups[groups] = right_groups[groups] = 1;
        ++groups;
    }
    for (int i = 0; i < free_a.count; ++i) left.add(free_a.labels[i]);
    for (int i = 0; i < summed.count; ++i) left.add(summed.labels[i]);
    for (int i = 0; i < summed.count; ++i) right.add(summed.labels[i]);
    for (int i = 0; i < free_b.count; ++i) right.add(free_b.labels[i]);
    left_groups[groups] = free_a.count;
    left_groups[groups + 1] = right_groups[groups] = summed.count;
    right_groups[groups + 1] = free_b.count;
    ProductSpec spec;
    // Without batches a missing group is a vector's.
    if (batch.count == 0 && free_a.count == 0) spec.a = einsum_merge(einsum_view(a, left.labels, left.count), left_groups + 1, 1);
    else spec.a = einsum_merge(einsum_view(a, left.labels, left.count), left_groups, groups + 2);
    if (batch.count == 0 && free_b.count == 0) spec.b = einsum_merge(einsum_view(b, right.labels, right.count), right_groups, 1);
    else spec.b = einsum_merge(einsum_view(b, right.labels, right.count), right_groups, groups + 2);
    long dims[max_rank], sizes[max_rank];
    for (int i = 0; i < result.rank; ++i) {
        const int in_a = a.find(result.labels[i]);
        sizes[i] = in_a >= 0 ? a.tensor->dims()[in_a] : b.tensor->dims()[b.find(result.labels[i])];
    }
    const int product_rank = (spec.a->rank > 1 ? spec.a->rank - 1 : 0) + (spec.b->rank > 1 ? 1 : 0);
    set_product(spec, dims);
    result.tensor = evaluate_product<T>(spec, product_rank, dims);
    bool same = product_rank == result.rank;
    for (int i = 0; same && i < result.rank; ++i) same = dims[i] == sizes[i];
    if (!same) result.tensor = detail::reshape_any(result.tensor.get(), result.rank, sizes);
    return result;
}

template <class T>
detail::AnyTensor run_einsum(const char* text, const detail::EinsumSpec& spec, const detail::AnyTensor* operands) {
    EinsumTerm terms[detail::einsum_max_operands];
    int count = spec.operands;
    long sizes[128];
    for (long& size : sizes) size = -1;
    for (int k = 0; k < count; ++k) {
        EinsumTerm& term = terms[k];
        term.tensor = operands[k];
        term.rank = spec.ranks[k];
        if (!(term.tensor->storage->device == operands[0]->storage->device)) fail_devices("einsum", operands[0]->storage->device, term.tensor->storage->device);
        for (int i = 0; i < term.rank; ++i) {
            const char label = term.labels[i] = spec.labels[k][i];
            const long n = term.tensor->dims()[i];
            for (int j = 0; j < i; ++j)
                if (term.labels[j] == label && term.tensor->dims()[j] != n)
                    fail<ShapeError>("einsum \"", text, "\": axes ", j, " and ", i, " of operand ", k, ", ", term.tensor->description(), ", have the same name, but sizes ",
                                     term.tensor->dims()[j], " and ", n);
            long& size = sizes[static_cast<int>(label)];
            if (size < 0 || size == 1) size = n;
            else if (n != size && n != 1)
                fail<ShapeError>("einsum \"", text, "\": axis ", i, " of operand ", k, ", ", term.tensor->description(), ", has size ", n,
                                 ", but other axes of that name have size ", size);
        }
    }
    for (int k = 0; k < count; ++k) {
        EinsumTerm& term = terms[k];
        // A name that comes twice is a diagonal.
        for (int i = 0; i < term.rank; ++i)
            for (int j = i + 1; j < term.rank; ++j) {
                if (term.labels[i] != term.labels[j]) continue;
                const char label = term.labels[i];
                term.tensor = make_linear_view<T>("diagonal", term.tensor.get(), diagonal_view(term.tensor.get(), i, j, 0));
                int at = 0;
                for (int q = 0; q < term.rank; ++q)
                    if (q != i && q != j) term.labels[at++] = term.labels[q];
                term.labels[at++] = label;
                term.rank = at;
                i = -1;
                break;
            }
        // Axes of size 1 that stand for longer ones are left out.
        EinsumLabels kept;
        for (int i = 0; i < term.rank; ++i)
            if (term.tensor->dims()[i] != 1 || sizes[static_cast<int>(term.labels[i])] == 1) kept.add(term.labels[i]);
        if (kept.count == term.rank) continue;
        term.tensor = einsum_view(term, kept.labels, kept.count);
        term.rank = kept.count;
        for (int i = 0; i < kept.count; ++i) term.labels[i] = kept.labels[i];
    }
    const auto needed_beside = [&](int first, int second) {
        EinsumLabels needed;
        for (int i = 0; i < spec.result_rank; ++i) needed.add(spec.result[i]);
        for (int k = 0; k < count; ++k)
            if (k != first && k != second)
                for (int i = 0; i < terms[k].rank; ++i)
                    if (!needed.has(terms[k].labels[i])) {
                        if (needed.count == 2 * max_rank) fail_einsum_rank(text);
                        needed.add(terms[k].labels[i]);
                    }
        return needed;
    };
    for (int k = 0; k < count; ++k) einsum_reduce<T>(terms[k], needed_beside(k, k));
    while (count > 1) {
        // The pair with the smallest loop goes first, of equal ones the leftmost.
        int best_i = 0, best_j = 1;
        double least = -1;
        for (int i = 0; i < count; ++i)
            for (int j = i + 1; j < count; ++j) {
                double cost = 1;
                for (int q = 0; q < terms[i].rank; ++q) cost *= static_cast<double>(terms[i].tensor->dims()[q]);
                for (int q = 0; q < terms[j].rank; ++q)
                    if (terms[i].find(terms[j].labels[q]) < 0) cost *= static_cast<double>(terms[j].tensor->dims()[q]);
                if (least >= 0 && cost >= least) continue;
                least = cost;
                best_i = i;
                best_j = j;
            }
        const EinsumLabels needed = needed_beside(best_i, best_j);
        terms[best_i] = einsum_contract<T>(terms[best_i], terms[best_j], needed, spec.result, spec.result_rank, text);
        for (int k = best_j; k + 1 < count; ++k) terms[k] = terms[k + 1];
        --count;
        einsum_reduce<T>(terms[best_i], needed_beside(best_i, best_i));
    }
    return einsum_view(terms[0], spec.result, spec.result_rank);
}

template <detail::EinsumError Error>
constexpr void check_einsum() {
    using enum detail::EinsumError;
    static_assert(Error != character, "tenon: einsum<\"...\">: axes are named by letters; between them only ',', '->', '...' and spaces may stand");
    static_assert(Error != operands, "tenon: einsum<\"...\">: the string names another number of operands than are given (at most 4)");
    static_assert(Error != rank, "tenon: einsum<\"...\">: an operand has another number of axes than its part of the string names");
    static_assert(Error != ellipsis, "tenon: einsum<\"...\">: the operands have an ellipsis, the result must have one too");
    static_assert(Error != two_ellipses, "tenon: einsum<\"...\">: an operand or the result has two ellipses");
    static_assert(Error != result_twice, "tenon: einsum<\"...\">: the result names an axis twice");
    static_assert(Error != result_unknown, "tenon: einsum<\"...\">: the result names an axis that no operand has");
    static_assert(Error != result_rank, "tenon: einsum<\"...\">: the result would have more than 8 axes");
    static_assert(Error != arrow, "tenon: einsum<\"...\">: operands and result are written as \"ij,jk->ik\"");
}

}  // namespace impl

// einsum<"bij,bjk->bik">(a, b): multiplies 1 to 4 operands along axes of the same name and sums over the names that the
// result lacks. A name that comes twice in one operand is its diagonal; "..." stands for leading axes that broadcast;
// axes of size 1 broadcast; without "->" the result has the names that come once, in alphabetical order. float and double
// (bf16 and half with <tenon/ops/matmul_half.hpp>); of more than two operands the pair with the smallest loop goes first.
// The result may be a view. Wrong strings are compile errors; throws ShapeError where sizes differ. Derivative: that of the
// products and sums.
template <detail::Text Subscripts, Expression... E>
[[nodiscard]] auto einsum(E&&... operands) {
    static_assert(sizeof...(E) >= 1, "tenon: einsum: no operands came");
    constexpr int ranks[] = {wrap_t<E>::rank...};
    constexpr detail::EinsumSpec spec = detail::parse_einsum(Subscripts, ranks, static_cast<int>(sizeof...(E)));
    impl::check_einsum<spec.error>();
    if constexpr (spec.error == detail::EinsumError::none) {
        using T = common_scalar_t<E...>;
        static_assert((std::is_same_v<T, common_scalar_t<E>> && ...), "tenon: einsum: the operands have different element types: write cast<T>(x) on one of them");
        static_assert(impl::has_product<T>, "tenon: einsum: products are defined for float and double: write cast<float>(x) first; those of bf16 and half "
                                        "need <tenon/ops/matmul_half.hpp>");
        const detail::AnyTensor list[] = {impl::as_tensor(static_cast<E&&>(operands)).any()...};
        static constexpr detail::EinsumSpec kept = spec;
        static constexpr detail::Text text = Subscripts;
        return Tensor<T, spec.result_rank>(impl::run_einsum<T>(text.characters, kept, list));
    } else {
        return Tensor<float, 0>();
    }
}

// outer(a, b): a[i] * b[j] of two vectors, as an expression.
template <Expression A, Expression B>
[[nodiscard]] auto outer(A&& a, B&& b) {
    const auto left = impl::as_tensor(static_cast<A&&>(a));
    const auto right = impl::as_tensor(static_cast<B&&>(b));
    static_assert(std::remove_const_t<decltype(left)>::rank == 1 && std::remove_const_t<decltype(right)>::rank == 1, "tenon: outer: takes two vectors");
    return left.template unsqueeze<1>() * right;
}
// dot(a, b): the sum of a[i] * b[i] of two vectors of one size. Throws ShapeError. Derivative: da = dy b, db = dy a.
template <Expression A, Expression B>
[[nodiscard]] auto dot(A&& a, B&& b) {
    static_assert(wrap_t<A>::rank == 1 && wrap_t<B>::rank == 1, "tenon: dot: takes two vectors: see matmul and einsum");
    return matmul(static_cast<A&&>(a), static_cast<B&&>(b));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
