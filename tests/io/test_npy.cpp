// .npy files: every type and shape both ways, with NumPy at the other end, and the error for each way to be bad.
#include "files.hpp"
#include "python.hpp"

#include <tenon/io/npy.hpp>

using namespace tenon;
using files::Bytes, files::error_of, files::has;

namespace {
Bytes npy(const std::string& header, const Bytes& content, int version = 1) {
    Bytes bytes = files::bytes_of("\x93NUMPY");
    bytes.push_back(static_cast<unsigned char>(version));
    bytes.push_back(0);
    for (int i = 0; i < (version == 1 ? 2 : 4); ++i) bytes.push_back(static_cast<unsigned char>(header.size() >> 8 * i));
    bytes.insert(bytes.end(), header.begin(), header.end());
    bytes.insert(bytes.end(), content.begin(), content.end());
    return bytes;
}
std::string error_for(const Bytes& bytes) {
    const files::MemoryFile file(bytes);
    const std::string text = error_of<FileError>([&] { io::read_npy(file.path()); });
    CHECK(has(text, "read_npy: \"" + file.path() + "\""));
    CHECK(has(text, "expected"));
    CHECK(has(text, "\nhint: "));
    return text;
}
}  // namespace

TEST_CASE("what write_npy writes, read_npy reads: every type and shape", "[npy]") {
    const files::Folder folder;
    files::for_each_type([&](const char* name, auto type) {
        for (const auto& shape : files::shapes) {
            INFO(name << " " << files::text_of(shape));
            const io::Array x = files::make<decltype(type)>(shape);
            io::write_npy(folder / "x.npy", x);
            CHECK(files::equal(io::read_npy(folder / "x.npy"), x));
            CHECK((files::read(folder / "x.npy").size() - io::detail::byte_count(x.record())) % 64 == 0);
        }
    });
    CHECK(folder.list() == std::vector<std::string>{"x.npy"});  // nothing unfinished is left
}

TEST_CASE("views are written in row-major order", "[npy]") {
    const files::Folder folder;
    const Tensor<float, 2> x = files::make<float>({3, 4}).as<float, 2>();
    io::write_npy(folder / "x.npy", x.transpose());
    const auto y = io::read_npy<float, 2>(folder / "x.npy");
    REQUIRE(y.shape(0) == 4);
    for (long i = 0; i < 4; ++i)
        for (long k = 0; k < 3; ++k) CHECK(y.data()[3 * i + k] == x.data()[4 * k + i]);
    io::write_npy(folder / "x.npy", x(slice(0, 3, 2), slice(1, 4, 2)));
    const auto z = io::read_npy<float, 2>(folder / "x.npy");
    CHECK(z.data()[0] == x.data()[1]);
    CHECK(z.data()[3] == x.data()[11]);
}

TEST_CASE("NumPy reads what write_npy writes, and the other way round", "[npy]") {
    const std::string interpreter = python::find("numpy");
    if (interpreter.empty()) return;
    const files::Folder folder;
    const std::string script = TENON_TEST_DIR "/io/exchange.py";
    auto result = python::run(interpreter, script + " npy-write " + folder.path);
    INFO(result.output);
    REQUIRE(result.status == 0);
    long count = 0;
    files::for_each_type([&](const std::string& name, auto type) {
        for (const auto& shape : files::shapes) {
            const io::Array x = files::make<decltype(type)>(shape);
            io::write_npy(folder / (name + "-" + files::text_of(shape) + ".npy"), x);
            if (name == "bfloat16") continue;
            for (const char* order : {"le", "be"})
                for (const char* memory : {"C", "F"})
                    for (const char* version : {"1", "2", "3"}) {
                        const std::string file = name + "-" + files::text_of(shape) + "-" + order + "-" + memory + "-" + version + ".npy";
                        INFO(file);
                        CHECK(files::equal(io::read_npy(folder / file), x));
                        ++count;
                    }
        }
    });
    CHECK(std::to_string(count) + "\n" == result.output);
    result = python::run(interpreter, script + " npy-check " + folder.path);
    INFO(result.output);
    CHECK(result.status == 0);
    CHECK(result.output == "ok\n");
}

