// A text and a vocabulary, from the same bytes.
#include "reader.hpp"

#include <tenon/data/text.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    fuzz::run(bytes, size, [](const std::string& path) {
        const std::string text = tenon::data::read_text(path, 1 << 20);
        const auto letters = tenon::data::characters(text);  // what was read is UTF-8
        const tenon::data::Vocabulary vocabulary(letters);
        if (vocabulary.decode(vocabulary.encode(letters)) != text) __builtin_trap();
        static_cast<void>(tenon::data::words(text));
    });
    return fuzz::run(bytes, size, [](const std::string& path) { static_cast<void>(tenon::data::Vocabulary::load(path)); });
}
