// A log of numbers as a CSV file: one row per call, each written and handed to the system at once, so that what a
// stopped program leaves behind is whole rows.
#pragma once

#include <tenon/base/error.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <concepts>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace tenon::io {

// What happens to a file that is already there.
enum class CsvMode {
    replace,  // start anew
    append    // add rows below those of an earlier run with the same columns
};

// io::CsvLog log("metrics.csv", {"epoch", "loss"}); log.row(1, 0.25);
class CsvLog {
public:
    // Opens path and writes the header, unless rows are appended to a file that has it; the rest of a row cut short at
    // the end of such a file is dropped. keep, with CsvMode::append: how many bytes of the file stay, what size() was at
    // the checkpoint that a run goes on from; rows behind are dropped, since the run will write them again. Throws
    // FileError when the file cannot be written, has other columns or is shorter than keep, ValueError without columns.
    CsvLog(std::string path, std::vector<std::string> columns, CsvMode mode = CsvMode::replace, long keep = -1)
        : path_(std::move(path)), columns_(columns.size()) {
        if (columns.empty()) fail<ValueError>("CsvLog: \"", path_.c_str(), "\" without columns: expected at least one");
        std::string header;
        for (const std::string& column : columns) add_cell(header, column.c_str());
        header.back() = '\n';
        file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (mode == CsvMode::replace ? O_TRUNC : 0), 0666);
        if (file_ < 0) failed("open", "\nhint: does the folder exist, and may this user write into it?");
        try {
            if (mode == CsvMode::append && keep >= 0) cut(keep);
            if (resume(header)) return;
            write(header);
        } catch (...) {
            ::close(file_);
            throw;
        }
    }
    CsvLog(const CsvLog&) = delete;
    CsvLog& operator=(const CsvLog&) = delete;
    CsvLog(CsvLog&& other) noexcept
        : path_(std::move(other.path_)), columns_(other.columns_), file_(std::exchange(other.file_, -1)) {}
    CsvLog& operator=(CsvLog&&) = delete;
    ~CsvLog() {
        if (file_ >= 0) ::close(file_);
    }

    // Appends a row; numbers are written so that reading them gives the same value, text is quoted where it must be.
    // Throws ValueError when the number of cells is not that of the columns, FileError when the disk is full.
    template <class... Cells>
    void row(const Cells&... cells) {
        if (sizeof...(cells) != columns_)
            fail<ValueError>("CsvLog: \"", path_.c_str(), "\": a row of ", static_cast<long>(sizeof...(cells)),
                             " cells: expected ", static_cast<long>(columns_));
        std::string line;
        (add_cell(line, cells), ...);
        line.back() = '\n';
        write(line);
    }

    const std::string& path() const { return path_; }
    // Bytes in the file.
    long size() const {
        struct stat status;
        if (::fstat(file_, &status) != 0) failed("read", "");
        return static_cast<long>(status.st_size);
    }

private:
    void cut(long keep) const {
        if (size() < keep)
            fail<FileError>("CsvLog: \"", path_.c_str(), "\" has ", size(), " bytes: expected at least ", keep,
                            ", the rows up to the checkpoint\nhint: was it removed or edited? Start the run anew");
        if (::ftruncate(file_, static_cast<off_t>(keep)) != 0) failed("shorten", "");
    }
    static void add_cell(std::string& line, const char* text) {
        if (std::strpbrk(text, ",\"\r\n") == nullptr) {
            line += text;
        } else {
            line += '"';
            for (; *text != '\0'; ++text) {
                if (*text == '"') line += '"';
                line += *text;
            }
            line += '"';
        }
        line += ',';
    }
    static void add_cell(std::string& line, const std::string& text) { add_cell(line, text.c_str()); }
    template <std::integral I>
    static void add_cell(std::string& line, I value) {
        line += std::to_string(value);
        line += ',';
    }
    template <std::floating_point F>
    static void add_cell(std::string& line, F value) {
        // The fewest digits that give the value back.
        char text[40];
        for (int digits = sizeof(F) == 4 ? 6 : 15; digits <= (sizeof(F) == 4 ? 9 : 17); ++digits) {
            std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
            if (static_cast<F>(std::strtod(text, nullptr)) == value) break;
        }
        line += text;
        line += ',';
    }

    // True when the file already begins with this header; cuts a row without its end.
    bool resume(const std::string& header) {
        struct stat status;
        if (::fstat(file_, &status) != 0) failed("read", "");
        if (status.st_size == 0) return false;
        std::string content(static_cast<std::size_t>(status.st_size), '\0');
        std::size_t have = 0;
        while (have < content.size()) {
            const ssize_t got = ::pread(file_, content.data() + have, content.size() - have, static_cast<off_t>(have));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) failed("read", "\nhint: is it a file?");
            have += static_cast<std::size_t>(got);
        }
        const std::size_t whole = content.rfind('\n') == std::string::npos ? 0 : content.rfind('\n') + 1;
        const bool cut_header = whole == 0 && header.compare(0, content.size(), content) == 0;
        if (!cut_header && content.compare(0, header.size(), header) != 0) {
            const std::string found = content.substr(0, content.find('\n')), wanted = header.substr(0, header.size() - 1);
            fail<FileError>("CsvLog: \"", path_.c_str(), "\" has the columns ", found.substr(0, 200).c_str(), ": expected ",
                            wanted.c_str(), "\nhint: write to another file, or replace this one (CsvMode::replace)");
        }
        if (whole < content.size() && ::ftruncate(file_, static_cast<off_t>(whole)) != 0) failed("shorten", "");
        return whole != 0;
    }

    void write(const std::string& text) {
        std::size_t done = 0;
        while (done < text.size()) {
            const ssize_t put = ::write(file_, text.data() + done, text.size() - done);
            if (put < 0 && errno == EINTR) continue;
            if (put <= 0) failed("write", "\nhint: is the disk full?");
            done += static_cast<std::size_t>(put);
        }
    }
    [[noreturn]] void failed(const char* what, const char* hint) const {
        fail<FileError>("CsvLog: cannot ", what, " \"", path_.c_str(), "\": ", std::strerror(errno), hint);
    }

    std::string path_;
    std::size_t columns_;
    int file_ = -1;
};

}  // namespace tenon::io
