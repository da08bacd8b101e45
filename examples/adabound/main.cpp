// AdaBound and AMSBound (Luo, Xiong, Liu, Sun, "Adaptive Gradient Methods with Dynamic Bound of Learning Rate", ICLR
// 2019) beside SGD, Adam and AMSGrad: one network, one data set, the same first weights and the same batches for all.
#include "../common/example.hpp"
#include "toy.hpp"

#include <tenon/data/fashion_mnist.hpp>
#include <tenon/data/loader.hpp>
#include <tenon/io/checkpoint.hpp>
#include <tenon/io/csv.hpp>
#include <tenon/io/plot.hpp>
#include <tenon/optim/schedule.hpp>
#include <tenon/tenon.hpp>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

using namespace tenon;

namespace {

struct Mlp {
    nn::Linear<float> hidden1, hidden2, out;

    explicit Mlp(Key key) : hidden1(784, 256, key.split(0)), hidden2(256, 128, key.split(1)), out(128, 10, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const { return out(relu(hidden2(relu(hidden1(x))))); }
    static void visit(auto& self, auto&& f) {
        f("hidden1", self.hidden1);
        f("hidden2", self.hidden2);
        f("out", self.out);
    }
};

struct Options : example::CommonOptions {
    int epochs = 10;
    std::uint64_t seed = 0;
    std::vector<std::uint64_t> seeds;
    long batch = 128;
    double weight_decay = 5e-4, drop_at = 0.75, drop = 0.1;
    double lr_sgd = 0.1, lr_adaptive = 1e-3, final_lr = 0.1, gamma = 1e-3;
    bool toy = false, resume = false;
    long checkpoint_every = 0;

    // What a run must have in common with the one whose checkpoint it goes on from.
    std::string description() const {
        std::string text = "epochs " + std::to_string(epochs) + ", batch " + std::to_string(batch) + ", quick " + std::to_string(quick) + ", seeds";
        for (std::uint64_t s : seeds) text += " " + std::to_string(s);
        char numbers[256];
        std::snprintf(numbers, sizeof numbers, ", weight decay %.17g, drop %.17g at %.17g, lr %.17g and %.17g, final lr %.17g, gamma %.17g", weight_decay, drop, drop_at,
                      lr_sgd, lr_adaptive, final_lr, gamma);
        return text + numbers;
    }
};

// What is known after an epoch. Accuracies are parts of one; the training figures are those of the batches as they came.
struct Epoch {
    double train_loss, train_accuracy, test_loss, test_accuracy, seconds;
};

// Parts of the coordinates whose rate lies at AdaBound's lower bound, between the bounds, at the upper bound.
struct BoundSample {
    long step;
    double at_lower, inside, at_upper;
};

struct Contestant {
    const char* key;      // in the result line and the CSV file
    std::string name;     // in the table and the pictures
    double paper_final;   // per cent, see the table's caption
    std::vector<std::vector<Epoch>> runs = {};  // per seed
    std::vector<BoundSample> bounds = {};       // of the first seed, at steps that grow by a fifth
};

long correct(const Tensor<float, 2>& given, const Tensor<std::int64_t, 1>& labels) {
    const Tensor<float, 2> logits = given.detach().to(cpu);
    const float* row = logits.data();
    long right = 0;
    for (long i = 0; i < logits.shape(0); ++i, row += logits.shape(1)) {
        long best = 0;
        for (long c = 1; c < logits.shape(1); ++c) best = row[c] > row[best] ? c : best;
        right += best == labels.data()[i] ? 1 : 0;
    }
    return right;
}

struct Score {
    double loss, accuracy;
};
Score evaluate(const Mlp& net, const data::ImageDataset& set, Device device) {
    const no_grad guard;
    double loss = 0.0;
    long right = 0;
    for (auto [images, labels] : data::batches(set, {.size = 500})) {
        const Tensor<float, 2> logits = net(images.to(device));
        loss += static_cast<double>(cross_entropy(logits, labels.to(device)).item()) * static_cast<double>(labels.size());
        right += correct(logits, labels);
    }
    const double count = static_cast<double>(set.size());
    return {loss / count, static_cast<double>(right) / count};
}

// The checkpoints of all runs together, and the one that this program goes on from.
struct Journal {
    io::Checkpoints checkpoints;
    io::CheckpointState state = {};  // counters: run (of all seeds and optimisers), step (of the run), seen and right (of the epoch), csv (bytes)
    long run = 0;                    // the current one
    bool resuming = false;           // until the run of the checkpoint is reached

