// AdaBound and AMSBound (Luo, Xiong, Liu, Sun, "Adaptive Gradient Methods with Dynamic Bound of Learning Rate", ICLR
// 2019) beside SGD, Adam and AMSGrad: per network one data set, the same first weights and the same batches for all.
#include "../common/example.hpp"
#include "contest.hpp"
#include "language.hpp"
#include "report.hpp"
#include "sweep.hpp"
#include "toy.hpp"

using namespace adabound_example;

namespace {

std::vector<Arm> chosen_arms(const Options& options, bool colour) {
    std::vector<Arm> arms = all_arms(options.full, colour), chosen;
    std::string known;
    for (const Arm& arm : arms) known += std::string(known.empty() ? "" : ", ") + arm.key;
    for (const std::string& name : options.arms) {
        const auto found = std::find_if(arms.begin(), arms.end(), [&](const Arm& arm) { return name == arm.key; });
        if (found == arms.end()) fail<ValueError>("--arch: \"", name.c_str(), "\": expected one or more of ", known.c_str(), colour ? " (the data is CIFAR-10's)" : "", options.full ? " (--full)" : "");
        chosen.push_back(*found);
    }
    if (chosen.empty())
        for (const Arm& arm : arms)
            if (std::string_view(arm.key) != "small") chosen.push_back(arm);
    for (Arm& arm : chosen) {
        if (options.epochs > 0) arm.epochs = options.epochs;
        if (!options.optimisers.empty()) arm.optimisers = options.optimisers;
        if (options.quick) {
            arm.epochs = std::min(arm.epochs, 2);
            arm.train_images = std::string_view(arm.key) == "mlp" || std::string_view(arm.key) == "lenet" ? 6000 : 1000;
        }
    }
    return chosen;
}

int compare(const Options& options) {
    const bool colour = example::is_cifar(options.data);
    const std::vector<Arm> arms = chosen_arms(options, colour);
    for (const Arm& arm : arms)
        for (const std::string& key : arm.optimisers) static_cast<void>(name_of(key, options));  // a wrong name is said before anything runs
    example::make_folder(options.out);
    const Sets all = example::read_images(options.data, colour);
    std::printf("data: %s, %ld training and %ld test images, normalised%s\n", colour ? "CIFAR-10" : "Fashion-MNIST", all.train.size(), all.test.size(),
                colour ? "; random crops (padding 4) and flips" : "");
    std::printf("batches of %ld; weight decay %g (L2) for all; rate x %g late in the run; the same first weights and batches for every optimiser\n", options.batch, options.weight_decay,
                options.drop);
    const auto part_of = [&](const Arm& arm) {
        return Sets{arm.train_images > 0 ? all.train.first(arm.train_images) : all.train, options.quick ? all.test.first(arm.train_images > 1000 ? 2000 : 500) : all.test};
    };
    if (options.sweep) {
        Arm arm = arms[0];
        return sweep(arm, options, part_of(arm));
    }
    const double begun = example::Progress::now();
    example::Result result;
    for (const Arm& arm : arms) {
        if (example::interrupted()) break;
        const Sets sets = part_of(arm);
        const std::string out = options.out + "/" + arm.key;
        example::make_folder(out);
        std::printf("\n%s: %s, %ld parameters; %ld training images; %d epochs, the rate drops after %g %% of the steps\n\n", arm.key, arm.network.c_str(), nn::parameter_count(arm.make(Key(0))),
                    sets.train.size(), arm.epochs, 100 * arm.drop_at);
        std::fflush(stdout);
        std::vector<Contestant> contestants;
        for (const std::string& key : arm.optimisers) contestants.push_back({key, name_of(key, options)});
        for (const std::uint64_t seed : options.seeds)
            for (Contestant& who : contestants) {
                if (example::interrupted()) break;
                who.runs.push_back(run_one(who, arm, options, seed, sets, out + "/" + who.key + "-seed" + std::to_string(seed)));
            }
        if (example::interrupted()) std::printf("\ninterrupted: here is what was finished; the same command with --resume goes on\n");
        report(contestants, arm, options, out, result);
    }
    result.add("seeds", std::to_string(options.seeds.size()));
    result.add("interrupted", example::interrupted() ? "1" : "0").add("seconds", example::Progress::now() - begun, 1);
    result.print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    options.data = data::fashion_mnist_folder;
    options.out = "out/adabound";
    CLI::App app("AdaBound and AMSBound beside SGD, Adam and AMSGrad on Fashion-MNIST or CIFAR-10, and the paper's counter-example (--toy)", "adabound");
    options.add_to(app);
    app.add_option("--arch", options.arms, "networks, as mlp,lenet: of mlp, lenet, resnet20, densenet22, small; with --full of resnet34, densenet121; none: all but small; or char-lstm, which reads text")->delimiter(',');
    app.add_option("--optimisers", options.optimisers, "of sgd, sgd_half, sgd_tenth, csgd, adagrad, adam, adamw, amsgrad, adabound, amsbound, adabound_2, adabound_1 (10 and 100 x gamma), adabound_high "
                                                           "(10 x the final rate); none: the network's own list")->delimiter(',');
    app.add_flag("--full", options.full, "the paper's networks on all images for 200 epochs: for a GPU");
    app.add_flag("--sweep", options.sweep, "how the end depends on the rates: the first network of --arch over a range of them");
    app.add_flag("--toy", options.toy, "only the counter-example; exits with 1 when a figure is off");
    app.add_option("--checkpoint-every", options.checkpoint_every, "steps between checkpoints, 0: after every epoch and on Ctrl-C")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--batch", options.batch, "images per step, or columns of text")->check(CLI::Range(1L, 60000L))->capture_default_str();
    app.add_option("--seeds", options.seeds, "several seeds, as 0,1,2: the tables give mean and deviation")->delimiter(',');
    app.add_option("--lr", options.lr_sgd, "rate of SGD; the others of its kind take a half and a tenth")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--lr-adaptive", options.lr_adaptive, "rate of Adam and its kind")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--final-lr", options.final_lr, "the rate that AdaBound's bounds close in on")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--gamma", options.gamma, "how fast they do")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--weight-decay", options.weight_decay, "L2 weight decay")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--layers", options.layers, "layers of char-lstm")->check(CLI::Range(1L, 8L))->capture_default_str();
    app.add_option("--steps", options.steps, "characters that char-lstm reads before it learns from them")->check(CLI::Range(1L, 10000L))->capture_default_str();
    app.add_option("--clip", options.clip, "norm that the gradients of char-lstm are held to, 0: none")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--drop", options.drop, "factor of the drop of the rate")->check(CLI::Range(0.0, 1.0))->capture_default_str();
    return example::run(app, argc, argv, [&] {
        if (options.seeds.empty()) options.seeds = {options.seed};
        example::catch_interrupt();
        options.apply();
        example::print_machine("adabound", options.device.c_str());
        if (std::find(options.arms.begin(), options.arms.end(), language_arm) != options.arms.end()) {
            if (options.arms.size() > 1 || options.sweep || options.full)
                fail<ValueError>("--arch char-lstm reads text, the others images: give it alone, without --sweep and --full");
            const auto unless_given = [&](const char* option, auto& value, auto own) { value = app.count(option) > 0 ? value : own; };
            unless_given("--data", options.data, std::string(jargon_file));
            unless_given("--batch", options.batch, 32L);
            unless_given("--weight-decay", options.weight_decay, 0.0);
            unless_given("--lr", options.lr_sgd, 1.0);
            return compare_language(options);
        }
        if (options.toy) return adabound_example::toy(options.out) == 0 ? example::success : example::failure;
        return compare(options);
    });
}
