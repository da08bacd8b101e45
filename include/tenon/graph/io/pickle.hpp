// Reads the pickles of the Planetoid release (Python 2, protocol 2): sparse matrices of SciPy, arrays of NumPy and dictionaries
// of lists. Nothing is executed: 28 opcodes build values, and the six names of Python that may occur in such a file stand for
// themselves only. What a file may claim is bounded by its size: no opcode makes more than one value.
#pragma once

#include <tenon/core/csr.hpp>
#include <tenon/io/file.hpp>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::graph_detail {

enum class PickleKind : std::uint8_t { mark, none, boolean, integer, name, string, tuple, list, dictionary, object };
// The names of Python that occur; anything else is refused.
enum class PickleName : std::uint8_t { csr_matrix, reconstruct, ndarray, dtype, defaultdict, list };

// Small values hold themselves, others the number of an object.
struct PickleValue {
    PickleKind kind = PickleKind::none;
    std::int64_t number = 0;
};
struct PickleObject {
    std::size_t at = 0;                   // where in the file it was made
    const unsigned char* bytes = nullptr;  // of a string
    std::size_t size = 0;
    std::vector<PickleValue> items;       // of a tuple or list; of a dictionary: key, value, key, value, ...
    PickleName made_by{};                 // of an object: what was called
    PickleValue arguments, state;         // its tuple of arguments, and what BUILD gave
};
struct PickleArray {
    bool is_float = false;
    long rows = 0, columns = -1;  // columns -1: one axis
    const unsigned char* bytes = nullptr;
    long size() const { return columns < 0 ? rows : rows * columns; }
    float real(long i) const {
        float value;
        std::memcpy(&value, bytes + 4 * i, 4);
        return value;
    }
    std::int32_t integer(long i) const {
        std::int32_t value;
        std::memcpy(&value, bytes + 4 * i, 4);
        return value;
    }
};

class Pickle {
public:
    static constexpr std::size_t deepest = 64;  // marks open at once: these files have two

    Pickle(const char* operation, const std::string& path) : operation_(operation), path_(path), file_(operation, path) { parse(); }
    Pickle(const Pickle&) = delete;
    Pickle& operator=(const Pickle&) = delete;

    PickleValue root() const { return root_; }
    const PickleObject& object(PickleValue v) const { return objects_[static_cast<std::size_t>(v.number)]; }
    bool is_name(PickleValue v, PickleName name) const { return v.kind == PickleKind::name && v.number == static_cast<std::int64_t>(name); }

    // An array of one or two axes of 32-bit numbers, as NumPy writes it.
    PickleArray array(PickleValue v, const char* what) const {
        const PickleObject& made = object_of(v, PickleName::reconstruct, what);
        const PickleObject* state = tuple_of(made.state, 5);
        if (state == nullptr || !is_integer(state->items[0])) wrong(made.at, what, "an array without its contents");
        const PickleObject* shape = state->items[1].kind == PickleKind::tuple ? &object(state->items[1]) : nullptr;
        if (shape == nullptr || shape->items.empty() || shape->items.size() > 2)
            wrong(made.at, what, "an array that has not one or two axes");
        long sizes[2] = {0, -1};
        for (std::size_t i = 0; i < shape->items.size(); ++i) {
            if (!is_integer(shape->items[i]) || shape->items[i].number < 0) wrong(made.at, what, "an array with a size that is none");
            sizes[i] = static_cast<long>(shape->items[i].number);
        }
        PickleArray result{is_float(state->items[2], what), sizes[0], sizes[1], nullptr};
        if (state->items[3].kind != PickleKind::boolean || state->items[3].number != 0) wrong(made.at, what, "an array in Fortran's order");
        if (state->items[4].kind != PickleKind::string) wrong(made.at, what, "an array without its contents");
        const PickleObject& contents = object(state->items[4]);
        long bytes = 0;
        if (__builtin_mul_overflow(sizes[0], sizes[1] < 0 ? 4 : 4 * sizes[1], &bytes) || sizes[1] > most_columns ||
            bytes != static_cast<long>(contents.size))
            wrong(contents.at, what, "contents of another length than the array's sizes");
        result.bytes = contents.bytes;
        return result;
    }

