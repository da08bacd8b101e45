// The operator table: one record per operation, which drives the comparison with PyTorch's values, the gradient checks, the
// variants of views and threads, the benchmark and the line in docs/operators.md.
//
//     TENON_OPERATORS(scan) {
//         add<halves>({.name = "cumsum", .golden = "cumsum/axis1"}, [](const auto& x) { return cumsum<1>(x); },
//                     real<3>("x", {64, 300, 50}));
//         add_error("cumsum", [] { return cumsum<0>(Tensor<float, 1>()); }, "empty");
//     }
//
// in tests/ops/table/scan.cpp, with golden cases from tests/golden/scan.py. The formula is instantiated for float and
// double; with halves for bf16 and half, with whole for int32 and int64, with single for float alone. Arguments are named as
// in the golden file; their sizes and ranges are those of the benchmark and the thread check (none: left out there). Whether
// there are first and second derivatives is asked of the operation itself; those that are there are checked.
#pragma once

#include <tenon/tenon.hpp>

#include <functional>
#include <string>
#include <vector>

namespace operators {

using namespace tenon;
using tenon::detail::AnyTensor;

inline constexpr int dtype_count = 9;
enum class Kind { real, integer, boolean, byte, unsigned_byte };

struct Argument {
    const char* name;
    Kind kind;
    int rank;
    std::vector<long> sizes;
    double low, high;  // of the random values of the benchmark
};

using Inputs = std::vector<AnyTensor>;

// What a record says of an operation.
struct Description {
    const char* name;              // as users write it
    const char* golden = nullptr;  // prefix of its cases in tests/golden/<family>.safetensors
    bool kinks = false;            // no Taylor check in the gradient check
    bool view_bits = true;         // the same bits from strided inputs; else within the bounds
    double in_double = 1e-12;      // bounds on |got - expected|, relative to |expected| + the largest |expected|
    double in_float = 1e-5;
    const char* note = "";         // for the documentation
    const char* types = nullptr;   // there, where they are not those of the instances
};
struct Record {
    Description says;
    std::vector<Argument> arguments;
    // By DType; empty where the operation is not instantiated for it.
    std::function<AnyTensor(const Inputs&)> run[dtype_count];
    bool runs(DType dtype) const { return static_cast<bool>(run[static_cast<int>(dtype)]); }
};
struct ErrorSample {
    const char* name;
    std::function<void()> run;
    const char* text;  // what() contains it
};
struct Family {
    const char* name;
    std::vector<Record> records;
    std::vector<ErrorSample> errors;
};
inline std::vector<Family*>& families() {
    static std::vector<Family*> all;
    return all;
}

inline constexpr unsigned halves = 1, whole = 2, single = 4;

// An argument of the formula as a tensor of T (real), int64, bool, int8 or uint8.
template <Kind K> struct ElementOf { using type = std::int64_t; };
template <> struct ElementOf<Kind::boolean> { using type = bool; };
template <> struct ElementOf<Kind::byte> { using type = std::int8_t; };
template <> struct ElementOf<Kind::unsigned_byte> { using type = std::uint8_t; };
template <Kind K, int R>
struct Typed : Argument {
    template <class T>
    using type = Tensor<std::conditional_t<K == Kind::real, T, typename ElementOf<K>::type>, R>;
};
template <int R>
Typed<Kind::real, R> real(const char* name, std::vector<long> sizes = {}, double low = -1, double high = 1) {
    return {{name, Kind::real, R, std::move(sizes), low, high}};
}
template <int R>
Typed<Kind::integer, R> integer(const char* name, std::vector<long> sizes = {}, double low = 0, double high = 8) {
    return {{name, Kind::integer, R, std::move(sizes), low, high}};
}
template <int R>
Typed<Kind::boolean, R> boolean(const char* name, std::vector<long> sizes = {}) {
    return {{name, Kind::boolean, R, std::move(sizes), 0, 2}};
}
template <int R>
Typed<Kind::byte, R> byte(const char* name, std::vector<long> sizes = {}) {
    return {{name, Kind::byte, R, std::move(sizes), -128, 128}};
}
template <int R>
Typed<Kind::unsigned_byte, R> unsigned_byte(const char* name, std::vector<long> sizes = {}) {
    return {{name, Kind::unsigned_byte, R, std::move(sizes), 0, 256}};
}

struct Builder {
    Family& family;

    template <unsigned Types = 0, class F, class... A>
    void add(const Description& says, F f, A... arguments) {
        Record record{says, {static_cast<const Argument&>(arguments)...}, {}};
        instantiate<float, F, A...>(record, f);
        if constexpr ((Types & single) == 0) instantiate<double, F, A...>(record, f);
        if constexpr ((Types & halves) != 0) {
            instantiate<bf16, F, A...>(record, f);
            instantiate<half, F, A...>(record, f);
        }
        if constexpr ((Types & whole) != 0) {
            instantiate<std::int32_t, F, A...>(record, f);
            instantiate<std::int64_t, F, A...>(record, f);
        }
        family.records.push_back(std::move(record));
    }
    template <class F>
    void add_error(const char* name, F f, const char* text) {
        family.errors.push_back({name, [f] { static_cast<void>(f()); }, text});
    }

private:
    template <class T, class F, class... A>
    static void instantiate(Record& record, F f) {
        record.run[static_cast<int>(dtype_of<T>)] = [f](const Inputs& inputs) {
            return [&]<std::size_t... I>(std::index_sequence<I...>) {
                return AnyTensor(impl::as_tensor(f(typename A::template type<T>(inputs[I])...)).any());
            }(std::make_index_sequence<sizeof...(A)>());
        };
    }
};

}  // namespace operators

#define TENON_OPERATORS(family_name)                                                        \
    namespace {                                                                             \
    struct TableOf_##family_name : operators::Builder {                                     \
        void fill();                                                                        \
    };                                                                                      \
    [[maybe_unused]] const bool registered_##family_name = [] {                             \
        static operators::Family family{#family_name, {}, {}};                              \
        TableOf_##family_name{{family}}.fill();                                             \
        operators::families().push_back(&family);                                           \
        return true;                                                                        \
    }();                                                                                    \
    }                                                                                       \
    void TableOf_##family_name::fill()
