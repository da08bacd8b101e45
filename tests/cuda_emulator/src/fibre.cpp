#include "fibre.hpp"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <vector>

namespace cuda_emulator {

namespace {

constexpr size_t page = 4096, stack_bytes = 128 << 10;

std::vector<Fibre*>& all = *new std::vector<Fibre*>;
std::vector<Fibre*>& idle = *new std::vector<Fibre*>;

}  // namespace

Fibre* take_fibre(FibreMain main) {
    if (idle.empty()) {
        char* memory = static_cast<char*>(mmap(nullptr, page + stack_bytes, PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0));
        if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) {
            fprintf(stderr, "cuda emulator: no memory for the stack of a thread\n");
            abort();
        }
        uintptr_t low = reinterpret_cast<uintptr_t>(memory) + page;
        idle.push_back(new Fibre{low, low + stack_bytes, nullptr});
        all.push_back(idle.back());
    }
    Fibre* fibre = idle.back();
    idle.pop_back();
    if (fibre->context == nullptr) fibre->context = make_fcontext(reinterpret_cast<void*>(fibre->stack_high), stack_bytes, main);
    return fibre;
}

void return_fibre(Fibre* fibre) { idle.push_back(fibre); }

void reset_fibres() {
    for (Fibre* fibre : all) fibre->context = nullptr;
    idle = all;
}

}  // namespace cuda_emulator
