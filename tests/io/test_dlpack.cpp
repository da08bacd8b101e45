// DLPack: memory is shared, lives as long as either side uses it, and does not move while it is lent out; NumPy and
// PyTorch at the other end.
#include "files.hpp"
#include "python.hpp"

#include <tenon/io/dlpack.hpp>

using namespace tenon;
using files::error_of, files::has;
using io::dlpack::DLManagedTensor, io::dlpack::DLManagedTensorVersioned;

namespace {
// A tensor of "another library".
template <class Managed>
struct Foreign {
    Managed managed{};
    std::vector<float> memory;
    std::vector<std::int64_t> shape, strides;
    int released = 0;
    Foreign(std::vector<std::int64_t> sizes, std::vector<std::int64_t> steps, std::size_t count) : memory(count), shape(std::move(sizes)), strides(std::move(steps)) {
        for (std::size_t i = 0; i < count; ++i) memory[i] = static_cast<float>(i);
        auto& t = managed.dl_tensor;
        t.data = memory.data();
        t.device = {1, 0};
        t.ndim = static_cast<std::int32_t>(shape.size());
        t.dtype = {2, 32, 1};
        t.shape = shape.data();
        t.strides = strides.empty() ? nullptr : strides.data();
        managed.manager_ctx = this;
        managed.deleter = [](Managed* self) { ++static_cast<Foreign*>(self->manager_ctx)->released; };
        if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) managed.version = {1, 1};
    }
};
}  // namespace

TEMPLATE_TEST_CASE("there and back, without a copy", "[dlpack]", DLManagedTensor, DLManagedTensorVersioned) {
    files::for_each_type([&](const char*, auto type) {
        using T = decltype(type);
        for (const auto& shape : files::shapes) {
            const io::Array x = files::make<T>(shape);
            TestType* managed;
            if constexpr (std::is_same_v<TestType, DLManagedTensor>) managed = io::to_dlpack_unversioned(x);
            else managed = io::to_dlpack(x);
            CHECK(x.record()->storage->exported == 1);
            CHECK(managed->dl_tensor.ndim == x.rank());
            {
                const io::Array y = io::from_dlpack(managed);
                CHECK(files::equal(x, y));
                CHECK((x.size() == 0 || x.record()->data() == y.record()->data()));
            }
            CHECK(x.record()->storage->exported == 0);
        }
    });
}

TEMPLATE_TEST_CASE("another library's tensor is released once, when the last tensor over it is gone", "[dlpack]", DLManagedTensor, DLManagedTensorVersioned) {
    Foreign<TestType> foreign({2, 3}, {}, 6);
    {
        Tensor<float, 1> row;
        {
            const auto x = io::from_dlpack<float, 2>(&foreign.managed);
            CHECK(x.data() == foreign.memory.data());
            row = x(1, all);
        }
        CHECK(foreign.released == 0);
        CHECK(row.data()[2] == 5.f);
        row.fill(9.f);
        CHECK(foreign.memory[3] == 9.f);
    }
    CHECK(foreign.released == 1);
}

TEST_CASE("strides and offsets", "[dlpack]") {
    Foreign<DLManagedTensor> transposed({3, 2}, {1, 3}, 6);
    const auto x = io::from_dlpack<float, 2>(&transposed.managed);
    const Tensor<float, 2> y = x + 0.f;
    CHECK(std::vector<float>(y.data(), y.data() + 6) == std::vector<float>{0, 3, 1, 4, 2, 5});
    Foreign<DLManagedTensor> repeated({4, 2}, {0, 2}, 5);
    repeated.managed.dl_tensor.byte_offset = 8;
    const Tensor<float, 2> z = io::from_dlpack<float, 2>(&repeated.managed) + 0.f;
    CHECK(std::vector<float>(z.data(), z.data() + 8) == std::vector<float>{2, 4, 2, 4, 2, 4, 2, 4});
    Foreign<DLManagedTensor> odd({1}, {}, 2);
    odd.managed.dl_tensor.byte_offset = 2;
    CHECK(io::from_dlpack<float, 1>(&odd.managed).size() == 1);  // copied
    CHECK(odd.released == 1);
    const Tensor<float, 2> m = files::make<float>({3, 4}).as<float, 2>();
    DLManagedTensorVersioned* out = io::to_dlpack(m(slice(0, 3, 2), slice(1, 4)));
    CHECK(out->dl_tensor.strides[0] == 8);
    CHECK(static_cast<float*>(out->dl_tensor.data) == m.data() + 1);
    out->deleter(out);
}

