// Rows of a sparse matrix as kernels see them, and how they are shared out.
#pragma once

#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// Row r has the elements k in [pointers[r], pointers[r + 1]): column columns[k], and the number edges[k] under which weights
// are found; edges null: the number k itself.
struct CsrRows {
    long rows = 0, width = 0;  // rows and columns of the matrix
    const std::int32_t *pointers = nullptr, *columns = nullptr, *edges = nullptr;
    long elements = 0;
    long longest = -1;  // elements of the longest row; -1: not known

    TENON_HD long begin(long row) const { return pointers[row]; }
    TENON_HD long end(long row) const { return pointers[row + 1]; }
    TENON_HD long edge(long k) const { return edges == nullptr ? k : edges[k]; }
};

namespace impl {

constexpr Isa graph_isa = Isa::avx2;    // these loops wait for memory
constexpr long near_table = 1l << 20;  // a larger table is not in the nearest caches: its rows are asked for ahead

// Calls f(first row, last row) for pieces of about as many elements, whatever the rows' lengths; a row is one piece's. The
// pieces depend on the matrix and on the bytes that an element costs alone. ns: what one thread takes for an element.
template <class F>
void for_row_pieces(const CsrRows& a, long bytes_per_element, double ns, F&& f) {
    if (a.rows <= 0) return;
    long share = move_bytes / (bytes_per_element < 1 ? 1 : bytes_per_element);
    if (share < 64) share = 64;
    // Empty rows cost something too: every row counts as one more element.
    const auto weight = [&](long row) { return static_cast<long>(a.pointers[row]) + row; };
    const long total = weight(a.rows), pieces = (total + share - 1) / share;
    const auto first_row = [&](long piece) {
        long low = 0, high = a.rows;
        while (low < high) {
            const long middle = (low + high) / 2;
            if (weight(middle) < piece * share) low = middle + 1;
            else high = middle;
        }
        return low;
    };
    parallel_for(pieces, ns * double(total), [&](long piece) {
        const long first = first_row(piece), last = piece + 1 == pieces ? a.rows : first_row(piece + 1);
        if (first < last) f(first, last);
    });
}

// How many elements early the rows that they name are asked for: 4 to 6 KiB, so early that they are there, and still in L1.
TENON_ALWAYS_INLINE long rows_ahead(long row_bytes) { return row_bytes <= 64 ? 64 : row_bytes <= 128 ? 48 : 24; }
// Asks for the row that element k + ahead names.
template <class T>
TENON_ALWAYS_INLINE void prefetch_row(const CsrRows& a, const T* table, long stride, long k, long ahead) {
    if (k + ahead >= a.elements) return;
    const char* row = reinterpret_cast<const char*>(table + a.columns[k + ahead] * stride);
    for (long line = 0; line < stride * static_cast<long>(sizeof(T)); line += 64) __builtin_prefetch(row + line);
}

// The last of `rows` rows of `stride` elements behind whose column j another N elements of the table follow; -1: none.
TENON_ALWAYS_INLINE long last_inside(long rows, long stride, long j, long n) {
    const long room = rows * stride - j - n;
    return room < 0 ? -1 : room / stride;
}
// N lanes of which `rest` count; `inside`: all N may be read, they are elements of the same tensor.
template <class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> load_within(const T* p, long rest, bool inside) {
    return move_load<A, N>(p, inside ? N : rest);
}

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
