// .npz archives: stored, deflated and zip64, both ways, with NumPy at the other end.
#include "files.hpp"
#include "python.hpp"

#include <tenon/io/npz.hpp>

using namespace tenon;
using files::error_of, files::has;

namespace {
std::vector<io::NamedArray> arrays() {
    std::vector<io::NamedArray> all;
    files::for_each_type([&](const std::string& name, auto type) {
        if (name == "bfloat16") return;
        for (const auto& shape : files::shapes) all.push_back({name + "-" + files::text_of(shape), files::make<decltype(type)>(shape)});
    });
    all.push_back({"repeated", zeros<float>({300, 1000})});
    all.push_back({"größe/und mehr", files::make<std::int32_t>({2, 3})});
    return all;
}
void check(const std::string& path) {
    const io::Npz file(path);
    const auto expected = arrays();
    CHECK(file.names().size() == expected.size());
    for (const io::NamedArray& x : expected) {
        INFO(path << " " << x.name);
        REQUIRE(file.contains(x.name));
        CHECK(files::equal(file.get(x.name), x.array));
    }
}
}  // namespace

TEST_CASE("what write_npz writes, Npz reads", "[npz]") {
    const files::Folder folder;
    for (const bool deflate : {false, true})
        for (const bool wide : {false, true}) {
            io::write_npz(folder / "x.npz", arrays(), {.deflate = deflate, .always_zip64 = wide});
            check(folder / "x.npz");
            CHECK((files::read(folder / "x.npz").size() < 600000) == deflate);
        }
    io::write_npz(folder / "x.npz", {});
    CHECK(io::Npz(folder / "x.npz").names().empty());
    const auto first = files::read(folder / "x.npz");
    io::write_npz(folder / "x.npz", {});
    CHECK(files::read(folder / "x.npz") == first);
}

TEST_CASE("large members are packed and unpacked in pieces", "[npz]") {
    const files::Folder folder;
    Tensor<std::int64_t, 1> noise = zeros<std::int64_t>({600000});
    for (long i = 0; i < noise.size(); ++i) noise.data()[i] = random_word(Key(1), static_cast<std::uint64_t>(i)) % 1000;
    io::write_npz(folder / "x.npz", {{"noise", noise}}, {.deflate = true});
    CHECK(files::equal(io::Npz(folder / "x.npz").get("noise"), noise));
}

TEST_CASE("more members than 16 bits count", "[npz]") {
    const files::Folder folder;
    std::vector<io::NamedArray> many;
    const io::Array x = files::make<std::uint8_t>({1});
    for (int i = 0; i < 66000; ++i) many.push_back({std::to_string(i), x});
    io::write_npz(folder / "x.npz", many);
    const io::Npz file(folder / "x.npz");
    CHECK(file.names().size() == 66000);
    CHECK(files::equal(file.get("65999"), x));
}

TEST_CASE("NumPy's archives are read and ours by NumPy", "[npz]") {
    const std::string interpreter = python::find("numpy");
    if (interpreter.empty()) return;
    const files::Folder folder;
    const std::string script = TENON_TEST_DIR "/io/exchange.py";
    auto result = python::run(interpreter, script + " npz-write " + folder.path);
    INFO(result.output);
    REQUIRE(result.status == 0);
    for (const char* kind : {"stored", "deflated", "zip64", "piped"}) check(folder / (std::string(kind) + ".npz"));
    io::write_npz(folder / "stored.npz", arrays());
    io::write_npz(folder / "deflated.npz", arrays(), {.deflate = true});
    io::write_npz(folder / "stored64.npz", arrays(), {.always_zip64 = true});
    io::write_npz(folder / "deflated64.npz", arrays(), {.deflate = true, .always_zip64 = true});
    io::write_npz(folder / "none.npz", {});
    result = python::run(interpreter, script + " npz-check " + folder.path);
    INFO(result.output);
    CHECK(result.output == "ok\n");
}

TEST_CASE("each way to be bad has its error", "[npz]") {
    const files::Folder folder;
    const io::Array x = files::make<float>({2, 3});
    CHECK(has(error_of<ValueError>([&] { io::write_npz(folder / "x.npz", {{"a", x}, {"b", x}, {"a", x}}); }), "the name \"a\" came twice"));
    CHECK(has(error_of<ValueError>([&] { io::write_npz(folder / "x.npz", {{"", x}}); }), "a name is empty"));
    CHECK(folder.list().empty());
    io::write_npz(folder / "x.npz", {{"a", x}, {"b", x}});
    const io::Npz file(folder / "x.npz");
    CHECK(has(error_of<FileError>([&] { file.get("c"); }), "has no array \"c\": expected one of a, b"));
    CHECK(has(error_of<DtypeError>([&] { file.get<double, 2>("a"); }), "member \"a\": expected double, the array is float[2, 3]"));

    auto bytes = files::read(folder / "x.npz");
    const auto open = [&](const files::Bytes& content) {
        const files::MemoryFile damaged(content);
        return error_of<FileError>([&] { io::Npz(damaged.path()).get("a"); });
    };
    CHECK(has(open({}), "is too short"));
    CHECK(has(open(files::Bytes(bytes.begin(), bytes.end() - 1)), "is no zip archive"));
    bytes[30 + 5 + 20 + 128] ^= 1;  // an element of a
    CHECK(has(open(bytes), "member \"a\" is a damaged archive: its checksum is wrong"));
}

TEST_CASE("a member that claims to unpack to far more than it can is refused before memory is taken", "[npz]") {
    const files::Folder folder;
    io::write_npz(folder / "x.npz", {{"a", zeros<float>({2500})}}, {.deflate = true});
    auto bytes = files::read(folder / "x.npz");
    // The size in the central directory, 24 bytes into its only entry.
    const std::size_t entry = bytes.size() - 22 - 46 - 5;
    REQUIRE(bytes[entry] == 'P');
    for (int i = 0; i < 4; ++i) bytes[entry + 24 + static_cast<std::size_t>(i)] = static_cast<unsigned char>(0x7fffffff >> 8 * i);
    const files::MemoryFile file(bytes);
    CHECK(has(error_of<FileError>([&] { io::Npz(file.path()).get("a"); }), "claims to unpack to more than it can"));
}

TEST_CASE("damaged archives are read or refused, never more", "[npz][damage]") {
    const files::Folder folder;
    const auto read_all = [](const std::string& path) {
        const io::Npz file(path);
        for (const std::string& name : file.names()) file.get(name);
    };
    io::write_npz(folder / "x.npz", {{"a", files::make<float>({2})}, {"b", files::make<bool>({})}}, {.deflate = true, .always_zip64 = true});
    CHECK(files::damage(files::read(folder / "x.npz"), read_all).refused > 2000);
    io::write_npz(folder / "x.npz", {{"a", files::make<float>({2})}});
    CHECK(files::damage(files::read(folder / "x.npz"), read_all).refused > 1000);
}
