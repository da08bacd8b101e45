// Checkpoints: what comes back is what went in, to the bit; torn and foreign files are passed over; a program killed at
// any moment goes on as if nothing had been.
#include "files.hpp"

#include <tenon/data/loader.hpp>
#include <tenon/io/checkpoint.hpp>
#include <tenon/optim/adaptive.hpp>
#include <tenon/optim/average.hpp>
#include <tenon/optim/gradient_scaler.hpp>
#include <tenon/optim/lbfgs.hpp>
#include <tenon/optim/lookahead.hpp>
#include <tenon/optim/scheduler.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <cmath>
#include <filesystem>

using namespace tenon;
using files::error_of, files::has;

namespace {
struct Folder {
    std::string path;
    Folder() {
        char name[] = "/tmp/tenon-checkpoint-XXXXXX";
        path = ::mkdtemp(name);
    }
    ~Folder() { std::filesystem::remove_all(path); }
};

struct Net {
    nn::Linear<float> first, second;
    Tensor<double, 1> scale;
    Tensor<std::int64_t, 0> count;
    explicit Net(Key key, bool tied = false)
        : first(6, 6, key.split(0)), second(6, 6, key.split(1)), scale(ones<double>({6}).require_grad()), count(zeros<std::int64_t>({})) {
        if (tied) second.weight = Tensor<float, 2>(first.weight.any());
    }
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const { return second(tanh(first(x))); }
    static void visit(auto& self, auto&& f) {
        f("first", self.first);
        f("second", self.second);
        f("scale", self.scale);
        f("count", nn::buffer(self.count));
    }
};
struct Wide {
    nn::Linear<float> first{7, 6, Key{1}};
    static void visit(auto& self, auto&& f) { f("first", self.first); }
};
struct Rows {
    Tensor<float, 2> x;
    long size() const { return x.shape(0); }
    Tensor<float, 2> batch(const long* rows, long count) const {
        Tensor<float, 2> result = empty<float>({count, x.shape(1)});
        for (long i = 0; i < count; ++i) std::memcpy(result.data() + i * x.shape(1), x.data() + rows[i] * x.shape(1), sizeof(float) * static_cast<std::size_t>(x.shape(1)));
        return result;
    }
};
Rows rows() { return {randn<float>({40, 6}, Key{5})}; }

// Every bit of a net and its optimiser.
template <class Optimizer>
std::string bits(const Net& net, Optimizer& optimiser) {
    std::string text;
    nn::for_each_tensor(net, [&](const char*, nn::Kind, const auto& x) { text.append(reinterpret_cast<const char*>(x.data()), io::detail::byte_count(x.record())); });
    optimiser.visit_state([&](const char*, const char*, const detail::AnyTensor& s) { text.append(s->data(), io::detail::byte_count(s.get())); },
                          [&](const char*, long& steps) { text += std::to_string(steps) + ","; });
    return text + std::to_string(optimiser.statistics().steps) + "," + std::to_string(optimiser.statistics().skipped);
}
template <class Optimizer>
void one_step(Net& net, Optimizer& optimiser, const Tensor<float, 2>& x, Key key) {
    const Tensor<float, 2> noise = randn<float>(x.shape(), key);
    const Tensor<double, 0> extra = mean(square(net.scale - 0.5));
    mean(square(net(x) - noise)).backward();
    extra.backward();
    optimiser.step();
    net.count.data()[0] += 1;
}
// Epochs 0 to 3 of 5 batches each, from wherever state says; after every step, `after` sees the state.
template <class Optimizer, class F>
void train(Net& net, Optimizer& optimiser, io::CheckpointState& state, F&& after) {
    const Rows data = rows();
    for (; state.epoch < 4; ++state.epoch, state.batch = 0)
        for (auto x : data::batches(data, {.size = 8, .shuffle = state.key.split(static_cast<std::uint64_t>(state.epoch)), .first = state.batch})) {
            one_step(net, optimiser, x, state.key.split(1000 + static_cast<std::uint64_t>(state.step)));
            ++state.step;
            ++state.batch;
            state.counters["seen"] += x.shape(0);
            state.numbers["sums"].push_back(static_cast<double>(sum(net.first.weight).item()));
            if (!after()) return;
        }
}
template <class Make>
void check_resume(Make&& make) {
    const Folder folder;
    Net straight(Key{1});
    auto optimiser = make(straight);
    io::CheckpointState state;
    state.key = Key{77}.split(3);
    train(straight, optimiser, state, [] { return true; });
    REQUIRE(state.step == 20);
    for (const long stop : {1l, 5l, 7l, 13l}) {
        io::Checkpoints checkpoints(folder.path);
        checkpoints.clear();
        {
            Net net(Key{1});
            auto first = make(net);
            io::CheckpointState begun;
            begun.key = Key{77}.split(3);
            train(net, first, begun, [&] { return begun.step < stop; });
            checkpoints.save(begun, net, first);
        }
        Net net(Key{2});  // other first weights: everything comes from the file
        auto second = make(net);
        const auto found = checkpoints.load_latest(net, second);
        REQUIRE(found.has_value());
        CHECK(found->step == stop);
        io::CheckpointState resumed = *found;
        train(net, second, resumed, [] { return true; });
        CHECK(bits(net, second) == bits(straight, optimiser));
        CHECK(resumed.counters == state.counters);
        CHECK(resumed.numbers == state.numbers);
    }
}
}  // namespace

