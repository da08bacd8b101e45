// Text: reading, tokens, vocabularies and their files, chunks for truncated backpropagation.
#include "gzip.hpp"

#include <tenon/data/text.hpp>

#include <string>
#include <vector>

using namespace tenon;
using files::Bytes, files::gzip;

namespace {
Bytes bytes(const std::string& text) { return Bytes(text.begin(), text.end()); }
std::string read(const files::Folder& folder, const std::string& text) {
    files::write(folder / "text", bytes(text));
    return data::read_text(folder / "text");
}
std::vector<std::string> strings(const std::vector<std::string_view>& tokens) { return {tokens.begin(), tokens.end()}; }
using Strings = std::vector<std::string>;
Tensor<std::int64_t, 1> counting(long n) {
    Tensor<std::int64_t, 1> ids = empty<std::int64_t>({n});
    for (long i = 0; i < n; ++i) ids.data()[i] = i;
    return ids;
}
}  // namespace

TEST_CASE("read_text gives UTF-8 with plain line ends", "[data][text]") {
    const files::Folder folder;
    CHECK(read(folder, "") == "");
    CHECK(read(folder, "a\r\nb\rc\n\r") == "a\nb\rc\n\r");
    CHECK(read(folder, "\xef\xbb\xbfgr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
    CHECK(read(folder, "\xe2\x82\xac \xf0\x9f\x98\x80 \xed\x9f\xbf \xf4\x8f\xbf\xbf") == "\xe2\x82\xac \xf0\x9f\x98\x80 \xed\x9f\xbf \xf4\x8f\xbf\xbf");
    files::write(folder / "packed", gzip(bytes("packed text\n")));
    CHECK(data::read_text(folder / "packed") == "packed text\n");
    CHECK(data::read_text(folder / "packed", 12) == "packed text\n");
    CHECK_THROWS_WITH(data::read_text(folder / "packed", 11), Catch::Contains("is longer than 11 bytes"));
    CHECK_THROWS_WITH(data::read_text(folder / "none"), Catch::Contains("read_text: cannot open"));
    // Bytes that begin nothing, overlong forms, surrogates, values that are too large, sequences that are cut.
    for (const char* text : {"ab\x80", "ab\xff", "ab\xc0\xaf", "ab\xe0\x80\x80", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xf0\x80\x80\x80", "ab\xc3", "ab\xe2\x82", "ab\xf0\x9f\x98", "ab\xc3z"}) {
        files::write(folder / "text", bytes(text));
        CHECK_THROWS_WITH(data::read_text(folder / "text"), Catch::Contains("is not UTF-8: byte ") && Catch::Contains(" at offset 2\nhint: "));
    }
}

TEST_CASE("characters and words", "[data][text]") {
    CHECK(strings(data::characters("a\xc3\xbc\n\xe2\x82\xac")) == Strings{"a", "\xc3\xbc", "\n", "\xe2\x82\xac"});
    CHECK(data::characters("").empty());
    CHECK_THROWS_WITH(data::characters("a\xff"), Catch::Contains("characters: the text is not UTF-8 at offset 1"));
    CHECK(strings(data::words("the  cat\tsat\n\non it")) == Strings{"the", "cat", "sat", "<eos>", "<eos>", "on", "it"});
    CHECK(strings(data::words("the cat\nsat\n", "")) == Strings{"the", "cat", "sat"});
    CHECK(data::words(" \n ", "").empty());
}

TEST_CASE("a vocabulary goes by frequency", "[data][text]") {
    const std::string text = "b a c a b a d <unk>";
    const data::Vocabulary whole(data::words(text));
    CHECK(whole.size() == 5);
    CHECK(whole.token(0) == "a");
    CHECK(whole.token(1) == "b");
    CHECK(whole.token(2) == "<unk>");  // once each, by their bytes
    CHECK(whole.token(3) == "c");
    CHECK(whole.index("d") == 4);

    const data::Vocabulary few(data::words(text), {.max_size = 3, .specials = {"<unk>"}});
    CHECK(few.size() == 3);
    CHECK(few.token(0) == "<unk>");
    CHECK(few.index("a") == 1);
    CHECK(few.index("c") == 0);
    const data::Vocabulary common(data::words(text), {.min_count = 2});
    CHECK(common.size() == 2);
    CHECK_THROWS_WITH(common.index("c"), Catch::Contains("Vocabulary: \"c\" is not among the 2 tokens, and there is no \"<unk>\""));
    CHECK_THROWS_WITH(common.token(2), Catch::Contains("Vocabulary: token 2 of 2"));
    CHECK_THROWS_WITH(data::Vocabulary({}, {.specials = {"x", "x"}}), Catch::Contains("the token \"x\" is there twice"));
    CHECK_THROWS_WITH(data::Vocabulary({}, {.min_count = 0}), Catch::Contains("min_count 0"));

    const std::string word = "h\xc3\xa4h\xc3\xa4";
    const auto letters = data::characters(word);
    const data::Vocabulary characters(letters);
    const auto ids = characters.encode(letters);
    CHECK(ids.size() == 4);
    CHECK(characters.decode(ids) == word);
    CHECK(few.decode(few.encode(data::words("a zebra b")), " ") == "a <unk> b");
}

TEST_CASE("a vocabulary's file", "[data][text]") {
    const files::Folder folder;
    const std::string path = folder / "vocabulary";
    const std::string text = "line\nback\\slash\r \xe2\x82\xac";
    const data::Vocabulary vocabulary(data::characters(text), {.specials = {"<unk>", "two\nlines\\n"}});
    vocabulary.save(path);
    const data::Vocabulary again = data::Vocabulary::load(path);
    REQUIRE(again.size() == vocabulary.size());
    for (long i = 0; i < again.size(); ++i) {
        CHECK(again.token(i) == vocabulary.token(i));
        CHECK(again.index(vocabulary.token(i)) == i);
    }
    const auto error = [&](const std::string& content, const char* expected) {
        files::write(path, bytes(content));
        CHECK_THROWS_WITH(data::Vocabulary::load(path), Catch::Contains(expected));
    };
    error("a\na\n", "line 2: a token that was there before");
    error("a\n\nb\n", "line 2: no token");
    error("a\nb\\x\n", "line 2: a backslash that no n, r or backslash follows");
    error("a\nb\\", "line 2: a backslash");
    error("a\nb", "line 2: the file ends within it (truncated)");
    error("a\n\xff\n", "is not UTF-8");
}

TEST_CASE("chunks carry columns on", "[data][text]") {
    // 23 tokens in 2 columns: rows 0 ... 10 and 11 ... 21, one is left out.
    const data::TextChunks chunks(counting(23), 2, 4);
    CHECK(chunks.size() == 3);
    CHECK(chunks.targets() == 20);
    long seen = 0, row = 0;
    for (const auto& [inputs, targets, number] : chunks) {
        CHECK(number == seen++);
        const long count = number < 2 ? 4 : 2;
        REQUIRE(inputs.shape() == Shape<2>{{count, 2}});
        REQUIRE(targets.shape() == inputs.shape());
        for (long t = 0; t < count; ++t, ++row)
            for (long b = 0; b < 2; ++b) {
                CHECK(inputs.data()[t * 2 + b] == b * 11 + row);
                CHECK(targets.data()[t * 2 + b] == b * 11 + row + 1);
            }
    }
    CHECK(row == 10);
    CHECK(data::TextChunks(counting(2), 1, 100).size() == 1);
    CHECK_THROWS_WITH(data::TextChunks(counting(3), 2, 1), Catch::Contains("TextChunks: 3 tokens in 2 columns: expected at least 4 tokens"));
    CHECK_THROWS_WITH(data::TextChunks(counting(3), 0, 1), Catch::Contains("TextChunks: batch 0 and steps 1: expected at least 1"));
    CHECK_THROWS_WITH(chunks[3], Catch::Contains("TextChunks: chunk 3 of 3"));
    // Of a view with strides.
    const auto every_second = counting(40)(slice(0, 40, 2));
    CHECK(data::TextChunks(every_second, 2, 3)[1].inputs.data()[1] == 26);
}
