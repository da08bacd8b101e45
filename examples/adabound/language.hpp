// The language-model arm: an LSTM that reads a text character by character and predicts the next one, with truncated
// backpropagation. The paper's runs are on the words of the Penn Treebank, which is not freely available.
#pragma once

#include "report.hpp"

#include <tenon/data/text.hpp>
#include <tenon/seq/language_model.hpp>

namespace adabound_example {

// Debian's jargon-text: the Jargon File 4.4.7, in the public domain, 1.6 million characters.
inline constexpr const char* jargon_file = "/usr/share/doc/jargon-text/jargon.txt.gz";
inline constexpr const char* language_arm = "char-lstm";

// A data set whose rows are the chunks of a text, to be read in order.
struct Chunks {
    data::TextChunks chunks;
    long size() const { return chunks.size(); }
    data::TextChunk batch(const long* rows, long) const { return chunks[rows[0]]; }
};
struct Corpus {
    data::Vocabulary vocabulary;
    Chunks train, test;
};

// The first nine tenths to learn from and the rest to be scored on. What the first part holds fewer than ten times is one symbol.
inline Corpus read_corpus(const Options& options) {
    if (options.data == jargon_file && !std::filesystem::exists(jargon_file))
        fail<FileError>("--arch ", language_arm, ": there is no \"", jargon_file,
                        "\"\nhint: third_party/install.sh examples installs it (Debian's jargon-text), or name another text: --data FILE");
    const std::string text = data::read_text(options.data);
    std::vector<std::string_view> symbols = data::characters(text);
    if (options.quick && symbols.size() > 100000) symbols.resize(100000);
    const auto middle = symbols.begin() + static_cast<std::ptrdiff_t>(symbols.size() * 9 / 10);
    const std::vector<std::string_view> train(symbols.begin(), middle), test(middle, symbols.end());
    if (static_cast<long>(test.size()) < 2 * options.batch)
        fail<ValueError>("--data: \"", options.data.c_str(), "\" holds ", static_cast<long>(symbols.size()), " characters: expected at least ", 20 * options.batch,
                         " for --batch ", options.batch);
    data::Vocabulary vocabulary(train, {.min_count = 10, .specials = {"<unk>"}});
    const auto chunks = [&](const std::vector<std::string_view>& part) {
        return Chunks{data::TextChunks(vocabulary.encode(part), options.batch, options.steps)};
    };
    Chunks first = chunks(train), rest = chunks(test);
    return {std::move(vocabulary), std::move(first), std::move(rest)};
}

// The model and the state that it carries from chunk to chunk: a buffer, so that a checkpoint in the middle of the text has it.
struct Reader {
    seq::LanguageModel<float> model;
    Tensor<float, 3> h, c;