TEST_CASE("a resumed run ends with the bits of one that ran through", "[checkpoint]") {
    check_resume([](Net& net) { return optim::sgd(net, {.lr = 0.1}); });
    check_resume([](Net& net) { return optim::sgd(net, {.lr = 0.1, .momentum = 0.9, .nesterov = true}); });
    check_resume([](Net& net) { return optim::adam(net); });
    check_resume([](Net& net) { return optim::amsgrad(net); });
    check_resume([](Net& net) { return optim::adabound(net); });
    check_resume([](Net& net) { return optim::amsbound(net); });
    check_resume([](Net& net) { return optim::rmsprop(net, {.momentum = 0.9, .centered = true}); });
    check_resume([](Net& net) { return optim::nadam(net); });
    check_resume([](Net& net) { return optim::lookahead(optim::sgd(net, {.lr = 0.1, .momentum = 0.9}), {.every = 3}); });
}

// Rates that change on the way, by schedules with a state and by hand, and an average: everything comes from the file.
TEST_CASE("options, schedules and averages come back with a checkpoint", "[checkpoint]") {
    const Folder folder;
    const std::string path = folder.path + "/run";
    const Rows data = rows();
    const long all_rows[] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct Run {
        Net net;
        optim::Optimizer<optim::impl::AdaBoundRule<false>> optimiser;
        optim::AveragedModel<Net> average;
        optim::Scheduler<optim::Cosine> schedule{optim::Cosine(12, 0.1)};
        optim::ReduceOnPlateau plateau{{.factor = 0.5, .patience = 1}};
        optim::GradientScaler scaler{{.scale = 8, .interval = 2}};
        Run(std::uint64_t key, double lr, double final_lr) : net(Key{key}), optimiser(net.first, {.lr = lr, .final_lr = final_lr}), average(optim::ema(net, {.decay = 0.5})) {
            optimiser.add_group(net.second, {.lr = 2 * lr});
        }
        void step(const Tensor<float, 2>& x, long n) {
            schedule(optimiser);
            if (n == 3) optimiser.options(1).final_lr = 0.05;
            scaler.scaled(mean(square(net(x) - 1.0f))).backward();
            scaler.step(optimiser);
            average.update(net);
            plateau(n < 4 ? 1 - 0.1 * static_cast<double>(n) : 0.6);
        }
        std::string all() {
            std::string text = bits(net, optimiser) + bits(average.module(), optimiser);
            for (std::size_t g = 0; g < 2; ++g) text += std::to_string(optimiser.options(g).lr * optimiser.options(g).lr_scale) + " " + std::to_string(optimiser.options(g).final_lr) + " ";
            return text + std::to_string(plateau.scale()) + " " + std::to_string(scaler.scale()) + " " + std::to_string(average.updates());
        }
    };
    Run straight(1, 1e-2, 0.1);
    const auto x = data.batch(all_rows, 8);
    for (long n = 0; n < 6; ++n) straight.step(x, n);
    io::save_checkpoint(path, {}, straight.net, straight.optimiser, io::named("ema", straight.average), straight.schedule, io::named("plateau", straight.plateau),
                        io::named("scaler", straight.scaler));
    // Built with other rates, which the file's replace.
    Run resumed(9, 5e-1, 0.7);
    io::load_checkpoint(path, resumed.net, resumed.optimiser, io::named("ema", resumed.average), resumed.schedule, io::named("plateau", resumed.plateau),
                        io::named("scaler", resumed.scaler));
    CHECK(resumed.all() == straight.all());
    CHECK(resumed.optimiser.options(0).lr == 1e-2);
    CHECK(resumed.optimiser.options(1).final_lr == 0.05);
    for (long n = 6; n < 12; ++n) {
        straight.step(x, n);
        resumed.step(x, n);
    }
    CHECK(resumed.all() == straight.all());
    CHECK(resumed.plateau.scale() < 1);

    // One group less, or options that keep something else.
    Net other(Key{3});
    auto fewer = optim::adabound(other.first);
    CHECK(has(error_of<FileError>([&] {
                  io::load_checkpoint(path, resumed.net, io::named("optimizer", fewer), io::named("ema", resumed.average), resumed.schedule, io::named("plateau", resumed.plateau),
                                      io::named("scaler", resumed.scaler));
              }),
              "has other numbers under \"optimizer.options\""));
    CHECK(fewer.options().lr == 1e-3);
}