    // Finished epochs and bounds as plain numbers, under a name for each run.
    static std::string name(const Contestant& who, std::uint64_t seed) { return "epochs." + std::to_string(seed) + "." + who.key; }
    void remember(const Contestant& who, std::uint64_t seed, const std::vector<Epoch>& epochs) {
        std::vector<double>& numbers = state.numbers[name(who, seed)];
        numbers.clear();
        for (const Epoch& e : epochs) numbers.insert(numbers.end(), {e.train_loss, e.train_accuracy, e.test_loss, e.test_accuracy, e.seconds});
        std::vector<double>& bounds = state.numbers[std::string("bounds.") + who.key];
        bounds.clear();
        for (const BoundSample& b : who.bounds) bounds.insert(bounds.end(), {static_cast<double>(b.step), b.at_lower, b.inside, b.at_upper});
    }
    std::vector<Epoch> recall(Contestant& who, std::uint64_t seed) {
        const std::vector<double>& bounds = state.numbers[std::string("bounds.") + who.key];
        who.bounds.clear();
        for (std::size_t i = 0; i + 4 <= bounds.size(); i += 4) who.bounds.push_back({static_cast<long>(bounds[i]), bounds[i + 1], bounds[i + 2], bounds[i + 3]});
        const std::vector<double>& numbers = state.numbers[name(who, seed)];
        std::vector<Epoch> epochs;
        for (std::size_t i = 0; i + 5 <= numbers.size(); i += 5) epochs.push_back({numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3], numbers[i + 4]});
        return epochs;
    }
};

// Trains a network under the optimiser that make_optimiser builds for it: a fresh one, or that of the checkpoint.
template <class Make>
std::vector<Epoch> train(Contestant& who, const Options& options, std::uint64_t seed, const data::ImageDataset& train_set,
                         const data::ImageDataset& test_set, io::CsvLog& log, Journal& journal, Make&& make_optimiser) {
    const long run = journal.run++;
    if (journal.resuming && run < journal.state.counters["run"]) return journal.recall(who, seed);  // finished before
    const Device device = options.place();
    Mlp net = to(Mlp(Key(seed).split(0)), device);
    auto optimiser = make_optimiser(net);
    const Key order = Key(seed).split(1);
    const long per_epoch = (train_set.size() + options.batch - 1) / options.batch, total = per_epoch * options.epochs;
    const optim::MultiStep schedule({std::max(1L, static_cast<long>(options.drop_at * static_cast<double>(total)))}, options.drop);
    std::vector<Epoch> epochs;
    example::Progress progress(who.name, total);
    long step = 0, first_epoch = 1, batch = 0, right = 0, seen = 0;
    double loss_sum = 0.0, spent = 0.0;
    if (journal.resuming) {
        journal.state = *journal.checkpoints.load_latest(net, optimiser);
        journal.resuming = false;
        epochs = journal.recall(who, seed);
        auto& counters = journal.state.counters;
        step = counters["step"], right = counters["right"], seen = counters["seen"];
        first_epoch = journal.state.epoch, batch = journal.state.batch;
        loss_sum = journal.state.numbers["loss_sum"].at(0), spent = journal.state.numbers["spent"].at(0);
        progress.skip(step);
    }
    const auto checkpoint = [&](long epoch) {
        journal.state.step = run * total + step;
        journal.state.epoch = epoch, journal.state.batch = batch, journal.state.key = Key(seed);
        auto& counters = journal.state.counters;
        counters["run"] = run, counters["step"] = step, counters["right"] = right, counters["seen"] = seen, counters["csv"] = log.size();
        journal.state.numbers["loss_sum"] = {loss_sum}, journal.state.numbers["spent"] = {spent};
        journal.remember(who, seed, epochs);
        journal.checkpoints.save(journal.state, net, optimiser);
    };
    for (long epoch = first_epoch; epoch <= options.epochs && !example::interrupted(); ++epoch) {
        const double begun = example::Progress::now(), spent_before = spent;
        for (auto [images, labels] :
             data::batches(train_set, {.size = options.batch, .shuffle = order.split(static_cast<std::uint64_t>(epoch)), .first = batch})) {
            optimiser.set_lr_scale(schedule(step));
            const Tensor<float, 2> logits = net(images.to(device));
            const auto loss = cross_entropy(logits, labels.to(device));
            loss.backward();
            optimiser.step();
            ++step;
            ++batch;
            if constexpr (requires { optimiser.bound_histogram(); }) {
                const bool first_seed = who.runs.empty();
                if (first_seed && (who.bounds.empty() || 5 * step >= 6 * who.bounds.back().step)) {
                    const auto counts = optimiser.bound_histogram();
                    const double count = static_cast<double>(counts.at_lower + counts.inside + counts.at_upper);
                    who.bounds.push_back({step, static_cast<double>(counts.at_lower) / count, static_cast<double>(counts.inside) / count,
                                          static_cast<double>(counts.at_upper) / count});
                }
            }
            loss_sum += static_cast<double>(loss.item()) * static_cast<double>(labels.size());
            right += correct(logits, labels);
            seen += labels.size();
            spent = spent_before + example::Progress::now() - begun;
            char note[64];
            std::snprintf(note, sizeof note, "epoch %ld/%d  loss %.4f", epoch, options.epochs, loss_sum / static_cast<double>(seen));
            progress.advance(note);
            if (example::interrupted()) break;
            if (options.checkpoint_every > 0 && step % options.checkpoint_every == 0) checkpoint(epoch);
        }
        if (example::interrupted()) {  // half an epoch is no figure, but --resume goes on from here
            checkpoint(epoch);
            break;
        }
        const Score test = evaluate(net, test_set, device);
        epochs.push_back({loss_sum / static_cast<double>(seen), static_cast<double>(right) / static_cast<double>(seen), test.loss,
                          test.accuracy, spent});
        const Epoch& e = epochs.back();
        log.row(seed, who.key, epoch, step, schedule(step - 1), e.train_loss, e.train_accuracy, e.test_loss, e.test_accuracy, e.seconds);
        char line[160];
        std::snprintf(line, sizeof line, "%-12s seed %llu  epoch %2ld/%d  loss %.4f  train %.2f %%  test %.2f %%  %.2f s", who.name.c_str(),
                      static_cast<unsigned long long>(seed), epoch, options.epochs, e.train_loss, 100 * e.train_accuracy,
                      100 * e.test_accuracy, e.seconds);
        progress.line(line);
        batch = right = seen = 0;
        loss_sum = spent = 0.0;
        const bool diverged = !std::isfinite(e.train_loss);
        checkpoint(diverged ? options.epochs + 1 : epoch + 1);
        if (diverged) {
            progress.line(who.name + " has diverged: its loss is no number any more");
            break;
        }
    }
    return epochs;
}

struct Spread {
    double mean = std::nan(""), deviation = std::nan("");
    std::size_t count = 0;
};
template <class Get>
Spread over_seeds(const Contestant& who, Get&& get) {
    Spread s;
    double sum = 0.0, squares = 0.0;
    for (const auto& run : who.runs) {
        const double v = get(run);
        if (v != v) continue;
        sum += v;
        squares += v * v;
        ++s.count;
    }
    if (s.count == 0) return s;
    const double n = static_cast<double>(s.count);
    s.mean = sum / n;
    s.deviation = s.count > 1 ? std::sqrt(std::max(0.0, (squares - sum * sum / n) / (n - 1))) : 0.0;
    return s;
}
std::string percent(const Spread& s) {
    if (s.count == 0) return "-";
    return example::number(100 * s.mean, 2) + (s.count > 1 ? " \u00b1 " + example::number(100 * s.deviation, 2) : "");
}
auto at_epoch(std::size_t epoch, double Epoch::*field) {
    return [=](const std::vector<Epoch>& run) { return run.size() >= epoch && epoch > 0 ? run[epoch - 1].*field : std::nan(""); };
}
std::string short_number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return text;
}
double best_of(const std::vector<Epoch>& run) {
    double best = std::nan("");
    for (const Epoch& e : run) best = e.test_accuracy > best || best != best ? e.test_accuracy : best;
    return best;
}

