// Norms of images.
#include "record.hpp"

#include <tenon/ops/group_norm.hpp>

TENON_OPERATORS(image_norm) {
    using namespace tenon;
    using namespace operators;
    const auto w = real<1>("w", {32}, 0.5, 2), b = real<1>("b", {32});
    const auto x = real<4>("x", {8, 32, 28, 28});
    add({.name = "group_norm", .golden = "group_norm_4"}, [](const auto& a, const auto& u, const auto& v) { return group_norm(a, 2, u, v); }, x, w, b);
    add<halves>({.name = "group_norm, [N, C]", .golden = "group_norm_2"}, [](const auto& a, const auto& u, const auto& v) { return group_norm(a, 2, u, v); }, real<2>("x", {64, 32}), w, b);
    add<halves>({.name = "group_norm, without weight", .golden = "group_norm_plain"}, [](const auto& a) { return group_norm(a, 4, {}, {}, 1e-3); }, real<3>("x", {16, 32, 100}));
    add({.name = "group_norm, one group", .golden = "group_norm_one"}, [](const auto& a, const auto& u) { return group_norm(a, 1, u); }, real<5>("x", {4, 32, 5, 10, 10}), w);
    add({.name = "instance_norm", .golden = "instance_norm"}, [](const auto& a, const auto& u, const auto& v) { return instance_norm(a, u, v); }, x, w, b);
    add({.name = "instance_norm, without weight", .golden = "instance_norm_plain"}, [](const auto& a) { return instance_norm(a, {}, {}, 1e-3); }, real<3>("x", {16, 32, 100}));
    add({.name = "local_response_norm", .golden = "local_response_norm_3"}, [](const auto& a) { return local_response_norm(a, 3, {.alpha = 0.3, .k = 1.5}); }, x);
    add({.name = "local_response_norm, even size", .golden = "local_response_norm_4"}, [](const auto& a) { return local_response_norm(a, 4, {.alpha = 0.3, .k = 1.5}); }, x);
    add({.name = "batch_norm, [N, C, H, W]", .golden = "batch_norm_4"}, [](const auto& a, const auto& u, const auto& v) { return batch_norm(a, u, v); }, x, w, b);
    add({.name = "batch_norm, [N, C, D, H, W]", .golden = "batch_norm_5"}, [](const auto& a, const auto& u, const auto& v) { return batch_norm(a, u, v); },
        real<5>("x", {4, 32, 5, 10, 10}), w, b);
    add_error("group_norm", [] { return group_norm(zeros<float>({2, 6, 4}), 4); }, "group_norm: 4 groups of the 6 channels (axis 1) of float[2, 6, 4] on cpu");
    add_error("group_norm", [] { return group_norm(zeros<float>({2, 6, 4}), 2, zeros<float>({4})); }, "weight is float[4] on cpu");
    add_error("instance_norm", [] { return instance_norm(zeros<float>({2, 6, 1})); }, "instance_norm: one value per channel in float[2, 6, 1] on cpu");
    add_error("local_response_norm", [] { return local_response_norm(zeros<float>({2, 6, 1}), 0); }, "local_response_norm: size 0");
}