TEST_CASE("options that a rule does not take are refused, and nothing is written", "[checkpoint]") {
    const Folder folder;
    const std::string path = folder.path + "/run";
    nn::Linear<float> layer(2, 2, Key{1}), other(2, 2, Key{2});
    auto optimiser = optim::adam(layer), loaded = optim::adam(other, {.lr = 0.25});
    optimiser.options().beta1 = 1.5;  // nobody stops a program before the step
    io::save_checkpoint(path, {}, layer, optimiser);
    const float before = other.weight.data()[0];
    CHECK(has(error_of<ValueError>([&] { io::load_checkpoint(path, other, loaded); }), "adam: expected betas in [0, 1), got 1.5"));
    CHECK(loaded.options().lr == 0.25);
    CHECK(other.weight.data()[0] == before);
}

TEST_CASE("L-BFGS goes on from a checkpoint to the bit", "[checkpoint]") {
    const Folder folder;
    const std::string path = folder.path + "/lbfgs";
    const auto step = [](Net& net, auto& optimiser, const Tensor<float, 2>& x) {
        return optimiser.step([&] {
            auto loss = mean(square(net(x) - 0.5f));
            loss.backward();
            Tensor<double, 0> extra = mean(square(net.scale * net.scale - 2.0));
            extra.backward();
            return static_cast<double>(loss.item()) + extra.item();
        });
    };
    const long all_rows[] = {0, 1, 2, 3, 4, 5, 6, 7};
    const auto x = rows().batch(all_rows, 8);
    Net net(Key{1}), again(Key{2});
    const optim::LbfgsOptions options{.iterations = 3, .history = 4};
    auto optimiser = optim::lbfgs(net, options), resumed = optim::lbfgs(again, options);
    for (int n = 0; n < 3; ++n) step(net, optimiser, x);
    io::save_checkpoint(path, {}, net, optimiser);
    io::load_checkpoint(path, again, resumed);
    for (int n = 0; n < 3; ++n) CHECK(step(net, optimiser, x) == step(again, resumed, x));
    CHECK(bits(net, optimiser) == bits(again, resumed));
    CHECK(optimiser.evaluations() == resumed.evaluations());
}

