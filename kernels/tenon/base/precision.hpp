// What fast products may cost in precision. One switch each for all of a program's objects, whichever compiler made them.
#pragma once

namespace tenon::detail {

inline constinit bool tf32_allowed = false;
// Outputs along an axis of a tile of Winograd's convolution: 4, 2, or 0 for no such convolution.
inline constinit int winograd_outputs = 4;

}  // namespace tenon::detail
