// Safetensors files: both ways, with NumPy and PyTorch at the other end; models by name; the error for each way to be bad.
#include "files.hpp"
#include "python.hpp"

#include <tenon/io/npy.hpp>
#include <tenon/io/safetensors.hpp>

#include <fstream>

using namespace tenon;
using files::Bytes, files::error_of, files::has;

namespace {
Bytes safetensors(const std::string& header, const Bytes& content) {
    Bytes bytes;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<unsigned char>(i < 4 ? header.size() >> 8 * i : 0));
    bytes.insert(bytes.end(), header.begin(), header.end());
    bytes.insert(bytes.end(), content.begin(), content.end());
    return bytes;
}
void read_all(const std::string& path) {
    const io::Safetensors file(path);
    for (const std::string& name : file.names()) file.get(name);
}
std::string error_for(const Bytes& bytes) {
    const files::MemoryFile file(bytes);
    const std::string text = error_of<FileError>([&] { read_all(file.path()); });
    CHECK(has(text, "Safetensors: \"" + file.path() + "\""));
    CHECK(has(text, "expected"));
    return text;
}
std::vector<io::NamedArray> all_types(bool with_bf16 = true) {
    std::vector<io::NamedArray> all;
    files::for_each_type([&](const std::string& name, auto type) {
        if (name == "bfloat16" && !with_bf16) return;
        for (const auto& shape : files::shapes) all.push_back({name + "-" + files::text_of(shape), files::make<decltype(type)>(shape)});
    });
    return all;
}

// The network of exchange.py.
struct Net {
    nn::Linear<float> hidden, out;
    std::vector<nn::Linear<float>> layers;
    Tensor<std::int64_t, 0> count;
    explicit Net(Key key, bool tied = false) : hidden(3, 4, key.split(0)), out(4, 2, key.split(1)), count(zeros<std::int64_t>({})) {
        layers.emplace_back(4, 4, key.split(2));
        layers.emplace_back(4, 4, key.split(3));
        if (tied) layers[1].weight = Tensor<float, 2>(layers[0].weight.any());
    }
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const {
        Tensor<float, 2> h = relu(hidden(x));
        for (const auto& layer : layers) h = tanh(layer(h));
        return out(h);
    }
    static void visit(auto& self, auto&& f) {
        f("hidden", self.hidden);
        f("layers", self.layers);
        f("out", self.out);
        f("count", nn::buffer(self.count));
    }
};
bool same(const Net& a, const Net& b) {
    std::vector<io::Array> x, y;
    nn::for_each_tensor(a, [&](const char*, nn::Kind, const auto& t) { x.push_back(t); });
    nn::for_each_tensor(b, [&](const char*, nn::Kind, const auto& t) { y.push_back(t); });
    for (std::size_t i = 0; i < x.size(); ++i)
        if (!files::equal(x[i], y[i])) return false;
    return x.size() == y.size();
}
}  // namespace

TEST_CASE("what write_safetensors writes, Safetensors reads, without a copy", "[safetensors]") {
    const files::Folder folder;
    const auto arrays = all_types();
    io::write_safetensors(folder / "x.safetensors", arrays, {{"note", "größe \"quoted\"\n"}, {"empty", ""}});
    std::vector<io::Array> kept;
    {
        const io::Safetensors file(folder / "x.safetensors");
        CHECK(file.metadata() == io::Metadata{{"note", "größe \"quoted\"\n"}, {"empty", ""}});
        CHECK(file.names().size() == arrays.size());
        CHECK(file.header_size() % 64 == 0);
        const char *begin = reinterpret_cast<const char*>(file.bytes()), *end = begin + file.size();
        for (const io::NamedArray& x : arrays) {
            INFO(x.name);
            const io::Array y = file.get(x.name);
            CHECK(files::equal(y, x.array));
            const char* at = y.record()->data();
            CHECK((y.size() == 0 || (at >= begin && at < end)));
            kept.push_back(y);
        }
    }
    // The mapping lives as long as its tensors do, also when the file is gone.
    std::remove((folder / "x.safetensors").c_str());
    for (std::size_t i = 0; i < kept.size(); ++i) CHECK(files::equal(kept[i], arrays[i].array));
}