    // csr_matrix with float32 values.
    Csr<float> csr(PickleValue v, const char* what) const {
        const PickleObject& made = object_of(v, PickleName::csr_matrix, what);
        if (made.state.kind != PickleKind::dictionary) wrong(made.at, what, "a csr_matrix without its contents");
        const PickleObject& state = object(made.state);
        const PickleObject* shape = tuple_of(entry(state, "_shape", what), 2);
        if (shape == nullptr || !is_integer(shape->items[0]) || !is_integer(shape->items[1]))
            wrong(state.at, what, "a csr_matrix without its sizes");
        const long rows = static_cast<long>(shape->items[0].number), columns = static_cast<long>(shape->items[1].number);
        const PickleArray pointers = array(entry(state, "indptr", what), "row pointers"),
                          indices = array(entry(state, "indices", what), "columns"),
                          values = array(entry(state, "data", what), "values");
        if (pointers.is_float || indices.is_float || !values.is_float)
            wrong(state.at, what, "a csr_matrix that is not of float32 with int32 indices");
        if (pointers.columns >= 0 || indices.columns >= 0 || values.columns >= 0)
            wrong(state.at, what, "a csr_matrix of arrays with two axes");
        if (columns < 0 || columns > most_columns || rows != pointers.rows - 1)
            wrong(state.at, what, "a csr_matrix whose sizes are not those of its arrays");
        const Tensor<std::int64_t, 1> p = empty<std::int64_t>({pointers.rows}), c = empty<std::int64_t>({indices.rows});
        const Tensor<float, 1> x = empty<float>({values.rows});
        for (long i = 0; i < pointers.rows; ++i) p.data()[i] = pointers.integer(i);
        for (long i = 0; i < indices.rows; ++i) c.data()[i] = indices.integer(i);
        for (long i = 0; i < values.rows; ++i) x.data()[i] = values.real(i);
        try {
            return Csr<float>::from_pointers(p, c, x, columns);
        } catch (const Error& error) {
            wrong(state.at, what, error.what());
        }
    }

    // f(node, neighbours as a range of PickleValue) for every entry of a dictionary of lists of integers.
    template <class F>
    void adjacency(PickleValue v, F&& f) const {
        const PickleObject* items = nullptr;
        if (v.kind == PickleKind::dictionary) items = &object(v);
        else items = &object_of(v, PickleName::defaultdict, "a dictionary of lists");
        std::size_t all = 0;
        for (std::size_t i = 0; i + 1 < items->items.size(); i += 2) {
            if (!is_integer(items->items[i]) || items->items[i + 1].kind != PickleKind::list)
                wrong(items->at, "a dictionary of lists", "an entry that is not a number and a list");
            const PickleObject& list = object(items->items[i + 1]);
            // A list may be named again: its nodes count every time, and a sound file has two bytes or more for each.
            all += list.items.size();
            if (all > file_.size()) wrong(list.at, "a list of each node's own", "one list for many nodes");
            for (const PickleValue& neighbour : list.items)
                if (!is_integer(neighbour)) wrong(list.at, "a list of nodes", "something else in it");
            f(items->items[i].number, list.items);
        }
    }

    [[noreturn]] void wrong(std::size_t at, const char* expected, const char* got) const {
        fail<FileError>(operation_, ": \"", path_.c_str(), "\", offset ", static_cast<unsigned long>(at), ": expected ", expected, ", got ",
                        got);
    }

private:
    static constexpr long most_columns = 1L << 30;

    static bool is_integer(PickleValue v) { return v.kind == PickleKind::integer; }
    const PickleObject* tuple_of(PickleValue v, std::size_t count) const {
        return v.kind == PickleKind::tuple && object(v).items.size() == count ? &object(v) : nullptr;
    }
    const PickleObject& object_of(PickleValue v, PickleName name, const char* what) const {
        if (v.kind != PickleKind::object) wrong(has_object(v.kind) ? object(v).at : 0, what, "another value");
        if (object(v).made_by != name) wrong(object(v).at, what, "an object of another class");
        return object(v);
    }
    std::string_view text(PickleValue v) const { return {reinterpret_cast<const char*>(object(v).bytes), object(v).size}; }
    PickleValue entry(const PickleObject& dictionary, const char* key, const char* what) const {
        for (std::size_t i = 0; i + 1 < dictionary.items.size(); i += 2)
            if (dictionary.items[i].kind == PickleKind::string && text(dictionary.items[i]) == key) return dictionary.items[i + 1];
        fail<FileError>(operation_, ": \"", path_.c_str(), "\", offset ", static_cast<unsigned long>(dictionary.at), ": expected ", what,
                        " with \"", key, "\"");
    }
    // dtype('f4', 0, 1) or dtype('i4', 0, 1), little-endian.
    bool is_float(PickleValue v, const char* what) const {
        const PickleObject& made = object_of(v, PickleName::dtype, what);
        const PickleObject* const arguments = tuple_of(made.arguments, 3);
        const PickleObject* const state = tuple_of(made.state, 8);
        if (arguments == nullptr || arguments->items[0].kind != PickleKind::string) wrong(made.at, what, "a dtype without a name");
        const std::string_view type = text(arguments->items[0]);
        if (type != "f4" && type != "i4") wrong(made.at, what, "elements that are not float32 or int32");
        if (state == nullptr || state->items[1].kind != PickleKind::string || text(state->items[1]) != "<")
            wrong(made.at, what, "elements that are not little-endian");
        return type == "f4";
    }

