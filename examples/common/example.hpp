// What the example programs share: the machine they run on, a progress bar, tables, the result line, Ctrl-C and the
// exit codes for bad input.
#pragma once

#include <tenon/base/error.hpp>
#include <tenon/base/isa.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/train/progress.hpp>

#include <CLI/CLI.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace example {

using tenon::train::Progress;

// Exit codes: the run did what it should; it did not (a figure is off, an internal error); the input was wrong.
inline constexpr int success = 0, failure = 1, bad_input = 2, interrupted_exit = 130;

namespace detail {
inline volatile std::sig_atomic_t interrupted = 0;
}

// After this, the first Ctrl-C only sets interrupted(), a second one ends the program.
inline void catch_interrupt() {
    struct sigaction action {};
    action.sa_handler = [](int) { detail::interrupted = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigaction(SIGINT, &action, nullptr);
}
inline bool interrupted() { return detail::interrupted != 0; }

inline std::string cpu_model() {
    std::string model = "unknown CPU";
    if (std::FILE* file = std::fopen("/proc/cpuinfo", "r")) {
        char line[512];
        while (std::fgets(line, sizeof line, file) != nullptr) {
            if (std::strncmp(line, "model name", 10) != 0) continue;
            if (const char* colon = std::strchr(line, ':')) {
                model = colon + 1;
                while (!model.empty() && (model.back() == '\n' || model.back() == ' ')) model.pop_back();
                while (!model.empty() && model.front() == ' ') model.erase(0, 1);
            }
            break;
        }
        std::fclose(file);
    }
    return model;
}

// The first lines of every example: what runs where.
inline void print_machine(const char* program, const char* device) {
    std::printf("%s (tenon %d.%d.%d)\n", program, TENON_VERSION_MAJOR, TENON_VERSION_MINOR, TENON_VERSION_PATCH);
    std::printf("machine: %s, %ld cores; device: %s; instruction set: %s; threads: %d\n", cpu_model().c_str(),
                sysconf(_SC_NPROCESSORS_ONLN), device, tenon::name(tenon::isa()), tenon::num_threads());
    std::fflush(stdout);
}

// Creates a folder and those above it. Throws FileError.
inline void make_folder(const std::string& path) {
    for (std::size_t at = 1; at <= path.size(); ++at) {
        if (at != path.size() && path[at] != '/') continue;
        const std::string part = path.substr(0, at);
        struct stat status;
        if (::mkdir(part.c_str(), 0777) == 0) continue;
        const int why = errno;
        if (::stat(part.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) continue;
        tenon::fail<tenon::FileError>("--out: cannot create the folder \"", part.c_str(), "\": ",
                                      std::strerror(why == EEXIST ? ENOTDIR : why));
    }
}

// A table with columns as wide as their cells: text to the left in the first column, to the right in the others.
class Table {
public:
    explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
    void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    void print() const {
        std::vector<std::size_t> width(rows_[0].size(), 0);
        for (const auto& row : rows_)
            for (std::size_t i = 0; i < row.size() && i < width.size(); ++i) width[i] = std::max(width[i], columns(row[i]));
        for (std::size_t r = 0; r < rows_.size(); ++r) {
            for (std::size_t i = 0; i < width.size(); ++i) {
                const std::string cell = i < rows_[r].size() ? rows_[r][i] : "";
                const std::string padding(width[i] - columns(cell), ' ');
                std::printf("| %s%s ", i == 0 ? cell.c_str() : padding.c_str(), i == 0 ? padding.c_str() : cell.c_str());
            }
            std::printf("|\n");
            if (r != 0) continue;
            for (std::size_t i = 0; i < width.size(); ++i) {
                std::printf("|-");
                for (std::size_t k = 0; k < width[i]; ++k) std::putchar('-');
                std::putchar(i == 0 ? '-' : ':');
            }
            std::printf("|\n");
        }
        std::fflush(stdout);
    }

private:
    // Characters, not bytes: text is UTF-8.
    static std::size_t columns(const std::string& text) {
        std::size_t count = 0;
        for (char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
        return count;
    }

    std::vector<std::vector<std::string>> rows_;
};

// A number with so many decimals; "-" for what is not a number.
inline std::string number(double value, int decimals) {
    if (value != value) return "-";
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", decimals, value);
    return text;
}

// The last line of every example: "result: name=value name=value ...".
class Result {
public:
    Result& add(const std::string& name, const std::string& value) {
        text_ += " " + name + "=" + value;
        return *this;
    }
    Result& add(const std::string& name, double value, int decimals) {
        return add(name, value != value ? std::string("nan") : number(value, decimals));
    }
    void print() const {
        std::printf("result:%s\n", text_.c_str());
        std::fflush(stdout);
    }

private:
    std::string text_;
};

// Options that every example has.
struct CommonOptions {
    std::string data, out, device = "cpu";
    int threads = 0, epochs = 0;
    std::uint64_t seed = 0;
    bool quick = false, resume = false;

    void add_to(CLI::App& app) {
        app.add_option("--data", data, "folder of the data set")->capture_default_str();
        app.add_option("--out", out, "folder for logs, pictures and checkpoints, made if absent")->capture_default_str();
        app.add_option("--seed", seed, "seed of the first weights, of the order of the batches and of every other draw")->capture_default_str();
        app.add_option("--epochs", epochs, "epochs of each run, 0: the example's own number")->check(CLI::Range(0, 10000))->capture_default_str();
        app.add_flag("--resume", resume, "go on from the last checkpoints in --out, after Ctrl-C or a crash: the same bits as without the break");
        app.add_option("--threads", threads, "threads to compute with, 0: one per core")->check(CLI::Range(0, 256))->capture_default_str();
        app.add_option("--device", device, "device to train on: cpu, cuda or cuda:<index>")->capture_default_str();
        app.add_flag("--quick", quick, "a run of a few seconds that shows that everything works; its figures mean nothing");
    }
    void apply() const {
        if (threads > 0) tenon::set_num_threads(threads);
        static_cast<void>(tenon::zeros<float>({1}, place()));  // says what is missing before anything is read
    }
    tenon::Device place() const { return tenon::Device::parse(device.c_str()); }
};

// Parses the command line and runs body; says on stderr what is wrong with the input and turns it into an exit code.
template <class Body>
int run(CLI::App& app, int argc, char** argv, Body&& body) {
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? success : bad_input;
    }
    try {
        return body();
    } catch (const tenon::FileError& error) {
        std::fflush(stdout);
        std::fprintf(stderr, "%s\n", error.what());
        return bad_input;
    } catch (const tenon::DeviceError& error) {
        std::fflush(stdout);
        std::fprintf(stderr, "%s\n", error.what());
        return bad_input;
    } catch (const tenon::ValueError& error) {
        std::fflush(stdout);
        std::fprintf(stderr, "%s\n", error.what());
        return bad_input;
    } catch (const std::exception& error) {
        std::fflush(stdout);
        std::fprintf(stderr, "%s\n", error.what());
        return failure;
    }
}

}  // namespace example
