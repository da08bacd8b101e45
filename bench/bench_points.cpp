// Farthest points, nearest neighbours and neighbours within a radius of point clouds, at the sizes of published networks; the plain loops
// beside them where these end in reasonable time. The same cases with PyTorch: points_torch.py.
// Usage: bench_points [threads]
#include "timing.hpp"

#include <tenon/graph/points/fps.hpp>
#include <tenon/graph/points/radius.hpp>
#include <tenon/ops/random.hpp>

#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace tenon;

namespace {

void print(const char* name, double time, double plain = 0) {
    std::printf("{\"case\":\"%s\",\"unit\":\"us\",\"value\":%.5g,\"lib\":\"ours\",\"threads\":%d,\"isa\":\"%s\"", name, time * 1e6, num_threads(), tenon::name(isa()));
    if (plain > 0) std::printf(",\"plain\":%.5g,\"ratio\":%.3g", plain * 1e6, plain / time);
    std::printf("}\n");
    std::fflush(stdout);
}
Segments equal_clouds(long count, long points) { return Segments::from_pointers(arange<std::int64_t>(0, (count + 1) * points, points)); }

// All k nearest by the definition.
double plain_knn(const Tensor<float, 2>& x, long clouds, long k) {
    const long n = x.shape(0) / clouds, dims = x.shape(1);
    std::vector<std::int64_t> index(static_cast<std::size_t>(k));
    return timing::seconds([&] {
        for (long c = 0; c < clouds; ++c)
            for (long q = 0; q < n; ++q)
                kernels::cpu::reference::nearest(n, dims, static_cast<const float*>(x.data()) + c * n * dims, static_cast<const float*>(x.data()) + (c * n + q) * dims, k,
                                                 __builtin_inff(), q, index.data());
    });
}

}  // namespace

int main(int count, char** arguments) {
    set_num_threads(count > 1 ? std::atoi(arguments[1]) : 1);
    const Tensor<float, 2> pos = uniform<float>({8192, 3}, Key{1}, {-1, 1}), features = randn<float>({8192, 64}, Key{2}), many = uniform<float>({100000, 3}, Key{3}, {-1, 1});
    const Segments clouds = equal_clouds(8, 1024);
    std::vector<std::int64_t> chosen(512);
    const double plain_fps = timing::seconds([&] {
        for (long c = 0; c < 8; ++c) kernels::cpu::reference::farthest_points(1024, 3, static_cast<const float*>(pos.data()) + c * 3072, 0, 512, chosen.data());
    });
    print("fps/8x1024/0.5", timing::seconds([&] { static_cast<void>(graph::fps(pos, clouds)); }), plain_fps);
    print("fps/1x16384/4096", timing::seconds([&] { static_cast<void>(graph::fps(many(slice(0, 16384), all), {}, {.count = 4096})); }));
    print("knn_graph/8x1024x3/20", timing::seconds([&] { static_cast<void>(graph::knn_graph(pos, 20, clouds)); }), plain_knn(pos, 8, 20));
    print("knn_graph/8x1024x64/20", timing::seconds([&] { static_cast<void>(graph::knn_graph(features, 20, clouds)); }), plain_knn(features, 8, 20));
    print("knn_graph/100000x3/16", timing::seconds([&] { static_cast<void>(graph::knn_graph(many, 16)); }));
    print("radius_graph/8x1024x3/0.2", timing::seconds([&] { static_cast<void>(graph::radius_graph(pos, 0.2, clouds)); }));
    print("radius_graph/8x1024x3/0.4", timing::seconds([&] { static_cast<void>(graph::radius_graph(pos, 0.4, clouds)); }));
}
