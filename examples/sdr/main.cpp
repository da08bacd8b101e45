// The stochastic delta rule (Frazier-Logue and Hanson, "Dropout is a special case of the stochastic delta rule: faster and more
// accurate deep learning", 2018-2020) beside no regularisation, dropout and noise of other kinds: per learning rate one
// network, the same first weights, batches and schedule for all arms.
#include "arms.hpp"
#include "parity.hpp"
#include "report.hpp"

using namespace sdr_example;

namespace {

int compare(const Options& options) {
    const Architecture& arch = architecture(options.arch);
    const bool colour = example::is_cifar(options.data);
    std::vector<Arm> arms;
    for (const std::string& text : options.arms) arms.push_back(parse_arm(text));  // a wrong one is said before anything runs
    static_cast<void>(make_network(arch, colour, 0, Key(0)));
    example::make_folder(options.out);
    const example::ImageSets all = example::read_images(options.data, colour);
    const long images = options.images > 0 ? options.images : arch.train_images;
    if (images > all.train.size()) fail<ValueError>("--images: ", images, ", but there are ", all.train.size());
    example::ImageSets sets{images > 0 ? all.train.first(images) : all.train, all.test};
    int epochs = options.epochs > 0 ? options.epochs : arch.epochs;
    if (options.quick) {
        sets = {all.train.first(std::min(1000L, sets.train.size())), all.test.first(1000)};
        epochs = options.epochs > 0 ? options.epochs : 3;
    }
    const std::vector<double> lrs = options.lrs.empty() ? std::vector<double>{arch.lr} : options.lrs;
    std::printf("data: %s, the first %ld training images and %ld test images, normalised, no augmentation\n", colour ? "CIFAR-10" : "Fashion-MNIST", sets.train.size(), sets.test.size());
    std::printf("network: %s, %ld parameters; %d epochs, batches of %ld; SGD with Nesterov momentum 0.9, weight decay %g, rate x 0.1 after a half and three quarters\n", arch.words,
                nn::parameter_count(make_network(arch, colour, 0, Key(0))), epochs, options.batch, options.weight_decay);
    const double begun = example::Progress::now();
    example::Result result;
    Options shown = options;
    shown.lrs = lrs;
    std::vector<Runs> runs;
    for (const double lr : lrs)
        for (const Arm& arm : arms) runs.push_back({arm, lr});
    for (const double lr : lrs) {
        // Seeds outside: what there is after an interruption can be compared.
        for (const std::uint64_t seed : options.seeds)
            for (Runs& who : runs) {
                if (who.lr != lr || example::interrupted()) continue;
                const std::string folder = options.out + "/" + arch.key + "-lr" + short_number(lr) + "/" + who.arm.key + "-seed" + std::to_string(seed);
                example::make_folder(folder);
                run_one(who, arch, options, seed, sets, colour, epochs, folder);
            }
        if (example::interrupted()) std::printf("\ninterrupted: here is what was finished; the same command with --resume goes on\n");
        report(runs, arch, shown, epochs, lr, result);
    }
    if (!options.quick) print_published();
    result.add("seeds", std::to_string(options.seeds.size()));
    result.add("interrupted", example::interrupted() ? "1" : "0").add("seconds", example::Progress::now() - begun, 1);
    result.print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    options.data = data::fashion_mnist_folder;
    options.out = "out/sdr";
    CLI::App app("The stochastic delta rule beside no regularisation, dropout and other noise, on Fashion-MNIST or CIFAR-10, and the parity problem (--parity)", "sdr");
    options.add_to(app);
    options.arms = {"none", "dropout:.2", "sdr:.1:.7", "alive:.1:.999", "dynamic", "static:4", "dropconnect:.2", "gaussian:.2"};
    app.add_option("--arms", options.arms, "what to compare: none, dropout[:p], sdr[:beta[:zeta]] (as published), alive[:beta[:zeta]] (deviations move with every batch), "
                                            "dynamic[:beta[:rho]] (ours), static[:factor], dropconnect[:p], gaussian[:p]")->delimiter(',')->capture_default_str();
    app.add_option("--arch", options.arch, "network: mlp, mini-densenet, resnet8, resnet20, densenet22 or densenet40")->capture_default_str();
    app.add_option("--lrs", options.lrs, "learning rates, as .1,.25: every arm at each; none: the network's own")->delimiter(',');
    app.add_option("--checkpoint-every", options.checkpoint_every, "steps between checkpoints, 0: after every epoch and on Ctrl-C")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--images", options.images, "training images, the first of the set; 0: the network's own number")->check(CLI::Range(0L, 60000L))->capture_default_str();
    app.add_option("--batch", options.batch, "images per step")->check(CLI::Range(1L, 60000L))->capture_default_str();
    app.add_option("--weight-decay", options.weight_decay, "L2 weight decay")->check(CLI::NonNegativeNumber)->capture_default_str();
    app.add_option("--seeds", options.seeds, "several seeds, as 0,1,2: the tables give mean and deviation")->delimiter(',');
    app.add_flag("--parity", options.parity, "the parity problem instead");
    app.add_flag("--paper-table", options.paper_table, "print what was published, and end");
    return example::run(app, argc, argv, [&] {
        if (options.seeds.empty()) options.seeds = app.count("--seed") > 0 || options.quick ? std::vector<std::uint64_t>{options.seed} : std::vector<std::uint64_t>{0, 1, 2};
        for (const double lr : options.lrs)
            if (!(lr > 0)) fail<ValueError>("--lrs: ", lr, ": expected numbers above 0");
        if (options.paper_table) {
            print_published();
            return example::success;
        }
        example::catch_interrupt();
        options.apply();
        example::print_machine("sdr", options.device.c_str());
        if (options.parity) {
            example::Result result;
            parity(options.quick, options.seeds[0], result);
            result.add("interrupted", example::interrupted() ? "1" : "0").print();
            return example::interrupted() ? example::interrupted_exit : example::success;
        }
        return compare(options);
    });
}