    static bool has_object(PickleKind kind) { return kind >= PickleKind::string; }
    PickleValue make(PickleKind kind, std::size_t at) {
        objects_.emplace_back();
        objects_.back().at = at;
        return {kind, static_cast<std::int64_t>(objects_.size()) - 1};
    }
    PickleObject& target(PickleValue v) { return objects_[static_cast<std::size_t>(v.number)]; }

    // What the parser takes from the file.
    [[noreturn]] void broken(const char* why) const {
        fail<FileError>(operation_, ": \"", path_.c_str(), "\" is no pickle that this reader takes: offset ",
                        static_cast<unsigned long>(opcode_at_), ": ", why);
    }
    const unsigned char* take(std::size_t count) {
        if (count > file_.size() - at_) broken("the file ends within it (truncated)");
        const unsigned char* const bytes = file_.data() + at_;
        at_ += count;
        return bytes;
    }
    std::uint32_t number(int bytes) {
        const unsigned char* const from = take(static_cast<std::size_t>(bytes));
        std::uint32_t value = 0;
        for (int i = 0; i < bytes; ++i) value |= static_cast<std::uint32_t>(from[i]) << 8 * i;
        return value;
    }
    std::string_view line() {
        const unsigned char* const from = file_.data() + at_;
        const void* const end = std::memchr(from, '\n', file_.size() - at_);
        if (end == nullptr) broken("the file ends within a name (truncated)");
        const std::size_t length = static_cast<std::size_t>(static_cast<const unsigned char*>(end) - from);
        at_ += length + 1;
        return {reinterpret_cast<const char*>(from), length};
    }
    void push(PickleValue v) { stack_.push_back(v); }
    PickleValue pop(const char* what) {
        if (stack_.empty() || stack_.back().kind == PickleKind::mark) broken(what);
        const PickleValue v = stack_.back();
        stack_.pop_back();
        return v;
    }
    PickleValue& top(const char* what) {
        if (stack_.empty() || stack_.back().kind == PickleKind::mark) broken(what);
        return stack_.back();
    }
    // Where the values behind the last mark begin; the mark stays.
    std::size_t behind_mark() {
        if (marks_.empty()) broken("no mark is open");
        const std::size_t begin = marks_.back() + 1;
        marks_.pop_back();
        return begin;
    }
    // Moves the values behind the last mark, and forgets both.
    void take_items(std::vector<PickleValue>& to, std::size_t begin) {
        to.insert(to.end(), stack_.begin() + static_cast<std::ptrdiff_t>(begin), stack_.end());
        stack_.resize(begin - 1);
    }
    void tuple(std::size_t count) {
        const PickleValue made = make(PickleKind::tuple, opcode_at_);
        std::vector<PickleValue>& items = target(made).items;
        items.resize(count);
        for (std::size_t i = count; i-- > 0;) items[i] = pop("a tuple of more values than there are");
        push(made);
    }
    void string(std::size_t size) {
        const PickleValue made = make(PickleKind::string, opcode_at_);
        target(made).bytes = take(size);
        target(made).size = size;
        push(made);
    }
    void store(std::size_t index) {
        // Pickles number their values in order: no more numbers than bytes.
        if (index > file_.size()) broken("a memo number larger than the file");
        if (index >= memo_.size()) memo_.resize(index + 1, PickleValue{PickleKind::mark, 0});
        memo_[index] = top("nothing to remember");
    }
    void name() {
        static constexpr struct {
            std::string_view module, name;
            PickleName value;
        } known[] = {{"scipy.sparse.csr", "csr_matrix", PickleName::csr_matrix},
                     {"numpy.core.multiarray", "_reconstruct", PickleName::reconstruct},
                     {"numpy", "ndarray", PickleName::ndarray},                  {"numpy", "dtype", PickleName::dtype},
                     {"collections", "defaultdict", PickleName::defaultdict},    {"__builtin__", "list", PickleName::list}};
        const std::string_view module = line(), name = line();
        for (const auto& entry : known)
            if (entry.module == module && entry.name == name) return push({PickleKind::name, static_cast<std::int64_t>(entry.value)});
        const std::string shown = std::string(module.substr(0, 60)) + " " + std::string(name.substr(0, 60));
        fail<FileError>(
            operation_, ": \"", path_.c_str(), "\" is no pickle that this reader takes: offset ", static_cast<unsigned long>(opcode_at_),
            ": the name \"", shown.c_str(),
            "\"\nhint: only the sparse matrices, arrays and dictionaries of the Planetoid files are read, and nothing is executed");
    }
    void call(bool is_new) {
        const PickleValue arguments = pop("a call without arguments"), callee = pop("a call of nothing");
        if (arguments.kind != PickleKind::tuple || callee.kind != PickleKind::name)
            broken("a call of something that is no name, or without a tuple of arguments");
        const PickleName name = static_cast<PickleName>(callee.number);
        if (is_new ? name != PickleName::csr_matrix
                   : name != PickleName::reconstruct && name != PickleName::dtype && name != PickleName::defaultdict)
            broken("a call of a name that is no function here");
        const PickleValue made = make(PickleKind::object, opcode_at_);
        target(made).made_by = name;
        target(made).arguments = arguments;
        push(made);
    }