TEST_CASE("writing into a mapped tensor leaves the file alone", "[safetensors]") {
    const files::Folder folder;
    io::write_safetensors(folder / "x.safetensors", {{"x", files::make<float>({5})}});
    const auto before = files::read(folder / "x.safetensors");
    const io::Safetensors file(folder / "x.safetensors");
    const auto x = file.get<float, 1>("x");
    x.fill(7.f);
    CHECK(x.data()[4] == 7.f);
    CHECK(files::read(folder / "x.safetensors") == before);
    CHECK(files::equal(io::Safetensors(folder / "x.safetensors").get("x"), files::make<float>({5})));
    // A mapped tensor is a tensor like any other.
    auto w = io::Safetensors(folder / "x.safetensors").get<float, 1>("x");
    w.require_grad();
    sum(square(w)).backward();
    CHECK(w.grad().data()[1] == 2 * w.data()[1]);
}

TEST_CASE("elements at odd addresses and odd bools are copied", "[safetensors]") {
    const files::MemoryFile file(safetensors(R"({"b":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]},"f":{"dtype":"F32","shape":[1],"data_offsets":[3,7]}})", {0, 1, 7, 0, 0, 0xc0, 0x3f}));
    const io::Safetensors tensors(file.path());
    CHECK(tensors.get<float, 1>("f").data()[0] == 1.5f);
    CHECK(std::memcmp(tensors.get<bool, 1>("b").data(), "\0\1\1", 3) == 0);
}

TEST_CASE("a file far larger than memory would allow is opened at once", "[safetensors]") {
    const files::Folder folder;
    const long count = 3l << 30;  // 12 GiB of floats, all holes on disk
    std::string header = R"({"big":{"dtype":"F32","shape":[3221225472],"data_offsets":[0,12884901888]}})";
    while (header.size() % 8 != 0) header += ' ';  // elements at an even address are not copied
    files::write(folder / "big.safetensors", safetensors(header, {}));
    if (::truncate((folder / "big.safetensors").c_str(), static_cast<off_t>(8 + header.size() + 4 * static_cast<std::size_t>(count))) != 0) {
        WARN("no sparse files of 12 GiB here");
        return;
    }
    const auto big = io::Safetensors(folder / "big.safetensors").get<float, 1>("big");
    CHECK(big.size() == count);
    CHECK(big.data()[count - 1] == 0.f);
    CHECK(memory::statistics().live < (1l << 30));
}

TEST_CASE("the package's files are read and ours by the package", "[safetensors]") {
    const std::string interpreter = python::find("numpy,safetensors");
    if (interpreter.empty()) return;
    const files::Folder folder;
    const std::string script = TENON_TEST_DIR "/io/exchange.py";
    auto result = python::run(interpreter, script + " safetensors-write " + folder.path);
    INFO(result.output);
    REQUIRE(result.status == 0);
    const io::Safetensors file(folder / "package.safetensors");
    CHECK(file.metadata() == io::Metadata{{"note", "größe"}});
    for (const io::NamedArray& x : all_types(false)) {
        INFO(x.name);
        CHECK(files::equal(file.get(x.name), x.array));
    }
    io::write_safetensors(folder / "ours.safetensors", all_types(false), {{"note", "größe \"quoted\"\n"}});
    result = python::run(interpreter, script + " safetensors-check " + folder.path);
    INFO(result.output);
    CHECK(result.output == "ok\n");
}

TEST_CASE("models move between PyTorch and tenon by name", "[safetensors]") {
    const std::string interpreter = python::find("numpy,torch,safetensors.torch");
    if (interpreter.empty()) return;
    const files::Folder folder;
    const std::string script = TENON_TEST_DIR "/io/exchange.py";
    auto result = python::run(interpreter, script + " torch-write " + folder.path);
    INFO(result.output);
    REQUIRE(result.status == 0);
    Tensor<float, 2> x = linspace<float>(-1, 1, 15).reshape({5, 3});
    const no_grad guard;
    for (const bool tied : {false, true}) {
        Net net(Key{1}, tied);
        const std::string path = folder / (std::string("torch-") + (tied ? "tied" : "free") + ".safetensors");
        io::load(path, net);
        CHECK(net.count.item() == 7);
        const auto expected = io::read_npy<float, 2>(path + ".npy"), found = net(x);
        // Four products of up to 4 terms of size around 1.
        for (long i = 0; i < found.size(); ++i) CHECK(std::abs(found.data()[i] - expected.data()[i]) <= 1e-6f);

        Net ours(Key{2}, tied);
        ours.count.fill(11);
        const std::string own = folder / (std::string("ours-") + (tied ? "tied" : "free") + ".safetensors");
        io::save(own, ours);
        io::write_npy(own + ".npy", ours(x));
    }
    const io::Safetensors types(folder / "torch-types.safetensors");
    files::for_each_type([&](const char* name, auto type) {
        using T = decltype(type);
        const auto values = types.get<T, 2>(name);
        for (long i = 0; i < 6; ++i) {
            if constexpr (std::is_same_v<T, bool>) CHECK(values.data()[i] == (i != 3));
            else if constexpr (std::is_same_v<T, std::uint8_t>) CHECK(values.data()[i] == static_cast<T>(i - 3));
            else CHECK(static_cast<long>(values.data()[i]) == i - 3);
        }
    });
    result = python::run(interpreter, script + " torch-check " + folder.path);
    INFO(result.output);
    CHECK(result.output == "ok\n");
}