    Reader() = default;
    Reader(long vocabulary, const Options& o, Key key)
        : model({.vocabulary = vocabulary, .hidden = 128, .layers = o.layers}, key),
          h(zeros<float>({o.layers, o.batch, 128})),
          c(zeros<float>({o.layers, o.batch, 128})) {}
    static void visit(auto& self, auto&& f) {
        f("model", self.model);
        f("h", nn::buffer(self.h));
        f("c", nn::buffer(self.c));
    }
};

// The mean cross-entropy over a chunk, from the state that the chunk before has left; at the beginning of the text, from zeros.
inline train::Scored read(const seq::LanguageModel<float>& model, LstmState<float>& state, const data::TextChunk& chunk, const nn::Context& context, Device device) {
    const auto [logits, after] = model(chunk.inputs.to(device), chunk.number == 0 ? LstmState<float>{} : state, context);
    state = after.detach();
    const long count = chunk.targets.size();
    const Tensor<float, 2> scores = logits.reshape({count, logits.shape(2)});
    const Tensor<std::int64_t, 1> labels = Tensor<std::int64_t, 2>(chunk.targets.to(device)).reshape({count});
    return {cross_entropy(scores, labels), count, train::count_correct(scores, labels)};
}

inline std::vector<train::Epoch> run_language(Contestant& who, const Options& options, int epochs_wanted, std::uint64_t seed, const Corpus& corpus,
                                              const std::string& folder) {
    const Device device = options.place();
    Reader net = to(Reader(corpus.vocabulary.size(), options, Key(seed).split(0)), device);
    std::vector<train::Epoch> epochs;
    with_optimiser(who.key, net, options, [&](auto optimiser) {
        char numbers[360];
        std::snprintf(numbers, sizeof numbers,
                      "epochs %d, %ld characters in %ld columns, %ld steps, %ld symbols, %ld layers, clip %.17g, weight decay %.17g, drop %.17g, lr %.17g and %.17g, "
                      "final lr %.17g, gamma %.17g",
                      epochs_wanted, corpus.train.chunks.targets(), options.batch, options.steps, corpus.vocabulary.size(), options.layers, options.clip,
                      options.weight_decay, options.drop, options.lr_sgd, options.lr_adaptive, options.final_lr, options.gamma);
        std::vector<double> notes;
        const bool watch = who.runs.empty();
        train::FitOptions fit{.epochs = epochs_wanted, .batch = 1, .test_batch = 1, .key = Key(seed).split(1), .shuffle = false,
                              .schedule = drop_late(options, 0.75, corpus.train.size() * epochs_wanted), .clip_norm = options.clip, .name = who.name,
                              .out = folder, .resume = options.resume, .description = numbers, .checkpoint_every = options.checkpoint_every,
                              .interrupted = example::interrupted, .notes = &notes};
        if (watch) watch_bounds(fit, optimiser, notes);
        LstmState<float> scored;
        const auto step = [&](const data::TextChunk& chunk, const nn::Context& context) {
            if (!context.training) return read(net.model, scored, chunk, context, device);
            LstmState<float> state{net.h, net.c};
            const train::Scored result = read(net.model, state, chunk, context, device);
            net.h = state.h;
            net.c = state.c;
            return result;
        };
        epochs = train::fit(net, optimiser, corpus.train, corpus.test, step, fit).epochs;
        if (watch) keep_bounds(who, notes);
    });
    return epochs;
}

// exp of the mean cross-entropy.
inline auto perplexity_at(std::size_t epoch, double train::Epoch::*field) {
    return [=](const example::Run& run) { return std::exp(example::at_epoch(epoch, field)(run)); };
}
inline auto bits_at(std::size_t epoch, double train::Epoch::*field) {
    return [=](const example::Run& run) { return example::at_epoch(epoch, field)(run) / std::log(2.0); };
}
inline std::string spread(const Spread& s, int decimals) {
    if (s.count == 0) return "-";
    return example::number(s.mean, decimals) + (s.count > 1 ? " \u00b1 " + example::number(s.deviation, decimals) : "");
}

inline void draw_bits(const std::vector<const Contestant*>& ran, std::size_t last, const std::string& out) {
    for (const bool test : {true, false}) {
        io::Plot plot({.title = std::string(test ? "Held-out" : "Training") + " text, LSTM of 128 units", .x_label = "epoch", .y_label = "bits per character"});
        for (const Contestant* c : ran) {
            io::Series series{.name = c->name};
            for (std::size_t epoch = 1; epoch <= last; ++epoch) {
                const Spread s = over_seeds(*c, bits_at(epoch, test ? &train::Epoch::test_loss : &train::Epoch::train_loss));
                series.x.push_back(static_cast<double>(epoch));
                series.y.push_back(s.mean);
                if (c->runs.size() > 1) series.spread.push_back(s.deviation);
            }
            series.dashed = c->key.starts_with("ams") || c->key.starts_with("adabound_");
            plot.add(std::move(series));
        }
        plot.save(out + (test ? "/test_bits.png" : "/train_bits.png"));
    }
}

// The paper's statements about its language models. It prints curves and no table, so that there is no number to set beside ours.
inline void judge_language(const std::vector<const Contestant*>& ran, std::size_t last) {
    constexpr double noise = 1;
    const auto gap = [&](const char* a, const char* b, std::size_t epoch, double train::Epoch::*field) {
        const Contestant *x = nullptr, *y = nullptr;
        for (const Contestant* c : ran) {
            if (c->key == a) x = c;
            if (c->key == b) y = c;
        }
        if (x == nullptr || y == nullptr) return std::nan("");
        return 100 * (over_seeds(*x, perplexity_at(epoch, field)).mean / over_seeds(*y, perplexity_at(epoch, field)).mean - 1);
    };
    std::printf("\nthe paper's claims on this task (a gap within %g %% of the perplexity counts as none):\n", noise);
    const auto say = [&](const char* claim, double by, bool holds) {
        if (by == by) std::printf("  %-74s %+.1f %%: %s\n", claim, by, holds ? "seen here" : "NOT reproduced here");
    };
    const auto test = &train::Epoch::test_loss;
    double by = gap("adabound", "adam", last, test);
    say("AdaBound ends with a lower perplexity than Adam", by, by < -noise);
    by = gap("amsbound", "amsgrad", last, test);
    say("AMSBound ends with a lower perplexity than AMSGrad", by, by < -noise);
    by = gap("adabound", "sgd", last, test);
    say("AdaBound ends as good as SGD, or better", by, by <= noise);
    by = gap("adabound", "adam", 1, &train::Epoch::train_loss);
    say("AdaBound starts as fast as Adam (training perplexity, epoch 1)", by, by <= noise);
    by = gap("adabound_high", "adam", last, test);
    say("control: with ten times the final rate it is as good as Adam", by, by <= noise);
}

inline void report_language(std::vector<Contestant>& all, const Options& options, int epochs, const std::string& out, example::Result& result) {
    const std::size_t last = static_cast<std::size_t>(epochs);
    std::vector<const Contestant*> ran;
    for (Contestant& c : all) {
        std::erase_if(c.runs, [&](const example::Run& run) { return !example::is_complete(run, last); });
        if (!c.runs.empty()) ran.push_back(&c);
    }
    if (ran.empty()) {
        std::printf("%s: no optimiser finished its epochs: no table\n", language_arm);
        return;
    }
    std::printf("\n%s: perplexity per character%s; train: over the chunks of the epoch as they came\n", language_arm,
                options.seeds.size() > 1 ? (", mean \u00b1 deviation over " + std::to_string(options.seeds.size()) + " seeds").c_str() : "");
    example::Table table({"optimiser", "test, epoch 1", "test, best", "test, last", "bits / character", "train, epoch 1", "train, last", "s / epoch"});
    for (const Contestant* c : ran) {
        const auto best = over_seeds(*c, [](const example::Run& run) {
            double least = std::nan("");
            for (const train::Epoch& e : run) least = e.test_loss > least ? least : e.test_loss;
            return std::exp(least);
        });
        const auto figure = [&](std::size_t epoch, double train::Epoch::*field) { return spread(over_seeds(*c, perplexity_at(epoch, field)), 3); };
        const Spread bits = over_seeds(*c, bits_at(last, &train::Epoch::test_loss));
        table.row({c->name, figure(1, &train::Epoch::test_loss), spread(best, 3), figure(last, &train::Epoch::test_loss), spread(bits, 3), figure(1, &train::Epoch::train_loss),
                   figure(last, &train::Epoch::train_loss), example::number(over_seeds(*c, at_epoch(last, &train::Epoch::seconds)).mean, 2)});
    }
    table.print();
    std::printf("paper: LSTMs of 1, 2 and 3 layers on the words of the Penn Treebank. It shows curves and no table, and the code and settings of these runs were\n"
                "never released: there is no perplexity to set beside ours. It has AdaBound and AMSBound below Adam and AMSGrad, and below SGD by about 1 %%\n"
                "(2 layers) and 3 %% (3 layers).\n");
    draw_bits(ran, last, out);
    const bool bounds = draw_bounds(ran, out);
    io::CsvLog log(out + "/curves.csv",
                   {"seed", "optimiser", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "test_perplexity", "test_bits", "seconds"});
    for (std::size_t seed = 0; seed < options.seeds.size(); ++seed)
        for (const Contestant* c : ran)
            if (seed < c->runs.size())
                for (std::size_t e = 0; e < c->runs[seed].size(); ++e) {
                    const train::Epoch& f = c->runs[seed][e];
                    log.row(options.seeds[seed], c->key, static_cast<long>(e + 1), f.train_loss, f.train_accuracy, f.test_loss, f.test_accuracy, std::exp(f.test_loss),
                            f.test_loss / std::log(2.0), f.seconds);
                }
    std::printf("pictures: %s/test_bits.png, train_bits.png%s; every epoch: %s\n", out.c_str(), bounds ? ", bounds.png" : "", log.path().c_str());
    if (options.quick) std::printf("a quick run: nothing follows about the paper's claims\n");
    else judge_language(ran, last);
    for (const Contestant* c : ran) result.add(std::string(language_arm) + "." + c->key, over_seeds(*c, perplexity_at(last, &train::Epoch::test_loss)).mean, 4);
}

inline int compare_language(const Options& options) {
    std::vector<std::string> keys = options.optimisers;
    if (keys.empty()) keys = {"sgd", "sgd_tenth", "adam", "adamw", "amsgrad", "adabound", "amsbound", "adabound_high"};
    std::vector<Contestant> contestants;
    for (const std::string& key : keys) contestants.push_back({key, name_of(key, options)});
    const std::string out = options.out + "/" + language_arm;
    example::make_folder(out);
    const Corpus corpus = read_corpus(options);
    int epochs = options.epochs > 0 ? options.epochs : 10;
    if (options.quick) epochs = std::min(epochs, 2);
    std::printf("data: %s, %ld characters to learn from and the %ld after them to be scored on, %ld symbols\n", options.data.c_str(), corpus.train.chunks.targets(),
                corpus.test.chunks.targets(), corpus.vocabulary.size());
    std::printf("%s: LSTM, %ld layer%s of 128 units, %ld parameters; %ld columns of text, %ld characters a step, gradients held to a norm of %g; %d epochs,\n"
                "the rate drops (x %g) after 75 %% of the steps; weight decay %g (AdamW: 0.01, decoupled); the same first weights and chunks for every optimiser\n\n",
                language_arm, options.layers, options.layers == 1 ? "" : "s", nn::parameter_count(Reader(corpus.vocabulary.size(), options, Key(0)).model),
                options.batch, options.steps, options.clip, epochs, options.drop, options.weight_decay);
    std::fflush(stdout);
    const double begun = example::Progress::now();
    for (const std::uint64_t seed : options.seeds)
        for (Contestant& who : contestants) {
            if (example::interrupted()) break;
            who.runs.push_back(run_language(who, options, epochs, seed, corpus, out + "/" + who.key + "-seed" + std::to_string(seed)));
        }
    if (example::interrupted()) std::printf("\ninterrupted: here is what was finished; the same command with --resume goes on\n");
    example::Result result;
    report_language(contestants, options, epochs, out, result);
    result.add("seeds", std::to_string(options.seeds.size()));
    result.add("interrupted", example::interrupted() ? "1" : "0").add("seconds", example::Progress::now() - begun, 1);
    result.print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace adabound_example
