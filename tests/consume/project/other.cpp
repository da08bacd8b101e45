#include "use.hpp"

#include <tenon/base/error.hpp>
#include <tenon/base/isa.hpp>
#include <tenon/base/parallel.hpp>

int threads_elsewhere() { return tenon::num_threads(); }

void fail_elsewhere() { tenon::fail<tenon::ValueError>("elsewhere: asked to fail under ", tenon::name(tenon::isa())); }
