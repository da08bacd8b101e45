// Text for language models: files, tokens, vocabularies, and batches in the order that truncated backpropagation reads them.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/data/byte_source.hpp>
#include <tenon/io/file.hpp>
#include <tenon/ops/copy.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tenon::data {

namespace detail {

// The length of the UTF-8 sequence that begins here, 0 where none does: what overlong forms, surrogates and values past U+10FFFF
// begin is none (RFC 3629).
inline std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u; };
    const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) { return byte(i) >= low && byte(i) <= high; };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
    if (first >= 0xe0 && first <= 0xef) return follows(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf) && follows(2) ? 3 : 0;
    if (first >= 0xf0 && first <= 0xf4) return follows(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf) && follows(2) && follows(3) ? 4 : 0;
    return 0;
}
inline void check_utf8(const char* operation, const std::string& path, std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = utf8_length(text, at);
        if (length == 0)
            fail<FileError>(operation, ": \"", path.c_str(), "\" is not UTF-8: byte ", static_cast<unsigned>(static_cast<unsigned char>(text[at])), " at offset ",
                            static_cast<unsigned long>(at), "\nhint: convert it first, as iconv -f latin1 -t utf-8 does");
        at += length;
    }
}

}  // namespace detail

// The text of a file, plain or packed with gzip: UTF-8, without a byte order mark, lines ended by "\n" alone. Throws FileError,
// for what is not UTF-8 with the byte and its place, and for more than `limit` bytes.
inline std::string read_text(const std::string& path, std::size_t limit = std::size_t(1) << 31) {
    detail::ByteSource source("read_text", path);
    std::string text;
    unsigned char piece[1 << 14];
    while (const std::size_t got = source.read(piece, sizeof piece)) {
        if (got > limit - text.size()) fail<FileError>("read_text: \"", path.c_str(), "\" is longer than ", static_cast<unsigned long>(limit), " bytes\nhint: give a higher limit");
        text.append(reinterpret_cast<const char*>(piece), got);
    }
    detail::check_utf8("read_text", path, text);
    std::size_t to = 0;
    for (std::size_t at = text.compare(0, 3, "\xef\xbb\xbf") == 0 ? 3 : 0; at < text.size(); ++at)
        if (text[at] != '\r' || at + 1 == text.size() || text[at + 1] != '\n') text[to++] = text[at];
    text.resize(to);
    return text;
}

// Tokens are views into the text, which must outlive them.
// The characters (code points) of a text. Throws ValueError for what is not UTF-8.
inline std::vector<std::string_view> characters(std::string_view text) {
    std::vector<std::string_view> tokens;
    tokens.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = detail::utf8_length(text, at);
        if (length == 0) fail<ValueError>("characters: the text is not UTF-8 at offset ", static_cast<unsigned long>(at));
        tokens.push_back(text.substr(at, length));
        at += length;
    }
    return tokens;
}
// The words of a text, which spaces, tabs and line ends part; `line_end`, unless it is empty, for every end of a line, as in the
// Penn Treebank's "<eos>" (its memory must last, too).
inline std::vector<std::string_view> words(std::string_view text, std::string_view line_end = "<eos>") {
    std::vector<std::string_view> tokens;
    std::size_t begin = 0;
    const auto flush = [&](std::size_t end) {
        if (end > begin) tokens.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    };
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char c = text[at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\v' && c != '\f') continue;
        flush(at);
        if (c == '\n' && !line_end.empty()) tokens.push_back(line_end);
    }
    flush(text.size());
    return tokens;
}

struct VocabularyOptions {
    long max_size = 0;                           // with the special ones; 0: no limit
    long min_count = 1;                          // rarer tokens are left out
    std::vector<std::string> specials = {};      // the first ones, whatever the text holds; "<unk>" stands for what is left out
};