TEST_CASE("the state comes back as it was", "[checkpoint]") {
    const Folder folder;
    io::CheckpointState state;
    state.step = 123456789012;
    state.epoch = -1;
    state.batch = 3;
    state.key = Key{~std::uint64_t(0)};
    state.counters = {{"a", -5}, {"b c", std::numeric_limits<long>::min()}};
    state.numbers = {{"x", {0.1, -0.0, std::nan(""), HUGE_VAL, 5e-324}}, {"none", {}}};
    state.texts = {{"note", "größe \"tenon.checksum\":\"abcdefgh\"\n"}, {"empty", ""}};
    Net net(Key{1});
    const std::string path = folder.path + "/state";
    io::save_checkpoint(path, state, net);
    const io::CheckpointState back = io::load_checkpoint(path, net);
    CHECK(back.step == state.step);
    CHECK(back.epoch == state.epoch);
    CHECK(back.batch == state.batch);
    CHECK(back.key == state.key);
    CHECK(back.counters == state.counters);
    CHECK(back.texts == state.texts);
    REQUIRE(back.numbers.size() == 2);
    CHECK(back.numbers.at("none").empty());
    CHECK(std::memcmp(back.numbers.at("x").data(), state.numbers.at("x").data(), 5 * sizeof(double)) == 0);
    CHECK(io::Safetensors(path).get<float, 2>("model.first.weight").data()[3] == net.first.weight.data()[3]);  // a safetensors file
}

TEST_CASE("several modules and optimisers, groups and tied tensors", "[checkpoint]") {
    const Folder folder;
    const std::string path = folder.path + "/gan";
    Net g(Key{1}), d(Key{2}, true);
    auto opt_g = optim::adam(g);
    auto opt_d = optim::sgd(d.first, {.lr = 0.1, .momentum = 0.5});
    opt_d.add_group(d.second, {.lr = 0.2, .momentum = 0.5});
    const Rows data = rows();
    const long all_rows[] = {0, 1, 2, 3};
    one_step(g, opt_g, data.batch(all_rows, 4), Key{3});
    mean(square(d(data.batch(all_rows, 4)))).backward();
    opt_d.step();
    io::save_checkpoint(path, {}, io::named("g", g), io::named("d", d), io::named("opt_g", opt_g), io::named("opt_d", opt_d));
    const io::Safetensors file(path);
    CHECK(file.contains("opt_d.weight.momentum"));
    CHECK(file.contains("opt_d.group1.bias.momentum"));
    CHECK(!file.contains("opt_d.group1.weight.momentum"));  // tied to group 0's
    CHECK(!file.contains("d.second.weight"));
    CHECK(file.contains("opt_g.first.weight.v"));

    Net g2(Key{5}), d2(Key{6}, true);
    auto opt_g2 = optim::adam(g2);
    auto opt_d2 = optim::sgd(d2.first, {.lr = 0.1, .momentum = 0.5});
    opt_d2.add_group(d2.second, {.lr = 0.2, .momentum = 0.5});
    io::load_checkpoint(path, io::named("g", g2), io::named("d", d2), io::named("opt_g", opt_g2), io::named("opt_d", opt_d2));
    CHECK(bits(g, opt_g) == bits(g2, opt_g2));
    CHECK(bits(d, opt_d) == bits(d2, opt_d2));
}

TEST_CASE("the last ones are kept", "[checkpoint]") {
    const Folder folder;
    io::Checkpoints checkpoints(folder.path + "/a/b", {.keep = 2});
    Net net(Key{1});
    CHECK(!checkpoints.load_latest(net).has_value());
    files::write(folder.path + "/a/b/checkpoint-0000000001.safetensors.part-123", {1, 2, 3});  // of a program that was killed
    files::write(folder.path + "/a/b/notes.txt", {1});
    io::CheckpointState state;
    for (state.step = 1; state.step <= 12; ++state.step) checkpoints.save(state, net);
    CHECK(checkpoints.steps() == std::vector<long>{12, 11});
    long count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path + "/a/b")) ++count;
    CHECK(count == 3);
    state.step = 5;  // a run that went on from an earlier step: the later ones are not its own
    checkpoints.save(state, net);
    CHECK(checkpoints.steps() == std::vector<long>{5});
    CHECK(has(error_of<ValueError>([&] { io::Checkpoints(folder.path, {.keep = 0}); }), "keep is 0: expected at least 1"));
    CHECK(has(error_of<FileError>([&] { io::Checkpoints("/proc/nowhere"); }), "cannot create the folder"));
}

