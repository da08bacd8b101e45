// The CSV log: what is in the file after every call, and what it does with files that are there.
#include <tenon/io/csv.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

using namespace tenon;
using io::CsvLog, io::CsvMode;

namespace {
struct Scratch {
    std::string folder, path;
    Scratch() {
        char name[] = "/tmp/tenon-csv-XXXXXX";
        folder = ::mkdtemp(name);
        path = folder + "/log.csv";
    }
    ~Scratch() {
        std::remove(path.c_str());
        ::rmdir(folder.c_str());
    }
    std::string content() const {
        std::ifstream file(path);
        std::ostringstream all;
        all << file.rdbuf();
        return all.str();
    }
    void put(const std::string& text) const { std::ofstream(path) << text; }
};
std::string error_of(auto&& f) {
    try {
        f();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}
}  // namespace

TEST_CASE("a row is in the file as soon as it is logged, below one header", "[csv]") {
    Scratch scratch;
    CsvLog log(scratch.path, {"epoch", "optimiser", "loss"});
    CHECK(scratch.content() == "epoch,optimiser,loss\n");
    log.row(1, "adam", 0.5);
    CHECK(scratch.content() == "epoch,optimiser,loss\n1,adam,0.5\n");
    log.row(2L, std::string("sgd"), 0.25f);
    CHECK(scratch.content() == "epoch,optimiser,loss\n1,adam,0.5\n2,sgd,0.25\n");
}

TEST_CASE("text is quoted where it must be", "[csv]") {
    Scratch scratch;
    CsvLog log(scratch.path, {"a,b", "c"});
    log.row("say \"so\"", "two\nlines");
    CHECK(scratch.content() == "\"a,b\",c\n\"say \"\"so\"\"\",\"two\nlines\"\n");
}

TEST_CASE("numbers read back as the same value", "[csv]") {
    Scratch scratch;
    const double values[] = {0.1, 1.0 / 3.0, 1e-300, -0.0, 123456789012345678.0, std::nextafter(1.0, 2.0), 5e-324,
                             std::numeric_limits<double>::infinity()};
    const float small[] = {0.1f, 1.0f / 3.0f, 16777217.0f, std::nextafter(1.0f, 2.0f)};
    {
        CsvLog log(scratch.path, {"x"});
        for (double v : values) log.row(v);
        for (float v : small) log.row(v);
        log.row(std::nan(""));
    }
    std::istringstream lines(scratch.content());
    std::string line;
    std::getline(lines, line);
    for (double v : values) {
        std::getline(lines, line);
        CHECK(std::strtod(line.c_str(), nullptr) == v);
    }
    for (float v : small) {
        std::getline(lines, line);
        CHECK(std::strtof(line.c_str(), nullptr) == v);
    }
    std::getline(lines, line);
    CHECK(std::isnan(std::strtod(line.c_str(), nullptr)));
    CHECK(scratch.content().substr(0, 6) == "x\n0.1\n");
}

TEST_CASE("a file that is there is replaced or gets more rows, never a second header", "[csv]") {
    Scratch scratch;
    { CsvLog(scratch.path, {"a", "b"}).row(1, 2); }
    { CsvLog(scratch.path, {"a", "b"}, CsvMode::append).row(3, 4); }
    CHECK(scratch.content() == "a,b\n1,2\n3,4\n");
    { CsvLog(scratch.path, {"a", "b"}).row(5, 6); }
    CHECK(scratch.content() == "a,b\n5,6\n");
}

TEST_CASE("a row that was cut short is dropped when rows are appended", "[csv]") {
    Scratch scratch;
    scratch.put("a,b\n1,2\n3");
    { CsvLog(scratch.path, {"a", "b"}, CsvMode::append).row(5, 6); }
    CHECK(scratch.content() == "a,b\n1,2\n5,6\n");
    scratch.put("a,");
    { CsvLog(scratch.path, {"a", "b"}, CsvMode::append).row(7, 8); }
    CHECK(scratch.content() == "a,b\n7,8\n");
}

TEST_CASE("a run that goes on from a checkpoint drops the rows behind it", "[csv]") {
    Scratch scratch;
    long size = 0;
    {
        CsvLog log(scratch.path, {"a", "b"});
        log.row(1, 2);
        size = log.size();
        CHECK(size == 8);
        log.row(3, 4);
    }
    { CsvLog(scratch.path, {"a", "b"}, CsvMode::append, size).row(5, 6); }
    CHECK(scratch.content() == "a,b\n1,2\n5,6\n");
    CHECK(error_of([&] { CsvLog(scratch.path, {"a", "b"}, CsvMode::append, 13); }).find("has 12 bytes: expected at least 13") != std::string::npos);
    { CsvLog(scratch.path, {"a", "b"}, CsvMode::append, 0).row(7, 8); }
    CHECK(scratch.content() == "a,b\n7,8\n");
}

TEST_CASE("the CSV log says what is wrong", "[csv]") {
    Scratch scratch;
    scratch.put("x,y\n1,2\n");
    const std::string other = error_of([&] { CsvLog(scratch.path, {"a", "b"}, CsvMode::append); });
    CHECK(other.find(scratch.path) != std::string::npos);
    CHECK(other.find("has the columns x,y: expected a,b") != std::string::npos);
    CHECK(scratch.content() == "x,y\n1,2\n");
    CHECK_THROWS_AS(CsvLog(scratch.folder + "/none/log.csv", {"a"}), FileError);
    CHECK_THROWS_AS(CsvLog(scratch.folder, {"a"}), FileError);
    CHECK_THROWS_AS(CsvLog(scratch.path, {}), ValueError);
    CsvLog log(scratch.path, {"a", "b"});
    CHECK_THROWS_AS(log.row(1), ValueError);
    CHECK(scratch.content() == "a,b\n");
    CHECK_THROWS_AS(CsvLog("/dev/full", {"a"}), FileError);
}