// Tokens and their numbers: special ones first, then by falling frequency, equal ones in the order of their bytes.
class Vocabulary {
public:
    Vocabulary() = default;
    // Throws ValueError for options out of range and for a special token that is there twice.
    explicit Vocabulary(const std::vector<std::string_view>& tokens, const VocabularyOptions& options = {}) {
        if (options.max_size < 0 || options.min_count < 1)
            fail<ValueError>("Vocabulary: max_size ", options.max_size, " and min_count ", options.min_count, ": expected at least 0 and 1");
        for (const std::string& token : options.specials) add("Vocabulary", token);
        std::unordered_map<std::string_view, long> counts;
        for (const std::string_view token : tokens) ++counts[token];
        std::vector<std::pair<std::string_view, long>> order(counts.begin(), counts.end());
        std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second != b.second ? a.second > b.second : a.first < b.first; });
        for (const auto& [token, count] : order) {
            if (count < options.min_count || (options.max_size > 0 && size() >= options.max_size)) break;
            if (!contains(token)) add("Vocabulary", std::string(token));
        }
    }

    long size() const { return static_cast<long>(tokens_.size()); }
    bool contains(std::string_view token) const { return index_.find(std::string(token)) != index_.end(); }
    // The number of a token; of "<unk>" for one that is not there. Throws ValueError where "<unk>" is not there either.
    std::int64_t index(std::string_view token) const {
        auto found = index_.find(std::string(token));
        if (found == index_.end()) found = index_.find("<unk>");
        if (found == index_.end())
            fail<ValueError>("Vocabulary: \"", std::string(token).c_str(), "\" is not among the ", size(), " tokens, and there is no \"<unk>\"");
        return found->second;
    }
    // Throws IndexError for a number that is none.
    const std::string& token(std::int64_t number) const {
        if (number < 0 || number >= size()) fail<IndexError>("Vocabulary: token ", static_cast<long>(number), " of ", size());
        return tokens_[static_cast<std::size_t>(number)];
    }
    // The numbers of tokens, int64 [count].
    [[nodiscard]] Tensor<std::int64_t, 1> encode(const std::vector<std::string_view>& tokens) const {
        Tensor<std::int64_t, 1> numbers = empty<std::int64_t>({static_cast<long>(tokens.size())});
        for (std::size_t i = 0; i < tokens.size(); ++i) numbers.data()[i] = index(tokens[i]);
        return numbers;
    }
    // The text of numbers, tokens parted by the separator ("" for characters).
    [[nodiscard]] std::string decode(const Tensor<std::int64_t, 1>& numbers, std::string_view separator = "") const {
        const auto here = clone(numbers.to(cpu));
        std::string text;
        for (long i = 0; i < here.size(); ++i) {
            if (i > 0) text += separator;
            text += token(here.data()[i]);
        }
        return text;
    }

    // A token a line; backslash and line end within one are written "\\" and "\n". The file appears whole or not at all.
    // Throws FileError.
    void save(const std::string& path) const {
        io::detail::AtomicFile file("Vocabulary", path);
        std::string text;
        for (const std::string& token : tokens_) {
            for (const char c : token) {
                if (c == '\\') text += "\\\\";
                else if (c == '\n') text += "\\n";
                else if (c == '\r') text += "\\r";
                else text += c;
            }
            text += '\n';
        }
        file.write(text);
        file.commit(true);
    }
    // Throws FileError for a file that save() has not written: another escape, a token that is there twice, no line end at the end.
    static Vocabulary load(const std::string& path) {
        const std::string text = read_text(path);
        Vocabulary vocabulary;
        std::string token;
        const auto broken = [&](const char* why) {
            fail<FileError>("Vocabulary: \"", path.c_str(), "\", line ", vocabulary.size() + 1, ": ", why, "\nhint: a vocabulary's file holds a token a line");
        };
        for (std::size_t at = 0; at < text.size(); ++at) {
            const char c = text[at];
            if (c == '\n') {
                if (token.empty()) broken("no token");
                if (vocabulary.contains(token)) broken("a token that was there before");
                vocabulary.add("Vocabulary", token);
                token.clear();
            } else if (c == '\\') {
                const char next = ++at < text.size() ? text[at] : '\0';
                if (next == 'n') token += '\n';
                else if (next == 'r') token += '\r';
                else if (next == '\\') token += '\\';
                else broken("a backslash that no n, r or backslash follows");
            } else {
                token += c;
            }
        }
        if (!token.empty()) broken("the file ends within it (truncated)");
        return vocabulary;
    }