// How AdaBound turns from Adam into SGD: where its rates lie between the bounds, over the steps.
bool draw_bounds(const std::vector<Contestant*>& ran, const Options& options) {
    for (const Contestant* c : ran) {
        if (std::strcmp(c->key, "adabound") != 0) continue;
        io::Plot plot({.title = "AdaBound: where the rates of its coordinates lie", .x_label = "step (logarithmic)", .y_label = "coordinates (%)", .x_log = true});
        const std::pair<const char*, double BoundSample::*> parts[] = {{"at the lower bound", &BoundSample::at_lower},
                                                                       {"between the bounds", &BoundSample::inside},
                                                                       {"at the upper bound", &BoundSample::at_upper}};
        for (const auto& [name, field] : parts) {
            io::Series series{.name = name};
            for (const BoundSample& sample : c->bounds) {
                series.x.push_back(static_cast<double>(sample.step));
                series.y.push_back(100 * sample.*field);
            }
            plot.add(std::move(series));
        }
        plot.save(options.out + "/bounds.png");
        return true;
    }
    return false;
}

// The table, the pictures, what reproduced and what did not, and the result line, from whatever runs are complete.
void report(std::vector<Contestant>& all, const Options& options, const std::string& csv_path, double seconds) {
    const std::size_t last = static_cast<std::size_t>(options.epochs);
    std::vector<Contestant*> ran;
    for (Contestant& c : all) {
        // A run cut short by Ctrl-C counts in the CSV file, not in the table; one that diverged is a row without figures.
        std::erase_if(c.runs, [&](const std::vector<Epoch>& run) {
            return run.size() < last && (run.empty() || std::isfinite(run.back().train_loss));
        });
        if (!c.runs.empty()) ran.push_back(&c);
    }
    if (ran.empty()) {
        std::printf("no optimiser finished its epochs: no table\n");
        example::Result().add("finished", "0").print();
        return;
    }

    std::printf("\naccuracy in per cent%s; train: over the batches of the epoch as they came; paper: see below\n",
                options.seeds.size() > 1 ? (", mean \u00b1 deviation over " + std::to_string(options.seeds.size()) + " seeds").c_str() : "");
    example::Table table({"optimiser", "test, epoch 1", "test, best", "test, last", "train, epoch 1", "train, last", "s / epoch", "paper, last"});
    for (const Contestant* c : ran)
        table.row({c->name, percent(over_seeds(*c, at_epoch(1, &Epoch::test_accuracy))), percent(over_seeds(*c, best_of)),
                   percent(over_seeds(*c, at_epoch(last, &Epoch::test_accuracy))), percent(over_seeds(*c, at_epoch(1, &Epoch::train_accuracy))),
                   percent(over_seeds(*c, at_epoch(last, &Epoch::train_accuracy))),
                   example::number(over_seeds(*c, at_epoch(last, &Epoch::seconds)).mean, 2), example::number(c->paper_final, 2)});
    table.print();
    std::printf("paper: the authors' stored curves of ResNet-34 on CIFAR-10 (augmented, weight decay 5e-4, epoch 200, one run).\n"
                "Another task and a larger network: its order can be compared, its numbers cannot.\n");

    io::Plot test_plot({.title = "Test accuracy on Fashion-MNIST, 784-256-128-10", .x_label = "epoch", .y_label = "test accuracy (%)"});
    io::Plot train_plot({.title = "Training accuracy on Fashion-MNIST, 784-256-128-10", .x_label = "epoch", .y_label = "training accuracy (%)"});
    for (const Contestant* c : ran)
        for (const bool test : {true, false}) {
            io::Series series{.name = c->name};
            for (std::size_t epoch = 1; epoch <= last; ++epoch) {
                const Spread s = over_seeds(*c, at_epoch(epoch, test ? &Epoch::test_accuracy : &Epoch::train_accuracy));
                series.x.push_back(static_cast<double>(epoch));
                series.y.push_back(100 * s.mean);
                if (c->runs.size() > 1) series.spread.push_back(100 * s.deviation);
            }
            series.colour = static_cast<int>(c - all.data());
            series.dashed = std::string_view(c->key).starts_with("ams");
            (test ? test_plot : train_plot).add(std::move(series));
        }
    test_plot.save(options.out + "/test_accuracy.png");
    train_plot.save(options.out + "/train_accuracy.png");
    std::printf("pictures: %s/test_accuracy.png, train_accuracy.png%s; every epoch: %s\n", options.out.c_str(),
                draw_bounds(ran, options) ? ", bounds.png" : "", csv_path.c_str());

    // The paper's claims, each against a threshold of what one seed can be off.
    const auto find = [&](const char* key) -> const Contestant* {
        for (const Contestant* c : ran)
            if (std::strcmp(c->key, key) == 0) return c;
        return nullptr;
    };
    const auto difference = [&](const char* a, const char* b, std::size_t epoch, double Epoch::*field) {
        const Contestant *x = find(a), *y = find(b);
        return x == nullptr || y == nullptr ? std::nan("") : 100 * (over_seeds(*x, at_epoch(epoch, field)).mean - over_seeds(*y, at_epoch(epoch, field)).mean);
    };
    constexpr double noise = 0.3;
    bool said = false;
    const auto say = [&](const char* claim, double gap, bool holds) {
        if (gap != gap) return;
        if (!said) std::printf("\nthe paper's claims on this task (a gap within %.1f points counts as none):\n", noise);
        said = true;
        std::printf("  %-74s %+.2f points: %s\n", claim, gap, holds ? "seen here" : "NOT reproduced here");
    };
    if (options.quick) {
        std::printf("a quick run: nothing follows about the paper's claims\n");
    } else {
        double gap = difference("adabound", "adam", last, &Epoch::test_accuracy);
        say("AdaBound generalises better than Adam at the end", gap, gap > noise);
        gap = difference("amsbound", "amsgrad", last, &Epoch::test_accuracy);
        say("AMSBound generalises better than AMSGrad at the end", gap, gap > noise);
        gap = difference("adabound", "sgd", last, &Epoch::test_accuracy);
        say("AdaBound ends as good as SGD with lr 0.1, or better", gap, gap >= -noise);
        gap = difference("adabound", "adam", 1, &Epoch::train_accuracy);
        say("AdaBound starts as fast as Adam (training accuracy, epoch 1)", gap, gap >= -2 * noise);
        gap = difference("adabound", "sgd", 1, &Epoch::train_accuracy);
        say("AdaBound starts faster than SGD with lr 0.1", gap, gap > noise);
        gap = difference("adabound", "sgd_tenth", last, &Epoch::test_accuracy);
        say("control: it ends where its limit ends, SGD with lr 0.01 (equal)", gap, std::abs(gap) <= noise);
    }

    const Contestant* best = ran[0];
    const auto final_mean = [&](const Contestant* c) { return over_seeds(*c, at_epoch(last, &Epoch::test_accuracy)).mean; };
    for (const Contestant* c : ran)
        if (final_mean(c) > final_mean(best) || std::isnan(final_mean(best))) best = c;
    example::Result result;
    result.add("best_test_accuracy", final_mean(best), 4).add("best_optimiser", best->key);
    for (const Contestant* c : ran) result.add(std::string(c->key), final_mean(c), 4);
    result.add("epochs", std::to_string(options.epochs)).add("seeds", std::to_string(options.seeds.size()));
    result.add("interrupted", example::interrupted() ? "1" : "0").add("seconds", seconds, 1).print();
}