TEST_CASE("saving and loading a module", "[safetensors]") {
    const files::Folder folder;
    const std::string path = folder / "net.safetensors";
    const Net net(Key{1});
    io::save(path, net);
    Net other(Key{2});
    REQUIRE(!same(net, other));
    const Tensor<float, 2> weight = other.hidden.weight;
    const auto version = weight.record()->storage->version;
    io::load(path, other);
    CHECK(same(net, other));
    CHECK(weight.data() == other.hidden.weight.data());  // written through: handles elsewhere follow
    CHECK(weight.record()->storage->version != version);
    CHECK(other.hidden.weight.requires_grad());
}

TEST_CASE("an optimiser goes on with loaded values", "[safetensors]") {
    const files::Folder folder;
    const Net net(Key{1});
    io::save(folder / "net.safetensors", net);
    Net other(Key{2});
    auto optimiser = optim::sgd(other, {.lr = 0.5});
    io::load(folder / "net.safetensors", other);
    CHECK(same(net, other));
    const auto x = linspace<float>(-1, 1, 15).reshape({5, 3});
    mean(square(other(x))).backward();
    optimiser.step();
    CHECK(!same(net, other));
}

TEST_CASE("tied tensors are stored once and tied names are found again", "[safetensors]") {
    const files::Folder folder;
    const std::string path = folder / "net.safetensors";
    const Net net(Key{1}, true);
    io::save(path, net, {{"note", "mine"}});
    {
        const io::Safetensors file(path);
        CHECK(!file.contains("layers.1.weight"));
        CHECK(file.metadata() == io::Metadata{{"format", "pt"}, {"note", "mine"}, {"layers.1.weight", "layers.0.weight"}});
    }
    Net tied(Key{2}, true), free(Key{3}, false);
    io::load(path, tied);
    CHECK(same(net, tied));
    io::load(path, free);  // not tied there: both get the values
    CHECK(same(net, free));
    CHECK(free.layers[0].weight.data() != free.layers[1].weight.data());
    // A file with both names loads into a tied module where the values agree, and is refused where they do not.
    io::save(path, free);
    Net again(Key{4}, true);
    io::load(path, again);
    CHECK(same(net, again));
    free.layers[1].weight.data()[3] += 1;
    io::save(path, free);
    CHECK(has(error_of<ShapeError>([&] { io::load(path, again); }), "layers.0.weight and layers.1.weight are one tensor here: expected equal values"));
    CHECK(same(net, again));
}

TEST_CASE("what does not fit is listed and nothing is written", "[safetensors]") {
    const files::Folder folder;
    const std::string path = folder / "net.safetensors";
    Net net(Key{1});
    const Net before = clone(net);
    io::write_safetensors(path, {{"hidden.weight", zeros<float>({4, 3})}, {"hidden.bias", zeros<float>({4})}, {"extra", zeros<float>({1})}});
    const std::string names = error_of<FileError>([&] { io::load(path, net); });
    CHECK(has(names, "io::load: \"" + path + "\" does not have the names of the module"));
    CHECK(has(names, "missing: layers.0.weight, layers.0.bias, layers.1.weight, layers.1.bias, out.weight, out.bias, count"));
    CHECK(has(names, "unexpected: extra"));
    CHECK(has(names, "hint: pass {.strict = false}"));
    CHECK(same(net, before));
    io::write_safetensors(path, {{"hidden.weight", zeros<float>({3, 4})}, {"hidden.bias", zeros<double>({4})}});
    const std::string sizes = error_of<ShapeError>([&] { io::load(path, net, {.strict = false}); });
    CHECK(has(sizes, "hidden.weight: expected float[4, 3] on cpu, the file has float[3, 4]"));
    CHECK(has(sizes, "hidden.bias: expected float[4] on cpu, the file has double[4]"));
    CHECK(same(net, before));
    io::write_safetensors(path, {{"hidden.bias", ones<float>({4})}, {"extra", zeros<float>({1})}});
    const io::LoadReport report = io::load(path, net, {.strict = false});
    CHECK(report.missing.size() == 8);
    CHECK(report.unexpected == std::vector<std::string>{"extra"});
    CHECK(net.hidden.bias.data()[2] == 1.f);
}