private:
    void add(const char* operation, const std::string& token) {
        if (token.empty()) fail<ValueError>(operation, ": a token without a character");
        if (!index_.emplace(token, static_cast<std::int64_t>(tokens_.size())).second) fail<ValueError>(operation, ": the token \"", token.c_str(), "\" is there twice");
        tokens_.push_back(token);
    }

    std::vector<std::string> tokens_;
    std::unordered_map<std::string, std::int64_t> index_;
};

// A step of truncated backpropagation: targets[t][b] is the token after inputs[t][b].
struct TextChunk {
    Tensor<std::int64_t, 2> inputs, targets;  // [steps, batch]
    long number = 0;                          // 0: states start anew
};

// Reads a text of token numbers [n] as `batch` columns side by side, `steps` rows at a time: column b of a chunk goes on where that of
// the chunk before ended, so states carry over from chunk to chunk. n / batch rows are read, the rest is left out; the last chunk
// may be shorter.
//
//     for (const auto& [inputs, targets, number] : data::TextChunks(ids, 20, 35)) { ... }
class TextChunks {
public:
    // Throws ValueError unless batch and steps are at least 1 and there are two rows.
    TextChunks(const Tensor<std::int64_t, 1>& ids, long batch, long steps) : ids_(ids), batch_(batch), steps_(steps) {
        if (batch < 1 || steps < 1) fail<ValueError>("TextChunks: batch ", batch, " and steps ", steps, ": expected at least 1");
        rows_ = ids.size() / batch;
        if (rows_ < 2) fail<ValueError>("TextChunks: ", ids.size(), " tokens in ", batch, " columns: expected at least ", 2 * batch, " tokens");
    }
    // Chunks of a pass, and tokens that are predicted in it.
    long size() const { return (rows_ - 1 + steps_ - 1) / steps_; }
    long targets() const { return (rows_ - 1) * batch_; }
    // Throws IndexError for a number that is none.
    [[nodiscard]] TextChunk operator[](long number) const {
        if (number < 0 || number >= size()) fail<IndexError>("TextChunks: chunk ", number, " of ", size());
        const long first = number * steps_, count = std::min(steps_, rows_ - 1 - first);
        TextChunk chunk{empty<std::int64_t>({count, batch_}), empty<std::int64_t>({count, batch_}), number};
        const auto here = ids_.is_contiguous() ? ids_ : clone(ids_);
        for (long t = 0; t < count; ++t)
            for (long b = 0; b < batch_; ++b) {
                const std::int64_t* at = here.data() + b * rows_ + first + t;
                chunk.inputs.data()[t * batch_ + b] = at[0];
                chunk.targets.data()[t * batch_ + b] = at[1];
            }
        return chunk;
    }

    class Iterator {
    public:
        Iterator(const TextChunks* chunks, long at) : chunks_(chunks), at_(at) {}
        TextChunk operator*() const { return (*chunks_)[at_]; }
        Iterator& operator++() {
            ++at_;
            return *this;
        }
        bool operator==(const Iterator& other) const { return at_ == other.at_; }

    private:
        const TextChunks* chunks_;
        long at_;
    };
    Iterator begin() const { return {this, 0}; }
    Iterator end() const { return {this, size()}; }

private:
    Tensor<std::int64_t, 1> ids_;
    long batch_, steps_, rows_ = 0;
};

}  // namespace tenon::data
