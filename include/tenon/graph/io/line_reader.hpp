// Text files of numbers, a line at a time, plain or packed with gzip: what the readers of graph formats share. Needs zlib (-lz).
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/data/byte_source.hpp>

#include <sys/stat.h>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::graph_detail {

// for (LineReader lines("read_tu", path, ','); lines.next();) { const long a = lines.integer("a node"); lines.end(); }
// Fields are parted by blanks (' '), by one comma with blanks around it (',') or by one tab ('\t'). Every error is a FileError
// that names the file and the line. Memory grows with the longest line, which may have up to `longest` bytes.
class LineReader {
public:
    static constexpr std::size_t longest = std::size_t(1) << 26;

    LineReader(const char* operation, std::string path, char separator)
        : operation_(operation), path_(static_cast<std::string&&>(path)), separator_(separator), source_(operation, path_) {}
    LineReader(const LineReader&) = delete;
    LineReader& operator=(const LineReader&) = delete;

    // Goes to the next line; false at the end of the file. The line end, "\n" or "\r\n", is no part of a line.
    bool next() {
        line_.clear();
        at_ = 0;
        first_ = true;
        bool any = false;
        for (;;) {
            if (begin_ == filled_) {
                begin_ = 0;
                filled_ = source_.read(buffer_, sizeof buffer_);
                if (filled_ == 0) break;
            }
            any = true;
            const void* const found = std::memchr(buffer_ + begin_, '\n', filled_ - begin_);
            const std::size_t stop = found != nullptr ? static_cast<std::size_t>(static_cast<const unsigned char*>(found) - buffer_) : filled_;
            if (line_.size() + (stop - begin_) > longest) {
                ++number_;
                broken("the line is too long");
            }
            line_.append(reinterpret_cast<const char*>(buffer_ + begin_), stop - begin_);
            begin_ = stop;
            if (found == nullptr) continue;
            ++begin_;
            break;
        }
        if (!any) return false;
        ++number_;
        if (!line_.empty() && line_.back() == '\r') line_.pop_back();
        return true;
    }
    // Goes to the next line that is not blank.
    bool next_filled() {
        while (next())
            if (!at_end()) return true;
        return false;
    }

    long number() const { return number_; }  // of the line, from 1
    const std::string& path() const { return path_; }
    bool at_end() {
        std::size_t at = at_;
        while (at < line_.size() && blank(line_[at])) ++at;
        return at == line_.size();
    }
    // Whether the rest of the line begins with '#'.
    bool comment() {
        skip_blanks();
        return at_ < line_.size() && line_[at_] == '#';
    }
    // Skips these letters, which must come next; they may be glued to a field behind them.
    void drop_prefix(std::string_view letters) {
        skip_blanks();
        if (std::string_view(line_).substr(at_, letters.size()) != letters) broken_field(std::string(letters).c_str(), std::string_view(line_).substr(at_));
        at_ += letters.size();
    }

