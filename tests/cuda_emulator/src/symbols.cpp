// Names of functions from the program's own symbol table: kernels are often local symbols, which the dynamic linker does not know.
#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "host.hpp"

extern "C" char __executable_start;

namespace cuda_emulator {

namespace {

struct Symbol {
    uintptr_t address;
    const char* name;
};

// The file stays mapped: names point into it.
std::vector<Symbol> read_symbols() {
    std::vector<Symbol> symbols;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) return symbols;
    void* mapped = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return symbols;
    const char* image = static_cast<const char*>(mapped);
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
    const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image + header->e_shoff);
    const uintptr_t base = header->e_type == ET_DYN ? reinterpret_cast<uintptr_t>(&__executable_start) : 0;
    for (int i = 0; i < header->e_shnum; ++i) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        const auto* first = reinterpret_cast<const Elf64_Sym*>(image + sections[i].sh_offset);
        const char* names = image + sections[sections[i].sh_link].sh_offset;
        for (size_t j = 0; j < sections[i].sh_size / sizeof(Elf64_Sym); ++j)
            if (ELF64_ST_TYPE(first[j].st_info) == STT_FUNC && first[j].st_value != 0)
                symbols.push_back({base + first[j].st_value, names + first[j].st_name});
    }
    std::sort(symbols.begin(), symbols.end(), [](const Symbol& a, const Symbol& b) { return a.address < b.address; });
    return symbols;
}

}  // namespace

std::string function_name(const void* address) {
    static const std::vector<Symbol>& symbols = *new std::vector<Symbol>(read_symbols());
    auto after = std::upper_bound(symbols.begin(), symbols.end(), reinterpret_cast<uintptr_t>(address),
                                  [](uintptr_t a, const Symbol& symbol) { return a < symbol.address; });
    if (after == symbols.begin()) return text("%p", address);
    const char* name = std::prev(after)->name;
    int status = 0;
    char* readable = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string result = status == 0 ? readable : name;
    free(readable);
    if (result.compare(0, 5, "void ") == 0) result.erase(0, 5);
    if (result.size() > 400) result = result.substr(0, 400) + "...";
    return result;
}

}  // namespace cuda_emulator