TEST_CASE("headers may be written in other ways", "[npy]") {
    const Bytes four = {1, 2, 3, 4};
    for (const char* header : {"{'descr':'|u1','fortran_order':False,'shape':(4,)}", "{ \"shape\" : ( 4L , ), 'fortran_order' : True, \"descr\" : \"<u1\" , } \n",
                               "{'shape': (2, 2), 'descr': '=u1', 'fortran_order': False}"}) {
        const files::MemoryFile file(npy(header, four));
        const io::Array x = io::read_npy(file.path());
        CHECK(x.dtype() == DType::uint8);
        CHECK(std::memcmp(x.record()->data(), four.data(), 4) == 0);
    }
    SECTION("a bool is 0 or 1 whatever the byte") {
        const files::MemoryFile file(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (4,)}", {0, 1, 2, 255}));
        const auto x = io::read_npy<bool, 1>(file.path());
        CHECK(std::memcmp(x.data(), "\0\1\1\1", 4) == 0);
    }
    SECTION("bf16 of either byte order") {
        const files::MemoryFile file(npy("{'descr': '>V2', 'fortran_order': False, 'shape': (1,)}", {0x3f, 0xc0}));
        CHECK(static_cast<float>(io::read_npy<bf16, 1>(file.path()).data()[0]) == 1.5f);
    }
}

TEST_CASE("each way to be bad has its error", "[npy]") {
    const Bytes four = {1, 2, 3, 4};
    CHECK(has(error_for({}), "is too short"));
    CHECK(has(error_for(files::bytes_of("PK\3\4 this is a zip file")), "is not a .npy file"));
    CHECK(has(error_for(npy("{}", {}, 4)), "of version 4.0: expected 1.0, 2.0 or 3.0"));
    CHECK(has(error_for(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}", four)), "is truncated: expected uint8[5], the file holds 4 bytes"));
    CHECK(has(error_for(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3,)}", four)), "goes on behind its elements: expected uint8[3], 3 bytes, found 4"));
    CHECK(has(error_for(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", four)), "is truncated: expected double"));
    CHECK(has(error_for(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4611686018427387904, 4)}", Bytes{})), "is truncated: expected double"));
    CHECK(has(error_for(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}", four)), "expected a size below 2^63"));
    CHECK(has(error_for(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", four)), "expected a size at character"));
    CHECK(has(error_for(npy("{'descr': '<c8', 'fortran_order': False, 'shape': ()}", four)), "holds elements of type '<c8'"));
    CHECK(has(error_for(npy("{'descr': '<i2', 'fortran_order': False, 'shape': ()}", four)), "x.astype"));
    CHECK(has(error_for(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", four)), "structured array"));
    CHECK(has(error_for(npy("{'descr': '|u1', 'shape': (4,)}", four)), "expected the keys descr, fortran_order and shape"));
    CHECK(has(error_for(npy("{'descr': '|u1', 'descr': '|u1', 'shape': (4,)}", four)), "expected every key once"));
    CHECK(has(error_for(npy("{'descr': '|u1', 'fortran_order': None, 'shape': (4,)}", four)), "expected True or False"));
    CHECK(has(error_for(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,)} x", four)), "nothing but blanks"));
    CHECK(has(error_for(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,4)}", four)), "more than 8 axes"));
    CHECK(has(error_of<FileError>([] { io::read_npy("/nowhere/x.npy"); }), "cannot open \"/nowhere/x.npy\""));
    CHECK(has(error_of<FileError>([] { io::read_npy("/tmp"); }), "Is a directory"));
    CHECK(has(error_of<FileError>([] { io::write_npy("/nowhere/x.npy", zeros<float>({2})); }), "cannot create"));

    const files::MemoryFile file(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}", four));
    CHECK(has(error_of<DtypeError>([&] { io::read_npy<float, 1>(file.path()); }), "read_npy: \"" + file.path() + "\": expected float, the array is uint8[4]"));
    CHECK(has(error_of<ShapeError>([&] { io::read_npy<std::uint8_t, 2>(file.path()); }), "expected rank 2, the array is uint8[4] on cpu of rank 1"));
}

TEST_CASE("damaged .npy files are read or refused, never more", "[npy][damage]") {
    const files::Folder folder;
    io::write_npy(folder / "x.npy", files::make<float>({2, 3}));
    const auto result = files::damage(files::read(folder / "x.npy"), [](const std::string& path) { io::read_npy(path); });
    CHECK(result.refused > 800);
    CHECK(result.read > 100);  // elements may have any value
    files::damage(npy("{'descr': '>f2', 'fortran_order': True, 'shape': (2, 2)}", {1, 2, 3, 4, 5, 6, 7, 8}, 3), [](const std::string& path) { io::read_npy(path); });
}
