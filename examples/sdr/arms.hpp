// The arms: what regularises the network, everything else being equal.
#pragma once

#include "../common/example.hpp"
#include "../common/image_sets.hpp"
#include "../common/over_seeds.hpp"
#include "networks.hpp"

#include <tenon/nn/stochastic.hpp>
#include <tenon/optim/schedule.hpp>
#include <tenon/optim/sdr.hpp>
#include <tenon/train/fit.hpp>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace sdr_example {

struct Options : example::CommonOptions {
    std::string arch = "mlp";
    std::vector<std::string> arms;
    std::vector<std::uint64_t> seeds;
    std::vector<double> lrs;
    long images = 0, batch = 100, checkpoint_every = 0;
    double weight_decay = 1e-4;
    bool parity = false, paper_table = false;
};

// "name", "name:number" or "name:number:number".
struct Arm {
    std::string key, name = {};
    double dropout = 0;                     // of units, for each example
    std::optional<nn::WeightNoise> noise = {};   // of weights, for each batch
    std::optional<optim::SdrOptions> sdr = {};
    bool published = false;                 // deviations move twice an epoch and zeta falls geometrically
};

inline std::string short_number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return text;
}

inline Arm parse_arm(const std::string& text) {
    std::vector<double> numbers;
    const std::string name = text.substr(0, text.find(':'));
    for (std::size_t at = name.size(); at < text.size();) {
        const std::size_t end = std::min(text.find(':', at + 1), text.size());
        const std::string part = text.substr(at + 1, end - at - 1);
        char* rest = nullptr;
        numbers.push_back(std::strtod(part.c_str(), &rest));
        if (part.empty() || *rest != '\0') fail<ValueError>("--arms: \"", text.c_str(), "\": \"", part.c_str(), "\" is no number");
        at = end;
    }
    const auto given = [&](std::size_t i, double otherwise) { return i < numbers.size() ? numbers[i] : otherwise; };
    const auto probability = [&](double p) {
        if (!(p >= 0 && p < 1)) fail<ValueError>("--arms: \"", text.c_str(), "\": a probability of ", p, ", expected a number in [0, 1)");
        return p;
    };
    Arm arm{.key = text};
    for (char& c : arm.key)
        if (c == ':') c = '-';
    std::size_t takes = 1;
    const auto sdr = [&](double beta, double zeta, bool published) {
        arm.sdr.emplace();
        arm.sdr->beta = given(0, beta), arm.sdr->zeta = given(1, zeta);
        arm.sdr->scope = optim::SdrScope::all;
        takes = 2;
        arm.published = published;
    };
    if (name == "none") {
        takes = 0;
        arm.name = "none";
    } else if (name == "dropout") {
        arm.dropout = probability(given(0, 0.2));
        arm.name = "dropout " + short_number(arm.dropout);
    } else if (name == "dropconnect") {
        arm.noise = nn::drop_connect(probability(given(0, 0.2)));
        arm.name = "DropConnect " + short_number(given(0, 0.2));
    } else if (name == "gaussian") {
        arm.noise = nn::gaussian_dropout(probability(given(0, 0.2)));
        arm.name = "Gaussian " + short_number(given(0, 0.2));
    } else if (name == "sdr") {
        sdr(0.1, 0.7, true);
        arm.sdr->first_half = 0.9;
        arm.sdr->max_ratio = __builtin_inf();
        arm.name = "SDR, published, zeta " + short_number(arm.sdr->zeta);
    } else if (name == "alive") {
        sdr(0.1, 0.999, false);
        arm.name = "SDR every batch, zeta " + short_number(arm.sdr->zeta);
    } else if (name == "dynamic") {
        sdr(0.1, 0.99, false);
        arm.sdr->rule = optim::SdrRule::dynamic;
        arm.sdr->scope = optim::SdrScope::weights;
        arm.sdr->scale_free = true;
        arm.sdr->beta = given(0, 2e-4);
        arm.sdr->min_ratio = 0.01;
        arm.name = "dynamic (ours), rho " + short_number(arm.sdr->zeta);
    } else if (name == "static") {
        sdr(0, 1, false);
        takes = 1;
        arm.sdr->beta = 0, arm.sdr->zeta = 1;
        arm.sdr->initial = given(0, 4);
        arm.sdr->max_ratio = __builtin_inf();
        arm.name = "static noise x " + short_number(arm.sdr->initial);
    } else {
        fail<ValueError>("--arms: \"", text.c_str(), "\": expected none, dropout[:p], sdr[:beta[:zeta]], alive[:beta[:zeta]], dynamic[:beta[:rho]], static[:factor], dropconnect[:p] or gaussian[:p]");
    }
    if (numbers.size() > takes) fail<ValueError>("--arms: \"", text.c_str(), "\": at most ", takes, " numbers");
    if (arm.sdr && !(arm.sdr->beta >= 0 && arm.sdr->zeta >= 0 && arm.sdr->initial >= 0)) fail<ValueError>("--arms: \"", text.c_str(), "\": expected numbers of at least 0");
    return arm;
}

