// Whether products of floats may round their operands. One switch for all of a program's objects, whichever compiler made them.
#pragma once

namespace tenon::detail {

inline constinit bool tf32_allowed = false;

}  // namespace tenon::detail