TEST_CASE("a read-only tensor is copied", "[dlpack]") {
    Foreign<DLManagedTensorVersioned> foreign({3}, {}, 3);
    foreign.managed.flags = io::dlpack::read_only;
    const auto x = io::from_dlpack<float, 1>(&foreign.managed);
    CHECK(foreign.released == 1);
    CHECK(x.data() != foreign.memory.data());
    CHECK(x.data()[2] == 2.f);
}

TEST_CASE("memory that is lent out does not move into an optimiser's arena", "[dlpack]") {
    auto w = files::make<float>({5}).as<float, 1>();
    w.require_grad();
    CHECK(has(error_of<GradError>([&] { io::to_dlpack(w); }), "hint: hand out x.detach()"));
    DLManagedTensorVersioned* lent = io::to_dlpack(w.detach());
    CHECK(has(error_of<Error>([&] { auto optimiser = optim::sgd(w); }), "lent out through DLPack"));
    lent->deleter(lent);
    const float* before = w.data();
    {
        auto optimiser = optim::sgd(w);
        CHECK(w.data() != before);
        DLManagedTensorVersioned* in_arena = io::to_dlpack(w.detach());
        CHECK(in_arena->dl_tensor.data == w.data());
        sum(square(w)).backward();
        optimiser.step();
        CHECK(static_cast<float*>(in_arena->dl_tensor.data)[1] == w.data()[1]);
        in_arena->deleter(in_arena);
    }
    Foreign<DLManagedTensor> foreign({3}, {}, 3);
    auto imported = io::from_dlpack<float, 1>(&foreign.managed);
    imported.require_grad();
    CHECK(has(error_of([&] { auto optimiser = optim::sgd(imported); }), "is lent out through DLPack and may not move"));
}

TEST_CASE("what tenon cannot take is refused and released", "[dlpack]") {
    const auto refused = [](auto&& change, const char* text) {
        Foreign<DLManagedTensorVersioned> foreign({2, 2}, {2, 1}, 4);
        change(foreign.managed);
        CHECK(has(error_of([&] { io::from_dlpack(&foreign.managed); }), text));
        CHECK(foreign.released == 1);
    };
    refused([](auto& m) { m.version.major = 2; }, "of DLPack 2.x: expected 1.x");
    refused([](auto& m) { m.dl_tensor.device.device_type = 2; }, "on a device of type 2");
    refused([](auto& m) { m.dl_tensor.dtype = {2, 32, 4}; }, "32 bits, 4 lanes");
    refused([](auto& m) { m.dl_tensor.dtype = {5, 64, 1}; }, "type code 5");
    refused([](auto& m) { m.dl_tensor.ndim = 9; }, "9 axes");
    refused([](auto& m) { m.dl_tensor.ndim = -1; }, "-1 axes");
    refused([](auto& m) { m.dl_tensor.shape[0] = -2; }, "negative size");
    refused([](auto& m) { m.dl_tensor.shape[0] = std::int64_t(1) << 62; }, "too many elements");
    refused([](auto& m) { m.dl_tensor.strides[0] = -2; }, "runs backwards");
    refused([](auto& m) { m.dl_tensor.strides[0] = std::numeric_limits<std::int64_t>::max(); }, "reaches beyond memory");
    refused([](auto& m) { m.dl_tensor.data = nullptr; }, "has no memory");
    CHECK(has(error_of([&] { io::from_dlpack(static_cast<DLManagedTensor*>(nullptr)); }), "got null"));
}

// Python cannot load a library that a sanitizer has instrumented.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef TENON_DLPACK_LIBRARY
#endif
#endif
#if defined(TENON_DLPACK_LIBRARY) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("NumPy and PyTorch share memory with tenon, whoever lets go first", "[dlpack]") {
    for (const bool torch : {false, true}) {
        const std::string interpreter = python::find(torch ? "numpy,torch" : "numpy");
        if (interpreter.empty()) continue;
        const auto result = python::run(interpreter, TENON_TEST_DIR "/io/dlpack.py " TENON_DLPACK_LIBRARY + std::string(torch ? " torch" : ""));
        INFO(result.output);
        CHECK(result.status == 0);
        CHECK(result.output.substr(0, 2) == "ok");
    }
}
#endif
