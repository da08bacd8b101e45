// Stands in for the CUDA toolkit's header of this name where CUDA code is compiled by the host compiler and run on the CPU. See README.md.
#pragma once

#include "emulator/qualifiers.hpp"
#include "emulator/types.hpp"
#include "emulator/runtime_api.hpp"
#include "emulator/control.hpp"
#include "emulator/shared.hpp"
#include "emulator/intrinsics.hpp"
#include "emulator/warp.hpp"
#include "emulator/atomics.hpp"
#include "emulator/launch.hpp"
#include "emulator/libraries.hpp"
