// CTC against the plain recurrences in double: odd lengths, repeats, sequences that do not fit, threads.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/ctc.hpp>

#include <cmath>
#include <cstring>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

double uniform(unsigned long long& state) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return double(state >> 11) * 0x1p-53;
}

}  // namespace

TEMPLATE_TEST_CASE("ctc forward and backward", "[ctc]", float, double, half) {
    using T = TestType;
    using A = k::accumulator<T>;
    struct Form {
        long time, classes, most;
    };
    for (const Form& form : {Form{1, 3, 1}, Form{5, 4, 2}, Form{12, 5, 5}, Form{30, 20, 9}, Form{200, 6, 40}, Form{40, 3, 20}}) {
        const long batch = 5;
        INFO("time " << form.time << ", classes " << form.classes << ", labels " << form.most);
        unsigned long long state = 88172645463325252ull + static_cast<unsigned long long>(form.time);
        std::vector<T> logs(std::size_t(form.time * batch * form.classes));
        for (long r = 0; r < form.time * batch; ++r) {
            std::vector<double> row(std::size_t(form.classes), 0.);
            double sum = 0;
            for (double& v : row) sum += v = std::exp(4 * uniform(state));
            for (long c = 0; c < form.classes; ++c) logs[std::size_t(r * form.classes + c)] = T(A(std::log(row[std::size_t(c)] / sum)));
        }
        std::vector<std::int64_t> labels(std::size_t(batch * form.most));
        for (std::int64_t& l : labels) l = 1 + static_cast<std::int64_t>(uniform(state) * double(form.classes - 1));
        std::vector<long> first, inputs, lengths;
        for (long n = 0; n < batch; ++n) {
            first.push_back(n * form.most);
            inputs.push_back(n == 3 ? form.time / 2 : n == 4 ? 0 : form.time);
            lengths.push_back(n == 1 ? 0 : n == 2 ? form.most / 2 : form.most);
        }
        std::vector<double> loss(std::size_t(batch), 0.), totals(std::size_t(batch * form.time), 0.), scale{0.5, 1, 2, 0.25, 1};
        std::vector<A> alphas(std::size_t(k::ctc_alphas(batch, form.time, form.most))), scratch(std::size_t(k::ctc_scratch(batch, form.classes, form.most)));
        std::vector<T> dx[2];
        std::vector<double> losses[2];
        for (int threads : {1, 2}) {
            set_num_threads(threads);
            k::ctc_loss(form.time, batch, form.classes, logs.data(), labels.data(), first.data(), inputs.data(), lengths.data(), form.most, 0, loss.data(), alphas.data(), totals.data(),
                        scratch.data());
            losses[threads - 1] = loss;
            std::vector<T>& to = dx[threads - 1];
            to.assign(logs.size(), T(A(7)));
            k::ctc_loss_backward(form.time, batch, form.classes, logs.data(), labels.data(), first.data(), inputs.data(), lengths.data(), form.most, 0, loss.data(), alphas.data(),
                                 totals.data(), scratch.data(), scale.data(), to.data(), false);
        }
        CHECK(std::memcmp(losses[0].data(), losses[1].data(), losses[0].size() * sizeof(double)) == 0);
        CHECK(std::memcmp(dx[0].data(), dx[1].data(), dx[0].size() * sizeof(T)) == 0);
        // Rounding once per step of numbers of the size of a step's logarithm.
        const double unit = std::is_same_v<T, double> ? 0x1p-52 : 0x1p-23, step = 16 * unit, out = std::is_same_v<T, half> ? 0x1p-10 : unit;
        std::vector<double> a(std::size_t(form.time * (2 * form.most + 1))), b(a.size());
        for (long n = 0; n < batch; ++n) {
            std::vector<T> want(logs.size(), T(A(0)));
            const double expected = k::reference::ctc(inputs[std::size_t(n)], form.classes, batch * form.classes, logs.data() + n * form.classes, labels.data() + first[std::size_t(n)],
                                                      lengths[std::size_t(n)], 0, scale[std::size_t(n)], want.data() + n * form.classes, a.data(), b.data());
            INFO("sequence " << n << ", loss " << loss[std::size_t(n)] << ", expected " << expected);
            if (std::isinf(expected)) {
                CHECK(loss[std::size_t(n)] == expected);
                continue;
            }
            CHECK(std::abs(loss[std::size_t(n)] - expected) <= step * double(form.time + 1));
            double worst = 0;
            for (long t = 0; t < form.time; ++t)
                for (long c = 0; c < form.classes; ++c) {
                    const std::size_t at = std::size_t((t * batch + n) * form.classes + c);
                    const double got = double(A(dx[0][at])), e = t < inputs[std::size_t(n)] ? double(A(want[at])) : 0;
                    worst = std::max(worst, std::abs(got - e) - out * std::abs(e));
                }
            CHECK(worst <= 2 * scale[std::size_t(n)] * step * double(form.time + 1));
        }
    }
}