    void parse() {
        for (;;) {
            opcode_at_ = at_;
            if (at_ == file_.size()) broken("the file ends before its last opcode (truncated)");
            const unsigned char opcode = *take(1);
            switch (opcode) {
                case 0x80:  // PROTO
                    if (*take(1) != 2) broken("another protocol than 2");
                    break;
                case 'c': name(); break;
                case '(':
                    if (marks_.size() == deepest) broken("too many marks are open");
                    marks_.push_back(stack_.size());
                    push({PickleKind::mark, 0});
                    break;
                case '.':  // STOP
                    root_ = pop("no value at the end");
                    if (!stack_.empty()) broken("more than one value at the end");
                    if (at_ != file_.size()) broken("the file goes on behind its end");
                    return;
                case 'N': push({PickleKind::none, 0}); break;
                case 0x88: push({PickleKind::boolean, 1}); break;
                case 0x89: push({PickleKind::boolean, 0}); break;
                case 'J': push({PickleKind::integer, static_cast<std::int32_t>(number(4))}); break;
                case 'K': push({PickleKind::integer, number(1)}); break;
                case 'M': push({PickleKind::integer, number(2)}); break;
                case 'U': string(number(1)); break;
                case 'T': {
                    const std::int32_t size = static_cast<std::int32_t>(number(4));
                    if (size < 0) broken("a string of negative length");
                    string(static_cast<std::size_t>(size));
                    break;
                }
                case ')': tuple(0); break;
                case 0x85: tuple(1); break;
                case 0x86: tuple(2); break;
                case 0x87: tuple(3); break;
                case 't': {
                    const PickleValue made = make(PickleKind::tuple, opcode_at_);
                    take_items(target(made).items, behind_mark());
                    push(made);
                    break;
                }
                case ']': push(make(PickleKind::list, opcode_at_)); break;
                case '}': push(make(PickleKind::dictionary, opcode_at_)); break;
                case 'a': {
                    const PickleValue item = pop("nothing to append");
                    const PickleValue list = top("no list to append to");
                    if (list.kind != PickleKind::list) broken("no list to append to");
                    target(list).items.push_back(item);
                    break;
                }
                case 'e': {
                    const std::size_t begin = behind_mark();
                    if (begin < 2 || stack_[begin - 2].kind != PickleKind::list) broken("no list to append to");
                    take_items(target(stack_[begin - 2]).items, begin);
                    break;
                }
                case 'u': {
                    const std::size_t begin = behind_mark();
                    if (begin < 2) broken("no dictionary to set items of");
                    const PickleValue to = stack_[begin - 2];
                    if (to.kind != PickleKind::dictionary &&
                        !(to.kind == PickleKind::object && target(to).made_by == PickleName::defaultdict))
                        broken("no dictionary to set items of");
                    if ((stack_.size() - begin) % 2 != 0) broken("a key without a value");
                    take_items(target(to).items, begin);
                    break;
                }
                case 'q': store(number(1)); break;
                case 'r': store(number(4)); break;
                case 'h': {
                    const std::size_t index = number(1);
                    if (index >= memo_.size() || memo_[index].kind == PickleKind::mark)
                        broken("a memo number that nothing was stored under");
                    push(memo_[index]);
                    break;
                }
                case 'R': call(false); break;
                case 0x81: call(true); break;
                case 'b': {
                    const PickleValue state = pop("nothing to build with");
                    const PickleValue of = top("nothing to build");
                    if (of.kind != PickleKind::object) broken("a state for something that is no object");
                    target(of).state = state;
                    break;
                }
                default: {
                    char text[8];
                    std::snprintf(text, sizeof text, "0x%02x", opcode);
                    fail<FileError>(operation_, ": \"", path_.c_str(), "\" is no pickle that this reader takes: offset ",
                                    static_cast<unsigned long>(opcode_at_), ": the opcode ",
                                    static_cast<const char*>(text),
                                    "\nhint: only the opcodes of the Planetoid files (protocol 2) are read");
                }
            }
        }
    }

    const char* operation_;
    std::string path_;
    io::detail::FileBytes file_;
    std::size_t at_ = 0, opcode_at_ = 0;
    std::vector<PickleObject> objects_;
    std::vector<PickleValue> stack_, memo_;
    std::vector<std::size_t> marks_;
    PickleValue root_;
};

}  // namespace tenon::graph_detail