// What became of an arm at one learning rate.
struct Runs {
    Arm arm;
    double lr;
    std::vector<example::Run> runs = {};
    std::vector<std::vector<double>> ratios = {};  // noise to weight after each epoch, per seed
    std::vector<double> train_errors = {};         // at the end, evaluated without noise
};

inline void run_one(Runs& who, const Architecture& arch, const Options& options, std::uint64_t seed, const example::ImageSets& sets, bool colour, int epochs,
                  const std::string& folder) {
    const Device device = options.place();
    Network net = to(make_network(arch, colour, who.arm.dropout, Key(seed).split(0)), device);
    const long per_epoch = (sets.train.size() + options.batch - 1) / options.batch, total = per_epoch * epochs;
    char numbers[240];
    std::snprintf(numbers, sizeof numbers, "arm %s, network %s, epochs %d, batch %ld, images %ld, lr %.17g, weight decay %.17g", who.arm.key.c_str(), arch.key, epochs, options.batch,
                  sets.train.size(), who.lr, options.weight_decay);
    std::vector<double> ratios;
    train::FitOptions fit{.epochs = epochs, .batch = options.batch, .key = Key(seed).split(1), .schedule = optim::MultiStep({std::max(1L, total / 2), std::max(2L, total * 3 / 4)}, 0.1),
                          .name = who.arm.name, .out = folder, .resume = options.resume, .description = numbers, .checkpoint_every = options.checkpoint_every, .interrupted = example::interrupted, .notes = &ratios};
    const auto sgd = [&] { return optim::sgd(net, {.lr = who.lr, .momentum = 0.9, .nesterov = true, .weight_decay = options.weight_decay}); };
    // The noise ends with training: a batch that is scored goes through the means.
    const auto classify = [&](const Network& drawn, const data::ColourBatch& batch, const nn::Context& context) {
        return train::classify(drawn, batch.images, batch.labels, context, device);
    };
    train::Fitted fitted;
    if (who.arm.sdr) {
        optim::SdrOptions o = *who.arm.sdr;
        o.key = Key(seed).split(2);
        const double zeta = o.zeta;
        if (who.arm.published) o.every = std::max(1L, per_epoch / 2);
        auto optimiser = optim::sdr(sgd(), o);
        fit.after_step = [&](long step) {
            if (step % per_epoch != 0) return;
            if (who.arm.published) optimiser.set_zeta(optim::sdr_geometric(zeta, step / per_epoch));
            ratios.push_back(optimiser.noise_ratio());
        };
        fitted = train::fit(net, optimiser, sets.train, sets.test, [&](const data::ColourBatch& batch, const nn::Context& context) {
            return classify(context.training ? optimiser.sample(net, context.key.split(1)) : net, batch, context);
        }, fit);
    } else {
        auto optimiser = sgd();
        fitted = train::fit(net, optimiser, sets.train, sets.test, [&](const data::ColourBatch& batch, const nn::Context& context) {
            return classify(context.training && who.arm.noise ? nn::with_noise(net, *who.arm.noise, context.key.split(1)) : net, batch, context);
        }, fit);
    }
    if (!example::is_complete(fitted.epochs, static_cast<std::size_t>(epochs))) return;
    who.runs.push_back(fitted.epochs);
    who.ratios.push_back(ratios);
    train::Mean correct;
    const no_grad guard;
    for (const auto& batch : data::batches(sets.train, {.size = 500})) {
        const train::Scored s = classify(net, batch, {Key(0), false});
        correct.add(static_cast<double>(s.correct) / static_cast<double>(s.rows), static_cast<double>(s.rows));
    }
    who.train_errors.push_back(1 - correct.value());
}

}  // namespace sdr_example