TEST_CASE("each way to be bad has its error", "[safetensors]") {
    const Bytes four = {1, 2, 3, 4};
    const auto one = [&](const std::string& text) { return error_for(safetensors("{\"a\":" + text + "}", four)); };
    CHECK(has(error_for({}), "is too short: expected 8 bytes"));
    CHECK(has(error_for(safetensors("{}", four)), "holds 4 bytes behind its header: expected 0"));
    CHECK(has(error_for(files::bytes_of("PK\3\4 a .pt file of PyTorch is a zip archive")), "claims a header of"));
    CHECK(has(error_for(safetensors("[]", {})), "expected an object, found a list"));
    CHECK(has(error_for(safetensors("{", {})), "no JSON at character"));
    CHECK(has(error_for(safetensors("{} x", {})), "no JSON at character"));
    CHECK(has(error_for(safetensors(std::string(100000, '['), {})), "expected an object, found a list"));
    CHECK(has(error_for(safetensors(R"({"a":)" + std::string(100000, '{'), {})), "no JSON at character"));
    CHECK(has(one("7"), "in \"a\": expected an object of dtype, shape and data_offsets, found a number"));
    CHECK(has(one(R"({"dtype":"F32","shape":[1]})"), "\"a\" lacks one of dtype, shape and data_offsets"));
    CHECK(has(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1})"), "\"a\" has \"more\""));
    CHECK(has(one(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})"), "expected a size, found a number with a fraction"));
    CHECK(has(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), "expected a size, found a negative number"));
    CHECK(has(one(R"({"dtype":"F32","shape":[[1]],"data_offsets":[0,4]})"), "expected a size, found a list"));
    CHECK(has(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})"), "data_offsets of other than two numbers"));
    CHECK(has(one(R"({"dtype":"F31","shape":[1],"data_offsets":[0,4]})"), "has the type \"F31\""));
    CHECK(has(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), "takes 4 bytes: expected 8 for its shape and type F32"));
    CHECK(has(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), "expected a place within the 4 bytes"));
    CHECK(has(one(R"({"dtype":"U8","shape":[0],"data_offsets":[4,3]})"), "lies at 4 to 3"));
    CHECK(has(one(R"({"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]})"), "has a shape of too many elements"));
    CHECK(has(one(R"({"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})"), "has a shape of too many elements"));
    CHECK(has(one(R"({"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]})"), "\"b\" begins at 3: expected 2"));
    CHECK(has(one(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]})"), "\"b\" begins at 3: expected 4"));
    CHECK(has(one(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})"), "the name \"a\" comes twice"));
    CHECK(has(error_for(safetensors(R"({"__metadata__":{"a":1}})", {})), "expected a text, found a number"));
    CHECK(has(error_for(safetensors(R"({"__metadata__":{"a":"b","a":"b"}})", {})), "the metadata \"a\" come twice"));

    const files::MemoryFile small(safetensors(R"({"a":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}})", four));
    CHECK(has(error_of<DtypeError>([&] { read_all(small.path()); }), "\"a\" is I16: expected F32"));
    const files::MemoryFile deep(safetensors(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,4]}})", four));
    CHECK(has(error_of<ShapeError>([&] { read_all(deep.path()); }), "has 9 axes: expected at most 8"));
    CHECK(has(error_of<FileError>([&] { io::Safetensors(small.path()).get("b"); }), "has no tensor \"b\": expected one of a"));
    const io::Array x = files::make<float>({2});
    CHECK(has(error_of<ValueError>([&] { io::write_safetensors("never.safetensors", {{"a", x}, {"a", x}}); }), "the name \"a\" came twice"));
    CHECK(has(error_of<ValueError>([&] { io::write_safetensors("never.safetensors", {{"a\xff", x}}); }), "is not UTF-8"));
    CHECK(has(error_of<ValueError>([&] { io::write_safetensors("never.safetensors", {{"__metadata__", x}}); }), "cannot be named"));
}

TEST_CASE("damaged safetensors files are read or refused, never more", "[safetensors][damage]") {
    const files::Folder folder;
    io::write_safetensors(folder / "x.safetensors", {{"a", files::make<float>({2})}, {"b", files::make<bool>({1})}}, {{"k", "v"}});
    const auto result = files::damage(files::read(folder / "x.safetensors"), read_all);
    CHECK(result.refused > 2000);
    CHECK(result.read > 50);
}