TEST_CASE("a torn, damaged or foreign file is passed over", "[checkpoint]") {
    const Folder folder;
    io::Checkpoints checkpoints(folder.path, {.keep = 5});
    Net net(Key{1});
    auto optimiser = optim::adam(net);
    io::CheckpointState state;
    for (state.step = 1; state.step <= 4; ++state.step) {
        net.count.fill(state.step);
        checkpoints.save(state, net, optimiser);
    }
    auto torn = files::read(checkpoints.path_of(4));
    torn.resize(torn.size() / 2);
    files::write(checkpoints.path_of(4), torn);
    auto damaged = files::read(checkpoints.path_of(3));
    damaged.back() ^= 1;
    files::write(checkpoints.path_of(3), damaged);
    io::save(checkpoints.path_of(5), net);
    const auto found = checkpoints.load_latest(net, optimiser);
    REQUIRE(found.has_value());
    CHECK(found->step == 2);
    CHECK(net.count.item() == 2);
    REQUIRE(checkpoints.refused().size() == 3);
    CHECK(has(checkpoints.refused()[0], "checkpoint-0000000005.safetensors\" is no checkpoint of this version"));
    CHECK(has(checkpoints.refused()[1], "checkpoint-0000000004.safetensors\""));
    CHECK(has(checkpoints.refused()[2], "checkpoint-0000000003.safetensors\" is damaged: expected the checksum"));
    for (long step : {1, 2}) std::remove(checkpoints.path_of(step).c_str());
    CHECK(has(error_of<FileError>([&] { checkpoints.load_latest(net, optimiser); }), "holds no checkpoint that can be used"));
}

TEST_CASE("a sound checkpoint of another program is an error, and nothing is written", "[checkpoint]") {
    const Folder folder;
    io::Checkpoints checkpoints(folder.path);
    Net net(Key{1}), other(Key{2});
    auto optimiser = optim::adam(net);
    checkpoints.save({}, net, optimiser);
    auto wrong_rule = optim::adabound(other);
    const std::string before = bits(other, wrong_rule);
    CHECK(has(error_of<FileError>([&] { checkpoints.load_latest(other, wrong_rule); }), "holds adam under \"optimizer\": expected adabound"));
    CHECK(has(error_of<FileError>([&] { checkpoints.load_latest(other); }), "unexpected: optimizer.first.bias.m"));
    CHECK(has(error_of<FileError>([&] { checkpoints.load_latest(io::named("other", other)); }), "missing: other.first.weight"));
    nn::Linear<float> small(2, 2, Key{1});
    CHECK(has(error_of<FileError>([&] { checkpoints.load_latest(small); }), "missing: model.weight"));
    Wide wide;
    CHECK(has(error_of<ShapeError>([&] { checkpoints.load_latest(wide); }), "model.first.weight: expected float[6, 7] on cpu, the file has float[6, 6]"));
    CHECK(bits(other, wrong_rule) == before);
}