    // The next field, without blanks around it; `what` names what was expected in the text of an error.
    std::string_view word(const char* what) {
        if (!first_ && separator_ != ' ') {
            skip_blanks();
            if (at_ == line_.size()) missing(what);
            if (line_[at_] != separator_) broken_field(what, std::string_view(line_).substr(at_));
            ++at_;
        }
        skip_blanks();
        first_ = false;
        std::size_t stop = at_;
        while (stop < line_.size() && (separator_ == ' ' ? !blank(line_[stop]) : line_[stop] != separator_)) ++stop;
        std::string_view field = std::string_view(line_).substr(at_, stop - at_);
        while (!field.empty() && blank(field.back())) field.remove_suffix(1);
        if (field.empty()) missing(what);
        at_ = stop;
        return field;
    }
    long integer(const char* what) {
        std::string_view text = word(what);
        const std::string_view given = text;
        long value = 0;
        if (text.size() > 1 && text[0] == '+') text.remove_prefix(1);
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size()) broken_field(what, given);
        return value;
    }
    float real(const char* what) { return parse_real(word(what), what); }
    float parse_real(std::string_view text, const char* what) const {
        const std::string_view given = text;
        float value = 0;
        if (text.size() > 1 && text[0] == '+') text.remove_prefix(1);
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        // Too small for a float is 0 there, or a number with fewer digits.
        if (error == std::errc::result_out_of_range && end == text.data() + text.size()) {
            double wide = 0;
            const auto again = std::from_chars(text.data(), text.data() + text.size(), wide);
            if ((again.ec == std::errc() && wide > -1 && wide < 1)) return static_cast<float>(wide);
        }
        if (error != std::errc() || end != text.data() + text.size()) broken_field(what, given);
        return value;
    }
    // Throws unless the line has no further field.
    void end() {
        skip_blanks();
        if (at_ != line_.size()) broken_field("the end of the line", std::string_view(line_).substr(at_));
    }

    [[noreturn]] void broken(const char* why) const { fail<FileError>(operation_, ": \"", path_.c_str(), "\", line ", number_, ": ", why); }
    [[noreturn]] void broken_field(const char* expected, std::string_view got) const {
        const std::string text(got.substr(0, 40));
        fail<FileError>(operation_, ": \"", path_.c_str(), "\", line ", number_, ": expected ", expected, ", got \"", text.c_str(), got.size() > 40 ? "...\"" : "\"");
    }
    [[noreturn]] void truncated(const char* expected) const {
        fail<FileError>(operation_, ": \"", path_.c_str(), "\" ends after line ", number_, ": expected ", expected, "\nhint: the file was cut off: fetch it again");
    }

private:
    [[noreturn]] void missing(const char* what) const {
        fail<FileError>(operation_, ": \"", path_.c_str(), "\", line ", number_, ": expected ", what, ", the line ends");
    }
    bool blank(char c) const { return c == ' ' || c == '\r' || (c == '\t' && separator_ != '\t'); }
    void skip_blanks() {
        while (at_ < line_.size() && blank(line_[at_])) ++at_;
    }

    const char* operation_;
    std::string path_;
    char separator_;
    data::detail::ByteSource source_;
    std::string line_;
    std::size_t at_ = 0;
    bool first_ = true;
    long number_ = 0;
    std::size_t begin_ = 0, filled_ = 0;
    unsigned char buffer_[1 << 14];
};

// The path itself, or with ".gz" behind it where only that file is there.
inline std::string plain_or_packed(const std::string& path) {
    struct stat status;
    return ::stat(path.c_str(), &status) != 0 && ::stat((path + ".gz").c_str(), &status) == 0 ? path + ".gz" : path;
}
inline bool is_there(const std::string& path) {
    struct stat status;
    return ::stat(path.c_str(), &status) == 0;
}

// A tensor of these values, row after row.
template <class T>
Tensor<T, 1> tensor_of(const std::vector<T>& values) {
    return from<T>({static_cast<long>(values.size())}, values.data());
}
template <class T>
Tensor<T, 2> matrix_of(const std::vector<T>& values, long columns) {
    return from<T>({columns == 0 ? 0 : static_cast<long>(values.size()) / columns, columns}, values.data());
}
// edge_index [2, E] of a list of sources and one of targets.
inline Tensor<std::int64_t, 2> edge_index_of(const std::vector<std::int64_t>& sources, const std::vector<std::int64_t>& targets) {
    const long count = static_cast<long>(sources.size());
    const Tensor<std::int64_t, 2> edges = empty<std::int64_t>({2, count});
    if (count > 0) {
        std::memcpy(edges.data(), sources.data(), sources.size() * sizeof(std::int64_t));
        std::memcpy(edges.data() + count, targets.data(), targets.size() * sizeof(std::int64_t));
    }
    return edges;
}

}  // namespace tenon::graph_detail