int compare(Options options) {
    if (options.quick) options.epochs = std::min(options.epochs, 2);
    if (options.seeds.empty()) options.seeds = {options.seed};
    example::make_folder(options.out);
    const data::ImageDataset all_train = data::fashion_mnist(data::Split::train, options.data);
    const data::ImageDataset all_test = data::fashion_mnist(data::Split::test, options.data);
    const data::ImageDataset train_set = options.quick ? all_train.first(6000) : all_train;
    const data::ImageDataset test_set = options.quick ? all_test.first(2000) : all_test;
    Journal journal{.checkpoints = io::Checkpoints(options.out + "/checkpoints", {.keep = 2})};
    if (options.resume) {
        const auto found = journal.checkpoints.latest_state();
        for (const std::string& why : journal.checkpoints.refused()) std::fprintf(stderr, "%s\n", why.c_str());
        if (!found) std::printf("--resume: no checkpoint in %s/checkpoints: starting from the beginning\n", options.out.c_str());
        if (found) {
            journal.state = *found;
            journal.resuming = true;
            const std::string was = journal.state.texts["options"];
            if (was != options.description())
                fail<ValueError>("--resume: the checkpoint in \"", options.out.c_str(), "/checkpoints\" is of a run with ", was.c_str(), "\nexpected ",
                                 options.description().c_str(), "\nhint: give the options of that run, or another --out");
        }
    } else {
        journal.checkpoints.clear();
    }
    journal.state.texts["options"] = options.description();
    io::CsvLog log(options.out + "/curves.csv", {"seed", "optimiser", "epoch", "step", "lr_scale", "train_loss", "train_accuracy",
                                                 "test_loss", "test_accuracy", "seconds"},
                   journal.resuming ? io::CsvMode::append : io::CsvMode::replace, journal.resuming ? journal.state.counters["csv"] : -1);

    std::printf("data: Fashion-MNIST, %ld training and %ld test images, normalised by 0.2860 and 0.3530\n", train_set.size(), test_set.size());
    std::printf("network: 784-256-128-10, ReLU, %d parameters; %d epochs of batches of %ld; weight decay %g (L2) for all;\n",
                784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10, options.epochs, options.batch, options.weight_decay);
    std::printf("rate x %g after %g %% of the steps; the same first weights and batches for every optimiser\n\n", options.drop, 100 * options.drop_at);

    const double lr_low = options.lr_sgd / 10, wd = options.weight_decay;
    std::vector<Contestant> all = {
        {"sgd", "SGD lr " + short_number(options.lr_sgd), 92.64}, {"sgd_tenth", "SGD lr " + short_number(lr_low), std::nan("")},
        {"adam", "Adam", 92.27},           {"amsgrad", "AMSGrad", 93.18},
        {"adabound", "AdaBound", 94.86},   {"amsbound", "AMSBound", 94.82},
    };
    const double begun = example::Progress::now();
    for (const std::uint64_t seed : options.seeds) {
        const auto run = [&](std::size_t index, auto&& make) {
            if (example::interrupted()) return;
            all[index].runs.push_back(train(all[index], options, seed, train_set, test_set, log, journal, make));
        };
        run(0, [&](Mlp& net) { return optim::sgd(net, {.lr = options.lr_sgd, .momentum = 0.9, .weight_decay = wd}); });
        run(1, [&](Mlp& net) { return optim::sgd(net, {.lr = lr_low, .momentum = 0.9, .weight_decay = wd}); });
        run(2, [&](Mlp& net) { return optim::adam(net, {.lr = options.lr_adaptive, .weight_decay = wd}); });
        run(3, [&](Mlp& net) { return optim::amsgrad(net, {.lr = options.lr_adaptive, .weight_decay = wd}); });
        const kernels::cpu::AdaBoundOptions bound{
            .lr = options.lr_adaptive, .final_lr = options.final_lr, .gamma = options.gamma, .weight_decay = wd};
        run(4, [&](Mlp& net) { return optim::adabound(net, bound); });
        run(5, [&](Mlp& net) { return optim::amsbound(net, bound); });
    }
    if (example::interrupted()) std::printf("\ninterrupted: here is what was finished; the same command with --resume goes on\n");
    report(all, options, log.path(), example::Progress::now() - begun);
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    options.data = data::fashion_mnist_folder;
    options.out = "out/adabound";
    CLI::App app("AdaBound and AMSBound beside SGD, Adam and AMSGrad on Fashion-MNIST, and the paper's counter-example (--toy)", "adabound");
    options.add_to(app);
    app.add_flag("--toy", options.toy, "only the counter-example; exits with 1 when a figure is off");
    app.add_flag("--resume", options.resume, "go on from the last checkpoint in --out, after Ctrl-C or a crash: the same bits as without the break");
    app.add_option("--checkpoint-every", options.checkpoint_every, "steps between checkpoints, 0: after every epoch and on Ctrl-C")
        ->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--epochs", options.epochs, "epochs per optimiser")->check(CLI::Range(1, 10000))->capture_default_str();
    app.add_option("--batch", options.batch, "images per step")->check(CLI::Range(1L, 60000L))->capture_default_str();
    app.add_option("--seed", options.seed, "seed of the first weights and of the order of the batches")->capture_default_str();
    app.add_option("--seeds", options.seeds, "several seeds, as 0,1,2: the table gives mean and deviation")->delimiter(',');
    app.add_option("--lr", options.lr_sgd, "rate of SGD; the second SGD takes a tenth")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--lr-adaptive", options.lr_adaptive, "rate of the other four")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--final-lr", options.final_lr, "the rate that AdaBound's bounds close in on")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--gamma", options.gamma, "how fast they do")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--weight-decay", options.weight_decay, "L2 weight decay")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--drop-at", options.drop_at, "part of the steps after which the rate drops")->check(CLI::Range(0.0, 1.0))->capture_default_str();
    app.add_option("--drop", options.drop, "factor of that drop")->check(CLI::Range(0.0, 1.0))->capture_default_str();
    return example::run(app, argc, argv, [&] {
        example::catch_interrupt();
        options.apply();
        example::print_machine("adabound", options.device.c_str());
        if (options.toy) return adabound_example::toy(options.out) == 0 ? example::success : example::failure;
        return compare(options);
    });
}