TEST_CASE("every damage to a checkpoint is noticed", "[checkpoint][damage]") {
    const Folder folder;
    const std::string path = folder.path + "/c";
    nn::Linear<float> layer(1, 1, Key{1});
    auto optimiser = optim::sgd(layer, {.momentum = 0.5});
    io::save_checkpoint(path, {}, layer, optimiser);
    const auto good = files::read(path);
    io::load_checkpoint(path, layer, optimiser);
    const auto result = files::damage(good, [&](const std::string& file) { io::load_checkpoint(file, layer, optimiser); });
    CHECK(result.refused > 15000);
    // Nothing but patterns that change no byte, or letters of the checksum's hexadecimal form.
    INFO(result.read);
    CHECK(result.read < result.refused / 20);
    auto bytes = good;
    long accepted = 0;
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        bytes[bit / 8] = static_cast<unsigned char>(good[bit / 8] ^ (1u << bit % 8));
        const files::MemoryFile file(bytes);
        try {
            io::load_checkpoint(file.path(), layer, optimiser);
            ++accepted;
        } catch (const Error&) {
        }
        bytes[bit / 8] = good[bit / 8];
    }
    CHECK(accepted == 0);
}

// The program that is killed: trains as train() does with a checkpoint after every step, and leaves its bits in a file.
TEST_CASE("train and save", "[.child]") {
    const char* folder = std::getenv("TENON_CHECKPOINT_FOLDER");
    REQUIRE(folder != nullptr);
    Net net(Key{1});
    auto optimiser = optim::adabound(net);
    io::CheckpointState state;
    state.key = Key{8};
    io::Checkpoints checkpoints(std::string(folder) + "/checkpoints");
    if (const auto found = checkpoints.load_latest(net, optimiser)) state = *found;
    if (!checkpoints.refused().empty()) files::write(std::string(folder) + "/refused", files::bytes_of(checkpoints.refused()[0]));
    train(net, optimiser, state, [&] {
        checkpoints.save(state, net, optimiser);
        return true;
    });
    const std::string found = bits(net, optimiser) + std::to_string(state.counters["seen"]);
    io::detail::AtomicFile result("test", std::string(folder) + "/result");
    result.write(found);
    result.commit(false);
}

TEST_CASE("a program killed at any moment goes on as if nothing had been", "[checkpoint]") {
    const auto start = [](const std::string& folder) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::setenv("TENON_CHECKPOINT_FOLDER", folder.c_str(), 1);
            const int null = ::open("/dev/null", O_WRONLY);
            ::dup2(null, 1);
            ::execl("/proc/self/exe", "test", "[.child]", static_cast<char*>(nullptr));
            ::_exit(127);
        }
        return child;
    };
    const auto finish = [](pid_t child) {
        int status = 0;
        ::waitpid(child, &status, 0);
        return status;
    };
    const Folder straight, killed;
    timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    REQUIRE(finish(start(straight.path)) == 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double seconds = static_cast<double>(end.tv_sec - begin.tv_sec) + 1e-9 * static_cast<double>(end.tv_nsec - begin.tv_nsec);

    long kills = 0, runs = 0, midway = 0;
    const Key key(99);
    while (kills < 50) {
        REQUIRE(runs < 500);
        // A fresh run whenever one has come to its end: kills fall anywhere between its start and its last step.
        if (std::filesystem::exists(killed.path + "/result")) {
            CHECK(files::read(killed.path + "/result") == files::read(straight.path + "/result"));
            std::filesystem::remove_all(killed.path + "/checkpoints");
            std::filesystem::remove(killed.path + "/result");
        }
        const pid_t child = start(killed.path);
        const double wait = seconds * unit_double(random_word64(key, static_cast<std::uint64_t>(runs++)));
        ::usleep(static_cast<useconds_t>(1e6 * wait));
        ::kill(child, SIGKILL);
        const int status = finish(child);
        if (WIFSIGNALED(status)) {
            ++kills;
            if (std::filesystem::exists(killed.path + "/checkpoints") && !std::filesystem::is_empty(killed.path + "/checkpoints")) ++midway;
        } else {
            REQUIRE(status == 0);
        }
        REQUIRE(!std::filesystem::exists(killed.path + "/refused"));  // a kill tears no file
    }
    REQUIRE(finish(start(killed.path)) == 0);
    CHECK(files::read(killed.path + "/result") == files::read(straight.path + "/result"));
    CHECK(midway > 20);
}
