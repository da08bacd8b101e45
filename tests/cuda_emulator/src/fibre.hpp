// Stacks for the threads of a block, with a guard page each, used again and again.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <boost/context/detail/fcontext.hpp>

namespace cuda_emulator {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

struct Fibre {
    uintptr_t stack_low, stack_high;
    fcontext_t context;
};

using FibreMain = void (*)(transfer_t);
// A fibre that is at the start of main or waits for its next thread.
Fibre* take_fibre(FibreMain main);
// It waits in main's loop, to be continued at its context.
void return_fibre(Fibre*);
// Forgets what every fibre was doing (after a fault).
void reset_fibres();

}  // namespace cuda_emulator
